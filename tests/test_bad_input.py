"""Hostile files, all the way through: nothing loses a neighbour, nothing ends the loop."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from exporter.reading import Limits
from exporter.sources.files import FilesSource
from exporter.state.memory import MemoryState
from exporter.testing.clock import ManualClock
from exporter.testing.scripted import ScriptedSink, event
from tests.harness import Whole

GOOD = (b'{"Records":[' + event(1) + b"," + event(2) + b"]}", 2)


def _nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def _with(record: bytes) -> bytes:
    """A file with the record between two good ones."""
    return b'{"Records":[' + event(101) + b"," + record + b"," + event(102) + b"]}"


def _parameters(text: bytes) -> bytes:
    return event(100, requestParameters="@").replace(b'"@"', text)


_MANY = b'{"Records":[' + b",".join(event(number) for number in range(1000, 1200)) + b"]}"

#: What lies there -> how many records are published, and the reasons of what is quarantined.
CASES: dict[str, tuple[bytes, int, list[str]]] = {
    "empty_file": (b"", 0, ["no_records"]),
    "no_records": (b'{"Recrods":[]}', 0, ["no_records"]),
    "records_is_text": (b'{"Records":"none"}', 0, ["no_records"]),
    "a_record_is_text": (_with(b'"just text"'), 2, ["not_a_record"]),
    "a_record_is_a_number": (_with(b"17"), 2, ["not_a_record"]),
    "a_record_is_broken": (_with(b'{"eventID": no}'), 2, ["not_json"]),
    "integer_over_64_bit": (_with(_parameters(b"1" + b"0" * 40)), 3, []),
    "lone_surrogate": (_with(_parameters(rb'"\\ud800"'.replace(b"\\\\", b"\\"))), 3, []),
    "nested_40_deep": (_with(_parameters(_nested(40))), 3, []),
    "nested_100_deep": (_with(_parameters(_nested(100))), 2, ["too_deep"]),
    "nested_10000_deep": (_with(_parameters(_nested(10_000))), 2, ["too_deep"]),
    "no_utf8": (_with(event(100).replace(b"aws-cli", b"aws\xffcli")), 2, ["not_utf8"]),
    "record_too_large": (_with(_parameters(b'"' + b"x" * 300_000 + b'"')), 2, ["record_too_large"]),
    "gzip_bomb": (gzip.compress(b"0" * 60_000_000), 0, ["ratio"]),
    "not_gzip_though_named_so": (_with(event(100)), 3, []),
}


@pytest.mark.parametrize("name", CASES)
def test_one_bad_file_costs_what_it_is_and_nothing_else(name: str, tmp_path: Path):
    """The bad thing lies in quarantine with its reason; its neighbours in the file and beside it are published."""
    content, published, reasons = CASES[name]
    (tmp_path / "a.json.gz").write_bytes(content)
    (tmp_path / "b.json").write_bytes(GOOD[0])
    books, whole, sink = _read(tmp_path)
    assert len(set(sink.accepted)) == published + GOOD[1]
    assert sorted(books.quarantined.elements()) == reasons
    assert [item.reason for _, item in whole.state.quarantined(10)] == reasons


def test_a_truncated_gzip_gives_what_came_before_the_cut(tmp_path: Path):
    """Half a file gives about half of its records; the file is named as truncated."""
    whole_file = gzip.compress(_MANY)
    (tmp_path / "a.json.gz").write_bytes(whole_file[: len(whole_file) // 2])
    (tmp_path / "b.json").write_bytes(GOOD[0])
    _, whole, sink = _read(tmp_path)
    assert 10 < len(sink.accepted) < 202
    assert [(item.reason, "a.json.gz" in item.origin) for _, item in whole.state.quarantined(10)] == [
        ("truncated", True)
    ]


def test_a_file_that_was_cut_and_is_complete_later_is_read_as_a_whole(tmp_path: Path):
    """The repaired file is another version: the rest of its events comes, what was published before does not."""
    packed = gzip.compress(_MANY)
    path = tmp_path / "a.json.gz"
    path.write_bytes(packed[: len(packed) // 2])
    sink, state = ScriptedSink(), MemoryState()
    _drain(tmp_path, sink, state)
    path.write_bytes(packed)
    _drain(tmp_path, sink, state)
    assert Counter(sink.accepted) == Counter(f"111122223333/event-{number}" for number in range(1000, 1200))


def test_all_of_them_in_one_folder(tmp_path: Path):
    """Fifteen bad files and one good one, read twice: the second time there is nothing new."""
    for name, (content, _, _) in CASES.items():
        renamed = content.replace(b'"event-1', f'"{name}-1'.encode())
        (tmp_path / f"{name}.json").write_bytes(renamed)
    (tmp_path / "good.json").write_bytes(GOOD[0])
    sink, state = ScriptedSink(), MemoryState()
    _drain(tmp_path, sink, state)
    assert len(sink.accepted) == len(set(sink.accepted)) == sum(case[1] for case in CASES.values()) + 2
    assert state.size().quarantined == sum(len(case[2]) for case in CASES.values())
    requests = len(sink.requests)
    _drain(tmp_path, sink, state)
    assert len(sink.requests) == requests


def _read(folder: Path):
    sink = ScriptedSink()
    whole = Whole(sink)
    books = whole.drain(_source(folder, whole.clock))
    return books, whole, sink


def _drain(folder: Path, sink: ScriptedSink, state: MemoryState) -> None:
    whole = Whole(sink, state)
    whole.drain(_source(folder, whole.clock))


def _source(folder: Path, clock: ManualClock) -> FilesSource:
    return FilesSource(
        name="trail",
        path=folder,
        limits=Limits(record_bytes=100_000),
        clock=clock,
        interval=1.0,
        settle_seconds=0,
        watch=False,
    )


def test_the_cases_are_what_they_say():
    """The JSON of the odd records is legal, so that what is tested is the exporter and not a typing error."""
    for name in ("integer_over_64_bit", "lone_surrogate", "nested_40_deep"):
        json.loads(CASES[name][0])
