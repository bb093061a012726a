"""The request budget: never more than the burst in its span, slower after a throttle, one bucket for all who share."""

from __future__ import annotations

import threading

import pytest

from exporter.errors import Stopping
from exporter.sources.ratelimit import Bucket, RateLimits
from exporter.testing.clock import ManualClock


def granted(bucket: Bucket, clock: ManualClock, count: int) -> list[float]:
    times = []
    for _ in range(count):
        bucket.take()
        times.append(clock.monotonic())
    return times


def test_first_burst_goes_at_once() -> None:
    """After a pause, burst requests need no wait."""
    clock = ManualClock()
    bucket = Bucket(rate=1.8, burst=2, clock=clock)
    assert [bucket.take(), bucket.take()] == [0, 0]


@pytest.mark.parametrize(
    ("rate", "burst"),
    [pytest.param(1.8, 2, id="lookup"), pytest.param(1.0, 1, id="single"), pytest.param(5, 10, id="wide")],
)
def test_never_more_than_the_burst_in_any_span(rate: float, burst: int) -> None:
    """In any stretch of burst/rate seconds there are at most burst requests."""
    clock = ManualClock()
    times = granted(Bucket(rate=rate, burst=burst, clock=clock), clock, 50)
    assert all(later - earlier >= burst / rate - 1e-9 for earlier, later in zip(times, times[burst:], strict=False))


def test_sustained_rate_is_the_one_asked_for() -> None:
    """A hundred requests take as long as the rate says: the bucket does not waste the allowance."""
    clock = ManualClock()
    times = granted(Bucket(rate=1.8, burst=2, clock=clock), clock, 101)
    assert 100 / times[-1] == pytest.approx(1.8, rel=0.03)


def test_idle_time_is_not_saved_up_beyond_the_burst() -> None:
    """An hour of silence allows one burst, not an hour's worth of requests."""
    clock = ManualClock()
    bucket = Bucket(rate=1.8, burst=2, clock=clock)
    granted(bucket, clock, 2)
    clock.advance(3600)
    before = clock.monotonic()
    assert granted(bucket, clock, 3)[-1] - before > 1


def test_throttle_halves_the_rate_and_pauses() -> None:
    """After AWS said "too many" the next request waits, and the rate is half of what it was."""
    clock = ManualClock()
    bucket = Bucket(rate=2, burst=2, clock=clock)
    bucket.throttled()
    assert (bucket.rate, bucket.take()) == (1, 1)


def test_rate_after_many_throttles_stays_above_zero() -> None:
    """However often AWS says no, requests go on at a sixteenth of the rate."""
    bucket = Bucket(rate=2, burst=2, clock=ManualClock())
    for _ in range(100):
        bucket.throttled()
    assert bucket.rate == 2 / 16


def test_answers_bring_the_rate_back_and_no_further() -> None:
    """Answered requests restore the allowed rate, never more."""
    bucket = Bucket(rate=2, burst=2, clock=ManualClock())
    bucket.throttled()
    for _ in range(100):
        bucket.answered()
    assert bucket.rate == 2


def test_waiting_ends_when_the_process_is_to_stop() -> None:
    """The wait is the clock's: a stop signal ends it."""
    bucket = Bucket(rate=1, burst=1, clock=ManualClock(stop_after=1))
    bucket.take()
    with pytest.raises(Stopping):
        bucket.take()


def test_threads_get_turns_one_after_the_other() -> None:
    """Forty requests of four threads have forty turns as far apart as those of one thread."""

    class Recording(ManualClock):
        def __init__(self) -> None:
            super().__init__()
            self.turns: list[float] = []

        def wait(self, seconds: float) -> None:
            self.turns.append(seconds)

    clock = Recording()
    bucket = Bucket(rate=2, burst=2, clock=clock)
    threads = [threading.Thread(target=lambda: [bucket.take() for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(clock.turns) == [turn // 2 for turn in range(40)]


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        pytest.param(("1", "us-east-1"), ("1", "us-east-1"), True, id="same account and region"),
        pytest.param(("1", "us-east-1"), ("1", "eu-west-1"), False, id="another region"),
        pytest.param(("1", "us-east-1"), ("2", "us-east-1"), False, id="another account"),
    ],
)
def test_limit_belongs_to_account_and_region(first: tuple[str, str], second: tuple[str, str], shared: bool) -> None:
    """One bucket per account and region, the same for everybody who asks for it."""
    limits = RateLimits(clock=ManualClock())
    assert (limits.bucket(*first) is limits.bucket(*second)) is shared


@pytest.mark.parametrize(("rate", "burst"), [pytest.param(0, 1, id="rate"), pytest.param(1, 0, id="burst")])
def test_senseless_limits_are_refused(rate: float, burst: int) -> None:
    """A rate of nothing or a burst of nothing would wait for ever: refused when made."""
    with pytest.raises(ValueError, match="must be above 0"):
        Bucket(rate=rate, burst=burst, clock=ManualClock())
