"""What is particular to the SQLite state: which files it takes or refuses, in what words, and how large it gets."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.contract import Commit, Entry, Partition, Unit
from exporter.errors import Blocked, ConfigError, Fenced, Problem
from exporter.state.sqlite import SqliteState
from exporter.testing.state import key, labels

HERE = Partition("archive", "folder")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOBODY = 65534

HOLD = """
import sys
from pathlib import Path
from exporter.state.sqlite import SqliteState
state = SqliteState(path=Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def commit(epoch: int, *numbers: int, at: datetime = NOON) -> Commit:
    return Commit(
        partition=HERE,
        epoch=epoch,
        at=at,
        entries=tuple(Entry(key(number), labels()) for number in numbers),
        position={"v": 1, "n": max(numbers, default=0)},
    )


def refused(path: Path) -> Problem:
    """Open the file, which must be refused with one problem that names it."""
    with pytest.raises(ConfigError) as raised:
        SqliteState(path=path)
    (problem,) = raised.value.problems
    assert problem.key == "state.path"
    assert problem.value == str(path)
    return problem


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder of a user to whom permissions apply; root is above them."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name) / "state"
        folder.mkdir()
        os.chmod(name, 0o755)
        if root:
            os.chown(folder, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o700)


# -- files it makes ------------------------------------------------------------------------------------------------


def test_the_file_and_its_folder_are_for_this_user_only(tmp_path: Path) -> None:
    """Event identities, positions and samples are nobody else's business."""
    path = tmp_path / "made" / "too" / "state.db"
    with_umask = os.umask(0)
    try:
        state = SqliteState(path=path)
        state.commit(commit(state.claim("test"), 1))
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
        assert modes == dict.fromkeys(["state.db", "state.db-wal", "state.db-shm", "state.db.lock"], 0o600)
        state.close()
    finally:
        os.umask(with_umask)


def test_the_mode_of_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """A folder the operator made stays as the operator made it."""
    tmp_path.chmod(0o755)
    SqliteState(path=tmp_path / "state.db").close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_commit_is_synced_and_the_cache_is_small(tmp_path: Path) -> None:
    """The promise "on disk when this returns" and the memory budget hang on four settings of SQLite."""
    state = SqliteState(path=tmp_path / "state.db")
    names = ("journal_mode", "synchronous", "cache_size", "secure_delete")
    found = {name: state._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "cache_size": -2048,
        "secure_delete": 0,
    }
    state.close()


def test_an_empty_file_becomes_a_state(tmp_path: Path) -> None:
    """What a kill -9 leaves right after the file was made is taken as new."""
    (tmp_path / "state.db").touch()
    state = SqliteState(path=tmp_path / "state.db")
    assert state.commit(commit(state.claim("test"), 1)).new == 1
    state.close()


def test_the_size_is_that_of_the_files(tmp_path: Path) -> None:
    """Bytes on disk include SQLite's log."""
    state = SqliteState(path=tmp_path / "state.db")
    state.commit(commit(state.claim("test"), *range(500)))
    lock = (tmp_path / "state.db.lock").stat().st_size
    assert state.size().bytes == sum(each.stat().st_size for each in tmp_path.iterdir()) - lock
    state.close()


def _grown(path: Path, *, days: int) -> int:
    """The size of a file after so many days of 300 events and a pruning each, at a horizon of ten days."""
    state = SqliteState(path=path, horizon=timedelta(days=10))
    epoch = state.claim("test")
    for day in range(days):
        at = NOON + timedelta(days=day)
        state.commit(commit(epoch, *range(day * 300, day * 300 + 300), at=at))
        state.prune(at - timedelta(days=10))
        assert len(state._identities.generations) <= 4
    state.close()
    return path.stat().st_size


def test_the_file_is_bounded_by_the_horizon(tmp_path: Path) -> None:
    """With regular pruning ten horizons take no more than two: generations grow into the pages of dropped ones."""
    assert _grown(tmp_path / "ten.db", days=100) <= _grown(tmp_path / "two.db", days=20) * 1.1


def test_many_finished_units_stay(tmp_path: Path) -> None:
    """An archive of a hundred thousand files is remembered at a few dozen bytes each."""
    state = SqliteState(path=tmp_path / "state.db")
    epoch = state.claim("test")
    units = [Unit(f"AWSLogs/123456789012/CloudTrail/{number}.json.gz", "etag") for number in range(100_000)]
    for start in range(0, len(units), 10_000):
        state.commit(Commit(partition=HERE, epoch=epoch, at=NOON, finished=tuple(units[start : start + 10_000])))
    assert list(state.unfinished(HERE, [*units[:1_000], Unit("new", "etag")])) == [Unit("new", "etag")]
    state.close()
    assert (tmp_path / "state.db").stat().st_size < 60 * len(units)


# -- one process ---------------------------------------------------------------------------------------------------


def test_another_process_is_refused_until_the_first_one_is_killed(tmp_path: Path) -> None:
    """The refusal names the holder; kill -9 of the holder frees the file."""
    path = tmp_path / "state.db"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        assert holder.stdout.readline() == "held\n"
        allowed = refused(path).allowed
        assert f"held by pid {holder.pid} on " in allowed
        assert "(since 20" in allowed
        assert allowed.endswith("stop it, or give this one another path")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        holder.stdin.close()
    SqliteState(path=path).close()


def test_another_state_of_this_process_is_refused(tmp_path: Path) -> None:
    """Two sources of truth over one file are refused in one process too, and closing the first frees it."""
    state = SqliteState(path=tmp_path / "state.db")
    assert f"held by pid {os.getpid()} on " in refused(tmp_path / "state.db").allowed
    state.close()
    SqliteState(path=tmp_path / "state.db").close()


def test_another_name_of_the_file_is_the_same_file(tmp_path: Path) -> None:
    """A symbolic link does not get around the lock."""
    state = SqliteState(path=tmp_path / "state.db")
    (tmp_path / "link.db").symlink_to("state.db")
    with pytest.raises(ConfigError, match="held by pid"):
        SqliteState(path=tmp_path / "link.db")
    state.close()


def test_a_refused_file_can_be_held_afterwards(tmp_path: Path) -> None:
    """A refusal leaves no lock behind."""
    path = tmp_path / "state.db"
    path.write_bytes(b"not a database, but longer than a header of one hundred bytes " * 4)
    refused(path)
    path.unlink()
    SqliteState(path=path).close()


def test_who_lost_the_lock_file_is_fenced(tmp_path: Path) -> None:
    """When somebody removes the lock file and a second process claims, the first one's commits are refused."""
    first = SqliteState(path=tmp_path / "state.db")
    epoch = first.claim("first")
    first.commit(commit(epoch, 1))
    (tmp_path / "state.db.lock").unlink()
    second = SqliteState(path=tmp_path / "state.db")
    second.commit(commit(second.claim("second"), 2))
    with pytest.raises(Fenced):
        first.commit(commit(epoch, 3))
    first.close()
    assert second.unseen([key(1), key(2), key(3)]) == {key(3)}
    second.close()


# -- files it refuses ----------------------------------------------------------------------------------------------


def _folder(path: Path) -> None:
    path.mkdir()


def _text(path: Path) -> None:
    path.write_text("a shopping list\n" * 100)


def _short(path: Path) -> None:
    path.write_bytes(b"x")


def _cut_header(path: Path) -> None:
    _ours(path)
    path.write_bytes(path.read_bytes()[:50])


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()


def _foreign_empty(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA application_id = 252006673")
    connection.close()


def _ours(path: Path) -> None:
    state = SqliteState(path=path)
    state.commit(commit(state.claim("test"), *range(1_000)))
    state.close()
    path.with_name(path.name + ".lock").unlink()


def _damaged(path: Path) -> None:
    _ours(path)
    content = bytearray(path.read_bytes())
    content[100:4_096] = b"\xa5" * 3_996
    path.write_bytes(content)


def _newer(path: Path) -> None:
    _ours(path)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO migrations (name, version) VALUES ('0099_later', '9.9.0')")
    connection.close()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(_folder, "a folder: give the path of a file", id="a folder"),
        pytest.param(_text, "no SQLite database", id="a text"),
        pytest.param(_short, "no SQLite database", id="a byte"),
        pytest.param(_cut_header, "a damaged database: keep a copy", id="a cut header"),
        pytest.param(_foreign, "the database of another program", id="another program's"),
        pytest.param(_foreign_empty, "the database of another program", id="another program's, empty"),
        pytest.param(_damaged, "a damaged database: keep a copy", id="damaged"),
        pytest.param(
            _newer, "written by cloudtrail-exporter 9.9.0 (schema step 0099_later), which is newer", id="newer"
        ),
    ],
)
def test_a_file_that_is_not_ours_is_refused_and_kept(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    """The refusal says what lies there and what to do; not a byte of it is changed."""
    path = tmp_path / "state.db"
    make(path)
    before = path.read_bytes() if path.is_file() else sorted(path.iterdir())
    allowed = refused(path).allowed
    assert says in allowed
    assert "give another path" in allowed or "give the path of a file" in allowed
    assert (path.read_bytes() if path.is_file() else sorted(path.iterdir())) == before


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    """A part of the path that is a file is said to be one."""
    (tmp_path / "file").touch()
    assert "a file, not a folder" in refused(tmp_path / "file" / "below" / "state.db").allowed


def test_a_folder_that_cannot_be_made_is_refused() -> None:
    """A missing folder where nothing can be made."""
    with unprivileged() as folder:
        folder.chmod(0o500)
        assert "permission denied" in refused(folder / "below" / "state.db").allowed


def test_a_folder_that_cannot_be_written_is_refused() -> None:
    """A read-only folder: not even the lock can be made."""
    with unprivileged() as folder:
        folder.chmod(0o500)
        assert "permission denied" in refused(folder / "state.db").allowed
        assert list(folder.iterdir()) == []


def test_a_file_that_cannot_be_written_is_refused() -> None:
    """SQLite would open it for reading and fail at the first commit; we say so before anything starts."""
    with unprivileged() as folder:
        _ours(folder / "state.db")
        (folder / "state.db").chmod(0o400)
        assert "permission denied" in refused(folder / "state.db").allowed


# -- use after the end ---------------------------------------------------------------------------------------------


def test_a_closed_state_says_so(tmp_path: Path) -> None:
    """A worker that outlives the shutdown holds what it has; the last totals can still be scraped."""
    state = SqliteState(path=tmp_path / "state.db")
    epoch = state.claim("test")
    state.commit(commit(epoch, 1))
    state.close()
    for call in (lambda: state.commit(commit(epoch, 2)), lambda: state.unseen([key(1)]), lambda: state.load(HERE)):
        with pytest.raises(Blocked, match="is closed"):
            call()
    assert dict(state.totals()) == {labels(): 1}
    assert state.size().identities == 1
