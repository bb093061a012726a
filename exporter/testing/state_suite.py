"""What the laws of :mod:`exporter.testing.state` share: events, commits, and how a state is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from exporter.contract import Commit, Entry, Labels, Partition, Quarantined, State, Unit
from exporter.record import content_key

__all__ = ["HERE", "NOON", "ODD", "THERE", "StateSuite", "entries_of", "in_quarantine", "key", "labels"]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HERE = Partition("archive", "folder")
THERE = Partition("events", "us-east-1")
#: What a file name that is not UTF-8 and the JSON of an attacker may hold.
ODD = "caf\udce9 \x00 \u2028 😀"


def key(number: int) -> bytes:
    """A ledger key; a thousand of them share an hour, as they do in a trail."""
    return content_key(f"event {number}".encode(), hour=490_000 + number // 1_000)


def labels(name: str = "CreateAlert", *, error: str = "", correction: bool = False) -> Labels:
    """A label set of Lookout for Metrics."""
    return Labels("lookoutmetrics.amazonaws.com", name, "IAMUser", "us-east-1", "123456789012", error, correction)


def entries_of(*numbers: int, of: Labels | None = None) -> tuple[Entry, ...]:
    """One entry for each number, all counted under the same labels."""
    return tuple(Entry(key(number), of or labels()) for number in numbers)


def in_quarantine(number: int, *, reason: str = "not_json") -> Quarantined:
    """A broken record, different for each number."""
    return Quarantined(
        key=key(number),
        partition=HERE,
        reason=reason,
        detail="byte 3",
        origin=f"trail.json#{number}",
        sample=b"\x00\xff{",
        size=3,
        at=NOON.replace(microsecond=123_457),
    )


class StateSuite:
    """What the laws of a state share: how it is opened, and a commit to start from.

    Attributes:
        horizon: what :meth:`open_state` has to give the state as its horizon.
        waived: a law that this state does not keep -> why; it is skipped with these words.
    """

    horizon: ClassVar[timedelta] = timedelta(days=10)
    waived: ClassVar[Mapping[str, str]] = {}

    def open_state(self, folder: Path) -> State:
        """Open the state that lives in the folder; the folder is there and is empty the first time."""
        raise NotImplementedError

    def reopen(self, state: State, folder: Path) -> State:
        """End this state as a process does at its end, and open it again."""
        state.close()
        return self.open_state(folder)

    @pytest.fixture(autouse=True)
    def _waive(self, request: pytest.FixtureRequest) -> None:
        why = self.waived.get(getattr(request.node, "originalname", request.node.name))
        if why:
            pytest.skip(why)

    @pytest.fixture
    def state(self, tmp_path: Path) -> Iterator[State]:
        """A new state, closed afterwards."""
        state = self.open_state(tmp_path)
        yield state
        state.close()

    @pytest.fixture
    def step(self, state: State) -> Commit:
        """A commit that changes nothing, of the process that has claimed the state."""
        return Commit(partition=HERE, epoch=state.claim("test"), at=NOON)

    def commit_everything(self, state: State, step: Commit) -> None:
        """Commit something of each kind; two events are counted."""
        everything = replace(
            step,
            entries=(*entries_of(1, 2), Entry(key(3), None)),
            quarantined=(in_quarantine(7),),
            position={"v": 1, "line": 7},
            finished=(Unit("a", "1"),),
        )
        assert state.commit(everything).new == 3

    def another_commit(self, step: Commit) -> Commit:
        """Something of each kind again; one event of it is new."""
        return replace(
            step,
            entries=entries_of(1, 4),
            quarantined=(in_quarantine(8),),
            position={"v": 1, "line": 8},
            finished=(Unit("b", "1"),),
        )

    def everything(self, state: State) -> object:
        """All that the state says of the two."""
        size = state.size()
        return (
            state.unseen([key(number) for number in range(10)]),
            dict(state.totals()),
            state.load(HERE),
            list(state.unfinished(HERE, [Unit("a", "1"), Unit("b", "1")])),
            list(state.quarantined(10)),
            (size.identities, size.quarantined),
        )
