"""How many objects are listed and not yet read, as a metric."""

from __future__ import annotations

import pytest

from exporter.errors import ExporterError
from exporter.metrics import Metrics
from tests.fakes.s3 import FakeS3, Fault
from tests.s3.trail import Make, Reader, ago, put, sample


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each object is a batch of its own, so that the metric can be looked at between two."""
    monkeypatch.setattr("exporter.sources.parcel.BATCH_UNITS", 1)


def pending(metrics: Metrics) -> float:
    return sample(metrics, "s3_objects_pending")


def test_objects_are_pending_from_the_listing_until_they_are_read(make: Make, fake: FakeS3, metrics: Metrics) -> None:
    """Three are listed at once; each one read is one less; what an earlier round has finished is not among them."""
    place = Reader(make())
    for number in range(3):
        put(fake, ago(minutes=9 - number), number)
    seen = []
    for batch in place.source.read(place.partition, place):  # type: ignore[arg-type]
        place.take(batch)
        seen.append(pending(metrics))
    assert seen == [2, 1, 0, 0]
    put(fake, ago(minutes=1), 9)
    place.read()
    assert pending(metrics) == 0


def test_a_reading_that_is_given_up_leaves_nothing_pending(make: Make, fake: FakeS3, metrics: Metrics) -> None:
    """The next round lists what is left and counts it again."""
    place = Reader(make())
    for number in range(3):
        put(fake, ago(minutes=9 - number), number)
    place.read(batches=1)
    assert pending(metrics) == 0
    assert place.read() == [1, 2]


def test_an_object_that_fails_or_is_gone_is_not_pending_for_ever(make: Make, fake: FakeS3, metrics: Metrics) -> None:
    """A refused object ends the round, a vanished one is passed over; both times the metric is back at 0."""
    place = Reader(make())
    gone = put(fake, ago(minutes=9), 1)
    denied = put(fake, ago(minutes=8), 2)
    fake.faults[gone] = [Fault(404, "NoSuchKey")]
    fake.faults[denied] = [Fault(403, "AccessDenied")]
    with pytest.raises(ExporterError):
        place.read()
    assert pending(metrics) == 0
    place.read()
    assert pending(metrics) == 0
