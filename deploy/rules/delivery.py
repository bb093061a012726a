"""Alerts on what happens to records once they are read: the receiver, the state, the quarantine, the books."""

from __future__ import annotations

from deploy.rules.expressions import EACH, foreign, grown, metric, series, since_last
from deploy.rules.model import Alert, Case, Fired, Group

__all__ = ["GROUP"]

_BY = f"{EACH}, source"
_STATE = f"{EACH}, backend"
_MISCONFIGURED = "access_denied|expired_credentials|not_found|not_otlp|redirect"


def _sum(name: str) -> str:
    return f"sum by ({_BY}) ({metric(name)})"


_START = foreign("process_start_time_seconds")
_EXPORTS = series("otlp_exports_total")
_REJECTED = series("otlp_records_rejected_total")
_SAVED = series("state_last_save_timestamp_seconds", backend="sqlite")
_SAVES = series("state_saves_total", backend="sqlite")
_UNSAVED = series("state_save_failures_total", backend="sqlite")
_BACKEND = {"backend": "sqlite"}
_READ = series("events_read_total", source="trail")
_EXPORTED = series("events_exported_total", source="trail")
_DUPLICATE = series("events_duplicate_total", source="trail")
_OTHER_SERVICE = series("events_filtered_total", source="trail", reason="other_service")
_DIGEST = series("events_filtered_total", source="trail", reason="digest")
_TRUNCATED = series("events_quarantined_total", source="trail", reason="truncated")
_REFUSED = series("events_quarantined_total", source="trail", reason="refused")
_INFLIGHT = series("inflight_records", source="trail")
_FIRED = {"source": "trail"}


def _not_accepted(reason: str) -> str:
    return series("otlp_export_failures_total", reason=reason)


GROUP = Group(
    "cloudtrail-exporter.delivery",
    "alerts",
    (
        Alert(
            name="ExportFailing",
            severity="critical",
            expr=f"sum by ({EACH}) (rate({metric('otlp_export_failures_total')}[5m]))"
            f" / sum by ({EACH}) (rate({metric('otlp_exports_total')}[5m])) > [[exportFailureRatio]]",
            minutes=10,
            summary="The receiver does not take log records.",
            description="{{ $value | humanizePercentage }} of the OTLP requests of {{ $labels.instance }} fail. "
            "Records are held and sent again; nothing more is read meanwhile, and nothing is lost.",
            action="See which reason it is on the Pipeline dashboard; then look at the receiver.",
            cases=(
                Case(
                    "the receiver is away",
                    {_EXPORTS: "0+1x60", _not_accepted("connection"): "0+0x20 1+1x40"},
                    {30: (), 36: (Fired(values=("100%",)),)},
                ),
                Case(
                    "three requests of twenty fail",
                    {_EXPORTS: "0+20x60", _not_accepted("throttled"): "0+3x60"},
                    {10: (), 11: (Fired(values=("15%",)),), 50: (Fired(values=("15%",)),)},
                ),
                Case(
                    "two requests of 25 fail",
                    {_EXPORTS: "0+25x60", _not_accepted("timeout"): "0+2x60"},
                    {30: (), 50: ()},
                ),
                Case(
                    "one bad record is found by halving",
                    {_EXPORTS: "0+0x20 30+0x40", _not_accepted("invalid"): "0+0x20 20+0x40"},
                    {22: (), 27: (), 40: ()},
                ),
                Case("quiet hours", {_EXPORTS: "9+0x60", _not_accepted("connection"): "9+0x60"}, {30: (), 50: ()}),
                Case(
                    "a restart",
                    {_EXPORTS: "900+0x20 0+1x40", _not_accepted("connection"): "900+0x20 0+0x40"},
                    {25: (), 35: (), 50: ()},
                ),
                Case("no OTLP sink", {_EXPORTS: "0+0x60", _not_accepted("connection"): "0+0x60"}, {30: (), 50: ()}),
            ),
        ),
        Alert(
            name="ReceiverRefuses",
            severity="critical",
            expr=grown(metric("otlp_export_failures_total", f'reason=~"{_MISCONFIGURED}"'), 10, f"{EACH}, reason")
            + " > 0",
            minutes=5,
            summary="The receiver's address or credentials are wrong.",
            description="The receiver refuses what {{ $labels.instance }} sends: {{ $labels.reason }}. Everything is "
            "held, nothing is read and nothing is lost; waiting does not mend it.",
            action="Open /-/ready of the instance: it says which setting of the sink to correct.",
            cases=(
                Case(
                    "a token has expired",
                    {_START: "0+0x60", _not_accepted("expired_credentials"): "0+0x20 1+1x40"},
                    {25: (), 26: (Fired({"reason": "expired_credentials"}),)},
                ),
                Case(
                    "a wrong path, from the start on, in one request",
                    {_START: "0+0x60", _not_accepted("not_found"): "1+0x60"},
                    {4: (), 5: (Fired({"reason": "not_found"}),), 16: ()},
                ),
                Case(
                    "the receiver is away",
                    {_START: "0+0x60", _not_accepted("connection"): "0+1x60", _not_accepted("unavailable"): "0+1x60"},
                    {30: (), 50: ()},
                ),
                Case(
                    "a restart with the right token",
                    {_START: "0+0x20 1260+0x60", _not_accepted("access_denied"): "9+0x20 0+0x60"},
                    {19: (), 30: ()},
                ),
            ),
        ),
        Alert(
            name="RecordsRejected",
            severity="critical",
            expr=f"{grown(metric('otlp_records_rejected_total'), 15, EACH)} > 0",
            minutes=0,
            summary="The receiver refused records.",
            description='The receiver refused {{ printf "%.0f" $value }} records of {{ $labels.instance }} within 15 '
            "minutes (partial success). It has not stored them and OTLP forbids sending them again; they lie in "
            "quarantine.",
            action="Run `cloudtrail-exporter quarantine`: the receiver's reason is in each line.",
            cases=(
                Case(
                    "a record refused",
                    {_START: "0+0x90", _REJECTED: "0+0x40 1+0x50"},
                    {40: (), 41: (Fired(values=("1",)),), 60: ()},
                ),
                Case(
                    "refused before the first scrape",
                    {_START: "600+0x90", _REJECTED: "_x10 5+0x80"},
                    {11: (Fired(values=("5",)),), 30: ()},
                ),
                Case("none", {_START: "0+0x90", _REJECTED: "0+0x90"}, {5: (), 60: ()}),
                Case(
                    "a restart",
                    {_START: "0+0x40 2460+0x50", _REJECTED: "5+0x40 0+0x50"},
                    {39: (), 45: (), 60: ()},
                ),
                Case(
                    "old ones, and scrapes that fail for a while",
                    {_START: "0+0x40 _x10 0+0x50", _REJECTED: "5+0x40 _x10 5+0x50"},
                    {39: (), 52: (), 66: ()},
                ),
            ),
        ),
        Alert(
            name="StateNotSaved",
            severity="warning",
            expr=since_last(metric("state_last_save_timestamp_seconds"), _STATE, metric("state_saves_total"))
            + f" > [[stateSavedSeconds]] and on ({_STATE}) sum by ({_STATE}) "
            + f"(increase({metric('state_saves_total')}[15m])) > 0",
            minutes=5,
            summary="The state cannot be saved.",
            description="{{ $labels.instance }} has tried to commit to its state ({{ $labels.backend }}) for {{ "
            "$value | humanizeDuration }}, and no commit worked. Nothing more is read: the counts could not be kept.",
            action="Check space and permissions of the volume that holds state.path.",
            cases=(
                Case(
                    "the disk is full",
                    {_START: "0+0x90", _SAVED: "0+60x30 1800+0x60", _SAVES: "0+1x90", _UNSAVED: "0+0x30 1+1x60"},
                    {50: (), 51: (Fired(_BACKEND, ("21m 0s",)),)},
                ),
                Case(
                    "no commit has ever worked",
                    {_START: "0+0x90", _SAVED: "0+0x90", _SAVES: "0+1x90", _UNSAVED: "0+1x90"},
                    {20: (), 21: (Fired(_BACKEND, ("21m 0s",)),)},
                ),
                Case(
                    "quiet hours: there is nothing to save",
                    {_START: "0+0x90", _SAVED: "0+60x9 540+0x80", _SAVES: "0+1x9 9+0x80", _UNSAVED: "0+0x90"},
                    {40: (), 80: ()},
                ),
                Case(
                    "a commit after quiet hours, seen half way",
                    {_START: "0+0x90", _SAVED: "0+60x9 540+0x51 3660+0x40", _SAVES: "9+0x60 10+0x40"},
                    {59: (), 60: (), 61: (), 66: ()},
                ),
                Case(
                    "right after a restart",
                    {_START: "0+0x50 3060+0x50", _SAVED: "0+60x50 0+0x3 3300+60x40", _SAVES: "0+1x50 0+1x50"},
                    {52: (), 60: (), 80: ()},
                ),
            ),
        ),
        Alert(
            name="StateSaveFailures",
            severity="warning",
            expr=f"{grown(metric('state_save_failures_total'), 15, _STATE)} > 0",
            minutes=5,
            summary="Commits to the state fail.",
            description='{{ printf "%.0f" $value }} commits of {{ $labels.instance }} to its state ({{ '
            "$labels.backend }}) failed within 15 minutes. They are tried again, and nothing is lost or counted "
            "twice.",
            action="The log has the reason: a full or slow disk, or a locked file.",
            cases=(
                Case(
                    "a commit failed",
                    {_START: "0+0x90", _UNSAVED: "0+0x40 1+0x50"},
                    {45: (), 46: (Fired(_BACKEND, ("1",)),), 60: ()},
                ),
                Case("none failed", {_START: "0+0x90", _UNSAVED: "0+0x90"}, {5: (), 60: ()}),
                Case(
                    "a restart",
                    {_START: "0+0x40 2460+0x50", _UNSAVED: "5+0x40 0+0x50"},
                    {39: (), 48: (), 60: ()},
                ),
            ),
        ),
        Alert(
            name="QuarantineGrows",
            severity="warning",
            expr=grown(metric("events_quarantined_total"), 60, f"{_BY}, reason") + " > [[quarantined]]",
            minutes=0,
            summary="Records were set aside.",
            description='{{ printf "%.0f" $value }} records or files of source {{ $labels.source }} on {{ '
            "$labels.instance }} went to quarantine within the last hour: {{ $labels.reason }}. They are not "
            "published; they are kept in the state.",
            action="Run `cloudtrail-exporter quarantine`, and look up the reason in docs/errors.md.",
            cases=(
                Case(
                    "a file was cut",
                    {_START: "0+0x200", _TRUNCATED: "0+0x90 1+0x110"},
                    {90: (), 91: (Fired({"source": "trail", "reason": "truncated"}, ("1",)),), 155: ()},
                ),
                Case(
                    "set aside before the first scrape",
                    {_START: "600+0x200", _TRUNCATED: "_x10 1+0x190"},
                    {
                        11: (Fired({"source": "trail", "reason": "truncated"}, ("1",)),),
                        65: (Fired({"source": "trail", "reason": "truncated"}, ("1",)),),
                        75: (),
                    },
                ),
                Case("none", {_START: "0+0x200", _TRUNCATED: "0+0x200"}, {5: (), 60: (), 150: ()}),
                Case(
                    "a restart",
                    {_START: "0+0x100 6060+0x90", _TRUNCATED: "7+0x100 0+0x90"},
                    {99: (), 110: ()},
                ),
                Case(
                    "an old one, and scrapes that fail for a while",
                    {_START: "0+0x100 _x20 0+0x100", _TRUNCATED: "1+0x100 _x20 1+0x100"},
                    {99: (), 125: (), 181: ()},
                ),
            ),
        ),
        Alert(
            name="BooksDoNotBalance",
            severity="critical",
            expr=f"abs({_sum('events_read_total')} - {_sum('events_exported_total')} - {_sum('events_filtered_total')}"
            f" - {_sum('events_duplicate_total')} - {_sum('events_quarantined_total')}) > [[unbalanced]]",
            minutes=15,
            summary="The books of a source do not balance.",
            description='Of what source {{ $labels.source }} on {{ $labels.instance }} has read, {{ printf "%.0f" '
            "$value }} records are neither published, filtered, duplicate nor in quarantine, or are twice in the "
            "books. This is an error of the exporter.",
            action="Keep the state file and the log, and report it.",
            cases=(
                Case(
                    "a record is missing",
                    {
                        _READ: "0+10x20 201+10x60",
                        _EXPORTED: "0+5x20 100+5x60",
                        _OTHER_SERVICE: "0+2x20 40+2x60",
                        _DIGEST: "0+1x20 20+1x60",
                        _DUPLICATE: "0+1x20 20+1x60",
                        _TRUNCATED: "0+1x20 20+1x60",
                        _REFUSED: "0+0x90",
                    },
                    {35: (), 36: (Fired(_FIRED, ("1",)),)},
                ),
                Case(
                    "a record is counted twice",
                    {
                        _READ: "5+0x60",
                        _EXPORTED: "6+0x60",
                        _DUPLICATE: "0+0x60",
                        _DIGEST: "0+0x60",
                        _TRUNCATED: "0+0x60",
                    },
                    {14: (), 15: (Fired(_FIRED, ("1",)),)},
                ),
                Case(
                    "a busy hour",
                    {
                        _READ: "0+12x60",
                        _EXPORTED: "0+5x60",
                        _OTHER_SERVICE: "0+2x60",
                        _DIGEST: "0+1x60",
                        _DUPLICATE: "0+1x60",
                        _TRUNCATED: "0+1x60",
                        _REFUSED: "0+2x60",
                    },
                    {30: (), 60: ()},
                ),
                Case(
                    "a batch in flight for an hour: it is not read yet",
                    {
                        _READ: "12+0x60",
                        _EXPORTED: "12+0x60",
                        _DIGEST: "0+0x60",
                        _DUPLICATE: "0+0x60",
                        _TRUNCATED: "0+0x60",
                        _INFLIGHT: "5000+0x60",
                    },
                    {30: (), 60: ()},
                ),
                Case(
                    "scrapes in the middle of an entry",
                    {
                        _READ: "0+10x10 110+0x0 120+10x5 180+0x0 190+10x30",
                        _EXPORTED: "0+10x10 100+0x0 120+10x5 190+0x0 190+10x30",
                        _DIGEST: "0+0x60",
                        _DUPLICATE: "0+0x60",
                        _TRUNCATED: "0+0x60",
                    },
                    {11: (), 18: (), 30: (), 45: ()},
                ),
                Case(
                    "a restart",
                    {
                        _READ: "7+0x20 0+0x40",
                        _EXPORTED: "7+0x20 0+0x40",
                        _DIGEST: "0+0x60",
                        _DUPLICATE: "0+0x60",
                        _TRUNCATED: "0+0x60",
                    },
                    {22: (), 40: ()},
                ),
            ),
        ),
        Alert(
            name="SeriesCollapsed",
            severity="info",
            expr=f"{grown(metric('label_values_collapsed_total'), 60, f'{EACH}, label')} > 0",
            minutes=0,
            summary="Events are counted under _OTHER.",
            description='{{ printf "%.0f" $value }} events on {{ $labels.instance }} were counted with {{ '
            '$labels.label }}="_OTHER" within the last hour: their value is not known, or its cap is reached. The '
            "sums are exact, and the log records have the true values.",
            action="Look for the value in the log records; raise the cap in `metrics` if it is worth a series.",
            dashboard="overview",
            cases=(
                Case(
                    "a principal type nobody knows",
                    {
                        _START: "0+0x200",
                        series("label_values_collapsed_total", label="principal_type"): "0+0x90 1+0x110",
                    },
                    {90: (), 91: (Fired({"label": "principal_type"}, ("1",)),), 155: ()},
                ),
                Case(
                    "none",
                    {_START: "0+0x200", series("label_values_collapsed_total", label="event_name"): "0+0x200"},
                    {5: (), 150: ()},
                ),
                Case(
                    "a restart",
                    {
                        _START: "0+0x100 6060+0x90",
                        series("label_values_collapsed_total", label="event_name"): "7+0x100 0+0x90",
                    },
                    {99: (), 110: ()},
                ),
            ),
        ),
        Alert(
            name="SeriesNearLimit",
            severity="info",
            expr=f"max by ({EACH}) ({metric('event_series')}) / max by ({EACH}) ({metric('event_series_limit')})"
            " > [[seriesRatio]]",
            minutes=15,
            summary="The event counters have nearly all series they may have.",
            description="{{ $labels.instance }} shows {{ $value | humanizePercentage }} of the event series it may "
            "show. What comes beyond is summed in _OTHER: alerts on single operations do not see it.",
            action="Raise metrics.max_series, or take labels out of metrics.extra_labels.",
            dashboard="overview",
            cases=(
                Case(
                    "19 of 20 series are used",
                    {series("event_series"): "100+0x10 4750+0x60", series("event_series_limit"): "5000+0x80"},
                    {25: (), 26: (Fired(values=("95%",)),)},
                ),
                Case(
                    "four of five series are used",
                    {series("event_series"): "4000+0x80", series("event_series_limit"): "5000+0x80"},
                    {30: (), 60: ()},
                ),
            ),
        ),
    ),
)
