"""A FilterLogEvents server on loopback that behaves as the real one is documented to, and misbehaves on demand.

JSON 1.1, requests checked against botocore's service model; what the model cannot say (both bounds inclusive, pages in
the order of time, tokens bound to their parameters for 24 hours, 5 requests per second, JSON patterns that match JSON
only) is enforced here. moto knows none of these.

    with FakeLogEvents(clock=clock) as fake:
        fake.add("trail", record, at=NOW, visible_at=later)
        fake.script(Fault.THROTTLE, Fault.OK, Fault.RESET)
"""

from __future__ import annotations

import base64
import bisect
import enum
import hashlib
import json
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from exporter.clock import SystemClock
from exporter.contract import Clock

__all__ = ["FakeLogEvents", "Fault", "Request"]

_TARGET = "Logs_20140328.FilterLogEvents"
_CONDITION = re.compile(r'\$\.([A-Za-z.]+) = "((?:[^"\\]|\\.)*)"')


class Fault(enum.Enum):
    """What happens to one request: (status, code, message) where it is an answer of AWS."""

    OK = ()
    THROTTLE = (400, "ThrottlingException", "Rate exceeded")
    LIMIT = (400, "LimitExceededException", "Too many requests")
    UNAVAILABLE = (503, "ServiceUnavailableException", "The service cannot complete the request.")
    SERVER_ERROR = (500, "InternalFailure", "")
    ACCESS_DENIED = (
        400,
        "AccessDeniedException",
        "User: arn:aws:iam::111122223333:user/exporter is not authorized to perform: logs:FilterLogEvents",
    )
    EXPIRED_TOKEN = (400, "ExpiredTokenException", "The security token included in the request is expired")
    INVALID = (400, "InvalidParameterException", "Invalid filter pattern")
    UNKNOWN_OPERATION = (400, "UnknownOperationException", "")
    #: A proxy answers with a page of its own and status 200 ...
    HTML = (200, "html")
    #: ... or something answers with JSON that is no page of events.
    NO_EVENTS = (200, "no events")
    #: No events in this page, a token all the same.
    EMPTY_PAGE = (200, "empty")
    #: A token that leads to the same page for ever.
    SAME_TOKEN = (200, "same")
    #: An event without a message stands first in the page.
    BARE_EVENT = (200, "bare")
    #: The connection is reset.
    RESET = (0, "reset")


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class Request:
    """One FilterLogEvents that arrived, and how it was answered: "OK", a fault's name, or an error code."""

    region: str
    parameters: Mapping[str, Any]
    answer: str


@dataclass(frozen=True, slots=True)
class _Stored:
    order: tuple[int, int]
    stream: str
    message: str
    visible_at: datetime


@cache
def _input_shape() -> Any:
    model = ServiceModel(Loader().load_service_model("logs", "service-2"), "logs")
    return model.operation_model("FilterLogEvents").input_shape


def _value(record: Any, path: str) -> Any:
    for name in path.split("."):
        record = record.get(name) if isinstance(record, dict) else None
    return record


def _matches(pattern: str, message: str) -> bool:
    """A JSON pattern of equalities joined by ||, as the documentation writes them; anything else is refused."""
    if not pattern:
        return True
    inner = pattern.removeprefix("{ ").removesuffix(" }")
    parts = [inner] if _CONDITION.fullmatch(inner) else re.findall(r"\((.*?)\)(?: \|\| |$)", inner)
    rebuilt = parts[0] if parts == [inner] else " || ".join(f"({part})" for part in parts)
    found = [_CONDITION.fullmatch(part) for part in parts]
    if not found or None in found or pattern != f"{{ {rebuilt} }}":
        raise _Refused(*Fault.INVALID.value)
    try:
        record = json.loads(message)
    except ValueError:
        return False
    return any(match and _value(record, match[1]) == re.sub(r"\\(.)", r"\1", match[2]) for match in found)


@dataclass
class FakeLogEvents:
    """Log groups behind HTTP. Attributes may be changed at any time.

    Attributes:
        clock: decides what is visible, expired or too much.
        page: events per page.
        rate: requests per second and region.
        forgets_tokens: an expired token is answered with an empty page instead of an error.
    """

    clock: Clock = field(default_factory=SystemClock)
    page: int = 50
    rate: int = 5
    forgets_tokens: bool = False
    #: Every FilterLogEvents request, in order of arrival.
    asked: list[Request] = field(default_factory=list)
    #: What was wrong with requests by the service model: a test that finds any has found a bug.
    model_problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: dict[str, list[_Stored]] = {}
        self._faults: deque[Fault] = deque()
        self._recent: dict[str, deque[float]] = {}
        self._count = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeLogEvents:
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    # -- data --

    def create(self, group: str) -> None:
        """Let there be an (empty) log group."""
        self._groups.setdefault(group, [])

    def remove(self, group: str) -> None:
        """Let there be none."""
        del self._groups[group]

    def add(
        self,
        group: str,
        record: Mapping[str, Any] | str,
        *,
        at: datetime,
        stream: str = "111122223333_CloudTrail_us-east-1",
        visible_at: datetime | None = None,
    ) -> None:
        """Put a log event: a record, or any text; found from ``visible_at`` on (None: at once)."""
        with self._lock:
            self._count += 1
            stored = _Stored(
                order=(int(at.timestamp() * 1_000), self._count),
                stream=stream,
                message=record if isinstance(record, str) else json.dumps(record),
                visible_at=visible_at or datetime.min.replace(tzinfo=UTC),
            )
            bisect.insort(self._groups.setdefault(group, []), stored, key=lambda each: each.order)

    def script(self, *faults: Fault) -> None:
        """What happens to the next requests, one each; then all is well again."""
        self._faults.extend(faults)

    # -- answers --

    def answer(self, region: str, parameters: dict[str, Any], fault: Fault) -> dict[str, Any]:
        """One request -> its reply."""
        if fault.value and fault.value[0] >= 400:
            raise _Refused(*fault.value)
        report = ParamValidator().validate(parameters, _input_shape())
        unknown = set(parameters) - set(_input_shape().members)
        if report.has_errors() or unknown:
            self.model_problems.append(f"{report.generate_report()} {sorted(unknown)}")
        pattern = parameters.get("filterPattern", "")
        if len(pattern) > 1_024:
            raise _Refused(400, "InvalidParameterException", "filterPattern: at most 1024 characters")
        self._pace(region)
        if parameters["logGroupName"] not in self._groups:
            raise _Refused(400, "ResourceNotFoundException", "The specified log group does not exist.")
        bound = hashlib.sha256(
            json.dumps({k: v for k, v in parameters.items() if k != "nextToken"}, sort_keys=True).encode()
        ).hexdigest()
        cursor = self._cursor(parameters.get("nextToken"), bound)
        if cursor is None:
            return {"events": [], "searchedLogStreams": []}
        after, began = cursor
        size = min(self.page, parameters.get("limit", 10_000))
        begin, end, now = parameters.get("startTime", 0), parameters["endTime"], self.clock.now()
        with self._lock:
            found = [
                event
                for event in self._groups[parameters["logGroupName"]]
                if begin <= event.order[0] <= end
                and list(event.order) > after
                and event.visible_at <= now
                and _matches(pattern, event.message)
            ]
        page = [] if fault is Fault.EMPTY_PAGE else found[:size]
        last = list(page[-1].order) if page else after
        events: list[dict[str, Any]] = [
            {
                "logStreamName": event.stream,
                "timestamp": event.order[0],
                "message": event.message,
                "ingestionTime": event.order[0],
                "eventId": f"{event.order[1]:08}",
            }
            for event in page
        ]
        if fault is Fault.BARE_EVENT:
            events.insert(0, {"logStreamName": "bare", "eventId": "bare"})
        reply: dict[str, Any] = {"events": events, "searchedLogStreams": []}
        if len(found) > len(page) or fault is Fault.EMPTY_PAGE:
            reply["nextToken"] = self._token(bound, last, began)
        if fault is Fault.SAME_TOKEN:
            reply["nextToken"] = parameters.get("nextToken") or self._token(bound, after, began)
        return {"message": "an answer of another program"} if fault is Fault.NO_EVENTS else reply

    def _pace(self, region: str) -> None:
        now = self.clock.monotonic()
        recent = self._recent.setdefault(region, deque(maxlen=self.rate))
        if len(recent) == self.rate and now - recent[0] < 1:
            raise _Refused(*Fault.THROTTLE.value)
        recent.append(now)

    def _token(self, bound: str, last: list[int], began: float) -> str:
        return base64.urlsafe_b64encode(json.dumps([bound, last, began, len(self.asked)]).encode()).decode()

    def _cursor(self, token: str | None, bound: str) -> tuple[list[int], float] | None:
        """After which event to go on, and when the first page was asked for; None: the token is forgotten."""
        now = self.clock.now().timestamp()
        if token is None:
            return [-1, -1], now
        was_bound, last, began, _ = json.loads(base64.urlsafe_b64decode(token))
        if was_bound == bound and now - began <= timedelta(hours=24).total_seconds():
            return last, began
        if self.forgets_tokens:
            return None
        raise _Refused(400, "InvalidParameterException", "The specified nextToken is invalid.")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nothing to print."""


def _handler(fake: FakeLogEvents) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Silence."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/", self.headers.get("Authorization", ""))
            region, service = scope.groups() if scope else ("", "")
            if service == "sts":
                arn = "arn:aws:iam::111122223333:user/exporter"
                inner = f"<Arn>{arn}</Arn><UserId>AIDA</UserId><Account>111122223333</Account>"
                name = "GetCallerIdentity"
                self._send(
                    200,
                    f'<{name}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{name}Result>{inner}'
                    f"</{name}Result></{name}Response>",
                    "text/xml",
                )
                return
            assert self.headers.get("X-Amz-Target") == _TARGET
            fault = fake._faults.popleft() if fake._faults else Fault.OK
            parameters = json.loads(body)
            status, reply, answer = 200, {}, fault.name
            try:
                reply = fake.answer(region, parameters, fault)
            except _Refused as refused:
                status, reply = refused.status, {"__type": refused.code, "message": str(refused)}
                answer = refused.code
            fake.asked.append(Request(region, parameters, answer))
            if fault is Fault.RESET:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            elif fault is Fault.HTML:
                self._send(200, "<html>Please sign in to the proxy</html>", "text/html")
            else:
                self._send(status, json.dumps(reply))

        def _send(self, status: int, text: str, kind: str = "application/x-amz-json-1.1") -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler
