"""The history of the state file's schema: named steps in order, each in one transaction together with its record.

A step that was released is never edited: files that were written by it exist. A change is a new step at the end.
The tables ``seen_<n>`` are not here: one is made when generation ``n`` of identities opens.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from exporter import __version__

__all__ = ["APPLICATION_ID", "MIGRATIONS", "Migration", "NewerSchema", "migrate", "pending"]

#: Stands in the header of each of our files (SQLite file format, 1.3.17): "CTLE".
APPLICATION_ID = int.from_bytes(b"CTLE", "big")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: the statements that lead from the schema before it to the schema after it."""

    name: str
    statements: tuple[str, ...]


class NewerSchema(Exception):
    """The file has steps that this program does not know.

    Args:
        name: the first of them.
        version: the version of the exporter that applied it.
    """

    def __init__(self, name: str, version: str) -> None:
        super().__init__(
            f"written by cloudtrail-exporter {version} (schema step {name}), which is newer than {__version__}"
        )


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "0001_ledger",
        (
            """CREATE TABLE owner (
                only INTEGER PRIMARY KEY CHECK (only = 1), epoch INTEGER NOT NULL, name TEXT NOT NULL
            ) STRICT""",
            "INSERT INTO owner VALUES (1, 0, '')",
            # opened and last are microseconds since 1970; entries is the number of rows in seen_<number>.
            """CREATE TABLE generations (
                number INTEGER PRIMARY KEY AUTOINCREMENT,
                opened INTEGER NOT NULL, last INTEGER NOT NULL, entries INTEGER NOT NULL
            ) STRICT""",
            """CREATE TABLE totals (
                event_source TEXT NOT NULL, event_name TEXT NOT NULL, principal_type TEXT NOT NULL,
                aws_region TEXT NOT NULL, account_id TEXT NOT NULL, error_code TEXT NOT NULL,
                correction INTEGER NOT NULL, counted INTEGER NOT NULL,
                PRIMARY KEY (event_source, event_name, principal_type, aws_region, account_id, error_code, correction)
            ) STRICT, WITHOUT ROWID""",
            # position is JSON; NULL until a commit moves it.
            """CREATE TABLE partitions (
                id INTEGER PRIMARY KEY, source TEXT NOT NULL, key TEXT NOT NULL, position TEXT, UNIQUE (source, key)
            ) STRICT""",
            # unit is a hash of name and version. Rows stay as long as the file: a unit may be there for ever.
            """CREATE TABLE finished (
                partition INTEGER NOT NULL, unit BLOB NOT NULL, PRIMARY KEY (partition, unit)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE quarantine (
                number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE,
                source TEXT NOT NULL, partition TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
                origin TEXT NOT NULL, size INTEGER NOT NULL, at INTEGER NOT NULL, counted INTEGER NOT NULL,
                sample BLOB NOT NULL
            ) STRICT""",
        ),
    ),
    Migration(
        "0002_scopes",
        (
            # Units of one scope lie together: what is asked for together is read together, and forgotten as a range.
            """CREATE TABLE scopes (
                id INTEGER PRIMARY KEY, partition INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (partition, name)
            ) STRICT""",
            "INSERT INTO scopes (partition, name) SELECT DISTINCT partition, '' FROM finished",
            "ALTER TABLE finished RENAME TO finished_before",
            # unit is a hash of name and version.
            """CREATE TABLE finished (
                scope INTEGER NOT NULL, unit BLOB NOT NULL, PRIMARY KEY (scope, unit)
            ) STRICT, WITHOUT ROWID""",
            "INSERT INTO finished SELECT scopes.id, unit FROM finished_before JOIN scopes USING (partition)",
            "DROP TABLE finished_before",
        ),
    ),
    Migration(
        "0003_order",
        (
            # Label sets in the order of first counting: what is folded or shown apart goes by it, over restarts too.
            "ALTER TABLE totals RENAME TO totals_before",
            """CREATE TABLE totals (
                number INTEGER PRIMARY KEY,
                event_source TEXT NOT NULL, event_name TEXT NOT NULL, principal_type TEXT NOT NULL,
                aws_region TEXT NOT NULL, account_id TEXT NOT NULL, error_code TEXT NOT NULL,
                correction INTEGER NOT NULL, counted INTEGER NOT NULL,
                UNIQUE (event_source, event_name, principal_type, aws_region, account_id, error_code, correction)
            ) STRICT""",
            """INSERT INTO totals (
                event_source, event_name, principal_type, aws_region, account_id, error_code, correction, counted
            ) SELECT * FROM totals_before""",
            "DROP TABLE totals_before",
        ),
    ),
)


def pending(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> Sequence[Migration]:
    """The steps that the file lacks, in order. Changes nothing.

    Raises:
        NewerSchema: it has one that is not among ``migrations``.
    """
    there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").fetchone()
    rows = connection.execute("SELECT name, version FROM migrations ORDER BY number").fetchall() if there else []
    known = {migration.name for migration in migrations}
    for name, version in rows:
        if name not in known:
            raise NewerSchema(name, version)
    applied = {name for name, _ in rows}
    return [migration for migration in migrations if migration.name not in applied]


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the file to the newest schema. A step that fails leaves those before it applied and nothing of itself.

    Args:
        connection: in autocommit mode (``isolation_level=None``).

    Raises:
        NewerSchema: see :func:`pending`; nothing was changed.
        sqlite3.Error: a step failed.
    """
    for migration in pending(connection, migrations):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS migrations "
                "(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, version TEXT NOT NULL) STRICT"
            )
            for statement in migration.statements:
                connection.execute(statement)
            connection.execute("INSERT INTO migrations (name, version) VALUES (?, ?)", (migration.name, __version__))
            connection.execute("COMMIT")
        except BaseException:
            # A full disk may have rolled it back already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
