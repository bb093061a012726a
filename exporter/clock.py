"""The only time and the only randomness in the program."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from exporter.errors import Stopping

__all__ = ["Backoff", "SystemClock"]


class SystemClock:
    """The machine's clock; its waits end at once when the process is asked to stop."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def now(self) -> datetime:
        """The wall clock, aware, in UTC. It may jump; nothing may rely on it growing."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Wait so many seconds.

        Raises:
            Stopping: the process was asked to end, before or during the wait.
        """
        if self._stop.wait(max(0.0, seconds)):
            raise Stopping

    def stop(self) -> None:
        """Ask everything that waits, now or later, to leave."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stop.is_set()


@dataclass(slots=True)
class Backoff:
    """Growing pauses with jitter: first, 2 x first, 4 x first ... up to the longest; each drawn from its upper half.

    Attributes:
        first: seconds of the first pause.
        longest: seconds no pause exceeds.
        rng: where the jitter comes from; tests give a seeded one.
    """

    first: float = 1.0
    longest: float = 60.0
    rng: random.Random = field(default_factory=random.Random)
    _tries: int = 0

    def next(self, at_least: float | None = None) -> float:
        """Seconds to wait now. What the other side asked for (``at_least``) wins when it is longer."""
        ceiling: float = min(self.longest, self.first * 2 ** min(self._tries, 30))
        self._tries += 1
        pause = ceiling * (0.5 + self.rng.random() / 2)
        return max(pause, at_least or 0.0)

    def reset(self) -> None:
        """It worked: start small again."""
        self._tries = 0
