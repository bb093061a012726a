"""When the position moves: late events, crashes, long absences, dead tokens, a clock that jumps."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from exporter.contract import Document, Position
from exporter.errors import Blocked, Retryable
from exporter.metrics import Metrics
from exporter.testing.clock import ManualClock
from tests.fakes.lookup_events import FakeLookupEvents, Fault
from tests.lookup.reader import HOME, NOW, Make, Reader, at, reader, record, sample, stamp

# -- nothing lost: late, crashed, cut --


def test_late_event_within_the_overlap_is_found(make: Make, fake: FakeLookupEvents, clock: ManualClock) -> None:
    """An event that AWS delivers 20 minutes late is found by the look back of the next read."""
    fake.add(record(1, NOW - timedelta(minutes=1)), visible_at=NOW + timedelta(minutes=20))
    late = reader(make()).read()
    assert late.ids == []
    clock.advance(20 * 60)
    assert late.read().ids == ["event-00001"]


def test_late_event_beyond_the_overlap_is_found_by_the_sweep(
    make: Make, fake: FakeLookupEvents, clock: ManualClock
) -> None:
    """An event that comes five hours late is found by the hourly look back over the last day."""
    fake.add(record(1, NOW - timedelta(minutes=1)), visible_at=NOW + timedelta(hours=5))
    late = reader(make())
    found: list[float] = []
    for minutes in range(0, 8 * 60, 10):
        if late.read().ids and not found:
            found.append(minutes)
        clock.jump(600)
    assert found
    assert 300 <= found[0] <= 360


def test_sweep_comes_once_an_interval(make: Make, fake: FakeLookupEvents, clock: ManualClock) -> None:
    """Two reads in one hour sweep once; the sweep asks for what lies before the ordinary window, not for it again."""
    place = reader(make(), position=at(NOW, since=NOW - timedelta(days=3), swept=NOW - timedelta(hours=1)))
    place.read()
    swept = [(request.parameters["StartTime"], request.parameters["EndTime"]) for request in fake.asked()]
    edge = (NOW - timedelta(minutes=30)).timestamp()
    assert swept == [(edge, NOW.timestamp()), ((NOW - timedelta(days=1)).timestamp(), edge)]
    clock.jump(60)
    place.read()
    assert len(fake.asked()) == 3


def test_sweep_does_not_reach_behind_the_start(make: Make, fake: FakeLookupEvents, clock: ManualClock) -> None:
    """Whoever asked for the last 15 minutes does not get yesterday an hour later."""
    fake.add(record(1, NOW - timedelta(hours=2)))
    place = reader(make(start=timedelta(minutes=15))).read()
    clock.jump(2 * 3600)
    assert place.read().ids == []


def test_interrupted_sweep_is_made_again(make: Make, fake: FakeLookupEvents) -> None:
    """A sweep that broke off is not remembered as made."""
    position = at(NOW, since=NOW - timedelta(days=3), swept=NOW - timedelta(hours=2))
    place = reader(make(), position=position)
    fake.script(HOME, Fault.OK, Fault.SERVER_ERROR)
    with pytest.raises(Retryable):
        place.read()
    assert place.position is not None
    assert place.position["swept"] == position["swept"]
    place.read()
    assert place.position["swept"] != position["swept"]


def test_sweep_of_several_windows_is_made_when_its_last_one_is(make: Make, fake: FakeLookupEvents) -> None:
    """A look back over five days that dies after the second begins anew; the position does not say it was made."""
    position = at(NOW, since=NOW - timedelta(days=30), swept=NOW - timedelta(hours=2))
    place = reader(make(sweep_depth=timedelta(days=5)), position=position)
    fake.script(HOME, Fault.OK, Fault.OK, Fault.OK, Fault.SERVER_ERROR)
    with pytest.raises(Retryable):
        place.read()
    assert place.position is not None
    assert place.position["swept"] == position["swept"]


@pytest.mark.parametrize("committed", [1, 2, 3, 4, 5])
def test_crash_between_pages_loses_nothing(
    make: Make, fake: FakeLookupEvents, clock: ManualClock, committed: int
) -> None:
    """Pages come newest first: a process that dies between two finds all the older ones when it starts again."""
    for number in range(240):
        fake.add(record(number, NOW - timedelta(seconds=number)))
    died = reader(make()).read(batches=committed)
    clock.advance(120)
    again = reader(make(), position=died.position).read()
    assert set(died.ids) | set(again.ids) == {f"event-{number:05}" for number in range(240)}


def test_edge_second_belongs_to_both_windows(make: Make, fake: FakeLookupEvents, clock: ManualClock) -> None:
    """With no overlap at all, an event of the very second in which a window ended is still read by the next one."""
    source = make(overlap=timedelta(0))
    place = reader(source).read()
    fake.add(record(1, NOW))
    clock.advance(60)
    assert place.read().ids == ["event-00001"]


def test_long_absence_is_read_in_windows_oldest_first(make: Make, fake: FakeLookupEvents) -> None:
    """90 days are 90 windows of a day; the position moves after each, so that a crash costs one day of reading."""
    for day in range(0, 90, 7):
        fake.add(record(day, NOW - timedelta(days=day, hours=1)))
    place = reader(make(start=timedelta(days=90))).read()
    positions = [batch.through for batch in place.batches if batch.through is not None]
    assert positions == sorted(positions)
    assert len(fake.asked()) == 90
    assert place.ids == [f"event-{day:05}" for day in reversed(range(0, 90, 7))]


def test_crash_in_a_long_absence_resumes_at_the_window(make: Make, fake: FakeLookupEvents) -> None:
    """What windows were completed is not asked for again, but for the overlap."""
    for day in range(10):
        fake.add(record(day, NOW - timedelta(days=day, hours=1)))
    died = reader(make(start=timedelta(days=10))).read(batches=6)
    asked = len(fake.asked())
    again = reader(make(), position=died.position).read()
    assert sorted(died.ids + again.ids) == [f"event-{day:05}" for day in range(10)]
    assert fake.asked()[asked].parameters["StartTime"] == (died.through - timedelta(minutes=30)).timestamp()


def test_absence_beyond_the_history_is_a_counted_gap(make: Make, fake: FakeLookupEvents, metrics: Metrics) -> None:
    """100 days away: ten days are gone for good, which is counted once and does not stop the rest."""
    fake.add(record(1, NOW - timedelta(days=80)))
    place = reader(make(), position=at(NOW - timedelta(days=100))).read()
    place.read()
    assert place.ids == ["event-00001"]
    assert sample(metrics, "gaps_total", source="history") == 1
    assert sample(metrics, "gap_seconds_total", source="history") == pytest.approx(864_000, abs=600)


def test_gap_is_not_counted_before_its_commit(make: Make, metrics: Metrics) -> None:
    """A process that dies before the clamped position is committed has not counted the gap: the next one will."""
    reader(make(), position=at(NOW - timedelta(days=100))).read(batches=0)
    assert sample(metrics, "gaps_total", source="history") == 0


def test_ninety_days_are_no_gap(make: Make, metrics: Metrics) -> None:
    """A start of -90d is all there is: the few minutes of margin are not reported as lost."""
    reader(make(start=timedelta(days=90))).read()
    assert sample(metrics, "gaps_total", source="history") == 0


def test_beginning_that_aws_finds_too_old_is_moved_on(make: Make, fake: FakeLookupEvents, metrics: Metrics) -> None:
    """InvalidTimeRange about the oldest day: an hour is given up, counted, and the rest is read."""
    fake.script(HOME, Fault.TIME_RANGE, Fault.TIME_RANGE)
    place = reader(make(start=timedelta(days=90))).read()
    assert place.through == datetime.fromtimestamp(fake.asked()[-1].parameters["EndTime"], UTC)
    assert sample(metrics, "gap_seconds_total", source="history") == 7200


def test_time_range_refused_without_need_blocks(make: Make, fake: FakeLookupEvents) -> None:
    """InvalidTimeRange for the last minutes is not a matter of age: nothing is skipped."""
    fake.script(HOME, Fault.TIME_RANGE)
    with pytest.raises(Blocked) as caught:
        reader(make()).read()
    assert caught.value.reason == "invalid"


# -- tokens --


def test_lost_token_starts_the_window_again(make: Make, fake: FakeLookupEvents) -> None:
    """A token that is refused in mid-window costs a repetition and no event."""
    for number in range(120):
        fake.add(record(number, NOW - timedelta(seconds=number)))
    fake.script(HOME, Fault.OK, Fault.LOST_TOKEN)
    assert set(reader(make()).read().ids) == {f"event-{number:05}" for number in range(120)}


def test_window_too_crowded_for_its_token_is_halved_until_it_fits(make: Make, fake: FakeLookupEvents) -> None:
    """Where the token of a window dies after six pages, one of twenty is read in smaller ones, and all of it is."""
    fake.token_seconds = 6
    for number in range(1000):
        fake.add(record(number, NOW - timedelta(seconds=number % 800)))
    position = at(NOW - timedelta(seconds=800), since=NOW - timedelta(seconds=800), swept=NOW)
    assert set(_slow(reader(make(), position=position)).ids) == {f"event-{number:05}" for number in range(1000)}
    assert "InvalidNextTokenException" in {request.answer for request in fake.asked()}


def _slow(place: Reader) -> Reader:
    """Read while each batch takes a second downstream."""
    clock: Any = place.source._clock
    for batch in place.source.read(place.partition, place):  # type: ignore[arg-type]
        clock.advance(1)
        place.ids += [json.loads(item.data)["eventID"] for item in batch.items if isinstance(item, Document)]
        place.position = batch.after or place.position
    return place


def test_tokens_that_never_hold_end_in_a_retry(make: Make, fake: FakeLookupEvents) -> None:
    """The repetitions are bounded: in the end the loop's back-off takes over, with the position where it was."""
    for number in range(120):
        fake.add(record(number, NOW - timedelta(seconds=1)))
    fake.token_seconds = -1
    place = reader(make())
    with pytest.raises(Retryable, match="none of its tokens"):
        place.read()
    assert place.through < NOW
    assert len(fake.asked()) < 100


# -- clock and position --


def test_clock_that_jumps_back_a_little_moves_nothing_back(
    make: Make, fake: FakeLookupEvents, clock: ManualClock
) -> None:
    """Ten minutes back: what is inside the overlap is read, and the position stays."""
    place = reader(make()).read()
    clock.jump(-600)
    fake.add(record(1, NOW - timedelta(minutes=11)))
    assert place.read().ids == ["event-00001"]
    assert place.through == NOW


def test_clock_that_jumps_back_far_asks_nothing(make: Make, fake: FakeLookupEvents, clock: ManualClock) -> None:
    """A day back: no inverted window, no crash, and on it goes when the clock is there again."""
    place = reader(make()).read()
    clock.jump(-86_400)
    before = len(fake.asked())
    place.read()
    assert (len(fake.asked()), place.through) == (before, NOW)
    clock.jump(86_400 + 60)
    assert place.read().through == NOW + timedelta(seconds=60)


@pytest.mark.parametrize(
    "position",
    [
        pytest.param({"v": 2, "through": stamp(NOW)}, id="newer version"),
        pytest.param({}, id="empty"),
        pytest.param({"v": 1, "since": 5, "through": None, "swept": "x"}, id="types"),
        pytest.param({"v": 1, "since": "2026-01-01", "through": "2026-01-01", "swept": "2026-01-01"}, id="no zone"),
    ],
)
def test_position_of_another_version_blocks(make: Make, fake: FakeLookupEvents, position: Position) -> None:
    """A position that cannot be understood is not guessed at."""
    with pytest.raises(Blocked) as caught:
        reader(make(), position=position).read()
    assert (caught.value.reason, fake.asked()) == ("state", [])
