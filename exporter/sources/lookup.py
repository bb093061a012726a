"""Event history by LookupEvents: management events of the last 90 days, one account and region at a time, no trail.

What shapes it (CloudTrail API reference, "LookupEvents"; User Guide, "Quotas in AWS CloudTrail"): pages come newest
first, so an interrupted window lacks its *older* part; a token holds only for exactly the same parameters, and not for
ever; bounds are inclusive whole seconds; events arrive minutes, sometimes hours late.

So time is cut into windows whose two ends are fixed before the first page. The position moves when the last page of a
window is committed and never before; every read looks back behind it (overlap), and now and then far back (sweep).
What comes again by that is known to the ledger and dropped there.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from exporter.contract import Batch, Clock, Finding, Partition, Position, Progress
from exporter.errors import Blocked, ExporterError, Retryable, Stopping, SwitchedOff
from exporter.metrics import Metrics
from exporter.services import SERVICES
from exporter.sources.aws import Clients, account_of, default_region
from exporter.sources.lookup_api import IAM_POLICY, EventHistory, TokenLost, TooOld, Window
from exporter.sources.ratelimit import RateLimits

__all__ = ["LookupSource"]

_log = logging.getLogger("exporter.lookup")

_SECOND = timedelta(seconds=1)
#: What Event history keeps.
_HISTORY = timedelta(days=90)
#: How far inside of it a read begins, so that its first request is still in time when it gets its turn.
_MARGIN = timedelta(minutes=5)
#: Where AWS finds a beginning too old nevertheless, it is moved on by this, as long as it is about the oldest day.
_CLAMP = timedelta(hours=1)
_OLDEST_DAY = _HISTORY - timedelta(days=1)
#: How often in a row a window may be halved because its token died before its last page.
_HALVINGS = 8


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one partition stands; whole seconds, UTC.

    Attributes:
        since: where its first read began; nothing before is ever asked for.
        through: everything up to here has been read once.
        swept: when the last deep look back was made, or the first read.
    """

    since: datetime
    through: datetime
    swept: datetime

    def position(self) -> Position:
        moments = {"since": self.since, "through": self.through, "swept": self.swept}
        return {"v": 1, **{name: moment.strftime("%Y-%m-%dT%H:%M:%SZ") for name, moment in moments.items()}}

    @classmethod
    def of(cls, position: Position) -> _Place:
        try:
            if position["v"] != 1:
                raise ValueError(f"version {position['v']!r}")
            return cls(*(_moment(position[name]) for name in ("since", "through", "swept")))
        except (KeyError, TypeError, ValueError) as error:
            raise Blocked(
                f"the stored position {dict(position)!r} was not written by this version: {error!r}. "
                "Run the version that wrote it, or give the source another name to begin anew.",
                reason="state",
            ) from error


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(str(value))
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return _second(moment)


def _second(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


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
        self._start = start
        self._overlap = overlap
        self._sweep_interval = sweep_interval
        self._sweep_depth = sweep_depth
        self._window = max(window, _SECOND)
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
            clock=clock,
            metrics=metrics,
            rng=rng or random.Random(),  # noqa: S311 - jitter, no secret
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
            return Finding("warning", f"{subject}: identity", str(error), "aws sts get-caller-identity")
        return Finding("ok", f"{subject}: identity", f"{arn}, account {account}")

    def _check_region(self, subject: str, region: str) -> Finding:
        try:
            self._history.probe(region, self._services[0])
        except Stopping:
            raise
        except SwitchedOff as error:
            return Finding("warning", subject, str(error), f"take {region} out of `regions`")
        except Retryable as error:
            return Finding("error", subject, str(error), "see whether the endpoint can be reached, and try again")
        except (Blocked, TokenLost, TooOld) as error:
            fix = f"attach this policy: {IAM_POLICY}" if getattr(error, "reason", "") == "access_denied" else ""
            return Finding("error", subject, str(error), fix or "the text says what AWS refused")
        return Finding("ok", subject, "LookupEvents answers")

    # -- reading --

    def read(self, partition: Partition, progress: Progress) -> Iterator[Batch]:
        """Windows from where the last read ended, less the overlap, to now; then the deep sweep when it is due.

        A batch is a page. The last page of a window carries the position, and an empty window yields nothing but that.

        Raises:
            Retryable, Blocked, SwitchedOff: see :mod:`exporter.sources.aws_errors`.
            Stopping: from the clock.
        """
        now = _second(self._clock.now())
        if progress.position is None:
            start = self._start
            since = _second(now - start if isinstance(start, timedelta) else start)
            place = _Place(since=since, through=since, swept=now)
            # Kept before anything is read: after a crash in the first window "15 minutes back" would begin later.
            yield _moved(partition, place)
        else:
            place = _Place.of(progress.position)

        oldest = now - _HISTORY + _MARGIN
        if place.through < oldest:
            known, place = place.through, replace(place, through=oldest)
            yield _moved(partition, place)
            # After its commit, so counted once. The margin alone is what "-90d" gets, and no gap.
            if oldest - known > _MARGIN:
                self._gap(partition, known, oldest)

        begin = max(place.through - self._overlap, place.since, oldest)
        if now < begin:
            _log.warning(
                "the clock is behind the start, or behind what was read: nothing is asked for until it gets there",
                extra={"partition": str(partition), "now": now.isoformat(), "through": place.through.isoformat()},
            )
            return

        def moved(upto: datetime) -> _Place:
            return replace(place, through=max(place.through, upto))

        brought = 0
        for batch in self._stretch(partition, begin, now, moved):
            brought += len(batch.items)
            yield batch
        if not brought:
            self._nothing_came(partition)

        if not timedelta() <= now - place.swept < self._sweep_interval:
            swept = replace(moved(now), swept=now)
            sweep_from = max(now - self._sweep_depth, place.since, oldest)
            if sweep_from < begin:
                yield from self._stretch(partition, sweep_from, begin, lambda upto: swept if upto == begin else None)
            else:
                yield _moved(partition, swept)

    def settle(self, batch: Batch) -> None:
        """Nothing: the position is all there is."""

    def abandon(self, batch: Batch) -> None:
        """Nothing: what was not committed is read again."""

    def close(self) -> None:
        """Close the connections."""
        self._clients.close()

    def _stretch(
        self, partition: Partition, begin: datetime, end: datetime, place_at: Callable[[datetime], _Place | None]
    ) -> Iterator[Batch]:
        """Everything from begin to end in windows, oldest first.

        A window whose token dies before its last page is halved: so even a crowded one gets done some day.

        Args:
            place_at: what to commit once everything up to a moment is read; None: nothing yet.
        """
        region, event_source = partition.key.split("/", 1)
        width, halvings = self._window, 0
        while True:
            upto = min(begin + width, end)
            try:
                yield from self._pages(partition, Window(region, event_source, begin, upto), place_at(upto))
            except TokenLost as lost:
                halvings += 1
                if halvings > _HALVINGS:
                    raise Retryable(f"{partition}: LookupEvents takes none of its tokens", reason="server") from lost
                width = max(timedelta(seconds=(upto - begin) // _SECOND // 2), _SECOND)
                continue
            except TooOld as refused:
                later = min(begin + _CLAMP, upto)
                if later == begin or begin > self._clock.now() - _OLDEST_DAY:
                    raise (refused.__cause__ or refused) from None
                before, after = place_at(begin), place_at(later)
                if before and after and before != after:
                    yield _moved(partition, after)
                    self._gap(partition, before.through, after.through)
                begin = later
                continue
            if upto >= end:
                return
            # Bounds are inclusive: the edge second is read twice, so that neither window can miss it.
            begin, width, halvings = upto, min(width * 2, self._window), 0

    def _pages(self, partition: Partition, window: Window, place: _Place | None) -> Iterator[Batch]:
        """The pages of one window, newest first; the last one alone may move the position."""
        token: str | None = None
        while True:
            page = self._history.page(window, token)
            if page.following == token is not None:
                raise Retryable(f"{partition}: LookupEvents gives the same token again", reason="server")
            *portions, last = page.portions()
            for items in portions:
                yield Batch(partition, items)
            if page.following is None and place is not None:
                yield replace(_moved(partition, place), items=last)
            elif last:  # A page may be empty and have a successor all the same.
                yield Batch(partition, last)
            if page.following is None:
                return
            token = page.following

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


def _moved(partition: Partition, place: _Place) -> Batch:
    """A batch that brings nothing but the position."""
    return Batch(partition, after=place.position(), through=place.through)
