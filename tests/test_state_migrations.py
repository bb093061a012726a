"""The schema of the state file over versions."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter import __version__
from exporter.contract import Commit, Entry, Partition, Quarantined, Unit
from exporter.state.migrations import APPLICATION_ID, MIGRATIONS, Migration, NewerSchema, migrate, pending
from exporter.state.sqlite import SqliteState
from exporter.testing.state import key, labels

VERSION_1 = Path(__file__).parent / "data" / "state-v1.db"
HERE, NOON = Partition("archive", "folder"), datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = Migration("0099_later", ("CREATE TABLE later (a)", "INSERT INTO later VALUES (1)"))
BROKEN = Migration("0100_broken", ("CREATE TABLE broken (a)", "INSERT INTO nowhere VALUES (1)"))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    yield connection
    connection.close()


def schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def applied(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, version FROM migrations ORDER BY number").fetchall()


def test_a_new_file_gets_every_step_in_order_with_its_record(connection: sqlite3.Connection) -> None:
    """Each step is recorded with the version that applied it, and the file is marked as ours."""
    migrate(connection)
    assert applied(connection) == [(migration.name, __version__) for migration in MIGRATIONS]
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_migrating_again_changes_nothing(connection: sqlite3.Connection) -> None:
    """A file at the newest schema is left as it is."""
    migrate(connection)
    before = schema(connection)
    assert pending(connection) == []
    migrate(connection)
    assert schema(connection) == before


def test_only_the_missing_steps_are_applied(connection: sqlite3.Connection) -> None:
    """An older file gets what came after it."""
    migrate(connection)
    assert pending(connection, (*MIGRATIONS, LATER)) == [LATER]
    migrate(connection, (*MIGRATIONS, LATER))
    assert connection.execute("SELECT a FROM later").fetchall() == [(1,)]
    assert applied(connection)[-1] == ("0099_later", __version__)


def test_pending_changes_nothing(connection: sqlite3.Connection) -> None:
    """Looking at what a file lacks does not touch it."""
    assert pending(connection) == list(MIGRATIONS)
    assert schema(connection) == []


def test_a_step_that_fails_leaves_those_before_it_and_nothing_of_itself(connection: sqlite3.Connection) -> None:
    """Each step is one transaction with its record; the next start tries it again."""
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, (*MIGRATIONS, LATER, BROKEN))
    assert [name for name, _ in applied(connection)] == [*(each.name for each in MIGRATIONS), "0099_later"]
    assert "broken" not in dict(schema(connection))
    assert not connection.in_transaction
    assert pending(connection, (*MIGRATIONS, LATER, BROKEN)) == [BROKEN]


def test_a_newer_file_is_refused_untouched(connection: sqlite3.Connection) -> None:
    """A step we do not know may mean anything: nothing is read into it."""
    migrate(connection, (*MIGRATIONS, LATER))
    before = schema(connection)
    with pytest.raises(NewerSchema, match="0099_later"):
        migrate(connection, (*MIGRATIONS, Migration("0002_ours", ("CREATE TABLE ours (a)",))))
    assert schema(connection) == before


def test_the_names_of_the_steps_are_numbered_without_gaps() -> None:
    """The order of the tuple is the order of the numbers, so that two steps made apart are noticed when they meet."""
    assert [migration.name[:5] for migration in MIGRATIONS] == [
        f"{number:04}_" for number in range(1, len(MIGRATIONS) + 1)
    ]


@pytest.fixture
def version_1(tmp_path: Path) -> Iterator[SqliteState]:
    """A state over a copy of the file that version 1 wrote; tests/data/make_state_v1.py shows how."""
    shutil.copy(VERSION_1, tmp_path / "state.db")
    state = SqliteState(path=tmp_path / "state.db")
    yield state
    state.close()


def test_a_file_of_version_1_opens_with_all_that_is_in_it(version_1: SqliteState) -> None:
    """Counts, identities, position, units and quarantine are those that version 1 committed."""
    assert dict(version_1.totals()) == {labels(): 1, labels(error="AccessDenied"): 1, labels(correction=True): 1}
    assert version_1.unseen([key(number) for number in range(7)]) == {key(0), key(4), key(6)}
    assert version_1.load(HERE) == {"v": 1, "files": ["a"]}
    assert list(version_1.unfinished(HERE, [Unit("a", "1"), Unit("a", "2")])) == [Unit("a", "2")]
    assert list(version_1.quarantined(10)) == [
        (1, Quarantined(key(4), HERE, "not_json", "byte 3", "trail.json#4", b"\xff{", 2, NOON, counted=True))
    ]
    assert (version_1.size().identities, version_1.size().quarantined) == (4, 1)


def test_a_file_of_version_1_goes_on(version_1: SqliteState) -> None:
    """It is claimed after version 1, commits on top of what is there, and forgets it in time."""
    epoch = version_1.claim("now")
    assert epoch == 2
    entries = tuple(Entry(key(number), labels()) for number in range(1, 8))
    at = NOON + timedelta(days=160)
    assert version_1.commit(Commit(partition=HERE, epoch=epoch, at=at, entries=entries)).new == 3
    assert version_1.totals()[labels()] == 4
    version_1.commit(Commit(partition=HERE, epoch=epoch, at=at, finished=(Unit("a", "1", "day"),), forget=("", "day")))
    assert list(version_1.unfinished(HERE, [Unit("a", "1"), Unit("a", "1", "day")])) == []
    assert version_1.prune(at - timedelta(days=100)) == 3
