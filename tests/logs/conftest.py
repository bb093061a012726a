"""A fake CloudWatch Logs, a clock of its own, and sources that read from it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.metrics import Metrics
from exporter.sources.logs import LogsSource
from exporter.testing.clock import ManualClock
from tests.fakes.aws_environment import aws_environment
from tests.fakes.log_events import FakeLogEvents
from tests.logs.reader import GROUP, HOME, LOOKOUT, NOW, Make


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=NOW)


@pytest.fixture
def fake(clock: ManualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeLogEvents]:
    with FakeLogEvents(clock=clock) as server:
        server.create(GROUP)
        aws_environment(monkeypatch, tmp_path, sts=server.url)
        yield server
    assert server.model_problems == []


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(platform_collectors=False)


@pytest.fixture
def make(fake: FakeLogEvents, clock: ManualClock, metrics: Metrics) -> Iterator[Make]:
    made: list[LogsSource] = []

    def source(**changes: Any) -> LogsSource:
        settings: dict[str, Any] = {
            "name": "trail",
            "log_group": GROUP,
            "region": HOME,
            "services": [LOOKOUT],
            "clock": clock,
            "metrics": metrics,
            "endpoint_url": fake.url,
            "rng": random.Random(1),
        }
        made.append(LogsSource(**(settings | changes)))
        return made[-1]

    yield source
    for each in made:
        each.close()
