"""One SQS queue and the objects its messages name, on loopback, with time by a clock of the test and faults as data.

It speaks SQS's JSON 1.0 protocol (API reference of 2012-11-05) and S3's GetObject and HeadBucket by path. Unlike
moto it lets time pass by hand, loses a queue and gets it back, and refuses what it is told to refuse::

    with FakeQueue(clock=clock) as fake:
        fake.put("trail", "AWSLogs/...json.gz", data)
        fake.send(body)
        fake.script("ReceiveMessage", Fault(400, "QueueDoesNotExist"))
        fake.deny("trail", "AWSLogs/...json.gz", Fault(403, "AccessDenied"))
        SqsSource(queue_url=fake.queue_url, s3_endpoint_url=fake.url, ...)
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from exporter.contract import Clock

__all__ = ["FakeQueue", "Fault"]


@dataclass(frozen=True)
class Fault:
    """What is answered instead of the real thing.

    Attributes:
        query_code: SQS's older name of the error, sent in a header.
    """

    status: int
    code: str
    message: str = "so the test wants it"
    query_code: str = ""


class _Refused(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


@dataclass
class _Stored:
    id: str
    body: str
    sent: float
    visible_at: float
    receives: int = 0
    receipt: str = ""


@dataclass
class FakeQueue:
    """The server.

    Attributes:
        requests: (action, parameters) of each request to the queue, in order.
        got: (bucket, key) of each GetObject, in order.
        attributes: what GetQueueAttributes says beside the counts.
        overlooked: so many receives bring nothing though there is something, as a short poll may.
        dead: ids the redrive policy took, after ``max_receives`` receives.
    """

    clock: Clock
    max_receives: int = 0
    overlooked: int = 0
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    got: list[tuple[str, str]] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._messages: dict[str, _Stored] = {}
        self._objects: dict[tuple[str, str], bytes] = {}
        self._denied: dict[tuple[str, str], Fault] = {}
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._server: ThreadingHTTPServer | None = None
        self._number = 0
        self.buckets: set[str] = set()

    # -- what tests do --

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def queue_url(self) -> str:
        return f"{self.url}/111122223333/trail-events"

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Store an object."""
        self.buckets.add(bucket)
        self._objects[bucket, key] = data

    def deny(self, bucket: str, key: str, fault: Fault | None) -> None:
        """GetObject of this key fails from now on; None: works again."""
        if fault is None:
            self._denied.pop((bucket, key), None)
        else:
            self._denied[bucket, key] = fault

    def send(self, body: str) -> str:
        """A message; returns its id."""
        with self._changed:
            self._number += 1
            message = _Stored(f"m-{self._number}", body, self.clock.now().timestamp(), self.clock.monotonic())
            self._messages[message.id] = message
            self._changed.notify_all()
            return message.id

    def script(self, action: str, *faults: Fault) -> None:
        """The next requests of this action get these answers."""
        self._faults[action].extend(faults)

    def expire(self, id_: str) -> None:
        """Its receipt is worth nothing any more, as if somebody else had received it."""
        with self._lock:
            self._messages[id_].receipt = f"{id_}/elsewhere"

    def waiting(self) -> list[str]:
        """Ids of the messages that are there, in flight or not."""
        with self._lock:
            return list(self._messages)

    def visible(self) -> list[str]:
        """Ids of the messages that a receive would bring now."""
        with self._lock:
            now = self.clock.monotonic()
            return [message.id for message in self._messages.values() if message.visible_at <= now]

    def receives(self, id_: str) -> int:
        with self._lock:
            return self._messages[id_].receives

    def asked(self, action: str) -> list[dict[str, Any]]:
        """Parameters of the requests of this action."""
        with self._lock:
            return [parameters for name, parameters in self.requests if name == action]

    def wait_for(self, action: str, count: int = 1, seconds: float = 10) -> None:
        """Until so many requests of this action were answered."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked(action)) >= count, seconds), f"no {action} came"

    # -- the queue --

    def answer(self, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        with self._changed:
            if action == "ReceiveMessage" and not self._faults[action]:
                self._changed.wait_for(self.visible, parameters.get("WaitTimeSeconds", 0))
            self.requests.append((action, parameters))
            self._changed.notify_all()
            if self._faults[action]:
                raise _Refused(self._faults[action].popleft())
            method = getattr(self, f"_{action}", None)
            if method is None:
                raise _Refused(Fault(400, "UnknownOperationException"))
            reply: dict[str, Any] = method(parameters)
            return reply

    def _ReceiveMessage(self, parameters: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        now = self.clock.monotonic()
        taken: list[_Stored] = []
        if self.overlooked:
            self.overlooked -= 1
            return {}
        for message in [self._messages[id_] for id_ in self.visible()]:
            if self.max_receives and message.receives >= self.max_receives:
                self.dead.append(self._messages.pop(message.id).id)
                continue
            message.receives += 1
            message.receipt = f"{message.id}/{message.receives}"
            message.visible_at = now + parameters["VisibilityTimeout"]
            taken.append(message)
            if len(taken) == parameters["MaxNumberOfMessages"]:
                break
        return {
            "Messages": [
                {
                    "MessageId": message.id,
                    "ReceiptHandle": message.receipt,
                    "Body": message.body,
                    "Attributes": {
                        "ApproximateReceiveCount": str(message.receives),
                        "SentTimestamp": str(round(message.sent * 1_000)),
                    },
                }
                for message in taken
            ]
        }

    def _DeleteMessageBatch(self, parameters: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return self._each(parameters, lambda message, _: self._messages.pop(message.id))

    def _ChangeMessageVisibilityBatch(self, parameters: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        def change(message: _Stored, entry: dict[str, Any]) -> None:
            message.visible_at = self.clock.monotonic() + entry["VisibilityTimeout"]

        return self._each(parameters, change)

    def _each(self, parameters: dict[str, Any], change: Any) -> dict[str, Any]:
        by_receipt = {message.receipt: message for message in self._messages.values() if message.receipt}
        successful, failed = [], []
        for entry in parameters["Entries"]:
            message = by_receipt.get(entry["ReceiptHandle"])
            if message is None:
                failed.append({"Id": entry["Id"], "Code": "ReceiptHandleIsInvalid", "SenderFault": True})
            else:
                change(message, entry)
                successful.append({"Id": entry["Id"]})
        return {"Successful": successful, "Failed": failed}

    def _GetQueueAttributes(self, parameters: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        visible = len(self.visible())
        counts = {
            "ApproximateNumberOfMessages": str(visible),
            "ApproximateNumberOfMessagesNotVisible": str(len(self._messages) - visible),
        }
        return {"Attributes": counts | self.attributes}

    # -- the objects --

    def object_of(self, bucket: str, key: str) -> bytes:
        with self._lock:
            self.got.append((bucket, key))
            if fault := self._denied.get((bucket, key)):
                raise _Refused(fault)
            if (bucket, key) not in self._objects:
                raise _Refused(Fault(404, "NoSuchKey"))
            return self._objects[bucket, key]

    # -- the server --

    def __enter__(self) -> FakeQueue:
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nothing to print."""


def _handler(fake: FakeQueue) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Silence."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            action = str(self.headers.get("X-Amz-Target")).removeprefix("AmazonSQS.")
            try:
                reply = fake.answer(action, json.loads(body))
            except _Refused as refused:
                fault = refused.fault
                headers = {"x-amzn-query-error": f"{fault.query_code};Sender"} if fault.query_code else {}
                error = {"__type": f"com.amazonaws.sqs#{fault.code}", "message": fault.message}
                self._send(fault.status, json.dumps(error).encode(), "application/x-amz-json-1.0", headers)
            else:
                self._send(200, json.dumps(reply).encode(), "application/x-amz-json-1.0")

        def do_GET(self) -> None:
            bucket, _, key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
            try:
                data = fake.object_of(bucket, key)
            except _Refused as refused:
                fault = refused.fault
                text = f"<Error><Code>{fault.code}</Code><Message>{fault.message}</Message></Error>"
                self._send(fault.status, text.encode(), "application/xml")
            else:
                self._send(200, data, "binary/octet-stream", {"ETag": '"0f0f"'})

        def do_HEAD(self) -> None:
            bucket = urlsplit(self.path).path.strip("/")
            self._send(200 if bucket in fake.buckets else 404, b"", "application/xml")

        def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler
