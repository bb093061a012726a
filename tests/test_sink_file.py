"""The file: whole lines on disk, whatever happens in between."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from exporter.contract import Record
from exporter.errors import Blocked, Permanent
from exporter.mapping import Mapper
from exporter.otel import ReadableLogRecord
from exporter.sinks import file as file_module
from exporter.sinks.file import FileSink
from exporter.testing.sink import a_record
from tests.fakes.otlp_receiver import uids_of

MAPPER = Mapper()
MakeSink = Callable[[Path], FileSink]


@pytest.fixture
def make() -> Iterator[MakeSink]:
    """Makes sinks and closes them afterwards."""
    made: list[FileSink] = []

    def sink(path: Path) -> FileSink:
        made.append(FileSink(MAPPER, path=path))
        return made[-1]

    yield sink
    for one in made:
        one.close()


def uids(path: Path) -> list[str]:
    """What the file holds, read by protobuf's own reader; every line must be whole."""
    assert path.read_bytes().endswith(b"\n")
    return [uid for line in path.open("rb") for uid in uids_of(json_format.Parse(line, ExportLogsServiceRequest()))]


def uid(number: int) -> str:
    return a_record(number).identity.uid


# -- lines --------------------------------------------------------------------------------------------------------


def test_each_send_is_one_line(make: MakeSink, tmp_path: Path) -> None:
    """One export request per line, as the Collector's file exporter writes."""
    sink = make(tmp_path / "x.jsonl")
    sink.send([a_record(1), a_record(2)])
    sink.send([a_record(3)])
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    assert [list(json.loads(line)) for line in lines] == [["resourceLogs"], ["resourceLogs"]]


def test_a_file_that_is_there_is_appended_to(make: MakeSink, tmp_path: Path) -> None:
    """A restart adds, it does not overwrite."""
    path = tmp_path / "x.jsonl"
    for number in (1, 2):
        sink = make(path)
        sink.send([a_record(number)])
        sink.close()
    assert uids(path) == [uid(1), uid(2)]


def test_the_file_is_not_for_everybody(make: MakeSink, tmp_path: Path) -> None:
    """Audit data: others on the machine cannot read it."""
    make(tmp_path / "x.jsonl").send([a_record(1)])
    assert stat.S_IMODE((tmp_path / "x.jsonl").stat().st_mode) & 0o027 == 0


def test_the_line_is_synced_before_send_returns(
    make: MakeSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment of the sync the whole line is in the file."""
    path = tmp_path / "x.jsonl"
    sink = make(path)
    sink.send([a_record(1)])
    synced: list[int] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        real(fd)

    monkeypatch.setattr(file_module.os, "fsync", fsync)
    sink.send([a_record(2)])
    assert synced == [path.stat().st_size]


# -- what a kill -9 leaves behind ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 5, 16, 17, 60, -30, -3])
def test_a_torn_last_line_is_cut_off(make: MakeSink, tmp_path: Path, cut: int) -> None:
    """A line that was never accepted goes; everything before it and after it is whole."""
    path = tmp_path / "x.jsonl"
    first = make(path)
    first.send([a_record(1)])
    whole = path.read_bytes()
    first.close()
    path.write_bytes(whole + whole[:cut])
    make(path).send([a_record(2)])
    assert uids(path) == [uid(1), uid(2)]


def test_a_torn_line_longer_than_a_read_is_cut_off(make: MakeSink, tmp_path: Path) -> None:
    """The end of the last whole line is found, however far back."""
    path = tmp_path / "x.jsonl"
    first = make(path)
    first.send([a_record(1)])
    first.close()
    with path.open("ab") as file:
        file.write(b'{"resourceLogs":[' + b"x" * 300_000)
    make(path).send([a_record(2)])
    assert uids(path) == [uid(1), uid(2)]


def test_a_whole_last_line_without_its_end_is_kept(make: MakeSink, tmp_path: Path) -> None:
    """Only the line end is missing: it is added."""
    path = tmp_path / "x.jsonl"
    first = make(path)
    first.send([a_record(1)])
    first.close()
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    make(path).send([a_record(2)])
    assert uids(path) == [uid(1), uid(2)]


def test_what_is_not_ours_is_never_cut(make: MakeSink, tmp_path: Path) -> None:
    """A wrong path costs the other file's owner nothing: what stood there still stands."""
    path = tmp_path / "notes.txt"
    path.write_text("line one\nlast line without an end")
    make(path).send([a_record(1)])
    assert path.read_text().startswith("line one\nlast line without an end\n{")


def test_killed_while_writing_nothing_accepted_is_lost(tmp_path: Path) -> None:
    """A process killed with -9 amid its sends leaves a file that opens to everything it was told was accepted."""
    path = tmp_path / "x.jsonl"
    program = """
        import sys
        from pathlib import Path
        from exporter.mapping import Mapper
        from exporter.sinks.file import FileSink
        from exporter.testing.sink import a_record
        sink = FileSink(Mapper(), path=Path(sys.argv[1]))
        number = 0
        while True:
            sink.send([a_record(number)])
            print(number, flush=True)
            number += 1
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        text=True,
    )
    assert process.stdout is not None
    accepted = [int(process.stdout.readline()) for _ in range(50)]
    process.kill()
    accepted += [int(line) for line in process.stdout if line.endswith("\n")]
    process.stdout.close()
    process.wait()
    sink = FileSink(MAPPER, path=path)
    sink.send([a_record(999_999)])
    sink.close()
    assert {uid(number) for number in accepted} <= set(uids(path))


# -- a disk that fails --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_a_line_that_does_not_reach_the_disk_is_taken_back(
    make: MakeSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """The disk fills up in the middle of a line, or fails at the sync: blocked, and the file is as before."""
    path = tmp_path / "x.jsonl"
    sink = make(path)
    sink.send([a_record(1)])
    before = path.read_bytes()
    real_write, calls = os.write, []

    def write(fd: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) == 1:
            return real_write(fd, bytes(data[:100]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fsync(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(file_module.os, failing, {"write": write, "fsync": fsync}[failing])
        with pytest.raises(Blocked) as caught:
            sink.send([a_record(2)])
    assert caught.value.reason == "disk"
    assert str(tmp_path) in str(caught.value)
    assert path.read_bytes() == before
    sink.send([a_record(2)])
    assert uids(path) == [uid(1), uid(2)]


def test_a_line_that_cannot_be_taken_back_is_cut_at_the_next_open(
    make: MakeSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when undoing fails, the next send finds the torn line and repairs it."""
    path = tmp_path / "x.jsonl"
    sink = make(path)
    sink.send([a_record(1)])
    real_write, calls = os.write, []

    def write(fd: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) == 1:
            return real_write(fd, bytes(data[:100]))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def ftruncate(fd: int, length: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(file_module.os, "write", write)
        patch.setattr(file_module.os, "ftruncate", ftruncate)
        with pytest.raises(Blocked):
            sink.send([a_record(2)])
    assert not path.read_bytes().endswith(b"\n")
    sink.send([a_record(3)])
    assert uids(path) == [uid(1), uid(3)]


def test_a_full_device_blocks(make: MakeSink) -> None:
    """/dev/full: a real write that fails for want of room."""
    with pytest.raises(Blocked) as caught:
        make(Path("/dev/full")).send([a_record(1)])
    assert "make room" in str(caught.value)


def _missing_folder(tmp_path: Path) -> Path:
    return tmp_path / "nowhere" / "x.jsonl"


def _folder_as_file(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def _file_as_folder(tmp_path: Path) -> Path:
    (tmp_path / "plain").write_text("x\n")
    return tmp_path / "plain" / "x.jsonl"


PLACES = {
    "missing_folder": (_missing_folder, "make the folder"),
    "a_folder": (_folder_as_file, "set sink.path to a file in it"),
    "below_a_file": (_file_as_folder, "correct sink.path"),
}


@pytest.mark.parametrize(("place", "fix"), PLACES.values(), ids=PLACES)
def test_a_place_that_cannot_be_written_blocks_and_check_says_so(
    make: MakeSink, tmp_path: Path, place: Callable[[Path], Path], fix: str
) -> None:
    """Sending holds with a hint that names the path; check finds the same and makes nothing."""
    path = place(tmp_path)
    sink = make(path)
    [finding] = sink.check()
    with pytest.raises(Blocked) as caught:
        sink.send([a_record(1)])
    assert finding.level == "error"
    assert fix in finding.fix
    assert fix in str(caught.value)
    assert str(path.parent) in str(caught.value)


def test_a_folder_of_somebody_else_blocks_and_check_says_so(make: MakeSink) -> None:
    """Without permission sending holds with the folder's name; root, who may do all, is not who asks here."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        sink = make(Path(folder) / "x.jsonl")
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            [finding] = sink.check()
            with pytest.raises(Blocked) as caught:
                sink.send([a_record(1)])
        finally:
            if root:
                os.seteuid(0)
    assert (finding.level, finding.fix) == ("error", f"let this user write to {folder}")
    assert folder in str(caught.value)


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.EROFS, "mounted read-only"),
        (errno.EDQUOT, "quota"),
        (errno.ENOSPC, "make room"),
        (errno.EIO, "look into the disk"),
    ],
)
def test_what_the_system_says_leads_to_a_fix(
    make: MakeSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fix: str
) -> None:
    """What cannot be played on every machine: the error of the operating system decides the hint."""

    def refuse(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    sink = make(tmp_path / "x.jsonl")
    monkeypatch.setattr(file_module.os, "open", refuse)
    [finding] = sink.check()
    with pytest.raises(Blocked) as caught:
        sink.send([a_record(1)])
    assert (finding.level, caught.value.reason) == ("error", "disk")
    assert fix in finding.fix
    assert fix in str(caught.value)


def test_check_finds_a_full_volume(make: MakeSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room on the volume is found before anything is sent."""
    real = os.statvfs(tmp_path)

    class Full:
        f_flag, f_blocks, f_bavail, f_frsize = real.f_flag, real.f_blocks, 0, real.f_frsize

    monkeypatch.setattr(file_module.os, "statvfs", lambda path: Full)
    [finding] = make(tmp_path / "x.jsonl").check()
    assert (finding.level, "make room" in finding.fix) == ("error", True)


def test_check_makes_no_file(make: MakeSink, tmp_path: Path) -> None:
    """Trying leaves nothing behind."""
    [finding] = make(tmp_path / "x.jsonl").check()
    assert finding.level == "ok"
    assert list(tmp_path.iterdir()) == []


# -- others at the file -------------------------------------------------------------------------------------------


def test_a_second_writer_blocks(make: MakeSink, tmp_path: Path) -> None:
    """Two processes at one file would take each other's lines for torn: the second one waits."""
    path = tmp_path / "x.jsonl"
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Blocked) as caught:
            make(path).send([a_record(1)])
    assert "another process" in str(caught.value)


@pytest.mark.parametrize("removed", [False, True], ids=["moved", "removed"])
def test_a_rotated_file_is_opened_anew(make: MakeSink, tmp_path: Path, removed: bool) -> None:
    """After logrotate moved or removed it, records go to a new file of the name and none into the void."""
    path = tmp_path / "x.jsonl"
    sink = make(path)
    sink.send([a_record(1)])
    path.rename(tmp_path / "x.jsonl.1")
    if removed:
        (tmp_path / "x.jsonl.1").unlink()
    sink.send([a_record(2)])
    assert uids(path) == [uid(2)]


def test_a_pipe_or_device_takes_lines_too(make: MakeSink, tmp_path: Path) -> None:
    """A named pipe has no end to mend and no disk to sync to."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert make(path).send([a_record(1)]).delivered == 1
        assert os.read(reader, 100_000).endswith(b"\n")
    finally:
        os.close(reader)


def test_what_cannot_be_mapped_is_permanent(tmp_path: Path) -> None:
    """A record the mapping fails on is its own trouble, and the file is not touched."""

    def broken(record: Record) -> ReadableLogRecord:
        raise RuntimeError("no such field")

    with pytest.raises(Permanent) as caught:
        FileSink(broken, path=tmp_path / "x.jsonl").send([a_record(1)])
    assert caught.value.reason == "encode"
    assert list(tmp_path.iterdir()) == []
