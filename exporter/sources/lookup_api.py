"""One page of LookupEvents: paced, its events as documents.

Errors and limits: CloudTrail API reference, "LookupEvents"; what a poller does about each is in
:mod:`exporter.sources.aws_errors`, but for the two that move a window, :class:`~exporter.sources.windows.TokenLost` and
:class:`~exporter.sources.windows.TooOld`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from exporter.contract import Document, Item, Malformed
from exporter.errors import Blocked, Retryable
from exporter.metrics import Metrics
from exporter.sources.aws import Clients
from exporter.sources.aws_errors import code_of
from exporter.sources.ratelimit import RateLimits
from exporter.sources.windows import Page, TokenLost, TooOld

__all__ = ["IAM_POLICY", "EventHistory", "Window"]

#: Everything the source needs to be allowed. LookupEvents has no resource-level permission.
IAM_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "Lookup", "Effect": "Allow", "Action": "cloudtrail:LookupEvents", "Resource": "*"}],
    }
)

_API = "LookupEvents"
_PAGE = 50
#: So much is kept of an event that has no record in it.
_SAMPLE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Window:
    """One question to Event history, the same for all of its pages because a token holds for nothing else.

    Attributes:
        begin: inclusive, whole seconds.
        end: inclusive, whole seconds.
    """

    region: str
    event_source: str
    begin: datetime
    end: datetime


class EventHistory:
    """LookupEvents of one account in all regions. Safe to share between threads.

    Args:
        account: whose limit is used: 12 digits, or "default".
    """

    def __init__(
        self,
        *,
        clients: Clients,
        limits: RateLimits,
        account: str,
        metrics: Metrics,
    ) -> None:
        self._clients = clients
        self._limits = limits
        self._account = account
        self._metrics = metrics
        metrics.preset(api=_API)

    def page(self, window: Window, token: str | None) -> Page:
        """The first page of a window, or the one its token names.

        Raises:
            Retryable, Blocked, SwitchedOff: as the table of errors says.
            TokenLost, TooOld: see there.
            Stopping: from the clock.
        """
        parameters: dict[str, Any] = {
            "LookupAttributes": [{"AttributeKey": "EventSource", "AttributeValue": window.event_source}],
            "StartTime": window.begin,
            "EndTime": window.end,
            "MaxResults": _PAGE,
        }
        return self._asked(window.region, parameters if token is None else parameters | {"NextToken": token})

    def probe(self, region: str, event_source: str) -> None:
        """Ask for a single event, to see whether one may.

        Raises:
            Retryable, Blocked, SwitchedOff, Stopping: as for :meth:`page`.
        """
        attribute = {"AttributeKey": "EventSource", "AttributeValue": event_source}
        self._asked(region, {"LookupAttributes": [attribute], "MaxResults": 1})

    def _asked(self, region: str, parameters: dict[str, Any]) -> Page:
        """One request and its answer."""
        bucket = self._limits.bucket(self._account, region)
        self._metrics.aws_api_throttle_wait_seconds.labels(_API).inc(bucket.take())
        try:
            answer = self._clients.call("cloudtrail", _API, region=region, **parameters)
        except (Retryable, Blocked) as error:
            match code_of(error):
                case "InvalidNextTokenException":
                    raise TokenLost from error
                case "InvalidTimeRangeException":
                    raise TooOld from error
            if error.reason == "throttled":
                bucket.throttled()
            raise
        bucket.answered()
        events = answer.get("Events")
        # A proxy's HTML page with status 200 reads as an answer without members: it must not pass for "no events".
        if not isinstance(events, list):
            raise Retryable(f"{_API} in {region}: an answer without Events", reason="server")
        return Page(items=_items(region, events), following=answer.get("NextToken") or None)


def _items(region: str, events: Sequence[object]) -> tuple[Item, ...]:
    return tuple(_item(region, event) for event in events)


def _item(region: str, event: object) -> Item:
    """The record inside an event (``CloudTrailEvent``, a string of JSON); the wrapper around it says nothing more."""
    members = event if isinstance(event, dict) else {}
    origin = f"lookup {region} {str(members.get('EventId', '?'))[:100]}"
    record = members.get("CloudTrailEvent")
    if isinstance(record, str):
        return Document(record.encode("utf-8", "surrogatepass"), origin)
    wrapper = json.dumps(event, default=str).encode()
    return Malformed("not_a_record", "an event without CloudTrailEvent", origin, wrapper[:_SAMPLE], len(wrapper))
