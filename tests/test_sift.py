"""Sifting before parsing: nothing wanted is missed, the books stay exact, disorder is found all the same."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.reading import Limits, Reading
from exporter.reading.sift import sift_for
from exporter.reading.whole import ORDINARY, Again, read_all
from exporter.record import Document, Malformed, Record, parse
from exporter.sources.files import FilesSource
from exporter.testing.clock import ManualClock
from exporter.testing.source import MemoryProgress
from tests.test_reading import SHAPES, event

NAME = "lookoutmetrics.amazonaws.com"
WANTED = frozenset({NAME.encode()})
OTHERS = ("s3.amazonaws.com", "ec2.amazonaws.com", "lookoutmetrics.amazonaws.co", "LookoutMetrics.amazonaws.com")
#: The names of the service that hide it from a plain search.
HIDDEN = (
    r"l\u006fokoutmetrics.amazonaws.com",
    r"lookoutmetrics\u002Eamazonaws\u002Ecom",
    r"\u006Cookoutmetrics.amazonaws.com",
)


class Read:
    """What one pass over a file gave.

    Attributes:
        ours: origin and eventID (if any) of each record of the service.
        broken: origin and reason of what could not be read.
        total: everything that is in the books.
        yielded: documents that were not passed over.
    """

    def __init__(self, data: bytes, *, wanted: frozenset[bytes] | None, known: bool = True, **limits: int) -> None:
        size = len(data) if known else 0
        reading = Reading(io.BytesIO(data), origin="f", version="v", size=size, limits=Limits(**limits), wanted=wanted)
        items = list(reading)
        documents = [item for item in items if isinstance(item, Document)]
        parsed = [(one.origin, parse(one, observed_ns=0)) for one in documents]
        self.ours = [
            (origin, record.fields.get("eventID"))
            for origin, record in parsed
            if isinstance(record, Record) and record.event_source == NAME
        ]
        self.broken = [(one.origin, one.reason, one.size) for one in items if isinstance(one, Malformed)]
        self.yielded = len(documents)
        self.total = len(items) + sum(reading.passed_over.values())
        self.passed_over = dict(reading.passed_over)


def the_same(data: bytes, **limits: int) -> Read:
    """The file sifted in one go, sifted the general way, and not sifted have the same in them; the first of them."""
    plain = Read(data, wanted=None, **limits)
    at_once, general = (Read(data, wanted=WANTED, known=known, **limits) for known in (True, False))
    for sifted in (at_once, general):
        assert sifted.ours == plain.ours
        assert sifted.total == plain.total
        assert [reason for _, reason, _ in sifted.broken] == [reason for _, reason, _ in plain.broken]
    assert at_once.broken == plain.broken
    return at_once


def trail(*records: Any, **how: Any) -> bytes:
    return json.dumps({"Records": records}, **{"separators": (",", ":"), **how}).encode()


def others(count: int) -> list[dict[str, Any]]:
    return [event(number, eventSource=OTHERS[number % len(OTHERS)]) for number in range(count)]


records = st.lists(
    st.builds(
        lambda number, source, more: {**event(number), "eventSource": source, **more},
        st.integers(0, 10_000),
        st.sampled_from((NAME, *OTHERS)),
        st.sampled_from(
            (
                {},
                {"userAgent": NAME},
                {"requestParameters": {"a": "tab\there", "b": "\u00e9\u2028"}},
                {"requestParameters": {"eventVersion": "1", "list": [{"eventVersion": "1"}, {"eventVersion": "2"}]}},
                {"userIdentity": {"invokedBy": NAME}},
                {"padding": "x" * 40_000},
            )
        ),
    ),
    max_size=30,
)


@given(name=st.sampled_from(sorted(SHAPES)), events=records, packed=st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_sifted_file_gives_what_filtering_all_of_it_gives(
    name: str, events: list[dict[str, Any]], packed: bool
) -> None:
    """In every shape: the same records under the same origin, and every other one in the books."""
    data = SHAPES[name](events)
    the_same(gzip.compress(data, 1) if packed else data)


@given(
    events=records,
    cut=st.integers(0, 2_000),
    at=st.integers(0, 5_000),
    junk=st.sampled_from([b"", b"}", b'"', b"{", b"]", b"\xff", b",,", b'{"Records":[]}']),
    limit=st.integers(1, 30),
)
@settings(max_examples=150, deadline=None)
def test_damage_and_limits_are_found_in_a_sifted_file_too(
    events: list[dict[str, Any]], cut: int, at: int, junk: bytes, limit: int
) -> None:
    """What of the service can be read of a damaged or too long file is read; the same file is reported."""
    data = trail(*events)
    data = data[: max(0, at)] + junk + data[at : max(at, len(data) - cut)]
    plain = Read(data, wanted=None, file_records=limit)
    for known in (True, False):
        sifted = Read(data, wanted=WANTED, known=known, file_records=limit)
        assert sifted.ours == plain.ours
        assert [reason for _, reason, _ in sifted.broken] == [reason for _, reason, _ in plain.broken]
        assert sifted.total == plain.total


@pytest.mark.parametrize("count", [10, 11, 5_000])
def test_no_more_records_are_passed_over_than_a_file_may_have(count: int) -> None:
    """Behind limits.file_records nothing is read, and nothing is counted but the file that is too long."""
    read = the_same(trail(*others(count)), file_records=10)
    assert read.passed_over == {"other_service": 10}
    assert [reason for _, reason, _ in read.broken] == (["too_many_records"] if count > 10 else [])


def test_a_record_over_the_limit_is_found_in_a_sifted_file_too() -> None:
    """It is reported as too large; its neighbours are passed over."""
    large = event(2, eventSource="s3.amazonaws.com", padding="x" * 400_000)
    read = the_same(trail(*others(2), large, *others(3)), record_bytes=100_000)
    assert [reason for _, reason, _ in read.broken] == ["record_too_large"]
    assert read.passed_over == {"other_service": 5}


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("known", [True, False], ids=["in one go", "general way"])
@pytest.mark.parametrize("space", [b",", b" , "], ids=["compact", "spaced"])
def test_a_record_that_hides_the_name_by_escapes_is_found(hidden: str, known: bool, space: bytes) -> None:
    """JSON may escape any letter; the record among a hundred others is yielded, and they are not."""
    lines = [json.dumps(one).encode() for one in others(100)]
    lines[70] = lines[70].replace(OTHERS[70 % 4].encode(), hidden.encode())
    read = Read(b'{"Records":[' + space.join(lines) + b"]}", wanted=WANTED, known=known)
    assert read.ours == [("f#71", "event-70")]
    assert (read.yielded, read.passed_over) == (1, {"other_service": 99})


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda text: {"logEvents": [{"id": "1", "timestamp": 1, "message": text}]}, id="log event"),
        pytest.param(lambda text: {"Events": [{"CloudTrailEvent": text}]}, id="lookup"),
        pytest.param(lambda text: [text], id="string"),
    ],
)
@pytest.mark.parametrize("hidden", [NAME, *HIDDEN, r"\\u006cookoutmetrics.amazonaws.com".replace("\\\\", "\\")])
def test_a_wrapped_record_is_found(wrap: Any, hidden: str) -> None:
    """Text inside JSON escapes quotes, not names; an escape within it is escaped once more."""
    text = json.dumps(event(1, eventSource="?")).replace("?", hidden)
    assert the_same(json.dumps(wrap(text)).encode()).ours == [("f#1", "event-1")]


def test_an_escaped_backslash_hides_nothing() -> None:
    """The letters of an inner escape may themselves be escaped: \\u005cu006c is an l, one level further in."""
    text = json.dumps(event(1, eventSource="?")).replace("?", r"\u006cookoutmetrics.amazonaws.com")
    outer = json.dumps([text]).replace(r"\\u006c", r"\u005cu006c")
    assert the_same(outer.encode()).ours == [("f#1", "event-1")]


def test_common_escapes_do_not_stop_the_sifting() -> None:
    """What writers of JSON escape habitually (< > & = ' and beyond ASCII) cannot be a part of a name."""
    odd = json.dumps(event(1, eventSource="s3.amazonaws.com", userAgent="?")).replace(
        "?", r"\u003d\u0026\u003c\u0027\u00e9"
    )
    read = Read(b'{"Records":[' + odd.encode() + b"]}", wanted=WANTED)
    assert (read.yielded, read.passed_over) == (0, {"other_service": 1})


@pytest.mark.parametrize("known", [True, False], ids=["in one go", "general way"])
def test_a_file_without_the_name_is_counted_and_not_yielded(known: bool) -> None:
    """Every record of it is in the books as another service's."""
    read = Read(gzip.compress(trail(*others(5_000))), wanted=WANTED, known=known)
    assert (read.yielded, read.broken, read.passed_over) == (0, [], {"other_service": 5_000})


def test_what_the_service_did_for_others_is_yielded() -> None:
    """``invokedBy`` holds the name, so the selection gets to decide."""
    read = Read(trail(*others(3), event(9, eventSource="sts.amazonaws.com", invokedBy=NAME)), wanted=WANTED)
    assert (read.yielded, read.passed_over) == (1, {"other_service": 3})


def test_an_insight_is_yielded() -> None:
    """Its name stands in ``insightDetails``."""
    insight = {
        "eventVersion": "1.09",
        "eventID": "i",
        "insightDetails": {"eventSource": NAME, "eventName": "ListAlerts"},
    }
    assert the_same(trail(*others(2), insight)).ours == [("f#3", "i")]


@pytest.mark.parametrize("odd", ["a/b", "café", 'a"b', "a b", ""], ids=["slash", "accent", "quote", "blank", "empty"])
def test_a_name_with_several_spellings_turns_sifting_off(odd: str) -> None:
    """JSON writes such a name in more than one way, so everything is parsed."""
    assert sift_for(frozenset({NAME.encode(), odd.encode()})) is None


def test_no_names_turn_sifting_off() -> None:
    """None: everything is wanted; an empty set is nobody's wish."""
    assert sift_for(None) is None
    assert sift_for(frozenset()) is None


@pytest.mark.parametrize("size", [100, 100_000], ids=["small text", "large text"])
@pytest.mark.parametrize("at", [0, 1, 50, -1], ids=["first", "second", "inside", "last"])
def test_every_place_of_a_text_is_looked_at(size: int, at: int) -> None:
    """Both ways of searching find the name wherever it stands, and each place of it."""
    sift = sift_for(frozenset({b"abc.def", b"lookoutmetrics.amazonaws.com"}))
    assert sift is not None
    begin = at if at >= 0 else size
    text = b"x" * begin + b"abc.def" + b"x" * (size - begin)
    assert sift.may_hold(text)
    assert list(sift.places(text, lambda place: place + 1)) == [begin]
    assert not sift.may_hold(text.replace(b"abc", b"abd"))
    assert list(sift.places(text.replace(b"abc", b"abd"), lambda place: place + 1)) == []


def test_a_file_that_grew_is_read_to_its_end() -> None:
    """More bytes than the listing said: the general way reads all of them."""
    data = trail(*others(3), event(9, eventSource=NAME))
    reading = Reading(io.BytesIO(data), origin="f", version="v", size=len(data) - 100, limits=Limits(), wanted=WANTED)
    assert [item.origin for item in reading] == ["f#4"]
    assert reading.passed_over == {"other_service": 3}


def test_a_stream_that_answers_in_small_pieces_is_read_whole() -> None:
    """The body of an HTTP reply gives what has arrived, not what was asked for."""

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(7, size or 7))

    data = trail(*others(20))
    assert read_all(Slow(data), len(data)) == data
    reading = Reading(Slow(data), origin="f", version="v", size=len(data), limits=Limits(), wanted=WANTED)
    assert (list(reading), dict(reading.passed_over)) == ([], {"other_service": 20})


def test_what_was_read_is_read_again() -> None:
    """First the bytes already taken, then the rest of the stream."""
    stream = Again(b"abc", io.BytesIO(b"def"))
    assert [stream.read(2) for _ in range(5)] == [b"ab", b"c", b"de", b"f", b""]


def test_a_bomb_is_not_unpacked_in_one_go() -> None:
    """A size in its trailer that is a lie gives it to the general way, which has the limits."""
    bomb = gzip.compress(b'{"Records":[' + b" " * 40_000_000 + b"]}")
    assert len(bomb) < ORDINARY
    forged = bomb[:-4] + (1_000).to_bytes(4, "little")
    for data in (bomb, forged):
        read = Read(data, wanted=WANTED, plain_bytes=1_000_000)
        assert [reason for _, reason, _ in read.broken] == ["plain_too_large"]


def test_a_folder_is_sifted(tmp_path: Path) -> None:
    """The source passes over what cannot be wanted; the file is finished, and the books hold every record."""
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(trail(*others(10), event(10, eventSource=NAME))))
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(trail(*others(5))))
    source = FilesSource(name="trail", path=tmp_path, limits=Limits(), clock=ManualClock(), watch=False, wanted=WANTED)
    [batch] = source.read(source.partitions()[0], MemoryProgress())
    assert [item.origin for item in batch.items] == [f"{tmp_path}/a.json.gz#11"]
    assert batch.passed_over == {"other_service": 15}
    assert [unit.name for unit in batch.finished] == ["a.json.gz", "b.json.gz"]
