"""A fake bucket, a clock of its own, and sources that read from it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.metrics import Metrics
from exporter.reading import Limits
from exporter.sources.s3 import S3Source
from exporter.testing.clock import ManualClock
from tests.fakes.aws_environment import aws_environment
from tests.fakes.s3 import FakeS3
from tests.s3.trail import NOW, Make


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=NOW)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeS3]:
    aws_environment(monkeypatch, tmp_path)
    with FakeS3() as server:
        yield server


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(platform_collectors=False)


@pytest.fixture
def make(fake: FakeS3, clock: ManualClock, metrics: Metrics) -> Iterator[Make]:
    made: list[S3Source] = []

    def source(**changes: Any) -> S3Source:
        settings: dict[str, Any] = {
            "name": "trail",
            "bucket": fake.bucket,
            "limits": Limits(),
            "clock": clock,
            "metrics": metrics,
            "endpoint_url": fake.url,
            "region": "eu-west-1",
            "rng": random.Random(1),
        }
        made.append(S3Source(**(settings | changes)))
        return made[-1]

    yield source
    for each in made:
        each.close()
