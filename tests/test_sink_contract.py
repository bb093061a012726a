"""The conformance suite over every sink there is."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from exporter.clock import SystemClock
from exporter.contract import Sink
from exporter.mapping import Mapper
from exporter.metrics import Metrics
from exporter.sinks.console import ConsoleSink
from exporter.sinks.file import FileSink
from exporter.sinks.otlp import OtlpSink
from exporter.testing.sink import SinkContract
from tests.fakes.otlp_receiver import Answer, GrpcAnswer, GrpcReceiver, HttpReceiver, uids_of


class _OverHttp(SinkContract):
    protocol = "http/protobuf"

    @pytest.fixture
    def receiver(self) -> Iterator[HttpReceiver]:
        with HttpReceiver() as receiver:
            yield receiver

    @pytest.fixture
    def sink(self, receiver: HttpReceiver) -> Iterator[Sink]:
        sink = OtlpSink(
            Mapper(),
            protocol=self.protocol,  # type: ignore[arg-type]
            endpoint=receiver.url,
            clock=SystemClock(),
            metrics=Metrics(platform_collectors=False),
        )
        yield sink
        sink.close()

    @pytest.fixture
    def accepted(self, receiver: HttpReceiver) -> Callable[[], list[str]]:
        return lambda: list(receiver.accepted)

    @pytest.fixture
    def fault(self, receiver: HttpReceiver) -> AbstractContextManager[object]:
        @contextmanager
        def broken() -> Iterator[None]:
            receiver.always = Answer(503, b"")
            yield
            receiver.always = Answer()

        return broken()


class TestOtlpHttpProtobuf(_OverHttp):
    """OTLP over HTTP, protobuf."""


class TestOtlpHttpJson(_OverHttp):
    """OTLP over HTTP, JSON."""

    protocol = "http/json"


class TestOtlpGrpc(SinkContract):
    """OTLP over gRPC."""

    @pytest.fixture
    def receiver(self) -> Iterator[GrpcReceiver]:
        with GrpcReceiver() as receiver:
            yield receiver

    @pytest.fixture
    def sink(self, receiver: GrpcReceiver) -> Iterator[Sink]:
        sink = OtlpSink(
            Mapper(),
            protocol="grpc",
            endpoint=receiver.url,
            clock=SystemClock(),
            metrics=Metrics(platform_collectors=False),
        )
        yield sink
        sink.close()

    @pytest.fixture
    def accepted(self, receiver: GrpcReceiver) -> Callable[[], list[str]]:
        return lambda: list(receiver.accepted)

    @pytest.fixture
    def fault(self, receiver: GrpcReceiver) -> AbstractContextManager[object]:
        @contextmanager
        def broken() -> Iterator[None]:
            receiver.always = GrpcAnswer("UNAVAILABLE", "shedding load")
            yield
            receiver.always = GrpcAnswer()

        return broken()


class _Output(io.StringIO):
    """A stream whose reader can go away."""

    gone = False

    def write(self, text: str) -> int:
        if self.gone:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)


class TestConsoleJson(SinkContract):
    """The console's JSON lines."""

    @pytest.fixture
    def stream(self) -> _Output:
        return _Output()

    @pytest.fixture
    def sink(self, stream: _Output) -> Sink:
        return ConsoleSink(Mapper(), format="json", stream=stream, colour=False)

    @pytest.fixture
    def accepted(self, stream: _Output) -> Callable[[], list[str]]:
        return lambda: [json.loads(line)["uid"] for line in stream.getvalue().splitlines()]

    @pytest.fixture
    def fault(self, stream: _Output) -> AbstractContextManager[object]:
        @contextmanager
        def gone() -> Iterator[None]:
            stream.gone = True
            yield
            stream.gone = False

        return gone()


class TestFile(SinkContract):
    """OTLP/JSON lines in a file."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "out" / "logs.jsonl"

    @pytest.fixture
    def sink(self, path: Path) -> Iterator[Sink]:
        path.parent.mkdir()
        sink = FileSink(Mapper(), path=path)
        yield sink
        sink.close()

    @pytest.fixture
    def accepted(self, path: Path) -> Callable[[], list[str]]:
        def read() -> list[str]:
            if not path.exists():
                return []
            assert path.read_bytes().endswith(b"\n")
            requests = [json_format.Parse(line, ExportLogsServiceRequest()) for line in path.open("rb")]
            return [uid for request in requests for uid in uids_of(request)]

        return read

    @pytest.fixture
    def fault(self, path: Path) -> AbstractContextManager[object]:
        @contextmanager
        def missing() -> Iterator[None]:
            os.rmdir(path.parent)
            yield
            path.parent.mkdir()

        return missing()
