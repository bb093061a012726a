"""Trails in a bucket: every file CloudTrail delivered, found by listing, whatever order it came in.

An object is a unit: its key below the region's folder, in the version "etag-size". It is finished when its last batch
is committed. How far a listing goes back, and when a unit may be forgotten: :mod:`exporter.sources.listing`. A round of
one account and region in which nothing came costs one request.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from exporter.contract import Batch, Clock, Finding, Partition, Progress, Unit
from exporter.errors import Blocked, ExporterError, Stopping
from exporter.metrics import Metrics
from exporter.reading import Limits
from exporter.sources.aws import Clients, default_region
from exporter.sources.aws_errors import advice
from exporter.sources.bucket import TrailBucket, base_of, iam_policy
from exporter.sources.downloads import Downloads
from exporter.sources.listing import Place, Walk
from exporter.sources.objects import ObjectReader, Vanished
from exporter.sources.parcel import Parcel
from exporter.sources.trail_keys import DEFAULT_KINDS, Listed, TrailFolder

if TYPE_CHECKING:
    from prometheus_client import Gauge

__all__ = ["S3Source"]

_log = logging.getLogger("exporter.s3")

#: Before every trail there is.
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
#: Seconds between two listings that begin with the day before the newest minute.
_RELIST = 3_600.0


class S3Source:
    """A :class:`~exporter.contract.Source` with a partition per account, region and kind: ``111122223333/us-east-1``.

    Position: see :meth:`exporter.sources.listing.Place.position`.

    Args:
        prefix: what stands before ``AWSLogs/``.
        organization: ``o-...``: read this one's folder alone; None: whatever is there.
        accounts, regions: empty: each that is there, looked for every ``discover_interval`` seconds.
        kinds: folders to read, keys of :data:`~exporter.sources.trail_keys.KINDS`.
        start: files named from this minute on: so far back from the first read, or an aware time; None: all.
        end: files named before this minute; None: no end. Names carry the minute of delivery, which follows the event
            by up to 15 minutes, rarely by hours.
        interval: seconds between two rounds.
        overlap: how far each round looks back behind the newest minute.
        sweep_interval: how often everything still open is listed ...
        sweep_depth: ... and how long a day stays open behind its end.
        downloads: objects asked for at once, all partitions together.
        lag: objects stored later than so long ago are left for a later round.
        wanted: values of ``eventSource`` in UTF-8: what cannot hold one is passed over; None: all is yielded.
        region: the bucket's; None: that of the AWS environment. S3 corrects a wrong one.
        timeout: seconds without a byte of an answer.
    """

    def __init__(
        self,
        *,
        name: str,
        bucket: str,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
        prefix: str = "",
        organization: str | None = None,
        accounts: Sequence[str] = (),
        regions: Sequence[str] = (),
        kinds: Sequence[str] = DEFAULT_KINDS,
        start: timedelta | datetime | None = None,
        end: datetime | None = None,
        interval: float = 60,
        overlap: timedelta = timedelta(minutes=30),
        sweep_interval: timedelta = timedelta(hours=24),
        sweep_depth: timedelta = timedelta(days=2),
        discover_interval: float = 600,
        downloads: int = 32,
        lag: timedelta = timedelta(),
        wanted: frozenset[bytes] | None = None,
        role_arn: str | None = None,
        external_id: str | None = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        timeout: float = 60,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self.interval = interval
        self._bucket = bucket
        self._base = base_of(prefix)
        self._organization = organization
        self._accounts = tuple(dict.fromkeys(accounts))
        self._regions = tuple(dict.fromkeys(regions))
        self._kinds = tuple(dict.fromkeys(kinds))
        self._start = start
        self._end = end
        self._overlap = overlap
        self._sweep_interval = sweep_interval
        self._sweep_depth = sweep_depth
        self._discover_interval = discover_interval
        self._clock = clock
        self._metrics = metrics
        self._region = region or default_region() or "us-east-1"
        rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._clients = Clients(
            clock=clock,
            metrics=metrics,
            role_arn=role_arn,
            external_id=external_id,
            endpoints={"s3": endpoint_url} if endpoint_url else {},
            read_timeout=timeout,
            connections=downloads + 4,
        )
        self._listing = TrailBucket(
            clients=self._clients,
            clock=clock,
            metrics=metrics,
            rng=rng,
            source=name,
            bucket=bucket,
            base=self._base,
            region=self._region,
            lag=lag,
        )
        self._objects = ObjectReader(
            clients=self._clients,
            limits=limits,
            clock=clock,
            metrics=metrics,
            source=name,
            region=self._region,
            wanted=wanted,
            rng=rng,
        )
        self._downloads = Downloads(objects=self._objects, bucket=bucket, ahead=downloads)
        self._lock = threading.Lock()
        self._found: tuple[float, tuple[Partition, ...]] | None = None
        self._relisted: dict[Partition, float] = {}

    # -- what there is --

    def partitions(self) -> Sequence[Partition]:
        """One per trail folder, looked for anew every ``discover_interval`` seconds.

        Raises:
            Retryable, Blocked: the bucket cannot be listed.
        """
        with self._lock:
            now = self._clock.monotonic()
            if self._found is None or now - self._found[0] >= self._discover_interval:
                found = tuple(Partition(self.name, folder.partition) for folder in self._folders())
                self._found = (now, found)
            return self._found[1]

    def _folders(self) -> list[TrailFolder]:
        return self._listing.folders(
            organization=self._organization, accounts=self._accounts, regions=self._regions, kinds=self._kinds
        )

    def check(self) -> Iterable[Finding]:
        """Look for trail folders, list one, and read the beginning of one object."""
        subject = f"source {self.name}"
        policy = iam_policy(self._bucket, self._base, self._region)
        try:
            folders = self._folders()
            if not folders:
                text = f"s3://{self._bucket}/{self._base} holds no trail folders that are asked for"
                yield Finding("warning", subject, text, f"fix `prefix`, `accounts` or `regions`{self._beside()}")
                return
            yield Finding("ok", subject, f"s3://{self._bucket}/{self._base}: {len(folders)} trail folders")
            yield self._readable(subject, folders)
        except Stopping:
            raise
        except ExporterError as error:
            yield Finding("error", subject, str(error), advice(error, policy))

    def _beside(self) -> str:
        """What lies where AWSLogs was looked for, if one may look there."""
        above = self._base.removesuffix("AWSLogs/")
        try:
            names = self._listing.names(above)[:10]
        except Blocked:
            return ""
        return f"; at {above!r} there are: {', '.join(names) or 'no folders'}"

    def _readable(self, subject: str, folders: Sequence[TrailFolder]) -> Finding:
        for folder in folders[:5]:
            page = next(self._listing.pages(folder, folder.path), [])
            for listed in [each for each in page if each.readable][:1]:
                try:
                    # Its connection is closed with the first bytes of the body.
                    with self._objects.open(self._bucket, listed.key, size=listed.size) as found:
                        if found.version:
                            return Finding("ok", subject, f"an object can be read: {listed.key}")
                except Vanished:
                    continue
        text = "no object was found that could be tried"
        return Finding("warning", subject, text, "wait until the trail delivers one, or restore archived ones")

    # -- reading --

    def read(self, partition: Partition, progress: Progress) -> Iterator[Batch]:
        """One listing, oldest first, and every object of it that is not finished.

        Raises:
            Retryable, Blocked: see :mod:`exporter.sources.aws_errors`; everything before it was yielded.
            Stopping: from the clock.
        """
        folder = TrailFolder.of(self._base, partition.key)
        now = self._clock.now()
        stored = progress.position
        place = Place.of(stored) if stored is not None else Place.first(self._since(now))
        if stored is None and isinstance(self._start, timedelta):
            # Kept before anything is read: after a crash "a day back" would begin later.
            yield Batch(partition, after=place.position())
        if self._end is not None and place.swept is not None and place.swept >= self._end + self._sweep_depth:
            return  # Swept since the last day was closed: nothing more is looked for.

        began = self._clock.monotonic()
        sweep = place.swept is None or not timedelta() <= now - place.swept < self._sweep_interval
        relist = sweep or began - self._relisted.get(partition, began - _RELIST) >= _RELIST
        walk = Walk(place, now=now, depth=self._sweep_depth, sweep=sweep)
        parcel = Parcel(partition)
        first_time = partition not in self._relisted
        pending = _Pending(self._metrics.s3_objects_pending.labels(self.name))
        listed = self._unfinished(folder, self._after(folder, place, sweep, relist), progress, walk, pending)
        try:
            for batch in self._objects_of(listed, parcel, walk, pending):
                yield self._stamped(batch, walk, first_time)
        except Stopping:
            raise
        except ExporterError:
            # What was read before the trouble need not be read again.
            if not parcel.empty:
                yield self._stamped(parcel.take(), walk, first_time)
            raise
        finally:
            pending.close()

        reached, forget = walk.ended()
        rest = replace(parcel.take(), through=min(now, self._end) if self._end else now)
        before = Place.of(progress.position) if progress.position is not None else None
        yield replace(rest, after=reached.position(), forget=forget) if reached != before else rest
        if relist:
            self._relisted[partition] = began

    def settle(self, batch: Batch) -> None:
        """Nothing to tell a bucket."""

    def abandon(self, batch: Batch) -> None:
        """Nothing: what was not committed is read again."""

    def close(self) -> None:
        """Close the connections."""
        self._downloads.close()
        self._clients.close()

    def _since(self, now: datetime) -> datetime:
        start = now - self._start if isinstance(self._start, timedelta) else self._start
        return (start or _EVER).astimezone(UTC).replace(second=0, microsecond=0)

    def _after(self, folder: TrailFolder, place: Place, sweep: bool, relist: bool) -> str:
        """The key to list from; never in a day that is closed, because its units are forgotten."""
        if sweep:
            begin = folder.before_day(place.day)
        elif relist:
            begin = folder.before_day((place.minute - _DAY).date())
        else:
            begin = folder.before(place.minute - self._overlap)
        return max(begin, folder.before_day(place.day), folder.before(place.since))

    def _unfinished(
        self, folder: TrailFolder, after: str, progress: Progress, walk: Walk, pending: _Pending
    ) -> Iterator[Listed]:
        stop = folder.before(self._end.astimezone(UTC)) if self._end else None
        for page in self._listing.pages(folder, after):
            wanted = [each for each in page if not each.key.endswith("/") and (stop is None or each.key < stop)]
            units = {self._unit(each, each.version): each for each in wanted}
            for each in wanted:
                walk.found(each)
            unfinished = progress.unfinished(list(units)) if units else ()
            pending.found(len(unfinished))
            for unit in unfinished:
                yield units[unit]
            if stop is not None and page and page[-1].key >= stop:
                return

    def _objects_of(self, wanted: Iterator[Listed], parcel: Parcel, walk: Walk, pending: _Pending) -> Iterator[Batch]:
        for listed, opened in self._downloads.each(wanted):
            if not listed.readable:
                # Finished, so that it is counted once.
                self._skipped(listed, "kind")
                walk.begun(listed)
                parcel.finish(self._unit(listed, listed.version), {})
                pending.done()
                continue
            try:
                found = opened()
            except Vanished:
                # Not finished: a store that lists what it does not give may give it the next time.
                self._skipped(listed, "vanished")
                pending.done()
                continue
            with found:
                for item in found:
                    yield from parcel.put(item)
                    walk.begun(listed)
            walk.begun(listed)
            parcel.finish(self._unit(listed, found.version or listed.version), found.passed_over)
            walk.done(listed)
            pending.done()
            if parcel.full:
                yield parcel.take()

    def _stamped(self, batch: Batch, walk: Walk, first_time: bool) -> Batch:
        """The batch with the place it leads to."""
        place, forget = walk.taken()
        return replace(batch, after=place.position(), forget=forget, through=place.minute if first_time else None)

    @staticmethod
    def _unit(listed: Listed, version: str) -> Unit:
        return Unit(listed.rest, version, listed.scope)

    def _skipped(self, listed: Listed, reason: str) -> None:
        self._metrics.s3_objects_skipped.labels(self.name, reason).inc()
        _log.debug("object left out", extra={"source": self.name, "key": listed.key, "reason": reason})


class _Pending:
    """What one listing has found and not read yet: its part of the source's gauge, which all partitions share."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._count = 0

    def found(self, count: int) -> None:
        self._count += count
        self._gauge.inc(count)

    def done(self) -> None:
        self._count -= 1
        self._gauge.dec()

    def close(self) -> None:
        """The listing is over, or broke off; the next one finds what is left."""
        self._gauge.dec(self._count)
        self._count = 0
