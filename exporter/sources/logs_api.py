"""FilterLogEvents: what is asked for, one page of it, and what it takes to be allowed.

CloudWatch Logs API reference, "FilterLogEvents": both bounds are inclusive milliseconds of the log events' own time; a
page holds up to 1 MB or 10,000 events and may be empty with a token; a token holds 24 hours; a pattern has at most
1,024 characters. A JSON pattern matches no log event that is not JSON (User Guide, "Filter pattern syntax").
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from exporter.errors import Blocked, ExporterError, Retryable
from exporter.metrics import Metrics
from exporter.sources.aws import Clients
from exporter.sources.aws_errors import code_of
from exporter.sources.ratelimit import RateLimits
from exporter.sources.windows import TokenLost

__all__ = ["Answer", "LogGroup", "group_arn", "iam_policy", "patterns"]

_API = "FilterLogEvents"
_LONGEST_PATTERN = 1_024


def group_arn(region: str, account: str, group: str) -> str:
    """The resource that a policy names; ``account`` is 12 digits, or ``*``."""
    partition = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    return f"arn:{partition}:logs:{region}:{account}:log-group:{group}:*"


def iam_policy(arn: str) -> str:
    """Everything the source needs to be allowed, as JSON."""
    statement = {"Sid": "LogGroup", "Effect": "Allow", "Action": "logs:FilterLogEvents", "Resource": arn}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def patterns(services: Sequence[str], *, invoked_by_service: bool = False) -> tuple[str, ...]:
    """The filter patterns that together find all records of the services: one, as long as they fit into one.

    Args:
        invoked_by_service: also what the services did on the customer's behalf (``userIdentity.invokedBy``).
    """
    paths = ("$.eventSource", "$.userIdentity.invokedBy") if invoked_by_service else ("$.eventSource",)
    conditions = [f"{path} = {_quoted(service)}" for service in dict.fromkeys(services) for path in paths]
    return tuple(_joined(chosen) for chosen in _filled(conditions))


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _joined(conditions: Sequence[str]) -> str:
    if len(conditions) == 1:
        return f"{{ {conditions[0]} }}"
    return "{ " + " || ".join(f"({condition})" for condition in conditions) + " }"


def _filled(conditions: Sequence[str]) -> Iterator[list[str]]:
    chosen: list[str] = []
    for condition in conditions:
        if chosen and len(_joined([*chosen, condition])) > _LONGEST_PATTERN:
            yield chosen
            chosen = []
        chosen.append(condition)
    yield chosen


@dataclass(frozen=True, slots=True)
class Answer:
    """One page as it came.

    Attributes:
        events: log events, oldest first, of all streams; may be empty although more follows.
        following: the token of the next page; None: this was the last.
    """

    events: Sequence[object]
    following: str | None


class LogGroup:
    """FilterLogEvents over one log group. Safe to share between threads.

    Args:
        account: whose limit is used: 12 digits, or "default".
    """

    def __init__(
        self, *, clients: Clients, limits: RateLimits, account: str, region: str, group: str, metrics: Metrics
    ) -> None:
        self._clients = clients
        self._limits = limits
        self._account = account
        self._region = region
        self._group = group
        self._metrics = metrics
        metrics.preset(api=_API)

    @property
    def arn(self) -> str:
        """What a policy has to name, as far as it is known without asking."""
        return group_arn(self._region, self._account if self._account.isdigit() else "*", self._group)

    def page(
        self, pattern: str, begin: datetime, end: datetime, token: str | None = None, *, limit: int | None = None
    ) -> Answer:
        """The first page of a stretch of time, or the one its token names.

        Args:
            pattern: "" for everything.
            begin: inclusive.
            end: inclusive.
            limit: how many events at most; None: as many as AWS gives.

        Raises:
            Retryable, Blocked, SwitchedOff: as the table of errors says, and Blocked for a group that is not there.
            TokenLost: see there.
            Stopping: from the clock.
        """
        parameters: dict[str, Any] = {
            "logGroupName": self._group,
            "startTime": _milliseconds(begin),
            "endTime": _milliseconds(end),
            "filterPattern": pattern,
            "nextToken": token,
            "limit": limit,
        }
        bucket = self._limits.bucket(self._account, self._region)
        self._metrics.aws_api_throttle_wait_seconds.labels(_API).inc(bucket.take())
        try:
            answer = self._clients.call(
                "logs", _API, region=self._region, **{name: value for name, value in parameters.items() if value}
            )
        except (Retryable, Blocked) as error:
            if error.reason == "throttled":
                bucket.throttled()
            raise self._told(error, token) from error
        bucket.answered()
        events, following = answer.get("events"), answer.get("nextToken") or None
        # A proxy's HTML page with status 200 reads as an answer without members: it must not pass for "no events".
        if not isinstance(events, list) and following is None and "searchedLogStreams" not in answer:
            raise Retryable(f"{_API} in {self._region}: an answer without events", reason="server")
        return Answer(events if isinstance(events, list) else (), following)

    def _told(self, error: ExporterError, token: str | None) -> Exception:
        """The error with what only this module knows: which group, which resource, whose token."""
        code = code_of(error)
        if code == "InvalidParameterException" and token is not None:
            return TokenLost()
        if code == "ResourceNotFoundException":
            return Blocked(
                f"there is no log group {self._group} in {self._region}, asked as {self._clients.who}: "
                "correct log_group, region or role_arn of the source",
                reason="not_found",
            )
        if error.reason == "access_denied":
            return Blocked(f"{error} The resource is {self.arn}", reason=error.reason)
        return error


def _milliseconds(moment: datetime) -> int:
    return max(0, round(moment.timestamp() * 1_000))
