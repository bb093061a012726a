"""The state in memory: the reference the others are compared with, and something to try the exporter out with."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

from exporter.contract import Commit, Committed, Entry, Labels, Partition, Position, Quarantined, StateSize, Unit
from exporter.errors import Fenced
from exporter.state.encoding import position_of, position_text, unit_key
from exporter.state.generations import Generation, forgettable, opens_next

__all__ = ["MemoryState"]


class MemoryState:
    """A :class:`~exporter.contract.State` that ends with the process.

    Args:
        horizon: how long an identity is remembered at least, counted from the newest commit.
    """

    max_entries: int = 10_000

    def __init__(self, *, horizon: timedelta = timedelta(days=100)) -> None:
        self._horizon = horizon
        self._lock = threading.Lock()
        self._epoch = 0
        self._opened = 0
        self._newest: datetime | None = None
        self._generations: list[tuple[Generation, set[bytes]]] = []
        self._totals: Mapping[Labels, int] = {}
        self._positions: dict[Partition, str] = {}
        self._finished: dict[Partition, dict[str, set[bytes]]] = {}
        self._quarantine: dict[bytes, Quarantined] = {}

    def claim(self, owner: str) -> int:  # noqa: ARG002
        """Become the writer. See :meth:`exporter.contract.State.claim`; never refused."""
        with self._lock:
            self._epoch += 1
            return self._epoch

    def load(self, partition: Partition) -> Position | None:
        """The position last committed. See :meth:`exporter.contract.State.load`."""
        with self._lock:
            text = self._positions.get(partition)
        return None if text is None else position_of(text)

    def unfinished(self, partition: Partition, units: Sequence[Unit]) -> Sequence[Unit]:
        """Those not finished. See :meth:`exporter.contract.State.unfinished`."""
        with self._lock:
            finished = self._finished.get(partition, {})
            return [unit for unit in units if unit_key(unit) not in finished.get(unit.scope, ())]

    def unseen(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those not remembered. See :meth:`exporter.contract.State.unseen`."""
        with self._lock:
            return {key for key in keys if not self._remembers(key)}

    def commit(self, commit: Commit) -> Committed:
        """Apply all of it or nothing. See :meth:`exporter.contract.State.commit`.

        Raises:
            Fenced: the epoch is not the newest claim.
            ValueError: more than :attr:`max_entries` entries.
        """
        if len(commit.entries) > self.max_entries:
            raise ValueError(f"{len(commit.entries)} entries in one commit, {self.max_entries} are allowed")
        # Everything that may fail comes before the first change.
        position = None if commit.position is None else position_text(commit.position)
        finished = [(unit.scope, unit_key(unit)) for unit in commit.finished]
        with self._lock:
            if commit.epoch != self._epoch or not self._epoch:
                raise Fenced(f"epoch {commit.epoch} was followed by {self._epoch}", reason="state")
            new = self._remember(commit.entries, commit.at)
            if position is not None:
                self._positions[commit.partition] = position
            scopes = self._finished.setdefault(commit.partition, {})
            for scope in commit.forget:
                if scope:
                    scopes.pop(scope, None)
            for scope, unit in finished:
                scopes.setdefault(scope, set()).add(unit)
            for item in commit.quarantined:
                self._quarantine.setdefault(item.key, item)
            self._newest = commit.at if self._newest is None else max(self._newest, commit.at)
        return Committed(new)

    def totals(self) -> Mapping[Labels, int]:
        """Counts ever. See :meth:`exporter.contract.State.totals`."""
        return self._totals

    def quarantined(self, limit: int, after: int = 0) -> Sequence[tuple[int, Quarantined]]:
        """What lies in quarantine. See :meth:`exporter.contract.State.quarantined`."""
        with self._lock:
            numbered = list(enumerate(self._quarantine.values(), start=1))
        return [(number, item) for number, item in numbered if number > after][:limit]

    def prune(self, before: datetime) -> int:
        """Forget what is old. See :meth:`exporter.contract.State.prune` and :mod:`exporter.state.generations`."""
        with self._lock:
            old = forgettable(
                [generation for generation, _ in self._generations],
                before=before,
                newest=self._newest,
                horizon=self._horizon,
            )
            self._generations = [pair for pair in self._generations if pair[0] not in old]
        return sum(generation.entries for generation in old)

    def size(self) -> StateSize:
        """How large it is. See :meth:`exporter.contract.State.size`."""
        with self._lock:
            identities = sum(len(keys) for _, keys in self._generations)
            return StateSize(identities=identities, quarantined=len(self._quarantine), bytes=0)

    def close(self) -> None:
        """Nothing to free. See :meth:`exporter.contract.State.close`."""

    def _remembers(self, key: bytes) -> bool:
        return any(key in keys for _, keys in self._generations)

    def _remember(self, entries: Sequence[Entry], at: datetime) -> int:
        fresh: dict[bytes, Labels | None] = {}
        for entry in entries:
            if not self._remembers(entry.key):
                fresh.setdefault(entry.key, entry.labels)
        if not fresh:
            return 0
        if not self._generations or opens_next(self._generations[-1][0], at, self._horizon):
            self._opened += 1
            self._generations.append((Generation(self._opened, at, at, 0), set()))
        generation, keys = self._generations[-1]
        keys.update(fresh)
        self._generations[-1] = (generation.with_commit(at, len(fresh)), keys)
        counts = Counter(self._totals)
        counts.update(labels for labels in fresh.values() if labels is not None)
        self._totals = MappingProxyType(dict(counts))
        return len(fresh)
