"""The clock that tests turn by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from exporter.contract import Clock
from exporter.errors import Stopping
from exporter.testing.clock import ManualClock

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_it_stands_still_until_it_is_moved() -> None:
    """Two looks see the same time."""
    clock: Clock = ManualClock(start=START)
    assert (clock.now(), clock.monotonic()) == (START, 0.0)
    assert (clock.now(), clock.monotonic()) == (START, 0.0)


def test_waiting_moves_both_clocks_and_is_written_down() -> None:
    """A wait returns at once, and afterwards so much time has passed."""
    clock = ManualClock(start=START)
    clock.wait(1.5)
    clock.wait(0)
    assert clock.now() == START + timedelta(seconds=1.5)
    assert clock.monotonic() == 1.5
    assert clock.waits == [1.5, 0]


def test_a_negative_wait_moves_nothing() -> None:
    """As with the system clock, a wait until a time that has passed is none."""
    clock = ManualClock(start=START)
    clock.wait(-5)
    assert (clock.now(), clock.monotonic()) == (START, 0.0)


def test_time_can_pass_without_a_wait() -> None:
    """Advance moves both clocks, forwards only."""
    clock = ManualClock(start=START)
    clock.advance(60)
    assert (clock.now(), clock.monotonic(), clock.waits) == (START + timedelta(minutes=1), 60.0, [])
    with pytest.raises(ValueError, match="jump"):
        clock.advance(-1)


def test_a_jump_moves_the_wall_clock_alone() -> None:
    """An operator or NTP sets the wall clock, in either direction."""
    clock = ManualClock(start=START)
    clock.jump(-3600)
    assert (clock.now(), clock.monotonic()) == (START - timedelta(hours=1), 0.0)


def test_a_stopped_clock_sends_everybody_home() -> None:
    """Every wait after the stop raises, and no time passes in it."""
    clock = ManualClock(start=START)
    clock.stop()
    assert clock.stopping
    with pytest.raises(Stopping):
        clock.wait(1)
    assert (clock.now(), clock.waits) == (START, [])


def test_it_can_stop_by_itself_after_so_many_waits() -> None:
    """A loop that would run for ever ends after the waits it was given."""
    clock = ManualClock(start=START, stop_after=2)
    clock.wait(10)
    clock.wait(10)
    with pytest.raises(Stopping):
        clock.wait(10)
    assert clock.waits == [10, 10]
    assert clock.stopping


def test_it_tells_the_time_in_utc() -> None:
    """Another time zone at the start is the same instant in UTC."""
    clock = ManualClock(start=datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))))
    assert clock.now() == START
    assert clock.now().tzinfo is UTC
