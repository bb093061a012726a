"""READ FIRST. The values that travel and the protocols that carry them; each method's docstring is its law.

The straight path of a record, walked by :mod:`exporter.pipeline` alone::

    1 read - 2 parse - 3 select - 4 unseen - 5 send - 6 commit - 7 settle
    `------------- values --------------'   `------- effects -------'

A crash after 5 sends the record again with the same ``log.record.uid`` and counts it once; a crash after 6 has it
redelivered and dropped at 4. Every other order of the three effects loses data or miscounts
(docs/adr/0001-order-of-effects.md). Whoever writes a source, a sink or a state runs the conformance suite of
:mod:`exporter.testing` over it: the suite is these docstrings as tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, TypeAlias

from exporter.record import Document, Item, Malformed, Record

__all__ = [
    "JSON",
    "Batch",
    "Clock",
    "Commit",
    "Committed",
    "Delivery",
    "Document",
    "Entry",
    "Finding",
    "Item",
    "Labels",
    "Malformed",
    "Partition",
    "Position",
    "Progress",
    "Quarantined",
    "Record",
    "Sink",
    "Source",
    "State",
    "StateSize",
    "Unit",
]

JSON: TypeAlias = "None | bool | int | float | str | Sequence[JSON] | Mapping[str, JSON]"

#: Where a source stands in one partition, always *after* the last item delivered. JSON with a version under ``"v"``
#: that only its source reads; everybody else carries it unopened.
Position: TypeAlias = Mapping[str, JSON]


# -- values: from the source to the pipeline ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """A part of a source that is read in sequence by one worker: a folder, a region's Event history, a queue.

    Attributes:
        source: the configured name of the source; unique in a process.
        key: which part; stable over restarts, because the state keeps the position under ``source`` and ``key``.
    """

    source: str
    key: str

    def __str__(self) -> str:
        return f"{self.source}/{self.key}"


@dataclass(frozen=True, slots=True)
class Unit:
    """Something that is finished as a whole: a file, an object. All three fields together say which.

    Attributes:
        name: of the file or object.
        version: the same name in another version is another unit.
        scope: a part of the partition (a day of one account and region) whose units are forgotten together once the
            source never asks for them again; the source derives it from the name. "": kept for ever.
    """

    name: str
    version: str
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step of :meth:`Source.read` yields: bounded in records and bytes.

    Attributes:
        partition: where it was read.
        items: in any order; may be empty when only the position or finished units move.
        after: the position once all of this batch is committed; None: more of the same follows, do not move.
        finished: units that are complete once this batch is committed.
        forget: scopes of this partition whose finished units the state may forget with this batch.
        passed_over: records the source itself knows not to be wanted, by filter reason: read and filtered.
        through: up to this event time all has been read once this batch is committed; None: not known.
        receipts: the source's own, for settle and abandon; nobody else opens them.
        listed: found by re-listing the bucket behind a queue, not by a message; what is new in it was lost there.
    """

    partition: Partition
    items: tuple[Item, ...] = ()
    after: Position | None = None
    finished: tuple[Unit, ...] = ()
    forget: tuple[str, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    through: datetime | None = None
    receipts: tuple[object, ...] = ()
    listed: bool = False


# -- values: from the pipeline to sink and state ------------------------------------------------------------------


class Labels(NamedTuple):
    """The widest label set an event is counted under; ``/metrics`` aggregates it to what is asked for.

    All values are folded already: bounded sets, ``_MISSING`` and ``_OTHER``, never raw text of a caller.
    ``error_code`` is empty for a call that succeeded. ``correction`` marks an addendum with reason UPDATED_DATA,
    which is counted apart and never as a second call.
    """

    event_source: str
    event_name: str
    principal_type: str
    aws_region: str
    account_id: str
    error_code: str = ""
    correction: bool = False


class Entry(NamedTuple):
    """One identity to remember, and what to count for it when it is new; no labels: remember, do not count."""

    key: bytes
    labels: Labels | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the receiver said of one request it answered.

    OTLP's partial success names a count and a text, never which records, and forbids sending them again
    (opentelemetry-proto, docs/specification.md): so ``rejected`` may be "some of these".

    Attributes:
        delivered: records accepted.
        rejected: records refused; ``delivered + rejected`` is what was sent.
        reason: the receiver's words on the refusal.
    """

    delivered: int
    rejected: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What lies in quarantine: the bytes, where they came from, and why.

    Attributes:
        key: 16 bytes; the identity of the record, or of the content when there is no record.
        reason: a key of :data:`exporter.record.QUARANTINE_REASONS`.
        counted: the event was counted already (partial success): a later replay must not count it again.
    """

    key: bytes
    partition: Partition
    reason: str
    detail: str
    origin: str
    sample: bytes
    size: int
    at: datetime
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything one step changes in the state: all of it or nothing.

    Attributes:
        epoch: what :meth:`State.claim` returned to this process.
        at: when, by the injected clock; identities are remembered from here on.
        position: None leaves the stored one.
        forget: scopes of the partition whose finished units are forgotten, before those of ``finished`` are
            remembered. A scope that is not there, or "", forgets nothing.
    """

    partition: Partition
    epoch: int
    at: datetime
    entries: tuple[Entry, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    position: Position | None = None
    finished: tuple[Unit, ...] = ()
    forget: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """What the state made of a commit: how many entries were new. The others were known and were not counted again."""

    new: int


@dataclass(frozen=True, slots=True)
class StateSize:
    """How large the state is: identities remembered, items in quarantine, bytes on disk (0 in memory)."""

    identities: int
    quarantined: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``check``: what was tried and what came of it, with the line that fixes it."""

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    fix: str = ""


# -- protocols ----------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """The only time in the program."""

    def now(self) -> datetime:
        """The wall clock, timezone-aware, UTC. It may jump back."""
        ...

    def monotonic(self) -> float:
        """Seconds that never shrink; for durations."""
        ...

    def wait(self, seconds: float) -> None:
        """Return after so many seconds; raise :class:`~exporter.errors.Stopping` as soon as the process is to end."""
        ...


class Progress(Protocol):
    """What the state knows of one partition, as its source may ask for it while reading."""

    @property
    def position(self) -> Position | None:
        """The position last committed; None: this partition was never read."""
        ...

    def unfinished(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """Those of the units that are not committed as finished, in the given order."""
        ...


class Source(Protocol):
    """Where records come from.

    One worker reads one partition at a time; different partitions are read by different threads, so whatever
    partitions share inside a source (a rate limit, a client) is safe to share.
    """

    name: str
    #: Seconds the loop waits after a read that caught up, before it reads again.
    interval: float

    def check(self) -> Iterable[Finding]:
        """Try credentials, permissions and addresses without changing anything; yield what was found.

        What is wrong is a finding, not an error: this raises only for a bug.
        """
        ...

    def partitions(self) -> Sequence[Partition]:
        """The partitions there are now. Called at start and again from time to time; cheap.

        Raises:
            Retryable, Blocked: as for :meth:`read`; the loop asks again.
        """
        ...

    def read(self, partition: Partition, progress: Progress) -> Iterator[Batch]:
        """Yield what is new after ``progress.position``, in bounded batches; end when caught up.

        Never changes the remote side, never sleeps but by the injected clock, and holds no more than one batch in
        memory. The loop commits and settles each batch before it asks for the next one; after an error, or when it
        stops asking, a later ``read`` starts again from what was committed by then. What was committed may be
        yielded again; what was not must be.

        A record that cannot be read is yielded as :class:`Malformed`; the others of its unit are yielded as if it
        were not there.

        Raises:
            Retryable: it may work later.
            Blocked: an operator has to act; the message says how.
            SwitchedOff: never to be had in this partition.
            Stopping: from the clock; let it pass.
        """
        ...

    def settle(self, batch: Batch) -> None:
        """Tell the remote side that the batch is done (delete the message). Called only after its commit.

        Safe to repeat. A failure costs a redelivery and nothing else, so it raises nothing that a retry would mend.
        """
        ...

    def abandon(self, batch: Batch) -> None:
        """Give the batch back early: it will not be committed. May not be called at all (kill -9)."""
        ...

    def close(self) -> None:
        """Free what is held. Safe twice, and without any read before."""
        ...


class Sink(Protocol):
    """Where records go."""

    def check(self) -> Iterable[Finding]:
        """Try whether the receiver would take records, without sending any; yield what was found."""
        ...

    def send(self, records: Sequence[Record]) -> Delivery:
        """Hand over the records in one request and block until the receiver has answered for them.

        Never called with nothing. Safe to repeat with the same records: they carry the same ``log.record.uid``.
        Returns only when the receiver has accepted or refused each one for good; raising means that nothing is known
        to be accepted. Called by several threads at once.

        Raises:
            Retryable: hold and send the same again, not before ``after`` seconds.
            Blocked: nothing will be taken until an operator acts.
            TooLarge: send fewer at once.
            Permanent: this data will never be taken; a single record is quarantined, several are halved.
        """
        ...

    def close(self) -> None:
        """Free what is held. Safe twice. Does not lose anything: whatever ``send`` returned for is accepted."""
        ...


class State(Protocol):
    """What must survive: identities, counts, quarantine, positions. Safe to use from several threads."""

    #: How many entries one commit may hold.
    max_entries: int

    def claim(self, owner: str) -> int:
        """Become the writer; returns the epoch for :class:`Commit`. A later claim, by anyone, fences this one.

        Raises:
            ConfigError: somebody else holds the state and it cannot be shared.
            Blocked, Retryable: as for :meth:`commit`.
        """
        ...

    def load(self, partition: Partition) -> Position | None:
        """The position last committed for the partition; None if there is none."""
        ...

    def unfinished(self, partition: Partition, units: Sequence[Unit]) -> Sequence[Unit]:
        """Those of the units that no commit of this partition has named as finished, in the given order.

        A unit whose scope was forgotten since is unfinished again.
        """
        ...

    def unseen(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of the 16-byte keys that no commit has remembered."""
        ...

    def commit(self, commit: Commit) -> Committed:
        """Apply all of the commit in one transaction that is on disk when this returns.

        A key that is already remembered is neither remembered nor counted again: the exactness of the counters is
        decided here, not by :meth:`unseen`. Of two entries with one key the first decides. A quarantine key that is
        there already is left as it is. When this raises, nothing of the commit is there, now or after a restart.

        Raises:
            ValueError: more entries than :attr:`max_entries`.
            Fenced: ``commit.epoch`` is not the newest claim.
            Blocked: the disk is full, gone or read-only.
            Retryable: busy.
        """
        ...

    def totals(self) -> Mapping[Labels, int]:
        """How many identities were counted under each label set, ever. A snapshot that costs no I/O.

        In the order of first counting, over restarts too: what is folded or shown apart goes by this order.
        """
        ...

    def quarantined(self, limit: int, after: int = 0) -> Sequence[tuple[int, Quarantined]]:
        """What lies in quarantine, oldest first, each with its growing number; from the one after ``after`` on."""
        ...

    def prune(self, before: datetime) -> int:
        """Forget identities that were all remembered before this time; returns how many. Counts and positions stay.

        May keep an identity longer than asked, never shorter; nothing within a horizon of the newest commit goes,
        whatever is asked, because the clock that asks may be wrong.
        """
        ...

    def size(self) -> StateSize:
        """How large it is; cheap enough for each scrape."""
        ...

    def close(self) -> None:
        """Free what is held. Safe twice. Opening again finds everything that was committed."""
        ...
