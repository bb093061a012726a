"""One process per state file: an advisory lock that ends with the process that holds it, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from exporter.errors import ConfigError, Held, Problem

__all__ = ["LockFile", "refusal"]

_HINTS = {
    errno.EACCES: "permission denied: let this user write in the folder, or give another path",
    errno.EPERM: "permission denied: let this user write in the folder, or give another path",
    errno.EROFS: "the file system is read-only: mount it writable, or give another path",
    errno.ENOSPC: "the disk is full: free some space, or give another path",
    errno.EDQUOT: "the disk quota is used up: free some space, or give another path",
    errno.ENOTDIR: "a part of it is a file, not a folder: give another path",
    errno.EISDIR: "a folder: give the path of a file",
    errno.ENOENT: "the folder is not there and cannot be made: give another path",
    errno.ENOLCK: "the file system has no file locks (NFS without its lock service?): put the state on a local disk",
    errno.EOPNOTSUPP: "the file system has no file locks: put the state on a local disk",
}


def refusal(path: Path, why: OSError | str) -> ConfigError:
    """The refusal to start with this state file."""
    if isinstance(why, OSError):
        text = os.strerror(why.errno) if why.errno else str(why)
        why = _HINTS.get(why.errno or 0, f"{text}: mend that, or give another path")
    return ConfigError([Problem("state.path", str(path), why)])


class LockFile:
    """Holds ``<path>.lock`` from construction to :meth:`release`.

    It is a file of its own because POSIX takes away all locks of a process on a file as soon as the process closes any
    descriptor of it: opening and closing the database beside SQLite would free SQLite's locks ("How To Corrupt An
    SQLite Database File", 2.2). ``flock`` belongs to the descriptor, which no child inherits over exec; the kernel
    frees it with the process. The file stays behind, unlocked: removing it would let two processes hold two files.

    Raises:
        Held: another process, or another state of this one, has it.
        ConfigError: the file cannot be made or locked.
    """

    def __init__(self, path: Path) -> None:
        lock = path.with_name(path.name + ".lock")
        try:
            self._descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise refusal(path, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"pid {os.getpid()} on {socket.gethostname()}".encode(), 0)
        except BlockingIOError as error:
            holder = self._holder()
            os.close(self._descriptor)
            allowed = f"held by {holder}: stop it, or give this one another path"
            raise Held(Problem("state.path", str(path), allowed), holder) from error
        except OSError as error:
            os.close(self._descriptor)
            raise refusal(path, error) from error

    def release(self) -> None:
        """Let another process have the file. Safe twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _holder(self) -> str:
        """Who wrote into the lock file, and when; a pid means little across containers, so the host is named too."""
        words = os.pread(self._descriptor, 300, 0).decode(errors="replace")
        since = datetime.fromtimestamp(os.fstat(self._descriptor).st_mtime, UTC)
        return f"{words or 'another process'} (since {since:%Y-%m-%dT%H:%M:%SZ})"
