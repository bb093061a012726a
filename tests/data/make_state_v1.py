"""Made state-v1.db, when 0001_ledger was the only schema step. Kept to show what lies in it; not to be run again.

A file of the oldest version must open with every later one. Run with a later schema, this would write a later file.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from exporter.contract import Commit, Entry, Partition, Quarantined, Unit
from exporter.state.sqlite import SqliteState
from exporter.testing.state import key, labels

PATH = Path(__file__).with_name("state-v1.db")
HERE, NOON = Partition("archive", "folder"), datetime(2026, 1, 1, 12, tzinfo=UTC)

PATH.unlink(missing_ok=True)
state = SqliteState(path=PATH)
epoch = state.claim("version 1")
step = Commit(
    partition=HERE,
    epoch=epoch,
    at=NOON,
    entries=(Entry(key(1), labels()), Entry(key(2), labels(error="AccessDenied")), Entry(key(3), None)),
    quarantined=(Quarantined(key(4), HERE, "not_json", "byte 3", "trail.json#4", b"\xff{", 2, NOON, counted=True),),
    position={"v": 1, "files": ["a"]},
    finished=(Unit("a", "1"),),
)
state.commit(step)
correction = Entry(key(5), labels(correction=True))
state.commit(Commit(partition=HERE, epoch=epoch, at=NOON + timedelta(days=51), entries=(correction,)))
state.close()
PATH.with_name(PATH.name + ".lock").unlink()
