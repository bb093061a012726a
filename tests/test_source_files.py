"""The files source: the conformance suite, and what is its own: folders, versions, files being written, permissions."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.contract import Batch, Partition, Source, Unit
from exporter.errors import Blocked
from exporter.reading import Limits
from exporter.record import Document, Malformed
from exporter.sources.files import FilesSource
from exporter.sources.parcel import BATCH_BYTES, BATCH_ITEMS, BATCH_UNITS
from exporter.testing.clock import ManualClock
from exporter.testing.scripted import event
from exporter.testing.source import MemoryProgress, SourceContract, uids_of

HERE = Partition("trail", "files")


def trail(*numbers: int) -> bytes:
    return b'{"Records":[' + b",".join(event(number) for number in numbers) + b"]}"


def write(path: Path, data: bytes, *, age: float = 3600, clock: ManualClock | None = None) -> Path:
    """A file last changed so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    changed = (clock or ManualClock()).now().timestamp() - age
    os.utime(path, (changed, changed))
    return path


def source(path: Path, clock: ManualClock | None = None, **settings: Any) -> FilesSource:
    limits = settings.pop("limits", Limits())
    return FilesSource(name="trail", path=path, limits=limits, clock=clock or ManualClock(), **settings)


def read(source: FilesSource, progress: MemoryProgress | None = None) -> list[Batch]:
    """One round, committed as it goes."""
    progress = progress or MemoryProgress()
    batches = []
    for batch in source.read(HERE, progress):
        progress.commit(batch)
        batches.append(batch)
    return batches


def numbers(batches: list[Batch]) -> list[int]:
    return sorted(int(uid.rsplit("-", 1)[1]) for uid in uids_of(batches))


def problems(batches: list[Batch]) -> list[tuple[str, str]]:
    items = [item for batch in batches for item in batch.items]
    return [(item.reason, item.origin) for item in items if isinstance(item, Malformed)]


def finished(batches: list[Batch]) -> list[str]:
    return [unit.name for batch in batches for unit in batch.finished]


class TestConformance(SourceContract):
    """The laws of every source, over a folder with each kind of file."""

    malformed = 2

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write(tmp_path / "a" / "one.json.gz", gzip.compress(trail(*range(1500))))
        write(tmp_path / "a" / "two.json", trail(2000, 2001).replace(b'"event-2000"', b"event-2000"))
        write(tmp_path / "b" / "cut.json.gz", gzip.compress(trail(*range(3000, 3400)))[:-9])
        write(tmp_path / "b" / "lines.jsonl", b"\n".join(event(number) for number in range(4000, 5200)))
        write(tmp_path / "b" / "again.json", trail(1, 2, 3))
        return tmp_path

    @pytest.fixture
    def open_source(self, folder: Path) -> Callable[[], Source]:
        return lambda: source(folder)

    @pytest.fixture
    def expected(self) -> set[str]:
        known = [*range(1500), 2001, *range(3000, 3400), *range(4000, 5200)]
        return {f"111122223333/event-{number}" for number in known} - self.lost()

    @staticmethod
    def lost() -> set[str]:
        """What of the cut file lies behind the cut, by a reader that knows nothing of ours."""
        import zlib

        plain = zlib.decompressobj(31).decompress(gzip.compress(trail(*range(3000, 3400)))[:-9])
        return {f"111122223333/event-{number}" for number in range(3000, 3400) if event(number) not in plain}


# -- what is read ------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_with_everything_below_it(tmp_path: Path):
    """Names decide only whether a file is looked at; its content decides what it is."""
    for number, name in enumerate(("x.json", "y/z/x.jsonl", "x.json.gz", "x.jsonl.gz", "x.gz", "X.JSON")):
        write(tmp_path / name, gzip.compress(trail(number)) if number % 2 else trail(number))
    assert numbers(read(source(tmp_path))) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "name", [".hidden.json", ".hidden/x.json", "x.json.gz.part", "x.json.tmp", "README.md", "make.py", "x", "x.json~"]
)
def test_other_names_are_left_alone(tmp_path: Path, name: str):
    """Hidden, half-copied and foreign files are no trail files."""
    write(tmp_path / name, trail(1))
    assert read(source(tmp_path)) == []


@pytest.mark.parametrize("name", ["x", "x.json", "events.txt"])
def test_a_single_file_is_read_whatever_its_name(tmp_path: Path, name: str):
    """A path that is a file was meant; the unit has its name, the origin its path."""
    path = write(tmp_path / name, trail(1))
    [batch] = read(source(path))
    assert [item.origin for item in batch.items] == [f"{path}#1"]
    assert finished([batch]) == [name]


def test_units_are_named_below_the_folder_with_size_and_time(tmp_path: Path):
    """The unit is the file in this version."""
    path = write(tmp_path / "a" / "x.json", trail(1))
    about = path.stat()
    assert read(source(tmp_path))[0].finished == (Unit("a/x.json", f"{about.st_size}-{about.st_mtime_ns}"),)


def test_links_are_followed_and_do_not_lead_in_circles(tmp_path: Path):
    """A folder is entered once, a linked file is read, a link to nothing or to itself is nothing."""
    write(tmp_path / "real" / "deep" / "x.json", trail(1))
    write(tmp_path / "elsewhere", trail(2))
    root = tmp_path / "real"
    (root / "up").symlink_to(root, target_is_directory=True)
    (root / "deep" / "top").symlink_to(tmp_path / "real", target_is_directory=True)
    (root / "linked.json").symlink_to(tmp_path / "elsewhere")
    (root / "gone.json").symlink_to(tmp_path / "nothing")
    (root / "self.json").symlink_to(root / "self.json")
    batches = read(source(root))
    assert numbers(batches) == [1, 2]
    assert problems(batches) == []


def test_a_pipe_is_not_opened(tmp_path: Path):
    """Only regular files are read: a named pipe would hold the reader for ever."""
    os.mkfifo(tmp_path / "pipe.json")
    assert read(source(tmp_path)) == []


def test_a_name_that_is_not_utf8_is_read(tmp_path: Path):
    """Its odd bytes are escaped where people and databases see it."""
    name = os.fsencode(tmp_path) + b"/odd\xff.json"
    with open(name, "wb") as stream:
        stream.write(trail(1))
    os.utime(name, (0, 0))
    [batch] = read(source(tmp_path))
    assert finished([batch]) == ["odd\\xff.json"]
    assert batch.items[0].origin == f"{tmp_path}/odd\\xff.json#1"


def test_a_digest_counts_as_passed_over(tmp_path: Path):
    """A digest file is finished, with one thing that was not wanted."""
    write(tmp_path / "d.json", b'{"digestStartTime":"a","digestEndTime":"b","logFiles":[]}')
    [batch] = read(source(tmp_path))
    assert (batch.items, batch.passed_over, finished([batch])) == ((), {"digest": 1}, ["d.json"])


# -- batches -----------------------------------------------------------------------------------------------------------


def test_small_files_share_a_batch(tmp_path: Path):
    """A batch takes many small files and finishes all of them, but not more than it may."""
    for number in range(BATCH_UNITS + 10):
        write(tmp_path / f"{number:04}.json", trail(number))
    first, second = read(source(tmp_path))
    assert (len(first.finished), len(second.finished)) == (BATCH_UNITS, 10)
    assert numbers([first, second]) == list(range(BATCH_UNITS + 10))


def test_only_the_last_batch_of_a_large_file_finishes_it(tmp_path: Path):
    """A process that dies between two batches reads the file again."""
    write(tmp_path / "x.jsonl", b"\n".join(event(number) for number in range(2 * BATCH_ITEMS + 1)))
    batches = read(source(tmp_path))
    assert [len(batch.items) for batch in batches] == [BATCH_ITEMS, BATCH_ITEMS, 1]
    assert [len(batch.finished) for batch in batches] == [0, 0, 1]
    assert {batch.after for batch in batches} == {None}


def test_batches_are_bounded_in_bytes(tmp_path: Path):
    """Large records make smaller batches."""
    write(tmp_path / "x.jsonl", b"\n".join(event(number, pad="x" * 500_000) for number in range(20)))
    batches = read(source(tmp_path))
    assert numbers(batches) == list(range(20))
    assert (
        max(sum(len(item.data) for item in batch.items if isinstance(item, Document)) for batch in batches)
        <= BATCH_BYTES
    )


# -- watching ----------------------------------------------------------------------------------------------------------


def test_a_new_file_is_found_and_known_ones_are_not_read_again(tmp_path: Path):
    """The next round brings what came since."""
    write(tmp_path / "1.json", trail(1))
    files, progress = source(tmp_path), MemoryProgress()
    assert numbers(read(files, progress)) == [1]
    assert read(files, progress) == []
    write(tmp_path / "sub" / "2.json", trail(2))
    assert numbers(read(files, progress)) == [2]


def test_a_changed_file_is_read_again(tmp_path: Path):
    """Another size or time is another version; the ledger knows what of it was counted."""
    write(tmp_path / "x.jsonl", event(1) + b"\n", age=100)
    files, progress = source(tmp_path), MemoryProgress()
    read(files, progress)
    write(tmp_path / "x.jsonl", event(1) + b"\n" + event(2) + b"\n", age=50)
    assert numbers(read(files, progress)) == [1, 2]


def test_a_young_file_is_left_for_the_next_round(tmp_path: Path):
    """It may still be being written; a cut file is no damage then."""
    clock = ManualClock()
    write(tmp_path / "x.json", trail(1)[:-20], age=0.2)
    files = source(tmp_path, clock, settle_seconds=1.0)
    assert read(files) == []
    write(tmp_path / "x.json", trail(1), age=0.2)
    clock.advance(1.0)
    assert numbers(read(files)) == [1]


def test_a_file_from_the_future_is_read_once_it_stays_unchanged(tmp_path: Path):
    """A clock that is behind postpones a file until it was seen unchanged for the time, not for ever."""
    clock = ManualClock()
    write(tmp_path / "x.json", trail(1), age=-86_400)
    files = source(tmp_path, clock, settle_seconds=1.0)
    assert read(files) == []
    clock.advance(2.0)
    assert numbers(read(files)) == [1]


def test_without_watching_a_young_file_is_read_now(tmp_path: Path):
    """`drain` takes everything as it lies there."""
    write(tmp_path / "x.json", trail(1), age=0)
    write(tmp_path / "y.json", trail(2), age=-86_400)
    assert numbers(read(source(tmp_path, watch=False))) == [1, 2]


def test_a_file_that_changes_while_it_is_read_is_not_judged(tmp_path: Path):
    """What was read of it stands; it is neither finished nor damaged, and comes again in its new version."""
    cut = b'{"Records":[' + b",".join(event(number) for number in range(1200))
    path = write(tmp_path / "x.json", cut)
    files, progress = source(tmp_path), MemoryProgress()
    batches = files.read(HERE, progress)
    first = [next(batches)]
    with path.open("ab") as stream:
        stream.write(b"," + event(1200) + b"]}")
    rest = list(batches)
    assert (finished(first + rest), problems(first + rest)) == ([], [])
    write(path, path.read_bytes(), age=10)
    again = read(files, progress)
    assert numbers(again) == list(range(1201))
    assert finished(again) == ["x.json"]


def test_a_file_that_vanishes_is_skipped(tmp_path: Path):
    """Between being found and being opened a file may go: the others are read."""
    for number in range(3):
        write(tmp_path / f"{number}.json", trail(number))

    class Vanishing(MemoryProgress):
        def unfinished(self, units: Any) -> Any:
            (tmp_path / "1.json").unlink()
            return super().unfinished(units)

    assert numbers(read(source(tmp_path), Vanishing())) == [0, 2]


def test_a_large_folder_slows_the_rounds_down(tmp_path: Path):
    """Looking takes at most a twentieth of the time: the pause grows with what a fruitless look costs."""

    class Slow(ManualClock):
        def monotonic(self) -> float:
            self.advance(0.5)
            return super().monotonic()

    slow, quick = source(tmp_path, Slow(), interval=2.0), source(tmp_path, interval=2.0)
    read(slow)
    read(quick)
    assert slow.interval == pytest.approx(10.0)
    assert quick.interval == 2.0


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_missing_folder_holds_the_line(tmp_path: Path):
    """Blocked says the path and what to do; check says it as a finding."""
    missing = tmp_path / "nowhere"
    with pytest.raises(Blocked, match=r"nowhere is not there; create it, or fix sources\[\]\.path") as caught:
        read(source(missing))
    assert caught.value.reason == "not_found"
    [finding] = source(missing).check()
    assert (finding.level, finding.fix) == ("error", "create it, or fix sources[].path")


def test_a_folder_that_comes_later_is_read(tmp_path: Path):
    """The source needs no restart when the folder is created."""
    files = source(tmp_path / "later")
    with pytest.raises(Blocked):
        read(files)
    write(tmp_path / "later" / "x.json", trail(1))
    assert numbers(read(files)) == [1]


def test_check_of_an_empty_folder_warns(tmp_path: Path):
    """Nothing to read is no error: files may come."""
    [finding] = source(tmp_path).check()
    assert finding.level == "warning"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_may_not_be_read_is_told_once_and_read_when_it_may(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    """Quarantined as unreadable, the neighbours read, not finished: a chmod later brings it in."""
    write(tmp_path / "good.json", trail(1))
    bad = write(tmp_path / "sub" / "bad.json", trail(2))
    locked = [str(bad if kind == "file" else bad.parent)]
    denied = PermissionError(13, "Permission denied")
    real_open, real_scandir = open, os.scandir

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **more: Any) -> Any:
            if str(path) in locked:
                raise denied
            return real(path, *args, **more)

        return call

    # Not by chmod: the tests may run as root, who may read everything.
    monkeypatch.setattr("builtins.open", guarded(real_open))
    monkeypatch.setattr(os, "scandir", guarded(real_scandir))
    clock = ManualClock()
    files, progress = source(tmp_path, clock), MemoryProgress()
    batches = read(files, progress)
    assert numbers(batches) == [1]
    [(reason, origin)] = problems(batches)
    assert reason == "unreadable"
    assert origin.startswith(locked[0])
    assert read(files, progress) == []
    locked.clear()
    clock.advance(120)
    assert numbers(read(files, progress)) == [2]


def test_the_root_that_may_not_be_listed_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A permission on the whole folder is for the operator, not for quarantine."""

    def denied(path: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(Blocked, match="may not be listed") as caught:
        read(source(tmp_path))
    assert caught.value.reason == "access_denied"


def test_whole_file_problems_name_the_version(tmp_path: Path):
    """So a repaired file is another item in quarantine."""
    path = write(tmp_path / "x.json.gz", gzip.compress(trail(*range(50)))[:-9])
    batches = read(source(tmp_path))
    about = path.stat()
    assert problems(batches) == [("truncated", f"{path} ({about.st_size}-{about.st_mtime_ns})")]
    assert finished(batches) == ["x.json.gz"]


def test_limits_are_applied(tmp_path: Path):
    """A file over a limit is quarantined and finished; its neighbours are read."""
    packed = gzip.compress(trail(*range(100)))
    write(tmp_path / "large.json.gz", packed)
    write(tmp_path / "small.json.gz", gzip.compress(trail(7)))
    batches = read(source(tmp_path, limits=Limits(file_bytes=len(packed) - 1)))
    assert numbers(batches) == [7]
    assert [reason for reason, _ in problems(batches)] == ["file_too_large"]
    assert sorted(finished(batches)) == ["large.json.gz", "small.json.gz"]


_MEASURE = """
import sys
from pathlib import Path
from exporter.clock import SystemClock
from exporter.contract import Partition
from exporter.reading import Limits
from exporter.sources.files import FilesSource
from exporter.testing.source import MemoryProgress

source = FilesSource(name="trail", path=Path(sys.argv[1]), limits=Limits(), clock=SystemClock(), watch=False)
count = sum(len(batch.items) for batch in source.read(Partition("trail", "files"), MemoryProgress()))
# Not getrusage: its maximum outlives exec, and would be that of the test process we were forked from.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(count, int(peak.split()[1]) // 1024)
"""


def test_memory_of_a_large_file_on_one_line_is_flat(tmp_path: Path):
    """300 MB of JSON on one line go through batches in a process that stays under 120 MB, its test kit included."""
    rng = random.Random(7)
    block = b",".join(event(number, pad=f"{rng.getrandbits(200):x}") for number in range(10_000))
    times = 300_000_000 // len(block) + 1
    with gzip.open(tmp_path / "x.json.gz", "wb", compresslevel=1) as stream:
        stream.write(b'{"Records":[' + block)
        for _ in range(times - 1):
            stream.write(b"," + block)
        stream.write(b"]}")
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path)],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    count, peak = json.loads("[" + done.stdout.strip().replace(" ", ",") + "]")
    assert count == times * 10_000
    assert peak < 120
