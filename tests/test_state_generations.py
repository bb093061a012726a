"""The rule by which identities are forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from exporter.state.generations import Generation, forgettable, opens_next

HORIZON = timedelta(days=10)
START = datetime(2026, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def generation(number: int, opened: float, last: float) -> Generation:
    return Generation(number, day(opened), day(last), entries=1)


@pytest.mark.parametrize(
    ("at", "opens"),
    [
        pytest.param(0, False, id="the same instant"),
        pytest.param(4.9, False, id="before half a horizon"),
        pytest.param(5, True, id="half a horizon later"),
        pytest.param(400, True, id="much later"),
        pytest.param(-4.9, False, id="a small jump back"),
        pytest.param(-5, True, id="half a horizon back"),
        pytest.param(-20_000, True, id="back to the beginning of time"),
    ],
)
def test_a_generation_lasts_half_a_horizon(at: float, opens: bool) -> None:
    """The next one opens half a horizon away from the opening of the current one, in either direction."""
    assert opens_next(generation(1, 0, 3), day(at), HORIZON) is opens


def test_a_commit_widens_its_generation() -> None:
    """The last time is the latest one, not that of the last commit."""
    grown = generation(1, 0, 3).with_commit(day(4), 5).with_commit(day(2), 7)
    assert grown == Generation(1, day(0), day(4), entries=13)


STEADY = (generation(1, 0, 4), generation(2, 5, 9), generation(3, 10, 14))
#: Started in 1970, was set right, and went on.
WOKE_EARLY = (generation(1, -20_000, -19_999), generation(2, 0, 4), generation(3, 5, 6))
#: Was set back by years and right again, without a commit since.
SET_BACK = (generation(1, 0, 4), generation(2, -3_000, -2_999))
#: Ran ahead by years for a while.
RAN_AHEAD = (generation(1, 0, 4), generation(2, 3_000, 3_001), generation(3, 5, 9), generation(4, 10, 14))


@pytest.mark.parametrize(
    ("living", "newest", "before", "forgotten"),
    [
        pytest.param((), None, 100, (), id="nothing yet"),
        pytest.param(STEADY, 100, -1, (), id="long ago"),
        pytest.param(STEADY, 100, 4.5, (), id="the last commit is before, the next opening is not"),
        pytest.param(STEADY, 100, 5, (), id="at the opening of the next"),
        pytest.param(STEADY, 100, 5.1, (1,), id="after the opening of the next"),
        pytest.param(STEADY, 100, 10.1, (1, 2), id="two"),
        pytest.param(STEADY, 100, 14, (1, 2), id="while the current one is open"),
        pytest.param(STEADY, 100, 50, (1, 2), id="never the current one"),
        pytest.param(STEADY, 14, 50, (), id="never within a horizon of the newest commit"),
        pytest.param(STEADY, 16, 50, (1,), id="no more than the newest commit allows"),
        pytest.param(WOKE_EARLY, 6, -4, (), id="a clock that starts in 1970 loses nothing when it is set right"),
        pytest.param(WOKE_EARLY, 12, 2, (1,), id="and what it remembered goes a horizon later"),
        pytest.param(SET_BACK, 4, -6, (), id="a clock that was set back loses nothing when it is set right"),
        pytest.param(RAN_AHEAD, 3_001, 2, (), id="a clock that ran ahead loses nothing when it is set right"),
        pytest.param(RAN_AHEAD, 3_001, 12, (3,), id="what came afterwards goes in its time"),
    ],
)
def test_a_generation_is_forgotten_when_all_of_it_is_old(
    living: tuple[Generation, ...], newest: float | None, before: float, forgotten: tuple[int, ...]
) -> None:
    """Judged by the last commit, by the opening of the next one, and by the newest commit of all."""
    found = forgettable(living, before=day(before), newest=None if newest is None else day(newest), horizon=HORIZON)
    assert tuple(each.number for each in found) == forgotten
