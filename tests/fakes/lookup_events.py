"""A LookupEvents server on loopback that behaves as the real one is documented to, and misbehaves on demand.

It speaks JSON 1.1 for CloudTrail and the query protocol for the two STS calls a source makes. Requests and replies are
checked against botocore's own service model; what the model cannot say (one attribute, 50 a page, tokens bound to their
parameters, 90 days, 2 requests per second) is enforced here. Region and access key are read from the signature, whose
value is not checked.

    with FakeLookupEvents(clock=clock) as fake:
        fake.add(record, visible_at=later)
        fake.script("us-east-1", Fault.THROTTLE, Fault.OK, Fault.RESET)
        LookupSource(endpoint_url=fake.url, ...)

As a process: ``python -m tests.fakes.lookup_events --port 0 --events records.jsonl`` prints its address; a record may
carry ``"_visible_at"``; ``POST /_add`` takes more lines, ``POST /_fault`` ``{"region": "*", "faults": ["THROTTLE"]}``,
``GET /_requests`` tells what was asked.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import struct
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from tests.fakes.lookup_history import EventHistory, Fault, Refused, Request

__all__ = ["TARGET", "FakeLookupEvents", "Fault", "Request"]

TARGET = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents"


@dataclass
class FakeLookupEvents(EventHistory):
    """Event history behind HTTP.

    Attributes:
        port: where to listen; 0: anywhere.
    """

    port: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._stopped = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeLookupEvents:
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nothing to print."""


def _handler(fake: FakeLookupEvents) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Silence."""

        def do_GET(self) -> None:
            if self.path == "/_requests":
                rows = [{"region": r.region, "answer": r.answer, "parameters": r.parameters} for r in fake.asked()]
                self._send(200, json.dumps({"requests": rows, "model_problems": fake.model_problems}))
            else:
                self._send(404, "{}")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/_add":
                self._send(200, json.dumps({"added": fake.add_lines(body.decode())}))
            elif self.path == "/_fault":
                wanted = json.loads(body)
                fake.script(wanted.get("region", "*"), *(Fault[name] for name in wanted["faults"]))
                self._send(200, "{}")
            else:
                self._aws(body)

        def _aws(self, body: bytes) -> None:
            scope = re.search(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/", self.headers.get("Authorization", ""))
            if scope is None:
                self._refuse(Refused("MissingAuthenticationTokenException", "no signature"))
                return
            key, region, service = scope.groups()
            if service == "sts":
                self._sts(body, key)
                return
            if self.headers.get("X-Amz-Target") != TARGET:
                self._refuse(Refused("UnknownOperationException", str(self.headers.get("X-Amz-Target"))))
                return
            parameters, fault = json.loads(body), fake.next_fault(region)
            reply: dict[str, Any] | Refused
            try:
                reply = fake.look_up(region, key, parameters, fault)
                answer = fault.name
            except Refused as refused:
                reply, answer = refused, refused.code
            agent = str(self.headers.get("User-Agent"))
            fake.requests.append(Request(fake.clock.monotonic(), region, key, parameters, agent, answer))
            match fault:
                case Fault.RESET:
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.close_connection = True
                    self.connection.close()
                case Fault.HANG:
                    fake._stopped.wait(30)
                    self.close_connection = True
                case Fault.HTML:
                    self._send(200, "<html>Please sign in to the proxy</html>", "text/html")
                case _ if isinstance(reply, Refused):
                    self._refuse(reply)
                case _:
                    self._send(200, json.dumps(reply))

        def _sts(self, body: bytes, key: str) -> None:
            try:
                self._send(200, fake.sts(parse_qs(body.decode()), key), "text/xml")
            except Refused as refused:
                code = {"ExpiredTokenException": "ExpiredToken"}.get(refused.code, refused.code)
                code = {"UnrecognizedClientException": "InvalidClientTokenId"}.get(code, code)
                text = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(str(refused))}</Message></Error>"
                xml = f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{text}</ErrorResponse>'
                self._send(403, xml, "text/xml")

        def _refuse(self, refused: Refused) -> None:
            self._send(refused.status, json.dumps({"__type": refused.code, "message": str(refused)}))

        def _send(self, status: int, text: str, kind: str = "application/x-amz-json-1.1") -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def main() -> None:
    """Serve until killed; the first line printed is the address."""
    parser = argparse.ArgumentParser(description="a LookupEvents server for end-to-end tests")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--events", type=Path, help="records, one per line")
    parser.add_argument("--rate", type=int, default=2, help="requests per second, account and region; 0: no limit")
    options = parser.parse_args()
    fake = FakeLookupEvents(port=options.port, rate=options.rate or None)
    if options.events:
        fake.add_lines(options.events.read_text())
    with fake:
        print(fake.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
