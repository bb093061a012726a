"""What `make image` says of the image it built: a row per statement, each seen on the image; exit 1 if one fails.

``tools/image.sh`` calls it with the image's root mounted and what buildah says about it in files. Every process of the
exporter here is PID 1 of a container of ``contain.py``.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import ctypes
import datetime
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CLONE_NEWNET = 0x40000000

CONFIG = "/etc/cloudtrail-exporter/config.yaml"
STATE = "/var/lib/cloudtrail-exporter"
RUN = ("run", f"--config={CONFIG}", "--web.listen-address=:10042")
URL = "http://127.0.0.1:10042"

T = TypeVar("T")


class NotSoError(Exception):
    """A statement about the image that does not hold, in words."""


def hold(condition: object, otherwise: str) -> None:
    """Raise :class:`NotSoError` unless ``condition``."""
    if not condition:
        raise NotSoError(otherwise)


@dataclass
class Image:
    """What buildah says, and where the root is mounted."""

    root: Path
    name: str
    base: str
    work: Path
    inspected: dict[str, Any]
    sizes: dict[str, str]
    build_seconds: int
    revision: str
    epoch: int

    @property
    def config(self) -> dict[str, Any]:
        """The configuration a runtime reads."""
        found: dict[str, Any] = self.inspected["Docker"]["config"]
        return found

    @property
    def env(self) -> dict[str, str]:
        """Environment of the image."""
        return dict(pair.split("=", 1) for pair in self.config["Env"])


class Container:
    """A process of the image as PID 1; killed at the end of the ``with`` block."""

    def __init__(
        self,
        image: Image,
        command: Sequence[str],
        *,
        entrypoint: bool = True,
        binds: Sequence[str] = (),
        env: dict[str, str] | None = None,
        user: str = "65532:65532",
        writable_root: bool = False,
        slow_reader: bool = False,
    ) -> None:
        """Start it.

        Args:
            slow_reader: nobody reads its standard output before :meth:`wait`, and little fits into the pipe.
        """
        read, write = os.pipe()
        whole = [*image.config["Entrypoint"], *command] if entrypoint else list(command)
        arguments = ["--root", str(image.root), "--user", user, "--pid-to", str(write)]
        arguments += [part for bind in binds for part in ("--bind", bind)]
        arguments += [
            part for name, value in (image.env | (env or {})).items() for part in ("--env", f"{name}={value}")
        ]
        if writable_root:
            arguments.append("--writable-root")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "contain.py"), *arguments, "--", *whole],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[write],
        )
        os.close(write)
        with os.fdopen(read) as pids:
            self.pid = int(pids.readline() or 0)
        self.executed = time.monotonic()
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=lambda s=stream, k=kept: k.extend(line.rstrip("\n") for line in s), daemon=True)
            for stream, kept in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        if slow_reader:
            fcntl.fcntl(self.stdout, fcntl.F_SETPIPE_SZ, 4096)
        for reader in self._readers[slow_reader:]:
            reader.start()

    @property
    def stdout(self) -> IO[str]:
        """Its standard output."""
        assert self.process.stdout is not None
        return self.process.stdout

    def unread(self) -> int:
        """Bytes it wrote to its standard output that nobody read yet."""
        waiting: int = struct.unpack("i", fcntl.ioctl(self.stdout, termios.FIONREAD, b"\0\0\0\0"))[0]
        return waiting

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def wait(self, seconds: float = 60) -> int:
        """The exit code, once both streams are read to their end."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise NotSoError(f"still running after {seconds:.0f} s") from None
        for reader in self._readers:
            if reader.ident is None:
                reader.start()
            reader.join(10)
        return code

    def kill(self, number: signal.Signals) -> float:
        """Send a signal to PID 1, wait for its end; seconds it took."""
        at = time.monotonic()
        os.kill(self.pid, number)
        self.wait()
        return time.monotonic() - at

    def inside(self, what: Callable[[], T]) -> T:
        """Call it in the container's network, from a thread of its own."""
        result: list[T | BaseException] = []

        def run() -> None:
            try:
                with open(f"/proc/{self.pid}/ns/net") as namespace:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(namespace.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                result.append(what())
            except BaseException as error:
                result.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if isinstance(result[0], BaseException):
            raise result[0]
        return result[0]

    def get(self, path: str) -> tuple[int, str]:
        """Status and text; status 0: nobody answers."""

        def fetch() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(URL + path, timeout=10) as reply:
                    return reply.status, reply.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()
            except OSError as error:
                return 0, str(error)

        try:
            return self.inside(fetch)
        except OSError as error:  # it has ended, and its network with it
            return 0, str(error)

    def until(self, what: Callable[[], T], doing: str, seconds: float = 60) -> T:
        """The first true result."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if result := what():
                return result
            if self.process.poll() is not None:
                self.wait()
                raise NotSoError(f"{doing}: it ended with {self.process.returncode}: {' / '.join(self.err[-5:])}")
            time.sleep(0.02)
        raise NotSoError(f"{doing}: not within {seconds:.0f} s; {self.get('/-/ready')} {' / '.join(self.err[-3:])}")

    def ready(self) -> Container:
        """Wait for /-/ready."""
        self.until(lambda: self.get("/-/ready")[0] == 200, "becoming ready")
        return self

    def status(self) -> dict[str, str]:
        """/proc/PID/status, as this machine sees it."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@dataclass
class Proof:
    """The statements, in the order they are printed; each method returns what it saw or raises."""

    image: Image
    expected: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.expected = json.loads((ROOT / "samples" / "expected.json").read_text())
        self.config = self.image.work / "config.yaml"
        self.config.write_text(self.settings("{type: console, format: json}"))
        self.config.chmod(0o644)

    @staticmethod
    def settings(sink: str) -> str:
        """A configuration over the samples, for the paths a chart mounts at."""
        return (
            "services: [lookoutmetrics.amazonaws.com]\n"
            "sources: [{name: samples, type: files, path: /samples}]\n"
            f"sink: {sink}\n"
            f"state: {{type: sqlite, path: {STATE}/state.db}}\n"
            "metrics: {zero_seconds: 0}\n"
        )

    # What runs -------------------------------------------------------------------------------------------------------

    def state(self, owner: tuple[int, int] = (65532, 65532), mode: int = 0o700) -> Path:
        """A fresh state volume."""
        folder = Path(tempfile.mkdtemp(prefix="state.", dir=self.image.work))
        os.chown(folder, *owner)
        folder.chmod(mode)
        return folder

    def samples(self, state: Path, **more: Any) -> Container:
        """The exporter over the samples: the image's own command, and the configuration by its variable."""
        config = more.pop("config", self.config)
        command = more.pop("command", self.image.config["Cmd"])
        more.setdefault("env", {"CLOUDTRAIL_EXPORTER_CONFIG": CONFIG})
        binds = [f"{config}:{CONFIG}:ro", f"{ROOT / 'samples'}:/samples:ro", f"{state}:{STATE}"]
        return Container(self.image, command, binds=binds, **more)

    def once(self, *command: str, **more: Any) -> Container:
        """Run to the end."""
        with Container(self.image, command, **more) as container:
            container.wait(120)
        return container

    def sh(self, script: str, **more: Any) -> list[str]:
        """Lines a shell inside prints; it has to exit 0."""
        container = self.once("sh", "-c", script, entrypoint=False, **more)
        hold(container.process.returncode == 0, f"exit {container.process.returncode}: {container.err[-3:]}")
        return container.out

    # Counting --------------------------------------------------------------------------------------------------------

    def counted(self, container: Container, *, fates: bool = True) -> None:
        """The page says what samples/README.md says: every event series, and every fate, to the last one.

        Fates count what one process did; after a restart only the event series go on.
        """

        def wrong() -> str:
            page = container.get("/metrics")[1]
            got: collections.Counter[tuple[str, str]] = collections.Counter()
            for labels, value in re.findall(r"^cloudtrail_events_total\{(.*?)\} (\S+)", page, re.MULTILINE):
                pairs = dict(re.findall(r'(\w+)="(.*?)"', labels))
                got[pairs["event_name"], pairs["principal_type"]] += int(float(value))
            want = {(row["event_name"], row["principal_type"]): row["count"] for row in self.expected["events"]}
            books = {
                fate: sum(
                    int(float(value))
                    for value in re.findall(
                        rf"^cloudtrail_exporter_events_{fate}_total(?:\{{.*?\}})? (\S+)", page, re.MULTILINE
                    )
                )
                for fate in ("read", "filtered", "duplicate", "quarantined")
            }
            # Series at 0 are there from the start or for a new label; a count is what is compared.
            if {key: value for key, value in got.items() if value} != want:
                return f"{sum(got.values())} events counted, {sum(want.values())} expected"
            if fates and (off := {k: v for k, v in books.items() if v != self.expected[k]}):
                return f"books {off}"
            return ""

        try:
            container.until(lambda: not wrong(), "counts of samples/README.md", seconds=30)
        except NotSoError as error:
            raise NotSoError(f"{wrong()}; {error}") from None

    # Statements about the files --------------------------------------------------------------------------------------

    def hadolint(self) -> str:
        """The Dockerfile has no finding."""
        done = subprocess.run(
            [str(ROOT / ".venv/bin/hadolint"), "--no-color", str(ROOT / "Dockerfile")],
            capture_output=True,
            text=True,
            check=False,
        )
        hold(done.returncode == 0 and not done.stdout, done.stdout or done.stderr)
        return "clean"

    def size(self) -> str:
        """Whole, and over the base."""
        whole, base = (self.image.sizes[name] for name in (self.image.name, self.image.base))
        venv = subprocess.run(
            ["du", "-s", "--apparent-size", "--block-size=1000000", str(self.image.root / "opt/cloudtrail-exporter")],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()[0]
        return (
            f"{whole}, of which the base {base}, packages and exporter {venv} MB; built in {self.image.build_seconds} s"
        )

    def runs_as(self) -> str:
        """The parts that are contracts: user, entrypoint, command, port, signal, health check."""
        config = self.image.config
        hold(config["User"] == "65532:65532", f"user {config['User']}")
        hold(config["Entrypoint"] == ["cloudtrail-exporter"], f"entrypoint {config['Entrypoint']}")
        hold(config["Cmd"] == ["run", "--web.listen-address=:10042"], f"command {config['Cmd']}")
        hold(list(config["ExposedPorts"]) == ["10042/tcp"], f"ports {config['ExposedPorts']}")
        hold(config["StopSignal"] == "SIGTERM", f"stop signal {config['StopSignal']}")
        hold(config["Healthcheck"]["Test"][:2] == ["CMD", "cloudtrail-exporter"], f"{config.get('Healthcheck')}")
        hold(not config.get("Volumes"), "a VOLUME would lose the ledger in silence")
        hold(self.image.env["STATE_DIRECTORY"] == STATE, "no STATE_DIRECTORY")
        return f"{config['User']}, {' '.join(config['Entrypoint'] + config['Cmd'])}"

    def labels(self) -> str:
        """The OCI labels carry this build."""
        prefix = "org.opencontainers.image."
        labels = {name.removeprefix(prefix): value for name, value in self.image.config["Labels"].items()}
        for name in ("title", "description", "licenses", "version", "created"):
            hold(labels.get(name), f"no label {prefix}{name}")
        hold("source" in labels, "no source label")
        hold(
            labels["revision"] == self.image.revision,
            f"revision {labels['revision']}, built from {self.image.revision}",
        )
        created = datetime.datetime.fromisoformat(labels["created"]).timestamp()
        hold(created == self.image.epoch, f"created {labels['created']} is another commit's time")
        hold(labels["revision"] == self.image.env["CLOUDTRAIL_EXPORTER_REVISION"], "revision differs from environment")
        return f"{labels['version']} at {labels['revision']}, {labels['created']}"

    def nothing_writable(self) -> str:
        """With a root that is writable, its user may write nowhere but in /tmp and the state directory."""
        but = rf"\( -path /tmp -o -path {STATE} \) -prune"
        script = rf"find / -xdev {but} -o ! -type l \( -writable -o -user 65532 \) -print 2>/dev/null"
        found = self.sh(f"{script}; true", writable_root=True)  # find exits 1 where it may not look
        hold(not found, f"{len(found)} writable: {found[:5]}")
        self.sh(f"touch /tmp/a {STATE}/a", writable_root=True)
        (self.image.root / STATE.lstrip("/") / "a").unlink()
        return "0 files outside /tmp and the state directory"

    def no_tools(self) -> str:
        """Neither pip nor compilers nor caches nor tests."""
        names = ("pip", "pip3", "gcc", "cc", "g++", "make", "uv", "curl", "wget", "git")
        found = self.sh(f"for t in {' '.join(names)}; do command -v $t; done; true")
        found += self.sh(
            'for m in pip ensurepip setuptools hatchling; do python3 -c "import $m" 2>/dev/null && echo $m; done; true'
        )
        found += self.sh("find / -xdev -name '*.whl'; ls -A /root/.cache /build /wheels 2>/dev/null; true")
        found += self.sh("find /opt -type d \\( -name test -o -name tests \\)")
        hold(not found, f"found {found}")
        return "no pip, compiler, package cache, wheel or test"

    def bytecode(self) -> str:
        """Each module has bytecode that no file time can make stale, and a start compiles nothing."""
        found = list((self.image.root / "opt/cloudtrail-exporter").glob("lib/*/site-packages/**/*.py"))
        ours = [path for path in found if "/site-packages/exporter/" in str(path)]
        hold(len(ours) > 40, f"only {len(ours)} modules of ours")
        for path in found:
            relative = path.relative_to(self.image.root)
            cached = next(path.parent.glob(f"__pycache__/{path.stem}.cpython-*.pyc"), None)
            if cached is None:
                raise NotSoError(f"/{relative} has none")
            # Bits of the second word: by hash, and not compared with the source. https://peps.python.org/pep-0552/
            hold(cached.read_bytes()[4:8] == b"\1\0\0\0", f"/{relative}: not unchecked-hash")
        container = self.once("python3", "-v", "-m", "exporter", "config", "schema", entrypoint=False)
        compiled = [
            line for line in container.err if line.startswith("# code object from '/") and line.endswith(".py'")
        ]
        loaded = [line for line in container.err if line.startswith("# code object from '/") and line.endswith(".pyc'")]
        hold(container.process.returncode == 0 and loaded, f"exit {container.process.returncode}, {container.err[-2:]}")
        hold(not compiled, f"{len(compiled)} modules compiled at start: {compiled[:3]}")
        return f"{len(found)} modules, {len(ours)} of them ours; of {len(loaded)} loaded none is compiled at start"

    def certificates(self) -> str:
        """TLS finds the system's certificate authorities."""
        (line,) = self.sh("python3 -c 'import ssl; print(len(ssl.create_default_context().get_ca_certs()))'")
        hold(int(line) > 50, f"{line} authorities")
        return f"{line} authorities"

    def extras(self) -> str:
        """The extras are installed and load."""
        (line,) = self.sh(
            'python3 -c \'import grpc, bcrypt; print("grpc", grpc.__version__, "bcrypt", bcrypt.__version__)\''
        )
        return line

    def no_leaks(self) -> str:
        """How packages were reached is neither in a layer nor in the history."""
        sys.path.insert(0, str(HERE))
        from pipconf import CANARY, settings

        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
        ).stdout
        private = {value for name, value in settings(listed)[0].items() if "://" in value and name != "timeout"}
        private |= {os.environ[n] for n in os.environ if n.lower().endswith("_proxy") and "://" in os.environ[n]}
        private.add(str(self.image.work))
        private.add(CANARY)
        text = json.dumps(self.image.inspected)
        for value in (*private, "pip.conf:", "pip-ca.crt:"):
            hold(value not in text, "the history or the configuration has it")
        hold(CANARY in (self.image.work / "pip.conf").read_text(), "the canary was not handed to the build")
        needles, read = [value.encode() for value in private], 0
        for path in self.image.root.rglob("*"):
            relative = path.relative_to(self.image.root)
            if path.is_symlink() or not path.is_file():
                continue
            hold(path.name not in ("pip.conf", "pip-ca.crt"), f"/{relative} is a file of the build")
            data, read = path.read_bytes(), read + 1
            hold(not any(needle in data for needle in needles), f"/{relative} has it")
        return f"history, configuration and {read} files searched"

    # Statements about the process ------------------------------------------------------------------------------------

    def version(self) -> str:
        """`version` says the label's version."""
        container = self.once("version")
        hold(container.process.returncode == 0, f"exit {container.process.returncode}: {container.err}")
        hold(container.out == [self.image.config["Labels"]["org.opencontainers.image.version"]], str(container.out))
        return f"{container.out[0]}, in {time.monotonic() - container.executed:.2f} s"

    def runs_the_samples(self) -> str:
        """Non-root, read-only root, no capabilities: the counts of samples/README.md, ready, healthy."""
        with self.samples(self.state()) as container:
            container.ready()
            seconds = time.monotonic() - container.executed
            self.counted(container)
            status = container.status()
            hold(status["Uid"].split() == ["65532"] * 4 and status["Gid"].split() == ["65532"] * 4, "not 65532")
            hold(not status["Groups"], f"groups {status['Groups']}")
            hold(status["NSpid"].split()[-1] == "1", "not PID 1")
            hold(int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, "has capabilities")
            hold(status["NoNewPrivs"] == "1", "may gain privileges")
            hold(len(container.out) == self.expected["published"], f"{len(container.out)} lines")
            revision = self.image.env["CLOUDTRAIL_EXPORTER_REVISION"]
            hold(f'revision="{revision}"' in container.get("/metrics")[1], "build_info has another revision")
            memory = int(status["VmRSS"].split()[0]) / 1024
            seconds_down = container.kill(signal.SIGTERM)
            hold(container.wait() == 0, f"exit {container.wait()}")
        return (
            f"{self.expected['published']} published, counts as in samples/README.md; ready after {seconds:.1f} s, "
            f"{memory:.0f} MiB, ended in {seconds_down:.1f} s"
        )

    def read_only(self) -> str:
        """The root is read-only in these runs: the statement above is about what it says."""
        lines = self.sh(
            "for f in / /opt/cloudtrail-exporter /etc /var/tmp /home; do touch $f/a 2>&1 || true; done; touch /tmp/a"
        )
        hold(len(lines) == 5 and all("Read-only file system" in line for line in lines), str(lines))
        return "5 places refuse with EROFS, /tmp takes"

    def health_check(self) -> str:
        """The image's HEALTHCHECK, run inside, says well; and not well when nobody answers."""
        test = self.image.config["Healthcheck"]["Test"][1:]
        with self.samples(self.state()) as container:
            container.ready()
            enter = ["nsenter", f"--target={container.pid}", "--all", "--setuid=65532", "--setgid=65532"]
            at = time.monotonic()
            done = subprocess.run(
                [*enter, "env", "-i", *self.image.config["Env"], f"CLOUDTRAIL_EXPORTER_CONFIG={CONFIG}", *test],
                capture_output=True,
                text=True,
                check=False,
            )
            seconds = time.monotonic() - at
            hold(done.returncode == 0, f"exit {done.returncode}: {done.stderr[-200:]}")
        alone = self.once(*test, entrypoint=False)
        hold(alone.process.returncode == 1, f"exit {alone.process.returncode} where nobody answers")
        return f"0 in {seconds:.1f} s; 1 where nobody answers"

    def ends_by(self, number: signal.Signals) -> str:
        """As PID 1: exit 0 within the deadline."""
        with self.samples(self.state()) as container:
            container.ready()
            seconds = container.kill(number)
            hold(container.wait() == 0, f"exit {container.wait()}")
            hold(seconds < 20, f"took {seconds:.1f} s")
        return f"exit 0 after {seconds:.2f} s"

    def ends_early(self) -> str:
        """A signal that comes as soon as the process can know of it, long before imports are done, ends it."""
        waits = []
        for _ in range(3):
            with self.samples(self.state()) as container:

                def caught(container: Container = container) -> bool:
                    return bool(int(container.status()["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)

                while not caught():
                    hold(time.monotonic() - container.executed < 30, "no handler after 30 s")
                    time.sleep(0.001)
                waits.append(time.monotonic() - container.executed)
                hold(container.get("/-/healthy")[0] == 0, "it already serves: too late for this statement")
                container.kill(signal.SIGTERM)
                hold(container.wait() == 0, f"exit {container.wait()}")
        # And by the clock: 50 ms after that first moment imports are under way.
        with self.samples(self.state()) as container:
            time.sleep(max(waits) + 0.05)
            container.kill(signal.SIGTERM)
            hold(container.wait() == 0, f"exit {container.wait()}")
        return f"exit 0; the handler is there {min(waits) * 1000:.0f} to {max(waits) * 1000:.0f} ms after exec"

    def second_signal(self) -> str:
        """Whoever insists is obeyed at once, with the signal's exit code."""
        config = self.image.work / "hanging.yaml"
        sink = "{type: otlp, endpoint: 'http://127.0.0.1:4318', timeout_seconds: 60}"
        config.write_text(self.settings(sink) + "shutdown_seconds: 600\n")
        config.chmod(0o644)
        with self.samples(self.state(), config=config) as container, contextlib.ExitStack() as opened:
            # A receiver that takes the batch and never answers.
            listener = opened.enter_context(container.inside(lambda: socket.create_server(("127.0.0.1", 4318))))
            listener.settimeout(60)
            opened.enter_context(listener.accept()[0])
            os.kill(container.pid, signal.SIGTERM)
            container.until(lambda: any("stopping" in line for line in list(container.err)), "saying that it stops")
            hold(container.process.poll() is None, "it ended at the first one, with a batch in flight")
            seconds = container.kill(signal.SIGTERM)
            hold(container.wait() == 128 + signal.SIGTERM, f"exit {container.wait()}")
            hold(seconds < 5, f"took {seconds:.1f} s")
        return f"exit 143 after {seconds:.2f} s, with a batch in flight"

    def survives(self) -> str:
        """kill -9 when all is done, and again in the middle: the counts stay exact over the same volume."""
        state = self.state()
        with self.samples(state) as container:
            container.ready()
            self.counted(container)
            hold(container.kill(signal.SIGKILL) is not None and container.wait() == 137, f"exit {container.wait()}")
        with self.samples(state) as container:
            container.ready()
            self.counted(container, fates=False)
            container.kill(signal.SIGTERM)
            hold(container.out == [], f"{len(container.out)} published again")
        state = self.state()
        published: set[str] = set()
        with self.samples(state, slow_reader=True) as container:
            container.until(lambda: container.unread() > 1000, "publishing")
            container.kill(signal.SIGKILL)
            published.update(json.loads(line)["uid"] for line in container.out if line.endswith("}"))
            first = len(published)
            hold(0 < first < self.expected["published"], f"{first} were out: not the middle")
        with self.samples(state) as container:
            container.ready()
            self.counted(container, fates=False)
            container.kill(signal.SIGTERM)
            published.update(json.loads(line)["uid"] for line in container.out)
        hold(len(published) == self.expected["published"], f"{len(published)} uids")
        return f"idle: 0 published again; killed after {first} of {len(published)}: none lost, counts exact"

    def no_volume(self) -> str:
        """Without a state volume it refuses in words, and with 2."""
        container = self.once(*RUN, binds=[f"{self.config}:{CONFIG}:ro", f"{ROOT / 'samples'}:/samples:ro"])
        hold(container.process.returncode == 2, f"exit {container.process.returncode}: {container.err[-3:]}")
        text = " ".join(container.err)
        hold("state.path" in text and STATE in text and "Traceback" not in text, text)
        return f"exit 2: {container.err[-1].strip()}"

    def any_user(self) -> str:
        """A user nobody knows, in group 0, as OpenShift does it; the configuration by its flag."""
        with self.samples(self.state(owner=(0, 0), mode=0o2770), user="1000650000:0", command=RUN, env={}) as container:
            container.ready()
            self.counted(container)
            container.kill(signal.SIGTERM)
            hold(container.wait() == 0, f"exit {container.wait()}")
        return "1000650000:0 runs the samples"

    def rows(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Title and statement, in order."""
        yield "hadolint", self.hadolint
        yield "size", self.size
        yield "runs as", self.runs_as
        yield "labels", self.labels
        yield "writable by its user", self.nothing_writable
        yield "left out", self.no_tools
        yield "bytecode", self.bytecode
        yield "certificates", self.certificates
        yield "extras", self.extras
        yield "how packages were reached", self.no_leaks
        yield "version", self.version
        yield "read-only root", self.read_only
        yield "samples, non-root", self.runs_the_samples
        yield "samples, any user", self.any_user
        yield "health check", self.health_check
        yield "PID 1, SIGTERM", lambda: self.ends_by(signal.SIGTERM)
        yield "PID 1, SIGINT", lambda: self.ends_by(signal.SIGINT)
        yield "PID 1, SIGTERM at start", self.ends_early
        yield "PID 1, second signal", self.second_signal
        yield "kill -9, same volume", self.survives
        yield "no state volume", self.no_volume


def main() -> int:
    """Print the table; 1 when a statement does not hold."""
    parser = argparse.ArgumentParser(description="Say what holds of the image, a row each.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--build-seconds", type=int, required=True)
    parser.add_argument("--revision", required=True, help="what the image was built from; may be empty")
    parser.add_argument("--epoch", type=int, required=True)
    given = parser.parse_args()
    images = json.loads((given.work / "images.json").read_text())
    image = Image(
        root=given.root,
        name=given.image,
        base=given.base,
        work=given.work,
        inspected=json.loads((given.work / "image.json").read_text()),
        sizes={name: entry["size"] for entry in images for name in entry["names"] or ()},
        build_seconds=given.build_seconds,
        revision=given.revision,
        epoch=given.epoch,
    )
    proof, failed = Proof(image), 0
    for title, statement in proof.rows():
        try:
            said, mark = statement(), "ok"
        except (NotSoError, OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
            said, mark = f"{type(error).__name__}: {error}" if not isinstance(error, NotSoError) else str(error), "NO"
            failed += 1
        print(f"  {mark:3} {title:26} {said}", flush=True)
    for leftover in given.work.glob("state.*"):
        shutil.rmtree(leftover)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
