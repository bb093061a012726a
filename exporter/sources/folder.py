"""What trail files lie in a folder, found without holding the whole listing, and without being led in circles."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from exporter.contract import Unit

__all__ = ["Found", "Unlisted", "printable", "walk"]

_SUFFIXES = (".json", ".jsonl", ".gz")
#: So many entries of a folder are sorted at a time: trail folders hold fewer, and a folder of millions costs no memory.
_SORTED = 4096


@dataclass(frozen=True, slots=True)
class Found:
    """A file, as it was when it was looked at.

    Attributes:
        name: relative to the folder, with odd bytes escaped; for people and for the state.
        path: how the operating system knows it.
        size: bytes.
        mtime_ns: nanoseconds since 1970, by the clock of whoever wrote it.
    """

    name: str
    path: str
    size: int
    mtime_ns: int

    @property
    def unit(self) -> Unit:
        """The file in this version; another size or time of change is another unit."""
        return Unit(self.name, f"{self.size}-{self.mtime_ns}")

    def is_still(self, now: os.stat_result) -> bool:
        """Whether it has not changed since."""
        return (now.st_size, now.st_mtime_ns) == (self.size, self.mtime_ns)


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A folder or file below the root that may not be looked at."""

    name: str
    error: str


def walk(root: Path) -> Iterator[Found | Unlisted]:
    """Everything at or below the root that is named like a trail file; a root that is a file, whatever its name.

    Hidden files and folders are left out, as are names without a known suffix (``x.json.gz.part``). Links are followed,
    a folder is entered once.

    Raises:
        OSError: the root itself cannot be looked at.
    """
    about = root.stat()
    if not stat.S_ISDIR(about.st_mode):
        if stat.S_ISREG(about.st_mode):
            yield Found(printable(root.name), str(root), about.st_size, about.st_mtime_ns)
        return
    entered = {(about.st_dev, about.st_ino)}
    folders = [str(root)]
    while folders:
        folder = folders.pop()
        below: list[str] = []
        try:
            with os.scandir(folder) as entries:
                while chunk := sorted(islice(entries, _SORTED), key=lambda entry: entry.name):
                    for entry in chunk:
                        found = _look(entry, root, entered)
                        if isinstance(found, str):
                            below.append(found)
                        elif found is not None:
                            yield found
        except FileNotFoundError:
            continue
        except OSError as error:
            if folder == str(root):
                raise
            yield Unlisted(_name(folder, root), error.strerror or "cannot be listed")
        folders.extend(reversed(below))


def _look(entry: os.DirEntry[str], root: Path, entered: set[tuple[int, int]]) -> Found | Unlisted | str | None:
    """A file, a folder to enter (its path), or nothing of interest."""
    if entry.name.startswith("."):
        return None
    try:
        if not entry.is_dir() and not entry.name.lower().endswith(_SUFFIXES):
            return None
        about = entry.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        return Unlisted(_name(entry.path, root), error.strerror or "cannot be looked at")
    if stat.S_ISDIR(about.st_mode):
        if (about.st_dev, about.st_ino) in entered:
            return None
        entered.add((about.st_dev, about.st_ino))
        return entry.path
    if not stat.S_ISREG(about.st_mode):
        return None
    return Found(_name(entry.path, root), entry.path, about.st_size, about.st_mtime_ns)


def _name(path: str, root: Path) -> str:
    top = os.path.join(root, "")
    return printable(path[len(top) :] if path.startswith(top) else os.path.relpath(path, root))


def printable(name: str) -> str:
    """A path as text that every log and database takes: bytes that are not UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
