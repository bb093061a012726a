"""Looking into a state file from outside, while its process runs: reads only, takes no lock, changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from exporter.contract import Partition, Quarantined
from exporter.errors import ConfigError, Problem
from exporter.state.encoding import from_micros, from_text

__all__ = ["quarantined_in", "read_quarantine"]


def quarantined_in(connection: sqlite3.Connection, *, limit: int, after: int) -> Sequence[tuple[int, Quarantined]]:
    """Rows of the quarantine, oldest first, from the one after number ``after`` on."""
    rows = connection.execute(
        "SELECT number, key, source, partition, reason, detail, origin, size, at, counted, sample "
        "FROM quarantine WHERE number > ? ORDER BY number LIMIT ?",
        (after, max(0, limit)),
    ).fetchall()
    return [
        (
            number,
            Quarantined(
                key=key,
                partition=Partition(source, partition),
                reason=reason,
                detail=detail,
                origin=origin,
                sample=sample,
                size=size,
                at=from_micros(at),
                counted=bool(counted),
            ),
        )
        for number, key, source, partition, reason, detail, origin, size, at, counted, sample in rows
    ]


def read_quarantine(path: Path, *, limit: int, after: int = 0) -> Sequence[tuple[int, Quarantined]]:
    """What lies in the quarantine of a state file that another process may be using.

    Raises:
        ConfigError: there is no such file, or it is no state of ours.
    """
    if not path.is_file():
        raise ConfigError([Problem("state.path", str(path), "a state file; there is none yet")])
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.text_factory = from_text
            return quarantined_in(connection, limit=limit, after=after)
    except sqlite3.Error as error:
        raise ConfigError([Problem("state.path", str(path), f"a state file of this program ({error})")]) from error
