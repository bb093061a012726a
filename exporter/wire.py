"""OTLP protobuf bytes of log records, written directly.

Building a message object for each attribute costs the SDK's encoder five to ten times what the mapping costs, and its
answer to a value it cannot write is to leave the attribute out. This writes the same bytes for what
:mod:`exporter.mapping` produces (opentelemetry-proto: collector/logs/v1, logs/v1, common/v1, resource/v1); a test
compares the two. Field numbers and wire types are fixed by the protocol's stability promise.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from exporter.otel import InstrumentationScope, ReadableLogRecord, Resource

__all__ = ["serialize"]

#: Texts shorter than this have lengths of one byte throughout: 126 and its two bytes of header would need two.
_SMALL: Final = 126
_MOST_NAMES: Final = 512


def _long_varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


#: Lengths of one byte, and of two as far as most records go.
_VARINTS: Final = [
    *(bytes((number,)) for number in range(128)),
    *(bytes((number & 0x7F | 0x80, number >> 7)) for number in range(128, 4096)),
]


def _varint(number: int) -> bytes:
    return _VARINTS[number] if number < 4096 else _long_varint(number)


def _field(tag: bytes, content: bytes) -> bytes:
    """A length-delimited field. The tag is (number << 3 | 2)."""
    return tag + _varint(len(content)) + content


_fixed64 = struct.Struct("<Q").pack
_double = struct.Struct("<d").pack


def _any_value(value: Any) -> bytes:
    """AnyValue: string 1, bool 2, int 3, double 4, array 5, kvlist 6, bytes 7; nothing at all for None."""
    if isinstance(value, str):
        return _field(b"\x0a", value.encode())
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if value is None:
        return b""
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError("an integer outside signed 64 bit")
        return b"\x18" + _varint(value & 0xFFFFFFFFFFFFFFFF)
    if isinstance(value, float):
        return b"\x21" + _double(value)
    if isinstance(value, Mapping):
        return _field(b"\x32", _key_values(b"\x0a", value))
    if isinstance(value, bytes):
        return _field(b"\x3a", value)
    if isinstance(value, Sequence):
        return _field(b"\x2a", b"".join([_field(b"\x0a", _any_value(item)) for item in value]))
    raise ValueError(f"a value of type {type(value).__name__}")


def _key_values(tag: bytes, values: Mapping[str, Any]) -> bytes:
    """Repeated KeyValue under the tag: key 1, value 2."""
    return b"".join(
        [_field(tag, _field(b"\x0a", key.encode()) + _field(b"\x12", _any_value(item))) for key, item in values.items()]
    )


class _Prefixes:
    """All bytes before a short string attribute's text, by its length: most attributes are that."""

    def __init__(self, name: str) -> None:
        self.head = _field(b"\x0a", name.encode()) + b"\x12"
        self.by_length: list[bytes] = [b""] * _SMALL

    def small(self, length: int) -> bytes:
        """Work one out for the first text of that length."""
        prefix = b"\x32" + _varint(len(self.head) + 3 + length) + self.head
        prefix += _varint(length + 2) + b"\x0a" + _varint(length)
        self.by_length[length] = prefix
        return prefix


_prefixes: dict[str, _Prefixes] = {}


def _prefixes_of(name: str) -> _Prefixes:
    known = _prefixes.get(name)
    if known is None:
        known = _Prefixes(name)
        if len(_prefixes) < _MOST_NAMES:
            _prefixes[name] = known
    return known


def _log_record(readable: ReadableLogRecord) -> bytes:
    """LogRecord: time 1, severity 2, 3, body 5, attributes 6, dropped 7, flags 8, ids 9, 10, observed 11, name 12."""
    record = readable.log_record
    out: list[bytes] = []
    if record.timestamp:
        out += (b"\x09", _fixed64(record.timestamp))
    if record.severity_number is not None and record.severity_number.value:
        out += (b"\x10", _varint(record.severity_number.value))
    if record.severity_text:
        out.append(_field(b"\x1a", record.severity_text.encode()))
    if record.body is not None:
        body = _any_value(record.body)
        out += (b"\x2a", _varint(len(body)), body)
    else:
        out.append(b"\x2a\x00")
    for name, value in (record.attributes or {}).items():
        prefixes = _prefixes.get(name) or _prefixes_of(name)
        if type(value) is str:
            encoded = value.encode()
            size = len(encoded)
            if size < _SMALL:
                out += (prefixes.by_length[size] or prefixes.small(size), encoded)
                continue
        content = _any_value(value)
        length = _varint(len(content))
        out += (b"\x32", _varint(len(prefixes.head) + len(length) + len(content)), prefixes.head, length, content)
    if readable.dropped_attributes:
        out += (b"\x38", _varint(readable.dropped_attributes))
    if record.trace_flags:
        out += (b"\x45", struct.pack("<I", int(record.trace_flags)))
    if record.trace_id:
        out.append(_field(b"\x4a", record.trace_id.to_bytes(16, "big")))
    if record.span_id:
        out.append(_field(b"\x52", record.span_id.to_bytes(8, "big")))
    if record.observed_timestamp:
        out += (b"\x59", _fixed64(record.observed_timestamp))
    if record.event_name:
        out.append(_field(b"\x62", record.event_name.encode()))
    return b"".join(out)


def _resource(resource: Resource) -> bytes:
    return _field(b"\x0a", _key_values(b"\x0a", resource.attributes or {}))


def _scope(scope: InstrumentationScope | None) -> bytes:
    """InstrumentationScope: name 1, version 2, attributes 3."""
    if scope is None:
        return b"\x0a\x00"
    content = b""
    if scope.name:
        content += _field(b"\x0a", scope.name.encode())
    if scope.version:
        content += _field(b"\x12", scope.version.encode())
    return _field(b"\x0a", content + _key_values(b"\x1a", scope.attributes or {}))


def _schema_url(url: str | None) -> bytes:
    return _field(b"\x1a", url.encode()) if url else b""


def _grouped(
    records: Iterable[ReadableLogRecord],
) -> Mapping[Resource, Mapping[InstrumentationScope | None, list[bytes]]]:
    groups: dict[Resource, dict[InstrumentationScope | None, list[bytes]]] = {}
    # Resources hash by writing JSON: ask by identity first.
    by_object: dict[tuple[int, int], list[bytes]] = {}
    for readable in records:
        resource, scope = readable.resource, readable.instrumentation_scope
        objects = (id(resource), id(scope))
        listed = by_object.get(objects)
        if listed is None:
            listed = groups.setdefault(resource, {}).setdefault(scope, [])
            by_object[objects] = listed
        content = _log_record(readable)
        listed += (b"\x12", _varint(len(content)), content)
    return groups


def serialize(records: Sequence[ReadableLogRecord]) -> bytes:
    """An ExportLogsServiceRequest with the records, grouped by resource and scope.

    Raises:
        ValueError: a value OTLP has no form for (a lone surrogate, an integer outside 64 bit, another type). What
            :class:`exporter.mapping.Mapper` returns has none.
    """
    out: list[bytes] = []
    for resource, scopes in _grouped(records).items():
        content = [_resource(resource)]
        for scope, listed in scopes.items():
            logs = b"".join([_scope(scope), *listed, _schema_url(scope.schema_url if scope else None)])
            content += (b"\x12", _varint(len(logs)), logs)
        content.append(_schema_url(resource.schema_url))
        joined = b"".join(content)
        out += (b"\x0a", _varint(len(joined)), joined)
    return b"".join(out)
