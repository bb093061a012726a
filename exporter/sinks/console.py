"""Standard output: a line per event for people, or a flat JSON object per event for machines.

Both are made from the mapped log record, so what the mapping redacts is not shown here either.

Keys of ``json``, in this order; what an event does not have is left out: ``timestamp`` (eventTime, RFC 3339),
``uid`` (log.record.uid), ``severity``, ``event_source``, ``event_name``, ``outcome`` (``ok``, else the error type),
``principal_type``, ``principal`` (its display name), ``credential_class``, ``source_address``, ``account_id``,
``aws_region``, ``error_code``, ``error_message``, ``event_id``, ``request_id``, ``read_only``, ``user_agent``,
``correction_of`` (for a correction: the eventID it replaces).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from exporter.contract import Delivery, Finding, Record
from exporter.errors import Blocked, Permanent
from exporter.otel import ReadableLogRecord, SeverityNumber

__all__ = ["ConsoleSink"]

_LONGEST = 120
_RESET, _BOLD, _DIM, _GREEN, _YELLOW, _RED = "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[31m"

#: JSON key -> attribute of the log record.
_KEYS: tuple[tuple[str, str], ...] = (
    ("principal_type", "aws.principal.type"),
    ("principal", "aws.cloudtrail.principal.display_name"),
    ("credential_class", "aws.cloudtrail.credential.class"),
    ("source_address", "source.address"),
)
_MORE_KEYS: tuple[tuple[str, str], ...] = (
    ("error_code", "aws.error.code"),
    ("error_message", "aws.error.message"),
    ("event_id", "aws.cloudtrail.event_id"),
    ("request_id", "aws.request_id"),
    ("read_only", "aws.event.read_only"),
    ("user_agent", "user_agent.original"),
)


class ConsoleSink:
    """Writes records to a text stream, each batch at once and flushed.

    Args:
        mapper: a record -> its log record.
        format: ``text`` for people, ``json`` for machines.
        stream: where to; not closed here.
        colour: ANSI colours in ``text``.
    """

    def __init__(
        self,
        mapper: Callable[[Record], ReadableLogRecord],
        *,
        format: Literal["text", "json"] = "text",  # noqa: A002 - the name of the setting
        stream: TextIO,
        colour: bool,
    ) -> None:
        self._mapper = mapper
        self._line = _Text(colour=colour) if format == "text" else _json_line
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        self._lock = threading.Lock()

    def check(self) -> Iterable[Finding]:
        """Whether the stream can be written to."""
        try:
            if self._stream.closed:
                raise ValueError("it is closed")
            self._stream.flush()
        except (OSError, ValueError) as error:
            yield Finding(
                "error", "console", f"standard output cannot be written to: {error}", "connect it to a reader"
            )
        else:
            yield Finding("ok", "console", "writes to standard output")

    def send(self, records: Sequence[Record]) -> Delivery:
        """Write a line for each of the records.

        Raises:
            Blocked: nobody reads (a closed pipe), or the stream's file cannot take it.
            Permanent: a record cannot be written as text.
        """
        try:
            lines = [self._line(record, self._mapper(record)) for record in records]
            text = "".join(f"{line}\n" for line in lines)
            # A terminal that knows no UTF-8 gets \xNN for the rest.
            text = text.encode(self._encoding, "backslashreplace").decode(self._encoding)
        except Exception as error:
            raise Permanent(f"cannot be written: {type(error).__name__}: {error}", reason="encode") from error
        with self._lock:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (BrokenPipeError, ValueError) as error:  # ValueError: closed in this process
                raise Blocked(
                    f"nobody reads standard output ({error}); connect it again, or set another sink",
                    reason="unavailable",
                ) from error
            except OSError as error:
                raise Blocked(
                    f"standard output cannot take more: {error.strerror}; make room", reason="disk"
                ) from error
        return Delivery(delivered=len(records))

    def close(self) -> None:
        """Nothing is held: the stream is the caller's and every batch was flushed."""


class _Text:
    """One aligned line: time, service, event, outcome, account and region, from where, who, with what credentials."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, record: Record, mapped: ReadableLogRecord) -> str:
        attributes = _attributes(mapped)
        severity = mapped.log_record.severity_number or SeverityNumber.UNSPECIFIED
        tone = {SeverityNumber.WARN: _YELLOW, SeverityNumber.ERROR: _RED}.get(severity, _GREEN)
        who = _plain(attributes.get("aws.cloudtrail.principal.display_name"))
        kind = _plain(attributes.get("aws.cloudtrail.credential.class"))
        # What varies most in length stands last, so that the columns before it stay columns.
        columns = (
            (_time(record) or "-", 20, _DIM),
            (_plain(record.event_source.split(".")[0]), 14, _DIM),
            (_plain(record.event_name), 34, _BOLD),
            (_plain(_outcome(attributes)), 25, tone),
            (f"{_plain(record.account_id)}/{_plain(record.aws_region)}", 25, _DIM),
            (_plain(attributes.get("source.address")), 28, _DIM),
            (f"{who} ({kind})", 0, ""),
        )
        return "  ".join(self._cell(*column) for column in columns).rstrip()

    def _cell(self, text: str, width: int, tone: str) -> str:
        padded = text.ljust(width)
        return f"{tone}{padded}{_RESET}" if self._colour and tone else padded


def _json_line(record: Record, mapped: ReadableLogRecord) -> str:
    attributes = _attributes(mapped)
    line: dict[str, Any] = {
        "timestamp": _time(record),
        "uid": record.identity.uid,
        "severity": mapped.log_record.severity_text,
        "event_source": record.event_source,
        "event_name": record.event_name,
        "outcome": _outcome(attributes),
        **{key: attributes.get(name) for key, name in _KEYS},
        "account_id": record.account_id,
        "aws_region": record.aws_region,
        **{key: attributes.get(name) for key, name in _MORE_KEYS},
        "correction_of": attributes.get("aws.cloudtrail.addendum.original_event_id") if record.correction else None,
    }
    # ASCII: whatever reads it, an escape is understood, and no terminal acts on a control character.
    return json.dumps({key: value for key, value in line.items() if value not in (None, "")})


def _attributes(mapped: ReadableLogRecord) -> Mapping[str, Any]:
    return mapped.log_record.attributes or {}


def _outcome(attributes: Mapping[str, Any]) -> str:
    return str(attributes.get("error.type") or attributes.get("aws.error.code") or "ok")


def _time(record: Record) -> str:
    """``eventTime`` as RFC 3339; "" when there is none, or none that a calendar has."""
    if record.event_time_ns is None:
        return ""
    try:
        moment = datetime.fromtimestamp(record.event_time_ns // 1_000_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _plain(value: object) -> str:
    """Callers write these texts: nothing in them may move the cursor, break the line or fill the screen."""
    text = value if isinstance(value, str) else ""
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "…"
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "?" for character in text)
    return text or "-"
