"""From message to records to deletion."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote_plus

import pytest

from exporter.contract import Document
from exporter.metrics import Metrics
from exporter.sources.sqs import SqsSource
from exporter.testing.source import MemoryProgress
from tests.fakes.events import event
from tests.fakes.sqs_queue import FakeQueue, Fault
from tests.sqs.queue import (
    BUCKET,
    HandClock,
    Loop,
    bridge_record,
    bridge_s3,
    file_of,
    ids_of,
    key_of,
    s3_event,
    s3_record,
    sample,
    sns,
    trail_sns,
)

Make = Callable[..., SqsSource]
KEY = key_of(1)

FORMS = {
    "s3": s3_event(KEY),
    "s3 by SNS": sns(s3_event(KEY)),
    "trail": trail_sns(KEY),
    "trail by SNS": sns(trail_sns(KEY)),
    "bridge": bridge_s3(KEY),
    "bridge, encoded": bridge_s3(quote_plus(KEY)),
    "bridge record": bridge_record("e-1"),
    "a file": json.dumps({"Records": [event(eventID="e-1")]}),
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_each_form_is_read_and_deleted(fake: FakeQueue, make: Make, body: str):
    """Whatever the form of the message, its record comes and the message goes."""
    fake.put(BUCKET, KEY, file_of("e-1"))
    fake.send(body)
    assert Loop(make()).read().ids == ["e-1"]
    assert fake.waiting() == []


@pytest.mark.parametrize("key", ["a b/x.json.gz", "a+b/x.json.gz", "100%/x.json.gz", "büro/ü.json.gz", "a%20b/x.gz"])
def test_keys_are_decoded_once(fake: FakeQueue, make: Make, key: str):
    """An S3 notification's key is form-encoded; blanks, plus, percent and umlauts arrive as they are."""
    fake.put(BUCKET, key, file_of("e-1"))
    fake.send(s3_event(quote_plus(key)))
    assert Loop(make()).read().ids == ["e-1"]
    assert fake.got == [(BUCKET, key)]


def test_every_key_of_a_message_is_read(fake: FakeQueue, make: Make):
    """A message with many keys is deleted when all of them are read."""
    for number in range(25):
        fake.put(BUCKET, key_of(number), file_of(f"e-{number}"))
    fake.send(trail_sns(*map(key_of, range(25))))
    assert Loop(make()).read().ids == [f"e-{number}" for number in range(25)]
    assert fake.waiting() == []


def test_nothing_is_deleted_before_it_is_settled(fake: FakeQueue, make: Make):
    """Reading alone leaves every message where it is."""
    fake.put(BUCKET, KEY, file_of("e-1"))
    fake.send(s3_event(KEY))
    source = make()
    (batch,) = source.read(Loop(source).partition, MemoryProgress())
    assert fake.asked("DeleteMessageBatch") == []
    source.settle(batch)
    assert fake.waiting() == []


def test_a_message_over_several_batches_settles_with_the_last(fake: FakeQueue, make: Make):
    """As long as records of a message are to come, no batch carries its receipt."""
    fake.put(BUCKET, KEY, file_of(*(f"e-{number}" for number in range(2_500))))
    fake.put(BUCKET, key_of(2), file_of("last"))
    fake.send(trail_sns(KEY, key_of(2)))
    loop = Loop(make()).read()
    assert [(len(batch.items), len(batch.receipts)) for batch in loop.batches] == [(1_000, 0), (1_000, 0), (501, 1)]


def test_ten_small_messages_are_one_batch(fake: FakeQueue, make: Make):
    """What one receive brought is committed together when it is small."""
    for number in range(10):
        fake.put(BUCKET, key_of(number), file_of(f"e-{number}"))
        fake.send(s3_event(key_of(number)))
    loop = Loop(make()).read()
    assert [len(batch.receipts) for batch in loop.batches] == [10]
    assert len(fake.asked("DeleteMessageBatch")) == 1


def test_an_object_named_twice_is_fetched_once(fake: FakeQueue, make: Make):
    """Standard queues double messages: both go, the object is read once."""
    fake.put(BUCKET, KEY, file_of("e-1"))
    fake.send(s3_event(KEY))
    fake.send(s3_event(KEY))
    assert Loop(make()).read().ids == ["e-1"]
    assert (fake.waiting(), len(fake.got)) == ([], 1)


def test_two_workers_do_not_meet(fake: FakeQueue, make: Make):
    """What one worker has in hand the other does not get."""
    for number in range(15):
        fake.put(BUCKET, key_of(number), file_of(f"e-{number}"))
        fake.send(s3_event(key_of(number)))
    source = make(workers=2)
    first, second = (iter(source.read(partition, MemoryProgress())) for partition in source.partitions())
    batches = [next(first), next(second)]
    assert sorted(map(len, (ids_of([batch]) for batch in batches))) == [5, 10]
    assert len(set(ids_of(batches))) == 15


IDLE = {
    "test event": ('{"Event":"s3:TestEvent"}', "test_event"),
    "confirmation": (sns("hello", "SubscriptionConfirmation"), "confirmation"),
    "validation": ("CloudTrail validation message.", "not_json"),
    "digest": (s3_event(KEY.replace("/CloudTrail/", "/CloudTrail-Digest/")), "kind"),
    "removal": (json.dumps({"Records": [s3_record(KEY, name="ObjectRemoved:Delete")]}), "not_created"),
}


@pytest.mark.parametrize(("body", "reason"), IDLE.values(), ids=IDLE)
def test_idle_messages_are_deleted_and_counted(fake: FakeQueue, make: Make, metrics: Metrics, body: str, reason: str):
    """What names nothing to read is settled like the rest, counted by its reason."""
    fake.send(body)
    loop = Loop(make()).read()
    assert (loop.ids, fake.waiting(), fake.got) == ([], [], [])
    assert sample(metrics, "sqs_messages_ignored_total", reason=reason) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [('{"something":"else"}', "unknown_shape"), (s3_event(KEY, bucket="forged"), "foreign_bucket")],
    ids=["unknown", "foreign"],
)
def test_what_is_not_for_us_is_left(
    fake: FakeQueue, clock: HandClock, make: Make, metrics: Metrics, body: str, reason: str
):
    """Neither deleted nor extended, never read: when its time is up it comes again, for the redrive policy to count."""
    fake.put("forged", KEY, file_of("e-1"))
    id_ = fake.send(body)
    assert Loop(make()).read().batches == []
    assert (fake.waiting(), fake.visible(), fake.got) == ([id_], [], [])
    assert sample(metrics, "sqs_messages_ignored_total", reason=reason) == 1
    clock.advance(300)
    assert fake.visible() == [id_]
    assert fake.asked("ChangeMessageVisibilityBatch") == []


def test_a_forged_bucket_beside_a_good_one_is_never_read(fake: FakeQueue, make: Make):
    """The good key of the message is read, the forged one is not, and the message is left."""
    fake.put("forged", KEY, file_of("forged"))
    fake.put(BUCKET, KEY, file_of("good"))
    id_ = fake.send(json.dumps({"Records": [s3_record(KEY, "forged"), s3_record(KEY)]}))
    assert Loop(make()).read().ids == ["good"]
    assert (fake.waiting(), fake.got) == ([id_], [(BUCKET, KEY)])


def test_no_bucket_allowed_still_takes_records(fake: FakeQueue, make: Make):
    """Records that come in the message itself need no bucket."""
    fake.send(bridge_record("e-1"))
    assert Loop(make(buckets=[])).read().ids == ["e-1"]


def test_an_object_that_is_gone_is_set_aside(fake: FakeQueue, make: Make, metrics: Metrics):
    """Deleted by a lifecycle rule before it was read: kept in quarantine with its key, and the message goes."""
    fake.send(s3_event(KEY))
    (gone,) = Loop(make()).read().malformed
    assert (gone.reason, gone.origin, fake.waiting()) == ("vanished", f"s3://{BUCKET}/{KEY}", [])
    assert sample(metrics, "s3_objects_skipped_total", reason="vanished") == 1


def test_the_bridge_key_as_it_is_comes_first(fake: FakeQueue, make: Make):
    """A key with a plus in it is found as it is; its decoded form is not asked for."""
    fake.put(BUCKET, "a+b.json.gz", file_of("plus"))
    fake.put(BUCKET, "a b.json.gz", file_of("blank"))
    fake.send(bridge_s3("a+b.json.gz"))
    assert Loop(make()).read().ids == ["plus"]


def test_the_decoded_bridge_key_is_tried_where_missing_looks_like_denied(fake: FakeQueue, make: Make):
    """Without s3:ListBucket a missing key answers 403: the other spelling is tried before anybody is bothered."""
    fake.deny(BUCKET, "a+b.json.gz", Fault(403, "AccessDenied"))
    fake.put(BUCKET, "a b.json.gz", file_of("blank"))
    fake.send(bridge_s3("a+b.json.gz"))
    assert Loop(make()).read().ids == ["blank"]


def test_a_broken_object_is_set_aside_and_its_message_goes(fake: FakeQueue, make: Make):
    """Garbage in one object costs no other, and is not read again."""
    fake.put(BUCKET, KEY, b"garbage, not JSON")
    fake.put(BUCKET, key_of(2), file_of("e-2"))
    fake.send(s3_event(KEY, key_of(2)))
    loop = Loop(make()).read()
    assert (loop.ids, [one.reason for one in loop.malformed], fake.waiting()) == (["e-2"], ["not_json"], [])


@pytest.mark.parametrize("key", ["k" * 2_000, "a\x07b", "a\ud800b"], ids=["long", "control", "surrogate"])
def test_an_impossible_key_is_set_aside(fake: FakeQueue, make: Make, key: str):
    """No object can have it: quarantined, never asked for."""
    fake.send(trail_sns(key))
    loop = Loop(make()).read()
    assert ([one.reason for one in loop.malformed], fake.got, fake.waiting()) == (["bad_key"], [], [])


def test_a_digest_that_lies_among_trail_files_is_counted(fake: FakeQueue, make: Make):
    """What the reader passes over is in the batch's books."""
    digest = {"digestStartTime": "x", "digestEndTime": "y", "digestS3Object": "z", "logFiles": []}
    fake.put(BUCKET, KEY, json.dumps(digest).encode())
    fake.send(s3_event(KEY))
    (batch,) = Loop(make()).read().batches
    assert batch.passed_over == {"digest": 1}


def test_the_age_of_a_message_is_measured_when_it_goes(fake: FakeQueue, clock: HandClock, make: Make, metrics: Metrics):
    """From sending to deletion, by the queue's own time stamp."""
    fake.put(BUCKET, KEY, file_of("e-1"))
    fake.send(s3_event(KEY))
    clock.advance(100)
    Loop(make()).read()
    assert sample(metrics, "sqs_message_age_seconds_sum") == pytest.approx(100, abs=0.01)
    assert sample(metrics, "sqs_messages_received_total") == sample(metrics, "sqs_messages_deleted_total") == 1


def test_an_embedded_record_says_where_it_came_from(fake: FakeQueue, make: Make):
    """Queue and message id stand in the origin."""
    id_ = fake.send(bridge_record("e-1"))
    (batch,) = Loop(make()).read().batches
    assert [item.origin for item in batch.items if isinstance(item, Document)] == [f"trail-events/{id_}#1"]


def test_one_empty_receive_is_not_the_end(fake: FakeQueue, make: Make):
    """A single receive may miss what is there; `drain` must not leave for that."""
    fake.put(BUCKET, KEY, file_of("e-1"))
    fake.send(s3_event(KEY))
    fake.overlooked = 1
    assert Loop(make()).read().ids == ["e-1"]
