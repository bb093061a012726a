"""A worker per partition: poll, deliver, wait; hold on errors as the tree of :mod:`exporter.errors` says.

Threads are bounded, partitions are not: an organization has hundreds, and most of them are waiting.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from exporter.clock import Backoff
from exporter.contract import Clock, Partition, Position, Source, State, Unit
from exporter.errors import Blocked, ExporterError, Fenced, Stopping, SwitchedOff
from exporter.metrics import Metrics
from exporter.pipeline import Books, Pipeline
from exporter.status import SourceStatus

__all__ = ["Runtime", "Standing", "Worker"]

_log = logging.getLogger("exporter.runtime")

Standing: TypeAlias = Literal["starting", "reading", "idle", "retrying", "blocked", "failed", "off", "done"]

#: A worker that has neither finished a poll nor delivered a batch for so many seconds is stuck.
_STUCK_SECONDS = 900.0
#: Trying again for so many seconds makes the process not ready: by then it is no hiccup.
_PATIENCE_SECONDS = 60.0
#: The same trouble is logged again after so many tries, and not in between.
_SAY_AGAIN = 20


@dataclass(slots=True)
class _Progress:
    """What the state knows of a partition, for its source to ask."""

    _state: State
    _partition: Partition

    @property
    def position(self) -> Position | None:
        return self._state.load(self._partition)

    def unfinished(self, units: Sequence[Unit]) -> Sequence[Unit]:
        return self._state.unfinished(self._partition, units)


@dataclass(slots=True)
class _View:
    """What others may see of a worker; replaced field by field, read without a lock."""

    standing: Standing = "starting"
    hint: str = ""
    reason: str = ""
    since: float = 0.0
    moved: float = 0.0
    succeeded: bool = False
    last_success: datetime | None = None
    through: datetime | None = None


class Worker:
    """Reads one partition in sequence.

    Args:
        once: leave when caught up (``drain``).
        give_up_seconds: with ``once``: how long trouble may last before the worker fails; None: for ever.
    """

    def __init__(
        self,
        *,
        source: Source,
        partition: Partition,
        pipeline: Pipeline,
        state: State,
        clock: Clock,
        metrics: Metrics,
        rng: random.Random,
        source_type: str = "",
        once: bool = False,
        give_up_seconds: float | None = None,
    ) -> None:
        self.partition = partition
        self.source = source
        self.source_type = source_type
        self.books = Books()
        self.error: BaseException | None = None
        self._pipeline = pipeline
        self._progress = _Progress(state, partition)
        self._clock = clock
        self._metrics = metrics
        self._backoff = Backoff(first=0.5, longest=60.0, rng=rng)
        self._once = once
        self._give_up_seconds = give_up_seconds
        self._tries = 0
        now = clock.monotonic()
        self.view = _View(since=now, moved=now)
        self._labels = (partition.source, partition.key)
        metrics.preset(source=partition.source, source_type=source_type)
        metrics.preset(source=partition.source, partition=partition.key)

    def run(self) -> None:
        """Step until there is no next step. Never raises; see :attr:`error`."""
        while (pause := self.step()) is not None:
            try:
                self._clock.wait(pause)
            except Stopping:
                return

    def step(self) -> float | None:
        """Read until caught up; returns the seconds until the next step.

        None: asked to stop, switched off, fenced, given up, or (``once``) caught up. Never raises.
        """
        try:
            if not self._poll():
                return 0.0
            if self._once:
                self._stand("done")
                return None
            return self.source.interval
        except Stopping:
            return None
        except SwitchedOff as error:
            self._stand("off", error)
            _log.warning("partition switched off: %s", error, extra=self._extra(reason=error.reason))
        except _GivenUp as error:
            self.error = error.cause
            self._stand("failed", error.cause)
        except Fenced as error:
            self.error = error
            self._stand("failed", error)
            _log.critical("another process owns the state now: %s", error, extra=self._extra())
        except Exception as error:  # a bug of ours, or of a library: the loop must outlive it
            return self._survive(error)
        return None

    def _survive(self, error: Exception) -> float | None:
        self._metrics.worker_restarts.labels(self.partition.source).inc()
        _log.exception("worker failed, it starts again", extra=self._extra())
        try:
            self._hold(ExporterError(f"{type(error).__name__}: {error}", reason="bug"))
        except Stopping:
            return None
        except _GivenUp:
            self.error = error
            return None
        return 0.0

    def _poll(self) -> bool:
        """One read; whether it caught up. Trouble of the source holds here, that of sink and state inside deliver."""
        started = self._clock.monotonic()
        self._metrics.polls.labels(self.partition.source).inc()
        if self.view.standing in ("starting", "idle"):
            self._stand("reading")
        try:
            for batch in self.source.read(self.partition, self._progress):
                try:
                    books = self._pipeline.deliver(self.source, batch, self._hold)
                except BaseException:
                    self.source.abandon(batch)
                    raise
                self.books.add(books)
                self._well(batch.through)
                self._clock.wait(0)  # between two batches is the moment to leave
        except (Stopping, SwitchedOff, Fenced, _GivenUp):
            raise
        except ExporterError as error:
            self._metrics.poll_failures.labels(self.partition.source, error.reason).inc()
            self._hold(error)
            return False
        now = self._clock.now()
        self._well(None)
        self.view.last_success = now
        self._metrics.last_poll_success.labels(*self._labels).set(now.timestamp())
        self._metrics.poll_duration.labels(self.partition.source).observe(self._clock.monotonic() - started)
        self._stand("idle")
        return True

    def _well(self, through: datetime | None) -> None:
        """Something worked: whatever was wrong is over."""
        view = self.view
        view.moved = self._clock.monotonic()
        view.succeeded = True
        view.through = through or view.through
        self._metrics.source_up.labels(*self._labels).set(1)
        self._backoff.reset()
        self._tries = 0
        if view.standing in ("retrying", "blocked"):
            _log.info("works again", extra=self._extra(reason=view.reason))
            self._stand("reading")

    def _hold(self, error: ExporterError) -> None:
        """Wait before the same is tried again; the operator learns why.

        Raises:
            Stopping: asked to end meanwhile.
            _GivenUp: with ``once``, after give_up_seconds of trouble, or at once when an operator has to act.
        """
        blocked = isinstance(error, Blocked)
        standing: Standing = "blocked" if blocked else "retrying"
        view = self.view
        self._metrics.source_up.labels(*self._labels).set(0)
        changed = (view.standing, view.reason) != (standing, error.reason)
        if changed or self._tries % _SAY_AGAIN == 0:
            level = logging.ERROR if blocked else logging.WARNING
            _log.log(level, "%s: %s", standing, error, extra=self._extra(reason=error.reason, tries=self._tries))
        self._tries += 1
        if view.standing not in ("retrying", "blocked"):
            view.since = self._clock.monotonic()
        view.standing, view.reason, view.hint = standing, error.reason, str(error)
        if self._once and self._give_up_seconds is not None:
            lasted = self._clock.monotonic() - view.since
            if blocked or lasted >= self._give_up_seconds:
                raise _GivenUp(error)
        self._clock.wait(self._backoff.next(getattr(error, "after", None)))

    def _stand(self, standing: Standing, error: BaseException | None = None) -> None:
        view = self.view
        view.standing = standing
        view.hint = str(error) if error else ""
        view.reason = getattr(error, "reason", "")
        view.since = self._clock.monotonic()

    def _extra(self, **more: object) -> dict[str, object]:
        return {"source": self.partition.source, "partition": self.partition.key, **more}

    def complaint(self) -> str | None:
        """Why this worker keeps the process from being ready; None: it does not."""
        view, now = self.view, self._clock.monotonic()
        if view.standing in ("off", "done"):
            return None
        if view.standing in ("blocked", "failed"):
            return f"{self.partition}: {view.standing}: {view.hint}"
        if view.standing == "retrying" and (not view.succeeded or now - view.since > _PATIENCE_SECONDS):
            return f"{self.partition}: trying again for {now - view.since:.0f} s: {view.hint}"
        if not view.succeeded:
            return f"{self.partition}: the first poll has not finished"
        allowed = max(_STUCK_SECONDS, 3 * self.source.interval)
        if now - view.moved > allowed:
            return f"{self.partition}: stuck, nothing has moved for {now - view.moved:.0f} s"
        return None


class _GivenUp(Exception):
    """``drain`` leaves with an error instead of waiting for ever."""

    def __init__(self, cause: ExporterError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(slots=True)
class Runtime:
    """All workers of a process.

    Attributes:
        concurrency: partitions read at the same time, each in a thread.
        types: name of a source -> its type, for people and metrics.
        horizon: how long identities are remembered; what is older is pruned once an hour.
        discover_seconds: how often sources are asked for new partitions.
        on_end: called once when nothing is left to do.
    """

    sources: Sequence[Source]
    pipeline: Pipeline
    state: State
    clock: Clock
    metrics: Metrics
    rng: random.Random
    horizon: timedelta
    concurrency: int = 64
    types: Mapping[str, str] = field(default_factory=dict)
    once: bool = False
    give_up_seconds: float | None = None
    discover_seconds: float = 300.0
    on_end: Callable[[], None] = lambda: None
    workers: list[Worker] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _complaints: dict[str, str] = field(default_factory=dict)
    _discovered: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _due: list[tuple[float, int, Worker]] = field(default_factory=list)
    _serving: int = 0
    _turns: Iterator[int] = field(default_factory=itertools.count)
    _error: BaseException | None = None

    def start(self) -> None:
        """Start reading. Returns at once."""
        for source in self.sources:
            self._spawn(lambda source=source: self._discover(source), f"discover-{source.name}")  # type: ignore[misc]
        if not self.once:
            self._spawn(self._prune, "prune")

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the workers; with ``seconds``, no longer than that. Returns whether all have ended."""
        deadline = None if seconds is None else self.clock.monotonic() + seconds
        index = 0
        while index < len(self._threads):  # discovery appends while we wait
            thread = self._threads[index]
            thread.join(None if deadline is None else max(0.0, deadline - self.clock.monotonic()))
            if thread.is_alive():
                return False
            index += 1
        return True

    @property
    def error(self) -> BaseException | None:
        """What a worker failed with; None: nothing did."""
        return self._error or next((worker.error for worker in self.workers if worker.error is not None), None)

    def complaints(self) -> list[str]:
        """Why the process is not ready; nothing: it is."""
        found = list(self._complaints.values())
        waiting = [source.name for source in self.sources if source.name not in self._discovered]
        found += [f"{name}: not started" for name in waiting if name not in self._complaints]
        return found + [text for worker in list(self.workers) if (text := worker.complaint())]

    def statuses(self) -> tuple[SourceStatus, ...]:
        """How each partition stands, for the landing page."""
        return tuple(
            SourceStatus(
                name=worker.partition.source,
                type=worker.source_type,
                partition=worker.partition.key,
                state=worker.view.standing,
                last_success=worker.view.last_success,
                through=worker.view.through,
                hint=worker.view.hint,
            )
            for worker in list(self.workers)
        )

    # -- threads ----------------------------------------------------------------------------------------------------

    def _spawn(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _discover(self, source: Source) -> None:
        """Start a worker for each partition the source has, and for those that come later."""
        known: set[Partition] = set()
        backoff = Backoff(rng=self.rng)
        try:
            while True:
                try:
                    for partition in source.partitions():
                        if partition not in known:
                            known.add(partition)
                            self._begin(source, partition)
                    self._discovered.add(source.name)
                    self._complaints.pop(source.name, None)
                    backoff.reset()
                    if self.once:
                        return
                    self.clock.wait(self.discover_seconds)
                except SwitchedOff as error:
                    self._complaints[source.name] = f"{source.name}: {error}"
                    return
                except Stopping:
                    raise
                except ExporterError as error:
                    self._complaints[source.name] = f"{source.name}: {error}"
                    self.metrics.poll_failures.labels(source.name, error.reason).inc()
                    _log.warning("cannot list partitions: %s", error, extra={"source": source.name})
                    if self.once and isinstance(error, Blocked):
                        self._error = error
                        return
                    self.clock.wait(backoff.next(getattr(error, "after", None)))
                except Exception as error:
                    self._complaints[source.name] = f"{source.name}: {type(error).__name__}: {error}"
                    self.metrics.worker_restarts.labels(source.name).inc()
                    _log.exception("cannot list partitions", extra={"source": source.name})
                    self.clock.wait(backoff.next())
        except Stopping:
            return

    def _begin(self, source: Source, partition: Partition) -> None:
        worker = Worker(
            source=source,
            partition=partition,
            pipeline=self.pipeline,
            state=self.state,
            clock=self.clock,
            metrics=self.metrics,
            rng=self.rng,
            source_type=self.types.get(source.name, ""),
            once=self.once,
            give_up_seconds=self.give_up_seconds,
        )
        self.workers.append(worker)
        self._push(self.clock.monotonic(), worker)
        with self._lock:
            spawn = self._serving < self.concurrency
            self._serving += spawn
        if spawn:
            self._spawn(self._serve, f"worker-{self._serving}")

    def _push(self, due: float, worker: Worker) -> None:
        with self._lock:
            heapq.heappush(self._due, (due, next(self._turns), worker))

    def _serve(self) -> None:
        """Take the partition that is due first, wait for its time, let it take its step, put it back."""
        while True:
            with self._lock:
                if not self._due:
                    self._serving -= 1
                    return
                due, _, worker = heapq.heappop(self._due)
            try:
                self.clock.wait(due - self.clock.monotonic())
            except Stopping:
                return
            pause = worker.step()
            if pause is not None:
                self._push(self.clock.monotonic() + pause, worker)
            elif isinstance(worker.error, Fenced):
                self.on_end()

    def _prune(self) -> None:
        """Once an hour: forget what is behind the horizon."""
        try:
            while True:
                self.clock.wait(3_600)
                try:
                    forgotten = self.state.prune(self.clock.now() - self.horizon)
                except ExporterError as error:
                    _log.warning("cannot prune: %s", error)
                else:
                    self.metrics.dedupe_evictions.inc(forgotten)
                    _log.debug("pruned", extra={"identities": forgotten})
        except Stopping:
            return
