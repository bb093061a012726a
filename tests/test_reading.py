"""Bytes -> records: formats, damage, limits, memory."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.reading import Limits, Reading
from exporter.reading.scan import Scan
from exporter.reading.split import Splitter
from exporter.record import Document, Item, Malformed, Record, parse

Events = list[dict[str, Any]]


def event(number: int, **fields: Any) -> dict[str, Any]:
    """A record with the traps of real ones: nested lists of objects, brackets and quotes in strings."""
    return {
        "eventVersion": "1.11",
        "eventID": f"event-{number}",
        "eventName": "ListAlerts",
        "userAgent": 'odd "}],{[ \\" text \\\\',
        "resources": [{"ARN": "a"}, {"ARN": "b"}],
        **fields,
    }


EVENTS = [event(number) for number in range(5)]
IDS = [f"event-{number}" for number in range(5)]


def text(value: object, **how: Any) -> bytes:
    return json.dumps(value, **how).encode()


def read(data: bytes, **limits: int) -> list[Item]:
    return list(Reading(io.BytesIO(data), origin="f", version="v", size=len(data), limits=Limits(**limits)))


def ids(items: list[Item]) -> list[str]:
    """What becomes of the items in parsing: an eventID, or the reason why it is no record."""
    parsed = [parse(item, observed_ns=0) if isinstance(item, Document) else item for item in items]
    return [one.fields.get("eventID", "none") if isinstance(one, Record) else one.reason for one in parsed]


def envelopes(events: Events) -> bytes:
    """What Firehose writes: subscription envelopes without anything in between, a probe among them."""
    messages = [{"id": str(at), "timestamp": at, "message": json.dumps(one)} for at, one in enumerate(events)]
    data = [text({"messageType": "DATA_MESSAGE", "owner": "1", "logEvents": [message]}) for message in messages]
    probe = text({"messageType": "CONTROL_MESSAGE", "logEvents": [{"id": "", "message": "CWL CONTROL MESSAGE"}]})
    return b"".join((*data[:1], probe, *data[1:]))


def looked_up(events: Events) -> Events:
    return [{"EventId": one["eventID"], "CloudTrailEvent": json.dumps(one)} for one in events]


SHAPES: dict[str, Callable[[Events], bytes]] = {
    "trail": lambda events: text({"Records": events}, separators=(",", ":")),
    "trail_pretty": lambda events: text({"Records": events}, indent=2),
    "trail_records_last": lambda events: text({"a": [1], "b": {"Records": []}, "Records": events}),
    "trail_members_follow": lambda events: text({"Records": events, "other": [{"eventVersion": "no"}], "n": 1}),
    "trail_one_per_line": lambda events: b'{"Records":[\n' + b",\n".join(map(text, events)) + b"\n]}\n",
    "trails_concatenated": lambda events: b"".join(text({"Records": [one]}) for one in events),
    "trails_one_per_line": lambda events: b"\n".join(text({"Records": [one]}) for one in events),
    "bare_list": text,
    "lines": lambda events: b"\n".join(map(text, events)) + b"\n",
    "lines_crlf": lambda events: b"\r\n".join(map(text, events)) + b"\r\n",
    "lines_blank_between": lambda events: b"\n\n \n".join(map(text, events)),
    "concatenated": lambda events: b"".join(map(text, events)),
    "pretty_concatenated": lambda events: b"\n".join(text(one, indent=2) for one in events),
    "lookup_answer": lambda events: text({"NextToken": "x", "Events": looked_up(events)}),
    "lookup_answer_pretty": lambda events: text({"Events": looked_up(events), "NextToken": "x"}, indent=4),
    "lookup_events": lambda events: text(looked_up(events)),
    "lookup_strings": lambda events: text([json.dumps(one) for one in events]),
    "log_envelopes": envelopes,
    "byte_order_mark": lambda events: b"\xef\xbb\xbf" + text({"Records": events}),
    "byte_order_marks": lambda events: b"".join(b"\xef\xbb\xbf" + text({"Records": [one]}) for one in events),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_shape_is_read(shape: Callable[[Events], bytes]):
    """Every shape records come in gives each of them once, in order, and nothing else."""
    assert ids(read(shape(EVENTS))) == IDS


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_one_record_is_read_in_every_shape(shape: Callable[[Events], bytes]):
    """A file with a single record is no special case."""
    assert ids(read(shape(EVENTS[:1]))) == IDS[:1]


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip_of_gzip": lambda data: gzip.compress(gzip.compress(data)),
    "members_cut_anywhere": lambda data: b"".join(gzip.compress(data[at : at + 97]) for at in range(0, len(data), 97)),
    "an_empty_member_between": lambda data: gzip.compress(data[:50]) + gzip.compress(b"") + gzip.compress(data[50:]),
    "zeros_behind": lambda data: gzip.compress(data) + b"\0" * 512,
}


@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
def test_gzip_is_taken_off(pack: Callable[[bytes], bytes]):
    """However the text was compressed, it is the same text."""
    assert ids(read(pack(text({"Records": EVENTS})))) == IDS


def test_a_record_keeps_its_text():
    """What is yielded is the record's own bytes, not a new rendering of them."""
    odd = b'{"eventVersion" : "1.11",\t"eventID":"x", "n":1.50, "eventID2":"\\u00e9"}'
    [item] = read(b'{"Records":[ ' + odd + b" ]}")
    assert isinstance(item, Document)
    assert item.data == odd


def test_origins_number_the_records_of_a_file():
    """For people: the file and the place in it, broken ones counted too."""
    items = read(text({"Records": EVENTS}).replace(b'"event-1"', b'"event-1'))
    assert [item.origin for item in items] == [f"f#{number}" for number in range(1, 6)]


def test_a_digest_is_passed_over():
    """A digest file holds no records: it counts as one thing not wanted."""
    digest = text({"awsAccountId": "1", "digestStartTime": "x", "digestS3Object": "y", "logFiles": [{"s3Object": "z"}]})
    reading = Reading(io.BytesIO(gzip.compress(digest)), origin="f", version="v", size=1, limits=Limits())
    assert list(reading) == []
    assert reading.passed_over == {"digest": 1}


def test_an_empty_list_of_records_is_no_problem():
    """A trail file may be empty."""
    assert read(b'{"Records":[]}') == []


# -- damage ------------------------------------------------------------------------------------------------------------

TRAIL = text({"Records": EVENTS})
LINES = SHAPES["lines"](EVENTS)

DAMAGE: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", ["no_records"]),
    "blank": (b" \r\n\t ", ["no_records"]),
    "empty_gzip": (gzip.compress(b""), ["no_records"]),
    "no_records": (b'{"foo": 1}', ["no_records"]),
    "records_null": (b'{"Records": null}', ["no_records"]),
    "records_a_string": (b'{"Records": "x"}', ["no_records"]),
    "records_an_object": (b'{"Records": {"a": []}}', ["no_records"]),
    "a_record_is_a_string": (b'{"Records": ["x", ' + text(EVENTS[0]) + b"]}", ["not_a_record", "event-0"]),
    "a_record_is_a_number": (
        b'{"Records": [7, ' + text(EVENTS[0]) + b", null]}",
        ["not_a_record", "event-0", "not_a_record"],
    ),
    "a_record_is_a_list": (b'{"Records": [[], ' + text(EVENTS[0]) + b"]}", ["not_a_record", "event-0"]),
    "prose": (b"hello\nworld\n{not json\n", ["not_json"]),
    "garbage_behind": (TRAIL + b" oops", [*IDS, "not_json"]),
    "garbage_before": (b"oops " + TRAIL, ["not_json", *IDS]),
    "garbage_between": (TRAIL + b"\noops\n" + text({"Records": [event(9)]}), [*IDS, "not_json", "event-9"]),
    "utf16": (TRAIL.decode().encode("utf-16"), ["not_utf8"]),
    "not_utf8_in_one": (TRAIL.replace(b"event-2", b"event-\xff"), [*IDS[:2], "not_utf8", *IDS[3:]]),
    "cut": (TRAIL[:-40], [*IDS[:4], "truncated"]),
    "cut_behind_the_list": (TRAIL[:-1], [*IDS, "truncated"]),
    "cut_in_the_frame": (TRAIL[:6], ["truncated"]),
    "cut_in_a_line": (LINES[:-40], [*IDS[:4], "truncated"]),
    "unquoted": (TRAIL.replace(b'"event-2"', b"event-2"), [*IDS[:2], "not_json", *IDS[3:]]),
    "quote_missing": (TRAIL.replace(b'"event-2"', b'"event-2'), [*IDS[:2], "not_json", *IDS[3:]]),
    "quote_too_many": (TRAIL.replace(b'"event-2"', b'"event-2""'), [*IDS[:2], "not_json", *IDS[3:]]),
    "brace_missing": (TRAIL.replace(b'"event-2"', b'{"x": "event-2"'), [*IDS[:2], "not_json", *IDS[3:]]),
    "bracket_missing": (TRAIL.replace(b'"event-2"', b'["event-2"'), [*IDS[:2], "not_json", *IDS[3:]]),
    "comma_missing": (TRAIL.replace(b'}]}, {"eventV', b'}]} {"eventV'), IDS),
    "comma_too_many": (TRAIL.replace(b'}]}, {"eventV', b'}]},, {"eventV'), IDS),
    "line_unquoted": (LINES.replace(b'"event-2"', b"event-2"), [*IDS[:2], "not_json", *IDS[3:]]),
    "line_quote_missing": (LINES.replace(b'"event-2"', b'"event-2'), [*IDS[:2], "not_json", *IDS[3:]]),
    "line_brace_missing": (LINES.replace(b'"event-2"', b'{"x": "event-2"'), [*IDS[:2], "not_json", *IDS[3:]]),
    "line_cut": (LINES.replace(text(EVENTS[2]), text(EVENTS[2])[:70]), [*IDS[:2], "not_json", *IDS[3:]]),
    "first_line_cut": (LINES.replace(text(EVENTS[0]), text(EVENTS[0])[:70]), ["not_json", *IDS[1:]]),
    "line_of_garbage": (LINES.replace(text(EVENTS[2]), b"\x00\x01\x02"), [*IDS[:2], "not_json", *IDS[3:]]),
    "not_a_number": (TRAIL.replace(b'"event-2"', b'"event-2", "n": NaN'), IDS),
    "huge_integer": (TRAIL.replace(b'"event-2"', b'"event-2", "n": ' + b"9" * 5000), IDS),
    "lone_surrogate": (TRAIL.replace(b'"event-2"', b'"event-2", "s": "\\ud800"'), IDS),
    "deep": (TRAIL.replace(b'"event-2"', b"[" * 40 + b"]" * 40), [*IDS[:2], "event-2", *IDS[3:]]),
    "too_deep": (TRAIL.replace(b'"event-2"', b"[" * 9000 + b"]" * 9000), [*IDS[:2], "too_deep", *IDS[3:]]),
    "gzip_junk_behind": (gzip.compress(TRAIL) + b"junk", [*IDS, "corrupt"]),
    "gzip_member_cut": (gzip.compress(TRAIL) + gzip.compress(TRAIL)[:8], [*IDS, "truncated"]),
    "gzip_checksum": (gzip.compress(TRAIL)[:-8] + b"\0\0\0\0" + gzip.compress(TRAIL)[-4:], [*IDS, "corrupt"]),
    "gzip_header": (b"\x1f\x8b\xff" + gzip.compress(TRAIL)[3:], ["corrupt"]),
}
# Forty levels are fine for reading; what the eventID is then is no text.
DAMAGE["deep"] = (DAMAGE["deep"][0].replace(b'"eventID": [', b'"eventID": "event-2", "x": ['), IDS)


@pytest.mark.parametrize(("data", "outcome"), DAMAGE.values(), ids=DAMAGE)
def test_damage_costs_what_is_damaged(data: bytes, outcome: list[str]):
    """Each kind of damage gives one item with its reason, and every neighbour is read."""
    assert ids(read(data)) == outcome


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999], ids=str)
def test_truncated_gzip_gives_what_came_before_the_cut(keep: float):
    """The records before the cut are read, in order; then comes one item for the file, naming its version."""
    events = [event(number, noise=f"{number * 7919:x}" * 20) for number in range(3000)]
    packed = gzip.compress(text({"Records": events}))
    items = read(packed[: int(len(packed) * keep)])
    got = ids(items)
    assert got == [one["eventID"] for one in events[: len(got) - 1]] + ["truncated"]
    assert len(got) > 3000 * keep * 0.8
    assert items[-1].origin == "f (v)"


def test_corrupt_gzip_gives_what_came_before():
    """A flipped byte deep in a small file costs what lies behind it only."""
    events = [event(number, noise=f"{number * 7919:x}" * 20) for number in range(300)]
    packed = bytearray(gzip.compress(text({"Records": events})))
    packed[int(len(packed) * 0.8)] ^= 0xFF
    got = ids(read(bytes(packed)))
    assert got[-1] == "corrupt"
    assert got[:200] == [one["eventID"] for one in events[:200]]


def test_damage_in_the_second_member_keeps_the_first():
    """Salvage begins with the damaged member: nothing is given twice."""
    packed = bytearray(gzip.compress(SHAPES["trail"](EVENTS)))
    packed[-5] ^= 0xFF
    got = ids(read(gzip.compress(text({"Records": [event(9)]})) + bytes(packed)))
    assert got == ["event-9", *IDS, "corrupt"]


_STRUCTURE = st.sampled_from([bytes([char]) for char in b'"{}[],:\\x7\n'] + [b""])


@settings(max_examples=400, deadline=None)
@given(
    shape=st.sampled_from(["trail", "lines", "trail_pretty", "bare_list", "lookup_answer", "trail_one_per_line"]),
    place=st.integers(0, 10_000),
    change=_STRUCTURE,
    insert=st.booleans(),
)
def test_any_one_byte_of_damage_spares_the_other_records(shape: str, place: int, change: bytes, insert: bool):
    """One byte removed, changed or added inside one record leaves all the others readable, once each."""
    data = SHAPES[shape](EVENTS)
    start = data.index(b"event-2") - 9
    end = data.index(b"ARN", start)
    at = start + place % (end - start)
    damaged = data[:at] + change + data[at + (not insert) :]
    got = ids(read(damaged))
    assert [one for one in got if one in IDS and one != "event-2"] == [*IDS[:2], *IDS[3:]]


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(sorted(SHAPES)),
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=30),
)
def test_where_the_text_is_cut_into_pieces_does_not_matter(name: str, sizes: list[int]):
    """The same text in pieces of any size gives the same items."""
    data = SHAPES[name](EVENTS)

    def pieces() -> Any:
        rest, turn = data, 0
        while rest:
            size = sizes[turn % len(sizes)]
            yield rest[:size]
            rest, turn = rest[size:], turn + 1

    items = list(Splitter(pieces(), origin="f", whole="f (v)", size=0, record_bytes=1024).items())
    assert ids(items) == IDS


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(value=_VALUES, tail=st.sampled_from([b",", b"]", b" ", b"}"]), size=st.integers(1, 50), ascii_only=st.booleans())
def test_scan_finds_the_end_of_any_value(value: Any, tail: bytes, size: int, ascii_only: bool):
    """Fed in pieces of any size, the scan stops exactly behind the value."""
    whole = text(value, ensure_ascii=ascii_only)
    data = whole + tail + b'"]}'
    scan, fed = Scan(), 0
    while True:
        piece = data[fed : fed + size]
        end = scan.feed(piece)
        if end >= 0:
            assert fed + end == len(whole)
            return
        fed += len(piece)
        assert fed < len(data)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300), packed=st.booleans())
def test_no_input_raises(data: bytes, packed: bool):
    """Whatever the bytes are, reading ends and gives items with known reasons."""
    for item in read(gzip.compress(data) if packed else data):
        assert isinstance(item, Document | Malformed)


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_compressed_file_over_the_limit_is_not_read():
    """One item for the file; nothing of it is unpacked."""
    packed = gzip.compress(TRAIL)
    assert ids(read(packed, file_bytes=len(packed) - 1)) == ["file_too_large"]


def test_a_compressed_stream_of_unknown_size_is_stopped_at_the_limit():
    """The limit holds too where nobody said beforehand how much there is."""
    packed = zlib.compress(b"", 0, wbits=31) + gzip.compress(bytes(range(256)) * 8192, 0)
    reading = Reading(io.BytesIO(packed), origin="f", version="v", size=0, limits=Limits(file_bytes=1_000_000))
    assert "file_too_large" in ids(list(reading))


def test_a_plain_file_is_bounded_by_the_plain_limit():
    """A local file that is not compressed may be larger than a compressed one, up to the limit for plain text."""
    assert ids(read(TRAIL, file_bytes=1)) == IDS
    assert ids(read(TRAIL, plain_bytes=len(TRAIL) - 1)) == ["plain_too_large"]


def test_decompressing_stops_at_the_plain_limit():
    """What came before the limit is read, then one item for the file."""
    data = text({"Records": [event(number) for number in range(5000)]})
    got = ids(read(gzip.compress(data), plain_bytes=600_000))
    assert got[-1] == "plain_too_large"
    assert got[:1000] == [f"event-{number}" for number in range(1000)]


def test_a_bomb_is_stopped_by_its_ratio():
    """Zeros decompress to a thousand times their size; no trail file does."""
    packed = gzip.compress(b"\0" * (64 << 20))
    assert ids(read(packed)) == ["ratio"]


def test_the_ratio_of_a_small_file_is_not_judged():
    """The same record again and again compresses well and is no bomb."""
    data = text({"Records": [event(0)] * 20_000})
    assert len(data) / len(gzip.compress(data)) > 50
    assert len(read(gzip.compress(data), ratio=10)) == 20_000


def test_records_beyond_the_limit_are_not_read():
    """The limit's worth of records is read, then one item for the file."""
    assert ids(read(TRAIL, file_records=3)) == [*IDS[:3], "too_many_records"]
    assert ids(read(TRAIL, file_records=5)) == IDS


@pytest.mark.parametrize(
    "giant",
    [
        b'{"eventVersion":"1.11","x":"' + b"a\\\\" * 900_000 + b'"}',
        b'{"eventVersion":"1.11","x":[' + b'{"y":[1]},' * 300_000 + b"1]}",
    ],
    ids=["one_string", "many_objects"],
)
@pytest.mark.parametrize("shape", ["list", "lines"])
def test_a_giant_record_is_skipped_alone(giant: bytes, shape: str):
    """A record too large to hold is reported with its size and a sample, and its neighbours are read."""
    first, last = text(event(0)), text(event(1))
    data = (
        b'{"Records":[' + b",".join((first, giant, last)) + b"]}"
        if shape == "list"
        else b"\n".join((first, giant, last))
    )
    items = read(data, record_bytes=1024 * 1024)
    assert ids(items) == ["event-0", "record_too_large", "event-1"]
    broken = items[1]
    assert isinstance(broken, Malformed)
    assert broken.size == len(giant)
    assert giant.startswith(broken.sample)
    assert len(broken.sample) == 64 * 1024


def test_a_record_that_never_ends_gives_way_to_the_next():
    """A missing quote in a long file costs one record, not everything behind it."""
    events = [event(number, noise="x" * 500) for number in range(4000)]
    data = text({"Records": events}).replace(b'"event-7"', b'"event-7')
    got = ids(read(data, record_bytes=64 * 1024))
    assert got == [*(f"event-{n}" for n in range(7)), "not_json", *(f"event-{n}" for n in range(8, 4000))]


_MEASURE = """
import gzip, io, sys
from exporter.reading import Limits, Reading
from exporter.record import Malformed

kind = sys.argv[1]
record = b'{"eventVersion":"1.11","eventID":"%d","eventName":"X","pad":"' + b"p" * 1100 + b'"}'

class Stream:
    "300 MB of JSON on one line, made while it is read."
    def __init__(self):
        self.parts = self.make()
        self.rest = b""
    def make(self):
        yield b'{"Records":[' + record % 0
        if kind == "list":
            for number in range(1, 250_000):
                yield b"," + record % number
        else:
            yield b',{"eventVersion":"1.11","x":"'
            for _ in range(3000):
                yield b"y" * 100_000
            yield b'"},' + record % 1
        yield b"]}"
    def read(self, size):
        while len(self.rest) < size and (part := next(self.parts, None)) is not None:
            self.rest += part
        block, self.rest = self.rest[:size], self.rest[size:]
        return block

def peak():
    # KiB. Not getrusage: its maximum outlives exec, and would be that of the test process we were forked from.
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])

if kind == "bomb":
    packed = gzip.compress(b"\\0" * (300 << 20), 9)
    stream = io.BytesIO(packed)
else:
    stream = Stream()
before = peak()
count = broken = 0
for item in Reading(stream, origin="f", version="v", size=0, limits=Limits()):
    count += 1
    broken += isinstance(item, Malformed)
print(count, broken, (peak() - before) // 1024)
"""


@pytest.mark.parametrize(
    ("kind", "count", "broken"), [("list", 250_000, 0), ("giant", 3, 1), ("bomb", 1, 1)], ids=["list", "giant", "bomb"]
)
def test_memory_stays_flat(kind: str, count: int, broken: int):
    """300 MB on a single line, as records, as one record or as a bomb, cost less than 20 MB of memory."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, kind],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    got, got_broken, grown = map(int, done.stdout.split())
    assert (got, got_broken) == (count, broken)
    assert grown < 20
