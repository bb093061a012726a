"""What the tests of the queue share: bodies, files, a clock turned by hand, and the loop in small."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from exporter.contract import Batch, Document, Malformed, Partition
from exporter.errors import Stopping
from exporter.metrics import Metrics
from exporter.sources.sqs import SqsSource
from exporter.testing.source import MemoryProgress
from tests.fakes.events import event

BUCKET = "trail-archive"
FOLDER = "AWSLogs/111122223333/CloudTrail/us-east-2/2026/02/01"
START = datetime(2026, 2, 1, 8, tzinfo=UTC)


def key_of(number: int | str) -> str:
    return f"{FOLDER}/111122223333_CloudTrail_us-east-2_20260201T0805Z_{number:0>16}.json.gz"


def records(*ids: str) -> list[dict[str, Any]]:
    return [event(eventID=id_) for id_ in ids]


def file_of(*ids: str) -> bytes:
    """A trail file with records of these ids."""
    return gzip.compress(json.dumps({"Records": records(*ids)}).encode())


def s3_record(key: str, bucket: str = BUCKET, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-2",
        "eventTime": "2026-02-01T08:05:12.345Z",
        "eventName": name,
        "s3": {"bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"}, "object": {"key": key, "size": 4410}},
    }


def s3_event(*keys: str, bucket: str = BUCKET) -> str:
    """S3's notification; the keys go in as they are given."""
    return json.dumps({"Records": [s3_record(key, bucket) for key in keys]})


def sns(message: str, kind: str = "Notification") -> str:
    return json.dumps({"Type": kind, "TopicArn": "arn:aws:sns:us-east-2:111122223333:t", "Message": message})


def trail_sns(*keys: str, bucket: str = BUCKET) -> str:
    return json.dumps({"s3Bucket": bucket, "s3ObjectKey": list(keys)})


def bridge_s3(key: str, bucket: str = BUCKET) -> str:
    detail = {"version": "0", "bucket": {"name": bucket}, "object": {"key": key, "size": 4410}}
    return json.dumps({"version": "0", "detail-type": "Object Created", "source": "aws.s3", "detail": detail})


def bridge_record(id_: str) -> str:
    detail = event(eventID=id_)
    return json.dumps({"version": "0", "detail-type": "AWS API Call via CloudTrail", "detail": detail})


class HandClock:
    """Waits of less than ``short`` seconds are over at once and take no time; longer ones until :meth:`advance`."""

    def __init__(self, *, short: float = 20) -> None:
        self._short = short
        self._monotonic = 0.0
        self._stopping = False
        self._parked: list[float] = []
        self._changed = threading.Condition()

    def now(self) -> datetime:
        with self._changed:
            return START + timedelta(seconds=self._monotonic)

    def monotonic(self) -> float:
        with self._changed:
            return self._monotonic

    def wait(self, seconds: float) -> None:
        with self._changed:
            until = self._monotonic + seconds
            if seconds >= self._short:
                self._parked.append(until)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._stopping or self._monotonic >= until)
                self._parked.remove(until)
            if self._stopping:
                raise Stopping

    def advance(self, seconds: float, *, parked: int = 0) -> None:
        """Let time pass, once so many threads wait for it (and are not just leaving an earlier wait)."""

        def waiting() -> bool:
            return sum(until > self._monotonic for until in self._parked) >= parked

        with self._changed:
            assert self._changed.wait_for(waiting, 10), "nobody waits"
            self._monotonic += seconds
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()


@dataclass
class Loop:
    """What the loop does with one worker of a source."""

    source: SqsSource
    worker: str = "worker-0"
    batches: list[Batch] = field(default_factory=list)

    @property
    def partition(self) -> Partition:
        return Partition(self.source.name, self.worker)

    def read(self) -> Loop:
        """One poll: commit and settle each batch."""
        for batch in self.source.read(self.partition, MemoryProgress()):
            self.batches.append(batch)
            self.source.settle(batch)
        return self

    @property
    def ids(self) -> list[str]:
        return ids_of(self.batches)

    @property
    def malformed(self) -> list[Malformed]:
        return [item for batch in self.batches for item in batch.items if isinstance(item, Malformed)]


def ids_of(batches: Iterable[Batch]) -> list[str]:
    return [json.loads(item.data)["eventID"] for batch in batches for item in batch.items if isinstance(item, Document)]


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"cloudtrail_exporter_{name}", {"source": "queue"} | labels) or 0.0
