"""For each source: the remote side that holds the events, and the settings that read it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from exporter.testing.clock import ManualClock
from tests.fakes.log_events import FakeLogEvents
from tests.fakes.lookup_events import FakeLookupEvents
from tests.fakes.s3 import FakeS3
from tests.fakes.sqs_queue import FakeQueue

__all__ = ["REMOTES", "Remote"]


@dataclass
class Remote:
    """A filled remote side.

    Attributes:
        source: the settings of the source that reads it.
        batch: the most records one of its batches holds.
        recover: lets happen what time brings after a crash (messages become visible again).
    """

    source: dict[str, Any]
    batch: int
    recover: Callable[[], None] = lambda: None


def packed(documents: list[bytes]) -> bytes:
    """A trail file."""
    return gzip.compress(b'{"Records":[' + b",".join(documents) + b"]}")


def pieces(documents: list[bytes], size: int) -> list[bytes]:
    """Trail files of so many records each."""
    return [packed(documents[start : start + size]) for start in range(0, len(documents), size)]


def key_of(number: int, moment: datetime) -> str:
    """CloudTrail's own layout; several files of one minute, their unique part in no order."""
    minute = moment - timedelta(minutes=5 * (number % 5))
    minute = minute.replace(minute=minute.minute // 5 * 5, second=0)
    unique = f"{(number * 7919) % 10_000:016}"
    name = f"111122223333_CloudTrail_us-east-1_{minute:%Y%m%dT%H%MZ}_{unique}.json.gz"
    return f"AWSLogs/111122223333/CloudTrail/us-east-1/{minute:%Y/%m/%d}/{name}"


@contextmanager
def files(folder: Path, documents: list[bytes]) -> Iterator[Remote]:
    """A folder with one large file and many small ones."""
    trail = folder / "trail"
    trail.mkdir()
    cut = len(documents) * 3 // 4
    (trail / "big.json.gz").write_bytes(packed(documents[:cut]))
    for number, piece in enumerate(pieces(documents[cut:], 20)):
        (trail / f"{number}.json.gz").write_bytes(piece)
    yield Remote({"name": "trail", "type": "files", "path": str(trail)}, 1_000)


@contextmanager
def lookup(folder: Path, documents: list[bytes]) -> Iterator[Remote]:
    """An Event history."""
    with FakeLookupEvents(rate=None) as server:
        for document in documents:
            server.add(json.loads(document))
        settings = {"type": "lookup", "regions": ["us-east-1"], "start": "-2h", "endpoint_url": server.url}
        yield Remote({"name": "history", **settings}, 50)


@contextmanager
def s3(folder: Path, documents: list[bytes]) -> Iterator[Remote]:
    """A bucket with a large object and small ones."""
    now = datetime.now(UTC)
    with FakeS3() as server:
        cut = len(documents) * 3 // 4
        for number, piece in enumerate([packed(documents[:cut]), *pieces(documents[cut:], 20)]):
            server.put(key_of(number, now), piece)
        settings = {
            "type": "s3",
            "bucket": server.bucket,
            "region": "eu-west-1",
            "start": "-2d",
            "endpoint_url": server.url,
        }
        yield Remote({"name": "archive", **settings}, 1_000)


@contextmanager
def sqs(folder: Path, documents: list[bytes]) -> Iterator[Remote]:
    """A queue that names objects of 300 records, and carries some of the events itself."""
    clock = ManualClock(start=datetime.now(UTC))
    bucket = "trail-archive"
    with FakeQueue(clock=clock) as server:
        embedded = documents[:20]
        for number, piece in enumerate(pieces(documents[20:], 300)):
            key = key_of(number, datetime.now(UTC))
            server.put(bucket, key, piece)
            server.send(json.dumps({"s3Bucket": bucket, "s3ObjectKey": [key]}))
        for document in embedded:
            server.send(json.dumps({"detail-type": "AWS API Call via CloudTrail", "detail": json.loads(document)}))
        settings = {"type": "sqs", "queue_url": server.queue_url, "buckets": [bucket], "workers": 1}
        source = {"name": "queue", **settings, "endpoint_url": server.url, "s3_endpoint_url": server.url}
        yield Remote(source, 3_000, recover=lambda: clock.advance(600))


@contextmanager
def logs(folder: Path, documents: list[bytes]) -> Iterator[Remote]:
    """A log group."""
    with FakeLogEvents(rate=1_000_000) as server:
        server.create("trail")
        for document in documents:
            record = json.loads(document)
            server.add("trail", record, at=datetime.fromisoformat(record["eventTime"]))
        settings = {"type": "logs", "log_group": "trail", "region": "us-east-1", "start": "-2h"}
        yield Remote({"name": "group", **settings, "endpoint_url": server.url}, 1_000)


REMOTES = {"files": files, "lookup": lookup, "s3": s3, "sqs": sqs, "logs": logs}
