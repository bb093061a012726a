"""The laws of :attr:`exporter.contract.Unit.scope`; a part of :class:`exporter.testing.state.StateContract`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from exporter.contract import Commit, Position, State, Unit
from exporter.errors import Fenced
from exporter.testing.state_suite import HERE, ODD, THERE, StateSuite

__all__ = ["ScopeLaws"]

MONDAY, TUESDAY, ALWAYS = Unit("a", "1", "monday"), Unit("a", "1", "tuesday"), Unit("a", "1")


class ScopeLaws(StateSuite):
    """Finished units are forgotten by scope, and not otherwise."""

    def test_another_scope_is_another_unit(self, state: State, step: Commit) -> None:
        """Name, version and scope together say which unit it is; the order of the question is kept."""
        state.commit(replace(step, finished=(MONDAY, ALWAYS)))
        others = [TUESDAY, Unit("a", "2", "monday"), Unit("b", "1", "monday")]
        assert list(state.unfinished(HERE, [others[0], MONDAY, *others[1:], ALWAYS])) == others

    def test_a_forgotten_scope_is_unfinished_again(self, state: State, step: Commit) -> None:
        """Its units, all of them, and no others."""
        many = [Unit(str(number), "1", "monday") for number in range(1_200)]
        state.commit(replace(step, finished=(*many, TUESDAY, ALWAYS)))
        state.commit(replace(step, forget=("monday",)))
        assert list(state.unfinished(HERE, [*many, TUESDAY, ALWAYS])) == many

    def test_scopes_belong_to_their_partition(self, state: State, step: Commit) -> None:
        """Forgetting a day here forgets nothing of the same day elsewhere."""
        for partition in (HERE, THERE):
            state.commit(replace(step, partition=partition, finished=(MONDAY,)))
        state.commit(replace(step, forget=("monday",)))
        assert list(state.unfinished(HERE, [MONDAY])) == [MONDAY]
        assert list(state.unfinished(THERE, [MONDAY])) == []

    def test_units_without_a_scope_are_never_forgotten(self, state: State, step: Commit) -> None:
        """The empty scope is for what is kept for ever."""
        state.commit(replace(step, finished=(ALWAYS, MONDAY)))
        state.commit(replace(step, forget=("",)))
        assert list(state.unfinished(HERE, [ALWAYS, MONDAY])) == []

    def test_forgetting_comes_before_finishing(self, state: State, step: Commit) -> None:
        """A unit that is finished by the commit that forgets its scope is the one that stays."""
        late = Unit("late", "1", "monday")
        state.commit(replace(step, finished=(MONDAY,)))
        state.commit(replace(step, finished=(late,), forget=("monday",)))
        assert list(state.unfinished(HERE, [MONDAY, late])) == [MONDAY]

    def test_a_forgotten_unit_can_be_finished_again(self, state: State, step: Commit) -> None:
        """A scope that was forgotten too early comes back and is forgotten once more."""
        state.commit(replace(step, finished=(MONDAY,)))
        state.commit(replace(step, forget=("monday", "monday")))
        state.commit(replace(step, finished=(MONDAY,)))
        assert list(state.unfinished(HERE, [MONDAY])) == []
        state.commit(replace(step, forget=("monday",)))
        assert list(state.unfinished(HERE, [MONDAY])) == [MONDAY]

    def test_a_scope_that_is_not_there_is_forgotten_without_a_word(self, state: State, step: Commit) -> None:
        """In a partition that was never read too; nothing else comes of it."""
        state.commit(replace(step, partition=THERE, forget=("monday",)))
        assert state.load(THERE) is None
        state.commit(replace(step, finished=(TUESDAY,), forget=("monday",)))
        assert list(state.unfinished(HERE, [TUESDAY])) == []

    @pytest.mark.parametrize("position", [None, {"v": 1, "day": 2}], ids=["position stays", "position moves"])
    def test_forgetting_goes_with_the_position(self, state: State, step: Commit, position: Position | None) -> None:
        """Both are of one commit, or the position is left as it was."""
        state.commit(replace(step, position={"v": 1, "day": 1}, finished=(MONDAY,)))
        state.commit(replace(step, position=position, forget=("monday",)))
        assert state.load(HERE) == (position or {"v": 1, "day": 1})
        assert list(state.unfinished(HERE, [MONDAY])) == [MONDAY]

    def test_a_commit_that_fails_forgets_nothing(self, state: State, step: Commit) -> None:
        """A fenced commit leaves the units finished."""
        state.commit(replace(step, finished=(MONDAY,)))
        state.claim("another")
        with pytest.raises(Fenced):
            state.commit(replace(step, forget=("monday",)))
        assert list(state.unfinished(HERE, [MONDAY])) == []

    def test_a_scope_may_be_any_string(self, state: State, step: Commit) -> None:
        """Also one that is not UTF-8."""
        odd = Unit(ODD, ODD, ODD)
        state.commit(replace(step, finished=(odd,)))
        assert list(state.unfinished(HERE, [odd])) == []
        state.commit(replace(step, forget=(ODD,)))
        assert list(state.unfinished(HERE, [odd])) == [odd]

    def test_scopes_survive_a_new_process(self, state: State, step: Commit, tmp_path: Path) -> None:
        """What was finished and what was forgotten is so after opening again."""
        state.commit(replace(step, finished=(MONDAY, TUESDAY)))
        state.commit(replace(step, forget=("monday",)))
        again = self.reopen(state, tmp_path)
        assert list(again.unfinished(HERE, [MONDAY, TUESDAY])) == [MONDAY]
        again.close()
