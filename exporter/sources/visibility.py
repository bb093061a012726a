"""Messages in hand, kept invisible to others for as long as somebody works on them.

SQS Developer Guide, "Amazon SQS visibility timeout": a received message is hidden for a while; that can be extended up
to 12 hours after the receive; what is neither deleted nor extended by then is delivered again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from exporter.contract import Clock
from exporter.errors import Stopping
from exporter.sources.sqs_api import Message, Queue

__all__ = ["Desk"]

_log = logging.getLogger("exporter.sqs")


class Desk:
    """What each worker has in hand. Threads may share it.

    A thread of its own extends, from the first message on until :meth:`close` or the end of the process: the worker may
    be busy with one batch for many minutes, while the receiver of the records is away.

    Args:
        seconds: for how long a message is hidden; extended before half of it is over.
    """

    def __init__(self, *, queue: Queue, seconds: float, clock: Clock) -> None:
        self._queue = queue
        self._pause = seconds / 4
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: dict[str, dict[str, Message]] = {}
        self._since: dict[str, float] = {}
        self._keeper: threading.Thread | None = None
        self._closed = False

    def put(self, line: str, messages: Sequence[Message]) -> None:
        """Received a moment ago by the worker of this name."""
        if not messages:
            return
        with self._lock:
            now = self._clock.monotonic()
            for message in messages:
                self._lines.setdefault(line, {})[message.receipt] = message
                self._since[message.receipt] = now
            if self._keeper is None and not self._closed:
                self._keeper = threading.Thread(target=self._keep, name=f"visibility-{self._queue.name}", daemon=True)
                self._keeper.start()

    def of(self, line: str) -> list[Message]:
        """What the worker has in hand, in the order of trying."""
        with self._lock:
            return list(self._lines.get(line, {}).values())

    def last(self, line: str, messages: Sequence[Message]) -> None:
        """These are tried after the others the next time."""
        with self._lock:
            desk = self._lines.get(line, {})
            for message in messages:
                if desk.pop(message.receipt, None) is not None:
                    desk[message.receipt] = message

    def take(self, line: str, messages: Sequence[Message]) -> list[Message]:
        """Out of our hands, extended no more; returns those that were still in them."""
        with self._lock:
            desk = self._lines.get(line, {})
            taken = [message for message in messages if desk.pop(message.receipt, None) is not None]
            for message in taken:
                self._since.pop(message.receipt, None)
            return taken

    def close(self) -> list[Message]:
        """Extend nothing more; returns what was still in hand. Safe twice."""
        with self._lock:
            self._closed = True
            left = [message for desk in self._lines.values() for message in desk.values()]
            self._lines.clear()
            self._since.clear()
            return left

    def extend(self) -> None:
        """Extend whatever has been hidden for a quarter of its time; never raises."""
        with self._lock:
            now = self._clock.monotonic()
            due = [
                message
                for desk in self._lines.values()
                for message in desk.values()
                if now - self._since.get(message.receipt, now) >= self._pause
            ]
        if not due:
            return
        lost = self._queue.extend(due)
        with self._lock:
            for message in due:
                if message.receipt in self._since:
                    self._since[message.receipt] = now
            # Somebody else may have them by now. Ours are still finished: a repeat is known to the ledger.
            for message in lost:
                self._since.pop(message.receipt, None)

    def _keep(self) -> None:
        while not self._closed:
            try:
                self._clock.wait(self._pause)
                if not self._closed:
                    self.extend()
            except Stopping:
                return
            except Exception:  # without this thread every long delivery would be repeated
                _log.exception("a message could not be kept invisible", extra={"queue": self._queue.name})
