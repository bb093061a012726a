"""The slow listing behind a queue: another source, read as partitions of this one, for what no message named.

Notifications are delivered "at least once" and yet do get lost: to a wrong filter, a full dead-letter queue, a rule
switched off for a day. What the listing finds first is published; what it finds again is known to the ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from exporter.contract import Batch, Clock, Finding, Partition, Progress, Source
from exporter.errors import Blocked, Retryable, SwitchedOff

__all__ = ["Relist"]

_KEY = "relist/"
#: Seconds one read waits at most when it is not due yet: a worker that never returns looks stuck.
_NAP = 60.0


class Relist:
    """Partitions ``relist/KEY`` for the partitions ``KEY`` of the listing source, read at its own interval.

    Args:
        source: lists and reads; closed together with this.
        name: of the source that has the queue.
    """

    def __init__(self, source: Source, *, name: str, clock: Clock) -> None:
        self._source = source
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._due: dict[Partition, float] = {}

    def owns(self, partition: Partition) -> bool:
        """Whether it is one of the listing's."""
        return partition.key.startswith(_KEY)

    def partitions(self) -> Sequence[Partition]:
        """The listing's, under this name; when it cannot say, one that fails in their place: the queue goes on."""
        try:
            return [Partition(self._name, _KEY + partition.key) for partition in self._source.partitions()]
        except (Retryable, Blocked, SwitchedOff):
            return [Partition(self._name, _KEY)]

    def read(self, partition: Partition, progress: Progress) -> Iterator[Batch]:
        """What the listing yields, once it is due; else wait a while and yield nothing.

        Raises:
            Retryable, Blocked, SwitchedOff: the listing's.
            Stopping: from the clock.
        """
        if partition.key == _KEY:
            self._source.partitions()
            self._clock.wait(_NAP)
            return
        with self._lock:
            due = self._due.get(partition, 0.0)
        missing = due - self._clock.monotonic()
        if missing > 0:
            self._clock.wait(min(missing, _NAP))
            if missing > _NAP:
                return
        for batch in self._source.read(self._theirs(partition), progress):
            yield replace(batch, partition=partition, listed=True)
        with self._lock:
            self._due[partition] = self._clock.monotonic() + self._source.interval

    def settle(self, batch: Batch) -> None:
        """The listing's own."""
        self._source.settle(replace(batch, partition=self._theirs(batch.partition)))

    def abandon(self, batch: Batch) -> None:
        """The listing's own."""
        self._source.abandon(replace(batch, partition=self._theirs(batch.partition)))

    def check(self) -> Iterable[Finding]:
        """The listing's own."""
        return self._source.check()

    def close(self) -> None:
        """The listing's own."""
        self._source.close()

    def _theirs(self, partition: Partition) -> Partition:
        return Partition(self._source.name, partition.key.removeprefix(_KEY))
