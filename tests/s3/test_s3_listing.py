"""Nothing is lost, whatever order files come in, and whenever the process dies."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from exporter.errors import Blocked
from exporter.metrics import Metrics
from exporter.testing.clock import ManualClock
from tests.fakes.s3 import FakeS3
from tests.s3.trail import FOLDER, NOW, Make, Reader, ago, key, packed, put, sample

# -- behind a queue --


def test_object_younger_than_the_lag_is_left_for_a_later_round(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """The queue may still name it. What it has not brought by then is read; a young one does not hide an old one."""
    fake.put(key(ago(minutes=20), "a"), packed(1), modified=f"{ago(minutes=2):%Y-%m-%dT%H:%M:%S}.000Z")
    fake.put(key(ago(minutes=15), "b"), packed(2), modified=f"{ago(minutes=16):%Y-%m-%dT%H:%M:%S}.000Z")
    place = Reader(make(lag=timedelta(minutes=10)))
    assert place.read() == [2]
    clock.advance(9 * 60)
    assert place.read() == [1]


# -- late files --


def test_file_of_an_earlier_minute_comes_after_one_of_a_later(make: Make, fake: FakeS3) -> None:
    """wazuh#33108: files named T1820Z were stored after a T1825Z one had been read, and are read all the same."""
    place = Reader(make())
    put(fake, datetime(2026, 2, 10, 11, 25, tzinfo=UTC), 1, unique="m")
    assert place.read() == [1]
    put(fake, datetime(2026, 2, 10, 11, 20, tzinfo=UTC), 2, unique="a")
    put(fake, datetime(2026, 2, 10, 11, 20, tzinfo=UTC), 3, unique="z")
    put(fake, datetime(2026, 2, 10, 11, 25, tzinfo=UTC), 4, unique="b")
    assert place.read() == [2, 3, 4]
    assert place.read() == []


def test_file_hours_late_is_found_within_an_hour(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """Beyond the overlap: once an hour a listing begins with the day before."""
    put(fake, ago(minutes=5), 1)
    place = Reader(make())
    place.read()
    put(fake, ago(hours=30), 2)
    assert place.read() == []
    clock.advance(3_600)
    assert place.read() == [2]


def test_file_days_late_is_found_by_the_daily_sweep(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """A day stays open until the sweep depth behind its end."""
    put(fake, ago(minutes=5), 1)
    place = Reader(make())
    place.read()
    put(fake, ago(hours=60), 2)
    clock.advance(3_600)
    assert place.read() == []
    clock.advance(23 * 3_600)
    assert place.read() == [2]


def test_file_with_a_name_of_its_own_is_found_by_listing_the_day(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """A copied file that sorts before the names of CloudTrail is not lost."""
    put(fake, ago(minutes=5), 1)
    place = Reader(make())
    place.read()
    fake.put(f"{FOLDER}2026/02/10/0-copied.json", packed(2))
    clock.advance(3_600)
    assert place.read() == [2]


def test_random_arrival_loses_nothing_and_repeats_nothing(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """Four days of files up to a day late, read in rounds at odd times: each event comes once."""
    rng = random.Random(7)
    files = []
    for number in range(400):
        minute = NOW + timedelta(minutes=5 * rng.randrange(4 * 288))
        late = rng.choice([0, 1, 4, 20, 60 * rng.random() * 24])
        files.append((minute + timedelta(minutes=late), minute, number))
    files.sort()
    place = Reader(make())
    came: list[int] = []
    while files:
        while files and files[0][0] <= clock.now():
            _, minute, number = files.pop(0)
            put(fake, minute, number, unique=f"{rng.random():.16f}")
        came += place.read()
        clock.advance(60 * rng.choice([1, 7, 60, 300]))
    clock.advance(24 * 3_600)
    came += place.read()
    assert sorted(came) == list(range(400))


# -- what a round costs --


def test_quiet_round_costs_one_request(make: Make, fake: FakeS3, clock: ManualClock, metrics: Metrics) -> None:
    """Whether yesterday is part of it or not: keys are listed across days in one go."""
    for number in range(50):
        put(fake, ago(hours=number), number)
    place = Reader(make())
    place.read()
    for _ in range(3):
        before = len(fake.requests)
        clock.advance(1_800)
        place.read()
        assert len(fake.requests) - before == 1
    assert sample(metrics, "s3_list_requests_total") == len(fake.asked("ListObjectsV2"))


def test_round_lists_no_more_than_the_overlap(make: Make, fake: FakeS3) -> None:
    """The key to start after is made up from the newest minute, less half an hour."""
    put(fake, datetime(2026, 2, 10, 11, 55, tzinfo=UTC), 1)
    place = Reader(make())
    place.read()
    place.read()
    after = "2026/02/10/111122223333_CloudTrail_us-east-2_20260210T1125Z"
    assert fake.asked("ListObjectsV2")[-1].after == FOLDER + after


def test_quiet_round_commits_nothing_and_says_how_far_it_is(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """The time read up to advances without a write to the state."""
    put(fake, ago(hours=3), 1)
    place = Reader(make())
    place.read()
    clock.advance(60)
    place.read()
    assert (place.batches[-1].after, place.batches[-1].finished) == (None, ())
    assert place.batches[-1].through == NOW + timedelta(seconds=60)


def test_more_keys_than_a_page(make: Make, fake: FakeS3) -> None:
    """Pages are followed to the end, by the last key of each."""
    fake.page = 50
    for number in range(425):
        put(fake, ago(minutes=5 * (number // 10)), number, unique=f"{number:04}")
    place = Reader(make(sweep_depth=timedelta(days=9)))
    assert place.read() == list(range(425))
    assert len(fake.asked("ListObjectsV2")) == 9
    assert all(len(batch.finished) <= 256 for batch in place.batches)


def test_bucket_that_ignores_start_after_is_refused(make: Make, fake: FakeS3) -> None:
    """Rather than listing for ever: directory buckets do not know StartAfter."""
    page = (
        f"<ListBucketResult><Name>trail</Name><KeyCount>1</KeyCount><IsTruncated>true</IsTruncated>"
        f"<Contents><Key>{FOLDER}</Key><Size>0</Size></Contents></ListBucketResult>"
    )
    from tests.fakes.s3 import Fault

    fake.always["ListObjectsV2"] = Fault(body=page.encode())
    with pytest.raises(Blocked, match="StartAfter"):
        Reader(make()).read()


# -- days --


def test_day_rolls_over(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """Files of both sides of midnight are found, in whatever order they come."""
    midnight = datetime(2026, 2, 11, tzinfo=UTC)
    place = Reader(make())
    put(fake, midnight - timedelta(minutes=5), 1)
    clock.jump((midnight - NOW).total_seconds() - 60)
    assert place.read() == [1]
    put(fake, midnight, 2)
    assert place.read() == [2]
    put(fake, midnight - timedelta(minutes=5), 3, unique="b")
    clock.jump(300)
    assert place.read() == [3]


def test_history_is_read_oldest_first_and_its_days_are_forgotten(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """The position advances by days, and units of closed days do not stay in the state."""
    for number in range(40):
        for unique in range(10):
            put(fake, ago(days=40 - number), number * 10 + unique, unique=str(unique))
    place = Reader(make())
    assert place.read() == list(range(400))
    days = [batch.after["day"] for batch in place.batches if batch.after]
    assert days == sorted(days)
    assert len(set(days)) > 1
    throughs = [batch.through for batch in place.batches if batch.through]
    assert throughs == sorted(throughs)
    clock.advance(86_400)
    assert place.read() == []
    assert sorted(place.scopes) == ["2026-02-07", "2026-02-08", "2026-02-09"]


def test_no_look_back_reaches_into_a_closed_day(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """Its units are forgotten: what lies there would all come again."""
    for number in range(20):
        put(fake, ago(hours=6 * (20 - number)), number)
    place = Reader(make(overlap=timedelta(days=5), sweep_depth=timedelta(hours=1)))
    assert place.read() == list(range(20))
    clock.advance(86_400)
    assert place.read() == []
    assert len(place.scopes) == 1
    assert place.read() == []


def test_closed_days_are_forgotten_and_not_read_again(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """After days of running the state holds the open days only, and nothing comes twice."""
    place = Reader(make())
    came: list[int] = []
    for number in range(20):
        put(fake, clock.now().replace(minute=0), number)
        came += place.read()
        clock.advance(12 * 3_600)
    assert came == list(range(20))
    assert len(place.scopes) <= 5


def test_forgetting_survives_a_restart(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """A day whose objects were deleted meanwhile, and that another process finished, is forgotten too."""
    gone = put(fake, ago(days=1), 1)
    place = Reader(make())
    place.read()
    del fake.objects[gone]
    clock.advance(6 * 86_400)
    put(fake, clock.now(), 2)
    place = place.again(make())
    place.read()
    clock.advance(86_400)
    put(fake, clock.now(), 3)
    place.read()
    assert "2026-02-09" not in place.scopes


# -- bounds --


def test_start_as_a_distance_is_kept_from_the_first_read_on(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """A day back from now means from the first start, also after a crash before anything was read."""
    put(fake, ago(hours=25), 1)
    put(fake, ago(hours=23), 2)
    place = Reader(make(start=timedelta(days=1)))
    place.read(batches=1)
    clock.advance(7_200)
    assert place.again(make(start=timedelta(days=1))).read() == [2]


def test_end_bounds_what_is_read(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """Files named before the end are read, those from then on are not, and are not even asked for."""
    for number in range(10):
        put(fake, ago(hours=10 - number), number)
    place = Reader(make(start=ago(hours=8), end=ago(hours=4)))
    assert place.read() == [2, 3, 4, 5]
    assert {request.target for request in fake.asked("GetObject")} == {key(ago(hours=hour)) for hour in (8, 7, 6, 5)}


def test_after_the_end_and_its_sweeps_nothing_is_asked(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """A range that is over costs no requests for ever."""
    put(fake, ago(hours=5), 1)
    place = Reader(make(end=ago(hours=4)))
    for _ in range(4):
        place.read()
        clock.advance(86_400)
    before = len(fake.requests)
    assert place.read() == []
    assert len(fake.requests) == before


# -- odd names and clocks --


def test_file_named_after_the_future_moves_nothing(make: Make, fake: FakeS3) -> None:
    """It is read, once, and the files of today are found as before."""
    put(fake, NOW + timedelta(days=2_000), 1)
    put(fake, ago(minutes=10), 2)
    place = Reader(make())
    assert place.read() == [1, 2]
    put(fake, ago(minutes=5), 3)
    assert place.read() == [3]
    assert place.position is not None
    assert str(place.position["minute"]).startswith("2026-02-10")


@pytest.mark.parametrize(
    "jump", [-400 * 86_400, -7_200, 7_200, 400 * 86_400], ids=["year back", "back", "on", "year on"]
)
def test_clock_that_jumps_loses_nothing(make: Make, fake: FakeS3, clock: ManualClock, jump: float) -> None:
    """Wrong for a while, then right again: the names of files say where we are, not our clock."""
    place = Reader(make())
    put(fake, ago(minutes=30), 1)
    came = place.read()
    clock.jump(jump)
    put(fake, ago(minutes=20), 2)
    came += place.read()
    clock.jump(-jump)
    put(fake, ago(minutes=10), 3)
    came += place.read()
    put(fake, ago(minutes=5), 4)
    came += place.again(make()).read()
    assert came == [1, 2, 3, 4]


def test_what_is_no_trail_file_is_skipped_and_counted_once(make: Make, fake: FakeS3, metrics: Metrics) -> None:
    """Markers of folders, notes, and files in no day's folder cost neither a download nor a failure."""
    put(fake, ago(minutes=5), 1)
    fake.put(FOLDER, b"")
    fake.put(f"{FOLDER}2026/02/10/", b"")
    fake.put(f"{FOLDER}2026/02/10/notes.txt", b"hello")
    fake.put(f"{FOLDER}2026/13/45/x.json.gz", packed(9))
    fake.put(f"{FOLDER}zzz.json.gz", packed(9))
    place = Reader(make())
    for _ in range(3):
        place.read()
    assert len(fake.asked("GetObject")) == 1
    assert sample(metrics, "s3_objects_skipped_total", reason="kind") == 3


def test_position_of_another_version_is_refused(make: Make) -> None:
    """Instead of guessing what it means."""
    with pytest.raises(Blocked) as caught:
        Reader(make(), position={"v": 2}).read()
    assert caught.value.reason == "state"


# -- crashes --


def test_killed_after_any_commit_nothing_is_lost(make: Make, fake: FakeS3) -> None:
    """Whatever was not committed comes again from the next process, and little of what was."""
    for number in range(150):
        put(fake, ago(minutes=120 * number), *range(number * 20, number * 20 + 20))
    whole = Reader(make())
    assert whole.read() == list(range(3_000))
    assert len(whole.batches) > 2
    for stop in range(len(whole.batches)):
        place = Reader(make())
        first = place.read(batches=stop)
        rest = place.again(make()).read()
        assert set(first) | set(rest) == set(range(3_000))
        assert len(first) + len(rest) <= 3_020
