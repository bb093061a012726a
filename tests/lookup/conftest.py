"""A fake Event history, a clock of its own, and sources that read from it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.metrics import Metrics
from exporter.sources.lookup import LookupSource
from exporter.sources.ratelimit import RateLimits
from exporter.testing.clock import ManualClock
from tests.fakes.aws_environment import aws_environment
from tests.fakes.lookup_events import FakeLookupEvents
from tests.lookup.reader import HOME, LOOKOUT, NOW, Make


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=NOW)


@pytest.fixture
def fake(clock: ManualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeLookupEvents]:
    with FakeLookupEvents(clock=clock) as server:
        aws_environment(monkeypatch, tmp_path, sts=server.url)
        yield server
    assert server.model_problems == []


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(platform_collectors=False)


@pytest.fixture
def make(fake: FakeLookupEvents, clock: ManualClock, metrics: Metrics) -> Iterator[Make]:
    limits = RateLimits(clock=clock)
    made: list[LookupSource] = []

    def source(**changes: Any) -> LookupSource:
        settings: dict[str, Any] = {
            "name": "history",
            "regions": [HOME],
            "services": [LOOKOUT],
            "limits": limits,
            "clock": clock,
            "metrics": metrics,
            "endpoint_url": fake.url,
            "rng": random.Random(1),
        }
        made.append(LookupSource(**(settings | changes)))
        return made[-1]

    yield source
    for each in made:
        each.close()
