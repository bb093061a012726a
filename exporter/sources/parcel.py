"""Many small files, one batch: items and finished units are packed until a bound is reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from exporter.contract import Batch, Item, Partition, Unit
from exporter.record import Document

__all__ = ["BATCH_BYTES", "BATCH_ITEMS", "BATCH_UNITS", "Parcel"]

#: What one batch holds at most. A single item may be as large as ``limits.record_bytes`` allows.
BATCH_ITEMS, BATCH_BYTES, BATCH_UNITS = 1_000, 4 * 1024 * 1024, 256


class Parcel:
    """The batch being filled. A source that moves its position adds it to what :meth:`take` returns."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._clear()

    def _clear(self) -> None:
        self._items: list[Item] = []
        self._bytes = 0
        self._finished: list[Unit] = []
        self._passed_over: Counter[str] = Counter()

    @property
    def empty(self) -> bool:
        """Nothing is in it."""
        return not self._items and not self._finished

    @property
    def full(self) -> bool:
        """It has reached a bound."""
        return len(self._finished) >= BATCH_UNITS or len(self._items) >= BATCH_ITEMS or self._bytes >= BATCH_BYTES

    def put(self, item: Item) -> Iterator[Batch]:
        """Add the item; first hand over what is there if both together would be too much."""
        size = len(item.data) if isinstance(item, Document) else len(item.sample)
        if self._items and (len(self._items) >= BATCH_ITEMS or self._bytes + size > BATCH_BYTES):
            yield self.take()
        self._items.append(item)
        self._bytes += size

    def finish(self, unit: Unit, passed_over: Mapping[str, int]) -> None:
        """Everything of the unit is in this batch or in one before it."""
        self._finished.append(unit)
        self._passed_over.update(passed_over)

    def take(self) -> Batch:
        """What was put in, without a position; the parcel is empty afterwards."""
        batch = Batch(
            partition=self._partition,
            items=tuple(self._items),
            finished=tuple(self._finished),
            passed_over=dict(self._passed_over),
        )
        self._clear()
        return batch
