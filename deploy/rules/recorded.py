"""The cases of the recording rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deploy.rules.expressions import foreign, series
from deploy.rules.model import Query

__all__ = ["CASES", "RecordedCase"]


@dataclass(frozen=True, slots=True)
class RecordedCase:
    """Series, and what the recording rules make of them."""

    name: str
    series: Mapping[str, str]
    queries: tuple[Query, ...]


_UP = foreign("up")
_START = foreign("process_start_time_seconds")
_READ = series("events_read_total", source="trail")
_NEAR, _FAR = ({"source": "trail", "partition": name} for name in ("eu-west-1", "us-east-1"))
_LAST, _LAST_FAR = (series("last_poll_success_timestamp_seconds", **place) for place in (_NEAR, _FAR))
_THROUGH, _THROUGH_FAR = (series("checkpoint_timestamp_seconds", **place) for place in (_NEAR, _FAR))
_WELL = {_UP: "1+0x300", _START: "0+0x300", _READ: "0+0x300"}
_FRESH = "job:cloudtrail_exporter_fresh:bool"
_LAG = "source:cloudtrail_exporter_lag_seconds:max"
_IDLE = "source:cloudtrail_exporter_idle_seconds:min"
_WITHIN = "job:cloudtrail_exporter_events_within_30m:ratio_rate1h"
_JOB = 'job="cloudtrail-exporter"'


def _is(minute: int, name: str, value: float | None, labels: str = _JOB) -> Query:
    found = {} if value is None else {f"{name}{{{labels}}}": value}
    return Query(minute, name, found)


def _of_source(minute: int, name: str, value: float | None) -> Query:
    return _is(minute, name, value, f'{_JOB},source="trail"')


CASES: tuple[RecordedCase, ...] = (
    RecordedCase(
        "fresh while polls work",
        _WELL | {_LAST: "0+60x300", _THROUGH: "0+60x300"},
        (_is(5, _FRESH, 1), _is(200, _FRESH, 1), _of_source(200, _LAG, 0), _of_source(200, _IDLE, None)),
    ),
    RecordedCase(
        "not fresh half an hour after the last poll",
        _WELL | {_LAST: "0+60x60 3600+0x240", _THROUGH: "0+60x60 3600+0x240"},
        (_is(89, _FRESH, 1), _is(92, _FRESH, 0), _of_source(92, _LAG, 1920), _of_source(92, _IDLE, 1920)),
    ),
    RecordedCase(
        "not fresh when no poll has worked for half an hour since the start",
        _WELL | {_LAST: "0+0x300", _THROUGH: "0+0x300"},
        (_is(29, _FRESH, 1), _is(31, _FRESH, 0), _of_source(31, _LAG, None)),
    ),
    RecordedCase(
        "not fresh when no partition could be listed",
        _WELL,
        (_is(29, _FRESH, 1), _is(31, _FRESH, 0)),
    ),
    RecordedCase(
        "the worst partition counts",
        _WELL
        | {
            _LAST: "0+60x300",
            _THROUGH: "0+60x300",
            _LAST_FAR: "0+60x60 3600+0x240",
            _THROUGH_FAR: "0+60x60 3600+0x240",
        },
        (_is(92, _FRESH, 0), _of_source(92, _LAG, 1920), _of_source(92, _IDLE, None)),
    ),
    RecordedCase(
        "the first reading of an archive is not counted against it",
        _WELL | {_READ: "0+90x300", _LAST: "0+0x300", _THROUGH: "60+1x300"},
        (_is(100, _FRESH, 1), _is(290, _FRESH, 1), _of_source(290, _LAG, None), _of_source(290, _IDLE, None)),
    ),
    RecordedCase(
        "an archive with an end stays fresh",
        _WELL | {_LAST: "0+60x300", _THROUGH: "1+0x300"},
        (_is(100, _FRESH, 1), _is(290, _FRESH, 1)),
    ),
    RecordedCase(
        "a queue that never runs empty stays fresh",
        _WELL | {_READ: "0+9x300", _LAST: "0+60x60 3600+0x240", _THROUGH: "0+0x300"},
        (_is(100, _FRESH, 1), _is(290, _FRESH, 1)),
    ),
    RecordedCase(
        "not fresh while no process answers, and fresh over a roll-out",
        _WELL | {_UP: "1+0x59 0+0x9 1+0x230", _LAST: "0+60x59 _x10 4200+60x230", _THROUGH: "0+60x59 _x10 4200+60x230"},
        (_is(59, _FRESH, 1), _is(65, _FRESH, 0), _is(72, _FRESH, 1)),
    ),
    RecordedCase(
        "share of events that were in time",
        {
            series("event_delay_seconds_bucket", source="trail", le="1800.0"): "0+3x120",
            series("event_delay_seconds_count", source="trail"): "0+4x120",
        },
        (_is(90, _WITHIN, 0.75),),
    ),
)
