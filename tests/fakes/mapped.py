"""Log records of events, for tests."""

from __future__ import annotations

from typing import Any

from exporter.mapping import Mapper, MappingOptions
from exporter.otel import ReadableLogRecord
from tests.fakes.events import record_of


def mapped(fields: dict[str, Any] | bytes, **options: Any) -> ReadableLogRecord:
    """The log record of an event, by options."""
    return Mapper(MappingOptions(**options))(record_of(fields))


def attributes(fields: dict[str, Any] | bytes, **options: Any) -> dict[str, Any]:
    """The attributes of an event's log record, in their order."""
    return dict(mapped(fields, **options).log_record.attributes or {})


def deep(levels: int) -> Any:
    """A map that nests so many levels."""
    value: Any = "end"
    for _ in range(levels):
        value = {"k": value}
    return value
