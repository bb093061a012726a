"""What real Prometheus servers make of /metrics: new series, pairs of servers, exemplars, restarts, lint."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from tests.e2e.conftest import Report
from tests.e2e.processes import TOOLS, Exporter, Prometheus, all_ended, eventually, get, logged
from tests.e2e.trail import drop, events, uid_of

#: Seconds between two scrapes of the two servers of a pair, and for how long a new series is at 0.
FAST, SLOW, ZERO = 1, 4, 7
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
OPERATION = 'cloudtrail_events_total{event_name="%s",principal_type="IAMUser"}'
CODE = 'cloudtrail_event_errors_total{error_code="%s"}'


class Server(Prometheus):
    """One of several Prometheus servers, at an interval of its own, with exemplars."""

    def __init__(self, target: str, *, folder: Path, seconds: int) -> None:
        here = folder / f"prometheus-{seconds}s"
        here.mkdir()
        super().__init__(target, folder=here)
        path = here / "prometheus.yaml"
        config = json.loads(path.read_text())
        config["global"]["scrape_interval"] = f"{seconds}s"
        path.write_text(json.dumps(config))
        self.seconds = seconds
        self.argv.append("--enable-feature=exemplar-storage")

    def one(self, promql: str) -> float | None:
        """The only value an instant query gives; None: it gives none."""
        values = list(self.query(promql).values())
        assert len(values) < 2, f"{promql}: {values}"
        return values[0] if values else None

    def exemplars(self, series: str) -> list[dict[str, Any]]:
        given = urllib.parse.urlencode({"query": series, "start": "0", "end": "4102444800"})
        body = json.loads(get(f"{self.url}api/v1/query_exemplars?{given}")[1])
        return [exemplar for each in body["data"] for exemplar in each["exemplars"]]


def calls(name: str, count: int, *, seed: int, code: str = "") -> list[dict[str, Any]]:
    """So many calls of one operation by one principal type."""
    made = events(count, seed=seed)
    for each in made:
        each["eventName"] = name
        each["userIdentity"] = {"type": "IAMUser", "accountId": each["recipientAccountId"], "userName": "mira"}
        each.pop("errorCode", None)
        if code:
            each["errorCode"] = code
    return made


@contextmanager
def pair(folder: Path) -> Iterator[tuple[Exporter, Path, list[Server]]]:
    """An exporter that has published a first file, and two servers that both have scraped it."""
    trail = folder / "trail"
    drop(trail, "first.json.gz", calls("CreateAlert", 5, seed=71))
    config = {
        "sources": [{"name": "trail", "type": "files", "path": str(trail), "poll_interval_seconds": 0.2}],
        "sink": {"type": "file", "path": str(folder / "out.jsonl")},
        "state": {"type": "sqlite", "path": str(folder / "state.db")},
        "web": {"listen_address": "127.0.0.1:0"},
        "metrics": {"zero_seconds": ZERO},
        "log": {"format": "text"},
    }
    exporter = Exporter(config, folder=folder)
    with all_ended(exporter):
        exporter.serve()
        target = exporter.url.removeprefix("http://").rstrip("/")
        servers = [Server(target, folder=folder, seconds=seconds) for seconds in (FAST, SLOW)]
        with all_ended(*servers):
            for server in servers:
                server.serve()
            for server in servers:
                eventually("a scrape", lambda server=server: server.one(OPERATION % "CreateAlert") == 5)  # type: ignore[misc]
            yield exporter, trail, servers


def test_both_servers_of_a_pair_see_a_new_event_type_in_increase(
    tmp_path: Path, need: Callable[[str], None], report: Report
) -> None:
    """An operation and an error code nobody knew: each server has 0 first and then the count, so it sees the rise."""
    need("prometheus")
    with pair(tmp_path) as (_, trail, servers):
        new = calls("InventedOperation", 3, seed=72, code="InventedException")
        drop(trail, "new.json.gz", new)
        rows: list[list[object]] = [["scraped every", "first", "now", "increase, events", "increase, errors"]]
        for server in servers:
            operation, code = OPERATION % "InventedOperation", CODE % "InventedException"
            for series in (operation, code):
                eventually(f"{series} at its count", lambda s=server, q=series: s.one(q) == 3)  # type: ignore[misc]
                assert server.one(f"min_over_time({series}[5m])") == 0
                assert server.one(f"resets({series}[5m])") == 0
                eventually("its rise", lambda s=server, q=series: (s.one(f"increase({q}[1m])") or 0) > 0)  # type: ignore[misc]
            rises = [server.one(f"increase({series}[1m])") or 0 for series in (operation, code)]
            rows.append([f"{server.seconds} s", 0, server.one(operation), *(f"{rise:.2f}" for rise in rises)])
        report(f"A new event type, two Prometheus servers, held at 0 for {ZERO} s", rows)

        # The exemplar is the event counted last, and its log record is there.
        logs = {uid_of(event): event["eventID"] for event in new}
        published = {record_uid(record) for record in logged(tmp_path / "out.jsonl")}
        assert logs.keys() <= published
        for server in servers:
            eventually("an exemplar", lambda server=server: server.exemplars(OPERATION % "InventedOperation"))  # type: ignore[misc]
            for series in (OPERATION % "InventedOperation", CODE % "InventedException"):
                (exemplar,) = server.exemplars(series)
                assert exemplar["labels"]["event_id"] in logs.values()
                assert float(exemplar["value"]) == 1
            assert "out-of-order exemplar" not in server.said()


def record_uid(record: dict[str, Any]) -> str:
    found = [each for each in record["attributes"] if each["key"] == "log.record.uid"]
    return str(found[0]["value"]["stringValue"])


def test_a_restart_looks_like_no_reset_and_loses_no_rise(
    tmp_path: Path, need: Callable[[str], None], report: Report
) -> None:
    """Killed while a series is held at 0: whoever had the 0 sees the rise; no series falls, nothing counts twice."""
    need("prometheus")
    with pair(tmp_path) as (exporter, trail, servers):
        fast = servers[0]
        drop(trail, "new.json.gz", calls("InventedOperation", 3, seed=73))
        series = OPERATION % "InventedOperation"
        eventually("the 0", lambda: fast.one(series) == 0, every=0.05)
        exporter.kill()
        exporter.serve()
        for server in servers:
            eventually("the count", lambda server=server: server.one(series) == 3)  # type: ignore[misc]
        eventually("the rise", lambda: (fast.one(f"increase({series}[1m])") or 0) > 0)
        drop(trail, "later.json.gz", calls("InventedOperation", 2, seed=74) + calls("CreateAlert", 1, seed=75))
        for server in servers:
            eventually("the later ones", lambda server=server: server.one(series) == 5)  # type: ignore[misc]
            eventually("the known one", lambda server=server: server.one(OPERATION % "CreateAlert") == 6)  # type: ignore[misc]
            assert set(server.query("resets(cloudtrail_events_total[5m])").values()) == {0}
        first = [server.one(f"min_over_time({series}[5m])") for server in servers]
        report(
            "A kill while a new event type is held at 0",
            [
                ["scraped every", "first seen at", "now"],
                *[[f"{s.seconds} s", f, s.one(series)] for s, f in zip(servers, first, strict=True)],
            ],
        )
        assert first[0] == 0


@pytest.mark.parametrize(
    ("samples", "increase"),
    [("_ _ 5 5 5 5 5", 0), ("0 0 5 5 5 5 5", 5), ("0 0 5 5 0 0 5", 10)],
    ids=["born at its value", "born at zero", "falls back to zero"],
)
def test_what_increase_makes_of_each_way_to_show_a_series(
    tmp_path: Path, need: Callable[[str], None], samples: str, increase: float
) -> None:
    """Five events: seen as none, as five, or as ten. Why a series begins at 0 and never falls back to it (ADR 13)."""
    need("promtool")
    (tmp_path / "rules.yaml").write_text("groups: []\n")
    case = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": "events_total", "values": samples}],
                "promql_expr_test": [
                    {
                        "expr": "increase(events_total[6m])",
                        "eval_time": "6m",
                        "exp_samples": [{"labels": "{}", "value": increase}],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump(case))
    done = subprocess.run(
        [TOOLS / "promtool", "test", "rules", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_of_a_running_process_is_clean(tmp_path: Path, need: Callable[[str], None]) -> None:
    """promtool has nothing to say of the text; OpenMetrics, which promtool does not read, passes the strict parser."""
    need("promtool")
    need("prometheus")
    with pair(tmp_path) as (exporter, _, servers):
        done = subprocess.run(
            [TOOLS / "promtool", "check", "metrics"],
            input=page(exporter, ""),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        names = {family.name for family in parse_openmetrics(page(exporter, OPENMETRICS))}
        assert {"cloudtrail_events", "cloudtrail_exporter_build", "process_cpu_seconds"} <= names
        # Both servers ask for OpenMetrics, and take all of it.
        for server in servers:
            assert server.one("up") == 1
            assert server.one("scrape_samples_scraped == scrape_samples_post_metric_relabeling") is not None


def page(exporter: Exporter, accept: str) -> str:
    request = urllib.request.Request(f"{exporter.url}metrics", headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return str(reply.read().decode())
