"""The scripted day: an archive, its queue and its log group in one process that is killed ten times."""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Report
from tests.e2e.day import BUCKET, GROUP, REGIONS, Driver, scripted_day
from tests.e2e.processes import EXPORTER, Collector, Exporter, Prometheus, all_ended, eventually, get
from tests.e2e.servers import KEY, REGION, SECRET, Minio, Moto, client
from tests.e2e.trail import Oracle

SEED, FILES, BACKLOG, KILLS, SECONDS = 20251009, 2_000, 100, 10, 60.0
COUNTS = "sum by (event_name, principal_type) (cloudtrail_events_total)"
SOURCES = ("archive", "notifications", "log-group")


def configuration(folder: Path, *, s3: str, aws: str, queue_url: str, collector: Collector) -> dict[str, Any]:
    """Three sources. One region is left to the queue: what no message tells of it is for the listing to find."""
    return {
        "sources": [
            {
                "name": "archive",
                "type": "s3",
                "bucket": BUCKET,
                "region": REGION,
                "regions": list(REGIONS[:2]),
                "poll_interval_seconds": 2,
                "endpoint_url": s3,
            },
            {
                "name": "notifications",
                "type": "sqs",
                "queue_url": queue_url,
                "buckets": [BUCKET],
                "visibility_seconds": 10,
                "relist": {"bucket": BUCKET, "poll_interval_seconds": 60, "lag_seconds": 10},
                "endpoint_url": aws,
                "s3_endpoint_url": s3,
            },
            {
                "name": "log-group",
                "type": "logs",
                "log_group": GROUP,
                "region": REGION,
                "start": "-1h",
                "poll_interval_seconds": 2,
                "endpoint_url": aws,
            },
        ],
        "sink": {"type": "otlp", "endpoint": collector.http},
        "state": {"type": "sqlite", "path": str(folder / "state.db")},
        "web": {"listen_address": "127.0.0.1:0"},
        # One Prometheus: a new series need be at 0 in one scrape only.
        "metrics": {"zero_seconds": 0},
        "log": {"format": "text"},
    }


class Lives:
    """Counters of ours begin at 0 in each life; this adds up what each had reached when it was looked at last."""

    def __init__(self) -> None:
        self.sums = Counter[tuple[str, str]]()

    def add(self, exporter: Exporter) -> None:
        self.sums.update(by_source(exporter))

    def of(self, name: str, source: str) -> int:
        return self.sums[f"cloudtrail_exporter_{name}_total", source]


def by_source(exporter: Exporter) -> Counter[tuple[str, str]]:
    """(metric, source) -> value of every counter of ours that is kept by source."""
    found = Counter[tuple[str, str]]()
    for line in get(f"{exporter.url}metrics")[1].splitlines():
        if match := re.match(r'(cloudtrail_exporter_\w+_total)\{(?:.*,)?source="([^"]+)".*\} (\S+)', line):
            found[match[1], match[2]] += int(float(match[3]))
    return found


def quarantined(exporter: Exporter) -> list[Mapping[str, Any]]:
    """What ``cloudtrail-exporter quarantine`` lists."""
    argv = [str(EXPORTER), "quarantine", *exporter.argv[2:]]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=exporter.env, timeout=30)
    return [json.loads(line) for line in done.stdout.splitlines()]


def balanced(exporter: Exporter) -> bool:
    """Whether read = exported + filtered + duplicate + quarantined for each source, and each has read something."""
    values = by_source(exporter)

    def of(name: str, source: str) -> int:
        return values[f"cloudtrail_exporter_events_{name}_total", source]

    fates = ("exported", "filtered", "duplicate", "quarantined")
    return all(of("read", source) == sum(of(fate, source) for fate in fates) > 0 for source in SOURCES)


def wait_for_all(collector: Collector, oracle: Oracle) -> None:
    def missing() -> set[str]:
        return oracle.uids - set(collector.uids())

    try:
        eventually("the Collector to hold every event", lambda: not missing(), seconds=90, every=0.5)
    except AssertionError as error:
        raise AssertionError(f"{error}; of {len(oracle.uids)} these are not there: {sorted(missing())[:20]}") from None


def counted(prometheus: Prometheus) -> dict[tuple[str, str], int]:
    return {(labels[0], labels[1]): int(value) for labels, value in prometheus.query(COUNTS).items() if value}


def test_a_day_of_two_accounts_and_three_regions_survives_ten_kills(
    tmp_path: Path, need: Callable[[str], None], report: Report
) -> None:
    """Late, lost, doubled and spoilt deliveries, the process killed ten times: all events once, the counters exact."""
    need("minio")
    need("otelcol")
    need("prometheus")
    began = time.monotonic()
    day = scripted_day(seed=SEED, files=FILES, now=datetime.now(UTC))
    oracle = day.oracle
    rng = random.Random(SEED)
    minio, moto, collector = Minio(folder=tmp_path), Moto(folder=tmp_path), Collector(folder=tmp_path)
    with all_ended(minio, moto, collector):
        for server in (minio, moto, collector):
            server.serve()
        driver = Driver(
            day,
            s3=client("s3", minio.url),
            sqs=client("sqs", moto.url),
            logs=client("logs", moto.url),
            arrived=collector.uids,
            seconds=SECONDS,
            rng=random.Random(SEED),
        )
        driver.open()
        driver.deliver(BACKLOG)
        config = configuration(tmp_path, s3=minio.url, aws=moto.url, queue_url=driver.queue_url, collector=collector)
        exporter = Exporter(config, folder=tmp_path)
        exporter.env |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        with all_ended(exporter):
            exporter.serve()
            prometheus = Prometheus(exporter.url.removeprefix("http://").rstrip("/"), folder=tmp_path)
            with all_ended(prometheus):
                prometheus.serve()
                driver.start()
                lives = Lives()
                # The last one comes when everything has been written: what nobody was told of is found after it.
                marks = [*sorted(rng.randrange(BACKLOG, FILES) for _ in range(KILLS - 1)), FILES]
                for mark in marks:
                    eventually(
                        f"file {mark}",
                        lambda mark=mark: driver.check() or driver.delivered >= mark,
                        every=0.02,
                        seconds=120,
                    )
                    time.sleep(rng.uniform(0, 0.7))
                    lives.add(exporter)
                    exporter.kill()
                    exporter.serve()
                driver.join(60)
                wait_for_all(collector, oracle)

                spoilt = {f"s3://{BUCKET}/{key}" for key in (day.garbage, day.replaced.key)}
                eventually(
                    "the garbage in quarantine",
                    lambda: (
                        {item["origin"].split(".json.gz")[0] + ".json.gz" for item in quarantined(exporter)} == spoilt
                    ),
                    every=1,
                )
                eventually("the queue to be empty", lambda: driver.waiting() == 0, every=0.5)
                expected = dict(oracle.counts)
                eventually("Prometheus to answer the exact counts", lambda: counted(prometheus) == expected)
                eventually("the books to balance", lambda: balanced(exporter))
                lives.add(exporter)

                uids = collector.uids()
                got = counted(prometheus)
                items = quarantined(exporter)
                report(
                    f"The scripted day: 2 accounts, 3 regions, {KILLS} kill -9, {time.monotonic() - began:.0f} s",
                    [
                        *day.rows(),
                        ["events of the service", len(oracle.uids)],
                        *[[f"read, {source}", lives.of("events_read", source)] for source in SOURCES],
                        *[[f"repeats, {source}", lives.of("events_duplicate", source)] for source in SOURCES],
                        ["found by listing", lives.of("found_by_listing", "notifications")],
                        ["quarantined", len(items)],
                        ["sent again after a kill", len(uids) - len(set(uids))],
                        [f"counted in Prometheus, {len(got)} label sets", sum(got.values())],
                        ["lost", len(oracle.uids - set(uids))],
                    ],
                )
                assert set(uids) == oracle.uids
                assert got == expected
                assert driver.overwritten
                assert lives.of("found_by_listing", "notifications") > 0
                # Only what was in flight at a kill may be there again, once for each.
                assert max(Counter(uids).values()) <= 1 + KILLS
                assert exporter.terminate() == 0
