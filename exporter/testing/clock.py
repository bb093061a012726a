"""A clock that only moves when it is told to, or when somebody waits."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from exporter.errors import Stopping

__all__ = ["ManualClock"]


class ManualClock:
    """A :class:`~exporter.contract.Clock` for tests: waiting moves it at once, and is written down.

    Args:
        start: the wall clock at first, timezone-aware.
        stop_after: this many waits return; the next one stops the clock. None: only :meth:`stop` does.
    """

    def __init__(
        self,
        *,
        start: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        stop_after: int | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._now = start.astimezone(UTC)
        self._monotonic = 0.0
        self._stop_after = stop_after
        self._stopping = threading.Event()
        #: The seconds of each wait that returned, in order.
        self.waits: list[float] = []

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Seconds since the clock was made; :meth:`jump` does not touch them."""
        with self._lock:
            return self._monotonic

    def wait(self, seconds: float) -> None:
        """Move both clocks on by so many seconds, write them down in :attr:`waits`, and return at once.

        Raises:
            Stopping: the clock was stopped, or ``stop_after`` waits have returned.
        """
        with self._lock:
            if self._stop_after is not None and len(self.waits) >= self._stop_after:
                self._stopping.set()
            if self._stopping.is_set():
                raise Stopping
            self.waits.append(seconds)
            self._move(max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        """Let time pass without anybody waiting.

        Raises:
            ValueError: ``seconds`` is negative; only the wall clock goes back, by :meth:`jump`.
        """
        if seconds < 0:
            raise ValueError(f"time passes forwards only, not by {seconds} s: use jump()")
        with self._lock:
            self._move(seconds)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or, below 0, back, as an operator or NTP does; no time passes."""
        with self._lock:
            self._now += timedelta(seconds=seconds)

    def stop(self) -> None:
        """Ask everything that waits from now on to leave."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        """Whether the clock was stopped."""
        return self._stopping.is_set()

    def _move(self, seconds: float) -> None:
        self._monotonic += seconds
        self._now += timedelta(seconds=seconds)
