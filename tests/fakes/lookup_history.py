"""Event history as LookupEvents is documented to show it, with faults on demand; no network.

Used through :mod:`tests.fakes.lookup_events`.
"""

from __future__ import annotations

import base64
import bisect
import enum
import hashlib
import json
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from xml.sax.saxutils import escape

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.validate import ParamValidator

from exporter.clock import SystemClock
from exporter.contract import Clock

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


class Refused(Exception):
    """An error answer: its code, message and HTTP status."""

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
class EventHistory:
    """Events and the rules they are shown by. Attributes may be changed at any time.

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

    # -- answers --

    def look_up(self, region: str, key: str, parameters: dict[str, Any], fault: Fault) -> dict[str, Any]:
        """One LookupEvents request -> its reply. Raises Refused."""
        if fault.value and fault.value[0] >= 400:
            raise Refused(fault.value[1], f"scripted {fault.name}", fault.value[0])
        if region in self.unsupported:
            raise Refused("UnsupportedOperationException", f"not in {region}")
        account = self._account_of(key)
        if wrong := problems_of(parameters, operation().input_shape):
            self.model_problems.append(f"request: {wrong}")
            raise Refused("SerializationException", wrong)
        self._pace(account or "", region)
        now = self.clock.now()
        begin, end, category = self._times(parameters, now)
        attribute, value = self._attribute(parameters)
        size = parameters.get("MaxResults", 50)
        if not 1 <= size <= 50:
            raise Refused("InvalidMaxResultsException", "between 1 and 50")
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
        """Raises Refused for a key that is unknown or expired."""
        if key in self._sessions:
            account, expires = self._sessions[key]
            if self.clock.now() >= expires:
                raise Refused("ExpiredTokenException", "The security token included in the request is expired")
            return account
        if self.keys is not None and key not in self.keys:
            raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
        return self.account

    def _pace(self, account: str, region: str) -> None:
        if self.rate is None:
            return
        now = self.clock.monotonic()
        with self._lock:
            recent = self._recent.setdefault((account, region), deque(maxlen=self.rate))
            if len(recent) == self.rate and now - recent[0] < 1:
                raise Refused("ThrottlingException", "Rate exceeded")
            recent.append(now)

    def _times(self, parameters: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime, str | None]:
        begin = datetime.fromtimestamp(int(parameters.get("StartTime", (now - HISTORY).timestamp())), UTC)
        end = datetime.fromtimestamp(int(parameters.get("EndTime", now.timestamp())), UTC)
        # Whole seconds: the fraction of now is not held against whoever asks for exactly 90 days.
        if begin > end or begin < now - HISTORY - timedelta(seconds=1):
            raise Refused("InvalidTimeRangeException", f"{begin} to {end} is out of range")
        category = parameters.get("EventCategory")
        if category not in (None, "insight"):
            raise Refused("InvalidEventCategoryException", str(category))
        return begin, end, category

    def _attribute(self, parameters: Mapping[str, Any]) -> tuple[str | None, str]:
        attributes = parameters.get("LookupAttributes", [])
        if len(attributes) > 1:
            raise Refused("InvalidLookupAttributesException", "you can specify only one attribute")
        for attribute in attributes:
            if attribute["AttributeKey"] not in ATTRIBUTES or not 1 <= len(attribute["AttributeValue"]) <= 2000:
                raise Refused("InvalidLookupAttributesException", f"{attribute}: a known key, 1 to 2000 characters")
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
            raise Refused("InvalidNextTokenException", "not a token") from None
        if was_bound != bound:
            raise Refused("InvalidNextTokenException", "the token belongs to other parameters")
        if self.token_seconds is not None and now.timestamp() - began > self.token_seconds:
            raise Refused("InvalidNextTokenException", "the token has expired")
        return ((last[0], last[1]) if last else None), began

    def sts(self, form: Mapping[str, list[str]], key: str) -> str:
        """One STS call -> its XML. Raises Refused."""
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
                raise Refused("AccessDenied", f"not authorized to perform: sts:AssumeRole on resource: {role}", 403)
            expires = self.clock.now() + timedelta(seconds=self.role_seconds)
            session = f"ASIA{len(self._sessions):016}"
            self._sessions[session] = (role.split(":")[4], expires)
            body = (
                f"<Credentials><AccessKeyId>{session}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>"
                f"<SessionToken>token</SessionToken><Expiration>{expires:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>"
                f"<AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{escape(role)}</Arn></AssumedRoleUser>"
            )
        else:
            raise Refused("InvalidAction", action)
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
