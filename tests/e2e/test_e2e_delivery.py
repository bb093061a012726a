"""Nothing lost, counters exact, with the real Collector and the real Prometheus, while processes are killed."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Report
from tests.e2e.processes import Collector, Exporter, FakeLookup, Prometheus, all_ended, eventually
from tests.e2e.trail import SAMPLES, Oracle, drop, events, sample_records, uid_of, visible_after

COUNTS = "sum by (event_name, principal_type) (cloudtrail_events_total)"
FAILED_EXPORTS = "cloudtrail_exporter_otlp_export_failures_total"
READ = "sum by (source) (cloudtrail_exporter_events_read_total)"
ACCOUNTED = " + ".join(
    f"sum by (source) (cloudtrail_exporter_events_{fate}_total)"
    for fate in ("exported", "filtered", "duplicate", "quarantined")
)


def configuration(folder: Path, trail: Path, lookup: FakeLookup, sink: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "services": ["lookoutmetrics.amazonaws.com"],
        "sources": [
            {"name": "trail", "type": "files", "path": str(trail), "poll_interval_seconds": 0.5},
            {
                "name": "history",
                "type": "lookup",
                "regions": ["us-east-1"],
                "start": "-15m",
                "poll_interval_seconds": 1,
                "endpoint_url": lookup.url,
            },
        ],
        "sink": dict(sink),
        "state": {"type": "sqlite", "path": str(folder / "state.db")},
        "web": {"listen_address": "127.0.0.1:0"},
        # One Prometheus: a new series need be at 0 in one scrape only.
        "metrics": {"zero_seconds": 0},
        "log": {"format": "text"},
    }


def target(exporter: Exporter) -> str:
    return exporter.url.removeprefix("http://").rstrip("/")


def missing(collector: Collector, oracle: Oracle) -> int:
    return len(oracle.uids - set(collector.uids()))


def wait_for_all(collector: Collector, oracle: Oracle) -> None:
    try:
        eventually("the Collector to hold every event", lambda: missing(collector, oracle) == 0)
    except AssertionError as error:
        raise AssertionError(f"{error}; {missing(collector, oracle)} of {len(oracle.uids)} are not there") from None


def counted(prometheus: Prometheus) -> dict[tuple[str, str], int]:
    """What Prometheus says of every label set that is not at 0."""
    return {(key[0], key[1]): int(value) for key, value in prometheus.query(COUNTS).items() if value}


def wait_for_counts(prometheus: Prometheus, oracle: Oracle) -> dict[tuple[str, str], int]:
    expected = dict(oracle.counts)
    try:
        eventually("Prometheus to answer the exact counts", lambda: counted(prometheus) == expected)
    except AssertionError as error:
        got = counted(prometheus)
        differing = {
            key: (expected.get(key, 0), got.get(key, 0))
            for key in expected.keys() | got.keys()
            if expected.get(key) != got.get(key)
        }
        raise AssertionError(f"{error}; (oracle, Prometheus) differ: {differing}") from None
    return counted(prometheus)


def wait_for_balance(prometheus: Prometheus) -> dict[tuple[str, ...], float]:
    """Until read = exported + filtered + duplicate + quarantined for both sources; what was read by each."""

    def balanced() -> bool:
        difference = prometheus.query(f"({READ}) - ({ACCOUNTED})")
        return len(difference) == 2 and not any(difference.values())

    eventually("the books to balance", balanced)
    return prometheus.query(READ)


def table(oracle: Oracle, got: Mapping[tuple[str, str], int], uids: list[str]) -> list[list[object]]:
    """The comparison for people: by operation, by principal type, in all."""
    rows: list[list[object]] = [["", "oracle", "Prometheus"]]
    for part in (0, 1):
        expected, answered = Counter[str](), Counter[str]()
        for key, value in oracle.counts.items():
            expected[key[part]] += value
        for key, value in got.items():
            answered[key[part]] += value
        rows += [[name, expected[name], answered[name]] for name in sorted(expected | answered)]
    rows.append([f"all calls, {len(oracle.counts)} label sets", oracle.counts.total(), sum(got.values())])
    rows.append(["", "oracle", "Collector"])
    rows.append(["log records by uid", len(oracle.uids), len(set(uids))])
    rows.append(["log records sent again", "", len(uids) - len(set(uids))])
    return rows


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    """A copy of samples/: test data may be added to it."""
    folder = tmp_path / "trail"
    shutil.copytree(SAMPLES, folder)
    return folder


def test_nothing_is_lost_or_miscounted_while_exporter_and_collector_die_and_return(
    tmp_path: Path, trail: Path, need: Callable[[str], None], report: Report
) -> None:
    """Two kills of the exporter and an outage of the Collector later, every uid is there and every count is exact."""
    need("otelcol")
    need("prometheus")
    oracle = Oracle()
    oracle.add(sample_records())
    first, late = events(120, seed=1), events(10, seed=2)
    during, after, big = events(40, seed=3), events(60, seed=4), events(10_000, seed=5)
    # The newest of the first reach us by the trail too, as they would in an account that has both.
    drop(trail, "overlap.json.gz", first[:50])
    oracle.add(first + late)

    collector = Collector(folder=tmp_path)
    lookup = FakeLookup([*first, *visible_after(15, late)], folder=tmp_path)
    lookup.serve()
    exporter = Exporter(
        configuration(tmp_path, trail, lookup, {"type": "otlp", "endpoint": collector.http}), folder=tmp_path
    )
    with all_ended(exporter, collector, lookup):
        collector.serve()
        exporter.serve()
        prometheus = Prometheus(target(exporter), folder=tmp_path)
        with all_ended(prometheus):
            prometheus.serve()
            eventually("the first events", lambda: len(collector.uids()) > 100)

            assert collector.terminate() == 0
            lookup.add(during)
            drop(trail, "during.json.gz", during[20:] + after[:20])
            oracle.add(during + after[:20])
            eventually("a refused export", lambda: exporter.value(FAILED_EXPORTS) > 0)
            exporter.kill()
            exporter.serve()
            eventually("a refused export after the restart", lambda: exporter.value(FAILED_EXPORTS) > 0)
            collector.serve()
            wait_for_all(collector, Oracle(uids=oracle.uids - {uid_of(event) for event in late}))

            lookup.add(after)
            drop(trail, "big.json.gz", big)
            oracle.add(after + big)
            before = len(collector.uids())
            eventually("a part of the big file", lambda: len(collector.uids()) > before, every=0.01)
            exporter.kill()
            arrived = len(set(collector.uids()))
            exporter.serve()
            wait_for_all(collector, oracle)
            wait_for_counts(prometheus, oracle)
            wait_for_balance(prometheus)

            # A clean stop and another start: everything is read again where a look-back says so, nothing is sent again.
            sent = len(collector.uids())
            assert exporter.terminate() == 0
            restarted = time.time()
            exporter.serve()
            eventually(
                "a scrape of the new process",
                lambda: max(prometheus.query("process_start_time_seconds").values(), default=0) > restarted - 1,
            )
            eventually("a poll of the new process", lambda: prometheus.query(READ).get(("history",), 0) > 0)
            got = wait_for_counts(prometheus, oracle)
            uids = collector.uids()

            rows = [*table(oracle, got, uids), ["log records there at the second kill", "", arrived]]
            report("OTLP over http/protobuf, one outage, two kill -9, one restart", rows)
            assert set(uids) == oracle.uids
            assert len(uids) == sent
            # Only what was in flight at a kill may be there again, once for each kill.
            assert max(Counter(uids).values()) <= 3
            assert exporter.terminate() == 0


def test_grpc_delivers_the_same(tmp_path: Path, need: Callable[[str], None], report: Report) -> None:
    """Both sources over OTLP/gRPC, a kill in between: the same uids and counts."""
    need("otelcol")
    need("prometheus")
    trail = tmp_path / "trail"
    history = events(80, seed=11)
    archive = events(700, seed=12, newest=datetime(2025, 9, 30, tzinfo=UTC))
    drop(trail, "one.json.gz", archive[:400] + history[:30])
    oracle = Oracle()
    oracle.add(history + archive)

    collector = Collector(folder=tmp_path)
    lookup = FakeLookup(history, folder=tmp_path)
    lookup.serve()
    exporter = Exporter(
        configuration(tmp_path, trail, lookup, {"type": "otlp", "protocol": "grpc", "endpoint": collector.grpc}),
        folder=tmp_path,
    )
    with all_ended(exporter, collector, lookup):
        collector.serve()
        exporter.serve()
        prometheus = Prometheus(target(exporter), folder=tmp_path)
        with all_ended(prometheus):
            prometheus.serve()
            eventually("the first file", lambda: len(collector.uids()) >= 400)
            drop(trail, "two.json.gz", archive[300:])
            exporter.kill()
            exporter.serve()
            wait_for_all(collector, oracle)
            got = wait_for_counts(prometheus, oracle)
            wait_for_balance(prometheus)
            uids = collector.uids()
            report("OTLP over gRPC, one kill -9", table(oracle, got, uids))
            assert set(uids) == oracle.uids
            assert max(Counter(uids).values()) <= 2
            assert exporter.terminate() == 0
