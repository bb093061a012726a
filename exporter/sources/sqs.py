"""A queue that is told of each trail file as it is written, or is sent the records themselves.

Several workers receive; each message in hand is kept invisible (:mod:`exporter.sources.visibility`) until all records
of all its keys are committed, and deleted then. There is no position: what is not deleted is delivered again.

What cannot be read now: as long as nothing of its bucket can be read, the messages stay in hand and are tried again, so
that a permission taken away does not walk the whole queue into its dead-letter queue. One that fails twice while others
of its bucket can be read is left to the redrive policy.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from exporter.contract import Batch, Clock, Finding, Item, Malformed, Partition, Progress, Source
from exporter.errors import Blocked, ExporterError, Retryable, SwitchedOff
from exporter.metrics import Metrics
from exporter.reading import Limits
from exporter.record import Document
from exporter.sources.aws import Clients, default_region
from exporter.sources.notifications import LEFT, Carried, Drop, Named, Notice, classified
from exporter.sources.objects import ObjectReader, Vanished
from exporter.sources.parcel import Parcel
from exporter.sources.relist import Relist
from exporter.sources.sqs_api import MOST, Message, Queue, endpoint_of, region_of
from exporter.sources.sqs_check import findings
from exporter.sources.sqs_receive import Receivers
from exporter.sources.visibility import Desk

__all__ = ["SqsSource"]

_log = logging.getLogger("exporter.sqs")

#: Empty receives in a row after which a queue counts as empty: a single one may be short of a server's messages.
_EMPTY = 2


class SqsSource:
    """The :class:`~exporter.contract.Source` over one queue; a partition per worker, ``worker-0`` and so on.

    Args:
        queue_url: ``https://sqs.REGION.amazonaws.com/ACCOUNT/NAME``.
        buckets: whose objects are read. Anybody who may send to the queue can name any bucket; these alone are read.
        limits: how large an object may be.
        visibility_seconds: for how long nobody else gets a message in hand; extended at half of it.
        workers: how many receive and read at the same time.
        wait_seconds: how long a receive waits for the first message (long polling, 20 at most).
        kinds: folders of trail files that are read.
        region: of the queue; None: what its address says, else the AWS environment.
        endpoint_url, s3_endpoint_url: addresses instead of AWS's own.
        wanted: values of ``eventSource`` in UTF-8: what in objects cannot hold one is passed over; None: nothing.
        relist: lists the buckets for what no message named; None: nothing does.
    """

    def __init__(
        self,
        *,
        name: str,
        queue_url: str,
        buckets: Sequence[str],
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
        visibility_seconds: float = 300,
        workers: int = 2,
        wait_seconds: float = 20,
        kinds: Sequence[str] = ("CloudTrail",),
        region: str | None = None,
        role_arn: str | None = None,
        external_id: str | None = None,
        endpoint_url: str | None = None,
        s3_endpoint_url: str | None = None,
        interval: float = 0.25,
        relist: Source | None = None,
        wanted: frozenset[bytes] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self.interval = interval
        self._buckets = frozenset(buckets)
        self._workers = workers
        self._wait_seconds = wait_seconds
        self._kinds = frozenset(kinds)
        self._clock = clock
        self._metrics = metrics
        self._visibility_seconds = visibility_seconds
        self._region = region = region or region_of(queue_url) or default_region() or "us-east-1"
        endpoints = {"sqs": endpoint_url or endpoint_of(queue_url), "s3": s3_endpoint_url}
        self._clients = Clients(
            clock=clock,
            metrics=metrics,
            role_arn=role_arn,
            external_id=external_id,
            endpoints={service: url for service, url in endpoints.items() if url},
            connections=2 * workers + 2,
        )
        self._queue = Queue(
            clients=self._clients,
            url=queue_url,
            region=region,
            visibility_seconds=visibility_seconds,
            metrics=metrics,
            source=name,
        )
        self._objects = ObjectReader(
            clients=self._clients,
            limits=limits,
            clock=clock,
            metrics=metrics,
            source=name,
            region=region,
            wanted=wanted,
            rng=rng,
        )
        self._desk = Desk(queue=self._queue, seconds=visibility_seconds, clock=clock)
        self._receivers = Receivers(self._queue, clock)
        self._relist = Relist(relist, name=name, clock=clock) if relist else None
        self._shapes: set[str] = set()
        self._failed_once: set[str] = set()

    def check(self) -> Iterable[Finding]:
        """The queue's attributes, and whether the buckets are there. Receives nothing: that would count as a try."""
        yield from findings(
            self._queue,
            self._clients,
            region=self._region,
            name=self.name,
            visibility_seconds=self._visibility_seconds,
            buckets=sorted(self._buckets),
        )
        if self._relist:
            yield from self._relist.check()

    def partitions(self) -> Sequence[Partition]:
        """One per worker; and those of the listing, ``relist/...``.

        Raises:
            Retryable, Blocked: the listing's.
        """
        workers = [Partition(self.name, f"worker-{number}") for number in range(self._workers)]
        return [*workers, *(self._relist.partitions() if self._relist else ())]

    def read(self, partition: Partition, progress: Progress) -> Iterator[Batch]:
        """Receive and read until the queue is empty. A batch's receipts are the messages it completes.

        Raises:
            Retryable, Blocked: the queue's; or an object's, once the other messages in hand have been read.
            Stopping: from the clock.
        """
        if self._relist and self._relist.owns(partition):
            yield from self._relist.read(partition, progress)
            return
        line = partition.key
        # What an earlier read could not finish comes first: it is in hand still, and nobody else can have it.
        held = self._desk.of(line)
        empty = 0
        while empty < _EMPTY:
            self._clock.wait(0)
            room = MOST - len(held)
            fresh = self._receive(line, room, 0 if held else self._wait_seconds) if room > 0 else []
            if held or fresh:
                empty = 0
                yield from self._round(partition, held + fresh)
                held = []
            else:
                empty += 1

    def settle(self, batch: Batch) -> None:
        """Delete the messages that are complete now."""
        if self._relist and self._relist.owns(batch.partition):
            self._relist.settle(batch)
            return
        messages = self._desk.take(batch.partition.key, _messages(batch))
        self._failed_once.difference_update(message.receipt for message in messages)
        now = self._clock.now().timestamp()
        age = self._metrics.sqs_message_age.labels(self.name)
        for message in self._queue.delete(messages):
            if message.sent is not None:
                age.observe(max(0.0, now - message.sent))

    def abandon(self, batch: Batch) -> None:
        """Give back all the worker has in hand: it leaves, or begins anew."""
        if self._relist and self._relist.owns(batch.partition):
            self._relist.abandon(batch)
            return
        line = batch.partition.key
        given = self._desk.take(line, self._desk.of(line))
        self._failed_once.difference_update(message.receipt for message in given)
        self._queue.give_back(given)

    def close(self) -> None:
        """Give everything back that is in hand, then close the connections."""
        self._receivers.close()
        self._queue.give_back(self._desk.close())
        self._clients.close()
        if self._relist:
            self._relist.close()

    # -- messages --

    def _receive(self, line: str, most: int, wait: float) -> list[Message]:
        """Those of the received messages that are to be worked on; they are on the desk."""
        messages = []
        for message in self._receivers.receive(most, wait):
            notice = self._understood(message)
            self._say(message, notice)
            if any(not isinstance(content, Drop) or content.reason not in LEFT for content in notice.contents):
                messages.append(message)
        self._desk.put(line, messages)
        return messages

    def _understood(self, message: Message) -> Notice:
        """What the message is about, other people's buckets taken out."""
        notice = classified(message.body, kinds=self._kinds)
        contents = tuple(
            Drop("foreign_bucket", content.bucket)
            if isinstance(content, Named) and content.bucket not in self._buckets
            else content
            for content in notice.contents
        )
        return Notice(notice.shape, contents)

    def _say(self, message: Message, notice: Notice) -> None:
        if notice.shape not in self._shapes and len(self._shapes) < 100:
            self._shapes.add(notice.shape)
            _log.info("messages of form %s come in", notice.shape, extra={"source": self.name})
        dropped: Counter[str] = Counter()
        for content in notice.contents:
            if isinstance(content, Drop):
                dropped[content.reason] += 1
        for reason, count in dropped.items():
            self._metrics.sqs_messages_ignored.labels(self.name, reason).inc(count)
        if dropped.keys() & {"unknown_shape", "foreign_bucket", "not_json", "confirmation"}:
            details = {content.detail for content in notice.contents if isinstance(content, Drop)}
            _log.warning(
                "a message is left in the queue" if dropped.keys() & LEFT else "a message names nothing to read",
                extra={
                    "source": self.name,
                    "message_id": message.id,
                    "receives": message.receives,
                    "reasons": sorted(dropped),
                    "details": sorted(details)[:5],
                },
            )

    # -- what they name --

    def _round(self, partition: Partition, messages: Sequence[Message]) -> Iterator[Batch]:
        """Read what the messages are about; those that fail are kept or left, and the first failure is raised."""
        line = partition.key
        load = _Load(Parcel(partition))
        read: set[Named] = set()
        failed: list[_Failure] = []
        for message in messages:
            notice = self._understood(message)
            try:
                for index, content in enumerate(notice.contents, 1):
                    if isinstance(content, Carried):
                        yield from load.put(Document(content.data, f"{self._queue.name}/{message.id}#{index}"))
                    elif isinstance(content, Named) and content not in read:
                        yield from self._object(content, load)
                        read.add(content)
            except _Failed as failure:
                failed.append(_Failure(message, failure.named, failure.error))
                if isinstance(failure.error, Retryable):
                    break  # the rest would meet the same; it is tried first the next time
                continue
            if any(isinstance(content, Drop) and content.reason in LEFT for content in notice.contents):
                self._desk.take(line, [message])
            else:
                load.receipts.append(message)
        yield from load.rest()
        if failed:
            self._desk.last(line, [failure.message for failure in failed])
            raise self._failure(line, failed, {named.bucket for named in read})

    def _object(self, named: Named, load: _Load) -> Iterator[Batch]:
        """Its records, under the first of the keys that there is.

        Raises:
            _Failed: it cannot be read now.
        """
        first: ExporterError | None = None
        for key in named.keys:
            try:
                with self._objects.open(named.bucket, key) as found:
                    for item in found:
                        yield from load.put(item)
                    load.passed_over.update(found.passed_over)
                return
            except Vanished:
                continue
            except (Retryable, Blocked, SwitchedOff) as error:
                # Without s3:ListBucket a key that is not there is "denied": the other spelling may be the right one.
                first = first or error
                if isinstance(error, Retryable):
                    break
        if first is not None:
            raise _Failed(named, first) from first
        self._metrics.s3_objects_skipped.labels(self.name, "vanished").inc()
        origin = f"s3://{named.bucket}/{named.keys[0]}"
        yield from load.put(Malformed("vanished", "the object is gone: deleted before it was read", origin))

    def _failure(self, line: str, failed: Sequence[_Failure], readable: set[str]) -> ExporterError:
        """Count and say what failed, leave to the redrive policy what fails alone; returns what to raise."""
        for failure in failed:
            message, error = failure.message, failure.error
            alone = failure.named.bucket in readable and message.receipt in self._failed_once
            if alone:
                self._desk.take(line, [message])
                self._failed_once.discard(message.receipt)
            else:
                self._failed_once.add(message.receipt)
            self._metrics.sqs_message_failures.labels(self.name, error.reason).inc()
            _log.warning(
                "an object cannot be read, its message is left in the queue"
                if alone
                else "an object cannot be read, its message is kept in hand",
                extra={
                    "source": self.name,
                    "message_id": message.id,
                    "receives": message.receives,
                    "object": repr(f"s3://{failure.named.bucket}/{failure.named.keys[0]}")[:1_200],
                    "reason": error.reason,
                },
            )
        error = failed[0].error
        # One object in a region that is not to be had does not switch off the queue.
        return Blocked(str(error), reason=error.reason) if isinstance(error, SwitchedOff) else error


class _Failed(Exception):
    """An object that cannot be read now."""

    def __init__(self, named: Named, error: ExporterError) -> None:
        super().__init__(str(error))
        self.named = named
        self.error = error


@dataclass(frozen=True, slots=True)
class _Failure:
    message: Message
    named: Named
    error: ExporterError


@dataclass(slots=True)
class _Load:
    """The batch being filled, and the messages that are complete with it."""

    parcel: Parcel
    receipts: list[Message] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def put(self, item: Item) -> Iterator[Batch]:
        for batch in self.parcel.put(item):
            yield self._signed(batch)

    def rest(self) -> Iterator[Batch]:
        if not self.parcel.empty or self.receipts or self.passed_over:
            yield self._signed(self.parcel.take())

    def _signed(self, batch: Batch) -> Batch:
        batch = replace(batch, receipts=tuple(self.receipts), passed_over=dict(self.passed_over))
        self.receipts.clear()
        self.passed_over.clear()
        return batch


def _messages(batch: Batch) -> list[Message]:
    return [receipt for receipt in batch.receipts if isinstance(receipt, Message)]
