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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.validate import ParamValidator

from exporter.clock import SystemClock
from exporter.contract import Clock

TARGET = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents"
HISTORY = timedelta(days=90)
#: Lookup attribute -> where its value stands in the record.
ATTRIBUTES = {
    "EventId": "eventID",
    "EventName": "eventName",
    "EventSource": "eventSource",
    "ReadOnly": "readOnly",
    "Username": "userIdentity.userName",
    "AccessKeyId": "userIdentity.accessKeyId",
    "ResourceType": "resources.type",
    "ResourceName": "resources.ARN",
}


class Fault(enum.Enum):
    """What happens to one request; (status, code) where it is an answer of AWS."""

    OK = ()
    THROTTLE = (400, "ThrottlingException")
    LOST_TOKEN = (400, "InvalidNextTokenException")
    TIME_RANGE = (400, "InvalidTimeRangeException")
    ACCESS_DENIED = (400, "AccessDeniedException")
    EXPIRED_TOKEN = (400, "ExpiredTokenException")
    UNKNOWN_KEY = (400, "UnrecognizedClientException")
    UNSUPPORTED = (400, "UnsupportedOperationException")
    NOT_PERMITTED = (400, "OperationNotPermittedException")
    BAD_ATTRIBUTE = (400, "InvalidLookupAttributesException")
    SERVER_ERROR = (500, "InternalFailure")
    UNAVAILABLE = (503, "ServiceUnavailable")
    #: A proxy answers with a page of its own and status 200 ...
    HTML = (200, "html")
    #: ... or something answers with JSON that is no page of events.
    NO_EVENTS = (200, "no events")
    #: No events in this page, a token all the same.
    EMPTY_PAGE = (200, "empty")
    #: A token that leads to the same page for ever.
    SAME_TOKEN = (200, "same")
    #: An event whose CloudTrailEvent is missing stands first in the page.
    BARE_EVENT = (200, "bare")
    #: An event whose EventTime is no time stands first in the page.
    ODD_TIME = (200, "odd")
    #: Nothing is answered until the server stops or the client goes.
    HANG = (0, "hang")
    #: The connection is reset.
    RESET = (0, "reset")


@dataclass(frozen=True, slots=True)
class Request:
    """One LookupEvents request as it arrived; ``at`` is the monotonic clock."""

    at: float
    region: str
    access_key: str
    parameters: Mapping[str, Any]
    user_agent: str
    answer: str


@dataclass(frozen=True, slots=True)
class _Stored:
    record: Mapping[str, Any]
    text: str
    at: datetime
    region: str
    account: str
    visible_at: datetime
    order: tuple[int, str]
    values: Mapping[str, tuple[str, ...]]


class _Refused(Exception):
    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(message or code)
        self.code = code
        self.status = status


@cache
def operation() -> OperationModel:
    """LookupEvents as botocore's service model describes it."""
    model = Loader().load_service_model("cloudtrail", "service-2")
    return ServiceModel(model, "cloudtrail").operation_model("LookupEvents")


def problems_of(parameters: dict[str, Any], shape: Any) -> str:
    """What the service model finds wrong with a request or reply; "" for nothing. Unknown members are wrong."""
    report = ParamValidator().validate(parameters, shape)
    found = report.generate_report() if report.has_errors() else ""
    if unknown := set(parameters) - set(shape.members):
        found += f" unknown members {sorted(unknown)}"
    return found.strip()


def _values(record: object, path: str) -> Iterable[str]:
    name, _, rest = path.partition(".")
    value = record.get(name) if isinstance(record, dict) else None
    for each in value if isinstance(value, list) else [value]:
        if rest:
            yield from _values(each, rest)
        elif isinstance(each, bool):
            yield str(each).lower()
        elif each is not None:
            yield str(each)


@dataclass
class FakeLookupEvents:
    """The server and its data. Attributes may be changed while it runs.

    Attributes:
        clock: decides what is visible, too old, expired or too much.
        rate: requests per second, account and region; None: no limit.
        account: whose events are shown to a key that belongs to no assumed role; None: everybody's.
        unsupported: regions that answer UnsupportedOperationException.
        keys: access keys that are known; None: every key is.
        token_seconds: how long the tokens of one window hold, from its first page on; None: for ever.
        roles: role ARN -> external id asked for (None: any).
        role_seconds: how long the credentials of a role hold.
    """

    clock: Clock = field(default_factory=SystemClock)
    rate: int | None = 2
    account: str | None = None
    unsupported: set[str] = field(default_factory=set)
    keys: set[str] | None = None
    token_seconds: float | None = None
    roles: dict[str, str | None] = field(default_factory=dict)
    role_seconds: float = 3600
    port: int = 0
    #: Every LookupEvents request, in order of arrival.
    requests: list[Request] = field(default_factory=list)
    #: Names of the STS calls, in order of arrival.
    sts_calls: list[str] = field(default_factory=list)
    #: What was wrong with requests or replies by the service model: a test that finds any has found a bug.
    model_problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._stored: list[_Stored] = []
        self._faults: dict[str, deque[Fault]] = {}
        self._recent: dict[tuple[str, str], deque[float]] = {}
        self._sessions: dict[str, tuple[str, datetime]] = {}
        self._stopped = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    # -- data --

    def add(self, record: Mapping[str, Any] | str, *, visible_at: datetime | None = None, **wrapper: Any) -> None:
        """Let an event have happened.

        Args:
            record: the CloudTrail record, or the text of one that is no JSON.
            visible_at: from when on it is found; None: at once.
            wrapper: ``event_time``, ``region``, ``event_source`` for a text that has none.
        """
        fields = record if not isinstance(record, str) else _fields(wrapper)
        text = record if isinstance(record, str) else json.dumps(record)
        at = datetime.fromisoformat(str(fields["eventTime"])).astimezone(UTC).replace(microsecond=0)
        stored = _Stored(
            record=fields,
            text=text,
            at=at,
            region=str(fields.get("awsRegion", "us-east-1")),
            account=str(fields.get("recipientAccountId", "")),
            visible_at=visible_at or datetime.min.replace(tzinfo=UTC),
            order=(int(at.timestamp()), str(fields.get("eventID", ""))),
            values={name: tuple(_values(fields, path)) for name, path in ATTRIBUTES.items()},
        )
        with self._lock:
            bisect.insort(self._stored, stored, key=lambda each: each.order)

    def clear(self) -> None:
        """Let nothing have happened."""
        with self._lock:
            self._stored.clear()

    def add_lines(self, text: str) -> int:
        """Add one record per line; ``_visible_at`` in it says from when on it is found. Returns how many."""
        lines = [line for line in text.splitlines() if line.strip()]
        for line in lines:
            record = json.loads(line)
            visible = record.pop("_visible_at", None)
            self.add(record, visible_at=datetime.fromisoformat(visible) if visible else None)
        return len(lines)

    def script(self, region: str, *faults: Fault) -> None:
        """What happens to the next requests of a region ("*": any), one each; then all is well again."""
        with self._lock:
            self._faults.setdefault(region, deque()).extend(faults)

    def asked(self, region: str | None = None) -> list[Request]:
        """The requests so far, of one region if given."""
        with self._lock:
            return [request for request in self.requests if region in (None, request.region)]

    # -- life --

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

    # -- answers --

    def look_up(self, region: str, key: str, parameters: dict[str, Any], fault: Fault) -> dict[str, Any]:
        """One LookupEvents request -> its reply. Raises _Refused."""
        if fault.value and fault.value[0] >= 400:
            raise _Refused(fault.value[1], f"scripted {fault.name}", fault.value[0])
        if region in self.unsupported:
            raise _Refused("UnsupportedOperationException", f"not in {region}")
        account = self._account_of(key)
        if wrong := problems_of(parameters, operation().input_shape):
            self.model_problems.append(f"request: {wrong}")
            raise _Refused("SerializationException", wrong)
        self._pace(account or "", region)
        now = self.clock.now()
        begin, end, category = self._times(parameters, now)
        attribute, value = self._attribute(parameters)
        size = parameters.get("MaxResults", 50)
        if not 1 <= size <= 50:
            raise _Refused("InvalidMaxResultsException", "between 1 and 50")
        bound = hashlib.sha256(
            json.dumps(
                {k: v for k, v in parameters.items() if k != "NextToken"} | {"@": [region, key]}, sort_keys=True
            ).encode()
        ).hexdigest()
        after, began = self._cursor(parameters.get("NextToken"), bound, now)

        found: list[_Stored] = []
        with self._lock:
            # Newest first, from below the last page or from the end bound, down to the begin bound.
            top = after or (int(end.timestamp()) + 1, "")
            for place in range(bisect.bisect_left(self._stored, top, key=lambda each: each.order) - 1, -1, -1):
                event = self._stored[place]
                if event.at < begin or len(found) > size or category is not None:
                    break
                if (
                    event.region == region
                    and account in (None, event.account)
                    and event.visible_at <= now
                    and (attribute is None or value in event.values[attribute])
                ):
                    found.append(event)
        page = [] if fault is Fault.EMPTY_PAGE else found[:size]
        last = page[-1].order if page else after
        reply: dict[str, Any] = {"Events": [_wrapped(event) for event in page]}
        if len(found) > len(page) or fault is Fault.EMPTY_PAGE:
            reply["NextToken"] = self._token(bound, last, began)
        if fault is Fault.SAME_TOKEN:
            reply["NextToken"] = parameters.get("NextToken") or self._token(bound, None, began)
        if wrong := problems_of(reply, operation().output_shape):
            self.model_problems.append(f"reply: {wrong}")
        if fault is Fault.NO_EVENTS:
            return {"message": "an answer of another program"}
        if fault is Fault.BARE_EVENT:
            reply["Events"].insert(0, {"EventId": "bare", "EventName": "Bare"})
        if fault is Fault.ODD_TIME:
            reply["Events"].insert(
                0, {"EventId": "odd", "EventTime": "yesterday", "CloudTrailEvent": '{"eventID":"odd"}'}
            )
        return reply

    def _account_of(self, key: str) -> str | None:
        """Raises _Refused for a key that is unknown or expired."""
        if key in self._sessions:
            account, expires = self._sessions[key]
            if self.clock.now() >= expires:
                raise _Refused("ExpiredTokenException", "The security token included in the request is expired")
            return account
        if self.keys is not None and key not in self.keys:
            raise _Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
        return self.account

    def _pace(self, account: str, region: str) -> None:
        if self.rate is None:
            return
        now = self.clock.monotonic()
        with self._lock:
            recent = self._recent.setdefault((account, region), deque(maxlen=self.rate))
            if len(recent) == self.rate and now - recent[0] < 1:
                raise _Refused("ThrottlingException", "Rate exceeded")
            recent.append(now)

    def _times(self, parameters: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime, str | None]:
        begin = datetime.fromtimestamp(int(parameters.get("StartTime", (now - HISTORY).timestamp())), UTC)
        end = datetime.fromtimestamp(int(parameters.get("EndTime", now.timestamp())), UTC)
        # Whole seconds: the fraction of now is not held against whoever asks for exactly 90 days.
        if begin > end or begin < now - HISTORY - timedelta(seconds=1):
            raise _Refused("InvalidTimeRangeException", f"{begin} to {end} is out of range")
        category = parameters.get("EventCategory")
        if category not in (None, "insight"):
            raise _Refused("InvalidEventCategoryException", str(category))
        return begin, end, category

    def _attribute(self, parameters: Mapping[str, Any]) -> tuple[str | None, str]:
        attributes = parameters.get("LookupAttributes", [])
        if len(attributes) > 1:
            raise _Refused("InvalidLookupAttributesException", "you can specify only one attribute")
        for attribute in attributes:
            if attribute["AttributeKey"] not in ATTRIBUTES or not 1 <= len(attribute["AttributeValue"]) <= 2000:
                raise _Refused("InvalidLookupAttributesException", f"{attribute}: a known key, 1 to 2000 characters")
            return attribute["AttributeKey"], attribute["AttributeValue"]
        return None, ""

    def _token(self, bound: str, last: tuple[int, str] | None, began: float) -> str:
        nonce = len(self.requests)
        return base64.urlsafe_b64encode(json.dumps([bound, last, began, nonce]).encode()).decode()

    def _cursor(self, token: str | None, bound: str, now: datetime) -> tuple[tuple[int, str] | None, float]:
        """The last event of the page before, and when the first page was asked for."""
        if token is None:
            return None, now.timestamp()
        try:
            was_bound, last, began, _ = json.loads(base64.urlsafe_b64decode(token))
        except ValueError:
            raise _Refused("InvalidNextTokenException", "not a token") from None
        if was_bound != bound:
            raise _Refused("InvalidNextTokenException", "the token belongs to other parameters")
        if self.token_seconds is not None and now.timestamp() - began > self.token_seconds:
            raise _Refused("InvalidNextTokenException", "the token has expired")
        return ((last[0], last[1]) if last else None), began

    def sts(self, form: Mapping[str, list[str]], key: str) -> str:
        """One STS call -> its XML. Raises _Refused."""
        action = form.get("Action", [""])[0]
        self.sts_calls.append(action)
        if action == "GetCallerIdentity":
            account = self._account_of(key) or "111122223333"
            name = "assumed-role/reader/cloudtrail-exporter" if key in self._sessions else "user/exporter"
            body = f"<Arn>arn:aws:sts::{account}:{name}</Arn><UserId>AIDA</UserId><Account>{account}</Account>"
        elif action == "AssumeRole":
            self._account_of(key)
            role = form.get("RoleArn", [""])[0]
            wanted = self.roles.get(role)
            if role not in self.roles or (wanted is not None and form.get("ExternalId", [""])[0] != wanted):
                raise _Refused("AccessDenied", f"not authorized to perform: sts:AssumeRole on resource: {role}", 403)
            expires = self.clock.now() + timedelta(seconds=self.role_seconds)
            session = f"ASIA{len(self._sessions):016}"
            self._sessions[session] = (role.split(":")[4], expires)
            body = (
                f"<Credentials><AccessKeyId>{session}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>"
                f"<SessionToken>token</SessionToken><Expiration>{expires:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>"
                f"<AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{escape(role)}</Arn></AssumedRoleUser>"
            )
        else:
            raise _Refused("InvalidAction", action)
        return (
            f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>{body}'
            f"</{action}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>"
        )

    def next_fault(self, region: str) -> Fault:
        with self._lock:
            for name in (region, "*"):
                if self._faults.get(name):
                    return self._faults[name].popleft()
        return Fault.OK


def _fields(wrapper: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "eventTime": wrapper["event_time"],
        "awsRegion": wrapper.get("region", "us-east-1"),
        "eventSource": wrapper.get("event_source", "lookoutmetrics.amazonaws.com"),
        "eventID": wrapper.get("event_id", "text"),
    }


def _wrapped(event: _Stored) -> dict[str, Any]:
    record = event.record
    found: dict[str, Any] = {
        "EventId": str(record.get("eventID", "")),
        "EventName": str(record.get("eventName", "")),
        "EventTime": event.at.timestamp(),
        "EventSource": str(record.get("eventSource", "")),
        "ReadOnly": next(iter(_values(record, "readOnly")), "false"),
        "Resources": [],
        "CloudTrailEvent": event.text,
    }
    for name in ("Username", "AccessKeyId"):
        if event.values[name]:
            found[name] = event.values[name][0]
    return found


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
                self._refuse(_Refused("MissingAuthenticationTokenException", "no signature"))
                return
            key, region, service = scope.groups()
            if service == "sts":
                self._sts(body, key)
                return
            if self.headers.get("X-Amz-Target") != TARGET:
                self._refuse(_Refused("UnknownOperationException", str(self.headers.get("X-Amz-Target"))))
                return
            parameters, fault = json.loads(body), fake.next_fault(region)
            reply: dict[str, Any] | _Refused
            try:
                reply = fake.look_up(region, key, parameters, fault)
                answer = fault.name
            except _Refused as refused:
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
                case _ if isinstance(reply, _Refused):
                    self._refuse(reply)
                case _:
                    self._send(200, json.dumps(reply))

        def _sts(self, body: bytes, key: str) -> None:
            try:
                self._send(200, fake.sts(parse_qs(body.decode()), key), "text/xml")
            except _Refused as refused:
                code = {"ExpiredTokenException": "ExpiredToken"}.get(refused.code, refused.code)
                code = {"UnrecognizedClientException": "InvalidClientTokenId"}.get(code, code)
                text = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(str(refused))}</Message></Error>"
                xml = f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{text}</ErrorResponse>'
                self._send(403, xml, "text/xml")

        def _refuse(self, refused: _Refused) -> None:
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
