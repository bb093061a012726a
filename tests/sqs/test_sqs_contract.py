"""The public suite over moto's SQS and S3."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from moto.server import ThreadedMotoServer

from exporter.clock import SystemClock
from exporter.contract import Source
from exporter.metrics import Metrics
from exporter.reading import Limits
from exporter.sources.sqs import SqsSource
from exporter.testing.source import SourceContract, uids_of
from tests.fakes.aws_environment import aws_environment
from tests.fakes.events import event
from tests.sqs.queue import BUCKET, bridge_record, key_of, s3_event, sns, trail_sns

REGION = "us-east-2"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@dataclass
class Remote:
    """A queue and a bucket at moto's."""

    url: str
    sqs: Any
    s3: Any
    queue_url: str

    def deliver(self) -> None:
        """Send everything: three files in three forms, one of them large, one twice; a broken file; a bare record."""
        files = {
            key_of(1): [event(eventID=f"a-{number}") for number in range(1_500)],
            key_of(2): [event(eventID="b-1"), event(eventID="b-2")],
            key_of(3): [event(eventID="c-1")],
        }
        for key, records in files.items():
            body = gzip.compress(json.dumps({"Records": records}).encode())
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        self.s3.put_object(Bucket=BUCKET, Key=key_of("broken"), Body=b"no JSON")
        bodies = [
            s3_event(key_of(1)),
            sns(s3_event(key_of(2))),
            trail_sns(key_of(3), key_of("broken")),
            s3_event(key_of(2)),
            bridge_record("d-1"),
            "CloudTrail validation message.",
        ]
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body)


@pytest.fixture
def remote(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Remote]:
    aws_environment(monkeypatch, tmp_path)
    with urlopen(Request(f"{moto}/moto-api/reset", method="POST")):
        pass
    s3 = boto3.client("s3", region_name=REGION, endpoint_url=moto)
    sqs = boto3.client("sqs", region_name=REGION, endpoint_url=moto)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    queue_url = sqs.create_queue(QueueName="trail")["QueueUrl"]
    remote = Remote(moto, sqs, s3, queue_url)
    remote.deliver()
    yield remote
    s3.close()
    sqs.close()


class TestSqsSource(SourceContract):
    """Everything but the restarts, whose suite reads the same data several times: see below."""

    malformed = 1

    @pytest.fixture
    def open_source(self, remote: Remote) -> Callable[[], Source]:
        def opened() -> Source:
            return SqsSource(
                name="queue",
                queue_url=remote.queue_url,
                region=REGION,
                buckets=[BUCKET],
                limits=Limits(),
                clock=SystemClock(),
                metrics=Metrics(platform_collectors=False),
                wait_seconds=0,
                endpoint_url=remote.url,
                s3_endpoint_url=remote.url,
            )

        return opened

    @pytest.fixture
    def expected(self) -> Collection[str]:
        ids = [*(f"a-{number}" for number in range(1_500)), "b-1", "b-2", "c-1", "d-1"]
        return [f"{event()['recipientAccountId']}/{id_}" for id_ in ids]

    # A queue forgets what was settled, so each try needs messages of its own; the law is the suite's.
    @pytest.mark.parametrize("stop", [0, 1, 2])
    def test_a_restart_after_any_batch_loses_nothing(  # type: ignore[override]
        self, open_source: Callable[[], Source], expected: Collection[str], stop: int
    ) -> None:
        """Stopped after any settled batch and opened anew, the rest comes, at once."""
        source = open_source()
        before = [] if stop == 0 else self._read(source, self._known(source), stop_after=stop)
        source.close()
        source = open_source()
        after = self._read(source, self._known(source))
        source.close()
        assert set(uids_of(before)) | set(uids_of(after)) == set(expected)


def test_a_queue_deleted_and_recreated(remote: Remote):
    """moto's own words for a queue that is gone; the same source goes on with the new one."""
    from exporter.errors import Blocked
    from exporter.testing.source import MemoryProgress

    source = SqsSource(
        name="queue",
        queue_url=remote.queue_url,
        region=REGION,
        buckets=[BUCKET],
        limits=Limits(),
        clock=SystemClock(),
        metrics=Metrics(platform_collectors=False),
        wait_seconds=0,
        endpoint_url=remote.url,
        s3_endpoint_url=remote.url,
    )
    partition = source.partitions()[0]
    remote.sqs.delete_queue(QueueUrl=remote.queue_url)
    with pytest.raises(Blocked, match="is not there"):
        list(source.read(partition, MemoryProgress()))
    remote.sqs.create_queue(QueueName="trail")
    remote.deliver()
    batches = []
    for batch in source.read(partition, MemoryProgress()):
        source.settle(batch)
        batches.append(batch)
    assert len(set(uids_of(batches))) == 1_504
    source.close()
