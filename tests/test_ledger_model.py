"""Each state against a plain dict, over whatever sequence of deliveries, crashes and clock jumps Hypothesis finds."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from exporter.contract import Commit, Entry, Labels, Partition, Position, Quarantined, State, Unit
from exporter.errors import Fenced
from exporter.record import content_key
from exporter.state.memory import MemoryState
from exporter.state.sqlite import SqliteState
from exporter.testing.state import labels

HORIZON = timedelta(days=10)
START = datetime(2026, 1, 1, tzinfo=UTC)
PARTITIONS = (Partition("archive", "folder"), Partition("events", "us-east-1"))
EVENTS = range(24)
LABELS = (labels(), labels("DeleteAlert"), labels(error="AccessDenied"), None)


def key_of(event: int) -> bytes:
    """Every third event happened years ago, as those of an archive and late ones do."""
    return content_key(str(event).encode(), hour=490_000 + event if event % 3 else 400_000)


def labels_of(event: int) -> Labels | None:
    return LABELS[event % len(LABELS)]


ALL_KEYS = [key_of(event) for event in EVENTS]


@dataclass
class Model:
    """What a state is to hold, in the plainest words."""

    remembered: dict[bytes, datetime] = field(default_factory=dict)
    totals: Counter[Labels] = field(default_factory=Counter)
    positions: dict[Partition, Position] = field(default_factory=dict)
    finished: set[tuple[Partition, Unit]] = field(default_factory=set)
    quarantine: dict[bytes, Quarantined] = field(default_factory=dict)
    newest: datetime = START

    def commit(self, commit: Commit) -> int:
        new = 0
        for entry in commit.entries:
            if entry.key not in self.remembered:
                self.remembered[entry.key] = commit.at
                new += 1
                if entry.labels is not None:
                    self.totals[entry.labels] += 1
        for item in commit.quarantined:
            self.quarantine.setdefault(item.key, item)
        if commit.position is not None:
            self.positions[commit.partition] = commit.position
        self.finished = {
            (partition, unit)
            for partition, unit in self.finished
            if partition != commit.partition or not unit.scope or unit.scope not in commit.forget
        }
        self.finished.update((commit.partition, unit) for unit in commit.finished)
        self.newest = max(self.newest, commit.at)
        return new


SCOPES = ("", "monday", "tuesday")


class Ledger(RuleBasedStateMachine):
    """Batches go the way of the pipeline: unseen, send, commit, settle; the process dies between any two of them."""

    batches = Bundle("batches")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.now = START
        self.state = self.open()
        self.epoch = self.state.claim("first")

    def open(self) -> State:
        raise NotImplementedError

    def crash(self) -> None:
        """The process ends at this instant, and another one starts."""
        raise NotImplementedError

    def restart(self) -> None:
        self.crash()
        epoch = self.state.claim("next")
        assert epoch > self.epoch
        self.epoch = epoch

    @initialize(target=batches)
    def start(self) -> Any:
        return multiple()

    @rule(
        target=batches,
        partition=st.sampled_from(PARTITIONS),
        events=st.lists(st.sampled_from(EVENTS), max_size=8),
        broken=st.lists(st.sampled_from(EVENTS), max_size=2),
        files=st.sets(st.sampled_from("ab"), max_size=2),
        scope=st.sampled_from(SCOPES),
        forget=st.sets(st.sampled_from(SCOPES), max_size=1),
        moves=st.booleans(),
    )
    def read(
        self,
        partition: Partition,
        events: list[int],
        broken: list[int],
        files: set[str],
        scope: str,
        forget: set[str],
        moves: bool,
    ) -> Commit:
        """A source yields a batch; what the pipeline would commit for it is ready."""
        return Commit(
            partition=partition,
            epoch=0,
            at=START,
            entries=tuple(Entry(key_of(event), labels_of(event)) for event in events),
            quarantined=tuple(
                Quarantined(key_of(event), partition, "not_json", "", f"#{event}", b"{", 1, START) for event in broken
            ),
            position={"v": 1, "events": list(events)} if moves else None,
            finished=tuple(Unit(name, "1", scope) for name in sorted(files)),
            forget=tuple(forget),
        )

    def commit(self, batch: Commit) -> None:
        """Commit as the pipeline does: only what was unseen a moment ago, or, being careless, all of it."""
        commit = replace(batch, epoch=self.epoch, at=self.now)
        assert self.state.commit(commit).new == self.model.commit(commit)

    @rule(batch=batches)
    def deliver(self, batch: Commit) -> None:
        """A batch is delivered, or redelivered, to its end."""
        unseen = self.state.unseen([entry.key for entry in batch.entries])
        self.commit(replace(batch, entries=tuple(entry for entry in batch.entries if entry.key in unseen)))

    @rule(batch=batches)
    def deliver_without_asking(self, batch: Commit) -> None:
        """Two workers asked at the same time, and both were told "unseen": the commit decides."""
        self.commit(batch)

    @rule(batch=batches, other=st.sampled_from(PARTITIONS))
    def deliver_elsewhere(self, batch: Commit, other: Partition) -> None:
        """Another source carries the same events."""
        self.commit(replace(batch, partition=other))

    @rule(batch=batches)
    def crash_before_commit(self, batch: Commit) -> None:
        """Sent and not committed: nothing of it is there."""
        self.state.unseen([entry.key for entry in batch.entries])
        self.restart()

    @rule(batch=batches)
    def crash_after_commit(self, batch: Commit) -> None:
        """Committed and not settled: all of it is there."""
        self.commit(batch)
        self.restart()

    @rule(batch=batches)
    def fail_in_the_middle(self, batch: Commit) -> None:
        """A commit that raises leaves nothing."""
        broken: Any = {"v": object()}
        with pytest.raises(TypeError):
            self.state.commit(replace(batch, epoch=self.epoch, at=self.now, position=broken))

    @rule(batch=batches)
    def commit_of_a_former_owner(self, batch: Commit) -> None:
        """Whoever was followed by another claim writes nothing."""
        former, self.epoch = self.epoch, self.state.claim("another")
        with pytest.raises(Fenced):
            self.state.commit(replace(batch, epoch=former, at=self.now))

    @rule(hours=st.sampled_from([1, 24, 60, 5 * 24, 12 * 24]))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(hours=st.sampled_from([-1, -24, -6 * 24, -20 * 24, 6 * 24, 20 * 24]))
    def clock_jumps(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(ahead=st.sampled_from([0, 0, 0, 15, 4_000]))
    def prune(self, ahead: int) -> None:
        """What is forgotten was remembered before the time asked for and over a horizon before the newest commit."""
        before = self.now + timedelta(days=ahead) - HORIZON
        forgotten = self.state.prune(before)
        gone = self.state.unseen(list(self.model.remembered))
        assert forgotten == len(gone)
        edge = min(before, self.model.newest - HORIZON)
        for key in gone:
            assert self.model.remembered.pop(key) < edge

    @invariant()
    def totals_are_exact(self) -> None:
        assert dict(self.state.totals()) == dict(self.model.totals)

    @invariant()
    def unseen_is_exact(self) -> None:
        assert self.state.unseen(ALL_KEYS) == set(ALL_KEYS) - self.model.remembered.keys()

    @invariant()
    def the_rest_is_as_committed(self) -> None:
        for partition in PARTITIONS:
            assert self.state.load(partition) == self.model.positions.get(partition)
            units = [Unit(name, "1", scope) for scope in SCOPES for name in "ba"] + [Unit("a", "2")]
            left = [unit for unit in units if (partition, unit) not in self.model.finished]
            assert list(self.state.unfinished(partition, units)) == left
        assert [item for _, item in self.state.quarantined(100)] == list(self.model.quarantine.values())
        size = self.state.size()
        assert (size.identities, size.quarantined) == (len(self.model.remembered), len(self.model.quarantine))

    def teardown(self) -> None:
        self.state.close()


class MemoryLedger(Ledger):
    """Memory has no crash to survive: the machine goes on with the next claim."""

    def open(self) -> State:
        return MemoryState(horizon=HORIZON)

    def crash(self) -> None:
        pass


class SqliteLedger(Ledger):
    """A crash is a copy of the files as they lie there, without SQLite's shared memory, opened by another state."""

    def open(self) -> State:
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.lives = 0
        return SqliteState(path=self.folder / "0" / "state.db", horizon=HORIZON)

    def crash(self) -> None:
        old, new = self.folder / str(self.lives), self.folder / str(self.lives + 1)
        self.lives += 1
        new.mkdir()
        for name in ("state.db", "state.db-wal"):
            shutil.copy(old / name, new / name)
        self.state.close()
        shutil.rmtree(old)
        self.state = SqliteState(path=new / "state.db", horizon=HORIZON)
        # Only identities' generations are on disk, so the newest commit known may be an older one: kept longer.

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


_SETTINGS = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

TestMemoryLedger = MemoryLedger.TestCase
TestMemoryLedger.settings = _SETTINGS
TestSqliteLedger = SqliteLedger.TestCase
TestSqliteLedger.settings = _SETTINGS
