"""OTLP receivers on loopback, over HTTP and gRPC, that answer by a script: faults are data.

They decode what they get with protobuf's own readers, not with our writers.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    path: str
    headers: Mapping[str, str]
    wire: bytes
    request: ExportLogsServiceRequest

    @property
    def uids(self) -> list[str]:
        return uids_of(self.request)


def uids_of(request: ExportLogsServiceRequest) -> list[str]:
    """``log.record.uid`` of every log record, in order."""
    return [
        attribute.value.string_value
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
        for attribute in record.attributes
        if attribute.key == "log.record.uid"
    ]


# -- what may happen over HTTP ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """A reply; without a body the success that fits the request."""

    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Silence:
    """Reads the request and never answers."""


@dataclass(frozen=True)
class Reset:
    """Reads the request and resets the connection."""


@dataclass(frozen=True)
class Trickle:
    """Sends the head, then a byte now and then for ever."""

    head: bytes
    byte: bytes = b"x"


@dataclass(frozen=True)
class Raw:
    """Sends these bytes and closes."""

    data: bytes


HttpEvent: TypeAlias = Answer | Silence | Reset | Trickle | Raw


class HttpReceiver:
    """OTLP/HTTP on a free port. What the script does not say is accepted.

    Attributes:
        script: what happens to the next requests, in order.
        always: what happens after that.
        decide: what happens to a request by what is in it; None: as the script says.
        requests: everything that came, refused or not.
        accepted: uids of what was answered with the plain success.
    """

    def __init__(self, *script: HttpEvent, always: HttpEvent = Answer(), tls: ssl.SSLContext | None = None) -> None:
        self.script = deque(script)
        self.always = always
        self.decide: Callable[[Received], HttpEvent | None] = lambda _: None
        self.requests: list[Received] = []
        self.accepted: list[str] = []
        self.over = threading.Event()
        self.lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                receiver._serve(self)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = _Quiet(("127.0.0.1", 0), Handler)
        self.server.tls = tls
        self.port: int = self.server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}/v1/logs"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> HttpReceiver:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        wire = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        received = Received(handler.path, headers, wire, _decode(wire, headers))
        with self.lock:
            self.requests.append(received)
            event = self.decide(received) or (self.script.popleft() if self.script else self.always)
            if isinstance(event, Answer) and event.status == 200 and event.body is None:
                self.accepted += received.uids
        if isinstance(event, Answer):
            self._answer(handler, event, headers)
            return
        handler.close_connection = True
        if isinstance(event, Reset):
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
        elif isinstance(event, Raw):
            handler.connection.sendall(event.data)
        else:
            self._never_end(handler, event)

    def _answer(self, handler: BaseHTTPRequestHandler, answer: Answer, request_headers: Mapping[str, str]) -> None:
        headers = dict(answer.headers)
        body = answer.body
        if body is None:
            kind = request_headers.get("content-type", PROTOBUF)
            headers.setdefault("content-type", kind)
            body = b"{}" if kind == "application/json" else ExportLogsServiceResponse().SerializeToString()
        handler.send_response_only(answer.status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _never_end(self, handler: BaseHTTPRequestHandler, event: Silence | Trickle) -> None:
        try:
            if isinstance(event, Trickle):
                handler.connection.sendall(event.head)
            while not self.over.wait(0.02):
                if isinstance(event, Trickle):
                    handler.connection.sendall(event.byte)
        except OSError:
            pass  # the client has had enough


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is not None:  # here and not in accept: a failing handshake is one connection's own affair
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def _decode(wire: bytes, headers: Mapping[str, str]) -> ExportLogsServiceRequest:
    body = gzip.decompress(wire) if headers.get("content-encoding") == "gzip" else wire
    if headers.get("content-type") == "application/json":
        return json_format.Parse(body, ExportLogsServiceRequest())
    return ExportLogsServiceRequest.FromString(body)


# -- gRPC ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GrpcAnswer:
    """A reply; ``details`` is the ``grpc-status-details-bin`` trailer."""

    code: str = "OK"
    message: str = ""
    details: bytes = b""
    body: bytes = b""


@dataclass(frozen=True)
class GrpcSilence:
    """Takes the call and never answers."""


class GrpcReceiver:
    """OTLP/gRPC on a free port, with the attributes of :class:`HttpReceiver`."""

    def __init__(
        self,
        *script: GrpcAnswer | GrpcSilence,
        always: GrpcAnswer | GrpcSilence = GrpcAnswer(),
        credentials: Any = None,
        port: int = 0,
    ) -> None:
        import grpc

        self.script = deque(script)
        self.always = always
        self.requests: list[Received] = []
        self.accepted: list[str] = []
        self.over = threading.Event()
        self.lock = threading.Lock()
        handler = grpc.method_handlers_generic_handler(
            "opentelemetry.proto.collector.logs.v1.LogsService",
            {"Export": grpc.unary_unary_rpc_method_handler(self._serve)},
        )
        self.server = grpc.server(ThreadPoolExecutor(8), handlers=(handler,), options=(("grpc.so_reuseport", 0),))
        address = f"localhost:{port}"
        secure = credentials is not None
        self.port = (
            self.server.add_secure_port(address, credentials) if secure else self.server.add_insecure_port(address)
        )
        self.url = f"{'https' if secure else 'http'}://localhost:{self.port}"

    def __enter__(self) -> GrpcReceiver:
        self.server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.over.set()
        self.server.stop(0).wait()

    def _serve(self, wire: bytes, context: Any) -> bytes:
        import grpc

        request = ExportLogsServiceRequest.FromString(wire)
        received = Received("", dict(context.invocation_metadata()), wire, request)
        with self.lock:
            self.requests.append(received)
            event = self.script.popleft() if self.script else self.always
            if event == GrpcAnswer():
                self.accepted += received.uids
        if isinstance(event, GrpcSilence):
            self.over.wait()
            return b""
        if event.details:
            context.set_trailing_metadata((("grpc-status-details-bin", event.details),))
        if event.code != "OK":
            context.set_code(grpc.StatusCode[event.code])
            context.set_details(event.message)
        return event.body


@contextmanager
def nobody() -> Iterator[int]:
    """A port on which nothing listens and nothing else will meanwhile: bound, not listening."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
