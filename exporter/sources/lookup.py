"""Event history by LookupEvents: management events of the last 90 days, one account and region at a time, no trail.

What shapes it (CloudTrail API reference, "LookupEvents"; User Guide, "Quotas in AWS CloudTrail"): pages come newest
first, so an interrupted window lacks its *older* part; a token holds only for exactly the same parameters, and not for
ever; bounds are inclusive whole seconds; events arrive minutes, sometimes hours late.

So it is read in windows of time: :mod:`exporter.sources.windows`.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

from exporter.contract import Batch, Clock, Finding, Partition, Progress
from exporter.errors import Blocked, ExporterError, Retryable, Stopping, SwitchedOff
from exporter.metrics import Metrics
from exporter.services import SERVICES
from exporter.sources.aws import Clients, account_of, default_region
from exporter.sources.aws_errors import advice
from exporter.sources.lookup_api import IAM_POLICY, EventHistory, Window
from exporter.sources.ratelimit import RateLimits
from exporter.sources.windows import Ask, TokenLost, TooOld, Windows

__all__ = ["LookupSource"]

_log = logging.getLogger("exporter.lookup")

#: What Event history keeps.
_HISTORY = timedelta(days=90)


class LookupSource:
    """A :class:`~exporter.contract.Source` with a partition per region and eventSource.

    Position: ``{"v": 1, "since": T, "through": T, "swept": T}``, times as ``2026-02-01T08:00:00Z``.

    Args:
        services: values of ``eventSource``; LookupEvents takes one at a time.
        limits: shared by all sources of the process.
        regions: empty: the region of the AWS environment.
        start: where a partition begins that was never read: so far back from now, or an aware time.
        interval: seconds between two reads.
        overlap: how far each read looks back behind what is complete.
        sweep_interval: how often it looks back further ...
        sweep_depth: ... and how far.
        window: the longest stretch of time asked for at once; a longer one is read in pieces, oldest first.
        role_arn: role to assume; it names the account whose limit is used.
        timeout: seconds without a byte of an answer.
    """

    def __init__(
        self,
        *,
        name: str,
        services: Sequence[str],
        limits: RateLimits,
        clock: Clock,
        metrics: Metrics,
        regions: Sequence[str] = (),
        start: timedelta | datetime = timedelta(minutes=15),
        interval: float = 60,
        overlap: timedelta = timedelta(minutes=30),
        sweep_interval: timedelta = timedelta(hours=1),
        sweep_depth: timedelta = timedelta(hours=24),
        window: timedelta = timedelta(days=1),
        role_arn: str | None = None,
        external_id: str | None = None,
        endpoint_url: str | None = None,
        timeout: float = 60,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self.interval = interval
        self._regions = tuple(dict.fromkeys(regions))
        self._services = tuple(dict.fromkeys(services))
        self._clock = clock
        self._metrics = metrics
        self._clients = Clients(
            clock=clock,
            metrics=metrics,
            role_arn=role_arn,
            external_id=external_id,
            endpoints={"cloudtrail": endpoint_url} if endpoint_url else {},
            read_timeout=timeout,
        )
        self._history = EventHistory(
            clients=self._clients,
            limits=limits,
            account=account_of(role_arn),
            metrics=metrics,
        )
        self._windows = Windows(
            api="LookupEvents",
            questions=self._questions,
            clock=clock,
            start=start,
            overlap=overlap,
            sweep_interval=sweep_interval,
            sweep_depth=sweep_depth,
            window=window,
            rng=rng or random.Random(),  # noqa: S311 - jitter, no secret
            kept=_HISTORY,
            on_gap=self._gap,
            on_nothing=self._nothing_came,
        )
        self._lock = threading.Lock()
        self._notices: dict[str, str] = {}

    @property
    def notices(self) -> tuple[str, ...]:
        """What people should know about what is read here: that a service has ended, and so nothing comes."""
        with self._lock:
            return tuple(self._notices.values())

    # -- what there is --

    def partitions(self) -> Sequence[Partition]:
        """One per region and eventSource: ``us-east-1/lookoutmetrics.amazonaws.com``.

        Raises:
            Blocked: no region is configured and the AWS environment names none.
        """
        regions = self._resolved()
        return tuple(Partition(self.name, f"{region}/{service}") for region in regions for service in self._services)

    def check(self) -> Iterable[Finding]:
        """Who asks, one LookupEvents per region, and services that have ended."""
        subject = f"source {self.name}"
        try:
            regions = self._resolved()
        except Blocked as error:
            yield Finding("error", subject, str(error), "set `regions` of the source, or AWS_REGION")
            return
        yield self._check_identity(subject, regions[0])
        for region in regions:
            yield self._check_region(f"{subject}: {region}", region)
        for event_source in self._services:
            if notice := self._ended(event_source):
                yield Finding("warning", f"{subject}: {event_source}", notice, "add a source that reads archives")

    def _resolved(self) -> Sequence[str]:
        if self._regions:
            return self._regions
        if region := default_region():
            return (region,)
        raise Blocked(
            f"source {self.name} has no region: set its `regions`, or AWS_REGION, or a region in the AWS profile",
            reason="invalid",
        )

    def _check_identity(self, subject: str, region: str) -> Finding:
        try:
            account, arn = self._clients.identity(region)
        except Stopping:
            raise
        except ExporterError as error:
            # Event history can be readable all the same, where only STS is out of reach.
            return Finding("warning", f"{subject}: identity", str(error), "aws sts get-caller-identity shows who asks")
        return Finding("ok", f"{subject}: identity", f"{arn}, account {account}")

    def _check_region(self, subject: str, region: str) -> Finding:
        try:
            self._history.probe(region, self._services[0])
        except Stopping:
            raise
        except SwitchedOff as error:
            return Finding("warning", subject, str(error), f"take {region} out of `regions`")
        except (Retryable, Blocked) as error:
            return Finding("error", subject, str(error), advice(error, IAM_POLICY))
        except (TokenLost, TooOld) as error:
            return Finding("error", subject, str(error), "the text says what AWS refused")
        return Finding("ok", subject, "LookupEvents answers")

    # -- reading --

    def read(self, partition: Partition, progress: Progress) -> Iterator[Batch]:
        """Windows from where the last read ended, less the overlap, to now; then the deep sweep when it is due.

        A batch is a page. The last page of a window carries the position, and an empty window yields nothing but that.

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

    def _questions(self, partition: Partition, begin: datetime, end: datetime) -> Sequence[Ask]:
        region, event_source = partition.key.split("/", 1)
        return (partial(self._history.page, Window(region, event_source, begin, end)),)

    # -- what is said about it --

    def _gap(self, partition: Partition, begin: datetime, end: datetime) -> None:
        seconds = (end - begin).total_seconds()
        self._metrics.gaps.labels(self.name).inc()
        self._metrics.gap_seconds.labels(self.name).inc(seconds)
        _log.warning(
            "Event history does not go back far enough: this stretch is skipped",
            extra={"partition": str(partition), "begin": begin.isoformat(), "end": end.isoformat(), "seconds": seconds},
        )

    def _ended(self, event_source: str) -> str | None:
        """The notice for a service that has ended, else None."""
        service = SERVICES.get(event_source)
        if service is None or service.ended is None or self._clock.now().date() <= service.ended:
            return None
        return (
            f"{service.title} ended on {service.ended.isoformat()}, and Event history keeps 90 days: nothing new will "
            "come from LookupEvents. Its past lies in archives: read those with a source of type s3 or files."
        )

    def _nothing_came(self, partition: Partition) -> None:
        """All windows up to now are read and were empty: say so once, if the service has ended."""
        event_source = partition.key.split("/", 1)[1]
        notice = self._ended(event_source)
        with self._lock:
            if notice is None or event_source in self._notices:
                return
            self._notices[event_source] = notice
        _log.warning(notice, extra={"source": self.name, "event_source": event_source})
