"""When the position moves: late events, failed polls, crashes, dead tokens, a clock that jumps."""

from __future__ import annotations

from datetime import timedelta

import pytest

from exporter.errors import Blocked, Retryable
from exporter.testing.clock import ManualClock
from tests.fakes.log_events import FakeLogEvents, Fault
from tests.logs.reader import GROUP, NOW, Make, Reader, at, record


def test_late_event_within_the_overlap_is_found(make: Make, fake: FakeLogEvents, clock: ManualClock) -> None:
    """An event delivered 20 minutes late is found by the look back of the next read (contrib#41122 loses it)."""
    fake.add(GROUP, record(1, NOW), at=NOW - timedelta(minutes=1), visible_at=NOW + timedelta(minutes=20))
    late = Reader(make()).read()
    assert late.ids == []
    clock.advance(20 * 60)
    assert late.read().ids == ["event-00001"]


def test_late_event_beyond_the_overlap_is_found_by_the_sweep(
    make: Make, fake: FakeLogEvents, clock: ManualClock
) -> None:
    """An event that comes five hours late is found by the hourly look back over the last day."""
    fake.add(GROUP, record(1, NOW), at=NOW - timedelta(minutes=1), visible_at=NOW + timedelta(hours=5))
    late = Reader(make())
    found: list[float] = []
    for minutes in range(0, 8 * 60, 10):
        if late.read().ids and not found:
            found.append(minutes)
        clock.advance(600)
    assert found
    assert 300 <= found[0] <= 360


def test_failed_poll_does_not_move_the_position(make: Make, fake: FakeLogEvents, clock: ManualClock) -> None:
    """The window of a poll that failed half way is read again in full, however much later (contrib#46253)."""
    for number in range(120):
        fake.add(GROUP, record(number, NOW), at=NOW - timedelta(seconds=number))
    fake.script(Fault.OK, Fault.OK, *[Fault.UNAVAILABLE] * 5)
    place = Reader(make())
    with pytest.raises(Retryable):
        place.read()
    assert (len(place.ids), place.through) == (100, NOW - timedelta(minutes=15))
    clock.advance(4 * 3600)
    assert len(set(place.read().ids)) == 120


def test_empty_window_still_moves_the_position(make: Make, clock: ManualClock) -> None:
    """Quiet is told from stalled: a read that found nothing yields the position it reached."""
    quiet = Reader(make()).read()
    clock.advance(60)
    quiet.read()
    assert (quiet.ids, quiet.through, quiet.batches[-1].through) == ([], clock.now(), clock.now())


def test_long_absence_is_read_in_windows_oldest_first(make: Make, fake: FakeLogEvents) -> None:
    """A day behind is four windows of six hours, each committed by itself, and no instant between two is missed."""
    edge = NOW - timedelta(hours=18, minutes=30)
    for number, moment in enumerate((edge - timedelta(milliseconds=1), edge, edge + timedelta(milliseconds=1))):
        fake.add(GROUP, record(number, NOW), at=moment)
    behind = Reader(make(), at(NOW - timedelta(days=1), since=NOW - timedelta(days=9), swept=NOW)).read()
    assert set(behind.ids) == {"event-00000", "event-00001", "event-00002"}
    ends = [request.parameters["endTime"] / 1_000 for request in fake.asked]
    assert ends == [(edge + timedelta(hours=6) * step).timestamp() for step in range(4)] + [NOW.timestamp()]
    assert [batch.through.timestamp() for batch in behind.batches if batch.through] == ends


def test_a_window_held_for_long_is_begun_again(make: Make, fake: FakeLogEvents, clock: ManualClock) -> None:
    """A receiver that takes nothing for a day: the token is dead by then, and AWS may not even say so."""
    fake.forgets_tokens = True
    for number in range(120):
        fake.add(GROUP, record(number, NOW), at=NOW - timedelta(seconds=number))
    place = Reader(make())
    (partition,) = place.source.partitions()
    held = False
    for batch in place.source.read(partition, place):  # type: ignore[arg-type]
        place.items += batch.items
        if batch.items and not held:
            held = True
            clock.advance(25 * 3600)
    assert len(set(place.ids)) == 120


def test_a_token_that_is_refused_begins_the_window_again_in_halves(
    make: Make, fake: FakeLogEvents, clock: ManualClock
) -> None:
    """InvalidParameterException for a page with a token is about the token: nothing blocks, nothing is skipped."""
    for number in range(120):
        fake.add(GROUP, record(number, NOW), at=NOW - timedelta(seconds=number * 7))
    fake.script(Fault.OK, Fault.INVALID)
    assert len(set(Reader(make()).read().ids)) == 120


def test_clock_that_jumps_back_asks_nothing(make: Make, fake: FakeLogEvents, clock: ManualClock) -> None:
    """A wall clock behind what was read asks no inverted window, and goes on when it is there again."""
    place = Reader(make(), at(NOW)).read()
    asked = len(fake.asked)
    clock.jump(-3 * 3600)
    place.read()
    assert (len(fake.asked), place.through) == (asked, NOW)


def test_position_of_another_version_blocks(make: Make) -> None:
    """What this version cannot read is not guessed at."""
    with pytest.raises(Blocked, match="another name"):
        Reader(make(), {"v": 2}).read()


def test_requests_keep_to_the_limit(make: Make, fake: FakeLogEvents, clock: ManualClock) -> None:
    """40 pages in a row never meet AWS's limit of 5 requests per second."""
    for number in range(2_000):
        fake.add(GROUP, record(number, NOW), at=NOW - timedelta(seconds=number % 600))
    Reader(make()).read()
    assert {request.answer for request in fake.asked} == {"OK"}
    assert len(fake.asked) == 40
    assert 7 <= sum(clock.waits) <= 9
