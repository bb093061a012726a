"""The console: lines for people and for machines."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from exporter.contract import Record
from exporter.errors import Blocked, Permanent
from exporter.mapping import Mapper, MappingOptions
from exporter.otel import ReadableLogRecord
from exporter.sinks.console import ConsoleSink
from exporter.testing.sink import a_record

MAPPER = Mapper()
FAILED: dict[str, Any] = {"errorCode": "AccessDenied", "errorMessage": "no", "eventName": "DeleteAlert"}


def written(records: list[Record], mapper: Mapper = MAPPER, **settings: Any) -> str:
    """What the console shows of the records."""
    stream = io.StringIO()
    ConsoleSink(mapper, stream=stream, **{"colour": False, **settings}).send(records)
    return stream.getvalue()


def several() -> list[Record]:
    role = {
        "type": "AssumedRole",
        "arn": "arn:aws:sts::123456789012:assumed-role/Deploy/jane",
        "accountId": "123456789012",
        "sessionContext": {"sessionIssuer": {"type": "Role", "userName": "Deploy", "accountId": "123456789012"}},
    }
    return [
        a_record(1),
        a_record(2, **FAILED, userIdentity=role),
        a_record(3, errorCode="InternalServerException", eventName="DescribeAnomalyDetectionExecutions"),
        a_record(
            4,
            userIdentity={"type": "AWSService", "invokedBy": "events.amazonaws.com"},
            sourceIPAddress="events.amazonaws.com",
        ),
        a_record(5, eventTime=None, userIdentity=None, awsRegion=None, sourceIPAddress=None),
    ]


def test_text_is_an_aligned_line_per_event(golden: Callable[[str, str], None]) -> None:
    """Time, event, outcome, who, from where, account and region, one line each."""
    golden("sink_console.txt", written(several()))


def test_text_in_colours(golden: Callable[[str, str], None]) -> None:
    """The outcome is green, yellow for a failed call, red for a fault of the service."""
    golden("sink_console_colours.txt", written(several(), colour=True).replace("\x1b", "ESC"))


def test_json_is_a_flat_object_per_event(golden: Callable[[str, str], None]) -> None:
    """The documented keys, one object per line, absent ones left out."""
    golden("sink_console.jsonl", written(several(), format="json"))


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x07", "\x9b", "\u202e", "\u2028", "\x00"])
@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_caller_cannot_write_to_the_terminal(character: str, format_: str) -> None:
    """Control characters, line breaks and direction marks in what a caller wrote have no effect."""
    hostile = f"a{character}b"
    record = a_record(
        1, eventName=hostile, sourceIPAddress=hostile, userIdentity={"type": "IAMUser", "userName": hostile}
    )
    text = written([record], format=format_)
    assert text.count("\n") == 1
    assert character not in text.removesuffix("\n")


def test_a_long_value_does_not_fill_the_screen() -> None:
    """In text a value is cut; in JSON it is whole."""
    record = a_record(1, sourceIPAddress="x" * 5_000)
    assert len(written([record])) < 400
    assert json.loads(written([record], format="json"))["source_address"] == "x" * 5_000


@pytest.mark.parametrize("format_", ["text", "json"])
def test_what_the_mapping_redacts_is_not_shown(format_: str) -> None:
    """The console shows the log record, not the raw event."""
    mapper = Mapper(MappingOptions(source_address="drop", user_names="drop"))
    text = written([a_record(1)], mapper, format=format_)
    assert "192.0.2.7" not in text
    assert "fred" not in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding_takes_it(encoding: str) -> None:
    """A name the terminal cannot show is escaped; nothing fails for it."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    record = a_record(1, userIdentity={"type": "IAMUser", "userName": "Zoë 名"})
    assert ConsoleSink(MAPPER, stream=stream, colour=False).send([record]).delivered == 1
    shown = raw.getvalue().decode(encoding)
    assert "Zo" in shown
    assert ("名" in shown) == (encoding == "utf-8")


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "not a time"])
def test_any_event_time_is_shown_or_left_out(time: str) -> None:
    """Times at the edges of the calendar cost nothing but themselves."""
    assert written([a_record(1, eventTime=time)]).count("\n") == 1


def test_a_closed_pipe_blocks() -> None:
    """Nobody reads: nothing was accepted, and the operator is told."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    sink = ConsoleSink(MAPPER, stream=stream, colour=False)
    with pytest.raises(Blocked) as caught:
        sink.send([a_record(1)])
    assert caught.value.reason == "unavailable"
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_a_closed_stream_blocks() -> None:
    """A stream closed in this process is as good as a closed pipe."""
    stream = io.StringIO()
    sink = ConsoleSink(MAPPER, stream=stream, colour=False)
    stream.close()
    with pytest.raises(Blocked):
        sink.send([a_record(1)])
    assert [finding.level for finding in sink.check()] == ["error"]


def test_a_full_disk_behind_the_stream_blocks() -> None:
    """Standard output sent to a file on a full disk holds everything."""
    stream = open("/dev/full", "w")  # noqa: SIM115 - closing it fails, which is shown below
    with pytest.raises(Blocked) as caught:
        ConsoleSink(MAPPER, stream=stream, colour=False).send([a_record(1)])
    assert caught.value.reason == "disk"
    with pytest.raises(OSError, match="No space"):
        stream.close()


def test_what_cannot_be_mapped_is_permanent() -> None:
    """A record the mapping fails on is its own trouble."""

    def broken(record: Record) -> ReadableLogRecord:
        raise RuntimeError("no such field")

    with pytest.raises(Permanent) as caught:
        ConsoleSink(broken, stream=io.StringIO(), colour=False).send([a_record(1)])
    assert caught.value.reason == "encode"


def test_close_leaves_the_stream_open() -> None:
    """Standard output belongs to the process."""
    stream = io.StringIO()
    ConsoleSink(MAPPER, stream=stream, colour=False).close()
    assert not stream.closed
