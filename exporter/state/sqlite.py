"""The state in one SQLite file: one commit of the contract is one transaction, synced to the disk.

One connection behind one lock. Readers of their own would spare :meth:`SqliteState.unseen` the wait for another
worker's sync (milliseconds) and cost a page cache each. What a scrape asks for is kept in memory and takes neither the
lock nor the disk.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from exporter.contract import Commit, Committed, Entry, Labels, Partition, Position, Quarantined, StateSize, Unit
from exporter.errors import Blocked, Fenced
from exporter.state.database import make_folder, open_database, translate
from exporter.state.encoding import position_of, position_text, to_micros, to_text
from exporter.state.identities import Identities
from exporter.state.inspect import quarantined_in
from exporter.state.lockfile import LockFile
from exporter.state.units import finish_units, forget_scopes, unfinished_in

__all__ = ["SqliteState"]

_log = logging.getLogger("exporter.state")

_INSERT_TOTALS = """
INSERT INTO totals (
    event_source, event_name, principal_type, aws_region, account_id, error_code, correction, counted
) VALUES (
    CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?, ?
) ON CONFLICT DO UPDATE SET counted = counted + excluded.counted
"""

_INSERT_QUARANTINE = """
INSERT INTO quarantine (key, source, partition, reason, detail, origin, size, at, counted, sample) VALUES (
    ?, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, ?
) ON CONFLICT (key) DO NOTHING
"""


class SqliteState:
    """A :class:`~exporter.contract.State` in a file, for one process at a time.

    Args:
        path: the file; it and its folder are made when they are not there, for this user only.
        horizon: how long an identity is remembered at least, counted from the newest commit.

    Raises:
        ConfigError: another process holds the file, or it cannot be ours; nothing was changed.
    """

    max_entries: int = 10_000

    def __init__(self, *, path: Path, horizon: timedelta = timedelta(days=100)) -> None:
        # Two names of one file are one lock.
        self._path = Path(os.path.realpath(path))
        self._lock = threading.Lock()
        make_folder(self._path)
        self._held = LockFile(self._path)
        try:
            self._connection = open_database(self._path)
        except BaseException:
            self._held.release()
            raise
        self._closed = False
        self._file = os.stat(self._path)
        self._totals: Mapping[Labels, int] = {}
        self._identities = Identities(self._connection, horizon=horizon)
        self._quarantine_size = 0
        try:
            with self._lock, self._reading():
                self._recall()
        except BaseException:
            self.close()
            raise
        size = self.size()
        _log.info(
            "state opened",
            extra={
                "path": str(self._path),
                "identities": size.identities,
                "quarantined": size.quarantined,
                "bytes": size.bytes,
            },
        )

    # -- the writer ------------------------------------------------------------------------------------------------

    def claim(self, owner: str) -> int:
        """Become the writer. See :meth:`exporter.contract.State.claim`.

        The lock on the file already keeps other processes out; the epoch in the file is what holds when somebody has
        removed the lock file.

        Raises:
            Blocked, Retryable: as for :meth:`commit`.
        """
        with self._lock, self._transaction() as run:
            run.execute("UPDATE owner SET epoch = epoch + 1, name = CAST(? AS TEXT)", (to_text(owner),))
            return self._epoch()

    def commit(self, commit: Commit) -> Committed:
        """Apply all of it or nothing. See :meth:`exporter.contract.State.commit`.

        Of two entries with one key the first decides.

        Raises:
            Fenced: the epoch is not the newest claim.
            Blocked: the disk is full, gone or read-only (``disk``); the file is damaged or closed (``state``).
            Retryable: busy.
            ValueError: more than :attr:`max_entries` entries.
        """
        if len(commit.entries) > self.max_entries:
            raise ValueError(f"{len(commit.entries)} entries in one commit, {self.max_entries} are allowed")
        with self._lock:
            with self._transaction() as run:
                epoch = self._epoch()
                if commit.epoch != epoch or not epoch:
                    raise Fenced(f"epoch {commit.epoch} was followed by {epoch} in {self._path}", reason="state")
                fresh = self._fresh(commit.entries)
                generations = self._identities.remember(fresh, commit.at)
                counts = _counts(fresh.values())
                run.executemany(
                    _INSERT_TOTALS,
                    [
                        (*map(to_text, labels[:6]), int(labels.correction), counted)
                        for labels, counted in counts.items()
                    ],
                )
                self._move(commit)
                laid_away = self._lay_away(commit.quarantined)
            # On disk now: what is kept in memory follows.
            self._identities.committed(generations, commit.at)
            self._quarantine_size += laid_away
            if counts:
                totals = dict(self._totals)
                for labels, counted in counts.items():
                    totals[labels] = totals.get(labels, 0) + counted
                self._totals = MappingProxyType(totals)
        return Committed(len(fresh))

    def prune(self, before: datetime) -> int:
        """Forget what is old. See :meth:`exporter.contract.State.prune` and :mod:`exporter.state.generations`.

        The file does not shrink: the next generation grows into the pages of the one that was dropped.

        Raises:
            Blocked, Retryable: as for :meth:`commit`; nothing was forgotten.
        """
        with self._lock:
            old = self._identities.forgettable(before)
            if not old:
                return 0
            with self._transaction():
                kept = self._identities.forget(old)
            self._identities.generations = kept
        forgotten = sum(generation.entries for generation in old)
        _log.info("identities forgotten", extra={"forgotten": forgotten, "generations": len(old)})
        return forgotten

    # -- readers ---------------------------------------------------------------------------------------------------

    def load(self, partition: Partition) -> Position | None:
        """The position last committed. See :meth:`exporter.contract.State.load`."""
        with self._lock, self._reading() as run:
            row = run.execute(
                "SELECT position FROM partitions WHERE source = CAST(? AS TEXT) AND key = CAST(? AS TEXT)",
                (to_text(partition.source), to_text(partition.key)),
            ).fetchone()
        return None if row is None or row[0] is None else position_of(row[0])

    def unfinished(self, partition: Partition, units: Sequence[Unit]) -> Sequence[Unit]:
        """Those not finished. See :meth:`exporter.contract.State.unfinished`."""
        with self._lock, self._reading() as run:
            number = self._number(partition)
            if number is None:
                return list(units)
            return unfinished_in(run, number, units)

    def unseen(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those not remembered. See :meth:`exporter.contract.State.unseen`."""
        with self._lock, self._reading():
            return self._identities.unknown(keys)

    def quarantined(self, limit: int, after: int = 0) -> Sequence[tuple[int, Quarantined]]:
        """What lies in quarantine. See :meth:`exporter.contract.State.quarantined`."""
        with self._lock, self._reading() as run:
            return quarantined_in(run, limit=limit, after=after)

    def totals(self) -> Mapping[Labels, int]:
        """Counts ever. See :meth:`exporter.contract.State.totals`."""
        return self._totals

    def size(self) -> StateSize:
        """How large it is, without the lock. See :meth:`exporter.contract.State.size`; bytes include SQLite's log."""
        return StateSize(
            identities=self._identities.size,
            quarantined=self._quarantine_size,
            bytes=sum(map(_bytes_of, (self._path, Path(f"{self._path}-wal"), Path(f"{self._path}-shm")))),
        )

    def close(self) -> None:
        """Free the file. See :meth:`exporter.contract.State.close`."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._connection.close()
                self._held.release()

    # -- inside a transaction --------------------------------------------------------------------------------------

    def _epoch(self) -> int:
        (epoch,) = self._connection.execute("SELECT epoch FROM owner").fetchone()
        return int(epoch)

    def _fresh(self, entries: Sequence[Entry]) -> dict[bytes, Labels | None]:
        """What is to be counted for each key that is not remembered yet."""
        wanted: dict[bytes, Labels | None] = {}
        for entry in entries:
            wanted.setdefault(entry.key, entry.labels)
        unknown = self._identities.unknown(wanted)
        return {key: labels for key, labels in wanted.items() if key in unknown}

    def _move(self, commit: Commit) -> None:
        if commit.position is None and not commit.finished and not commit.forget:
            return
        partition = (to_text(commit.partition.source), to_text(commit.partition.key))
        text = None if commit.position is None else position_text(commit.position)
        self._connection.execute(
            "INSERT INTO partitions (source, key, position) VALUES (CAST(? AS TEXT), CAST(? AS TEXT), ?) "
            "ON CONFLICT DO UPDATE SET position = coalesce(excluded.position, position)",
            (*partition, text),
        )
        number = self._number(commit.partition)
        if number is not None:
            forget_scopes(self._connection, number, commit.forget)
            finish_units(self._connection, number, commit.finished)

    def _lay_away(self, items: Sequence[Quarantined]) -> int:
        return sum(
            self._connection.execute(
                _INSERT_QUARANTINE,
                (
                    item.key,
                    to_text(item.partition.source),
                    to_text(item.partition.key),
                    to_text(item.reason),
                    to_text(item.detail),
                    to_text(item.origin),
                    item.size,
                    to_micros(item.at),
                    int(item.counted),
                    item.sample,
                ),
            ).rowcount
            for item in items
        )

    def _number(self, partition: Partition) -> int | None:
        row = self._connection.execute(
            "SELECT id FROM partitions WHERE source = CAST(? AS TEXT) AND key = CAST(? AS TEXT)",
            (to_text(partition.source), to_text(partition.key)),
        ).fetchone()
        return None if row is None else int(row[0])

    # -- around a transaction --------------------------------------------------------------------------------------

    def _recall(self) -> None:
        """Read what is kept in memory."""
        run = self._connection
        self._identities.recall()
        self._totals = MappingProxyType(
            {
                Labels(source, name, principal, region, account, error, bool(correction)): counted
                for source, name, principal, region, account, error, correction, counted in run.execute(
                    "SELECT event_source, event_name, principal_type, aws_region, account_id, error_code, correction, "
                    "counted FROM totals ORDER BY number"
                )
            }
        )
        (self._quarantine_size,) = run.execute("SELECT count(*) FROM quarantine").fetchone()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._closed:
                raise Blocked(f"state {self._path} is closed", reason="state")
            yield self._connection
        except sqlite3.Error as error:
            known = translate(error, self._path)
            if known is None:
                raise
            raise known from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as run:
            self._refuse_another_file()
            try:
                run.execute("BEGIN IMMEDIATE")
                yield run
                run.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back on its own after some failures, among them a full disk.
                if run.in_transaction:
                    run.execute("ROLLBACK")
                raise

    def _refuse_another_file(self) -> None:
        """A file that was removed while open takes writes without a word, and none of them is there after a restart."""
        try:
            there = os.stat(self._path)
        except OSError as error:
            raise Blocked(f"state {self._path} is gone ({error.strerror}): stop the exporter", reason="disk") from error
        if not os.path.samestat(there, self._file):
            raise Blocked(f"state {self._path} was replaced while in use: stop the exporter", reason="disk")


def _counts(fresh: Iterable[Labels | None]) -> dict[Labels, int]:
    counts: dict[Labels, int] = {}
    for labels in fresh:
        if labels is not None:
            counts[labels] = counts.get(labels, 0) + 1
    return counts


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
