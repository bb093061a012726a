"""A real process of the exporter, for tests of what only a process has: signals, exit codes, streams, sockets."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

ENVIRONMENT = {
    "PATH": os.environ.get("PATH", ""),
    "HOME": "/nonexistent",
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_EC2_METADATA_DISABLED": "true",
    "PYTHONPATH": str(Path(__file__).parent.parent),
}


class Exporter:
    """`cloudtrail-exporter ARGUMENTS` in a process of its own; leaves nothing behind."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "exporter", *arguments],
            env={**ENVIRONMENT, **(env or {})},
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))

    def __enter__(self) -> Exporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def wait(self, seconds: float = 30) -> int:
        """The exit code; both streams are read to their end."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(10)
        return code

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def until(self, what, seconds: float = 30):
        """The first true result of ``what``; fails when the process ends or the time is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if result := what():
                return result
            if self.process.poll() is not None:
                self.wait()
                if result := what():
                    return result
                raise AssertionError("it ended:\n" + "\n".join(self.err[-20:]))
            time.sleep(0.02)
        raise AssertionError("it did not happen:\n" + "\n".join(self.err[-20:]))

    @property
    def url(self) -> str:
        """The address it says it listens on."""
        return self.until(
            lambda: next(
                (
                    m[1]
                    for line in list(self.err)
                    if (m := re.search(r"listening on (http://\S+?)/?[\"\s]", line + " "))
                ),
                "",
            )
        )

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ready(self) -> bool:
        return self.get("/-/ready")[0] == 200

    def messages(self) -> list[dict[str, object]]:
        """Its log, as JSON lines."""
        return [json.loads(line) for line in list(self.err) if line.startswith("{")]


def write_config(folder: Path, **keys: object) -> Path:
    """A configuration over a folder ``trail``, memory state and console unless told otherwise."""
    import yaml

    (folder / "trail").mkdir(exist_ok=True)
    config = {
        "sources": [
            {
                "name": "trail",
                "type": "files",
                "path": str(folder / "trail"),
                "poll_interval_seconds": 0.1,
                "settle_seconds": 0,
            }
        ],
        "sink": {"type": "console", "format": "json"},
        "state": {"type": "sqlite", "path": str(folder / "state.db")},
        "web": {"listen_address": "127.0.0.1:0"},
        **keys,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
