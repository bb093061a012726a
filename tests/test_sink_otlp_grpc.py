"""OTLP over gRPC against a real server on loopback: what is sent, and every code."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse

from exporter.clock import SystemClock
from exporter.errors import Blocked, ConfigError, ExporterError, Permanent, Retryable, TooLarge
from exporter.mapping import Mapper
from exporter.metrics import Metrics
from exporter.sinks.otlp import OtlpSink
from exporter.testing.sink import a_record
from tests.fakes.otlp_receiver import GrpcAnswer, GrpcReceiver, GrpcSilence, nobody

MakeSink = Callable[..., OtlpSink]


@pytest.fixture
def make() -> Iterator[MakeSink]:
    """Makes gRPC sinks and closes them afterwards."""
    with ExitStack() as stack:

        def sink(endpoint: str, **settings: object) -> OtlpSink:
            settings = {
                "clock": SystemClock(),
                "metrics": Metrics(platform_collectors=False),
                "timeout_seconds": 5,
                **settings,
            }
            made = OtlpSink(Mapper(), protocol="grpc", endpoint=endpoint, **settings)  # type: ignore[arg-type]
            stack.callback(made.close)
            return made

        yield sink


@pytest.fixture
def receiver() -> Iterator[GrpcReceiver]:
    with GrpcReceiver() as receiver:
        yield receiver


def send_two(sink: OtlpSink) -> ExporterError:
    """The error that sending two records ends in."""
    with pytest.raises(ExporterError) as caught:
        sink.send([a_record(1), a_record(2)])
    return caught.value


def retry_info(seconds: int) -> bytes:
    """A google.rpc.Status with a RetryInfo: field numbers 3 (details) and 1 (retry_delay)."""
    delay = Duration(seconds=seconds).SerializeToString()
    packed = AnyMessage(
        type_url="type.googleapis.com/google.rpc.RetryInfo", value=bytes([0x0A, len(delay)]) + delay
    ).SerializeToString()
    return bytes([0x1A, len(packed)]) + packed


def test_headers_are_metadata_in_lower_case(make: MakeSink, receiver: GrpcReceiver) -> None:
    """gRPC refuses upper case in metadata; our headers arrive all the same, and so does who we are."""
    make(receiver.url, headers={"Authorization": "Bearer abc"}).send([a_record(1)])
    [request] = receiver.requests
    assert request.headers["authorization"] == "Bearer abc"
    assert request.headers["user-agent"].startswith("cloudtrail-exporter/")


CODES: dict[str, tuple[type[ExporterError], str]] = {
    "CANCELLED": (Retryable, "connection"),
    "UNKNOWN": (Retryable, "server"),
    "INVALID_ARGUMENT": (Permanent, "invalid"),
    "DEADLINE_EXCEEDED": (Retryable, "timeout"),
    "NOT_FOUND": (Blocked, "not_found"),
    "ALREADY_EXISTS": (Permanent, "invalid"),
    "PERMISSION_DENIED": (Blocked, "access_denied"),
    "RESOURCE_EXHAUSTED": (Retryable, "throttled"),
    "FAILED_PRECONDITION": (Blocked, "unavailable"),
    "ABORTED": (Retryable, "server"),
    "OUT_OF_RANGE": (Retryable, "server"),
    "UNIMPLEMENTED": (Blocked, "not_otlp"),
    "INTERNAL": (Retryable, "server"),
    "UNAVAILABLE": (Retryable, "unavailable"),
    "DATA_LOSS": (Retryable, "server"),
    "UNAUTHENTICATED": (Blocked, "expired_credentials"),
}


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_what_the_loop_has_to_do(make: MakeSink, receiver: GrpcReceiver, code: str) -> None:
    """Every code over the wire: hold, hold and call, quarantine."""
    receiver.always = GrpcAnswer(code, "words")
    error = send_two(make(receiver.url))
    assert (type(error), error.reason) == CODES[code]
    assert "words" in str(error)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
def test_retry_info_is_handed_on(make: MakeSink, receiver: GrpcReceiver, code: str) -> None:
    """The pause in the trailer reaches the loop."""
    receiver.always = GrpcAnswer(code, "busy", retry_info(21))
    error = send_two(make(receiver.url))
    assert isinstance(error, Retryable)
    assert error.after == 21.0


def test_a_real_server_limit_is_too_large(make: MakeSink, receiver: GrpcReceiver) -> None:
    """A real gRPC server that refuses over 4 MiB is understood."""
    sink = make(receiver.url, max_request_bytes=64_000_000, compression="none")
    with pytest.raises(TooLarge) as caught:
        sink.send([a_record(n, requestParameters={"text": "x" * 300_000}) for n in range(12)])
    assert "arger than max" in str(caught.value)


def test_partial_success(make: MakeSink, receiver: GrpcReceiver) -> None:
    """OK with a partial success says how many were refused."""
    partial = ExportLogsPartialSuccess(rejected_log_records=1, error_message="too old")
    receiver.always = GrpcAnswer(body=ExportLogsServiceResponse(partial_success=partial).SerializeToString())
    delivery = make(receiver.url).send([a_record(1), a_record(2)])
    assert (delivery.delivered, delivery.rejected, delivery.reason) == (1, 1, "too old")


def test_the_timeout_bounds_the_call(make: MakeSink, receiver: GrpcReceiver) -> None:
    """A receiver that never answers is left, and the next call works."""
    receiver.script.append(GrpcSilence())
    sink = make(receiver.url, timeout_seconds=0.5)
    error = send_two(sink)
    assert (type(error), error.reason) == (Retryable, "timeout")
    assert sink.send([a_record(1)]).delivered == 1


def test_a_refused_connection_is_tried_again(make: MakeSink) -> None:
    """Nobody listens: it may yet start."""
    with nobody() as port:
        error = send_two(make(f"http://127.0.0.1:{port}"))
    assert (type(error), error.reason) == (Retryable, "connection")
    assert "check that the receiver runs" in str(error)


def test_it_finds_a_receiver_that_came_back(make: MakeSink) -> None:
    """After the receiver was restarted the first send reaches it: no back-off of gRPC's own is in the way."""
    with GrpcReceiver() as first:
        sink = make(first.url)
        sink.send([a_record(1)])
    send_two(sink)
    with GrpcReceiver(port=first.port) as second:
        assert sink.send([a_record(2)]).delivered == 1
        assert second.accepted == [a_record(2).identity.uid]


def test_proxy_variables_are_not_used(make: MakeSink, receiver: GrpcReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address inside the cluster does not go through a proxy by accident."""
    with nobody() as port:
        for name in ("grpc_proxy", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        assert make(receiver.url).send([a_record(1)]).delivered == 1


def test_without_grpcio_the_extra_is_named(make: MakeSink, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is missing: a configuration error with the command that installs it."""
    real = builtins.__import__

    def without_grpc(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "grpc":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_grpc)
    with pytest.raises(ConfigError) as caught:
        make("http://localhost:4317")
    assert "pip install 'cloudtrail-exporter[grpc]'" in str(caught.value)
