"""kill -9 before and after each step and at random instants: nothing lost, counters exact, few repeats."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.testing.scripted import event
from tests.crash.victim import STEPS, drain, drain_killed_after
from tests.fakes.lookup_events import FakeLookupEvents

pytestmark = pytest.mark.crash

SOURCES = ("files", "lookup")
STATES = ("sqlite", "memory")
NAMES = ("ListAlerts", "DescribeAnomalyDetector", "CreateAlert", "PutFeedback")
TYPES = ("IAMUser", "AssumedRole", "Root")


def events(count: int, seed: int) -> list[bytes]:
    """Events of several names and principal types; every tenth comes twice, some belong to another service."""
    rng = random.Random(seed)
    begin = datetime.now(UTC) - timedelta(hours=1)
    made: list[bytes] = []
    for number in range(count):
        fields: dict[str, Any] = {
            "eventTime": (begin + timedelta(seconds=number)).isoformat(timespec="seconds"),
            "eventID": f"event-{seed}-{number}",
            "eventName": rng.choice(NAMES),
            "userIdentity": {"type": rng.choice(TYPES), "accountId": "111122223333", "principalId": "x"},
        }
        if number % 7 == 3:
            fields["errorCode"] = "AccessDeniedException"
        if number % 11 == 5:
            fields["eventSource"] = "s3.amazonaws.com"
        made.append(event(number, **fields))
        if number % 10 == 0:
            made.append(made[-1])
    return made


@dataclass
class Oracle:
    """What must come out, computed from the input alone."""

    uids: set[str]
    counts: Counter[tuple[str, str, str]]

    @classmethod
    def of(cls, documents: list[bytes]) -> Oracle:
        wanted: dict[str, tuple[str, str, str]] = {}
        for document in documents:
            record = json.loads(document)
            if record["eventSource"] == "lookoutmetrics.amazonaws.com":
                wanted[f"111122223333/{record['eventID']}"] = (
                    record["eventName"],
                    record["userIdentity"]["type"],
                    record.get("errorCode", ""),
                )
        return cls(set(wanted), Counter(wanted.values()))


@dataclass
class Setup:
    config: Path
    output: Path
    oracle: Oracle
    batch: int

    def published(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for line in self.output.read_text().splitlines() if self.output.exists() else []:
            for resource in json.loads(line)["resourceLogs"]:
                for scope in resource["scopeLogs"]:
                    for log in scope["logRecords"]:
                        found[
                            next(a["value"]["stringValue"] for a in log["attributes"] if a["key"] == "log.record.uid")
                        ] += 1
        return found

    def check(self, totals: dict[tuple[Any, ...], int]) -> Counter[str]:
        """Lost 0 and counters exact; returns how often each uid was published."""
        found = self.published()
        assert set(found) == self.oracle.uids
        counted: Counter[tuple[str, str, str]] = Counter()
        for labels, number in totals.items():
            counted[labels[1], labels[2], labels[5]] += number
        assert counted == self.oracle.counts
        return found


@pytest.fixture
def lookup_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLookupEvents]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with FakeLookupEvents(rate=None) as server:
        yield server


def prepare(folder: Path, source: str, state: str, count: int, seed: int, server: FakeLookupEvents) -> Setup:
    folder.mkdir(parents=True, exist_ok=True)
    documents = events(count, seed)
    output = folder / "out.jsonl"
    if source == "files":
        trail = folder / "trail"
        trail.mkdir()
        cut = len(documents) * 3 // 4
        (trail / "big.json.gz").write_bytes(gzip.compress(b'{"Records":[' + b",".join(documents[:cut]) + b"]}"))
        for start in range(cut, len(documents), 20):
            part = b'{"Records":[' + b",".join(documents[start : start + 20]) + b"]}"
            (trail / f"{start}.json").write_bytes(part)
        spec: dict[str, Any] = {"name": "trail", "type": "files", "path": str(trail)}
    else:
        for document in documents:
            server.add(json.loads(document))
        spec = {
            "name": "history",
            "type": "lookup",
            "regions": ["us-east-1"],
            "start": "-2h",
            "endpoint_url": server.url,
        }
    config = folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "sources": [spec],
                "sink": {"type": "file", "path": str(output)},
                "state": {"type": state, **({"path": str(folder / "state.db")} if state == "sqlite" else {})},
                "log": {"level": "error"},
            }
        )
    )
    return Setup(config, output, Oracle.of(documents), 1_000 if source == "files" else 50)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_a_step(
    when: str, step: str, source: str, state: str, tmp_path: Path, lookup_server: FakeLookupEvents
):
    """The second time a step is reached the process dies; the next process finishes the work."""
    setup = prepare(tmp_path, source, state, 2_000 if source == "files" else 160, 1, lookup_server)
    code, _ = drain(setup.config, (when, step, 2))
    assert code == -9, "the process did not reach the step"
    code, totals = drain(setup.config)
    assert code == 0
    found = setup.check(totals)
    repeated = sum(number - 1 for number in found.values())
    if state == "memory":
        return  # nothing survives: all that was sent is sent again, with the same uids
    if (when, step) in (("after", "send"), ("before", "commit")):
        assert 0 < repeated <= setup.batch
    else:
        assert repeated == 0


@pytest.mark.parametrize("source", SOURCES)
def test_killed_at_fifty_random_instants(source: str, tmp_path: Path, lookup_server: FakeLookupEvents):
    """Whenever the process dies, the sum of all runs is exact; a kill repeats at most the batch in flight."""
    rng = random.Random(20261123)
    kills = rounds = 0
    longest = 0.0
    while kills < 50:
        lookup_server.clear()
        count = 700 if source == "files" else 200
        setup = prepare(tmp_path / str(rounds), source, "sqlite", count, rounds, lookup_server)
        mine = 0
        if rounds == 0:
            started = time.monotonic()
            code, totals = drain(setup.config)
            longest = time.monotonic() - started
            assert code == 0
        else:
            while mine < 6 and drain_killed_after(setup.config, longest, rng) == -9:
                mine += 1
            code, totals = drain(setup.config)
            assert code == 0
        found = setup.check(totals)
        assert sum(number - 1 for number in found.values()) <= mine * setup.batch
        kills += mine
        rounds += 1
