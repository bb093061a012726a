"""All rules there are, and the situations in which none of the alerts may fire."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.rules import content, delivery, freshness, process, reading
from deploy.rules.expressions import foreign, series
from deploy.rules.model import Alert, Case, Group, Recording

__all__ = ["FILES", "GROUPS", "SITUATIONS", "alerts", "recordings"]

GROUPS: tuple[Group, ...] = (
    freshness.RECORDINGS,
    process.GROUP,
    reading.GROUP,
    delivery.GROUP,
    freshness.ALERTS,
    content.GROUP,
)

#: The rule files, in the order in which they are shown.
FILES = ("recording", "alerts", "content-alerts")


def alerts(file: str = "") -> Iterator[Alert]:
    """Every alert; ``file``: those of one rule file."""
    for group in GROUPS:
        if file in ("", group.file):
            yield from (rule for rule in group.rules if isinstance(rule, Alert))


def recordings() -> Iterator[Recording]:
    """Every recording rule."""
    for group in GROUPS:
        yield from (rule for rule in group.rules if isinstance(rule, Recording))


def _process(minutes: int, *, source: str, partition: str, **samples: str) -> dict[str, str]:
    """A process that is well and idle for so many minutes; ``samples`` replace what is usual."""
    still = f"0+0x{minutes}"
    state = {"backend": "sqlite"}
    place = {"source": source, "partition": partition}
    usual = {
        foreign("up"): f"1+0x{minutes}",
        foreign("process_start_time_seconds"): still,
        series("ready"): f"1+0x{minutes}",
        series("config_last_reload_successful"): f"1+0x{minutes}",
        series("source_up", **place): f"1+0x{minutes}",
        series("last_poll_success_timestamp_seconds", **place): f"0+60x{minutes}",
        series("checkpoint_timestamp_seconds", **place): f"0+60x{minutes}",
        series("state_last_save_timestamp_seconds", **state): f"0+60x{minutes}",
        series("state_saves_total", **state): f"0+1x{minutes}",
        series("event_series"): f"420+0x{minutes}",
        series("event_series_limit"): f"5000+0x{minutes}",
        series("otlp_exports_total"): still,
        series("aws_api_requests_total", api="LookupEvents"): f"0+1x{minutes}",
    }
    for name in ("read", "exported", "duplicate"):
        usual[series(f"events_{name}_total", source=source)] = still
    zeros = {
        "worker_restarts_total": {"source": source},
        "gaps_total": {"source": source},
        "events_filtered_total": {"source": source, "reason": "other_service"},
        "events_quarantined_total": {"source": source, "reason": "truncated"},
        "poll_failures_total": {"source": source, "reason": "server"},
        "state_save_failures_total": state,
        "label_values_collapsed_total": {"label": "event_name"},
        "otlp_export_failures_total": {"reason": "connection"},
        "otlp_records_rejected_total": {},
        "aws_api_request_failures_total": {"api": "LookupEvents", "reason": "access_denied"},
        "s3_object_failures_total": {"source": source, "reason": "server"},
        "sqs_message_failures_total": {"source": source, "reason": "server"},
        "sqs_messages_ignored_total": {"source": source, "reason": "not_json"},
    }
    usual |= {series(name, **labels): still for name, labels in zeros.items()}
    event = {"event_source": "lookoutmetrics.amazonaws.com", "event_name": "DeleteAlert", "principal_type": "Root"}
    usual[foreign("cloudtrail_events_total", **event)] = still
    denied = {"event_source": "lookoutmetrics.amazonaws.com", "event_name": "GetAlert", "error_code": "AccessDenied"}
    usual[foreign("cloudtrail_event_errors_total", **denied)] = still
    for name, text in samples.items():
        (key,) = (key for key in usual if key.startswith((f"cloudtrail_exporter_{name}{{", f"{name}{{")))
        usual[key] = text
    return usual


def _later(text: str, minute: int) -> str:
    """``0+60x120`` as it goes on from a minute on."""
    first, step = (int(part) for part in text.partition("x")[0].split("+"))
    return f"{first + step * minute}+{step}x60"


_REGION = {"source": "history", "partition": "us-east-1/lookoutmetrics.amazonaws.com"}
_FOLDER = {"source": "inbox", "partition": "files"}

#: What happens to every exporter now and then, or is just how it is. None of the alerts may fire in it.
SITUATIONS: tuple[Case, ...] = (
    Case("a night without events", _process(400, **_REGION), dict.fromkeys((1, 5, 30, 61, 120, 399), ())),
    Case(
        "right after the first start",
        _process(
            30,
            **_REGION,
            up="_x10 1+0x20",
            process_start_time_seconds="_x10 600+0x20",
            ready="_x10 0+0x2 1+0x20",
            config_last_reload_successful="_x10 1+0x20",
            source_up="_x10 0+0x2 1+0x20",
            last_poll_success_timestamp_seconds="_x10 0+0x2 780+60x20",
            checkpoint_timestamp_seconds="_x10 0+0x2 780+60x20",
            state_last_save_timestamp_seconds="_x10 0+0x2 780+60x20",
            state_saves_total="_x10 0+0x2 1+1x20",
        ),
        dict.fromkeys((11, 12, 14, 29), ()),
    ),
    Case(
        "busy, and started anew",
        _process(
            120,
            **_REGION,
            process_start_time_seconds="0+0x60 3660+0x60",
            ready="1+0x60 0 1+0x60",
            source_up="1+0x60 0 1+0x60",
            last_poll_success_timestamp_seconds="0+60x60 0 3720+60x60",
            checkpoint_timestamp_seconds="0+60x60 0 3720+60x60",
            state_saves_total="0+9x60 0+9x60",
            otlp_exports_total="0+9x60 0+9x60",
            events_read_total="0+50x60 0+50x60",
            events_exported_total="0+40x60 0+40x60",
            events_duplicate_total="0+10x60 0+10x60",
            aws_api_requests_total="0+4x60 0+4x60",
        ),
        dict.fromkeys((59, 60, 61, 62, 65, 76, 91, 100, 119), ()),
    ),
    Case(
        "scrapes that fail for three minutes",
        {
            key: f"{text.split('+')[0]}+{text.split('+')[1].split('x')[0]}x60 _x3 {_later(text, 64)}"
            for key, text in _process(120, **_REGION).items()
            if not key.startswith("up{")
        }
        | {foreign("up"): "1+0x60 0+0x2 1+0x60"},
        dict.fromkeys((60, 62, 64, 66, 119), ()),
    ),
    Case(
        "files that were read long ago",
        _process(
            600,
            **_FOLDER,
            checkpoint_timestamp_seconds="0+0x600",
            state_last_save_timestamp_seconds="60+0x600",
            state_saves_total="7+0x600",
            events_read_total="12+0x600",
            events_exported_total="12+0x600",
            aws_api_requests_total="0+0x600",
        ),
        dict.fromkeys((31, 60, 300, 599), ()),
    ),
    Case(
        "an archive with an end that was read long ago",
        _process(
            600,
            source="archive",
            partition="111122223333/us-east-1",
            checkpoint_timestamp_seconds="1+0x600",
            state_last_save_timestamp_seconds="60+0x600",
            state_saves_total="7+0x600",
        ),
        dict.fromkeys((31, 60, 300, 599), ()),
    ),
    Case(
        "a queue that never runs empty",
        _process(
            600,
            source="queue",
            partition="worker-0",
            last_poll_success_timestamp_seconds="0+0x600",
            checkpoint_timestamp_seconds="0+0x600",
            events_read_total="0+3x600",
            events_exported_total="0+3x600",
        ),
        dict.fromkeys((31, 60, 300, 599), ()),
    ),
)
