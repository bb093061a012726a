"""The one straight path of a batch. Nothing else in the program calls ``send``, ``commit`` or ``settle``.

::

    1 read - 2 parse - 3 select - 4 unseen - 5 send - 6 commit - 7 settle
    `------------- values --------------'   `------- effects -------'

Why the effects stand in this order, and no other: docs/adr/0001-order-of-effects.md. What a crash between any two steps
costs: docs/guarantees.md.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias, TypeVar

from exporter.contract import (
    Batch,
    Clock,
    Commit,
    Committed,
    Delivery,
    Document,
    Entry,
    Labels,
    Malformed,
    Quarantined,
    Record,
    Sink,
    Source,
    State,
)
from exporter.errors import Blocked, ExporterError, Permanent, Retryable
from exporter.metrics import Metrics
from exporter.record import Selection, content_key, parse, text

__all__ = ["Books", "Counted", "Hold", "Pipeline"]

_log = logging.getLogger("exporter.pipeline")
_T = TypeVar("_T")

#: Called with what went wrong when the same effect is to be tried again later: waits, or raises to give the batch up.
Hold: TypeAlias = Callable[[ExporterError], None]

#: Told, once they are committed, of one eventID for each label set that was counted, and when; "": it has none.
Counted: TypeAlias = Callable[[Mapping[Labels, str], datetime], None]


@dataclass(slots=True)
class Books:
    """What became of what was read: ``read = published + filtered + duplicate + quarantined``, always."""

    published: int = 0
    duplicate: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)

    @property
    def read(self) -> int:
        """Records that came in."""
        return self.published + self.duplicate + self.filtered.total() + self.quarantined.total()

    def add(self, other: Books) -> None:
        """Enter the other's figures here too."""
        self.published += other.published
        self.duplicate += other.duplicate
        self.filtered.update(other.filtered)
        self.quarantined.update(other.quarantined)


@dataclass(slots=True)
class _Sorted:
    """A batch after steps 2 to 4: what to send, what to put aside, and the books of the rest."""

    records: list[Record] = field(default_factory=list)
    broken: list[tuple[bytes, Malformed]] = field(default_factory=list)
    books: Books = field(default_factory=Books)


class Pipeline:
    """Carries batches from sources to the sink and the state.

    Safe to use from several threads: an event that two partitions carry at the same moment is sent by one of them, the
    other waits for its outcome.

    Args:
        fold: a record -> the label set it is counted under.
        epoch: what the state's claim returned.
        depth, size: limits of one record, see :func:`exporter.record.parse`.
        backend: the state's kind, as the label of its metrics.
        counted: see :data:`Counted`; for exemplars.
    """

    def __init__(
        self,
        *,
        sink: Sink,
        state: State,
        selection: Selection,
        fold: Callable[[Record], Labels],
        clock: Clock,
        metrics: Metrics,
        epoch: int,
        depth: int,
        size: int,
        backend: str = "memory",
        counted: Counted = lambda _events, _at: None,
    ) -> None:
        self._sink = sink
        self._state = state
        self._selection = selection
        self._fold = fold
        self._clock = clock
        self._metrics = metrics
        self._epoch = epoch
        self._depth = depth
        self._size = size
        self._backend = backend
        self._counted = counted
        self._in_flight = _InFlight(clock)
        self._newest: dict[str, float] = {}

    def deliver(self, source: Source, batch: Batch, hold: Hold) -> Books:
        """Take one batch all the way; returns what became of its records.

        An effect that fails for now is tried again after ``hold``; what was accepted is not sent again, what was
        committed is not committed again. When ``hold`` raises, the batch stays uncommitted from there on, and the
        source will yield it again.

        Raises:
            Fenced: the state belongs to another process.
            Stopping: from ``hold`` or a wait.
        """
        started = self._clock.monotonic()
        in_flight = self._metrics.inflight.labels(batch.partition.source)
        in_flight.inc(len(batch.items))
        total = Books()
        try:
            # 1 read: the batch is here. 2 parse and 3 select need nothing but the batch.
            candidates, books = self._parse_and_select(batch)
            with self._in_flight.reserve([key for key, _ in candidates]):
                # 4 unseen
                todo = self._unseen(candidates, books, hold)
                for step, last in self._slices(todo.records, hold):
                    # 5 send happened in _slices. 6 commit: the last one moves the position.
                    self._commit(batch, step, todo if last else None, hold)
                    total.add(step.books)
            # 7 settle
            source.settle(batch)
        finally:
            in_flight.dec(len(batch.items))
        self._say(batch, total, self._clock.monotonic() - started)
        return total

    # -- 2, 3 -------------------------------------------------------------------------------------------------------

    def _parse_and_select(self, batch: Batch) -> tuple[list[tuple[bytes, Record | Malformed]], Books]:
        now = int(self._clock.now().timestamp() * 1e9)
        books = Books(filtered=Counter(batch.passed_over))
        candidates: list[tuple[bytes, Record | Malformed]] = []
        for item in batch.items:
            if isinstance(item, Document):
                parsed = parse(item, observed_ns=now, depth=self._depth, size=self._size)
                if isinstance(parsed, Malformed):
                    content = parsed.sample + parsed.size.to_bytes(8, "big")
                    candidates.append((content_key(content), parsed))
                elif reason := self._selection.refuses(parsed):
                    books.filtered[reason] += 1
                else:
                    candidates.append((parsed.identity.key, parsed))
            else:
                content = "\0".join((item.reason, item.origin)).encode("utf-8", "surrogateescape") + item.sample
                candidates.append((content_key(content), item))
        return candidates, books

    # -- 4 ----------------------------------------------------------------------------------------------------------

    def _unseen(self, candidates: Sequence[tuple[bytes, Record | Malformed]], books: Books, hold: Hold) -> _Sorted:
        todo = _Sorted(books=books)
        if not candidates:
            return todo
        keys = [key for key, _ in candidates]
        new = self._again(lambda: self._state.unseen(keys), hold)
        self._metrics.dedupe_lookups.inc(len(keys))
        for key, candidate in candidates:
            if key not in new:
                books.duplicate += 1
                continue
            new.discard(key)  # the same event twice in one batch
            if isinstance(candidate, Malformed):
                todo.broken.append((key, candidate))
            else:
                todo.records.append(candidate)
        self._metrics.dedupe_hits.inc(books.duplicate)
        return todo

    # -- 5 ----------------------------------------------------------------------------------------------------------

    def _slices(self, records: list[Record], hold: Hold) -> Iterator[tuple[_Step, bool]]:
        """Send the records; yield each answered slice, to be committed before the next one is sent.

        So a receiver that fails in the middle of a batch has nothing repeated that it took before.
        """
        size = max(1, self._state.max_entries)
        pending = deque(records[start : start + size] for start in range(0, len(records), size))
        if not pending:
            yield _Step(), True
        while pending:
            slice_ = pending.popleft()
            try:
                delivery = self._again(lambda slice_=slice_: self._sink.send(slice_), self._counting(hold))  # type: ignore[misc]
            except Permanent as error:
                if len(slice_) > 1:
                    self._metrics.otlp_batches_split.inc()
                    half = len(slice_) // 2
                    pending.extendleft((slice_[half:], slice_[:half]))
                    continue
                yield _Step.refused(slice_, error), not pending
            else:
                yield self._answered(slice_, delivery), not pending

    def _counting(self, hold: Hold) -> Hold:
        def counted(error: ExporterError) -> None:
            hold(error)
            self._metrics.otlp_retries.inc()

        return counted

    def _answered(self, records: list[Record], delivery: Delivery) -> _Step:
        if delivery.rejected >= len(records):
            return _Step.refused(records, Permanent(delivery.reason or "rejected by the receiver", reason="invalid"))
        step = _Step(
            entries=[Entry(record.identity.key, None if record.insight else self._fold(record)) for record in records],
            published=records,
        )
        step.books.published = len(records) - delivery.rejected
        if delivery.rejected:
            # A count without names, and OTLP forbids to ask again: each of them might be the one, so all are kept.
            step.aside = [
                (record.identity.key, _set_aside(record, "partial_success", delivery.reason), True)
                for record in records
            ]
            step.books.quarantined["partial_success"] = delivery.rejected
        return step

    # -- 6 ----------------------------------------------------------------------------------------------------------

    def _commit(self, batch: Batch, step: _Step, rest: _Sorted | None, hold: Hold) -> None:
        """Commit a slice; with ``rest``, the last one, also what was put aside and where the source stands now."""
        if rest is not None:
            step.last = True
            step.books.add(rest.books)
            for key, malformed in rest.broken:
                step.entries.append(Entry(key, None))
                step.aside.append((key, malformed, False))
                step.books.quarantined[malformed.reason] += 1
        now = self._clock.now()
        commit = Commit(
            partition=batch.partition,
            epoch=self._epoch,
            at=now,
            entries=tuple(step.entries),
            quarantined=tuple(
                Quarantined(
                    key=key,
                    partition=batch.partition,
                    reason=malformed.reason,
                    detail=malformed.detail,
                    origin=malformed.origin,
                    sample=malformed.sample,
                    size=malformed.size,
                    at=now,
                    counted=counted,
                )
                for key, malformed, counted in step.aside
            ),
            position=batch.after if rest is not None else None,
            finished=batch.finished if rest is not None else (),
            forget=batch.forget if rest is not None else (),
        )
        moved = commit.position is not None or commit.finished or commit.forget
        if commit.entries or commit.quarantined or moved:
            committed = self._again(lambda: self._save(commit), hold)
            if step.published and committed.new == len(commit.entries):
                # Else some were known, and the state does not say which: none is named rather than a wrong one.
                self._counted(step.event_ids(), now)
        self._enter(batch, step)

    def _save(self, commit: Commit) -> Committed:
        self._metrics.state_saves.labels(self._backend).inc()
        try:
            committed = self._state.commit(commit)
        except ExporterError:
            self._metrics.state_save_failures.labels(self._backend).inc()
            raise
        self._metrics.state_last_save.labels(self._backend).set(commit.at.timestamp())
        return committed

    def _enter(self, batch: Batch, step: _Step) -> None:
        """Put the slice into the metrics: all of it at once, and only now that it is committed."""
        metrics, source, books = self._metrics, batch.partition.source, step.books
        metrics.events_read.labels(source).inc(books.read)
        metrics.events_exported.labels(source).inc(books.published)
        metrics.events_duplicate.labels(source).inc(books.duplicate)
        if batch.listed:
            metrics.found_by_listing.labels(source).inc(books.published)
        for reason, count in books.filtered.items():
            metrics.events_filtered.labels(source, reason).inc(count)
        for reason, count in books.quarantined.items():
            metrics.events_quarantined.labels(source, reason).inc(count)
        now = self._clock.now().timestamp()
        times = [record.event_time_ns / 1e9 for record in step.published if record.event_time_ns is not None]
        delay = metrics.event_delay.labels(source)
        for time in times:
            delay.observe(max(0.0, now - time))
        if times:
            self._newest[source] = max(self._newest.get(source, 0.0), *times)
            metrics.last_event_timestamp.labels(source).set(self._newest[source])
        if batch.through is not None and step.last:
            metrics.checkpoint.labels(source, batch.partition.key).set(batch.through.timestamp())

    # -- all effects ------------------------------------------------------------------------------------------------

    def _again(self, effect: Callable[[], _T], hold: Hold) -> _T:
        """The effect's result, however often it must be tried."""
        while True:
            try:
                return effect()
            except (Retryable, Blocked) as error:
                hold(error)

    def _say(self, batch: Batch, books: Books, seconds: float) -> None:
        quiet = books.read == books.duplicate
        _log.log(
            logging.DEBUG if quiet else logging.INFO,
            "batch",
            extra={
                "source": batch.partition.source,
                "partition": batch.partition.key,
                "read": books.read,
                "published": books.published,
                "filtered": books.filtered.total(),
                "duplicate": books.duplicate,
                "quarantined": dict(books.quarantined),
                "units": len(batch.finished),
                "seconds": round(seconds, 3),
            },
        )


@dataclass(slots=True)
class _Step:
    """A slice the receiver has answered for, and what is to be committed for it."""

    entries: list[Entry] = field(default_factory=list)
    published: Sequence[Record] = ()
    aside: list[tuple[bytes, Malformed, bool]] = field(default_factory=list)
    books: Books = field(default_factory=Books)
    last: bool = False

    def event_ids(self) -> dict[Labels, str]:
        """The last eventID of each label set that is counted; "": it has none. The entries of records come first."""
        return {
            entry.labels: text(record.fields.get("eventID")) or text(record.fields.get("eventId"))
            for record, entry in zip(self.published, self.entries, strict=False)
            if entry.labels is not None
        }

    @classmethod
    def refused(cls, records: Sequence[Record], error: Permanent) -> _Step:
        """Remembered, so that a redelivery is a duplicate; not counted, because it was not accepted."""
        reason = "encode" if error.reason == "encode" else "refused"
        step = cls(
            entries=[Entry(record.identity.key, None) for record in records],
            aside=[(record.identity.key, _set_aside(record, reason, str(error)), False) for record in records],
        )
        step.books.quarantined[reason] = len(records)
        return step


def _set_aside(record: Record, reason: str, detail: str) -> Malformed:
    return Malformed(reason, detail, record.origin, record.data, len(record.data))


class _InFlight:
    """The identities that some worker is sending now. Another worker that has one of them waits for the outcome."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: set[bytes] = set()
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, keys: Collection[bytes]) -> Iterator[None]:
        """Hold all of the keys, or none while it waits: so two workers cannot wait for each other."""
        wanted = set(keys)
        with self._changed:
            while not wanted.isdisjoint(self._held):
                self._changed.wait(0.2)
                self._clock.wait(0)  # leaves when the process is to end
            self._held |= wanted
        try:
            yield
        finally:
            with self._changed:
                self._held -= wanted
                self._changed.notify_all()
