"""CloudWatch Logs: a log group that a trail delivers to; records of all its regions and accounts lie in one group.

What shapes it (CloudWatch Logs API reference, "FilterLogEvents"; CloudTrail User Guide, "Sending events to CloudWatch
Logs"): it is asked by the time of the events, and those arrive late; so it is read in windows that look back
(:mod:`exporter.sources.windows`). The service is picked out by AWS: only wanted records travel.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from exporter.contract import Batch, Clock, Finding, Partition, Progress
from exporter.errors import ExporterError, Stopping
from exporter.metrics import Metrics
from exporter.record import Document, Record, parse
from exporter.sources.aws import Clients, account_of
from exporter.sources.aws_errors import advice
from exporter.sources.logs_api import LogGroup, group_arn, iam_policy, patterns
from exporter.sources.logs_pieces import Pieces
from exporter.sources.ratelimit import RateLimits
from exporter.sources.windows import Ask, Page, Windows

__all__ = ["LogsSource"]

#: AWS says 24 hours. Held longer than this by a receiver that takes nothing, a window is begun again.
_TOKEN_AGE = timedelta(hours=12)
#: How far back ``check`` looks for a record.
_GLANCE = timedelta(hours=1)


class LogsSource:
    """A :class:`~exporter.contract.Source` over one log group; one partition, ``REGION/GROUP``.

    Position: ``{"v": 1, "since": T, "through": T, "swept": T}``, times as ``2026-02-01T08:00:00Z``. A service that is
    added to the configuration later is read from where the others stand.

    Args:
        log_group: its name.
        region: where the group is: the trail's home region. The records' own regions are in the records.
        services: values of ``eventSource``.
        invoked_by_service: also what they did on the customer's behalf.
        filter_pattern: what AWS picks out instead; "" for everything, which alone brings records that a forwarder has
            cut into pieces. None: the services.
        start: where a first read begins: so far back from now, or an aware time.
        interval: seconds between two reads.
        overlap: how far each read looks back behind what is complete.
        sweep_interval: how often it looks back further ...
        sweep_depth: ... and how far.
        window: the longest stretch of time asked for at once.
        role_arn: role to assume; it names the account whose limit is used.
        limits: 5 requests per second, account and region; shared by all sources of this type.
        timeout: seconds without a byte of an answer.
    """

    def __init__(
        self,
        *,
        name: str,
        log_group: str,
        region: str,
        services: Sequence[str],
        clock: Clock,
        metrics: Metrics,
        invoked_by_service: bool = False,
        filter_pattern: str | None = None,
        start: timedelta | datetime = timedelta(minutes=15),
        interval: float = 60,
        overlap: timedelta = timedelta(minutes=30),
        sweep_interval: timedelta = timedelta(hours=1),
        sweep_depth: timedelta = timedelta(hours=24),
        window: timedelta = timedelta(hours=6),
        role_arn: str | None = None,
        external_id: str | None = None,
        endpoint_url: str | None = None,
        limits: RateLimits | None = None,
        timeout: float = 60,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self.interval = interval
        self._log_group = log_group
        self._region = region
        self._clock = clock
        self._patterns = (
            (filter_pattern,)
            if filter_pattern is not None
            else patterns(services, invoked_by_service=invoked_by_service)
        )
        self._clients = Clients(
            clock=clock,
            metrics=metrics,
            role_arn=role_arn,
            external_id=external_id,
            endpoints={"logs": endpoint_url} if endpoint_url else {},
            read_timeout=timeout,
        )
        self._group = LogGroup(
            clients=self._clients,
            limits=limits or RateLimits(clock=clock, rate=4.5, burst=5),
            account=account_of(role_arn),
            region=region,
            group=log_group,
            metrics=metrics,
        )
        self._windows = Windows(
            api="FilterLogEvents",
            questions=self._questions,
            clock=clock,
            start=start,
            overlap=overlap,
            sweep_interval=sweep_interval,
            sweep_depth=sweep_depth,
            window=window,
            rng=rng or random.Random(),  # noqa: S311 - jitter, no secret
            token_age=_TOKEN_AGE,
        )

    # -- what there is --

    def partitions(self) -> Sequence[Partition]:
        """The one there is."""
        return (Partition(self.name, f"{self._region}/{self._log_group}"),)

    def check(self) -> Iterable[Finding]:
        """Who asks; one FilterLogEvents as the source makes it; and, when it finds nothing, one for anything at all."""
        subject = f"source {self.name}"
        arn = self._group.arn
        try:
            account, who = self._clients.identity(self._region)
            arn = group_arn(self._region, account, self._log_group)
            yield Finding("ok", f"{subject}: identity", f"{who}, account {account}")
        except Stopping:
            raise
        except ExporterError as error:
            # The group can be readable all the same, where only STS is out of reach.
            yield Finding("warning", f"{subject}: identity", str(error), "aws sts get-caller-identity")
        yield self._check_group(f"{subject}: {self._log_group}", arn)

    def _check_group(self, subject: str, arn: str) -> Finding:
        now = self._clock.now()
        seen: Sequence[object] = ()
        try:
            for pattern in dict.fromkeys((self._patterns[0], "")):
                if not seen:
                    seen = self._group.page(pattern, now - _GLANCE, now, limit=1).events
        except Stopping:
            raise
        except ExporterError as error:
            return Finding("error", subject, str(error), advice(error, iam_policy(arn)))
        answers = "FilterLogEvents answers"
        items = list(Pieces(self._log_group).put(seen))
        if not items:
            return Finding("ok", subject, f"{answers}; its first page of the last hour is empty")
        if isinstance(items[0], Document) and isinstance(parse(items[0], observed_ns=0), Record):
            return Finding("ok", subject, f"{answers}, and CloudTrail records lie there")
        return Finding("warning", subject, f"{answers}, with something else than CloudTrail records", "fix log_group")

    # -- reading --

    def read(self, partition: Partition, progress: Progress) -> Iterator[Batch]:
        """Windows from where the last read ended, less the overlap, to now; then the deep sweep when it is due.

        Raises:
            Retryable, Blocked, SwitchedOff: see :mod:`exporter.sources.aws_errors`.
            Stopping: from the clock.
        """
        return self._windows.read(partition, progress)

    def settle(self, batch: Batch) -> None:
        """Nothing: the position is all there is."""

    def abandon(self, batch: Batch) -> None:
        """Nothing: what was not committed is read again."""

    def close(self) -> None:
        """Close the connections."""
        self._clients.close()

    def _questions(self, _partition: Partition, begin: datetime, end: datetime) -> Sequence[Ask]:
        return tuple(self._question(pattern, begin, end) for pattern in self._patterns)

    def _question(self, pattern: str, begin: datetime, end: datetime) -> Callable[[str | None], Page]:
        pieces = Pieces(self._log_group)

        def ask(token: str | None) -> Page:
            answer = self._group.page(pattern, begin, end, token)
            items = list(pieces.put(answer.events))
            if answer.following is None:
                items += pieces.rest()
            return Page(tuple(items), answer.following)

        return ask
