"""How often a process may ask AWS: one allowance per account and region, shared by everything that uses it.

LookupEvents answers 2 requests per second, account and region, and the limit cannot be raised (CloudTrail User Guide,
"Quotas in AWS CloudTrail"). Other tools of the account, the console among them, eat from the same plate: so we stay a
little below, and go slower for a while when AWS says so.
"""

from __future__ import annotations

import threading
from collections import deque

from exporter.contract import Clock

__all__ = ["Bucket", "RateLimits"]

#: A throttled bucket halves its rate, down to this part of the allowed one ...
_SLOWEST = 1 / 16
#: ... and gets back so much of the allowed one with each answer.
_RECOVERY = 1 / 20


class Bucket:
    """Lets at most ``burst`` requests through in any ``burst / rate`` seconds. Safe to share between threads.

    Stricter than a classic token bucket, which adds what was refilled meanwhile to the burst: two requests now and a
    third half a second later would be three within AWS's second.

    Args:
        rate: requests per second.
        burst: how many may go at once after a pause.
    """

    def __init__(self, *, rate: float, burst: int, clock: Clock) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"rate {rate} must be above 0 and burst {burst} at least 1")
        self._clock = clock
        self._allowed = rate
        self._rate = rate
        self._lock = threading.Lock()
        #: When the last requests were let through, seconds of the monotonic clock; the oldest first.
        self._granted: deque[float] = deque(maxlen=burst)
        self._not_before = 0.0

    @property
    def rate(self) -> float:
        """Requests per second at present: less than allowed after a throttle."""
        with self._lock:
            return self._rate

    def take(self) -> float:
        """Wait until one request may go; returns the seconds waited. Turns are given in the order of asking.

        Raises:
            Stopping: from the clock.
        """
        with self._lock:
            now = self._clock.monotonic()
            turn = max(now, self._not_before)
            if self._granted:
                turn = max(turn, self._granted[-1])
            if len(self._granted) == self._granted.maxlen:
                turn = max(turn, self._granted[0] + len(self._granted) / self._rate)
            self._granted.append(turn)
        self._clock.wait(turn - now)
        return turn - now

    def throttled(self) -> None:
        """AWS refused a request as one too many: half the rate from here on, and a pause first."""
        with self._lock:
            self._rate = max(self._rate / 2, self._allowed * _SLOWEST)
            self._not_before = self._clock.monotonic() + 1 / self._rate

    def answered(self) -> None:
        """AWS took a request: a little of the rate comes back."""
        with self._lock:
            self._rate = min(self._rate + self._allowed * _RECOVERY, self._allowed)


class RateLimits:
    """The buckets of a process, by account and region. Made once and given to every source that asks LookupEvents.

    Args:
        rate: requests per second, account and region.
        burst: how many may go at once after a pause.
    """

    def __init__(self, *, clock: Clock, rate: float = 1.8, burst: int = 2) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def bucket(self, account: str, region: str) -> Bucket:
        """The one bucket of this account and region.

        Args:
            account: 12 digits, or any word that stands for an account whose number is not known.
        """
        with self._lock:
            key = (account, region)
            if key not in self._buckets:
                self._buckets[key] = Bucket(rate=self._rate, burst=self._burst, clock=self._clock)
            return self._buckets[key]
