"""The law of every source, over moto's CloudWatch Logs: a server that is not ours."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from moto.server import ThreadedMotoServer

from exporter.metrics import Metrics
from exporter.sources.logs import LogsSource
from exporter.sources.ratelimit import RateLimits
from exporter.testing.clock import ManualClock
from exporter.testing.source import SourceContract
from tests.fakes.aws_environment import aws_environment
from tests.logs.reader import HOME, LOOKOUT, record

# moto takes log events of the last 14 days only, by the real clock.
MOMENT = datetime.now(UTC).replace(microsecond=0)
GROUP = "trail"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def remote(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """1,100 records in two streams, and one text that is no record."""
    aws_environment(monkeypatch, tmp_path, sts=server)
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST")).close()
    client: Any = botocore.session.get_session().create_client("logs", region_name=HOME, endpoint_url=server)
    client.create_log_group(logGroupName=GROUP)
    for suffix, numbers in (("", range(1_000)), ("_2", range(1_000, 1_100))):
        stream = f"111122223333_CloudTrail_us-east-1{suffix}"
        client.create_log_stream(logGroupName=GROUP, logStreamName=stream)
        events: list[dict[str, Any]] = [
            {
                "timestamp": int((MOMENT - timedelta(seconds=number % 600)).timestamp() * 1_000),
                "message": json.dumps(record(number, MOMENT)),
            }
            for number in numbers
        ]
        events.append({"timestamp": int(MOMENT.timestamp() * 1_000), "message": "no record"} if suffix else events[0])
        client.put_log_events(
            logGroupName=GROUP, logStreamName=stream, logEvents=sorted(events, key=lambda event: event["timestamp"])
        )
    client.close()
    return server


class TestContract(SourceContract):
    """The laws every source keeps, over two streams, a repeated event, and a text that is no record."""

    malformed = 1
    repeats = True

    @pytest.fixture
    def open_source(self, remote: str) -> Callable[[], LogsSource]:
        clock = ManualClock(start=MOMENT)
        limits = RateLimits(clock=clock, rate=4.5, burst=5)
        return lambda: LogsSource(
            name="trail",
            log_group=GROUP,
            region=HOME,
            services=[LOOKOUT],
            clock=clock,
            metrics=Metrics(platform_collectors=False),
            endpoint_url=remote,
            limits=limits,
        )

    @pytest.fixture
    def expected(self) -> list[str]:
        return [f"111122223333/event-{number:05}" for number in range(1_100)]
