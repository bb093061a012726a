"""What CloudTrailExporterBooksDoNotBalance rests on: the books are whole on every page, whatever happens in between."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from exporter.contract import Record
from exporter.errors import ExporterError, Retryable, Stopping
from exporter.testing.scripted import ScriptedSink, ScriptedSource, event
from tests.harness import Whole, books_of


def difference(whole: Whole) -> float:
    """read less everything else, without what is in flight: the expression of the alert."""
    books = books_of(whole.metrics, "scripted")
    return books["read"] - sum(books[name] for name in ("exported", "filtered", "duplicate", "quarantined"))


def in_flight(whole: Whole) -> float:
    return books_of(whole.metrics, "scripted")["inflight"]


BATCH = [event(1), event(2), event(2), b"not json", event(3, eventSource="s3.amazonaws.com")]


def test_a_batch_in_flight_is_in_none_of_the_books() -> None:
    """While the receiver has it, it is in flight and not read; so the equation has no term for it."""
    seen: list[tuple[float, float, float]] = []

    def look(_: Sequence[Record]) -> None:
        seen.append((difference(whole), in_flight(whole), books_of(whole.metrics, "scripted")["read"]))

    whole = Whole(ScriptedSink(before=look))
    whole.drain(ScriptedSource({"p": [BATCH, [event(9)]]}))
    assert seen == [(0, 5, 0), (0, 1, 5)]
    assert (difference(whole), in_flight(whole)) == (0, 0)


def test_a_batch_that_is_sent_again_is_read_once() -> None:
    """Tries that fail enter nothing."""
    tries = [0]

    def fail_twice(_: Sequence[Record]) -> None:
        assert difference(whole) == 0
        tries[0] += 1
        if tries[0] < 3:
            raise Retryable("away", reason="connection")

    whole = Whole(ScriptedSink(before=fail_twice))
    whole.drain(ScriptedSource({"p": [BATCH]}))
    assert tries == [3]
    assert (books_of(whole.metrics, "scripted")["read"], difference(whole)) == (5, 0)


def test_a_batch_that_is_abandoned_is_read_when_it_comes_again() -> None:
    """What was not committed is in no book; read again it is entered as a whole."""
    whole = Whole(ScriptedSink(before=_stop))
    source = ScriptedSource({"p": [BATCH]})
    (partition,) = source.partitions()
    batch = next(iter(source.read(partition, whole.worker(source, "p")._progress)))
    with pytest.raises(Stopping):
        whole.pipeline.deliver(source, batch, _hold)
    assert (books_of(whole.metrics, "scripted")["read"], difference(whole), in_flight(whole)) == (0, 0, 0)


def _stop(_: Sequence[Record]) -> None:
    raise Stopping


def _hold(error: ExporterError) -> None:
    raise AssertionError(error)
