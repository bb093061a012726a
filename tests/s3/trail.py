"""What the tests of the s3 source share: trail files, and a reader that commits as the loop does."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from exporter.contract import Batch, Document, Malformed, Partition, Position, Unit
from exporter.metrics import Metrics
from exporter.sources.s3 import S3Source
from exporter.testing.scripted import event
from tests.fakes.s3 import FakeS3

NOW = datetime(2026, 2, 10, 12, 2, tzinfo=UTC)
ACCOUNT = "111122223333"
REGION = "us-east-2"
FOLDER = f"AWSLogs/{ACCOUNT}/CloudTrail/{REGION}/"

Make = Callable[..., S3Source]


def ago(**distance: float) -> datetime:
    return NOW - timedelta(**distance)


def key(minute: datetime, unique: str = "a", *, folder: str = FOLDER) -> str:
    """The key of a file, as CloudTrail names it."""
    *_, account, kind, region, _ = folder.split("/")
    return f"{folder}{minute:%Y/%m/%d}/{account}_{kind}_{region}_{minute:%Y%m%dT%H%M}Z_{unique}.json.gz"


def packed(*numbers: int) -> bytes:
    return gzip.compress(b'{"Records":[' + b",".join(event(number) for number in numbers) + b"]}", mtime=0)


def put(fake: FakeS3, minute: datetime, *numbers: int, unique: str = "a", folder: str = FOLDER) -> str:
    name = key(minute, unique, folder=folder)
    fake.put(name, packed(*numbers))
    return name


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"cloudtrail_exporter_{name}", {"source": "trail"} | labels) or 0.0


class Killed(Exception):
    """The process ends here."""


@dataclass
class Reader:
    """What the loop and the state do: commit a batch, ask for the next, forget what may be forgotten."""

    source: S3Source
    partition: Partition = field(default_factory=lambda: Partition("trail", f"{ACCOUNT}/{REGION}"))
    position: Position | None = None
    done: set[Unit] = field(default_factory=set)
    batches: list[Batch] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    broken: list[Malformed] = field(default_factory=list)

    def unfinished(self, units: list[Unit]) -> list[Unit]:
        return [unit for unit in units if unit not in self.done]

    def take(self, batch: Batch) -> None:
        self.batches.append(batch)
        for item in batch.items:
            if isinstance(item, Document):
                self.numbers.append(int(json.loads(item.data)["eventID"].rsplit("-", 1)[1]))
            else:
                self.broken.append(item)
        self.done -= {unit for unit in self.done if unit.scope in batch.forget}
        self.done.update(batch.finished)
        if batch.after is not None:
            self.position = json.loads(json.dumps(batch.after))

    def read(self, batches: int | None = None) -> list[int]:
        """One read to its end, or killed with so many batches committed; the numbers of the events it brought."""
        self.numbers = []
        reading = self.source.read(self.partition, self)  # type: ignore[arg-type]
        for taken, batch in enumerate(reading):
            if taken == batches:
                reading.close()
                break
            self.take(batch)
        return sorted(self.numbers)

    def again(self, source: S3Source) -> Reader:
        """A new process over the same state."""
        return Reader(source, self.partition, self.position, set(self.done))

    @property
    def scopes(self) -> set[str]:
        return {unit.scope for unit in self.done}
