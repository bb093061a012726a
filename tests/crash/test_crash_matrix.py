"""kill -9 before and after each step and at random instants: nothing lost, counters exact, few repeats."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.testing.scripted import event
from tests.crash.remotes import REMOTES, Remote
from tests.crash.victim import STEPS, drain, drain_killed_after
from tests.fakes.aws_environment import aws_environment

pytestmark = pytest.mark.crash

#: Memory promises nothing over a restart but what the source still has; two sources show that.
PAIRS = [*((source, "sqlite") for source in REMOTES), ("files", "memory"), ("lookup", "memory")]
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
    remote: Remote

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


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    aws_environment(monkeypatch, tmp_path)


@contextmanager
def prepared(folder: Path, source: str, state: str, count: int, seed: int) -> Iterator[Setup]:
    """A remote side with events, and a configuration that drains it into a file."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = events(count, seed)
    output = folder / "out.jsonl"
    with REMOTES[source](folder, documents) as remote:
        config = folder / "config.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "sources": [remote.source],
                    "sink": {"type": "file", "path": str(output)},
                    "state": {"type": state, **({"path": str(folder / "state.db")} if state == "sqlite" else {})},
                    "log": {"level": "error"},
                }
            )
        )
        yield Setup(config, output, Oracle.of(documents), remote)


KILLS = {"files": 50, "lookup": 50, "s3": 20, "sqs": 20, "logs": 20}
#: Enough for several batches of each source.
COUNTS = {"files": 2_000, "lookup": 160, "s3": 2_000, "sqs": 2_000, "logs": 200}


@pytest.mark.parametrize(("source", "state"), PAIRS)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_a_step(when: str, step: str, source: str, state: str, tmp_path: Path):
    """The second time a step is reached the process dies; the next process finishes the work."""
    with prepared(tmp_path, source, state, COUNTS[source], 1) as setup:
        code, _ = drain(setup.config, (when, step, 2))
        assert code == -9, "the process did not reach the step"
        setup.remote.recover()
        code, totals = drain(setup.config)
        assert code == 0
        found = setup.check(totals)
    repeated = sum(number - 1 for number in found.values())
    if state == "memory":
        return  # nothing survives: all that was sent is sent again, with the same uids
    if (when, step) in (("after", "send"), ("before", "commit")):
        assert 0 < repeated <= setup.remote.batch
    else:
        assert repeated == 0


@pytest.mark.parametrize("source", REMOTES)
def test_killed_at_random_instants(source: str, tmp_path: Path):
    """Whenever the process dies, the sum of all runs is exact; a kill repeats at most the batch in flight."""
    rng = random.Random(20261123)
    kills = rounds = 0
    longest = 0.0
    count = 700 if source in ("files", "s3", "sqs") else 200
    while kills < KILLS[source]:
        with prepared(tmp_path / str(rounds), source, "sqlite", count, rounds) as setup:
            mine = 0
            started = time.monotonic()
            while rounds and mine < 6 and drain_killed_after(setup.config, longest, rng) == -9:
                mine += 1
                setup.remote.recover()
            code, totals = drain(setup.config)
            assert code == 0
            if rounds == 0:
                longest = time.monotonic() - started
            found = setup.check(totals)
        assert sum(number - 1 for number in found.values()) <= mine * setup.remote.batch
        kills += mine
        rounds += 1
