"""A pipeline over scripted parts, whose books are checked after every whole run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from exporter.contract import Labels, Record, Sink, Source, State
from exporter.errors import ExporterError, Stopping
from exporter.metrics import Metrics
from exporter.pipeline import Books, Pipeline
from exporter.record import Selection
from exporter.runtime import Runtime, Worker
from exporter.state.memory import MemoryState
from exporter.testing.clock import ManualClock

LOOKOUT = "lookoutmetrics.amazonaws.com"


def fold(record: Record) -> Labels:
    """Labels without caps: tests give bounded input."""
    return Labels(
        record.event_source,
        record.event_name,
        record.principal_type,
        record.aws_region,
        record.account_id,
        record.error_code,
        record.correction,
    )


def no_hold(error: ExporterError) -> None:
    """For tests that expect no trouble."""
    raise AssertionError(f"unexpected hold: {error!r}")


def books_of(metrics: Metrics, source: str) -> dict[str, float]:
    """The books of a source as the metrics tell them."""
    sums: Counter[str] = Counter()
    names = {
        f"cloudtrail_exporter_events_{word}_total": word
        for word in ("read", "exported", "filtered", "duplicate", "quarantined")
    }
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name in names and sample.labels.get("source") == source:
                sums[names[sample.name]] += sample.value
            if sample.name == "cloudtrail_exporter_inflight_records" and sample.labels.get("source") == source:
                sums["inflight"] += sample.value
    return dict(sums)


def assert_balanced(metrics: Metrics, source: str) -> None:
    """read = published + filtered + duplicate + quarantined, and nothing is in flight."""
    books = books_of(metrics, source)
    read = books.pop("read", 0)
    assert books.pop("inflight", 0) == 0
    assert read == sum(books.values())


@dataclass
class Whole:
    """Pipeline, state and metrics of one process; :meth:`crash` makes the next process over the same state."""

    sink: Sink
    state: State = field(default_factory=MemoryState)
    clock: ManualClock = field(default_factory=ManualClock)
    services: Sequence[str] = (LOOKOUT,)
    invoked_by_service: bool = False

    def __post_init__(self) -> None:
        self.metrics = Metrics(platform_collectors=False)
        self.pipeline = Pipeline(
            sink=self.sink,
            state=self.state,
            selection=Selection(frozenset(self.services), self.invoked_by_service),
            fold=fold,
            clock=self.clock,
            metrics=self.metrics,
            epoch=self.state.claim("test"),
            depth=64,
            size=100_000,
        )

    def worker(self, source: Source, key: str, *, once: bool = True, give_up_seconds: float | None = None) -> Worker:
        """A worker over one partition of the source, run by the caller."""
        partition = next(part for part in source.partitions() if part.key == key)
        return Worker(
            source=source,
            partition=partition,
            pipeline=self.pipeline,
            state=self.state,
            clock=self.clock,
            metrics=self.metrics,
            rng=random.Random(1),
            once=once,
            give_up_seconds=give_up_seconds,
        )

    def drain(self, *sources: Source) -> Books:
        """Read every partition until caught up, one after the other; the books must balance."""
        total = Books()
        for source in sources:
            for partition in source.partitions():
                worker = self.worker(source, partition.key)
                worker.run()
                assert worker.error is None
                total.add(worker.books)
            assert_balanced(self.metrics, source.name)
        return total

    def runtime(self, *sources: Source, once: bool = True, give_up_seconds: float | None = None) -> Runtime:
        """A runtime with threads."""
        return Runtime(
            sources=sources,
            pipeline=self.pipeline,
            state=self.state,
            clock=self.clock,
            metrics=self.metrics,
            rng=random.Random(1),
            horizon=timedelta(days=100),
            once=once,
            give_up_seconds=give_up_seconds,
        )

    def counted(self) -> dict[str, int]:
        """Event name -> how many, corrections apart."""
        counts: Counter[str] = Counter()
        for labels, number in self.state.totals().items():
            counts[labels.event_name + ("/correction" if labels.correction else "")] += number
        return dict(counts)


class Stopped(Stopping):
    """Raised by a hold that gives the batch up."""
