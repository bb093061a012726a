"""One page of LookupEvents: paced, repeated where that saves work, its events as documents.

Errors and limits: CloudTrail API reference, "LookupEvents"; what a poller does about each is in
:mod:`exporter.sources.aws_errors`, but for the two this module names itself, :class:`TokenLost` and :class:`TooOld`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from exporter.clock import Backoff
from exporter.contract import Clock, Document, Item, Malformed
from exporter.errors import Blocked, Retryable
from exporter.metrics import Metrics
from exporter.sources.aws import Clients
from exporter.sources.aws_errors import code_of
from exporter.sources.ratelimit import RateLimits

__all__ = ["IAM_POLICY", "EventHistory", "Page", "TokenLost", "TooOld", "Window"]

#: Everything the source needs to be allowed. LookupEvents has no resource-level permission.
IAM_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "Lookup", "Effect": "Allow", "Action": "cloudtrail:LookupEvents", "Resource": "*"}],
    }
)

_API = "LookupEvents"
_PAGE = 50
#: Requests for one page while there are pages before it to lose; a first page is left to the loop's back-off.
_TRIES = 5
#: Bytes of record text in one batch.
_BATCH = 4 * 1024 * 1024
#: So much is kept of an event that has no record in it.
_SAMPLE = 64 * 1024


class TokenLost(Exception):
    """The token is not accepted any more: the window has to be read from its first page again."""


class TooOld(Exception):
    """Event history has nothing that old. Its cause is the translated error."""


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


@dataclass(frozen=True, slots=True)
class Page:
    """Up to 50 events, newest first.

    Attributes:
        items: may be empty although more follows.
        following: the token of the next page; None: this was the last.
    """

    items: tuple[Item, ...]
    following: str | None

    def portions(self) -> Iterator[tuple[Item, ...]]:
        """The items in batches bounded by bytes; at least one, which may be empty.

        50 records of the usual kilobytes are one; records of the 256 KB that CloudTrail allows are several.
        """
        first, size = 0, 0
        for place, item in enumerate(self.items):
            bytes_of_item = len(item.data) if isinstance(item, Document) else len(item.sample)
            if place > first and size + bytes_of_item > _BATCH:
                yield self.items[first:place]
                first, size = place, 0
            size += bytes_of_item
        yield self.items[first:]


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
        clock: Clock,
        metrics: Metrics,
        rng: random.Random,
    ) -> None:
        self._clients = clients
        self._limits = limits
        self._account = account
        self._clock = clock
        self._metrics = metrics
        self._rng = rng

    def page(self, window: Window, token: str | None) -> Page:
        """The first page of a window, or the one its token names.

        Raises:
            Retryable, Blocked, SwitchedOff: as the table of errors says; a page with a token was tried several times.
            TokenLost, TooOld: see there.
            Stopping: from the clock.
        """
        parameters: dict[str, Any] = {
            "LookupAttributes": [{"AttributeKey": "EventSource", "AttributeValue": window.event_source}],
            "StartTime": window.begin,
            "EndTime": window.end,
            "MaxResults": _PAGE,
        }
        if token is None:
            return self._asked(window.region, parameters)
        backoff = Backoff(first=1, longest=20, rng=self._rng)
        for _ in range(_TRIES - 1):
            try:
                return self._asked(window.region, parameters | {"NextToken": token})
            except Retryable as error:
                self._clock.wait(backoff.next(error.after))
        return self._asked(window.region, parameters | {"NextToken": token})

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
