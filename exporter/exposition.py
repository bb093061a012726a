"""The event metrics as Prometheus sees them: the ledger's totals aggregated to the labels asked for.

Two things are done for ``increase()``, which does not see a series whose first sample is not 0 (prometheus/prometheus
#1673): known operations are there at 0 from the start, and a label set nobody knew is held at 0 for a while before it
shows its count ("born at zero"). The while begins when it is first shown and is longer than a scrape interval, so that
each of several Prometheus servers sees the 0. It is held for all alike and not for each scraper: one that is behind two
addresses would otherwise see a count fall back to 0, which Prometheus takes for a restart and counts twice
(docs/adr/0013-born-at-zero.md).

In OpenMetrics each event counter also carries an exemplar: the eventID that was counted last, which is the way from a
spike to its log record.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder

from exporter.clock import SystemClock
from exporter.contract import Clock, Labels
from exporter.metrics import (
    EVENT_CORRECTIONS,
    EVENT_ERRORS,
    EVENT_NAME_INFO,
    EVENTS,
    PRINCIPAL_TYPE_VALUES,
    Declaration,
    Metrics,
)
from exporter.record import OTHER

__all__ = ["EventSeries", "Exposition", "ExtraLabel", "render"]

ExtraLabel: TypeAlias = Literal["aws_region", "account_id"]

#: The label values of one series, in the order of its label names.
_Series: TypeAlias = tuple[str, ...]

#: The one label of an exemplar. Its name and value may have 128 characters together (OpenMetrics 1.0, "Exemplars").
_EXEMPLAR = "event_id"
#: What an exemplar can hold without being cut or escaped: another value would lead to no log record.
_EVENT_ID = re.compile(rf"[A-Za-z0-9._:/+=@-]{{1,{128 - len(_EXEMPLAR)}}}", re.ASCII)


class EventSeries:
    """Which series there are, and what each of them counts. Safe to use from several threads.

    Written out here and not through prometheus_client, whose encoders format every label of every sample anew: 1,000
    series take it 8 ms as text and 12 ms as OpenMetrics, and take this 1 ms.

    Args:
        totals: ``State.totals``. The order of the mapping decides which series are shown on their own when there are
            more than ``max_series``: when it is the order of first counting, a restart chooses the same ones.
        known: eventSource -> operation -> whether it only reads; at 0 from the start, for every principal type.
        extra_labels: more labels on ``cloudtrail_events_total``. Their values are not known beforehand, so nothing is
            at 0 from the start then; every series is born at zero instead.
        max_series: event series shown on their own, all event metrics together. What comes later is summed up, for
            each event source, under ``_OTHER``.
        zero_seconds: for how long a series that was not known at the start is shown at 0, from the first time it is
            shown; 0: once.
        clock: whose monotonic time that is; None: the machine's.
    """

    def __init__(
        self,
        *,
        totals: Callable[[], Mapping[Labels, int]],
        known: Mapping[str, Mapping[str, bool]],
        extra_labels: Sequence[ExtraLabel] = (),
        max_series: int = 5_000,
        zero_seconds: float = 0.0,
        metrics: Metrics,
        clock: Clock | None = None,
    ) -> None:
        self._totals = totals
        self._lock = threading.Lock()
        self._left = max_series
        self._zero_seconds = zero_seconds
        self._clock: Clock = clock or SystemClock()
        extra = tuple(Labels._fields.index(name) for name in extra_labels)
        self._events = _Family(EVENTS, (0, 1, 2, *extra))
        self._errors = _Family(EVENT_ERRORS, (0, 1, 5))
        self._corrections = _Family(EVENT_CORRECTIONS, (0, 1, 2))
        self._families = (self._events, self._errors, self._corrections)
        # Where each label set of the ledger is counted; a choice once made holds for the life of the process.
        self._places: dict[Labels, tuple[_Row, ...]] = {}

        if not extra:
            for source, operations in known.items():
                for name in operations:
                    for principal_type in PRINCIPAL_TYPE_VALUES:
                        self._admit(self._events, (source, name, principal_type))
        self._place_all(self._totals())
        # What is known by now needs no zero: it was there before anybody looked, or Prometheus has it from before.
        for family in self._families:
            family.newborn.clear()

        metrics.event_series_limit.set(max_series)
        metrics.event_series.set_function(self._count)
        self._operations = _operations(known)

    def text(self, *, openmetrics: bool = False, names: Collection[str] = ()) -> str:
        """The event metrics, without the end mark of OpenMetrics.

        Whoever calls this shows it: the time at 0 of a series begins when it is asked for here for the first time.

        Args:
            openmetrics: with exemplars.
            names: only the metrics of these names; empty: all.
        """
        families = [family for family in self._families if not names or family.declaration.name in names]
        totals = self._totals()
        with self._lock:
            self._sum_up(totals)
            now = self._clock.monotonic()
            parts = [family.text(now, self._zero_seconds, openmetrics=openmetrics) for family in families]
        if not names or EVENT_NAME_INFO.name in names:
            parts += [_head(EVENT_NAME_INFO, openmetrics=openmetrics), self._operations]
        return "".join(parts)

    def counted(self, events: Mapping[Labels, str], at: datetime) -> None:
        """Keep, for the series of each label set, the eventID counted last: the newest wins. Called after the commit.

        An ID that an exemplar cannot hold unchanged is passed over.

        Args:
            at: when they were counted. By the wall clock, as exemplars are; after it jumped back, series keep the
                exemplar they have until it is older, because Prometheus refuses an older one.
        """
        seconds = at.timestamp()
        # In the ledger's order, which is not always that of the calls here.
        unplaced = self._totals() if not events.keys() <= self._places.keys() else ()
        with self._lock:
            self._place_all(unplaced)
            for labels, event_id in events.items():
                if not _EVENT_ID.fullmatch(event_id):
                    continue
                for row in self._places.get(labels, ()):
                    if seconds > row.exemplar_at:
                        row.exemplar_at = seconds
                        row.exemplar = f' # {{{_EXEMPLAR}="{event_id}"}} 1.0 {seconds:.3f}'

    def _sum_up(self, totals: Mapping[Labels, int]) -> None:
        for family in self._families:
            for row in family.rows.values():
                row.value = 0
        places = self._places
        for labels, count in totals.items():
            for row in places.get(labels) or self._place(labels):
                row.value += count

    def _place_all(self, totals: Iterable[Labels]) -> None:
        for labels in totals:
            if labels not in self._places:
                self._place(labels)

    def _place(self, labels: Labels) -> tuple[_Row, ...]:
        if labels.correction:
            families: tuple[_Family, ...] = (self._corrections,)
        elif labels.error_code:
            families = (self._events, self._errors)
        else:
            families = (self._events,)
        rows = tuple(self._admit(family, family.project(labels)) for family in families)
        self._places[labels] = rows
        return rows

    def _admit(self, family: _Family, series: _Series) -> _Row:
        """The row of the series itself, or of the one it is summed up under."""
        if series not in family.rows:
            if self._left > 0:
                self._left -= 1
            else:
                series = (series[0], *(OTHER for _ in series[1:]))
        return family.row(series)

    def _count(self) -> float:
        return float(sum(len(family.rows) for family in self._families))


class _Row:
    """One series: its line up to the value, what it counts, and what was counted last."""

    __slots__ = ("exemplar", "exemplar_at", "head", "value")

    def __init__(self, head: str) -> None:
        # Formatting labels is what a scrape would spend its time on.
        self.head = head
        self.value = 0
        self.exemplar = ""
        self.exemplar_at = 0.0


class _Family:
    """One event metric: which fields of the ledger's labels it shows, and its series in the order of appearance."""

    __slots__ = ("declaration", "fields", "newborn", "rows")

    def __init__(self, declaration: Declaration, fields: tuple[int, ...]) -> None:
        self.declaration = declaration
        self.fields = fields
        self.rows: dict[_Series, _Row] = {}
        # Those not shown at their value yet, with the time from which they are; None: not shown at all yet.
        self.newborn: dict[_Series, float | None] = {}

    def project(self, labels: Labels) -> _Series:
        return tuple(str(labels[index]) for index in self.fields)

    def row(self, series: _Series) -> _Row:
        row = self.rows.get(series)
        if row is None:
            names = (Labels._fields[index] for index in self.fields)
            row = _Row(f"{self.declaration.name}{_labels(zip(names, series, strict=True))} ")
            self.rows[series] = row
            self.newborn[series] = None
        return row

    def text(self, now: float, zero_seconds: float, *, openmetrics: bool) -> str:
        head = _head(self.declaration, openmetrics=openmetrics)
        zeros = self._at_zero(now, zero_seconds)
        if zeros:
            lines = [
                f"{row.head}0.0\n"
                if series in zeros
                else f"{row.head}{row.value}.0{row.exemplar if openmetrics else ''}\n"
                for series, row in self.rows.items()
            ]
        elif openmetrics:
            lines = [f"{row.head}{row.value}.0{row.exemplar}\n" for row in self.rows.values()]
        else:
            lines = [f"{row.head}{row.value}.0\n" for row in self.rows.values()]
        return head + "".join(lines)

    def _at_zero(self, now: float, zero_seconds: float) -> Collection[_Series]:
        """The series that are shown at 0 now; the time of those that are shown for the first time begins."""
        if not self.newborn:
            return ()
        for series, until in list(self.newborn.items()):
            if until is None:
                self.newborn[series] = now + zero_seconds
            elif now >= until:
                del self.newborn[series]
        return self.newborn


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    escaped = ((name, value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")) for name, value in pairs)
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"


def _head(declaration: Declaration, *, openmetrics: bool) -> str:
    """HELP and TYPE. OpenMetrics names the family without the suffix of its samples, the older format with it."""
    suffix = {"counter": "_total", "info": "_info"}[declaration.kind]
    name = declaration.name.removesuffix(suffix) if openmetrics else declaration.name
    kind = "gauge" if declaration.kind == "info" and not openmetrics else declaration.kind
    return f"# HELP {name} {declaration.help}\n# TYPE {name} {kind}\n"


def _operations(known: Mapping[str, Mapping[str, bool]]) -> str:
    return "".join(
        f"{EVENT_NAME_INFO.name}{_labels(zip(EVENT_NAME_INFO.labels, values, strict=True))} 1.0\n"
        for source, operations in known.items()
        for name, reads in operations.items()
        for values in [(source, name, "read" if reads else "write")]
    )


@dataclass(frozen=True, slots=True)
class Exposition:
    """One answer to a scrape."""

    content_type: str
    body: bytes


class _Collects(Protocol):
    def collect(self) -> Iterable[Metric]: ...


class _WithoutCreated:
    """Leaves the ``_created`` samples out: they double the series of whoever does not ingest them as start times."""

    def __init__(self, collects: _Collects) -> None:
        self._collects = collects

    def collect(self) -> Iterable[Metric]:
        for metric in self._collects.collect():
            if metric.type in ("counter", "histogram"):
                metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def render(
    registry: CollectorRegistry,
    events: EventSeries | None = None,
    *,
    accept: str = "",
    names: Collection[str] = (),
    created_series: bool = False,
) -> Exposition:
    """The exposition in the format the scraper asks for: Prometheus text or OpenMetrics.

    Args:
        accept: the ``Accept`` header.
        names: only samples of these names (``name[]``); empty: all.
        created_series: also the ``_created`` samples of our own metrics. The event counters have none: they are as old
            as the ledger, and nobody has seen them at 0 since.
    """
    encoder, content_type = choose_encoder(accept)
    collects: _Collects = registry.restricted_registry(names) if names else registry
    if not created_series:
        collects = _WithoutCreated(collects)
    own = encoder(collects)
    if events is None:
        return Exposition(content_type, own)
    text = events.text(openmetrics=content_type.startswith("application/openmetrics-text"), names=names)
    return Exposition(content_type, text.encode() + own)
