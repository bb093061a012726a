"""What S3 may answer, and what becomes of it: nothing is skipped for a refusal, nothing stops for an object."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest

from exporter.errors import Blocked, ExporterError, Retryable, Stopping
from exporter.metrics import Metrics
from exporter.reading import Limits
from exporter.testing.clock import ManualClock
from tests.fakes.s3 import FakeS3, Fault
from tests.s3.trail import FOLDER, Make, Reader, ago, key, packed, put, sample

KMS = (
    "User: arn:aws:iam::111122223333:user/reader is not authorized to perform: kms:Decrypt on resource: "
    "arn:aws:kms:us-east-2:111122223333:key/k because the resource does not exist in this Region, no resource-based "
    "policies allow access, or a resource-based policy explicitly denies access"
)

GET = [
    pytest.param(Fault(403, "AccessDenied", "Access Denied"), Blocked, "access_denied", "s3:GetObject", id="denied"),
    pytest.param(Fault(403, "AccessDenied", KMS), Blocked, "access_denied", "key policy", id="denied by the key"),
    pytest.param(Fault(400, "KMS.DisabledException"), Blocked, "access_denied", "keep the key enabled", id="key off"),
    pytest.param(Fault(403, "ExpiredToken"), Blocked, "expired_credentials", "credentials", id="expired"),
    pytest.param(Fault(403, "InvalidAccessKeyId"), Blocked, "expired_credentials", "credentials", id="unknown key id"),
    pytest.param(Fault(403, "SignatureDoesNotMatch"), Blocked, "expired_credentials", "secret key", id="secret"),
    pytest.param(Fault(403, "RequestTimeTooSkewed"), Blocked, "expired_credentials", "clock", id="clock"),
    pytest.param(Fault(404, "NoSuchBucket"), Blocked, "not_found", "bucket", id="bucket gone"),
    pytest.param(Fault(301, "PermanentRedirect"), Blocked, "redirect", "region", id="redirect to nowhere"),
    pytest.param(Fault(503, "SlowDown"), Retryable, "throttled", "SlowDown", id="slow down"),
    pytest.param(Fault(400, "KMS.ThrottlingException"), Retryable, "throttled", "KMS", id="key throttled"),
    pytest.param(Fault(503, "ServiceUnavailable"), Retryable, "server", "Unavailable", id="unavailable"),
    pytest.param(Fault(500, "InternalError"), Retryable, "server", "InternalError", id="500"),
    pytest.param(Fault(400, "RequestTimeout"), Retryable, "timeout", "RequestTimeout", id="timeout"),
    pytest.param(Fault(cut=40), Retryable, "connection", "", id="cut in the body"),
    pytest.param(Fault(cut=0), Retryable, "connection", "", id="cut before the body"),
]


@pytest.mark.parametrize(("fault", "kind", "reason", "words"), GET)
def test_refused_object_holds_the_line(
    make: Make, fake: FakeS3, metrics: Metrics, fault: Fault, kind: type[ExporterError], reason: str, words: str
) -> None:
    """Those before it are kept, it is not finished, and once the trouble is over it is read."""
    put(fake, ago(minutes=20), 1)
    trouble = put(fake, ago(minutes=15), 2)
    put(fake, ago(minutes=10), 3)
    fake.always[trouble] = fault
    place = Reader(make())
    with pytest.raises(kind) as caught:
        place.read()
    assert caught.value.reason == reason
    assert words in str(caught.value)
    assert place.numbers == [1]
    assert [unit.name for unit in place.done] == [key(ago(minutes=20)).removeprefix(FOLDER)]
    assert place.broken == []
    assert sample(metrics, "s3_object_failures_total", reason=reason) >= 1
    fake.always.clear()
    assert place.read() == [2, 3]


@pytest.mark.parametrize(
    "fault", [Fault(503, "SlowDown"), Fault(500, "InternalError"), Fault(cut=10)], ids="slow 500 cut".split()
)
def test_hiccup_is_tried_again_in_place(make: Make, fake: FakeS3, clock: ManualClock, fault: Fault) -> None:
    """With a pause, twice; the loop does not hear of it."""
    fake.faults[put(fake, ago(minutes=5), 1)] = [fault, fault]
    assert Reader(make()).read() == [1]
    assert len(clock.waits) == 2


def test_stop_ends_a_download_that_waits(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """The process is not held up by the pauses between tries."""
    fake.always["GetObject"] = Fault(503, "SlowDown")
    put(fake, ago(minutes=5), 1)
    clock.stop()
    with pytest.raises(Stopping):
        Reader(make()).read()


def test_large_object_that_breaks_off_is_read_again_as_a_whole(make: Make, fake: FakeS3) -> None:
    """It is streamed, so its beginning was yielded already; it is not finished, and not called truncated."""
    import random

    noise = random.Random(3).randbytes(3_000_000).hex().encode()
    name = key(ago(minutes=5))
    text = b'{"Records":[' + packed_event(1) + b",".join([b""] + [packed_event(n, noise) for n in range(2, 6)]) + b"]}"
    fake.put(name, gzip.compress(text, 1))
    assert len(fake.objects[name].data) > 12_000_000
    fake.faults[name] = [Fault(cut=9_000_000)]
    place = Reader(make(limits=Limits(record_bytes=8_000_000)))
    with pytest.raises(Retryable) as caught:
        place.read()
    assert caught.value.reason == "connection"
    assert 1 in place.numbers
    assert (place.broken, place.done) == ([], set())
    assert place.read() == [1, 2, 3, 4, 5]
    assert len(place.done) == 1


def packed_event(number: int, noise: bytes = b"") -> bytes:
    from exporter.testing.scripted import event

    return event(number, requestParameters={"noise": noise.decode()})


# -- objects that are not what they were --


def test_object_gone_since_it_was_listed_is_skipped(make: Make, fake: FakeS3, metrics: Metrics) -> None:
    """Deleted by a lifecycle rule between listing and reading: counted, and no trouble."""
    fake.faults[put(fake, ago(minutes=10), 1)] = [Fault(404, "NoSuchKey")]
    put(fake, ago(minutes=5), 2)
    assert Reader(make()).read() == [2]
    assert sample(metrics, "s3_objects_skipped_total", reason="vanished") == 1


def test_object_that_is_there_after_all_is_read(make: Make, fake: FakeS3) -> None:
    """A store that lists before it gives: what seemed gone is not finished."""
    fake.faults[put(fake, ago(minutes=10), 1)] = [Fault(404, "NoSuchKey")]
    place = Reader(make())
    assert place.read() == []
    assert place.read() == [1]


def test_archived_object_is_set_aside_with_its_key(make: Make, fake: FakeS3) -> None:
    """Glacier gives it to nobody: it lies in quarantine, its neighbours are read, and it is not asked for again."""
    name = put(fake, ago(minutes=10), 1)
    fake.always[name] = Fault(403, "InvalidObjectState", "The operation is not valid for the object's storage class")
    put(fake, ago(minutes=5), 2)
    place = Reader(make())
    assert place.read() == [2]
    assert name in place.broken[0].origin
    assert "restore" in place.broken[0].detail
    before = len(fake.asked("GetObject"))
    place.read()
    assert len(fake.asked("GetObject")) == before


def test_garbage_is_set_aside_with_its_key(make: Make, fake: FakeS3) -> None:
    """An object replaced by something that is no trail file costs one quarantined item, and is finished."""
    name = key(ago(minutes=10))
    fake.put(name, b"\x00garbage")
    put(fake, ago(minutes=5), 2)
    place = Reader(make())
    assert place.read() == [2]
    assert [f"s3://trail/{name}" in item.origin for item in place.broken] == [True]
    assert len(place.done) == 2


def test_truncated_object_is_truncated(make: Make, fake: FakeS3) -> None:
    """Stored so, and sent in full: that is the file's fault, not the connection's."""
    fake.put(key(ago(minutes=5)), packed(*range(500))[:-40])
    place = Reader(make())
    place.read()
    assert [item.reason for item in place.broken] == ["truncated"]
    assert len(place.done) == 1


def test_replaced_object_is_another_unit(make: Make, fake: FakeS3) -> None:
    """Repaired, or overwritten: read again, as what it is now."""
    fake.put(key(ago(minutes=5)), b"garbage")
    place = Reader(make())
    assert place.read() == []
    put(fake, ago(minutes=5), 1)
    assert place.read() == [1]
    assert place.read() == []


def test_object_replaced_between_listing_and_reading_is_read_once(make: Make, fake: FakeS3) -> None:
    """The unit is what was read, not what was listed."""
    name = put(fake, ago(minutes=5), 1)

    def replace(request: object) -> None:
        if getattr(request, "operation", "") == "GetObject":
            fake.put(name, packed(2, 3))

    fake.before = replace
    place = Reader(make())
    assert place.read() == [2, 3]
    assert place.read() == []


# -- limits --


def test_object_over_the_limit_is_not_downloaded(make: Make, fake: FakeS3, metrics: Metrics) -> None:
    """A gzip file over limits.file_bytes is known by its first bytes; one over every limit is not asked for."""
    fake.put(key(ago(minutes=10)), gzip.compress(bytes(range(256)) * 4_000, 0))
    fake.put(key(ago(minutes=5)), b"x" * 5_000_000)
    place = Reader(make(limits=Limits(file_bytes=500_000, plain_bytes=4_000_000)))
    place.read()
    assert [item.reason for item in place.broken] == ["file_too_large", "file_too_large"]
    assert len(fake.asked("GetObject")) == 1
    assert sample(metrics, "s3_bytes_read_total") < 1_100_000


@pytest.mark.parametrize(
    "name", ["\x07.json.gz", "x" * 1_000 + ".json.gz"], ids=["control characters", "over 1,024 bytes"]
)
def test_key_that_no_trail_has_is_set_aside(make: Make, fake: FakeS3, name: str) -> None:
    """Not asked for, shown escaped, and finished."""
    fake.put(f"{FOLDER}2026/02/10/{name}", packed(1))
    place = Reader(make())
    assert place.read() == []
    assert [item.reason for item in place.broken] == ["bad_key"]
    assert place.broken[0].origin.isprintable()
    assert fake.asked("GetObject") == []
    place.read()
    assert len(place.broken) == 1


# -- listing --

LIST = [
    pytest.param(Fault(403, "AccessDenied"), Blocked, "access_denied", f'"{FOLDER}"', id="denied"),
    pytest.param(Fault(404, "NoSuchBucket"), Blocked, "not_found", "Check `bucket`", id="no bucket"),
    pytest.param(Fault(403, "ExpiredToken"), Blocked, "expired_credentials", "credentials", id="expired"),
    pytest.param(Fault(403, "RequestTimeTooSkewed"), Blocked, "expired_credentials", "clock", id="clock"),
    pytest.param(Fault(503, "SlowDown"), Retryable, "throttled", "SlowDown", id="slow down"),
    pytest.param(Fault(body=b"<html><body>hello</body></html>"), Retryable, "server", "no listing", id="proxy's page"),
    pytest.param(Fault(body=b"not at all"), Retryable, "server", "", id="no XML"),
]


@pytest.mark.parametrize(("fault", "kind", "reason", "words"), LIST)
def test_refused_listing_holds_the_line(
    make: Make, fake: FakeS3, fault: Fault, kind: type[ExporterError], reason: str, words: str
) -> None:
    """It is never taken for an empty bucket; the message says what to do."""
    put(fake, ago(minutes=5), 1)
    fake.always["ListObjectsV2"] = fault
    place = Reader(make())
    with pytest.raises(kind) as caught:
        place.read()
    assert caught.value.reason == reason
    assert words in str(caught.value)
    assert place.position is None
    fake.always.clear()
    assert place.read() == [1]


def test_refused_listing_names_the_policy(make: Make, fake: FakeS3) -> None:
    """The action, the prefix that is really sent, and a policy that is enough, with the partition of the region."""
    fake.always["ListObjectsV2"] = Fault(403, "AccessDenied")
    with pytest.raises(Blocked) as caught:
        make(region="us-gov-west-1", prefix="team a").partitions()
    for words in (
        "Allow s3:ListBucket",
        '"team a/AWSLogs/"',
        "arn:aws-us-gov:s3:::trail/team a/AWSLogs/*",
        "kms:Decrypt",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize("operation", ["list", "get"])
def test_bucket_elsewhere_is_found(make: Make, fake: FakeS3, operation: str) -> None:
    """S3 names the bucket's region; from then on requests are signed for it."""
    put(fake, ago(minutes=5), 1)
    fake.region = "ap-southeast-2"
    place = Reader(make(region="eu-west-1"))
    assert place.read() == [1]
    place.read()
    assert [request.region for request in fake.requests] == ["eu-west-1", *["ap-southeast-2"] * 3]


def test_trouble_between_pages_keeps_what_was_read(make: Make, fake: FakeS3) -> None:
    """And the next read goes on with the rest."""
    fake.page = 10
    for number in range(30):
        put(fake, ago(minutes=5 * (30 - number)), number)
    fake.faults["ListObjectsV2"] = [None, None, *[Fault(500, "InternalError")] * 3]
    place = Reader(make())
    with pytest.raises(Retryable):
        place.read()
    first = list(place.numbers)
    assert first
    assert sorted(first + place.read()) == list(range(30))


# -- downloads --


def test_downloads_are_concurrent_and_bounded(make: Make, fake: FakeS3) -> None:
    """As many as configured at a time, never more, and in the order of the listing."""
    fake.delay = 0.02
    for number in range(60):
        put(fake, ago(minutes=5 * (60 - number)), number)
    place = Reader(make(downloads=4))
    place.read()
    assert place.numbers == list(range(60))
    assert fake.most_at_once == 4


def test_read_that_is_left_leaves_no_room_taken(make: Make, fake: FakeS3) -> None:
    """Abandoned in the middle, often: the bytes held ahead are given back."""
    for number in range(300):
        put(fake, ago(minutes=5 * (300 - number)), number)
    source = make()
    for _ in range(3):
        Reader(source).read(batches=0)
    from exporter.sources.downloads import HELD

    assert source._downloads._room == HELD
    assert Reader(source).read() == list(range(300))


@pytest.fixture
def sifted(make: Make) -> Callable[[bytes], Reader]:
    return lambda name: Reader(make(wanted=frozenset({name})))


def test_unwanted_records_are_counted_and_not_yielded(fake: FakeS3, sifted: Callable[[bytes], Reader]) -> None:
    """The sift is the reading's; its books come along with the unit."""
    put(fake, ago(minutes=5), *range(20))
    place = sifted(b"sqs.amazonaws.com")
    assert place.read() == []
    assert sum(batch.passed_over.get("other_service", 0) for batch in place.batches) == 20
    assert len(place.done) == 1
