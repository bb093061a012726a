"""Real processes under test: started with a log file, waited for by what they say, stopped or killed, started again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools" / "bin"
#: The console script of the environment the tests run in.
EXPORTER = Path(sys.executable).with_name("cloudtrail-exporter")

T = TypeVar("T")


def free_port() -> int:
    """A port nobody listens on now. For servers that cannot tell which one the kernel gave them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(what: str, attempt: Callable[[], T | None], *, seconds: float = 60.0, every: float = 0.1) -> T:
    """Try until the attempt gives something true; fail with what was waited for when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        result = attempt()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain for: {what}")
        time.sleep(every)


def get(url: str, *, timeout: float = 5.0) -> tuple[int, str]:
    """Status and body of a GET; (0, why) when nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as reply:
            return int(reply.status), reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except (urllib.error.URLError, OSError) as error:
        return 0, str(error)


class Process:
    """One program: it may be started, ended and started again; everything it says is in ``log``."""

    def __init__(self, name: str, argv: Sequence[str | Path], *, folder: Path, env: Mapping[str, str] = {}) -> None:
        self.name = name
        self.argv = [str(part) for part in argv]
        self.log = folder / f"{name}.log"
        self.env = {**os.environ, **env}
        self._running: subprocess.Popen[bytes] | None = None
        self._said = 0

    @property
    def pid(self) -> int:
        assert self._running is not None, f"{self.name} does not run"
        return self._running.pid

    def said(self) -> str:
        """What it has written since it was started last."""
        return self.log.read_bytes()[self._said :].decode(errors="replace")

    def start(self) -> None:
        assert self._running is None, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._said = log.tell()
            self._running = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.env, cwd=ROOT
            )

    def wait_for(self, pattern: str, *, seconds: float = 30.0) -> re.Match[str]:
        """The first match in what it says; fails at once, showing its log, when it ends before."""

        def look() -> re.Match[str] | None:
            ended = self.exit_code()
            found = re.search(pattern, self.said())
            if found is None and ended is not None:
                raise AssertionError(f"{self.name} ended with {ended}")
            return found

        try:
            return eventually(f"{self.name} to say {pattern!r}", look, seconds=seconds, every=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{self.said()[-4000:]}") from None

    def exit_code(self) -> int | None:
        return self._running.poll() if self._running else None

    def finish(self, *, seconds: float = 60.0) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self._running is not None, f"{self.name} does not run"
        try:
            code = self._running.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} still runs after {seconds:.0f} s:\n{self.said()[-4000:]}") from None
        self._running = None
        return code

    def terminate(self, *, seconds: float = 30.0) -> int:
        """SIGTERM; its exit code."""
        assert self._running is not None, f"{self.name} does not run"
        self._running.send_signal(signal.SIGTERM)
        return self.finish(seconds=seconds)

    def kill(self) -> None:
        """SIGKILL: it learns nothing of it."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None


class Exporter(Process):
    """The program itself, by its console script, on a port that the kernel chooses once and every restart keeps."""

    def __init__(
        self, config: Mapping[str, Any], *, folder: Path, command: str = "run", name: str = "exporter"
    ) -> None:
        path = folder / f"{name}.yaml"
        # JSON is YAML: what is written here is what the user's file would say.
        path.write_text(json.dumps(config, indent=2))
        environment = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONUNBUFFERED": "1",
        }
        super().__init__(name, [EXPORTER, command, "--config", path], folder=folder, env=environment)
        self.url = ""

    def serve(self) -> None:
        """Start, and wait until it says where it listens."""
        if self.url:
            self.env["CLOUDTRAIL_EXPORTER_WEB__LISTEN_ADDRESS"] = self.url.removeprefix("http://").rstrip("/")
        self.start()
        self.url = self.wait_for(r"listening on (http://127\.0\.0\.1:\d+/)")[1]

    def ready(self) -> bool:
        return get(f"{self.url}-/ready")[0] == 200

    def value(self, metric: str) -> float:
        """The sum of one metric over its label sets, as /metrics says it now; 0 when there is none."""
        lines = get(f"{self.url}metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{metric}[{{ ]", line))


class Collector(Process):
    """A real OpenTelemetry Collector that writes what it receives to a file, one export request per line."""

    def __init__(self, *, folder: Path) -> None:
        self.file = folder / "collected.jsonl"
        self.http = f"http://127.0.0.1:{free_port()}"
        self.grpc = f"http://127.0.0.1:{free_port()}"
        self._health = f"127.0.0.1:{free_port()}"
        config = {
            "extensions": {"health_check": {"endpoint": self._health}},
            "receivers": {
                "otlp": {
                    "protocols": {
                        "http": {"endpoint": self.http.removeprefix("http://")},
                        "grpc": {"endpoint": self.grpc.removeprefix("http://")},
                    }
                }
            },
            "exporters": {"file": {"path": str(self.file), "append": True, "flush_interval": "100ms"}},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "extensions": ["health_check"],
                "pipelines": {"logs": {"receivers": ["otlp"], "exporters": ["file"]}},
            },
        }
        path = folder / "collector.yaml"
        path.write_text(json.dumps(config, indent=2))
        super().__init__("collector", [TOOLS / "otelcol", "--config", path], folder=folder)

    def serve(self) -> None:
        self.start()
        self.wait_for("Everything is ready")
        eventually("the Collector to be healthy", lambda: get(f"http://{self._health}/")[0] == 200)

    def uids(self) -> list[str]:
        """The ``log.record.uid`` of every log record in its file, repeats included."""
        return [uid for record in logged(self.file) for uid in [attribute(record, "log.record.uid")] if uid]


class Prometheus(Process):
    """A real Prometheus that scrapes one address every second into a folder of its own."""

    def __init__(self, target: str, *, folder: Path) -> None:
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {"job_name": "cloudtrail-exporter", "static_configs": [{"targets": [target]}]},
            ],
        }
        path = folder / "prometheus.yaml"
        path.write_text(json.dumps(config, indent=2))
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}/"
        super().__init__(
            "prometheus",
            [
                TOOLS / "prometheus",
                f"--config.file={path}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={address}",
            ],
            folder=folder,
        )

    def serve(self) -> None:
        self.start()
        self.wait_for("Server is ready to receive web requests")

    def query(self, promql: str) -> dict[tuple[str, ...], float]:
        """Label values, ordered by label name -> value, for an instant query."""
        status, body = get(f"{self.url}api/v1/query?{urllib.parse.urlencode({'query': promql})}")
        answer = json.loads(body) if status else {}
        assert answer.get("status") == "success", f"{promql}: {status} {body}"
        return {
            tuple(value for _, value in sorted(series["metric"].items())): float(series["value"][1])
            for series in answer["data"]["result"]
        }


class FakeLookup(Process):
    """The LookupEvents server of tests/fakes, as a process of its own; events can be added while it runs."""

    def __init__(self, events: Sequence[Mapping[str, Any]], *, folder: Path) -> None:
        path = folder / "history.jsonl"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        argv: list[str | Path] = [sys.executable, "-m", "tests.fakes.lookup_events", "--port", "0", "--events", path]
        super().__init__("lookup", argv, folder=folder, env={"PYTHONUNBUFFERED": "1"})
        self.url = ""

    def serve(self) -> None:
        self.start()
        self.url = self.wait_for(r"http://127\.0\.0\.1:\d+")[0]

    def add(self, events: Sequence[Mapping[str, Any]]) -> None:
        body = "".join(json.dumps(event) + "\n" for event in events).encode()
        request = urllib.request.Request(f"{self.url}/_add", data=body, method="POST")
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert reply.status < 300, reply.read()


def logged(path: Path) -> Iterator[dict[str, Any]]:
    """Every log record in a file of OTLP/JSON lines; a last line that is still being written is left out."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            return
        for resource in json.loads(line).get("resourceLogs", []):
            for scope in resource.get("scopeLogs", []):
                yield from scope.get("logRecords", [])


def attribute(record: Mapping[str, Any], key: str) -> str:
    """One string attribute of a log record in OTLP/JSON; "" when it is not there."""
    for pair in record.get("attributes", []):
        if pair["key"] == key:
            return str(pair["value"].get("stringValue", ""))
    return ""


@contextlib.contextmanager
def all_ended(*processes: Process) -> Iterator[None]:
    """Whatever still runs at the end is killed."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
