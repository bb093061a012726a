"""The listing behind the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from exporter.contract import Batch, Document, Finding, Partition, Progress
from exporter.errors import Blocked
from exporter.sources.sqs import SqsSource
from exporter.testing.clock import ManualClock
from exporter.testing.source import MemoryProgress
from tests.fakes.sqs_queue import FakeQueue
from tests.sqs.queue import BUCKET, file_of, key_of, s3_event

Make = Callable[..., SqsSource]


@dataclass
class Listing:
    """A listing source with one partition and one batch."""

    name: str = "queue-relist"
    interval: float = 3_600
    error: Exception | None = None
    seen: list[tuple[str, Partition]] = field(default_factory=list)

    def check(self) -> Iterable[Finding]:
        return [Finding("ok", "listing", "lists")]

    def partitions(self) -> Sequence[Partition]:
        if self.error:
            raise self.error
        return [Partition(self.name, "111122223333/us-east-2")]

    def read(self, partition: Partition, progress: Progress) -> Iterator[Batch]:
        self.seen.append(("read", partition))
        yield Batch(partition, (Document(b"{}", "x"),), after={"v": 1})

    def settle(self, batch: Batch) -> None:
        self.seen.append(("settle", batch.partition))

    def abandon(self, batch: Batch) -> None:
        self.seen.append(("abandon", batch.partition))

    def close(self) -> None:
        self.seen.append(("close", Partition(self.name, "")))


LISTED = Partition("queue", "relist/111122223333/us-east-2")
THEIRS = Partition("queue-relist", "111122223333/us-east-2")


def test_the_listing_is_read_as_partitions_of_the_queue(make: Make):
    """Batches carry this source's name and an own key; settling reaches the listing under its own."""
    listing = Listing()
    source = make(relist=listing, workers=1)
    assert list(source.partitions()) == [Partition("queue", "worker-0"), LISTED]
    (batch,) = source.read(LISTED, MemoryProgress())
    assert (batch.partition, batch.after) == (LISTED, {"v": 1})
    source.settle(batch)
    source.abandon(batch)
    assert listing.seen == [("read", THEIRS), ("settle", THEIRS), ("abandon", THEIRS)]


def test_it_lists_at_its_own_interval(fake: FakeQueue, make: Make):
    """Asked again at once, it waits a minute and yields nothing; after an hour it lists again."""
    listing = Listing()
    clock = ManualClock()
    source = make(relist=listing, clock=clock)
    assert len(list(source.read(LISTED, MemoryProgress()))) == 1
    assert list(source.read(LISTED, MemoryProgress())) == []
    assert clock.waits == [60.0]
    clock.advance(3_600)
    assert len(list(source.read(LISTED, MemoryProgress()))) == 1


def test_a_listing_that_is_refused_does_not_stop_the_queue(fake: FakeQueue, make: Make):
    """The workers are there; one partition stands for the listing and says what is wrong."""
    fake.put(BUCKET, key_of(1), file_of("e-1"))
    fake.send(s3_event(key_of(1)))
    source = make(relist=Listing(error=Blocked("s3:ListBucket is missing", reason="access_denied")), workers=1)
    worker, listing = source.partitions()
    assert len(list(source.read(worker, MemoryProgress()))) == 1
    with pytest.raises(Blocked, match="ListBucket"):
        list(source.read(listing, MemoryProgress()))


def test_it_is_checked_and_closed_with_the_queue(fake: FakeQueue, make: Make):
    """Its findings are among ours; closing closes it."""
    listing = Listing()
    source = make(relist=listing)
    assert [finding.text for finding in source.check()][-1] == "lists"
    source.close()
    assert listing.seen[-1][0] == "close"
