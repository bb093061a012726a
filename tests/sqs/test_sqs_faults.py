"""Messages in hand, and whatever may go wrong with them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest

from exporter.errors import Blocked, Retryable, Stopping
from exporter.metrics import Metrics
from exporter.sources.sqs import SqsSource
from exporter.testing.source import MemoryProgress
from tests.fakes.sqs_queue import FakeQueue, Fault
from tests.sqs.queue import BUCKET, HandClock, Loop, bridge_s3, file_of, key_of, s3_event, sample

Make = Callable[..., SqsSource]
DENIED = Fault(403, "AccessDenied", "kms:Decrypt is not allowed")


def fill(fake: FakeQueue, count: int = 1, first: int = 0) -> list[str]:
    """So many objects with a message each; the ids of the messages."""
    sent = []
    for number in range(first, first + count):
        fake.put(BUCKET, key_of(number), file_of(f"e-{number}"))
        sent.append(fake.send(s3_event(key_of(number))))
    return sent


# -- visibility --


def test_a_message_in_hand_is_extended(fake: FakeQueue, clock: HandClock, make: Make):
    """While the pipeline holds its batch for an hour, nobody else gets the message; once settled it is left alone."""
    fill(fake)
    source = make()
    reading = iter(source.read(Loop(source).partition, MemoryProgress()))
    batch = next(reading)
    for step in range(1, 49):
        clock.advance(75, parked=1)
        fake.wait_for("ChangeMessageVisibilityBatch", step)
        assert fake.visible() == []
    source.settle(batch)
    assert fake.waiting() == []
    clock.advance(75, parked=1)
    assert list(reading) == []
    assert len(fake.asked("ChangeMessageVisibilityBatch")) == 48


def test_a_failed_extension_is_tried_again(fake: FakeQueue, clock: HandClock, make: Make, metrics: Metrics):
    """Two requests that fail do not cost the message."""
    fill(fake)
    fake.script("ChangeMessageVisibilityBatch", Fault(500, "InternalError"), Fault(403, "AccessDenied"))
    source = make()
    reading = iter(source.read(Loop(source).partition, MemoryProgress()))
    batch = next(reading)
    for step in range(1, 8):
        clock.advance(75, parked=1)
        fake.wait_for("ChangeMessageVisibilityBatch", step)
        if step > 3:
            assert fake.visible() == []
    source.settle(batch)
    assert sample(metrics, "sqs_message_failures_total", reason="server") == 1
    assert sample(metrics, "sqs_message_failures_total", reason="access_denied") == 1


def test_what_sqs_will_not_extend_is_let_go(fake: FakeQueue, clock: HandClock, make: Make, metrics: Metrics):
    """A receipt that is worth nothing any more is tried once and not again, and settling it raises nothing."""
    (id_,) = fill(fake)
    source = make()
    batch = next(iter(source.read(Loop(source).partition, MemoryProgress())))
    fake.expire(id_)
    for _ in range(4):
        clock.advance(75, parked=1)
    clock.advance(0, parked=1)
    assert len(fake.asked("ChangeMessageVisibilityBatch")) == 1
    source.settle(batch)
    assert fake.waiting() == [id_]
    assert sample(metrics, "sqs_message_failures_total", reason="invalid") == 2
    assert sample(metrics, "sqs_messages_deleted_total") == 0


@pytest.mark.parametrize("how", ["abandon", "close"])
def test_messages_are_handed_back(fake: FakeQueue, make: Make, how: str):
    """Given up, or closed with messages in hand: they are visible at once, all ten of the receive."""
    sent = fill(fake, 10)
    source = make()
    reading = iter(source.read(Loop(source).partition, MemoryProgress()))
    batch = next(reading)
    assert fake.visible() == []
    if how == "abandon":
        source.abandon(batch)
    else:
        source.close()
    assert fake.visible() == sent


def test_stopping_does_not_wait_for_the_long_poll(fake: FakeQueue, clock: HandClock, make: Make):
    """Asked to end during a long poll it leaves at once; what the poll brings after that is handed back."""
    source = make(wait_seconds=20)
    ended: list[BaseException] = []

    def work() -> None:
        try:
            list(source.read(Loop(source).partition, MemoryProgress()))
        except Stopping as error:
            ended.append(error)

    worker = threading.Thread(target=work)
    began = time.monotonic()
    worker.start()
    time.sleep(0.05)
    clock.stop()
    worker.join(10)
    assert len(ended) == 1
    assert time.monotonic() - began < 10
    (sent,) = fill(fake)
    fake.wait_for("ReceiveMessage")
    source.close()
    fake.wait_for("ChangeMessageVisibilityBatch")
    assert fake.visible() == [sent]


def test_an_unsettled_message_is_read_again_by_its_worker(fake: FakeQueue, make: Make):
    """A batch dropped without a word comes again at the next read, without waiting for the queue."""
    (id_,) = fill(fake)
    source = make()
    next(iter(source.read(Loop(source).partition, MemoryProgress())))
    assert Loop(source).read().ids == ["e-0"]
    assert fake.waiting() == []
    assert len(fake.got) == 2, id_


# -- objects that cannot be read --


def test_a_denied_bucket_keeps_its_messages_in_hand(fake: FakeQueue, make: Make, metrics: Metrics):
    """A permission that is taken away does not walk the queue into its dead letters: ten are held, the rest waits."""
    sent = fill(fake, 25)
    for number in range(25):
        fake.deny(BUCKET, key_of(number), DENIED)
    source = make()
    for _ in range(6):
        with pytest.raises(Blocked, match="kms:Decrypt"):
            Loop(source).read()
    assert [fake.receives(id_) for id_ in sent] == [1] * 10 + [0] * 15
    assert sample(metrics, "sqs_message_failures_total", reason="access_denied") == 60
    for number in range(25):
        fake.deny(BUCKET, key_of(number), None)
    assert sorted(Loop(source).read().ids) == sorted(f"e-{number}" for number in range(25))
    assert fake.waiting() == []


def test_poison_is_left_to_the_redrive_policy(fake: FakeQueue, clock: HandClock, make: Make):
    """One object that can never be read: all others come, its message is let go, and at last is a dead letter."""
    fake.max_receives = 2
    sent = fill(fake, 10)
    fake.deny(BUCKET, key_of(4), DENIED)
    source = make()
    ids: list[str] = []
    for turn in range(1, 9):
        loop = Loop(source)
        with contextlib.suppress(Blocked):
            loop.read()
        ids += loop.ids
        for _ in range(5):
            clock.advance(75, parked=1)  # what is in hand is extended, what is let go comes back
        clock.advance(0, parked=1)
        fill(fake, 1, first=100 * turn)
    assert fake.dead == [sent[4]]
    assert ids[:9] == [f"e-{number}" for number in range(10) if number != 4]
    assert {f"e-{100 * turn}" for turn in range(1, 7)} <= set(ids)


def test_neighbours_of_a_denied_object_come_first(fake: FakeQueue, make: Make):
    """The other nine of the receive are delivered before the operator is called."""
    sent = fill(fake, 10)
    fake.deny(BUCKET, key_of(0), DENIED)
    loop = Loop(make())
    with pytest.raises(Blocked, match="s3:GetObject"):
        loop.read()
    assert loop.ids == [f"e-{number}" for number in range(1, 10)]
    assert fake.waiting() == [sent[0]]


def test_a_failing_server_is_asked_no_more_than_needed(fake: FakeQueue, make: Make):
    """After a server's failure the rest of the messages is not tried on it; it comes first the next time."""
    fill(fake, 3)
    fake.deny(BUCKET, key_of(0), Fault(503, "SlowDown"))
    source = make()
    loop = Loop(source)
    with pytest.raises(Retryable) as raised:
        loop.read()
    assert raised.value.reason == "throttled"
    assert {key for _, key in fake.got} == {key_of(0)}
    fake.deny(BUCKET, key_of(0), None)
    assert Loop(source).read().ids == ["e-1", "e-2", "e-0"]
    assert fake.waiting() == []


def test_a_second_key_that_fails_keeps_the_message(fake: FakeQueue, make: Make):
    """peers: deleted after a part was done. The records of the first key may come, the message stays."""
    fake.put(BUCKET, key_of(1), file_of("e-1"))
    fake.deny(BUCKET, key_of(2), DENIED)
    id_ = fake.send(s3_event(key_of(1), key_of(2)))
    source = make()
    with pytest.raises(Blocked):
        Loop(source).read()
    assert fake.waiting() == [id_]
    fake.deny(BUCKET, key_of(2), None)
    fake.put(BUCKET, key_of(2), file_of("e-2"))
    assert Loop(source).read().ids == ["e-1", "e-2"]
    assert fake.waiting() == []


# -- the queue itself --

QUEUE = {
    "gone": (Fault(400, "QueueDoesNotExist"), Blocked, "not_found", "create it, or fix queue_url"),
    "gone, older name": (
        Fault(400, "QueueDoesNotExist", query_code="AWS.SimpleQueueService.NonExistentQueue"),
        Blocked,
        "not_found",
        "is not there",
    ),
    "denied": (Fault(403, "AccessDeniedException"), Blocked, "access_denied", "sqs:ReceiveMessage"),
    "expired": (Fault(403, "ExpiredTokenException"), Blocked, "expired_credentials", "ExpiredToken"),
    "clock": (Fault(403, "RequestExpired"), Blocked, "expired_credentials", "clock"),
    "throttled": (Fault(403, "RequestThrottled"), Retryable, "throttled", "RequestThrottled"),
    "over the limit": (Fault(403, "OverLimit"), Retryable, "throttled", "OverLimit"),
    "server": (Fault(503, "ServiceUnavailable"), Retryable, "server", "ServiceUnavailable"),
    "key denied": (Fault(400, "KmsAccessDenied"), Blocked, "access_denied", "kms:Decrypt"),
    "key denied, older name": (
        Fault(400, "KmsAccessDenied", query_code="KMS.AccessDeniedException"),
        Blocked,
        "access_denied",
        "kms:Decrypt",
    ),
    "key throttled": (Fault(400, "KmsThrottled"), Retryable, "throttled", "KmsThrottled"),
}


@pytest.mark.parametrize(("fault", "error", "reason", "text"), QUEUE.values(), ids=QUEUE)
def test_a_refused_receive_holds_and_goes_on(
    fake: FakeQueue, make: Make, fault: Fault, error: type[Exception], reason: str, text: str
):
    """Each refusal says what to do, and reading goes on by itself when it is over: a queue that is back included."""
    fill(fake)
    fake.script("ReceiveMessage", fault)
    source = make()
    with pytest.raises(error, match=text) as raised:
        Loop(source).read()
    assert raised.value.reason == reason  # type: ignore[attr-defined]
    assert Loop(source).read().ids == ["e-0"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Fault(500, "InternalError"), "server"), (Fault(403, "AccessDenied"), "access_denied")],
    ids=["server", "denied"],
)
def test_a_failed_deletion_is_counted_and_costs_a_redelivery(
    fake: FakeQueue, clock: HandClock, make: Make, metrics: Metrics, fault: Fault, reason: str
):
    """Settling raises nothing; the message comes again, its records are the ledger's to drop."""
    (id_,) = fill(fake)
    fake.script("DeleteMessageBatch", fault)
    source = make()
    assert Loop(source).read().ids == ["e-0"]
    assert (fake.waiting(), sample(metrics, "sqs_message_failures_total", reason=reason)) == ([id_], 1)
    clock.advance(301)
    assert Loop(source).read().ids == ["e-0"]
    assert fake.waiting() == []


def test_another_spelling_is_no_answer_to_a_failing_server(fake: FakeQueue, make: Make):
    """When S3 fails on the bridge's key as it is, the decoded one, another object, is not read in its place."""
    fake.deny(BUCKET, "a+b.json.gz", Fault(503, "SlowDown"))
    fake.put(BUCKET, "a b.json.gz", file_of("blank"))
    id_ = fake.send(bridge_s3("a+b.json.gz"))
    loop = Loop(make())
    with pytest.raises(Retryable):
        loop.read()
    assert (loop.ids, fake.waiting()) == ([], [id_])
