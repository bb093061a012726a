"""Every query of the dashboards and every rule, asked of a real Prometheus that scraped the real exporter."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tests.dashboards.board import ANY, Asked, asks, boards, choices, filled, marks, panels, queries
from tests.e2e.conftest import Report
from tests.e2e.processes import ROOT, TOOLS, Collector, Exporter, FakeLookup, Prometheus, all_ended, eventually, get
from tests.e2e.servers import KEY, REGION, SECRET, Moto, client
from tests.e2e.trail import SAMPLES, events

BUCKET, QUEUE, ACCOUNT, SOURCES = "trail-archive", "trail-events", "111122223333", 4
#: What Grafana would put in, with scrapes a second apart.
VALUES = {**ANY, "__rate_interval": "15s", "__range": "5m", "job": ".+", "instance": ".+"}
#: How far back a graph is asked for, in seconds.
BACK = 90

RULE_FILES = sorted((ROOT / "deploy" / "prometheus").glob("*.yaml"))

#: Queries that may answer nothing in this run, and why: by dashboard and panel; with a number, one query of the panel.
MAY_BE_EMPTY: dict[tuple[str, str] | tuple[str, str, int], str] = {
    ("pipeline", "Odd records", 0): "the samples have no record that is odd in this way",
    ("pipeline", "Gaps"): "nothing is skipped",
    ("pipeline", "Gaps, how many"): "nothing is skipped",
    ("pipeline", "Rejected records"): "the Collector takes everything, in one piece",
    ("pipeline", "Worker restarts"): "no bug",
    ("pipeline", "Object failures"): "every object can be read",
    ("pipeline", "Message failures"): "every message can be worked on",
    ("pipeline", "Found by listing only"): "no message is lost",
}


#: Alerts whose condition this run brings about, and how; and some that it must not.
MET = {
    "CloudTrailExporterAccessDenied": "LookupEvents refuses one request",
    "CloudTrailExporterExportFailing": "the Collector is away for a moment",
    "CloudTrailExporterQuarantineGrows": "the samples have a broken record",
    "CloudTrailRootActivity": "root calls in the samples",
    "CloudTrailDestructiveCalls": "Delete calls in the samples",
}
UNMET = {"CloudTrailExporterAbsent", "CloudTrailExporterStalled", "CloudTrailExporterBehindCritical"}


def may_be_empty(board: str, asked: Asked) -> str:
    """Why a query may answer nothing; "": it must answer."""
    keys: tuple[Any, ...] = ((board, asked.panel), (board, asked.panel, asked.index))
    return next((MAY_BE_EMPTY[key] for key in keys if key in MAY_BE_EMPTY), "")


def rules() -> list[tuple[str, str, str]]:
    """(alert or record, its name, expression) of every rule in every rule file there is."""
    return [
        (kind, rule[kind], rule["expr"])
        for path in RULE_FILES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        for kind in ("alert", "record")
        if kind in rule
    ]


def with_rules(prometheus: Prometheus, folder: Path) -> None:
    """Let it evaluate the rule files too, all of them every second, and keep exemplars."""
    path = folder / "prometheus.yaml"
    config = json.loads(path.read_text())
    config["global"]["evaluation_interval"] = "1s"
    config["rule_files"] = []
    for file in RULE_FILES:
        groups = [{**group, "interval": "1s"} for group in yaml.safe_load(file.read_text())["groups"]]
        copy = folder / f"rules-{file.name}"
        copy.write_text(json.dumps({"groups": groups}))
        config["rule_files"].append(str(copy))
    path.write_text(json.dumps(config, indent=2))
    prometheus.argv.append("--enable-feature=exemplar-storage")


def evaluated(prometheus: Prometheus) -> list[dict[str, Any]] | None:
    """Every rule as Prometheus' own rule engine sees it, once all have been evaluated."""
    groups = json.loads(get(f"{prometheus.url}api/v1/rules")[1])["data"]["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    return found if found and all(rule["health"] != "unknown" for rule in found) else None


def ask(prometheus: Prometheus, path: str, **parameters: object) -> list[dict[str, Any]]:
    """The series of an answer that have a number in them; an error of the query is an AssertionError."""
    status, body = get(f"{prometheus.url}api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=30)
    answer = json.loads(body) if status else {}
    assert answer.get("status") == "success", f"{parameters['query']}: {status} {body[:500]}"
    if answer["data"]["resultType"] == "scalar":
        return [answer["data"]]
    return [
        series
        for series in answer["data"]["result"]
        if any(not math.isnan(float(value)) for _, value in series.get("values") or [series["value"]])
    ]


def answer(prometheus: Prometheus, asked: Asked) -> list[dict[str, Any]]:
    """What Grafana would get for a query now."""
    expr = filled(asked.expr, VALUES)
    if asked.instant:
        return ask(prometheus, "query", query=expr)
    now = time.time()
    return ask(prometheus, "query_range", query=expr, start=now - BACK, end=now, step=1)


def configuration(
    folder: Path, *, lookup: FakeLookup, aws: str, queue_url: str, collector: Collector
) -> dict[str, Any]:
    trail = folder / "trail"
    trail.mkdir()
    (folder / "web.yaml").write_text("http_server_config:\n  http2: false\n")
    return {
        "sources": [
            {"name": "files", "type": "files", "path": str(trail), "poll_interval_seconds": 0.5},
            {
                "name": "history",
                "type": "lookup",
                "regions": [REGION],
                "start": "-15m",
                "poll_interval_seconds": 1,
                "endpoint_url": lookup.url,
            },
            {
                "name": "archive",
                "type": "s3",
                "bucket": BUCKET,
                "region": REGION,
                "poll_interval_seconds": 1,
                "endpoint_url": aws,
            },
            {
                "name": "notifications",
                "type": "sqs",
                "queue_url": queue_url,
                "buckets": [BUCKET],
                "endpoint_url": aws,
                "s3_endpoint_url": aws,
            },
        ],
        "sink": {"type": "otlp", "endpoint": collector.http},
        "state": {"type": "sqlite", "path": str(folder / "state.db")},
        "metrics": {"zero_seconds": 3},
        "web": {"listen_address": "127.0.0.1:0", "config_file": str(folder / "web.yaml")},
        "log": {"format": "text"},
    }


def key(index: int) -> str:
    day = time.strftime("%Y/%m/%d", time.gmtime())
    minute = time.strftime("%Y%m%dT%H%MZ", time.gmtime())
    name = f"{ACCOUNT}_CloudTrail_{REGION}_{minute}_{index:016x}.json.gz"
    return f"AWSLogs/{ACCOUNT}/CloudTrail/{REGION}/{day}/{name}"


def trail_file(seed: int) -> bytes:
    return gzip.compress(json.dumps({"Records": events(10, seed=seed)}).encode())


def notification(name: str) -> str:
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}
    return json.dumps({"Records": [{**record, "s3": {"bucket": {"name": BUCKET}, "object": {"key": name}}}]})


def throttle(lookup: FakeLookup) -> None:
    """LookupEvents answers the next requests with a throttling error."""
    body = json.dumps({"region": "*", "faults": ["THROTTLE", "ACCESS_DENIED"]}).encode()
    request = urllib.request.Request(f"{lookup.url}/_fault", data=body, method="POST")
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status < 300


def feed(folder: Path, *, s3: Any, sqs: Any, queue_url: str, lookup: FakeLookup) -> None:
    """Something for every source, when Prometheus has seen them all at 0."""
    shutil.copytree(SAMPLES / "AWSLogs", folder / "trail" / "AWSLogs")
    for index in range(4):
        name = key(index)
        s3.put_object(Bucket=BUCKET, Key=name, Body=trail_file(100 + index))
        sqs.send_message(QueueUrl=queue_url, MessageBody=notification(name))
    # An object that is gone before it is read, and a message that names none.
    sqs.send_message(QueueUrl=queue_url, MessageBody=notification(key(9)))
    sqs.send_message(QueueUrl=queue_url, MessageBody='{"Event": "s3:TestEvent"}')
    # One operation that no table knows.
    lookup.add(
        [
            {**event, "eventName": "RenameAlert"} if index == 0 else event
            for index, event in enumerate(events(20, seed=7))
        ]
    )
    throttle(lookup)


def test_every_query_and_rule_is_answered_by_a_prometheus_that_scraped_the_exporter(
    tmp_path: Path, need: Callable[[str], None], report: Report
) -> None:
    """No query errs; each returns data but those that say why not; so do tables, marks and the choices of variables."""
    need("otelcol")
    need("prometheus")
    asked = [
        (name, one)
        for name, board in boards().items()
        if asks(board, "prometheus")
        for kind in (queries, marks, choices)
        for one in kind(name, board)
    ]
    collector, moto = Collector(folder=tmp_path), Moto(folder=tmp_path)
    lookup = FakeLookup(events(20, seed=6), folder=tmp_path)
    with all_ended(collector, moto, lookup):
        for server in (collector, moto, lookup):
            server.serve()
        s3, sqs = client("s3", moto.url), client("sqs", moto.url)
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key=key(8), Body=trail_file(99))
        queue_url = sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
        config = configuration(tmp_path, lookup=lookup, aws=moto.url, queue_url=queue_url, collector=collector)
        exporter = Exporter(config, folder=tmp_path)
        exporter.env |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        with all_ended(exporter):
            exporter.serve()
            prometheus = Prometheus(exporter.url.removeprefix("http://").rstrip("/"), folder=tmp_path)
            with_rules(prometheus, tmp_path)
            with all_ended(prometheus):
                prometheus.serve()
                seen = "count(count_over_time(cloudtrail_exporter_events_read_total[1m]) > 2)"
                eventually("Prometheus to know every source", lambda: prometheus.query(seen) == {(): SOURCES})
                collector.kill()
                feed(tmp_path, s3=s3, sqs=sqs, queue_url=queue_url, lookup=lookup)
                eventually(
                    "an export to fail", lambda: exporter.value("cloudtrail_exporter_otlp_export_failures_total")
                )
                collector.serve()

                answers: dict[str, list[dict[str, Any]]] = {}
                owing = {one.where: (name, one) for name, one in asked}

                def all_answered() -> bool:
                    """Ask again what had no data yet; done when only those are left that may be empty."""
                    for where, (_, one) in list(owing.items()):
                        answers[where] = answer(prometheus, one)
                        if answers[where]:
                            del owing[where]
                    return all(may_be_empty(name, one) for name, one in owing.values())

                try:
                    eventually("every query to have data", all_answered, seconds=75, every=2)
                except AssertionError as error:
                    left = sorted(where for where, (name, one) in owing.items() if not may_be_empty(name, one))
                    raise AssertionError(f"{error}; these have none:\n" + "\n".join(left)) from None

                starred = exemplars(prometheus, boards()["overview"])
                for one in (one for _, one in owing.values()):
                    # At 0, not missing: the query leaves zeros out, and nothing else is the matter with it.
                    zeros = replace(one, expr=one.expr.replace(") > 0", ")"))
                    assert answer(prometheus, zeros), f"{one.where}: nothing at all, not even 0"

                asked_rules = rules()
                assert {kind for kind, _, _ in asked_rules} == {"alert", "record"}
                for _, _, expr in asked_rules:
                    ask(prometheus, "query", query=expr)
                engine = eventually("every rule to be evaluated", lambda: evaluated(prometheus))
                assert [(rule["name"], rule["lastError"]) for rule in engine if rule["health"] != "ok"] == []
                assert len(engine) == len(asked_rules)
                active = sorted({rule["name"] for rule in engine if rule.get("state", "inactive") != "inactive"})

                table = rows(asked, answers)
                table.append(
                    [
                        "alerts tested (second figure: condition met in this run)",
                        sum(k == "alert" for k, _, _ in asked_rules),
                        len(active),
                    ]
                )
                table.append(["recording rules", sum(k == "record" for k, _, _ in asked_rules), ""])
                table.append(["event ids as exemplars on the Overview", "", len(starred)])
                report("Dashboards and alerts against a real Prometheus", table)
                report("Alerts whose condition was met", [[name] for name in active] or [["none"]])
                report(
                    "Without data in this run, as they may be",
                    [[where, may_be_empty(name, one)] for where, (name, one) in sorted(owing.items())] or [["none"]],
                )
                assert set(MET) - set(active) == set()
                assert UNMET & set(active) == set()
                exact(prometheus, {one.where: one for _, one in asked})
                assert exporter.terminate() == 0


def exemplars(prometheus: Prometheus, board: Mapping[str, Any]) -> set[str]:
    """The event ids Grafana would draw as dots: there are some where a query asks for them."""
    now = time.time()
    found: set[str] = set()
    for panel in panels(dict(board)):
        for target in panel["targets"]:
            if target.get("exemplar"):
                asked = {"query": filled(target["expr"], VALUES), "start": now - BACK, "end": now}
                status, body = get(f"{prometheus.url}api/v1/query_exemplars?{urllib.parse.urlencode(asked)}")
                assert status == 200, body
                for series in json.loads(body)["data"]:
                    found |= {dot["labels"]["event_id"] for dot in series["exemplars"]}
    assert found, "no exemplar of the event counters"
    return found


def exact(prometheus: Prometheus, asked: Mapping[str, Asked]) -> None:
    """What the panels say is what the exporter counted: the events of the last day, and the two sides of the books."""

    def balanced() -> bool:
        differences = answer(prometheus, asked["pipeline: Out of balance [0]"])
        return len(differences) == SOURCES and all(float(source["values"][-1][1]) == 0 for source in differences)

    eventually("the books of each source to balance on the dashboard", balanced)
    (shown,) = answer(prometheus, asked["overview: Events, 24 h [0]"])
    at = shown["value"][0]
    grown, samples = (
        float(ask(prometheus, "query", query=expr, time=at)[0]["value"][1])
        for expr in (
            "sum(cloudtrail_events_total) - sum(min_over_time(cloudtrail_events_total[1h]))",
            "min(count_over_time(cloudtrail_events_total[1h]))",
        )
    )
    # increase() extrapolates by half a scrape interval at each end; a series has samples - 1 intervals.
    assert grown > 300
    assert grown - 1 <= float(shown["value"][1]) <= grown * samples / (samples - 1) + 1


def rows(asked: list[tuple[str, Asked]], answers: Mapping[str, list[dict[str, Any]]]) -> list[list[object]]:
    """The counts for people."""
    table: list[list[object]] = [["", "checked", "with data"]]
    for name in dict.fromkeys(name for name, _ in asked):
        ones = [one for board, one in asked if board == name]
        panels = dict.fromkeys(one.panel for one in ones if not one.panel.startswith(("annotation ", "variable ")))
        filled_ = {one.panel for one in ones if answers[one.where]}
        table.append([f"panels, {name}", len(panels), len(filled_ & set(panels))])
        table.append(
            [f"queries, marks and variables, {name}", len(ones), sum(bool(answers[one.where]) for one in ones)]
        )
    return table


def test_every_logql_is_read_by_lokis_own_parser(need: Callable[[str], None], report: Report) -> None:
    need("logql")
    asked = list(queries("events", boards()["events"]))
    lines = [json.dumps(filled(one.expr)) for one in asked] + [json.dumps('{service_name="cloudtrail"} | ')]
    done = subprocess.run(
        [TOOLS / "logql"], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True, timeout=30
    )
    *said, broken = done.stdout.splitlines()
    assert dict(zip([one.where for one in asked], said, strict=True)) == {one.where: "ok" for one in asked}
    assert broken != "ok"
    report("LogQL read by Loki's own parser", [["queries of the Events dashboard", len(said)]])
