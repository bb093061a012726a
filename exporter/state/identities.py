"""Identities in SQLite: a table for each generation, ordered by key."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice

from exporter.state.encoding import from_micros, to_micros
from exporter.state.generations import Generation, forgettable, opens_next

__all__ = ["Identities", "among"]

#: Keys per look-up statement. A slice is filled up with repeats, so that SQLite compiles two statements and no more.
_SLICES = (16, 500)


def among(connection: sqlite3.Connection, select: str, keys: Iterable[bytes], *first: object) -> set[bytes]:
    """Those of the keys that the query finds; it ends in a column, and ``IN (...)`` is put behind it."""
    found: set[bytes] = set()
    left = iter(keys)
    while part := list(islice(left, _SLICES[-1])):
        width = next(size for size in _SLICES if size >= len(part))
        query = f"{select} IN ({','.join('?' * width)})"
        found.update(key for (key,) in connection.execute(query, (*first, *part, *part[-1:] * (width - len(part)))))
    return found


class Identities:
    """The tables ``generations`` and ``seen_<n>``. Opens no transaction and takes no lock: that is for its owner.

    Each change returns what :attr:`generations` has to be once the transaction is on disk, and leaves it as it is.

    Args:
        horizon: how long an identity is remembered at least.
    """

    def __init__(self, connection: sqlite3.Connection, *, horizon: timedelta) -> None:
        self._connection = connection
        self._horizon = horizon
        self._newest: datetime | None = None
        #: The living ones, oldest first, as they are on disk.
        self.generations: tuple[Generation, ...] = ()

    @property
    def size(self) -> int:
        """How many identities are remembered."""
        return sum(generation.entries for generation in self.generations)

    def recall(self) -> None:
        """Read from the file what is kept in memory; no identity is touched."""
        rows = self._connection.execute("SELECT number, opened, last, entries FROM generations ORDER BY number")
        self.generations = tuple(
            Generation(number, from_micros(opened), from_micros(last), entries)
            for number, opened, last, entries in rows
        )
        self._newest = max((generation.last for generation in self.generations), default=None)

    def unknown(self, keys: Iterable[bytes]) -> set[bytes]:
        """Those of the keys that no generation holds."""
        left = set(keys)
        for generation in reversed(self.generations):
            if not left:
                break
            left -= among(self._connection, f"SELECT key FROM seen_{generation.number} WHERE key", sorted(left))  # noqa: S608
        return left

    def remember(self, keys: Collection[bytes], at: datetime) -> tuple[Generation, ...]:
        """Put unknown keys into the current generation, or into a new one when its time has come."""
        if not keys:
            return self.generations
        closed, current = self.generations[:-1], self.generations[-1] if self.generations else None
        if current is None or opens_next(current, at, self._horizon):
            closed, current = self.generations, self._open(at)
        generation = current.with_commit(at, len(keys))
        # In the order of the table: neighbours share a page.
        self._connection.executemany(
            f"INSERT INTO seen_{generation.number} VALUES (?)",  # noqa: S608
            ((key,) for key in sorted(keys)),
        )
        self._connection.execute(
            "UPDATE generations SET last = ?, entries = ? WHERE number = ?",
            (to_micros(generation.last), generation.entries, generation.number),
        )
        return (*closed, generation)

    def committed(self, generations: tuple[Generation, ...], at: datetime) -> None:
        """A commit of this time is on disk; :meth:`remember` gave the generations."""
        self.generations = generations
        self._newest = at if self._newest is None else max(self._newest, at)

    def forgettable(self, before: datetime) -> Sequence[Generation]:
        """The generations that may be forgotten; see :func:`exporter.state.generations.forgettable`."""
        return forgettable(self.generations, before=before, newest=self._newest, horizon=self._horizon)

    def forget(self, old: Collection[Generation]) -> tuple[Generation, ...]:
        """Drop these generations."""
        for generation in old:
            self._connection.execute(f"DROP TABLE seen_{generation.number}")
            self._connection.execute("DELETE FROM generations WHERE number = ?", (generation.number,))
        return tuple(generation for generation in self.generations if generation not in old)

    def _open(self, at: datetime) -> Generation:
        ((number,),) = self._connection.execute(
            "INSERT INTO generations (opened, last, entries) VALUES (?1, ?1, 0) RETURNING number", (to_micros(at),)
        ).fetchall()
        self._connection.execute(f"CREATE TABLE seen_{number} (key BLOB PRIMARY KEY) STRICT, WITHOUT ROWID")
        return Generation(number, at, at, 0)
