"""Replies of receivers, in all the forms they come in."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse

from exporter.contract import Delivery
from exporter.errors import REASONS
from exporter.sinks.bodies import JSON, PROTOBUF, plain_words
from exporter.sinks.replies import (
    GRPC,
    HTTP,
    Fault,
    GrpcReply,
    HttpReply,
    broken_connection,
    from_grpc,
    from_http,
)
from exporter.sinks.status import Status, read_status

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def partial(rejected: int, message: str = "") -> bytes:
    success = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=message)
    return ExportLogsServiceResponse(partial_success=success).SerializeToString()


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def status_bytes(message: str, retry: Duration | None = None) -> bytes:
    """google.rpc.Status, put together by hand from its published field numbers."""
    data = field(2, message.encode())
    if retry is not None:
        packed = AnyMessage(
            type_url="type.googleapis.com/google.rpc.RetryInfo", value=field(1, retry.SerializeToString())
        )
        data += field(3, packed.SerializeToString())
    return data


def http(status: int = 200, *, sent: str = PROTOBUF, records: int = 5, **reply: object) -> Delivery | Fault:
    return from_http(HttpReply(status, **reply), records=records, sent=sent, now=NOW)  # type: ignore[arg-type]


SUCCESSES = {
    "empty_without_type": ("", b"", Delivery(5)),
    "empty_protobuf": (PROTOBUF, b"", Delivery(5)),
    "protobuf_with_parameter": (f"{PROTOBUF}; charset=binary", b"", Delivery(5)),
    "octet_stream": ("application/octet-stream", b"", Delivery(5)),
    "json_to_protobuf": (JSON, b"{}", Delivery(5)),
    "json_empty": (JSON, b"", Delivery(5)),
    "json_null_partial": (JSON, b'{"partialSuccess":null}', Delivery(5)),
    "json_with_a_new_field": (JSON, b'{"partialSuccess":{},"new":1}', Delivery(5)),
    "rejected_some": (PROTOBUF, partial(2, "too old"), Delivery(3, 2, "too old")),
    "rejected_all": (PROTOBUF, partial(5, "no"), Delivery(0, 5, "no")),
    "warning": (PROTOBUF, partial(0, "please upgrade"), Delivery(5, 0, "please upgrade")),
    "rejected_more_than_sent": (PROTOBUF, partial(9, "odd"), Delivery(0, 5, "odd")),
    "rejected_negative": (PROTOBUF, partial(-1), Delivery(5)),
    "json_rejected_as_text": (
        JSON,
        b'{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"x"}}',
        Delivery(3, 2, "x"),
    ),
    "json_rejected_as_number": (JSON, b'{"partialSuccess":{"rejectedLogRecords":2}}', Delivery(3, 2)),
}


@pytest.mark.parametrize(("kind", "body", "expected"), SUCCESSES.values(), ids=SUCCESSES)
def test_a_response_message_is_a_delivery(kind: str, body: bytes, expected: Delivery) -> None:
    """Status 200 with an ExportLogsServiceResponse tells how many were accepted."""
    assert http(content_type=kind, body=body) == expected


@pytest.mark.parametrize("status", [200, 202, 204])
def test_every_2xx_with_a_response_message_counts(status: int) -> None:
    """Loki answers 204: a status of the hundred with an empty message is a success."""
    assert http(status) == Delivery(5)


NO_SUCCESSES = {
    "html": ("text/html", b"<html><title>Sign in</title></html>"),
    "empty_html": ("text/html", b""),
    "plain_ok": ("text/plain", b"OK"),
    "empty_plain": ("text/plain; charset=utf-8", b""),
    "html_without_type": ("", b"<!DOCTYPE html><html></html>"),
    "html_as_protobuf": (PROTOBUF, b"<html></html>"),
    "foreign_json": (JSON, b'{"status":"ok"}'),
    "json_list": (JSON, b"[]"),
    "not_json": (JSON, b"OK"),
    "deep_json": (JSON, b"[" * 100_000),
    "json_rejected_nonsense": (JSON, b'{"partialSuccess":{"rejectedLogRecords":"many"}}'),
    "json_rejected_infinite": (JSON, b'{"partialSuccess":{"rejectedLogRecords":1e999}}'),
    "json_partial_is_a_list": (JSON, b'{"partialSuccess":[1]}'),
    "cut_protobuf": (PROTOBUF, partial(2, "too old")[:-3]),
    "xml": ("application/xml", b""),
}


@pytest.mark.parametrize(("kind", "body"), NO_SUCCESSES.values(), ids=NO_SUCCESSES)
def test_anything_else_with_status_200_blocks(kind: str, body: bytes) -> None:
    """Who answers 200 with something else has accepted nothing, and an operator has to look."""
    outcome = http(content_type=kind, body=body)
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.reason) == ("block", "not_otlp")
    assert "sink.endpoint" in outcome.fix


def test_a_reply_over_the_limit_is_no_success() -> None:
    """A body that was not read to its end is not believed, whatever its beginning says."""
    outcome = http(content_type=PROTOBUF, body=b"", complete=False)
    assert isinstance(outcome, Fault)
    assert outcome.reason == "not_otlp"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("99999999", 3600.0),
        ("-5", None),
        ("soon", None),
        ("1e9", None),
        ("", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """Retry-After is seconds or a date; nonsense is ignored, and nobody makes us wait over an hour."""
    outcome = http(503, retry_after=value)
    assert isinstance(outcome, Fault)
    assert outcome.after == seconds


def test_retry_info_in_the_body_counts_when_there_is_no_header() -> None:
    """A Status in the body may carry RetryInfo; the header wins over it."""
    body = status_bytes("busy", Duration(seconds=4, nanos=500_000_000))
    without, both = http(429, body=body), http(429, body=body, retry_after="9")
    assert isinstance(without, Fault)
    assert isinstance(both, Fault)
    assert (without.after, both.after) == (4.5, 9.0)


WORDS = {
    "protobuf": (PROTOBUF, status_bytes("bad token")),
    "untyped": ("", status_bytes("bad token")),
    "json_status": (JSON, b'{"code":16,"message":"bad token"}'),
    "json_error": (JSON, b'{"error":"bad token"}'),
    "json_nested": (JSON, b'{"error":{"message":"bad token"}}'),
    "plain": ("text/plain", b"bad\ntoken\n"),
    "html": ("text/html; charset=utf-8", b"<style>b{}</style><h1>bad</h1> <p>token</p>"),
}


@pytest.mark.parametrize(("kind", "body"), WORDS.values(), ids=WORDS)
def test_the_words_of_an_error_are_found(kind: str, body: bytes) -> None:
    """What the receiver says is shown, however it is written."""
    outcome = http(401, content_type=kind, body=body)
    assert isinstance(outcome, Fault)
    assert outcome.text == "the receiver answered 401 Unauthorized: bad token"


def test_a_redirect_says_where_to_without_secrets() -> None:
    """The Location is named, less what may be a password or a token in it."""
    outcome = http(302, location="https://me:pw@login.example/v1/logs?token=abc#x")
    assert isinstance(outcome, Fault)
    assert outcome.text == "the receiver answered 302 Found, Location: https://login.example/v1/logs"


def test_an_unknown_status_is_shown_as_a_number() -> None:
    """A status without a name of its own is no trouble."""
    outcome = http(599)
    assert isinstance(outcome, Fault)
    assert outcome.text == "the receiver answered 599"


@pytest.mark.parametrize(
    ("message", "kind", "reason"),
    [
        ("grpc: received message larger than max (5000000 vs. 4194304)", "halve", "too_large"),
        ("SERVER: Received message larger than max (5000000 vs. 4194304)", "halve", "too_large"),
        ("gRPC message exceeds maximum size 4194304: 5000000", "halve", "too_large"),
        ("grpc: received message after decompression larger than max 4194304", "halve", "too_large"),
        ("CLIENT: Received message larger than max (5000000 vs. 4194304)", "block", "not_otlp"),
        ("quota exhausted", "retry", "throttled"),
        ("", "retry", "throttled"),
    ],
)
def test_resource_exhausted_without_retry_info(message: str, kind: str, reason: str) -> None:
    """One code for "too large" and "too often": the words tell them apart, and in doubt nothing is dropped."""
    outcome = from_grpc(GrpcReply("RESOURCE_EXHAUSTED", message), records=5)
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.reason) == (kind, reason)


def test_resource_exhausted_with_retry_info_waits() -> None:
    """RetryInfo promises a recovery, whatever the words are."""
    details = status_bytes("x", Duration(seconds=3))
    outcome = from_grpc(GrpcReply("RESOURCE_EXHAUSTED", "larger than max", details), records=5)
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.reason, outcome.after) == ("retry", "throttled", 3.0)


def test_a_grpc_body_that_is_no_response_blocks() -> None:
    """OK with something else in the message is no success."""
    outcome = from_grpc(GrpcReply("OK", body=b"\xff\xff"), records=5)
    assert isinstance(outcome, Fault)
    assert outcome.reason == "not_otlp"


def test_a_grpc_code_of_the_future_holds() -> None:
    """What is not known drops nothing."""
    outcome = from_grpc(GrpcReply("CODE_99", "?"), records=5)
    assert isinstance(outcome, Fault)
    assert outcome.kind == "retry"


def test_a_receivers_words_about_tls_are_not_ours() -> None:
    """UNAVAILABLE whose text talks of certificates behind the receiver is still only UNAVAILABLE."""
    outcome = from_grpc(GrpcReply("UNAVAILABLE", "backend: certificate verify failed"), records=5)
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.reason) == ("retry", "unavailable")


def test_every_reason_is_one_of_the_known() -> None:
    """Reasons become label values, so they are from the bounded set."""
    rows = [*HTTP.values(), *GRPC.values()]
    assert {row.reason for row in rows} <= set(REASONS)


@pytest.mark.parametrize(
    ("problem", "kind", "fix"),
    [
        ("certificate verify failed: self-signed certificate", "block", "sink.ca_file"),
        ("Hostname mismatch, certificate is not valid for 'x'", "block", "sink.ca_file"),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required", "block", "client_cert_file"),
        ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca", "block", "client_cert_file"),
        ("[SSL: SSLV3_ALERT_BAD_CERTIFICATE] sslv3 alert bad certificate", "block", "client_cert_file"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "block", "http://"),
        ("[SSL: NO_PROTOCOLS_AVAILABLE] no protocols available", "block", "TLS version"),
        ("EOF occurred in violation of protocol", "retry", "receiver runs"),
    ],
)
def test_tls_problems_name_the_setting(problem: str, kind: str, fix: str) -> None:
    """OpenSSL's words lead to the setting that mends them; a connection that just ended is tried again."""
    outcome = broken_connection(problem, tls=True)
    assert outcome.kind == kind
    assert fix in outcome.fix


def test_words_are_one_plain_line() -> None:
    """A receiver's text moves no cursor and starts no line."""
    assert plain_words("a\x1b[2J\r\nb\u2028c\x00 d") == "a [2J b c d"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_status_or_none(data: bytes) -> None:
    """Reading a Status raises nothing, whatever it is given."""
    status = read_status(data)
    assert status is None or isinstance(status, Status)


@given(seconds=st.integers(0, 10**9), nanos=st.integers(0, 999_999_999), message=st.text(max_size=20))
def test_a_status_is_read_as_it_was_written(seconds: int, nanos: int, message: str) -> None:
    """Message and RetryInfo come back, with the durations protobuf itself wrote."""
    status = read_status(status_bytes(message, Duration(seconds=seconds, nanos=nanos)))
    assert status is not None
    assert status.message == message
    assert status.retry_after == pytest.approx(seconds + nanos / 1e9)


JSON_BODIES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["partialSuccess", "rejectedLogRecords", "error", "message"]), inner, max_size=3
        )
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


@given(
    status=st.integers(100, 999),
    kind=st.sampled_from(["", PROTOBUF, JSON, "text/html", "text/plain", ";"]),
    body=st.binary(max_size=60) | JSON_BODIES,
    retry_after=st.text(max_size=12),
    location=st.text(max_size=30),
)
def test_any_http_reply_has_a_meaning(status: int, kind: str, body: bytes, retry_after: str, location: str) -> None:
    """Whatever comes back is a delivery that balances, or a fault with a known reason."""
    outcome = http(status, content_type=kind, body=body, retry_after=retry_after, location=location)
    if isinstance(outcome, Delivery):
        assert 200 <= status < 300
        assert outcome.delivered + outcome.rejected == 5
    else:
        assert outcome.reason in REASONS
        assert outcome.error().reason == outcome.reason
