"""Archives of a whole organization, of which one record in a thousand is wanted: `drain` beside the bare work.

The references run in this process, file by file, on one thread: ISA-L's gunzip as it is called everywhere (the whole
file at once), the same in steps of 64 KiB, which is faster because the text stays in the processor's cache, and
``json.loads`` of the text. `drain` is measured as its user sees it; what it takes over an empty folder is told apart,
so that the rate does not depend on how much was made to measure with.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor, decompress

from bench.corpora import Corpus, one_large, organization, small_files
from bench.rows import Row, peak, settings
from tests.e2e.processes import Exporter, all_ended, free_port

__all__ = ["large", "sift", "small"]

_STEP = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Drained:
    """One run of drain: seconds and MB at its peak."""

    seconds: float
    peak: float


def sift(folder: Path) -> Iterator[Row]:
    """100 files of 3,000 records."""
    corpus = organization(folder / "organization")
    yield from _beside(corpus, folder, "organization archive", goal=">= 0.85 x gunzip on one core, 1.7 x on two")


def small(folder: Path) -> Iterator[Row]:
    """10,000 files of 20 records in the median."""
    corpus = small_files(folder / "small")
    yield from _beside(corpus, folder, "small files", goal=">= 10,000 files/s per core")


def large(folder: Path) -> Iterator[Row]:
    """One file of a billion bytes."""
    corpus = one_large(folder / "large")
    reference = corpus.plain / _seconds(corpus, _in_steps)
    empty = _drain(folder, Corpus(folder / "nothing", 0, 0, 0, 0), cores=1)
    drained = _drain(folder, corpus, cores=1)
    rate = corpus.plain / max(0.001, drained.seconds - empty.seconds)
    yield Row(
        "drain one file of 1 GB of JSON, one core",
        f"{rate / 1e6:,.0f} MB/s, peak {drained.peak:.0f} MB",
        f"ISA-L in steps {reference / 1e6:,.0f} MB/s ({rate / reference:.2f} of it); idle peak {empty.peak:.0f} MB",
        "<= 120 MB",
    )


def _beside(corpus: Corpus, folder: Path, name: str, *, goal: str) -> Iterator[Row]:
    at_once = corpus.plain / _seconds(corpus, _at_once)
    in_steps = corpus.plain / _seconds(corpus, _in_steps)
    loads = corpus.plain / _seconds(corpus, _loads)
    for cores in range(1, min(2, os.cpu_count() or 1) + 1):
        empty = _drain(folder, Corpus(folder / "nothing", 0, 0, 0, 0), cores=cores)
        drained = _drain(folder, corpus, cores=cores)
        seconds = max(0.001, drained.seconds - empty.seconds)
        rate = corpus.plain / seconds
        yield Row(
            f"drain {name}, {corpus.files:,} files, {corpus.plain / 1e6:,.0f} MB, {cores} core{'s'[: cores - 1]}",
            f"{rate / 1e6:,.0f} MB/s, {corpus.files / seconds:,.0f} files/s, peak {drained.peak:.0f} MB "
            f"(and {empty.seconds:.1f} s to start)",
            f"ISA-L {at_once / 1e6:,.0f} MB/s ({rate / at_once:.2f} of it), in steps {in_steps / 1e6:,.0f} "
            f"({rate / in_steps:.2f}), json.loads {loads / 1e6:,.0f} ({rate / loads:.1f} times it)",
            goal,
        )


def _seconds(corpus: Corpus, work: Callable[[bytes], None]) -> float:
    paths = corpus.paths
    began = time.monotonic()
    for path in paths:
        work(path.read_bytes())
    return time.monotonic() - began


def _at_once(data: bytes) -> None:
    decompress(data, DECOMP_GZIP)


def _in_steps(data: bytes) -> None:
    engine = IgzipDecompressor(flag=DECOMP_GZIP)
    while not engine.eof:
        engine.decompress(data, _STEP)
        data = b""


def _loads(data: bytes) -> None:
    json.loads(decompress(data, DECOMP_GZIP))


def _drain(folder: Path, corpus: Corpus, *, cores: int) -> _Drained:
    """A run with a new ledger, held to so many cores; what it says it read and published has to be what is there."""
    corpus.folder.mkdir(exist_ok=True)
    here = folder / f"drain{time.monotonic_ns()}"
    here.mkdir()
    source = {"name": "archive", "type": "files", "path": str(corpus.folder)}
    sink = {"type": "file", "path": str(here / "out.jsonl")}
    # CloudTrail's own files have at most 50 MB; the one of a billion bytes has more.
    config = settings(here, source, sink, free_port(), limits={"file_bytes": 1_000_000_000})
    drain = Exporter(config, folder=here, command="drain", name="drain")
    most = 0.0
    with all_ended(drain):
        began = time.monotonic()
        drain.start()
        os.sched_setaffinity(drain.pid, sorted(os.sched_getaffinity(0))[:cores])
        while drain.exit_code() is None:
            most = max(most, peak(drain.pid))
            time.sleep(0.01)
        seconds = time.monotonic() - began
        assert drain.finish() == 0, drain.said()
    assert f"read {corpus.records}, published {corpus.wanted}, " in drain.said(), drain.said()
    return _Drained(seconds, most)
