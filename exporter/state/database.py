"""An SQLite file as we want it: opened, refused in words that help, its failures turned into our errors."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from exporter.errors import Blocked, ExporterError, Retryable
from exporter.state.encoding import from_text
from exporter.state.lockfile import refusal
from exporter.state.migrations import APPLICATION_ID, NewerSchema, migrate

__all__ = ["make_folder", "open_database", "translate"]

#: Seconds SQLite waits for somebody else's lock (a shell, a backup) before it is "busy".
_BUSY_SECONDS = 2.0

#: How each SQLite file begins (SQLite file format, 1.3.1).
_MAGIC = b"SQLite format 3\x00"

_PRAGMAS = (
    # FULL: the log is synced with each commit; NORMAL would lose the last commits with the power.
    "synchronous = FULL",
    # KiB. Identities that arrive together lie together, so a few pages are enough at any size of the file.
    "cache_size = -2048",
    "temp_store = MEMORY",
    "trusted_schema = OFF",
    # Debian builds it ON, which overwrites all of a dropped generation with zeros.
    "secure_delete = OFF",
    # Bytes the log is cut to after one that was larger.
    "journal_size_limit = 16777216",
)


def make_folder(path: Path) -> None:
    """Make the folder of the file, for this user only; a folder that is there is left as it is.

    Raises:
        ConfigError: it cannot be made, or the path is a folder itself.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = path.is_dir()
    except OSError as error:
        raise refusal(path, error) from error
    if folder:
        raise refusal(path, "a folder: give the path of a file")


def open_database(path: Path) -> sqlite3.Connection:
    """Open the state file, in autocommit mode, and bring its schema to the newest; make it when it is not there.

    Raises:
        ConfigError: it cannot be ours: not SQLite, another program's, damaged, newer, or not to be written. Nothing was
            changed.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        start = os.read(descriptor, len(_MAGIC))
        os.close(descriptor)
    except OSError as error:
        raise refusal(path, error) from error
    # SQLite would take a file of a few bytes for an empty one and write over it.
    if start and start != _MAGIC:
        raise refusal(path, "a file, but no SQLite database: give another path")
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _take(connection, path)
    except NewerSchema as error:
        connection.close()
        raise refusal(path, f"{error}: run that version, or give another path") from error
    except sqlite3.Error as error:
        connection.close()
        raise refusal(path, _opening(error)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _take(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise refusal(path, "the database of another program: give another path")
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise refusal(path, "SQLite cannot keep a write-ahead log there (a network file system?): use a local disk")
    # SQLite opens a file that cannot be written without a word; this asks.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ROLLBACK")
    migrate(connection)
    connection.text_factory = from_text


def _opening(error: sqlite3.Error) -> str:
    kind = _kind(error)
    if kind == sqlite3.SQLITE_NOTADB:
        return "a file, but no SQLite database: give another path"
    if kind == sqlite3.SQLITE_CORRUPT:
        return "a damaged database: keep a copy, restore it from a backup, or give another path and count anew"
    if kind in _BUSY:
        return "in use by another program: close that, or give another path"
    if kind in _DISK:
        return f"cannot be written ({error}): free some space or make it writable, or give another path"
    return f"cannot be opened ({error}): give another path"


# Primary result codes of https://www.sqlite.org/rescode.html
_DISK = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOLFS,
    }
)
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def _kind(error: sqlite3.Error) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def translate(error: sqlite3.Error, path: Path) -> ExporterError | None:
    """What the loop shall do about a failure of SQLite; None: it is a bug of ours."""
    kind = _kind(error)
    if kind in _DISK:
        hint = f"free space on the disk of {path.parent}, or make it writable"
        return Blocked(f"state {path} cannot be written: {error}. Fix: {hint}", reason="disk")
    if kind in _BUSY:
        return Retryable(f"state {path} is busy: {error}", reason="state")
    if kind in _DAMAGED:
        hint = "stop the exporter, keep a copy of the file, restore it from a backup or move it away and count anew"
        return Blocked(f"state {path} is damaged: {error}. Fix: {hint}", reason="state")
    return None
