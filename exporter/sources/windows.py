"""Reading by time, where the remote side is asked for stretches of it page by page: LookupEvents, FilterLogEvents.

Time is cut into windows whose two ends are fixed before the first page. The position moves when the last page of a
window is committed and never before; every read looks back behind it (overlap), and now and then far back (sweep),
because events arrive minutes, sometimes hours late. What comes again by that is known to the ledger and dropped there.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from exporter.clock import Backoff
from exporter.contract import Batch, Clock, Document, Item, Partition, Position, Progress
from exporter.errors import Blocked, Retryable

__all__ = ["Ask", "Page", "Place", "TokenLost", "TooOld", "Windows", "second"]

_log = logging.getLogger("exporter.windows")

_SECOND = timedelta(seconds=1)
#: How far inside of what is kept a read begins, so that its first request is still in time when it gets its turn.
_MARGIN = timedelta(minutes=5)
#: Where a beginning is found too old nevertheless, it is moved on by this, as long as it is about the oldest day.
_CLAMP = timedelta(hours=1)
#: How often in a row a window may be halved because its token died before its last page.
_HALVINGS = 8
#: Requests for one page while there are pages before it to lose; a first page is left to the loop's back-off.
_TRIES = 5
#: Items and bytes of their text in one batch.
_BATCH_ITEMS, _BATCH_BYTES = 1_000, 4 * 1024 * 1024


class TokenLost(Exception):
    """The token is not accepted any more: the window has to be read from its first page again."""


class TooOld(Exception):
    """Nothing that old is kept. Its cause is the translated error."""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer.

    Attributes:
        items: may be empty although more follows.
        following: the token of the next page; None: this was the last.
    """

    items: tuple[Item, ...]
    following: str | None

    def portions(self) -> Iterator[tuple[Item, ...]]:
        """The items in batches bounded in number and bytes; at least one, which may be empty.

        50 records of the usual kilobytes are one; records of the 256 KB that CloudTrail allows are several.
        """
        first, size = 0, 0
        for place, item in enumerate(self.items):
            bytes_of_item = len(item.data) if isinstance(item, Document) else len(item.sample)
            if place > first and (place - first >= _BATCH_ITEMS or size + bytes_of_item > _BATCH_BYTES):
                yield self.items[first:place]
                first, size = place, 0
            size += bytes_of_item
        yield self.items[first:]


#: A question with its ends fixed: token -> page, the first one for None.
Ask: TypeAlias = Callable[[str | None], Page]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one partition stands; whole seconds, UTC.

    Attributes:
        since: where its first read began; nothing before is ever asked for.
        through: everything up to here has been read once.
        swept: when the last deep look back was made, or the first read.
    """

    since: datetime
    through: datetime
    swept: datetime

    def position(self) -> Position:
        """``{"v": 1, "since": T, "through": T, "swept": T}``, times as ``2026-02-01T08:00:00Z``."""
        moments = {"since": self.since, "through": self.through, "swept": self.swept}
        return {"v": 1, **{name: moment.strftime("%Y-%m-%dT%H:%M:%SZ") for name, moment in moments.items()}}

    @classmethod
    def of(cls, position: Position) -> Place:
        """The place a position says.

        Raises:
            Blocked: another version wrote it.
        """
        try:
            if position["v"] != 1:
                raise ValueError(f"version {position['v']!r}")
            return cls(*(_moment(position[name]) for name in ("since", "through", "swept")))
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
    return second(moment)


def second(moment: datetime) -> datetime:
    """The whole second, UTC."""
    return moment.astimezone(UTC).replace(microsecond=0)


class Windows:
    """The reading of one source. Holds nothing between two reads; threads may share it.

    Args:
        api: what is asked, in words for people: ``LookupEvents``.
        questions: partition, begin, end (whole seconds, both inclusive) -> what to ask, one after the other, each page
            by page to its end. Called again for every try of a window, so that a question may remember its pages.
        start: where a partition begins that was never read: so far back from now, or an aware time.
        overlap: how far each read looks back behind what is complete.
        sweep_interval: how often it looks back further ...
        sweep_depth: ... and how far.
        window: the longest stretch of time asked for at once; a longer one is read in pieces, oldest first.
        kept: how far back the remote side has anything; None: not known.
        on_gap: told of a stretch that was skipped because it is not kept any more; after its commit.
        on_nothing: told of a partition that is read up to now and had nothing new.
        token_age: a token older than this is not used any more; None: the remote side says when.
        rng: spreads the repeated requests.
    """

    def __init__(
        self,
        *,
        api: str,
        questions: Callable[[Partition, datetime, datetime], Sequence[Ask]],
        clock: Clock,
        start: timedelta | datetime,
        overlap: timedelta,
        sweep_interval: timedelta,
        sweep_depth: timedelta,
        window: timedelta,
        rng: random.Random,
        kept: timedelta | None = None,
        on_gap: Callable[[Partition, datetime, datetime], None] | None = None,
        on_nothing: Callable[[Partition], None] | None = None,
        token_age: timedelta | None = None,
    ) -> None:
        self._api = api
        self._questions = questions
        self._clock = clock
        self._start = start
        self._overlap = overlap
        self._sweep_interval = sweep_interval
        self._sweep_depth = sweep_depth
        self._window = max(window, _SECOND)
        self._rng = rng
        self._kept = kept
        self._on_gap = on_gap
        self._on_nothing = on_nothing
        self._token_age = token_age

    def read(self, partition: Partition, progress: Progress) -> Iterator[Batch]:
        """Windows from where the last read ended, less the overlap, to now; then the deep sweep when it is due.

        The last page of a window carries the position, and an empty window yields nothing but that.

        Raises:
            Retryable, Blocked, SwitchedOff: whatever the questions raise.
            Stopping: from the clock.
        """
        now = second(self._clock.now())
        if progress.position is None:
            since = second(now - self._start if isinstance(self._start, timedelta) else self._start)
            place = Place(since=since, through=since, swept=now)
            # Kept before anything is read: after a crash in the first window "15 minutes back" would begin later.
            yield _moved(partition, place)
        else:
            place = Place.of(progress.position)

        oldest = place.since if self._kept is None else now - self._kept + _MARGIN
        if place.through < oldest:
            known, place = place.through, replace(place, through=oldest)
            yield _moved(partition, place)
            # After its commit, so counted once. The margin alone is what "-90d" gets, and no gap.
            if self._on_gap and oldest - known > _MARGIN:
                self._on_gap(partition, known, oldest)

        begin = max(place.through - self._overlap, place.since, oldest)
        if now < begin:
            _log.warning(
                "the clock is behind the start, or behind what was read: nothing is asked for until it gets there",
                extra={"partition": str(partition), "now": now.isoformat(), "through": place.through.isoformat()},
            )
            return

        def moved(upto: datetime) -> Place:
            return replace(place, through=max(place.through, upto))

        brought = 0
        for batch in self._stretch(partition, begin, now, moved):
            brought += len(batch.items)
            yield batch
        if self._on_nothing and not brought:
            self._on_nothing(partition)

        if not timedelta() <= now - place.swept < self._sweep_interval:
            swept = replace(moved(now), swept=now)
            sweep_from = max(now - self._sweep_depth, place.since, oldest)
            if sweep_from < begin:
                yield from self._stretch(partition, sweep_from, begin, lambda upto: swept if upto == begin else None)
            else:
                yield _moved(partition, swept)

    def _stretch(
        self, partition: Partition, begin: datetime, end: datetime, place_at: Callable[[datetime], Place | None]
    ) -> Iterator[Batch]:
        """Everything from begin to end in windows, oldest first.

        A window whose token dies before its last page is halved: so even a crowded one gets done some day.

        Args:
            place_at: what to commit once everything up to a moment is read; None: nothing yet.
        """
        width, halvings = self._window, 0
        while True:
            upto = min(begin + width, end)
            try:
                *firsts, last = self._questions(partition, begin, upto)
                for ask in firsts:
                    yield from self._pages(partition, ask, None)
                yield from self._pages(partition, last, place_at(upto))
            except TokenLost as lost:
                halvings += 1
                if halvings > _HALVINGS:
                    raise Retryable(f"{partition}: {self._api} takes none of its tokens", reason="server") from lost
                width = max(timedelta(seconds=(upto - begin) // _SECOND // 2), _SECOND)
                continue
            except TooOld as refused:
                later = min(begin + _CLAMP, upto)
                oldest_day = timedelta.max if self._kept is None else self._kept - timedelta(days=1)
                if later == begin or self._clock.now() - begin < oldest_day:
                    raise (refused.__cause__ or refused) from None
                before, after = place_at(begin), place_at(later)
                if before and after and before != after:
                    yield _moved(partition, after)
                    if self._on_gap:
                        self._on_gap(partition, before.through, after.through)
                begin = later
                continue
            if upto >= end:
                return
            # Bounds are inclusive: the edge second is read twice, so that neither window can miss it.
            begin, width, halvings = upto, min(width * 2, self._window), 0

    def _pages(self, partition: Partition, ask: Ask, place: Place | None) -> Iterator[Batch]:
        """The pages of one question; the last one alone may move the position."""
        token: str | None = None
        began = self._clock.monotonic(), self._clock.now()
        while True:
            if token is not None and self._token_age is not None:
                # Both clocks: the one stands still while the machine sleeps, the other may be set.
                ran = timedelta(seconds=self._clock.monotonic() - began[0])
                if max(ran, self._clock.now() - began[1]) > self._token_age:
                    raise TokenLost
            page = self._page(ask, token)
            if page.following == token is not None:
                raise Retryable(f"{partition}: {self._api} gives the same token again", reason="server")
            *portions, last = page.portions()
            for items in portions:
                yield Batch(partition, items)
            if page.following is None and place is not None:
                yield replace(_moved(partition, place), items=last)
            elif last:  # A page may be empty and have a successor all the same.
                yield Batch(partition, last)
            if page.following is None:
                return
            token = page.following

    def _page(self, ask: Ask, token: str | None) -> Page:
        """One page; one with a token is asked for several times, because there are pages before it to lose."""
        if token is None:
            return ask(None)
        backoff = Backoff(first=1, longest=20, rng=self._rng)
        for _ in range(_TRIES - 1):
            try:
                return ask(token)
            except Retryable as error:
                self._clock.wait(backoff.next(error.after))
        return ask(token)


def _moved(partition: Partition, place: Place) -> Batch:
    """A batch that brings nothing but the position."""
    return Batch(partition, after=place.position(), through=place.through)
