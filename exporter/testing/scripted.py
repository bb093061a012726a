"""A source and a sink that follow a script: faults are data. Both pass the suites their real kin pass."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from exporter.contract import Batch, Delivery, Document, Finding, Item, Partition, Progress, Record
from exporter.errors import ExporterError, Permanent

__all__ = ["ScriptedSink", "ScriptedSource", "event"]


def event(number: int = 1, **fields: Any) -> bytes:
    """The JSON of one CloudTrail record of Lookout for Metrics; ``fields`` replace its members."""
    record: dict[str, Any] = {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "AIDAEXAMPLEUSER000001",
            "arn": "arn:aws:iam::111122223333:user/mira",
            "accountId": "111122223333",
            "accessKeyId": "AKIAEXAMPLEKEY000001",
            "userName": "mira",
        },
        "eventTime": f"2025-09-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z",
        "eventSource": "lookoutmetrics.amazonaws.com",
        "eventName": "ListAnomalyDetectors",
        "awsRegion": "us-east-1",
        "sourceIPAddress": "192.0.2.7",
        "userAgent": "aws-cli/2.17",
        "requestParameters": None,
        "responseElements": None,
        "requestID": f"request-{number}",
        "eventID": f"event-{number}",
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": "111122223333",
        "eventCategory": "Management",
    }
    record.update(fields)
    return json.dumps(record, separators=(",", ":")).encode()


class ScriptedSource:
    """Yields the batches of its script in order, position after each; an exception in the script is raised once.

    Args:
        script: for each partition key its steps: the items of a batch, or an exception.
    """

    def __init__(
        self,
        script: dict[str, Sequence[Sequence[Item | bytes] | BaseException]],
        *,
        name: str = "scripted",
        interval: float = 1.0,
    ) -> None:
        self.name = name
        self.interval = interval
        self._script = script
        self._raised: set[tuple[str, int]] = set()
        self._lock = threading.Lock()
        #: The batches settled and abandoned, as indexes into the script.
        self.settled: list[tuple[str, int]] = []
        self.abandoned: list[tuple[str, int]] = []

    def check(self) -> Iterable[Finding]:
        """Nothing can be wrong with a script."""
        return [Finding("ok", self.name, f"{len(self._script)} partitions")]

    def partitions(self) -> Sequence[Partition]:
        """One for each key of the script."""
        return [Partition(self.name, key) for key in self._script]

    def read(self, partition: Partition, progress: Progress) -> Iterator[Batch]:
        """The steps after the position."""
        position = progress.position or {"v": 1, "done": 0}
        done = position["done"]
        assert isinstance(done, int)
        for index, step in enumerate(self._script[partition.key]):
            if isinstance(step, BaseException):
                with self._lock:
                    first = (partition.key, index) not in self._raised
                    self._raised.add((partition.key, index))
                if first and index >= done:
                    raise step
                continue
            if index < done:
                continue
            yield Batch(
                partition=partition,
                items=tuple(
                    Document(item, f"{partition}#{index}.{number}") if isinstance(item, bytes) else item
                    for number, item in enumerate(step)
                ),
                after={"v": 1, "done": index + 1},
                receipts=((partition.key, index),),
            )

    def settle(self, batch: Batch) -> None:
        """Write the batch down as settled."""
        self.settled += batch.receipts  # type: ignore[arg-type]

    def abandon(self, batch: Batch) -> None:
        """Write the batch down as abandoned."""
        self.abandoned += batch.receipts  # type: ignore[arg-type]

    def close(self) -> None:
        """Nothing is held."""


class ScriptedSink:
    """Accepts everything, but what its script says otherwise.

    Args:
        script: what the first requests meet, one each: an exception, a Delivery, or None for "accepted".
        poison: uids that no request may contain: it is refused as :class:`~exporter.errors.Permanent`.
        before: called with the records of each request before it is answered.
    """

    def __init__(
        self,
        script: Iterable[ExporterError | Delivery | None] = (),
        *,
        poison: Collection[str] = (),
        before: Callable[[Sequence[Record]], None] = lambda _: None,
    ) -> None:
        self.follow(script)
        self._poison = frozenset(poison)
        self._before = before
        self._lock = threading.Lock()
        #: The uids of each request, accepted or not, and of everything accepted, in order.
        self.requests: list[list[str]] = []
        self.accepted: list[str] = []

    def follow(self, script: Iterable[ExporterError | Delivery | None]) -> None:
        """What the next requests meet, instead of what was left of the script before."""
        self._script = iter(script)

    def check(self) -> Iterable[Finding]:
        """It would take records."""
        return [Finding("ok", "scripted sink", "accepts")]

    def send(self, records: Sequence[Record]) -> Delivery:
        """Do what the script says."""
        self._before(records)
        uids = [record.identity.uid for record in records]
        with self._lock:
            self.requests.append(uids)
            answer = next(self._script, None)
            if isinstance(answer, ExporterError):
                raise answer
            if not self._poison.isdisjoint(uids):
                raise Permanent("refused by the script", reason="invalid")
            if isinstance(answer, Delivery):
                self.accepted += uids[: answer.delivered]
                return answer
            self.accepted += uids
            return Delivery(len(uids))

    def close(self) -> None:
        """Nothing is held."""
