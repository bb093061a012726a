"""What the tests of the lookup source share: records, positions, and a reader that commits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from exporter.contract import Batch, Document, Partition, Position, Unit
from exporter.metrics import Metrics
from exporter.sources.lookup import LookupSource

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LOOKOUT = "lookoutmetrics.amazonaws.com"
S3 = "s3.amazonaws.com"
HOME = "us-east-1"
ROLE = "arn:aws:iam::444455556666:role/reader"


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def record(number: int, at: datetime, **more: Any) -> dict[str, Any]:
    fields = {
        "eventVersion": "1.08",
        "eventID": f"event-{number:05}",
        "eventTime": stamp(at),
        "eventSource": LOOKOUT,
        "eventName": "ListAlerts",
        "awsRegion": HOME,
        "recipientAccountId": "111122223333",
        "userIdentity": {"type": "IAMUser", "userName": "alice"},
    }
    return fields | more


@dataclass
class Reader:
    """What the loop does: commit each batch, then ask for the next; it can be made to die after some commits."""

    source: LookupSource
    partition: Partition
    position: Position | None = None
    ids: list[str] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    def unfinished(self, units: list[Unit]) -> list[Unit]:
        return list(units)

    def read(self, batches: int | None = None) -> Reader:
        """One read to its end, or dead right after so many commits (0: with the first batch in hand)."""
        reading = self.source.read(self.partition, self)  # type: ignore[arg-type]
        for taken, batch in enumerate(reading, 1):
            if batches == 0:
                break
            self.batches.append(batch)
            self.ids += [json.loads(item.data)["eventID"] for item in batch.items if isinstance(item, Document)]
            if batch.after is not None:
                self.position = json.loads(json.dumps(batch.after))
            if taken == batches:
                break
        return self

    @property
    def through(self) -> datetime:
        assert self.position is not None
        return datetime.fromisoformat(str(self.position["through"]))


Make = Callable[..., LookupSource]


def reader(source: LookupSource, key: str = f"{HOME}/{LOOKOUT}", position: Position | None = None) -> Reader:
    return Reader(source, Partition(source.name, key), position)


def at(through: datetime, *, since: datetime | None = None, swept: datetime | None = None) -> Position:
    return {"v": 1, "since": stamp(since or through), "through": stamp(through), "swept": stamp(swept or through)}


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"cloudtrail_exporter_{name}", labels) or 0.0
