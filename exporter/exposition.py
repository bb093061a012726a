"""The event metrics as Prometheus sees them: the ledger's totals aggregated to the labels asked for.

Two things are done for ``increase()``, which does not see a series whose first sample is not 0 (prometheus/prometheus
#1673): known operations are there at 0 from the start, and a label set nobody knew is shown at 0 in one scrape and
with its count from the next one on ("born at zero"). Zero is shown once for all scrapers and not to each one: a scraper
behind two addresses would otherwise see a count fall back to 0. So of two Prometheus servers the slower one may miss
the first count of a series.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder

from exporter.contract import Labels
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
    """

    def __init__(
        self,
        *,
        totals: Callable[[], Mapping[Labels, int]],
        known: Mapping[str, Mapping[str, bool]],
        extra_labels: Sequence[ExtraLabel] = (),
        max_series: int = 5_000,
        metrics: Metrics,
    ) -> None:
        self._totals = totals
        self._lock = threading.Lock()
        self._left = max_series
        extra = tuple(Labels._fields.index(name) for name in extra_labels)
        self._extra = extra
        events = _Family(EVENTS, (0, 1, 2, *extra))
        self._errors = _Family(EVENT_ERRORS, (0, 1, 5))
        self._corrections = _Family(EVENT_CORRECTIONS, (0, 1, 2))
        self._events = events
        # Where each label set of the ledger is counted; a choice once made holds for the life of the process.
        self._places: dict[Labels, tuple[tuple[_Family, _Series], ...]] = {}

        if not extra:
            for source, operations in known.items():
                for name in operations:
                    for principal_type in PRINCIPAL_TYPE_VALUES:
                        self._admit(events, (source, name, principal_type))
        for labels in self._totals():
            self._place(labels)
        for family in (events, self._errors, self._corrections):
            family.shown.update(family.series)

        metrics.event_series_limit.set(max_series)
        metrics.event_series.set_function(self._count)
        self._operations = _operations(known)

    def text(self, *, openmetrics: bool = False, names: Collection[str] = ()) -> str:
        """The event metrics, without the end mark of OpenMetrics.

        Whoever calls this shows it: a series asked for here for the first time is at 0 here and never again.

        Args:
            names: only the metrics of these names; empty: all.
        """
        parts = [
            family.text(self._sums(family), openmetrics=openmetrics)
            for family in (self._events, self._errors, self._corrections)
            if not names or family.declaration.name in names
        ]
        if not names or EVENT_NAME_INFO.name in names:
            parts += [_head(EVENT_NAME_INFO, openmetrics=openmetrics), self._operations]
        return "".join(parts)

    def _sums(self, family: _Family) -> Mapping[_Series, int]:
        totals = self._totals()
        with self._lock:
            sums = dict.fromkeys(family.series, 0)
            places = self._places
            for labels, count in totals.items():
                for owner, series in places.get(labels) or self._place(labels):
                    if owner is family:
                        sums[series] = sums.get(series, 0) + count
            newborn = sums.keys() - family.shown
            for series in newborn:
                sums[series] = 0
            family.shown |= newborn
            return sums

    def _place(self, labels: Labels) -> tuple[tuple[_Family, _Series], ...]:
        if labels.correction:
            families: tuple[_Family, ...] = (self._corrections,)
        elif labels.error_code:
            families = (self._events, self._errors)
        else:
            families = (self._events,)
        places = tuple((family, self._admit(family, family.project(labels))) for family in families)
        self._places[labels] = places
        return places

    def _admit(self, family: _Family, series: _Series) -> _Series:
        """The series itself, or the one it is summed up under."""
        if series in family.series:
            return series
        if self._left > 0:
            self._left -= 1
        else:
            series = (series[0], *(OTHER for _ in series[1:]))
        if series not in family.series:
            family.add(series)
        return series

    def _count(self) -> float:
        return float(sum(len(family.series) for family in (self._events, self._errors, self._corrections)))


class _Family:
    """One event metric: which fields of the ledger's labels it shows, and its series in the order of appearance."""

    __slots__ = ("declaration", "fields", "series", "shown")

    def __init__(self, declaration: Declaration, fields: tuple[int, ...]) -> None:
        self.declaration = declaration
        self.fields = fields
        # Each with its line up to the value: formatting labels is what a scrape would spend its time on.
        self.series: dict[_Series, str] = {}
        self.shown: set[_Series] = set()

    def project(self, labels: Labels) -> _Series:
        return tuple(str(labels[index]) for index in self.fields)

    def add(self, series: _Series) -> None:
        names = (Labels._fields[index] for index in self.fields)
        self.series[series] = f"{self.declaration.name}{_labels(zip(names, series, strict=True))} "

    def text(self, sums: Mapping[_Series, int], *, openmetrics: bool) -> str:
        lines = [_head(self.declaration, openmetrics=openmetrics)]
        lines += [f"{self.series[series]}{value}.0\n" for series, value in sums.items()]
        return "".join(lines)


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
