"""A fake queue with its bucket, a clock turned by hand, and sources that read from it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.metrics import Metrics
from exporter.reading import Limits
from exporter.sources.sqs import SqsSource
from tests.fakes.aws_environment import aws_environment
from tests.fakes.sqs_queue import FakeQueue
from tests.sqs.queue import BUCKET, HandClock


@pytest.fixture
def clock() -> Iterator[HandClock]:
    clock = HandClock()
    yield clock
    clock.stop()


@pytest.fixture
def fake(clock: HandClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeQueue]:
    aws_environment(monkeypatch, tmp_path)
    with FakeQueue(clock=clock) as server:
        server.buckets.add(BUCKET)
        yield server


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics(platform_collectors=False)
    metrics.preset(source="queue")
    return metrics


@pytest.fixture
def make(fake: FakeQueue, clock: HandClock, metrics: Metrics) -> Iterator[Callable[..., SqsSource]]:
    made: list[SqsSource] = []

    def source(**changes: Any) -> SqsSource:
        settings: dict[str, Any] = {
            "name": "queue",
            "queue_url": fake.queue_url,
            "region": "us-east-2",
            "buckets": [BUCKET],
            "limits": Limits(),
            "clock": clock,
            "metrics": metrics,
            "wait_seconds": 0,
            "s3_endpoint_url": fake.url,
            "rng": random.Random(1),
        }
        made.append(SqsSource(**(settings | changes)))
        return made[-1]

    yield source
    for each in made:
        each.close()
