"""Record -> :class:`~exporter.contract.Labels`: every value from a bounded set, so that nobody's text becomes a series.

A value is kept while it is known beforehand or one of the first N others; what comes later is counted under ``_OTHER``
(the OpenTelemetry convention), and each such event in ``label_values_collapsed_total``. Counts are never dropped.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Mapping

from exporter.contract import Labels
from exporter.metrics import Metrics
from exporter.record import MISSING, OTHER, PRINCIPAL_TYPES, Record

__all__ = ["LabelFolder", "clean"]

_LOG = logging.getLogger("exporter.labels")

#: Characters a label value has at most.
_LENGTH = 128
_PRINCIPALS = frozenset(PRINCIPAL_TYPES)


def clean(value: str) -> str:
    """A label value fit for the exposition: at most 128 characters, U+FFFD for what cannot be printed.

    One lone surrogate would make every scrape fail, and a control character breaks what shows the value.
    """
    if len(value) <= _LENGTH and value.isprintable():
        return value
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in value[:_LENGTH])


class _Admission:
    """The first N values; those that are known beforehand do not count towards N."""

    __slots__ = ("_admitted", "_known", "_left")

    def __init__(self, limit: int, known: Collection[str] = ()) -> None:
        self._known = frozenset(known) | {MISSING, OTHER}
        self._admitted: set[str] = set()
        self._left = limit

    def fold(self, value: str) -> str:
        if value in self._known or value in self._admitted:
            return value
        if self._left <= 0:
            return OTHER
        self._left -= 1
        self._admitted.add(value)
        return value


class LabelFolder:
    """Folds the values of records into bounded sets. Safe to use from several threads.

    Args:
        known: eventSource -> the event names that are always kept (:data:`exporter.services.SERVICES`).
        services: values of eventSource that are always kept.
        max_event_names: further names kept for each eventSource.
        max_error_codes: error codes kept.
        max_accounts: accounts kept.
        max_regions: regions kept.
        max_event_sources: further values of eventSource kept; there are such with ``invoked_by_service``.
        seen: what was counted already (``State.totals()`` at start), in the order of first counting, so that a restart
            folds as before.
        metrics: where folding is counted.
    """

    def __init__(
        self,
        *,
        known: Mapping[str, Collection[str]],
        services: Collection[str],
        max_event_names: int = 200,
        max_error_codes: int = 50,
        max_accounts: int = 200,
        max_regions: int = 64,
        max_event_sources: int = 64,
        seen: Iterable[Labels] = (),
        metrics: Metrics,
    ) -> None:
        self._known = known
        self._max_event_names = max_event_names
        self._collapsed = metrics.label_values_collapsed
        self._sources = _Admission(max_event_sources, services)
        self._names: dict[str, _Admission] = {}
        self._errors = _Admission(max_error_codes)
        self._accounts = _Admission(max_accounts)
        self._regions = _Admission(max_regions)
        self._unrecognised: set[str] = set()
        self._max_remembered = 100
        # Label sets that are what the record says, so that the common case is one look-up. Bounded; cleared when full.
        self._same: dict[Labels, Labels] = {}
        self._max_same = 10_000
        self._lock = threading.Lock()
        for labels in seen:
            self._sources.fold(labels.event_source)
            self._names_of(labels.event_source).fold(labels.event_name)
            self._accounts.fold(labels.account_id)
            self._regions.fold(labels.aws_region)
            if labels.error_code:
                self._errors.fold(labels.error_code)

    def fold(self, record: Record) -> Labels:
        """The label set the record is counted under. Never raises on data."""
        raw = Labels(
            record.event_source,
            record.event_name,
            record.principal_type,
            record.aws_region,
            record.account_id,
            record.error_code,
            record.correction,
        )
        same = self._same.get(raw)
        if same is not None:
            return same
        with self._lock:
            labels = self._fold(raw)
            if labels == raw and OTHER not in labels:
                if len(self._same) >= self._max_same:
                    self._same.clear()
                self._same[labels] = labels
        return labels

    def _fold(self, raw: Labels) -> Labels:
        source = self._one("event_source", self._sources, raw.event_source)
        return Labels(
            event_source=source,
            event_name=self._one("event_name", self._names_of(source), raw.event_name),
            principal_type=self._principal_type(raw.principal_type),
            aws_region=self._one("aws_region", self._regions, raw.aws_region),
            account_id=self._one("account_id", self._accounts, raw.account_id),
            error_code=self._one("error_code", self._errors, raw.error_code) if raw.error_code else "",
            correction=raw.correction,
        )

    def _one(self, label: str, admission: _Admission, value: str) -> str:
        if not value:
            return MISSING
        value = clean(value)
        # Nobody can claim to be one of our own two words.
        folded = OTHER if value in (MISSING, OTHER) else admission.fold(value)
        if folded == OTHER:
            self._collapsed.labels(label).inc()
        return folded

    def _names_of(self, source: str) -> _Admission:
        names = self._names.get(source)
        if names is None:
            names = self._names[source] = _Admission(self._max_event_names, self._known.get(source, ()))
        return names

    def _principal_type(self, value: str) -> str:
        if not value:
            return MISSING
        if value in _PRINCIPALS:
            return value
        self._collapsed.labels("principal_type").inc()
        value = clean(value)
        if value not in self._unrecognised and len(self._unrecognised) < self._max_remembered:
            self._unrecognised.add(value)
            _LOG.warning(
                "userIdentity.type has a value that is not documented; it is counted as %s",
                OTHER,
                extra={"principal_type": value},
            )
        return OTHER
