"""A disk that fails: what the loop is told, that nothing of the commit is there, and that it goes on afterwards."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.contract import Commit, Entry, Partition, Quarantined, Unit
from exporter.errors import Blocked, Retryable
from exporter.state import database
from exporter.state.database import translate
from exporter.state.sqlite import SqliteState
from exporter.testing.state import key, labels

HERE = Partition("archive", "folder")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def state(path: Path) -> Iterator[SqliteState]:
    state = SqliteState(path=path, horizon=timedelta(days=10))
    yield state
    state.close()


@pytest.fixture
def step(state: SqliteState) -> Commit:
    """A small commit that is on disk already; it may be repeated."""
    step = commit(state.claim("test"), range(10), position=1)
    state.commit(step)
    return step


def commit(epoch: int, numbers: range, *, position: int) -> Commit:
    return Commit(
        partition=HERE,
        epoch=epoch,
        at=NOON,
        entries=tuple(Entry(key(number), labels()) for number in numbers),
        quarantined=(Quarantined(key(position), HERE, "not_json", "byte 3", "a.json#1", b"{", 1, NOON),),
        position={"v": 1, "n": position},
        finished=(Unit(f"file {position}", "1"),),
    )


def everything(state: SqliteState) -> object:
    size = state.size()
    return (
        state.unseen([key(number) for number in range(5_000)]),
        dict(state.totals()),
        state.load(HERE),
        list(state.unfinished(HERE, [Unit(f"file {number}", "1") for number in range(3)])),
        list(state.quarantined(10)),
        (size.identities, size.quarantined),
    )


@contextmanager
def no_file_grows_beyond(bytes_: int) -> Iterator[None]:
    """The kernel refuses every write past this size, as on a full disk (RLIMIT_FSIZE; Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_no_more_blocks_and_leaves_nothing(state: SqliteState, step: Commit, path: Path) -> None:
    """The message names the file and what to free; once there is space the same commit is taken, once."""
    before = everything(state)
    large = commit(step.epoch, range(5, 5_000), position=2)
    with no_file_grows_beyond(path.with_name("state.db-wal").stat().st_size + 4_096):
        with pytest.raises(Blocked) as raised:
            state.commit(large)
        assert raised.value.reason == "disk"
        assert str(path) in str(raised.value)
        assert f"free space on the disk of {path.parent}" in str(raised.value)
        assert everything(state) == before
    assert state.commit(large).new == 4_990
    assert dict(state.totals()) == {labels(): 5_000}


def test_what_a_full_disk_refused_is_not_there_after_a_restart(state: SqliteState, step: Commit, path: Path) -> None:
    """The next process finds the last commit that returned, and nothing of the one that raised."""
    before = everything(state)
    with (
        no_file_grows_beyond(path.with_name("state.db-wal").stat().st_size + 4_096),
        pytest.raises(Blocked),
    ):
        state.commit(commit(step.epoch, range(5, 5_000), position=2))
    state.close()
    again = SqliteState(path=path)
    assert everything(again) == before
    again.close()


def test_a_database_that_may_not_grow_blocks(state: SqliteState, step: Commit) -> None:
    """SQLite's own "database or disk is full", met at whichever page of the commit, undoes all of it."""
    before = everything(state)
    (pages,) = state._connection.execute("PRAGMA page_count").fetchone()
    large = commit(step.epoch, range(5, 5_000), position=2)
    for spare in (0, 1, 5, 20):
        state._connection.execute(f"PRAGMA max_page_count = {pages + spare}")
        with pytest.raises(Blocked) as raised:
            state.commit(large)
        assert raised.value.reason == "disk"
        assert everything(state) == before
    state._connection.execute("PRAGMA max_page_count = 1000000")
    assert state.commit(large).new == 4_990


def test_a_first_commit_of_a_generation_that_fails_can_be_repeated(state: SqliteState, step: Commit) -> None:
    """The table of the new generation is undone with the rest."""
    (pages,) = state._connection.execute("PRAGMA page_count").fetchone()
    later = replace(commit(step.epoch, range(5, 5_000), position=2), at=NOON + timedelta(days=6))
    state._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(Blocked):
        state.commit(later)
    state._connection.execute("PRAGMA max_page_count = 1000000")
    assert state.commit(later).new == 4_990
    assert state.commit(later).new == 0


def test_a_read_only_database_blocks(state: SqliteState, step: Commit) -> None:
    """What a file system that was remounted read-only leads to."""
    before = everything(state)
    state._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(Blocked) as raised:
        state.commit(commit(step.epoch, range(5, 50), position=2))
    assert raised.value.reason == "disk"
    assert everything(state) == before


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_a_file_that_is_gone_blocks(state: SqliteState, step: Commit, path: Path, replaced: bool) -> None:
    """Commits into a removed file would succeed, and be lost with the process."""
    path.rename(path.with_name("moved.db"))
    if replaced:
        path.touch()
    with pytest.raises(Blocked, match="replaced while in use" if replaced else "is gone") as raised:
        state.commit(commit(step.epoch, range(5, 50), position=2))
    assert raised.value.reason == "disk"
    path.with_name("moved.db").rename(path)
    assert state.commit(commit(step.epoch, range(5, 50), position=2)).new == 40


def test_a_database_somebody_else_writes_is_busy(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program's write lock is waited for, then reported as something that may work later."""
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.0)
    state = SqliteState(path=path)
    step = commit(state.claim("test"), range(10), position=1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Retryable) as raised:
        state.commit(step)
    assert raised.value.reason == "state"
    assert dict(state.totals()) == {}
    other.execute("ROLLBACK")
    assert state.commit(step).new == 10
    other.close()
    state.close()


def test_a_prune_that_fails_forgets_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identities are there until all of the pruning is on disk."""
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.0)
    state = SqliteState(path=path, horizon=timedelta(days=10))
    epoch = state.claim("test")
    for day in (0, 15, 30):
        numbers = range(day, day + 1)
        state.commit(replace(commit(epoch, numbers, position=day), at=NOON + timedelta(days=day)))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Retryable):
        state.prune(NOON + timedelta(days=20))
    assert state.unseen([key(0)]) == set()
    other.execute("ROLLBACK")
    assert state.prune(NOON + timedelta(days=20)) == 1
    assert state.unseen([key(0)]) == {key(0)}
    other.close()
    state.close()


def _failure(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        pytest.param(sqlite3.SQLITE_FULL, Blocked, "disk", id="full"),
        pytest.param(sqlite3.SQLITE_IOERR, Blocked, "disk", id="io"),
        pytest.param(sqlite3.SQLITE_IOERR_FSYNC, Blocked, "disk", id="io, sync"),
        pytest.param(sqlite3.SQLITE_READONLY, Blocked, "disk", id="read-only"),
        pytest.param(sqlite3.SQLITE_READONLY_DBMOVED, Blocked, "disk", id="moved"),
        pytest.param(sqlite3.SQLITE_CANTOPEN, Blocked, "disk", id="cannot open"),
        pytest.param(sqlite3.SQLITE_PERM, Blocked, "disk", id="permission"),
        pytest.param(sqlite3.SQLITE_NOLFS, Blocked, "disk", id="too large for the file system"),
        pytest.param(sqlite3.SQLITE_CORRUPT, Blocked, "state", id="damaged"),
        pytest.param(sqlite3.SQLITE_NOTADB, Blocked, "state", id="overwritten"),
        pytest.param(sqlite3.SQLITE_BUSY, Retryable, "state", id="busy"),
        pytest.param(sqlite3.SQLITE_BUSY_SNAPSHOT, Retryable, "state", id="busy, snapshot"),
        pytest.param(sqlite3.SQLITE_LOCKED, Retryable, "state", id="locked"),
        pytest.param(sqlite3.SQLITE_PROTOCOL, Retryable, "state", id="lock protocol"),
        pytest.param(sqlite3.SQLITE_NOMEM, Retryable, "state", id="no memory"),
    ],
)
def test_a_failure_of_sqlite_is_one_of_ours(code: int, kind: type[Exception], reason: str) -> None:
    """Each result code that a good program can meet leads to what the loop shall do."""
    error = translate(_failure(code), Path("/var/lib/x/state.db"))
    assert type(error) is kind
    assert error.reason == reason
    assert "/var/lib/x/state.db" in str(error)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: _failure(sqlite3.SQLITE_ERROR), id="wrong SQL"),
        pytest.param(lambda: _failure(sqlite3.SQLITE_CONSTRAINT_UNIQUE), id="constraint"),
        pytest.param(lambda: sqlite3.ProgrammingError("wrong use of the module"), id="no code"),
    ],
)
def test_any_other_failure_of_sqlite_is_a_bug(make: Callable[[], sqlite3.Error]) -> None:
    """What only our own mistake can cause is not disguised as something to retry."""
    assert translate(make(), Path("state.db")) is None
