"""Every metric there is, declared once: name, kind, help, labels and the label values known beforehand.

The rules are those of the Prometheus documentation ("Metric and label naming", "Instrumentation", "Writing
exporters"): attempts and failures are two metrics, instants and not ages, base units, zero for what is known before it
happens. Event metrics are declared here and rendered from the ledger by :mod:`exporter.exposition`.
"""

from __future__ import annotations

import itertools
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Literal, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)

from exporter import __version__
from exporter.errors import REASONS
from exporter.record import ANOMALIES, FILTER_REASONS, MISSING, OTHER, PRINCIPAL_TYPES, QUARANTINE_REASONS

__all__ = [
    "EVENTS",
    "EVENT_CORRECTIONS",
    "EVENT_ERRORS",
    "EVENT_NAME_INFO",
    "PREFIX",
    "PRINCIPAL_TYPE_VALUES",
    "Declaration",
    "LogCounter",
    "Metrics",
    "declared",
]

#: The prefix of everything that is about the exporter itself.
PREFIX = "cloudtrail_exporter_"

#: Every value the ``principal_type`` label can have.
PRINCIPAL_TYPE_VALUES: tuple[str, ...] = (*PRINCIPAL_TYPES, MISSING, OTHER)

Kind = Literal["counter", "gauge", "histogram", "info"]
_M = TypeVar("_M", Counter, Gauge, Histogram, Info)

#: Label values that only the configuration or the run can tell.
_OPEN: tuple[str, ...] = ()
_REASONS = tuple(REASONS)
_LEVELS = ("debug", "info", "warning", "error", "critical")
_FOLDED = ("event_source", "event_name", "principal_type", "aws_region", "account_id", "error_code")

# Seconds from eventTime to acceptance: AWS delivers within 5 minutes to the Event history and 15 to a bucket.
_DELAY_BUCKETS = (30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 21600, 86400)
_REQUEST_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_POLL_BUCKETS = (0.01, 0.05, 0.25, 1, 5, 15, 60, 300, 1800)


@dataclass(frozen=True, slots=True)
class Declaration:
    """One metric family, as the generated documentation shows it.

    Attributes:
        name: as it stands in the exposition, ``_total`` and ``_info`` included.
        help: what is counted or measured, its unit and where it comes from.
        labels: label name -> the values it can have, as far as they are known beforehand; empty: they are not.
        buckets: upper bounds of a histogram, without +Inf.
        only: source types it is about; empty: all.
    """

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
    only: tuple[str, ...] = ()


_ARRIVAL = "Counted when the receiver has accepted it; AWS delivers most events within 5 to 15 minutes."
_ZERO = "A new label set is shown at 0 first, for metrics.zero_seconds."

EVENTS = Declaration(
    "cloudtrail_events_total",
    "counter",
    f"Events by eventSource, eventName and userIdentity.type, each eventID once, kept over restarts. {_ARRIVAL} "
    f"{_ZERO}",
    {"event_source": _OPEN, "event_name": _OPEN, "principal_type": PRINCIPAL_TYPE_VALUES},
)
EVENT_ERRORS = Declaration(
    "cloudtrail_event_errors_total",
    "counter",
    f"Those of cloudtrail_events_total that have an errorCode. {_ZERO}",
    {"event_source": _OPEN, "event_name": _OPEN, "error_code": _OPEN},
)
EVENT_CORRECTIONS = Declaration(
    "cloudtrail_event_corrections_total",
    "counter",
    "Records with addendum.reason UPDATED_DATA: they replace an event delivered before and are not in "
    "cloudtrail_events_total.",
    {"event_source": _OPEN, "event_name": _OPEN, "principal_type": PRINCIPAL_TYPE_VALUES},
)
EVENT_NAME_INFO = Declaration(
    "cloudtrail_event_name_info",
    "info",
    "What an operation does by its IAM access level, for joins on event_source and event_name.",
    {"event_source": _OPEN, "event_name": _OPEN, "access": ("read", "write")},
)


class Metrics:
    """The metrics of one process, in a registry of their own. Each attribute is a prometheus_client object.

    Labels whose values are known beforehand are at 0 from the start; the others from :meth:`preset` on.

    Args:
        revision: the source revision of the build, for ``build_info``.
        platform_collectors: also ``process_*``, ``python_info`` and ``python_gc_*``.
    """

    def __init__(self, *, revision: str = "", platform_collectors: bool = True) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._families: list[tuple[Declaration, Counter | Gauge | Histogram | Info]] = []
        self._only: tuple[str, ...] = ()
        if platform_collectors:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)

        self.build_info = self._info("build", "The running build.")
        self.build_info.info(
            {
                "version": __version__,
                "revision": revision,
                "python_version": platform.python_version(),
                "otel_sdk_version": _version("opentelemetry-sdk"),
            }
        )
        self.config_info = self._info("config", "The running configuration: what is constant for a process.")
        self.config_last_reload_successful = self._gauge(
            "config_last_reload_successful",
            "1 if the web configuration file is in force as it lies there, or there is none; 0: it has changed, cannot "
            "be used, and the last good one stays in force.",
        )
        self.config_last_reload_success_timestamp = self._gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the web configuration file was last taken over; without one, when the process began.",
        )
        self.ready = self._gauge("ready", "1 while /-/ready says 200.")
        self.log_messages = self._counter("log_messages_total", "Lines of our own log.", level=_LEVELS)
        self.worker_restarts = self._counter(
            "worker_restarts_total", "Workers started again after a bug; the log has the traceback.", source=_OPEN
        )

        # Polling.
        self.polls = self._counter("polls_total", "Polls begun.", source=_OPEN)
        self.poll_failures = self._counter(
            "poll_failures_total", "Polls that ended with an error.", source=_OPEN, reason=_REASONS
        )
        self.poll_duration = self._histogram(
            "poll_duration_seconds", "How long a poll took, delivery included.", _POLL_BUCKETS, source=_OPEN
        )
        self.source_up = self._gauge(
            "source_up", "1 if the last poll of the partition worked.", source=_OPEN, partition=_OPEN
        )
        self.last_poll_success = self._gauge(
            "last_poll_success_timestamp_seconds",
            "When a poll of the partition last worked, also with nothing new; 0: not yet.",
            source=_OPEN,
            partition=_OPEN,
        )
        self.checkpoint = self._gauge(
            "checkpoint_timestamp_seconds",
            "Event time up to which everything is accepted and committed; it advances on empty polls too. 0: unknown.",
            source=_OPEN,
            partition=_OPEN,
        )
        self.last_event_timestamp = self._gauge(
            "last_event_timestamp_seconds", "Newest eventTime accepted; for people, not for alerts.", source=_OPEN
        )
        self.gaps = self._counter("gaps_total", "Ranges of time that are known to be skipped.", source=_OPEN)
        self.gap_seconds = self._counter(
            "gap_seconds_total", "Length of the ranges of time that are known to be skipped.", source=_OPEN
        )

        # The books: read = exported + filtered + duplicate + quarantined, per source; entered together, at the commit.
        self.events_read = self._counter("events_read_total", "Records read.", source=_OPEN)
        self.events_filtered = self._counter(
            "events_filtered_total", "Records read and not wanted.", source=_OPEN, reason=tuple(FILTER_REASONS)
        )
        self.events_duplicate = self._counter(
            "events_duplicate_total", "Records read that were delivered before.", source=_OPEN
        )
        self.events_quarantined = self._counter(
            "events_quarantined_total",
            "Records, or files without any, set aside with their reason.",
            source=_OPEN,
            reason=tuple(QUARANTINE_REASONS),
        )
        self.events_exported = self._counter(
            "events_exported_total", "Records the receiver accepted, committed to the state.", source=_OPEN
        )
        self.record_anomalies = self._counter(
            "record_anomalies_total",
            "Oddities of records that were mapped all the same; a record may have several, and a resend counts again.",
            kind=tuple(ANOMALIES),
        )
        self.inflight = self._gauge("inflight_records", "Records read and not yet committed.", source=_OPEN)
        self.event_delay = self._histogram(
            "event_delay_seconds", "From eventTime to acceptance by the receiver.", _DELAY_BUCKETS, source=_OPEN
        )

        # AWS.
        self.aws_api_requests = self._counter("aws_api_requests_total", "Requests to AWS, retries included.", api=_OPEN)
        self.aws_api_request_failures = self._counter(
            "aws_api_request_failures_total", "Requests to AWS that failed.", api=_OPEN, reason=_REASONS
        )
        self.aws_api_request_duration = self._histogram(
            "aws_api_request_duration_seconds", "How long a request to AWS took.", _REQUEST_BUCKETS, api=_OPEN
        )
        self.aws_api_throttle_wait_seconds = self._counter(
            "aws_api_throttle_wait_seconds_total", "Time spent waiting for our own request budget.", api=_OPEN
        )

        # Objects and queues.
        self._only = ("s3", "sqs")
        self.s3_list_requests = self._counter("s3_list_requests_total", "ListObjectsV2 requests.", source=_OPEN)
        self.s3_objects_pending = self._gauge(
            "s3_objects_pending", "Objects listed and not yet read; a listing goes on while they are.", source=_OPEN
        )
        self.s3_objects_processed = self._counter(
            "s3_objects_processed_total", "Objects read to their end.", source=_OPEN
        )
        self.s3_object_failures = self._counter(
            "s3_object_failures_total", "Objects that could not be read, each try.", source=_OPEN, reason=_REASONS
        )
        self.s3_objects_skipped = self._counter(
            "s3_objects_skipped_total",
            "Objects left out: of a kind that is not read (whole folders once each), or gone before they were read.",
            source=_OPEN,
            reason=("kind", "vanished"),
        )
        self.s3_bytes_read = self._counter(
            "s3_bytes_read_total", "Bytes of object bodies, as they lie there.", source=_OPEN
        )
        self._only = ("sqs",)
        self.sqs_messages_received = self._counter(
            "sqs_messages_received_total", "Messages received, redeliveries included.", source=_OPEN
        )
        self.sqs_messages_deleted = self._counter("sqs_messages_deleted_total", "Messages deleted.", source=_OPEN)
        self.sqs_message_failures = self._counter(
            "sqs_message_failures_total",
            "Messages that could not be worked on, deleted or extended.",
            source=_OPEN,
            reason=_REASONS,
        )
        self.sqs_messages_ignored = self._counter(
            "sqs_messages_ignored_total",
            "Messages or keys in them that name nothing to read.",
            source=_OPEN,
            reason=("test_event", "confirmation", "not_json", "unknown_shape", "foreign_bucket", "kind", "not_created"),
        )
        self.sqs_message_age = self._histogram(
            "sqs_message_age_seconds", "From sending to deletion of a message.", _DELAY_BUCKETS, source=_OPEN
        )
        self.found_by_listing = self._counter(
            "found_by_listing_total", "Events that only the re-listing of a queue's bucket found.", source=_OPEN
        )

        self._only = ()

        # OTLP.
        self.otlp_exports = self._counter("otlp_exports_total", "OTLP requests sent, retries included.")
        self.otlp_export_failures = self._counter(
            "otlp_export_failures_total", "OTLP requests not accepted as a whole.", reason=_REASONS
        )
        self.otlp_retries = self._counter("otlp_retries_total", "OTLP requests sent again with the same records.")
        self.otlp_batches_split = self._counter(
            "otlp_batches_split_total", "Batches cut in two because they were too large or refused."
        )
        self.otlp_records_rejected = self._counter(
            "otlp_records_rejected_total", "Records the receiver refused (partial_success.rejected_log_records)."
        )
        self.otlp_export_duration = self._histogram(
            "otlp_export_duration_seconds", "How long an OTLP request took.", _REQUEST_BUCKETS
        )
        self.otlp_sent_bytes = self._counter(
            "otlp_sent_bytes_total", "Bytes of OTLP request bodies, as sent; over gRPC before compression."
        )
        self.otlp_last_success = self._gauge(
            "otlp_last_success_timestamp_seconds", "When the receiver last accepted a request; 0: not yet."
        )

        # State.
        self.dedupe_lookups = self._counter("dedupe_lookups_total", "Identities looked up in the state.")
        self.dedupe_hits = self._counter("dedupe_hits_total", "Identities looked up and already there.")
        self.dedupe_evictions = self._counter(
            "dedupe_evictions_total", "Identities forgotten because they are older than state.horizon_days."
        )
        self.dedupe_entries = self._gauge("dedupe_entries", "Identities remembered.")
        self.state_saves = self._counter("state_saves_total", "Commits begun.", backend=_OPEN)
        self.state_save_failures = self._counter(
            "state_save_failures_total", "Commits that failed; nothing of them is there.", backend=_OPEN
        )
        self.state_last_save = self._gauge(
            "state_last_save_timestamp_seconds", "When a commit last worked; 0: not yet.", backend=_OPEN
        )
        self.state_size_bytes = self._gauge("state_size_bytes", "Size of the state on disk.", backend=_OPEN)
        self.quarantine_items = self._gauge("quarantine_items", "What lies in quarantine.")

        # The cardinality guard.
        self.label_values_collapsed = self._counter(
            "label_values_collapsed_total",
            f"Events whose value of this label was counted as {OTHER} because the value is not known or its cap is "
            "reached.",
            label=_FOLDED,
        )
        self.event_series = self._gauge("event_series", "Event series exposed, all event metrics together.")
        self.event_series_limit = self._gauge(
            "event_series_limit", f"Event series exposed at most (metrics.max_series); the rest is summed in {OTHER}."
        )

        self.preset()

    def preset(self, *, source_type: str = "", only_own: bool = False, **labels: str) -> None:
        """Show at 0 every metric whose open labels are exactly these: ``preset(source="trail")``.

        Metrics without open labels are at 0 from the start. Safe to repeat.

        Args:
            source_type: with ``source``: what is about sources of other types only is left out.
            only_own: what is about sources of every type is left out too.
            labels: ``source``; ``source`` and ``partition``; ``api``; ``backend``.

        Raises:
            ValueError: no metric has just these open labels.
        """
        matches = 0
        for declaration, family in self._families:
            if not declaration.labels or (declaration.only and source_type not in declaration.only):
                continue
            if only_own and not declaration.only:
                continue
            open_labels = {name for name, known in declaration.labels.items() if not known}
            if open_labels != set(labels):
                continue
            matches += 1
            choices = [known or (labels[name],) for name, known in declaration.labels.items()]
            for values in itertools.product(*choices):
                family.labels(*values)
        if labels and not matches:
            raise ValueError(f"no metric has the open labels {', '.join(sorted(labels))}")

    def declarations(self) -> tuple[Declaration, ...]:
        """What is declared here, in order; without the event metrics and the platform's."""
        return tuple(declaration for declaration, _ in self._families)

    def _add(self, kind: Kind, name: str, text: str, labels: Mapping[str, Sequence[str]], family: _M) -> _M:
        self._families.append((Declaration(PREFIX + name, kind, text, dict(labels), only=self._only), family))
        return family

    def _counter(self, name: str, text: str, **labels: Sequence[str]) -> Counter:
        return self._add(
            "counter", name, text, labels, Counter(PREFIX + name, text, tuple(labels), registry=self.registry)
        )

    def _gauge(self, name: str, text: str, **labels: Sequence[str]) -> Gauge:
        return self._add("gauge", name, text, labels, Gauge(PREFIX + name, text, tuple(labels), registry=self.registry))

    def _info(self, name: str, text: str) -> Info:
        return self._add("info", name + "_info", text, {}, Info(PREFIX + name, text, registry=self.registry))

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], **labels: Sequence[str]) -> Histogram:
        family = Histogram(PREFIX + name, text, tuple(labels), buckets=buckets, registry=self.registry)
        declaration = Declaration(PREFIX + name, "histogram", text, dict(labels), buckets, self._only)
        self._families.append((declaration, family))
        return family


def declared() -> tuple[Declaration, ...]:
    """Every metric of ours, for the generated documentation: the event metrics first."""
    own = Metrics(platform_collectors=False).declarations()
    return (EVENTS, EVENT_ERRORS, EVENT_CORRECTIONS, EVENT_NAME_INFO, *own)


class LogCounter(logging.Handler):
    """Counts the lines of our own log by level, so that a rise of warnings can be alerted on."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._by_level = {level: metrics.log_messages.labels(level) for level in _LEVELS}

    def emit(self, record: logging.LogRecord) -> None:
        """Count one line; a level between two counts as the lower one."""
        index = min(max(record.levelno // 10, 1), len(_LEVELS)) - 1
        self._by_level[_LEVELS[index]].inc()


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
