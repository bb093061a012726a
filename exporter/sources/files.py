"""Trail files on a local disk: a file, or a folder with everything below it, watched for new files.

A file is a unit: its name below the folder, in the version "size-mtime". It is finished when its last batch is
committed; a process that dies in between reads it again from its beginning, and the ledger drops what was counted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from exporter.contract import Batch, Clock, Finding, Item, Partition, Progress, Unit
from exporter.errors import Blocked, Retryable
from exporter.reading import Limits, Reading
from exporter.record import Malformed
from exporter.sources.folder import Found, Unlisted, printable, walk
from exporter.sources.parcel import BATCH_UNITS, Parcel

__all__ = ["FilesSource"]

_log = logging.getLogger("exporter.files")

#: Seconds until a file that could not be read is tried again.
_RETRY = 60.0
#: How many files that could not be read, or are too young, are kept in mind.
_REMEMBERED = 10_000
#: Looking through a large folder takes at most this part of the time.
_SHARE = 1 / 20
_CHECKED = 1_000


class FilesSource:
    """The :class:`~exporter.contract.Source` over a file or a folder; one partition, ``files``.

    Args:
        name: the source's configured name.
        path: a file, or a folder that is looked through with everything below it.
        limits: how large input may be.
        interval: seconds between two looks.
        settle_seconds: with ``watch``, a file is left alone until it has not changed for so long.
        watch: files may still be written to: leave young ones for the next look, and do not judge one that changed
            while it was read. False reads everything as it is now.
        wanted: values of ``eventSource`` in UTF-8; see :class:`~exporter.reading.Reading`.
    """

    def __init__(
        self,
        *,
        name: str,
        path: Path,
        limits: Limits,
        clock: Clock,
        interval: float = 2.0,
        settle_seconds: float = 1.0,
        watch: bool = True,
        wanted: frozenset[bytes] | None = None,
    ) -> None:
        self.name = name
        self.interval = interval
        self._shortest = interval
        self._path = path
        self._shown = printable(str(path))
        self._limits = limits
        self._clock = clock
        self._settle_seconds = settle_seconds
        self._watch = watch
        self._wanted = wanted
        self._young: dict[Unit, float] = {}
        self._failed: dict[Unit, float] = {}

    def check(self) -> Iterable[Finding]:
        """Whether the path is there and holds trail files; looks at the first thousand."""
        subject = f"source {self.name}"
        try:
            found = list(islice(walk(self._path), _CHECKED))
        except OSError as error:
            yield Finding("error", subject, f"{self._path}: {error.strerror}", self._advice(error))
            return
        files = [one for one in found if isinstance(one, Found)]
        for one in found:
            if isinstance(one, Unlisted) or not os.access(one.path, os.R_OK):
                yield Finding("error", subject, f"{one.name} cannot be read", f"chmod +r {self._path / one.name}")
        if files:
            more = " or more" if len(found) == _CHECKED else ""
            yield Finding("ok", subject, f"{self._path}: {len(files)}{more} trail files")
        else:
            text = f"{self._path} holds no trail files (*.json, *.jsonl, *.json.gz, *.jsonl.gz)"
            yield Finding("warning", subject, text, "put some there, or fix sources[].path")

    def partitions(self) -> Sequence[Partition]:
        """The one there is."""
        return (Partition(self.name, "files"),)

    def read(self, partition: Partition, progress: Progress) -> Iterator[Batch]:
        """Every file that is not finished; see :class:`~exporter.contract.Source`.

        Raises:
            Blocked: the path is not there or may not be looked at.
            Retryable: the disk fails.
        """
        began = self._clock.monotonic()
        parcel = Parcel(partition)
        young: dict[Unit, float] = {}
        busy = False
        entries = self._walk()
        while chunk := list(islice(entries, BATCH_UNITS)):
            for one in chunk:
                if isinstance(one, Unlisted):
                    unit = Unit(one.name, "folder")
                    if self._may_try(unit):
                        yield from parcel.put(self._unreadable(unit, one.error, f"{self._shown}/{one.name}"))
            files = {one.unit: one for one in chunk if isinstance(one, Found)}
            for unit in progress.unfinished(list(files)) if files else ():
                if self._may_try(unit) and self._settled(files[unit], young):
                    busy = True
                    yield from self._file(unit, files[unit], parcel)
        self._young = young
        if not parcel.empty:
            busy = True
            yield parcel.take()
        if not busy:
            self.interval = max(self._shortest, (self._clock.monotonic() - began) / _SHARE)

    def settle(self, batch: Batch) -> None:
        """Nothing to tell a disk."""

    def abandon(self, batch: Batch) -> None:
        """Nothing to give back."""

    def close(self) -> None:
        """Nothing is held between two reads."""

    # -- the folder ------------------------------------------------------------------------------------------------

    def _walk(self) -> Iterator[Found | Unlisted]:
        try:
            yield from walk(self._path)
        except (FileNotFoundError, NotADirectoryError) as error:
            text = f"sources[{self.name}].path: {self._path} is not there; {self._advice(error)}"
            raise Blocked(text, reason="not_found") from error
        except PermissionError as error:
            text = f"sources[{self.name}].path: {self._path} may not be listed; {self._advice(error)}"
            raise Blocked(text, reason="access_denied") from error
        except OSError as error:
            raise Retryable(f"{self._path}: {error.strerror}", reason="disk") from error

    def _advice(self, error: OSError) -> str:
        if isinstance(error, PermissionError):
            return f"allow this process to read it (chmod +rx {self._path}), or fix sources[].path"
        return "create it, or fix sources[].path"

    def _settled(self, found: Found, young: dict[Unit, float]) -> bool:
        """Whether nobody seems to write to the file any more.

        Its age counts only if the two clocks agree; if not, it counts for how long it was seen unchanged.
        """
        if not self._watch:
            return True
        if self._clock.now().timestamp() - found.mtime_ns / 1e9 >= self._settle_seconds:
            return True
        now = self._clock.monotonic()
        first = self._young.get(found.unit, now)
        if now - first >= self._settle_seconds or len(young) >= _REMEMBERED:
            return True
        young[found.unit] = first
        return False

    def _may_try(self, unit: Unit) -> bool:
        return self._failed.get(unit, 0.0) <= self._clock.monotonic()

    # -- one file --------------------------------------------------------------------------------------------------

    def _file(self, unit: Unit, found: Found, parcel: Parcel) -> Iterator[Batch]:
        """The file's items, put into the parcel; a batch each time it is full."""
        origin = self._shown if found.path == str(self._path) else f"{self._shown}/{found.name}"
        try:
            with open(found.path, "rb", buffering=0) as stream:
                if self._watch and not found.is_still(os.fstat(stream.fileno())):
                    return
                reading = Reading(
                    stream,
                    origin=origin,
                    version=unit.version,
                    size=found.size,
                    limits=self._limits,
                    wanted=self._wanted,
                )
                problems: list[Item] = []
                for item in reading:
                    if isinstance(item, Malformed) and item.origin == reading.whole:
                        problems.append(item)
                        continue
                    yield from parcel.put(item)
                if self._watch and not found.is_still(os.fstat(stream.fileno())):
                    _log.debug("changed while it was read", extra={"source": self.name, "file": found.name})
                    return
        except FileNotFoundError:
            return
        except OSError as error:
            yield from parcel.put(self._unreadable(unit, error.strerror or type(error).__name__, origin))
            return
        for problem in problems:
            yield from parcel.put(problem)
        parcel.finish(unit, reading.passed_over)
        self._failed.pop(unit, None)
        if parcel.full:
            yield parcel.take()

    def _unreadable(self, unit: Unit, error: str, origin: str) -> Malformed:
        """Quarantined, and not finished: once somebody allows it, it is read."""
        if len(self._failed) >= _REMEMBERED:
            self._failed.pop(next(iter(self._failed)))
        self._failed[unit] = self._clock.monotonic() + _RETRY
        return Malformed("unreadable", error, f"{origin} ({unit.version})")
