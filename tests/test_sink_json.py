"""OTLP/JSON: what protobuf's own reader makes of what we write."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from exporter import __version__
from exporter.mapping import Mapper
from exporter.otel import encode
from exporter.record import Document, Record, parse
from exporter.sinks.otlp_json import request_json

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.one_of(
        st.builds(AnyValue),
        st.builds(AnyValue, string_value=TEXT),
        st.builds(AnyValue, bool_value=st.booleans()),
        st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
        st.builds(AnyValue, double_value=st.floats(allow_nan=False)),
        st.builds(AnyValue, bytes_value=st.binary(max_size=8)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: AnyValue(array_value=ArrayValue(values=items))),
        st.lists(st.builds(KeyValue, key=TEXT, value=inner), max_size=3).map(
            lambda pairs: AnyValue(kvlist_value=KeyValueList(values=pairs))
        ),
    ),
    max_leaves=6,
)
PAIRS = st.lists(st.builds(KeyValue, key=TEXT, value=VALUES), max_size=3)
RECORDS = st.builds(
    LogRecord,
    time_unix_nano=st.integers(0, 2**64 - 1),
    observed_time_unix_nano=st.integers(0, 2**64 - 1),
    severity_number=st.integers(0, 24),
    severity_text=TEXT,
    body=st.none() | VALUES,
    attributes=PAIRS,
    dropped_attributes_count=st.integers(0, 9),
    flags=st.integers(0, 2**32 - 1),
    event_name=TEXT,
)
REQUESTS = st.builds(
    ExportLogsServiceRequest,
    resource_logs=st.lists(
        st.builds(
            ResourceLogs,
            resource=st.builds(Resource, attributes=PAIRS, dropped_attributes_count=st.integers(0, 3)),
            schema_url=TEXT,
            scope_logs=st.lists(
                st.builds(
                    ScopeLogs,
                    scope=st.builds(
                        InstrumentationScope,
                        name=TEXT,
                        version=TEXT,
                        attributes=PAIRS,
                        dropped_attributes_count=st.integers(0, 3),
                    ),
                    schema_url=TEXT,
                    log_records=st.lists(RECORDS, max_size=3),
                ),
                max_size=2,
            ),
        ),
        max_size=2,
    ),
)


@given(REQUESTS)
def test_protobufs_own_reader_reads_the_same(request: ExportLogsServiceRequest) -> None:
    """Every request comes back equal, from one line of text."""
    line = request_json(request)
    assert b"\n" not in line
    assert json_format.Parse(line, ExportLogsServiceRequest()) == request


def test_names_numbers_and_ids_are_spelt_as_otlp_says() -> None:
    """lowerCamelCase, 64-bit integers as text, enums as numbers, ids in hex."""
    record = LogRecord(
        time_unix_nano=2**63,
        severity_number=9,
        trace_id=bytes(range(16)),
        span_id=bytes(range(8)),
        attributes=[
            KeyValue(key="n", value=AnyValue(int_value=-1)),
            KeyValue(key="b", value=AnyValue(bytes_value=b"\xff\x00")),
            KeyValue(key="nan", value=AnyValue(double_value=float("nan"))),
            KeyValue(key="inf", value=AnyValue(double_value=float("-inf"))),
        ],
    )
    request = ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=[record])])])
    [written] = json.loads(request_json(request))["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert written == {
        "timeUnixNano": "9223372036854775808",
        "severityNumber": 9,
        "traceId": "000102030405060708090a0b0c0d0e0f",
        "spanId": "0001020304050607",
        "attributes": [
            {"key": "n", "value": {"intValue": "-1"}},
            {"key": "b", "value": {"bytesValue": "/wA="}},
            {"key": "nan", "value": {"doubleValue": "NaN"}},
            {"key": "inf", "value": {"doubleValue": "-Infinity"}},
        ],
    }


def test_an_empty_request_is_an_empty_object() -> None:
    """What a check sends."""
    assert request_json(ExportLogsServiceRequest()) == b"{}"


@pytest.fixture
def sample() -> Record:
    """A record as AWS documents it, in short."""
    fields = {
        "eventVersion": "1.08",
        "userIdentity": {"type": "IAMUser", "userName": "fred"},
        "eventTime": "2021-01-09T00:18:12Z",
        "eventSource": "lookoutmetrics.amazonaws.com",
        "eventName": "DescribeAnomalyDetector",
        "awsRegion": "us-east-2",
        "requestParameters": {"limit": 5, "ratio": 0.5, "deep": {"list": [1, None, "é"]}},
        "eventID": "f2f879f8-xmpl-4475-9c0c-4291a389e14a",
        "recipientAccountId": "123456789012",
    }
    record = parse(Document(json.dumps(fields).encode(), "sample"), observed_ns=1_795_305_600_000_000_000)
    assert isinstance(record, Record)
    return record


def test_a_mapped_record_as_json(sample: Record, golden: Callable[[str, str], None]) -> None:
    """The whole shape, resource and scope included."""
    line = request_json(encode([Mapper()(sample)]))
    text = msgspec.json.format(line, indent=1).decode().replace(f'"{__version__}"', '"VERSION"')
    golden("sink_otlp.json", text + "\n")
