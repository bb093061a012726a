"""The straight path: order of effects, exact counts, nothing lost, whatever sink and state answer."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from exporter.contract import Batch, Commit, Committed, Delivery, Malformed, Partition, Unit
from exporter.errors import Blocked, ExporterError, Permanent, Retryable, Stopping, TooLarge
from exporter.state.memory import MemoryState
from exporter.testing.scripted import ScriptedSink, ScriptedSource, event
from exporter.testing.source import MemoryProgress
from tests.harness import Whole, assert_balanced, books_of, no_hold


def uid(number: int) -> str:
    return f"111122223333/event-{number}"


class OrderedState(MemoryState):
    """Writes commits into a shared list of effects."""

    def __init__(self, effects: list[str]) -> None:
        super().__init__()
        self.effects = effects

    def commit(self, commit: Commit) -> Committed:
        self.effects.append("commit")
        return super().commit(commit)


def test_effects_happen_in_the_order_send_commit_settle():
    """The sink is asked first, then the state, then the source is told."""
    effects: list[str] = []

    class Source(ScriptedSource):
        def settle(self, batch: Batch) -> None:
            effects.append("settle")

    whole = Whole(ScriptedSink(before=lambda _: effects.append("send")), OrderedState(effects))
    whole.drain(Source({"p": [[event(1)], [event(2)]]}))
    assert effects == ["send", "commit", "settle"] * 2


def test_each_event_is_published_once_and_counted_once():
    """Repeats inside a batch, in a later batch and in another partition are duplicates."""
    sink = ScriptedSink()
    whole = Whole(sink)
    source = ScriptedSource({"p": [[event(1), event(2), event(1)], [event(2), event(3)]], "q": [[event(3)]]})
    books = whole.drain(source)
    assert sink.accepted == [uid(1), uid(2), uid(3)]
    assert whole.counted() == {"ListAnomalyDetectors": 3}
    assert (books.read, books.published, books.duplicate) == (6, 3, 3)


def test_records_of_other_services_are_filtered_and_not_remembered():
    """What is not wanted costs a figure in the books and nothing in the ledger."""
    whole = Whole(ScriptedSink())
    books = whole.drain(ScriptedSource({"p": [[event(1, eventSource="s3.amazonaws.com"), event(2)]]}))
    assert dict(books.filtered) == {"other_service": 1}
    assert whole.state.size().identities == 1


def test_invoked_by_service_takes_what_the_service_did_elsewhere():
    """With the setting, a record of another service invoked by ours is wanted."""
    other = event(
        1,
        eventSource="sts.amazonaws.com",
        eventName="AssumeRole",
        userIdentity={"type": "AWSService", "invokedBy": "lookoutmetrics.amazonaws.com"},
    )
    sink = ScriptedSink()
    Whole(sink, invoked_by_service=True).drain(ScriptedSource({"p": [[other]]}))
    assert sink.accepted == [uid(1)]


def test_a_broken_record_is_quarantined_and_its_neighbours_go_on():
    """Text that is no JSON lies in quarantine with its reason, both neighbours are published."""
    sink = ScriptedSink()
    whole = Whole(sink)
    books = whole.drain(ScriptedSource({"p": [[event(1), b'{"eventID":', event(2)]]}))
    assert sink.accepted == [uid(1), uid(2)]
    [(_, item)] = whole.state.quarantined(10)
    assert (item.reason, item.sample, item.origin) == ("not_json", b'{"eventID":', "scripted/p#0.1")
    assert dict(books.quarantined) == {"not_json": 1}


def test_a_broken_record_that_comes_again_is_a_duplicate():
    """Quarantine holds the same bytes once, however often they are delivered."""
    whole = Whole(ScriptedSink())
    books = whole.drain(ScriptedSource({"p": [[b"nonsense"], [b"nonsense"]]}))
    assert whole.state.size().quarantined == 1
    assert (books.quarantined.total(), books.duplicate) == (1, 1)


def test_what_the_source_could_not_read_is_quarantined():
    """A Malformed of the source goes the same way as one of the parser."""
    whole = Whole(ScriptedSink())
    whole.drain(ScriptedSource({"p": [[Malformed("truncated", "cut after 10 bytes", "a.gz (10-1)", b"\x1f\x8b", 10)]]}))
    [(_, item)] = whole.state.quarantined(10)
    assert (item.reason, item.origin, item.size) == ("truncated", "a.gz (10-1)", 10)


def test_a_record_the_receiver_will_never_take_is_found_by_halving():
    """One poisoned record of eight ends in quarantine, the other seven are accepted exactly once."""
    sink = ScriptedSink(poison=[uid(5)])
    whole = Whole(sink)
    books = whole.drain(ScriptedSource({"p": [[event(number) for number in range(8)]]}))
    assert sorted(sink.accepted) == sorted(uid(number) for number in range(8) if number != 5)
    [(_, item)] = whole.state.quarantined(10)
    assert (item.reason, item.counted) == ("refused", False)
    assert whole.counted() == {"ListAnomalyDetectors": 7}
    assert (books.published, books.quarantined["refused"]) == (7, 1)


def test_a_refused_record_is_not_tried_again_when_it_is_redelivered():
    """A look-back that yields a quarantined record again finds it remembered."""
    sink = ScriptedSink(poison=[uid(1)])
    whole = Whole(sink)
    whole.drain(ScriptedSource({"p": [[event(1)], [event(1)]]}))
    assert sink.requests == [[uid(1)]]


def test_a_request_that_is_too_large_is_split_and_nothing_is_quarantined():
    """TooLarge for two records sends each alone."""
    sink = ScriptedSink([TooLarge("5 MB")])
    whole = Whole(sink)
    whole.drain(ScriptedSource({"p": [[event(1), event(2)]]}))
    assert sink.requests == [[uid(1), uid(2)], [uid(1)], [uid(2)]]
    assert whole.state.size().quarantined == 0


def test_partial_success_keeps_every_record_that_may_be_the_refused_one():
    """The receiver took 2 of 3 and does not say which: all are counted, all are kept, the books say 2 and 1."""
    whole = Whole(ScriptedSink([Delivery(2, 1, "one had no body")]))
    books = whole.drain(ScriptedSource({"p": [[event(1), event(2), event(3)]]}))
    assert whole.counted() == {"ListAnomalyDetectors": 3}
    items = [item for _, item in whole.state.quarantined(10)]
    assert [(item.reason, item.counted, item.detail) for item in items] == [
        ("partial_success", True, "one had no body")
    ] * 3
    assert (books.published, books.quarantined["partial_success"]) == (2, 1)


def test_a_request_refused_as_a_whole_by_partial_success_is_not_counted():
    """Rejected as many as sent: that is a refusal."""
    whole = Whole(ScriptedSink([Delivery(0, 2, "no")]))
    books = whole.drain(ScriptedSource({"p": [[event(1), event(2)]]}))
    assert whole.counted() == {}
    assert (books.published, books.quarantined["refused"]) == (0, 2)


@pytest.mark.parametrize("error", [Retryable("down", after=3), Blocked("no permission")], ids=["retryable", "blocked"])
def test_trouble_of_the_receiver_holds_the_batch_and_loses_nothing(error: ExporterError):
    """After the hold the same records are sent again, and counted once."""
    held: list[ExporterError] = []
    sink = ScriptedSink([error, error])
    whole = Whole(sink)
    source = ScriptedSource({"p": []})
    batch = Batch(Partition("scripted", "p"), tuple(_documents(1, 2)))
    whole.pipeline.deliver(source, batch, held.append)
    assert held == [error, error]
    assert sink.accepted == [uid(1), uid(2)]
    assert whole.counted() == {"ListAnomalyDetectors": 2}
    assert_balanced(whole.metrics, "scripted")


def test_a_failed_commit_is_tried_again_without_sending_again():
    """What the receiver accepted is not sent twice because a disk was full for a moment."""

    class FullOnce(MemoryState):
        failures = 1

        def commit(self, commit: Commit) -> Committed:
            if self.failures:
                self.failures -= 1
                raise Blocked("disk full", reason="disk")
            return super().commit(commit)

    sink = ScriptedSink()
    whole = Whole(sink, FullOnce())
    whole.pipeline.deliver(
        ScriptedSource({"p": []}), Batch(Partition("scripted", "p"), tuple(_documents(1))), lambda _: None
    )
    assert sink.requests == [[uid(1)]]
    assert whole.counted() == {"ListAnomalyDetectors": 1}


def test_a_slice_is_committed_before_the_next_one_is_sent():
    """A receiver that fails in the middle of a split batch has nothing repeated that it took before."""
    sink = ScriptedSink([TooLarge("big"), None, Retryable("down")])
    whole = Whole(sink)

    def give_up(error: ExporterError) -> None:
        raise Stopping

    source = ScriptedSource({"p": [[event(1), event(2)]]})
    batch = Batch(Partition("scripted", "p"), tuple(_documents(1, 2)), after={"v": 1, "done": 1})
    with pytest.raises(Stopping):
        whole.pipeline.deliver(source, batch, give_up)
    assert whole.counted() == {"ListAnomalyDetectors": 1}
    assert whole.state.load(batch.partition) is None
    whole.pipeline.deliver(source, batch, no_hold)
    assert sink.accepted == [uid(1), uid(2)]
    assert whole.state.load(batch.partition) == {"v": 1, "done": 1}
    assert_balanced(whole.metrics, "scripted")


def test_a_batch_larger_than_one_commit_may_hold_is_cut():
    """The state's max_entries bounds each commit; the position comes with the last one."""

    class Small(MemoryState):
        max_entries = 3

        def commit(self, commit: Commit) -> Committed:
            assert len(commit.entries) <= 3
            return super().commit(commit)

    whole = Whole(ScriptedSink(), Small())
    whole.drain(ScriptedSource({"p": [[event(number) for number in range(8)]]}))
    assert whole.counted() == {"ListAnomalyDetectors": 8}


def test_what_may_be_forgotten_goes_with_the_last_commit_of_the_batch():
    """Before it the batch may come again, and its source would find units unfinished that it thought were done."""
    forgotten: list[tuple[str, ...]] = []

    class Small(MemoryState):
        max_entries = 3

        def commit(self, commit: Commit) -> Committed:
            forgotten.append(commit.forget)
            return super().commit(commit)

    source = ScriptedSource({"p": [[event(number) for number in range(7)]]})
    [partition] = source.partitions()
    [batch] = source.read(partition, MemoryProgress())
    Whole(ScriptedSink(), Small()).pipeline.deliver(source, replace(batch, forget=("monday",)), no_hold)
    assert forgotten == [(), (), ("monday",)]


def test_a_batch_that_only_forgets_is_committed():
    """Forgetting alone is a change of the state."""
    source = ScriptedSource({"p": [[]]})
    [partition] = source.partitions()
    whole = Whole(ScriptedSink())
    whole.pipeline.deliver(source, Batch(partition, finished=(Unit("a", "1", "monday"),)), no_hold)
    whole.pipeline.deliver(source, Batch(partition, forget=("monday",)), no_hold)
    assert whole.state.unfinished(partition, [Unit("a", "1", "monday")]) == [Unit("a", "1", "monday")]


def test_a_correction_is_published_and_counted_apart():
    """An addendum with UPDATED_DATA is not a second call."""
    correction = event(2, addendum={"reason": "UPDATED_DATA", "originalEventID": "event-1"})
    sink = ScriptedSink()
    whole = Whole(sink)
    whole.drain(ScriptedSource({"p": [[event(1), correction]]}))
    assert sink.accepted == [uid(1), uid(2) + "/UPDATED_DATA"]
    assert whole.counted() == {"ListAnomalyDetectors": 1, "ListAnomalyDetectors/correction": 1}


def test_an_insight_is_published_and_not_counted():
    """An Insight is no call."""
    insight = event(
        1,
        eventSource=None,
        eventName=None,
        eventCategory="Insight",
        insightDetails={"eventSource": "lookoutmetrics.amazonaws.com", "eventName": "ListAlerts"},
    )
    sink = ScriptedSink()
    whole = Whole(sink)
    whole.drain(ScriptedSource({"p": [[insight]]}))
    assert sink.accepted == [uid(1)]
    assert whole.counted() == {}


def test_an_empty_batch_moves_the_position_without_a_request():
    """A poll that found nothing is a heartbeat."""
    sink = ScriptedSink()
    whole = Whole(sink)
    source = ScriptedSource({"p": [[]]})
    whole.drain(source)
    assert sink.requests == []
    assert whole.state.load(source.partitions()[0]) == {"v": 1, "done": 1}


def test_an_event_that_two_partitions_carry_at_once_is_sent_by_one_of_them():
    """While one worker sends an event the other waits, and then finds a duplicate."""
    entered, release = threading.Event(), threading.Event()

    def block(_: object) -> None:
        entered.set()
        assert release.wait(10)

    sink = ScriptedSink(before=block)
    whole = Whole(sink)
    source = ScriptedSource({"p": [], "q": []})

    def deliver(key: str) -> None:
        whole.pipeline.deliver(source, Batch(Partition("scripted", key), tuple(_documents(1))), no_hold)

    first = threading.Thread(target=deliver, args=("p",))
    second = threading.Thread(target=deliver, args=("q",))
    first.start()
    assert entered.wait(10)
    second.start()
    release.set()
    first.join(10)
    second.join(10)
    assert sink.requests == [[uid(1)]]
    assert whole.counted() == {"ListAnomalyDetectors": 1}
    assert books_of(whole.metrics, "scripted")["duplicate"] == 1


def test_an_unencodable_record_has_a_reason_of_its_own():
    """Permanent with reason encode says that the fault is on our side of the wire."""
    whole = Whole(ScriptedSink([Permanent("cannot encode", reason="encode")]))
    books = whole.drain(ScriptedSource({"p": [[event(1)]]}))
    assert dict(books.quarantined) == {"encode": 1}


def _documents(*numbers: int):
    from exporter.contract import Document

    return [Document(event(number), f"test#{number}") for number in numbers]


def test_what_only_a_listing_found_is_counted():
    """New events of a listed batch were lost on their way through the queue; known ones were not."""
    whole = Whole(ScriptedSink())
    source = ScriptedSource({"p": []})
    partition = Partition("scripted", "p")
    whole.metrics.preset(source="scripted", source_type="sqs")
    whole.pipeline.deliver(source, Batch(partition, tuple(_documents(1))), no_hold)
    whole.pipeline.deliver(source, Batch(partition, tuple(_documents(1, 2)), listed=True), no_hold)
    name = "cloudtrail_exporter_found_by_listing_total"
    assert whole.metrics.registry.get_sample_value(name, {"source": "scripted"}) == 1
