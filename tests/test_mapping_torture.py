"""Whatever a record holds, a log record comes out and encodes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.mapping import Mapper, MappingOptions
from exporter.otel import ExportLogsServiceRequest, ReadableLogRecord, encode
from exporter.record import Document, Malformed, parse
from tests.fakes.events import FULL, record_of

#: The fields that :data:`FULL` lacks, each with a value.
MORE: dict[str, Any] = {
    "vpcEndpointId": "vpce-1",
    "vpcEndpointAccountId": "5",
    "addendum": {"reason": "UPDATED_DATA", "updatedFields": "a,b", "originalEventID": "e", "originalRequestID": "r"},
    "serviceEventDetails": {"k": 1},
    "edgeDeviceDetails": {"type": "x"},
    "eventContext": {"tagContext": {}},
    "tomorrow": {"x": 1},
}


#: Every field with a value, so that each can be replaced by something else.
EVERYTHING = {
    **FULL,
    **MORE,
    "userIdentity": FULL["userIdentity"],
}

TORTURE: dict[str, bytes] = {
    "null": b"null",
    "empty-text": b'""',
    "empty-map": b"{}",
    "empty-list": b"[]",
    "zero": b"0",
    "true": b"true",
    "text": b'"text"',
    "list": b'["a",1,null,{"b":[]}]',
    "digits": b"9" * 300,
    "nest": b'{"k":' * 39 + b"{}" + b"}" * 39,
    "surrogate": b'"a\\ud800b"',
    "surrogate-inside": b'{"\\udc00":["\\ud800"]}',
    "nan": b"NaN",
    "long": b'"' + b"x" * 70_000 + b'"',
}

_OPTIONS = [
    MappingOptions(),
    MappingOptions(body="map", parameters="json", emit_empty=True, credential_id=True),
    MappingOptions(body="sentence", original=True, rpc="v1_only", access_key="hash", user_names="hash"),
    MappingOptions(body="none", timestamp="observed", source_address="drop", user_names="drop", access_key="drop"),
]


def _paths(value: dict[str, Any], at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, child in value.items():
        found.append((*at, key))
        if key in ("userIdentity", "sessionContext", "sessionIssuer", "attributes", "tlsDetails", "addendum"):
            found += _paths(child, (*at, key)) if isinstance(child, dict) else []
    return found


def _replaced(path: tuple[str, ...], instead: bytes) -> bytes:
    fields = json.loads(json.dumps(EVERYTHING))
    inner = fields
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "@@@"
    return json.dumps(fields).encode().replace(b'"@@@"', instead)


def _round_trip(records: list[ReadableLogRecord]) -> ExportLogsServiceRequest:
    request = encode(records)
    assert ExportLogsServiceRequest.FromString(request.SerializeToString()) == request
    assert sum(len(scope.log_records) for group in request.resource_logs for scope in group.scope_logs) == len(records)
    return request


@pytest.mark.parametrize("torture", TORTURE)
def test_any_field_may_hold_anything(torture: str) -> None:
    """Each field replaced by a value of the wrong kind: the record comes out, and the whole batch encodes."""
    records = [record_of(_replaced(path, TORTURE[torture])) for path in _paths(EVERYTHING)]
    for options in _OPTIONS:
        _round_trip([Mapper(options)(record) for record in records])


_json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**18, 10**25)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from([*TORTURE, "arn:aws:iam::1:user/x", "a:b", "AIDA", "UPDATED_DATA", "AWSAccount", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
_keys = st.sampled_from(sorted({key for path in _paths(EVERYTHING) for key in path}))


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(_keys | st.text(st.characters(), max_size=5), _json_values, max_size=12),
    st.dictionaries(_keys, _json_values, max_size=8),
    st.sampled_from(_OPTIONS),
)
def test_any_object_maps_and_encodes(fields: dict[str, Any], user: dict[str, Any], options: MappingOptions) -> None:
    """Any JSON object is a record or a reason; every record becomes a log record that survives the wire."""
    if user:
        fields = {**fields, "userIdentity": user}
    parsed = parse(Document(json.dumps(fields).encode(), "x"), observed_ns=1)
    if isinstance(parsed, Malformed):
        return
    _round_trip([Mapper(options)(parsed)])
