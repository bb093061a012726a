"""How far a region's folder has been listed, and what a finished listing allows to forget. Pure.

A key is never a place to go on from: files come late and between others (CloudTrail delivers a minute's files in any
order; Wazuh lost 40 % of a trail by a cursor on the last key, wazuh#33108). So every listing begins some way back, and
what was read there is known by its unit:

* each round begins an overlap before the newest minute seen,
* once an hour, and after a start, one begins with the day before that minute's,
* once a day one sweeps everything from the oldest day that is still open.

A day is closed once a sweep has been through it and the newest minute is ``depth`` behind its end; its units are
forgotten then. Minutes come from the names of files and never from our clock, which only says which names cannot be
true: one from the future moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from exporter.contract import Position
from exporter.errors import Blocked
from exporter.sources.trail_keys import Listed

__all__ = ["Place", "Walk"]

_DAY = timedelta(days=1)
#: CloudTrail names a file up to five minutes ahead of its delivery; the rest is for our clock.
_AHEAD = timedelta(hours=1)
_STAMP = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one partition stands; UTC.

    Attributes:
        since: files named before this minute are not read.
        day: the oldest day that is still looked at.
        minute: the newest minute of a file that was read, everything listed before it included.
        swept: when the last sweep ended well; None: never.
    """

    since: datetime
    day: date
    minute: datetime
    swept: datetime | None

    @classmethod
    def first(cls, since: datetime) -> Place:
        """Before the first listing."""
        return cls(since, since.date(), since, None)

    def position(self) -> Position:
        """What the state keeps."""
        return {
            "v": 1,
            "since": self.since.strftime(_STAMP),
            "day": self.day.isoformat(),
            "minute": self.minute.strftime(_STAMP),
            "swept": self.swept.strftime(_STAMP) if self.swept else "",
        }

    @classmethod
    def of(cls, position: Position) -> Place:
        """The place a position tells.

        Raises:
            Blocked: another version wrote it.
        """
        try:
            if position["v"] != 1:
                raise ValueError(f"version {position['v']!r}")
            return cls(
                since=_moment(position["since"]),
                day=date.fromisoformat(str(position["day"])),
                minute=_moment(position["minute"]),
                swept=_moment(position["swept"]) if position["swept"] else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Blocked(
                f"the stored position {dict(position)!r} was not written by this version: {error!r}. "
                "Run the version that wrote it, or give the source another name to begin anew.",
                reason="state",
            ) from error


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(str(value))
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return moment.astimezone(UTC).replace(microsecond=0)


class Walk:
    """One listing, in the order of its keys: what has been found, what is done, and where that leads.

    Args:
        place: as committed when the listing began.
        now: our clock then.
        depth: how long behind its end a day stays open.
        sweep: the listing began with the oldest open day, so days may be closed by it.
    """

    def __init__(self, place: Place, *, now: datetime, depth: timedelta, sweep: bool) -> None:
        self.place = place
        self._now = now
        self._depth = depth
        self._sweep = sweep
        self._found = place.minute
        self._done = place.minute
        self._days: set[date] = set()
        #: What an earlier process may have finished lies in no later day than this.
        self._known = place.minute.date() + _DAY
        self._held: date | None = None
        self._reached = place.day

    def found(self, listed: Listed) -> None:
        """The listing has this object; each one, finished or not."""
        if listed.minute is not None:
            self._found = max(self._found, self._true(listed.minute))
        if listed.day is not None:
            self._days.add(listed.day)

    def begun(self, listed: Listed) -> None:
        """From here on the batch being filled holds something of this object's day."""
        self._reached = listed.day or self._reached
        if self._held is None:
            self._held = self._reached

    def done(self, listed: Listed) -> None:
        """This object is finished, and all before it in the listing."""
        if listed.minute is not None:
            self._done = max(self._done, self._true(listed.minute))

    def taken(self) -> tuple[Place, tuple[str, ...]]:
        """The place once the batch filled so far is committed, and the scopes to forget with it.

        Nothing of a day that this very batch finishes something of: forgetting comes first in a commit.
        """
        held, self._held = self._held, None
        return self._moved(self._done, held)

    def ended(self) -> tuple[Place, tuple[str, ...]]:
        """The place at the end of the listing, everything before being committed."""
        place, forget = self._moved(max(self._found, self._done), self._held)
        if self._sweep:
            self.place = place = replace(place, swept=self._now.replace(microsecond=0))
        return place, forget

    def _true(self, minute: datetime) -> datetime:
        return minute if minute <= self._now + _AHEAD else self.place.minute

    def _moved(self, minute: datetime, held: date | None) -> tuple[Place, tuple[str, ...]]:
        before = self.place
        day = before.day
        if self._sweep:
            open_from = (minute - self._depth).date()
            day = max(day, min(open_from, held) if held is not None else open_from)
        gone = {each for each in self._days if each < day}
        self._days -= gone
        each = before.day
        while each < min(day, self._known):
            gone.add(each)
            each += _DAY
        self.place = replace(before, day=day, minute=max(before.minute, minute))
        return self.place, tuple(each.isoformat() for each in sorted(gone))
