"""A file of OTLP/JSON lines, one export request each: what the Collector's file exporter writes and reads back.

What :meth:`FileSink.send` returned for is on the disk. A line is appended as a whole or taken back; one that a kill -9
left torn was never accepted, and is cut off when the file is opened again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from exporter.contract import Delivery, Finding, Record
from exporter.errors import Blocked, Permanent
from exporter.otel import ReadableLogRecord, encode
from exporter.sinks.otlp_json import request_json

__all__ = ["FileSink"]

_log = logging.getLogger("exporter.sink")

#: Audit data: for the owner and the group.
_MODE = 0o640
#: How every line of ours begins: a torn last line is cut off only if it is one of them.
_BEGINNING = b'{"resourceLogs":'
_CHUNK = 64 * 1024
#: A torn line longer than this is not looked into.
_LONGEST_LINE = 64 * 1024 * 1024
_EFFECTIVE = os.access in os.supports_effective_ids
#: With less than this left on the volume ``check`` calls it full, in bytes.
_LEAST_FREE = 1024 * 1024


class FileSink:
    """Appends each batch as one line and brings it to disk. Safe to use from several threads, one process at a time.

    A file that was moved or removed (logrotate) is opened anew under its name with the next batch.

    Args:
        mapper: a record -> its log record.
        path: the file; made when it is not there. Its folder must be.
    """

    def __init__(self, mapper: Callable[[Record], ReadableLogRecord], *, path: Path) -> None:
        self._mapper = mapper
        self._path = path
        self._lock = threading.Lock()
        self._fd: int | None = None

    def check(self) -> Iterable[Finding]:
        """Whether the file, or its folder, can be written to. Makes nothing."""
        subject = f"file {self._path}"
        try:
            try:
                os.close(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC))
            except FileNotFoundError:
                if not self._path.parent.is_dir():
                    raise
                if not os.access(self._path.parent, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
            volume = os.statvfs(self._path if self._path.exists() else self._path.parent)
            if volume.f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            if volume.f_blocks and volume.f_bavail * volume.f_frsize < _LEAST_FREE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            yield Finding("error", subject, _why(error), _fix(error, self._path))
        else:
            yield Finding("ok", subject, "can be written to")

    def send(self, records: Sequence[Record]) -> Delivery:
        """Append the records as one line; it is on disk when this returns.

        Raises:
            Blocked: the disk is full, the file or its folder is not there or not writable, another process writes it.
            Permanent: a record cannot be encoded.
        """
        try:
            line = request_json(encode([self._mapper(record) for record in records])) + b"\n"
        except Exception as error:
            raise Permanent(f"cannot be encoded: {type(error).__name__}: {error}", reason="encode") from error
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                self._close()
                raise Blocked(
                    f"{self._path} cannot be written: {_why(error)}; {_fix(error, self._path)}", reason="disk"
                ) from error
        return Delivery(delivered=len(records))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _append(self, line: bytes) -> None:
        fd = self._current()
        before = os.fstat(fd).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(fd, rest) :]
            _to_disk(fd)
        except OSError:
            if _is_file(fd):
                # Not accepted, so not there: the same records come again. If this fails too, opening finds it torn.
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, before)
            raise

    def _current(self) -> int:
        """The open file, opened anew when another one, or none, has its name."""
        if self._fd is not None:
            try:
                named, held = os.stat(self._path), os.fstat(self._fd)
                if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino):
                    return self._fd
            except FileNotFoundError:
                pass
            self._close()
        self._fd = self._open()
        return self._fd

    def _open(self) -> int:
        new = not self._path.exists()
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            if _is_file(fd):
                _lock_file(fd)
                self._mend(fd)
                if new:
                    _folder_to_disk(self._path.parent)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _mend(self, fd: int) -> None:
        """Make the file end with a line end: cut a torn line of ours off, end anything else."""
        size = os.fstat(fd).st_size
        start = _last_line(fd, size)
        if start == size:
            return
        head = os.pread(fd, len(_BEGINNING), start)
        ours = _BEGINNING.startswith(head)
        if ours and not _is_whole(fd, start, size):
            _log.warning("a torn last line is cut off", extra={"path": str(self._path), "bytes": size - start})
            os.ftruncate(fd, start)
        else:
            os.write(fd, b"\n")
        _to_disk(fd)

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _last_line(fd: int, size: int) -> int:
    """Where the last line begins; the size when the file ends with a line end."""
    end = size
    while end > 0:
        start = max(0, end - _CHUNK)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _is_whole(fd: int, start: int, size: int) -> bool:
    """Whether what stands there is JSON and lacks nothing but its line end."""
    if size - start > _LONGEST_LINE:
        return False
    try:
        msgspec.json.decode(os.pread(fd, size - start, start), type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _lock_file(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EBUSY, "another process writes this file") from None
    except OSError:
        return  # a network volume without locks: then the operator sees to it that one process writes


def _to_disk(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a pipe or a device
            raise


def _folder_to_disk(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _to_disk(fd)
    finally:
        os.close(fd)


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def _fix(error: OSError, path: Path) -> str:
    folder = path.parent
    fixes = {
        errno.ENOENT: f"make the folder {folder}, or correct sink.path",
        errno.ENOTDIR: f"{folder} is no folder: correct sink.path",
        errno.EISDIR: f"{path} is a folder: set sink.path to a file in it",
        errno.EACCES: f"let this user write to {folder}",
        errno.EPERM: f"let this user write to {folder}",
        errno.EROFS: f"{folder} is mounted read-only: mount it for writing, or set sink.path elsewhere",
        errno.ENOSPC: f"the disk of {folder} is full: make room",
        errno.EDQUOT: f"the quota of {folder} is used up: make room",
        errno.EBUSY: "stop the other process, or give each its own sink.path",
    }
    return fixes.get(error.errno or 0, f"look into the disk of {folder}")
