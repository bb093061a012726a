"""What the tests of the logs source share: records, positions, and a reader that commits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from exporter.contract import Batch, Item, Position, Unit
from exporter.metrics import Metrics
from exporter.record import Record, parse
from exporter.sources.logs import LogsSource

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LOOKOUT = "lookoutmetrics.amazonaws.com"
HOME = "us-east-1"
GROUP = "aws/cloudtrail"


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def record(number: int, at: datetime, **more: Any) -> dict[str, Any]:
    fields = {
        "eventVersion": "1.11",
        "eventID": f"event-{number:05}",
        "eventTime": stamp(at),
        "eventSource": LOOKOUT,
        "eventName": "ListAlerts",
        "awsRegion": "eu-west-1" if number % 2 else HOME,
        "recipientAccountId": "111122223333",
        "userIdentity": {"type": "IAMUser", "userName": "alice"},
    }
    return fields | more


@dataclass
class Reader:
    """What the loop does: commit each batch, then ask for the next; it can be made to die after some commits."""

    source: LogsSource
    position: Position | None = None
    items: list[Item] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    def unfinished(self, units: list[Unit]) -> list[Unit]:
        return list(units)

    def read(self, batches: int | None = None) -> Reader:
        """One read to its end, or dead right after so many commits."""
        (partition,) = self.source.partitions()
        for taken, batch in enumerate(self.source.read(partition, self), 1):  # type: ignore[arg-type]
            self.batches.append(batch)
            self.items += batch.items
            if batch.after is not None:
                self.position = json.loads(json.dumps(batch.after))
            if taken == batches:
                break
        return self

    @property
    def ids(self) -> list[str]:
        """The eventIDs of everything that was brought, in order; what is no record is left out."""
        parsed = [parse(item, observed_ns=0) for item in self.items if hasattr(item, "data")]  # type: ignore[arg-type]
        return [str(one.fields["eventID"]) for one in parsed if isinstance(one, Record)]

    @property
    def through(self) -> datetime:
        assert self.position is not None
        return datetime.fromisoformat(str(self.position["through"]))


Make = Callable[..., LogsSource]


def at(through: datetime, *, since: datetime | None = None, swept: datetime | None = None) -> Position:
    return {"v": 1, "since": stamp(since or through), "through": stamp(through), "swept": stamp(swept or through)}


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"cloudtrail_exporter_{name}", labels) or 0.0
