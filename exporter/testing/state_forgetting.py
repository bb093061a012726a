"""The laws of :meth:`exporter.contract.State.prune`; a part of :class:`exporter.testing.state.StateContract`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.contract import Commit, Entry, State, Unit
from exporter.record import content_key
from exporter.testing.state_suite import HERE, NOON, StateSuite, entries_of, in_quarantine, key, labels

__all__ = ["ForgettingLaws"]


class ForgettingLaws(StateSuite):
    """When identities are forgotten, and that nothing else is."""

    def test_prune_keeps_what_was_remembered_since(self, state: State, step: Commit) -> None:
        """An identity is kept at least as long as asked, whatever else is forgotten."""
        days = [NOON + timedelta(days=day) for day in range(31)]
        for number, day in enumerate(days):
            state.commit(replace(step, at=day, entries=entries_of(number)))
        before = days[-1] - self.horizon
        state.prune(before)
        kept = [key(number) for number, day in enumerate(days) if day >= before]
        assert state.unseen(kept) == set()

    def test_prune_forgets_what_is_long_past(self, state: State, step: Commit) -> None:
        """Two horizons later an identity is gone, and prune says how many went."""
        for day in range(31):
            state.commit(replace(step, at=NOON + timedelta(days=day), entries=entries_of(day)))
        forgotten = state.prune(NOON + timedelta(days=30) - self.horizon)
        unseen = state.unseen([key(day) for day in range(31)])
        assert {key(day) for day in range(11)} <= unseen
        assert forgotten == len(unseen)
        assert state.size().identities == 31 - forgotten

    def test_prune_keeps_counts_positions_units_and_quarantine(self, state: State, step: Commit) -> None:
        """Only identities are forgotten; totals never shrink."""
        self.commit_everything(state, step)
        for day in (15, 30):
            state.commit(replace(step, at=NOON + timedelta(days=day), entries=entries_of(100 + day)))
        assert state.prune(NOON + timedelta(days=20)) > 0
        assert dict(state.totals()) == {labels(): 4}
        assert state.load(HERE) == {"v": 1, "line": 7}
        assert list(state.unfinished(HERE, [Unit("a", "1")])) == []
        assert [item for _, item in state.quarantined(10)] == [in_quarantine(7)]

    def test_what_was_forgotten_counts_again(self, state: State, step: Commit) -> None:
        """The horizon is where the promise ends: a repeat after it is a new event."""
        for day in (0, 15, 30):
            state.commit(replace(step, at=NOON + timedelta(days=day), entries=entries_of(day)))
        state.prune(NOON + timedelta(days=20))
        assert state.commit(replace(step, at=NOON + timedelta(days=30), entries=entries_of(0))).new == 1
        assert dict(state.totals()) == {labels(): 4}

    def test_prune_goes_by_when_not_by_event_time(self, state: State, step: Commit) -> None:
        """The events of an old archive are remembered from the day they are read."""
        ancient = content_key(b"an event of 2014", hour=390_000)
        state.commit(replace(step, entries=(Entry(ancient, labels()),)))
        state.prune(NOON - timedelta(days=1))
        assert state.unseen([ancient]) == set()

    def test_a_known_key_counts_once_over_generations(self, state: State, step: Commit) -> None:
        """A key that was remembered most of a horizon ago is as known as one of today."""
        for day in range(10):
            at = NOON + timedelta(days=day)
            state.commit(replace(step, at=at, entries=entries_of(day)))
            state.prune(at - self.horizon)
            assert state.commit(replace(step, at=at, entries=entries_of(*range(day + 1)))).new == 0
        assert dict(state.totals()) == {labels(): 10}

    def test_prune_of_an_empty_state_forgets_nothing(self, state: State) -> None:
        """There is nothing to forget before the first commit."""
        assert state.prune(NOON) == 0

    @pytest.mark.parametrize("days", [-400, -6, -1, 1, 6, 400])
    def test_a_jump_of_the_clock_forgets_nothing_early(self, state: State, step: Commit, days: int) -> None:
        """While the clock is wrong and after it was set right, what was remembered within a horizon stays."""
        wrong = timedelta(days=days)
        for number, at in enumerate([NOON, NOON + wrong, NOON + timedelta(hours=1)]):
            state.prune(at - self.horizon)
            state.commit(replace(step, at=at, entries=entries_of(number)))
            state.prune(at - self.horizon)
        state.prune(NOON + timedelta(hours=2) - self.horizon)
        assert state.unseen([key(number) for number in range(3)]) == set()

    def test_a_prune_by_a_clock_that_runs_ahead_forgets_nothing(self, state: State, step: Commit) -> None:
        """What was remembered within a horizon of the newest commit stays, whatever time is asked for."""
        state.commit(replace(step, entries=entries_of(1)))
        state.commit(replace(step, at=NOON + self.horizon * 0.6, entries=entries_of(2)))
        state.prune(NOON + timedelta(days=3_650))
        assert state.unseen([key(1), key(2)]) == set()

    def test_when_a_key_was_remembered_survives_a_new_process(self, state: State, step: Commit, tmp_path: Path) -> None:
        """The latest of the times counts, also after jumps back and a restart: nothing is forgotten for them."""
        for number, days in enumerate([0, 4, 0.5]):
            state.commit(replace(step, at=NOON + timedelta(days=days), entries=entries_of(number)))
        again = self.reopen(state, tmp_path)
        step = replace(step, epoch=again.claim("next"))
        for number, days in enumerate([-6, 20], start=3):
            again.commit(replace(step, at=NOON + timedelta(days=days), entries=entries_of(number)))
        again.prune(NOON + timedelta(days=3))
        assert again.unseen([key(1)]) == set()
        again.close()
