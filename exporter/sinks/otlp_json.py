"""OTLP/JSON: an export request as JSON text, as the Collector's file exporter and receivers read and write it.

Source: opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding": lowerCamelCase keys, 64-bit integers as
decimal strings, enums as numbers, trace and span ids as hex, other bytes as base64; fields at their default are left
out. Written for these messages alone, in the order of their declaration, because ``google.protobuf.json_format`` takes
several times as long.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from math import isfinite, isnan
from typing import Any

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

__all__ = ["request_json"]

_encode = msgspec.json.Encoder().encode


def request_json(request: ExportLogsServiceRequest) -> bytes:
    """The request as one line of UTF-8 JSON, without a line end. An empty request is ``{}``."""
    groups = [_resource_logs(group) for group in request.resource_logs]
    return _encode({"resourceLogs": groups} if groups else {})


def _resource_logs(group: ResourceLogs) -> dict[str, Any]:
    resource: dict[str, Any] = {}
    if group.resource.attributes:
        resource["attributes"] = _key_values(group.resource.attributes)
    if group.resource.dropped_attributes_count:
        resource["droppedAttributesCount"] = group.resource.dropped_attributes_count
    written: dict[str, Any] = {"resource": resource, "scopeLogs": [_scope_logs(scope) for scope in group.scope_logs]}
    if group.schema_url:
        written["schemaUrl"] = group.schema_url
    return written


def _scope_logs(group: ScopeLogs) -> dict[str, Any]:
    written: dict[str, Any] = {
        "scope": _scope(group.scope),
        "logRecords": [_log_record(record) for record in group.log_records],
    }
    if group.schema_url:
        written["schemaUrl"] = group.schema_url
    return written


def _scope(scope: InstrumentationScope) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if scope.name:
        written["name"] = scope.name
    if scope.version:
        written["version"] = scope.version
    if scope.attributes:
        written["attributes"] = _key_values(scope.attributes)
    if scope.dropped_attributes_count:
        written["droppedAttributesCount"] = scope.dropped_attributes_count
    return written


def _log_record(record: LogRecord) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if record.time_unix_nano:
        written["timeUnixNano"] = str(record.time_unix_nano)
    if record.observed_time_unix_nano:
        written["observedTimeUnixNano"] = str(record.observed_time_unix_nano)
    if record.severity_number:
        written["severityNumber"] = int(record.severity_number)
    if record.severity_text:
        written["severityText"] = record.severity_text
    if record.HasField("body"):
        written["body"] = _value(record.body)
    if record.attributes:
        written["attributes"] = _key_values(record.attributes)
    if record.dropped_attributes_count:
        written["droppedAttributesCount"] = record.dropped_attributes_count
    if record.flags:
        written["flags"] = record.flags
    if record.trace_id:
        written["traceId"] = record.trace_id.hex()
    if record.span_id:
        written["spanId"] = record.span_id.hex()
    if record.event_name:
        written["eventName"] = record.event_name
    return written


def _key_values(pairs: Iterable[KeyValue]) -> list[dict[str, Any]]:
    return [{"key": pair.key, "value": _value(pair.value)} for pair in pairs]


def _value(value: AnyValue) -> dict[str, Any]:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return {"stringValue": value.string_value}
    if kind == "int_value":
        return {"intValue": str(value.int_value)}
    if kind == "bool_value":
        return {"boolValue": value.bool_value}
    if kind == "double_value":
        return {"doubleValue": _number(value.double_value)}
    if kind == "kvlist_value":
        pairs = value.kvlist_value.values
        return {"kvlistValue": {"values": _key_values(pairs)} if pairs else {}}
    if kind == "array_value":
        items = value.array_value.values
        return {"arrayValue": {"values": [_value(item) for item in items]} if items else {}}
    if kind == "bytes_value":
        return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
    return {}


def _number(value: float) -> float | str:
    """The JSON mapping of protobuf writes what JSON has no number for as text."""
    if isfinite(value):
        return value
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
