"""Our bytes against the SDK's encoder and the protobuf runtime."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

from exporter.otel import (
    ExportLogsServiceRequest,
    InstrumentationScope,
    LogRecord,
    ReadableLogRecord,
    Resource,
    SeverityNumber,
    encode,
    serialize,
)

_text = st.text(max_size=300)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=20)
    | _text
    | st.sampled_from(["x" * length for length in (123, 124, 125, 126, 127, 128, 16_384, 70_000)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=10,
)
_resources = [Resource({}), Resource({"a": "b"}), Resource({"a": "b"}), Resource({"a": "c"}, "https://r")]
_scopes = [
    None,
    InstrumentationScope("n"),
    InstrumentationScope("", "2", "https://s", {"k": "v", "n": 3}),
]


@st.composite
def _records(draw: st.DrawFn) -> ReadableLogRecord:
    nanoseconds = st.integers(0, 2**64 - 1)
    return ReadableLogRecord(
        LogRecord(
            timestamp=draw(nanoseconds),
            observed_timestamp=draw(nanoseconds),
            severity_text=draw(st.none() | st.sampled_from(["", "INFO"])),
            severity_number=draw(st.none() | st.sampled_from(list(SeverityNumber))),
            body=draw(_values),
            attributes=draw(st.none() | st.dictionaries(_text, _values, max_size=6)),
            event_name=draw(st.none() | st.sampled_from(["", "aws.cloudtrail.api_call"])),
        ),
        draw(st.sampled_from(_resources)),
        draw(st.sampled_from(_scopes)),
    )


@settings(deadline=None, max_examples=150)
@given(st.lists(_records(), max_size=5))
def test_equals_the_sdks_encoder(records: list[ReadableLogRecord]) -> None:
    """Whatever the records hold, the message is the one the SDK builds."""
    assert encode(records) == encode_logs(records)


def test_trace_fields_are_carried() -> None:
    """Ids and flags, which our mapping never sets, are written where they belong."""
    record = LogRecord(timestamp=1, body="b")
    record.trace_id, record.span_id, record.trace_flags = 5, 6, 1  # type: ignore[assignment]
    readable = ReadableLogRecord(record, Resource({}), None)
    message = encode([readable]).resource_logs[0].scope_logs[0].log_records[0]
    assert (message.trace_id, message.span_id, message.flags) == (b"\0" * 15 + b"\5", b"\0" * 7 + b"\6", 1)


def test_nothing_is_an_empty_request() -> None:
    """No records, no bytes."""
    assert serialize([]) == b""
    assert encode([]) == ExportLogsServiceRequest()


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "\ud800", {1, 2}, [{"k": "\udc00"}]], ids=ascii)
def test_what_otlp_cannot_say_is_refused(value: Any) -> None:
    """A value without a form on the wire raises instead of being left out."""
    record = LogRecord(timestamp=1, body="b", attributes={"k": value})
    with pytest.raises(ValueError, match=r"integer|surrogates|type"):
        serialize([ReadableLogRecord(record, Resource({}), None)])


def test_many_attribute_names_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that never end do not fill the memory."""
    monkeypatch.setattr("exporter.wire._prefixes", {})
    monkeypatch.setattr("exporter.wire._MOST_NAMES", 10)
    for number in range(50):
        record = LogRecord(timestamp=1, attributes={f"a{number}": "v"})
        readable = ReadableLogRecord(record, Resource({}), None)
        assert encode([readable]) == encode_logs([readable])
    from exporter import wire

    assert len(wire._prefixes) == 10
