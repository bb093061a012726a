"""What is measured: each function makes its rows, and the figure beside each is a reference of the same run."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, generate_latest

from bench.corpora import dense
from exporter.services import LOOKOUT_METRICS
from tests.e2e.processes import Exporter, FakeLookup, all_ended, eventually, free_port, get
from tests.e2e.trail import PRINCIPALS, SAMPLES, drop, events

__all__ = ["Row", "memory", "peak", "scrape", "settings", "start", "throughput"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``goal`` is that of the project's design, for the reader to compare."""

    what: str
    measured: str
    reference: str = ""
    goal: str = ""


class _Accepts(http.server.BaseHTTPRequestHandler):
    """The cheapest OTLP/HTTP receiver: it takes everything and looks at nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name the base class gives
        pass


@contextmanager
def receiver() -> Iterator[str]:
    """Its address while it runs."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Accepts)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def resident(pid: int) -> float:
    """VmRSS in MB (of a million bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def peak(pid: int) -> float:
    """VmHWM in MB (of a million bytes): the most it ever held; 0 once it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return 0.0


def settings(folder: Path, source: dict[str, Any], sink: dict[str, Any], port: int, **more: object) -> dict[str, Any]:
    return {
        "sources": [source],
        "sink": sink,
        "state": {"type": "sqlite", "path": str(folder / "state.db")},
        "web": {"listen_address": f"127.0.0.1:{port}"},
        **more,
    }


def memory(folder: Path) -> Iterator[Row]:
    """Idle: LookupEvents polled every second, a few events long delivered, OTLP over HTTP."""
    lookup = FakeLookup(events(50, seed=21), folder=folder)
    with all_ended(lookup), receiver() as endpoint:
        lookup.serve()
        source = {
            "name": "history",
            "type": "lookup",
            "regions": ["us-east-1"],
            "poll_interval_seconds": 1,
            "endpoint_url": lookup.url,
        }
        config = settings(folder, source, {"type": "otlp", "endpoint": endpoint}, free_port())
        exporter = Exporter(config, folder=folder)
        with all_ended(exporter):
            exporter.serve()
            eventually("the events", lambda: exporter.value("cloudtrail_exporter_events_exported_total") == 50)
            time.sleep(20)
            seen = []
            for _ in range(9):
                seen.append(resident(exporter.pid))
                time.sleep(0.25)
    bare = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    time.sleep(0.5)
    reference = resident(bare.pid)
    bare.communicate(b"\n")
    yield Row(
        "idle memory, lookup source, OTLP/http, after 20 s",
        f"{statistics.median(seen):.1f} MB",
        f"python alone {reference:.1f} MB",
        "<= 75 MB",
    )


def start(folder: Path) -> Iterator[Row]:
    """From exec to the first 200 of /-/ready on samples/, each time with a new ledger; console sink to /dev/null."""
    took = []
    for turn in range(5):
        here = folder / f"start{turn}"
        here.mkdir()
        port = free_port()
        source = {"name": "samples", "type": "files", "path": str(SAMPLES)}
        exporter = Exporter(settings(here, source, {"type": "console"}, port), folder=here)
        exporter.log = Path(os.devnull)
        with all_ended(exporter):
            began = time.monotonic()
            exporter.start()
            eventually("ready", lambda: get(f"http://127.0.0.1:{port}/-/ready")[0] == 200, every=0.005)  # noqa: B023
            took.append(time.monotonic() - began)
    bare = _median_run("pass")
    boto3 = _median_run("import boto3")
    yield Row(
        "cold start to ready on samples/",
        f"{statistics.median(took):.2f} s",
        f"python alone {bare:.2f} s, import boto3 {boto3:.2f} s",
        "<= 1.0 s",
    )


def _median_run(code: str) -> float:
    took = []
    for _ in range(5):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True)
        took.append(time.monotonic() - began)
    return statistics.median(took)


def throughput(folder: Path) -> Iterator[Row]:
    """Every record wanted: 20 files of 3,000 records drained into an OTLP/JSON file, ledger with full sync."""
    corpus = dense(folder / "dense")
    began = time.monotonic()
    for path in corpus.paths:
        json.loads(gzip.decompress(path.read_bytes()))
    reference = corpus.records / (time.monotonic() - began)

    source = {"name": "dense", "type": "files", "path": str(corpus.folder)}
    config = settings(folder, source, {"type": "file", "path": str(folder / "out.jsonl")}, free_port())
    drain = Exporter(config, folder=folder, command="drain", name="drain")
    most = 0.0
    with all_ended(drain):
        began = time.monotonic()
        drain.start()
        while drain.exit_code() is None:
            most = max(most, peak(drain.pid))
            time.sleep(0.05)
        took = time.monotonic() - began
        assert drain.finish() == 0, drain.said()
    rate = corpus.records / took
    yield Row(
        f"drain {corpus.records:,} wanted records, file to file",
        f"{rate:,.0f} records/s, peak {most:.0f} MB",
        f"gunzip and json.loads {reference:,.0f} records/s ({rate / reference:.2f} of it)",
        ">= 37,000/s",
    )


def scrape(folder: Path) -> Iterator[Row]:
    """GET /metrics with 1,000 event series and more, over HTTP, uncompressed: as text and as OpenMetrics."""
    trail = folder / "wide"
    names, accounts = list(LOOKOUT_METRICS.operations), [f"{number:012}" for number in range(7)]
    records = events(len(names) * len(PRINCIPALS) * len(accounts), seed=23)
    labels = [(name, kind, account) for name in names for kind in PRINCIPALS for account in accounts]
    for record, (name, kind, account) in zip(records, labels, strict=True):
        record |= {"eventName": name, "recipientAccountId": account}
        record["userIdentity"]["type"] = kind
    drop(trail, "wide.json.gz", records)
    source = {"name": "wide", "type": "files", "path": str(trail)}
    more = {"metrics": {"extra_labels": ["account_id"], "zero_seconds": 0}}
    config = settings(folder, source, {"type": "file", "path": str(folder / "wide.jsonl")}, free_port(), **more)
    exporter = Exporter(config, folder=folder, name="wide")
    with all_ended(exporter):
        exporter.serve()
        eventually("all counted", lambda: exporter.value("cloudtrail_events_total") == len(records))
        took: dict[str, list[float]] = {"text/plain": [], "application/openmetrics-text;version=1.0.0": []}
        for accept, seconds in took.items():
            request = urllib.request.Request(f"{exporter.url}metrics", headers={"Accept": accept})
            for _ in range(30):
                began = time.monotonic()
                with urllib.request.urlopen(request, timeout=5) as reply:
                    text = reply.read().decode()
                seconds.append(time.monotonic() - began)
        series = sum(not line.startswith("#") for line in text.splitlines())
        exemplars = text.count("# {event_id=")
        assert exemplars >= len(records)

    registry = CollectorRegistry()
    counter = Counter("cloudtrail_events", "x", ("event_source", "event_name", "principal_type"), registry=registry)
    for number in range(1_000):
        counter.labels("lookoutmetrics.amazonaws.com", f"Operation{number}", "AssumedRole").inc()
    plain = []
    for _ in range(30):
        began = time.monotonic()
        generate_latest(registry)
        plain.append(time.monotonic() - began)
    text_ms, openmetrics_ms = (statistics.median(seconds) * 1000 for seconds in took.values())
    yield Row(
        f"scrape, {series:,} series in all, {exemplars:,} with an exemplar",
        f"text {text_ms:.1f} ms, OpenMetrics {openmetrics_ms:.1f} ms",
        f"prometheus-client, 1,000 counters as text, no HTTP {statistics.median(plain) * 1000:.1f} ms",
        "<= 15 ms at 1,000",
    )
