"""Long polls that do not keep the process from ending."""

from __future__ import annotations

import threading

from exporter.contract import Clock
from exporter.errors import Stopping
from exporter.sources.sqs_api import Message, Queue

__all__ = ["Receivers"]

#: Seconds between two looks whether the process is to end.
_GLANCE = 0.2
#: Seconds that closing waits for long polls that were left behind.
_PARTING = 1.0


class Receivers:
    """Receives from one queue; several threads may do so at once.

    Each receive runs in a thread of its own. When the process is to end meanwhile, the caller leaves at once, and what
    the receive still brings is given back. (If the process dies within that second, it stays invisible for its time.)
    """

    def __init__(self, queue: Queue, clock: Clock) -> None:
        self._queue = queue
        self._clock = clock
        self._left: list[threading.Thread] = []

    def receive(self, most: int, wait: float) -> list[Message]:
        """As :meth:`~exporter.sources.sqs_api.Queue.receive`.

        Raises:
            Retryable, Blocked: the queue's.
            Stopping: from the clock.
        """
        one = _Receive(self._queue, most, wait)
        thread = threading.Thread(target=one.run, name=f"receive-{self._queue.name}", daemon=True)
        thread.start()
        while not one.done.wait(_GLANCE):
            try:
                self._clock.wait(0)
            except Stopping:
                self._left.append(thread)
                one.leave()
                raise
        return one.outcome()

    def close(self) -> None:
        """Give those that were left behind a moment to give back what they bring."""
        left, self._left = self._left, []
        for thread in left:
            thread.join(_PARTING / len(left))


class _Receive:
    def __init__(self, queue: Queue, most: int, wait: float) -> None:
        self.done = threading.Event()
        self._queue = queue
        self._most = most
        self._wait = wait
        self._lock = threading.Lock()
        self._deserted = False
        self._messages: list[Message] = []
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._messages = self._queue.receive(self._most, self._wait)
        except Exception as error:
            self._error = error
        with self._lock:
            self.done.set()
            deserted = self._deserted
        if deserted:
            self._queue.give_back(self._messages)

    def leave(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._deserted = True
            done = self.done.is_set()
        if done:
            self._queue.give_back(self._messages)

    def outcome(self) -> list[Message]:
        if self._error is not None:
            raise self._error
        return self._messages
