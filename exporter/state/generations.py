"""When identities are forgotten. Pure.

An identity is not forgotten by the hour in its key: an archive is years old on the day it is read. What counts is when
it was remembered (:attr:`exporter.contract.Commit.at`). So identities are kept in generations: each takes what is
committed during half a horizon and is forgotten as a whole, which costs no stamp per identity and no search.

The clock may be wrong for a while in either direction, and forgetting is the one thing that cannot be undone. So

- a generation is judged by its last commit *and* by the opening of the next one, and the current one, which has none,
  is not forgotten at all: what a machine that starts in 1970 remembers before its clock is set counts as remembered
  when the clock was right again;
- nothing is forgotten that was remembered within a horizon of the newest commit, whatever time is asked for.

Both can keep an identity longer; by the word of the clock nothing is kept shorter than asked. (Commits from a clock
that ran ahead by more than a horizon cannot be told from a process that was switched off for so long.) With a steady
clock an identity is kept at least one horizon and, while commits go on coming, at most one and a half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

__all__ = ["Generation", "forgettable", "opens_next"]


@dataclass(frozen=True, slots=True)
class Generation:
    """Identities that were remembered one after the other and are forgotten together.

    Attributes:
        number: grows by one with each generation, never used twice.
        opened: the time of its first commit.
        last: the latest time of any of its commits.
        entries: how many identities it holds.
    """

    number: int
    opened: datetime
    last: datetime
    entries: int

    def with_commit(self, at: datetime, new: int) -> Generation:
        """The same generation after a commit that brought so many new identities."""
        return Generation(self.number, self.opened, max(self.last, at), self.entries + new)


def opens_next(current: Generation, at: datetime, horizon: timedelta) -> bool:
    """Whether a commit at this time starts a new generation: half a horizon has passed, either way."""
    return abs(at - current.opened) >= horizon / 2


def forgettable(
    generations: Sequence[Generation], *, before: datetime, newest: datetime | None, horizon: timedelta
) -> tuple[Generation, ...]:
    """The generations in which everything was remembered before the time.

    Args:
        generations: the living ones in the order in which they were opened.
        before: the time asked for.
        newest: the time of the latest commit; None: there was none yet.
    """
    if newest is None:
        return ()
    edge = min(before, newest - horizon)
    return tuple(
        generation for generation, following in pairwise(generations) if max(generation.last, following.opened) < edge
    )
