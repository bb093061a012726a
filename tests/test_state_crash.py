"""The SQLite state killed at any instant: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.contract import Partition, Unit
from exporter.state.sqlite import SqliteState
from exporter.testing.state import key, labels

HERE = Partition("archive", "folder")
#: Entries of one commit; half of them are those of the commit before it.
WIDTH = 40

#: Commits from where the state stands, for ever or so many times, printing each position once its commit has returned.
WORKER = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from exporter.contract import Commit, Entry, Partition, Quarantined, Unit
from exporter.state.sqlite import SqliteState
from exporter.testing.state import key, labels

state = SqliteState(path=Path(sys.argv[1]), horizon=timedelta(days=100_000))
width, here = int(sys.argv[2]), Partition("archive", "folder")
epoch, position = state.claim("worker"), state.load(here)
n = 0 if position is None else position["n"] + 1
while n != int(sys.argv[3]):
    # A generation lasts half a horizon: every eighth commit opens one.
    at = datetime(1, 1, 1, tzinfo=UTC) + timedelta(days=n * 6_300 % 3_000_000)
    numbers = range(n * width // 2, n * width // 2 + width)
    state.commit(Commit(
        partition=here, epoch=epoch, at=at,
        entries=tuple(Entry(key(number), labels()) for number in numbers),
        quarantined=(Quarantined(key(n), here, "not_json", "", "", bytes(n % 5_000), n, at),),
        position={"v": 1, "n": n}, finished=(Unit(str(n), "1"),),
    ))
    print(n, flush=True)
    n += 1
os.kill(os.getpid(), signal.SIGKILL)
"""


def stands_at(path: Path) -> int:
    """The number of the last commit in the file, after a look that every part of the state agrees with it; -1: none."""
    state = SqliteState(path=path)
    try:
        position = state.load(HERE)
        last = -1 if position is None else position["n"]
        assert isinstance(last, int)
        known = 0 if last < 0 else last * WIDTH // 2 + WIDTH
        assert state.unseen([key(number) for number in range(known + WIDTH)]) == {
            key(number) for number in range(known, known + WIDTH)
        }
        assert dict(state.totals()) == ({labels(): known} if known else {})
        assert state.size().identities == known
        assert [item.key for _, item in state.quarantined(last + 10)] == [key(number) for number in range(last + 1)]
        units = [Unit(str(number), "1") for number in range(last + 10)]
        assert list(state.unfinished(HERE, units)) == units[last + 1 :]
        return last
    finally:
        state.close()


@pytest.mark.crash
def test_kill_at_any_instant_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    """Twenty kills of the committing process: at most the one commit that was under way may be there unacknowledged."""
    rng = random.Random(20_251_009)
    path = tmp_path / "state.db"
    for _ in range(20):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), str(WIDTH), "-1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert worker.stdout is not None
        assert worker.stderr is not None
        lines = [worker.stdout.readline() for _ in range(rng.randrange(1, 30))]
        worker.kill()
        lines += worker.stdout.readlines()
        assert worker.stderr.read() == b""
        worker.stdout.close()
        worker.stderr.close()
        worker.wait()
        acknowledged = [int(line) for line in lines if line.endswith(b"\n")]
        assert stands_at(path) in (acknowledged[-1], acknowledged[-1] + 1)


@pytest.mark.crash
def test_kill_while_the_file_is_made_leaves_one_that_opens(tmp_path: Path) -> None:
    """The schema comes in one transaction: killed before any statement of it, the next start makes a state."""
    script = """
import os, sqlite3, sys
from pathlib import Path
from exporter.state import migrations
from exporter.state.sqlite import SqliteState
left = int(sys.argv[2])
def die(statement):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
class Traced(sqlite3.Connection):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.set_trace_callback(die)
connect = sqlite3.connect
sqlite3.connect = lambda *args, **kwargs: connect(*args, factory=Traced, **kwargs)
SqliteState(path=Path(sys.argv[1]))
os.write(1, b"made")
"""
    for statements in (0, 3, 8, 10, 12, 14, 17, 19, 20, 21, 22):
        path = tmp_path / f"{statements}.db"
        done = subprocess.run([sys.executable, "-c", script, str(path), str(statements)], capture_output=True)
        assert done.stderr == b""
        assert done.returncode == -9
        assert stands_at(path) == -1


def test_a_log_cut_anywhere_opens_with_the_commits_before_the_cut(tmp_path: Path) -> None:
    """What a power loss leaves of the write-ahead log: whole commits from its start, never a part of one."""
    path = tmp_path / "state.db"
    done = subprocess.run([sys.executable, "-c", WORKER, str(path), str(WIDTH), "10"], capture_output=True)
    assert done.returncode == -9
    log = path.with_name("state.db-wal").read_bytes()
    found = []
    for cut in (*range(0, len(log), max(1, len(log) // 40)), len(log)):
        copy = tmp_path / f"cut-{cut}" / "state.db"
        copy.parent.mkdir()
        shutil.copy(path, copy)
        copy.with_name("state.db-wal").write_bytes(log[:cut])
        found.append(stands_at(copy))
    assert found == sorted(found)
    assert found[0] == -1
    assert found[-1] == 9
    assert len(set(found)) > 5
