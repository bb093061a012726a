"""Workers: what each error makes the loop do, readiness, stopping."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from exporter.contract import Partition, Record
from exporter.errors import Blocked, Fenced, Retryable, Stopping, SwitchedOff
from exporter.testing.clock import ManualClock
from exporter.testing.scripted import ScriptedSink, ScriptedSource, event
from tests.harness import Whole, assert_balanced


def value(whole: Whole, name: str, **labels: str) -> float | None:
    return whole.metrics.registry.get_sample_value(f"cloudtrail_exporter_{name}", labels)


def test_a_source_that_fails_for_now_is_read_again_after_a_growing_pause():
    """Retryable waits, each time up to twice as long, and then everything is read."""
    sink = ScriptedSink()
    whole = Whole(sink)
    source = ScriptedSource({"p": [Retryable("no"), Retryable("no"), Retryable("no"), [event(1)]]})
    whole.drain(source)
    assert sink.accepted == ["111122223333/event-1"]
    first, second, third = [seconds for seconds in whole.clock.waits if seconds]
    assert (0.25 <= first <= 0.5, 0.5 <= second <= 1, 1 <= third <= 2) == (True, True, True)
    assert value(whole, "poll_failures_total", source="scripted", reason="other") == 3


def test_the_wait_the_other_side_asked_for_is_kept():
    """Retry-After wins over a shorter pause of our own."""
    whole = Whole(ScriptedSink([Retryable("slow down", after=77)]))
    whole.drain(ScriptedSource({"p": [[event(1)]]}))
    assert 77 in whole.clock.waits


def test_blocked_is_not_ready_and_says_what_to_fix():
    """A missing permission holds the worker; its words reach the operator."""
    whole = Whole(ScriptedSink(), clock=ManualClock(stop_after=3))
    source = ScriptedSource({"p": [Blocked("grant cloudtrail:LookupEvents", reason="access_denied")] * 9})
    worker = whole.worker(source, "p", once=False)
    worker.run()
    assert worker.complaint() == "scripted/p: blocked: grant cloudtrail:LookupEvents"
    assert value(whole, "source_up", source="scripted", partition="p") == 0


def test_a_worker_is_not_ready_before_anything_worked():
    """Starting is not ready."""
    whole = Whole(ScriptedSink())
    worker = whole.worker(ScriptedSource({"p": []}), "p")
    assert worker.complaint() == "scripted/p: the first poll has not finished"
    worker.run()
    assert worker.complaint() is None


def test_a_worker_that_does_not_move_is_stuck():
    """Quiet is not stuck, because empty polls move; standing still for a quarter of an hour is."""
    whole = Whole(ScriptedSink(), clock=ManualClock(stop_after=4))
    worker = whole.worker(ScriptedSource({"p": [[event(1)]]}), "p", once=False)
    worker.run()
    assert worker.complaint() is None
    whole.clock.advance(1_000)
    assert worker.complaint() == "scripted/p: stuck, nothing has moved for 1000 s"


def test_short_trouble_keeps_a_process_ready_and_long_trouble_does_not():
    """A receiver that is away for a minute is a hiccup, longer is not."""
    whole = Whole(ScriptedSink([None, *[Retryable("connection refused")] * 50]), clock=ManualClock(stop_after=4))
    worker = whole.worker(ScriptedSource({"p": [[event(1)], [event(2)]]}), "p", once=False)
    worker.run()
    assert worker.view.standing == "retrying"
    assert worker.complaint() is None
    whole.clock.advance(61)
    assert "trying again" in str(worker.complaint())


def test_a_partition_that_is_switched_off_leaves_the_others_and_readiness_alone():
    """A region without the API ends its worker only."""
    sink = ScriptedSink()
    whole = Whole(sink)
    runtime = whole.runtime(ScriptedSource({"p": [SwitchedOff("not in this region")], "q": [[event(1)]]}))
    runtime.start()
    assert runtime.join(20)
    assert sink.accepted == ["111122223333/event-1"]
    assert runtime.complaints() == []
    assert runtime.error is None
    assert {status.partition: status.state for status in runtime.statuses()} == {"p": "off", "q": "done"}


def test_a_fenced_worker_stops_with_an_error():
    """Another owner has the state: nothing more is written here."""
    whole = Whole(ScriptedSink())
    worker = whole.worker(ScriptedSource({"p": [[event(1)]]}), "p")
    whole.state.claim("somebody else")
    worker.run()
    assert isinstance(worker.error, Fenced)
    assert whole.counted() == {}


def test_a_bug_is_counted_and_the_worker_starts_again():
    """An unexpected exception costs a pause, not the worker."""
    sink = ScriptedSink()
    whole = Whole(sink)
    whole.drain(ScriptedSource({"p": [[event(1)], RuntimeError("bug"), [event(2)]]}))
    assert len(sink.accepted) == 2
    assert value(whole, "worker_restarts_total", source="scripted") == 1


def test_a_batch_given_up_is_handed_back_to_its_source():
    """Stopping while the receiver is away abandons the batch, and nothing of it is committed."""
    whole = Whole(ScriptedSink([Retryable("away")] * 9), clock=ManualClock(stop_after=2))
    source = ScriptedSource({"p": [[event(1)]]})
    whole.worker(source, "p", once=False).run()
    assert source.abandoned == [("p", 0)]
    assert source.settled == []
    assert whole.counted() == {}
    assert_balanced(whole.metrics, "scripted")


def test_a_drain_gives_up_at_once_when_an_operator_has_to_act():
    """A Job does not hang for ever on a missing permission."""
    whole = Whole(ScriptedSink([Blocked("401")]))
    worker = whole.worker(ScriptedSource({"p": [[event(1)]]}), "p", give_up_seconds=300)
    worker.run()
    assert isinstance(worker.error, Blocked)


def test_a_drain_gives_up_when_trouble_lasts():
    """A receiver that stays away fails the drain after its patience, not before."""
    whole = Whole(ScriptedSink([Retryable("away")] * 200))
    worker = whole.worker(ScriptedSource({"p": [[event(1)]]}), "p", give_up_seconds=300)
    worker.run()
    assert isinstance(worker.error, Retryable)
    assert sum(whole.clock.waits) >= 240


def test_progress_is_taken_up_where_it_was_committed():
    """A second process over the same state reads nothing twice."""
    sink = ScriptedSink()
    whole = Whole(sink)
    script = {"p": [[event(1)], [event(2)]]}
    whole.drain(ScriptedSource(script))
    again = Whole(sink, whole.state)
    books = again.drain(ScriptedSource({"p": [*script["p"], [event(3)]]}))
    assert (books.read, books.published) == (1, 1)


def test_partitions_that_cannot_be_listed_are_a_reason_not_to_be_ready():
    """A source whose partitions are not known is named, and asked again."""

    class Shy(ScriptedSource):
        asked = 0

        def partitions(self) -> list[Partition]:
            self.asked += 1
            if self.asked == 1:
                raise Retryable("listing failed")
            return list(super().partitions())

    sink = ScriptedSink()
    whole = Whole(sink)
    source = Shy({"p": [[event(1)]]})
    runtime = whole.runtime(source)
    assert runtime.complaints() == ["scripted: not started"]
    runtime.start()
    assert runtime.join(20)
    assert runtime.complaints() == []
    assert source.asked == 2
    assert len(sink.accepted) == 1


def test_a_stopped_clock_ends_every_worker():
    """After stop nothing waits and nothing reads."""
    whole = Whole(ScriptedSink())
    whole.clock.stop()
    runtime = whole.runtime(ScriptedSource({"p": [[event(1)], [event(2)]]}), once=False)
    runtime.start()
    assert runtime.join(20)
    with pytest.raises(Stopping):
        whole.clock.wait(1)


@pytest.mark.parametrize("concurrency", [1, 3, 64])
def test_more_partitions_than_threads_are_all_read(concurrency: int):
    """An organization has hundreds of partitions; threads are bounded, and every partition has its turn."""
    gate = threading.Event()
    sink = ScriptedSink(before=lambda _: gate.wait(20))
    whole = Whole(sink)
    source = ScriptedSource({f"p{number}": [[event(number)], [event(1_000 + number)]] for number in range(40)})
    runtime = whole.runtime(source)
    runtime.concurrency = concurrency
    runtime.start()
    lister, *_ = runtime._threads
    lister.join(20)
    # Every partition is known now, and whoever reads one waits at the gate: nobody is about to end.
    assert sum(thread.is_alive() for thread in runtime._threads) == min(concurrency, 40)
    gate.set()
    assert runtime.join(20)
    assert len(sink.accepted) == 80


def test_a_partition_that_holds_does_not_keep_the_others_waiting():
    """One thread of two hangs in a request; the other one serves the rest."""
    others = threading.Event()

    def before(records: Sequence[Record]) -> None:
        if records[0].identity.uid.endswith("event-999"):
            assert others.wait(20)
        elif len(sink.accepted) == 19:
            others.set()

    sink = ScriptedSink(before=before)
    whole = Whole(sink)
    script = {"a": [[event(999)]], **{f"p{number}": [[event(number)]] for number in range(20)}}
    runtime = whole.runtime(ScriptedSource(script))
    runtime.concurrency = 2
    runtime.start()
    assert runtime.join(20)
    assert len(sink.accepted) == 21
