"""The freshness objective: every source less than half an hour behind, 99 % of the time; burn rates on top of it.

Time-based, because a trail of a few events a day has no meaningful share of late events. The windows are those of the
Site Reliability Workbook, chapter 5 ("Multiwindow, Multi-Burn-Rate Alerts").
"""

from __future__ import annotations

from deploy.rules.expressions import JOB, TARGET, foreign, metric, series
from deploy.rules.model import Alert, Case, Fired, Group, Recording

__all__ = ["ALERTS", "RECORDINGS"]

_SOURCE = f"{JOB}, source"
_SUCCESS = metric("last_poll_success_timestamp_seconds")
_CHECKPOINT = metric("checkpoint_timestamp_seconds")
_UPTO = "partition:cloudtrail_exporter_caught_up_timestamp_seconds:max"
_LAG = "source:cloudtrail_exporter_lag_seconds:max"
_IDLE = "source:cloudtrail_exporter_idle_seconds:min"
_WITHIN = metric("event_delay_seconds_bucket", 'le="1800.0"')
_FRESH = "job:cloudtrail_exporter_fresh:bool"


def _of_target(name: str, *matchers: str) -> str:
    return metric(name, *matchers, own=False)


def _newest(gauge: str) -> str:
    return f"max by ({_SOURCE}, partition) (max_over_time({gauge}[10m]))"


def _stale(window: str) -> str:
    return f"1 - avg_over_time({_of_target(_FRESH)}[{window}])"


def _burns(rate: str, long: str, short: str) -> str:
    budget = f"[[{rate}]] * (1 - [[freshnessObjective]])"
    return f"({_stale(long)} > {budget} and {_stale(short)} > {budget})"


RECORDINGS = Group(
    "cloudtrail-exporter.freshness-records",
    "recording",
    (
        Recording(
            _UPTO,
            f"(({_newest(_CHECKPOINT)} > {_newest(_SUCCESS)}) or {_newest(_SUCCESS)})"
            f" and {_newest(_CHECKPOINT)} > 0 and {_newest(_SUCCESS)} > 0",
            "Until when a partition is read: its checkpoint, or its last finished poll, because that was caught up "
            "with all there is to read. Partitions that were never caught up since the process began are left out, "
            "and those whose checkpoint is not known (files, workers of a queue).",
        ),
        Recording(
            _LAG,
            f"max by ({_SOURCE}) (time() - {_of_target(_UPTO)})",
            "How far a source is behind in its worst partition.",
        ),
        Recording(
            _IDLE,
            f"((time() - max by ({_SOURCE}) (max_over_time({_SUCCESS}[10m]) > 0))"
            f" or (time() - (0 * sum by ({_SOURCE}) ({metric('events_read_total')})"
            f" + on ({JOB}) group_left () max by ({JOB}) ({_of_target('process_start_time_seconds')}))))"
            f" unless on ({_SOURCE}) (sum by ({_SOURCE}) (increase({metric('events_read_total')}[15m])) > 0"
            f" or max by ({_SOURCE}) (changes({_CHECKPOINT}[15m])) > 0)",
            "For how long a source has neither finished a poll nor brought anything; no sample while it brings "
            "something.",
        ),
        Recording(
            _FRESH,
            f"0 * count by ({JOB}) ({_of_target(_LAG)} > [[freshnessSeconds]]"
            f" or {_of_target(_IDLE)} > [[freshnessSeconds]])"
            f" or max by ({JOB}) ({_of_target('up')})",
            "1 while every source is fresh; 0 while one is not, or while no process answers.",
        ),
        Recording(
            "job:cloudtrail_exporter_events_within_30m:ratio_rate1h",
            f"sum by ({JOB}) (rate({_WITHIN}[1h])) / sum by ({JOB}) (rate({metric('event_delay_seconds_count')}[1h]))",
            "Share of the events that were accepted within 30 minutes after they happened. For busy trails; a trail "
            "with a few events a day has no value most of the time.",
        ),
    ),
    interval=60,
)

_BOOL = foreign(_FRESH).replace(f',instance="{TARGET["instance"]}"', "")
_JOB = {"job": TARGET["job"]}


def _fired(value: str) -> tuple[Fired, ...]:
    return (Fired(_JOB, (value,), whole=True),)


ALERTS = Group(
    "cloudtrail-exporter.freshness",
    "alerts",
    (
        Alert(
            name="FreshnessBudgetBurnsFast",
            severity="critical",
            expr=f"{_burns('pageBurn', '1h', '5m')} or {_burns('pageLongBurn', '6h', '30m')}",
            minutes=2,
            summary="The month's budget for late events goes in hours.",
            description="Sources of {{ $labels.job }} were not fresh for {{ $value | humanizePercentage }} of the "
            "last hour or of the last six, and are not now. At this rate the budget of a month is gone within days.",
            action="See which source it is on the Overview dashboard, and follow its other alerts.",
            dashboard="overview",
            cases=(
                Case(
                    "not fresh for ten minutes",
                    {_BOOL: "1+0x400 0+0x60"},
                    {409: (), 412: _fired("19.67%"), 440: _fired("65.57%")},
                ),
                Case(
                    "not fresh for three minutes of each hour",
                    {_BOOL: "1+0x399" + " 0+0x2 1+0x56" * 7},
                    {402: (), 642: (), 762: (), 765: ()},
                ),
                Case("not fresh for seven minutes, once", {_BOOL: "1+0x400 0+0x6 1+0x60"}, {406: (), 407: (), 412: ()}),
                Case(
                    "not fresh in a past hour, and fresh now",
                    {_BOOL: "1+0x400 0+0x19 1+0x90"},
                    {419: _fired("31.15%"), 425: _fired("32.79%"), 426: (), 430: ()},
                ),
                Case(
                    "two hours of six with pauses",
                    {_BOOL: "1+0x119" + " 0+0x4 1+0x14" * 6 + " 1+0x60"},
                    {122: (), 163: _fired("22.95%"), 290: ()},
                ),
                Case(
                    "a slow burn over six hours",
                    {_BOOL: "1+0x399" + " 0+0x2 1+0x26" * 13},
                    {405: (), 765: _fired("9.972%"), 780: _fired("9.972%")},
                ),
                Case("over, and fresh again", {_BOOL: "1+0x400 0+0x60 1+0x60"}, {461: _fired("100%"), 510: ()}),
                Case("always fresh", {_BOOL: "1+0x500"}, {5: (), 60: (), 120: ()}),
                Case(
                    "from the reading to the page",
                    {
                        foreign("up"): "1+0x500",
                        foreign("process_start_time_seconds"): "0+0x500",
                        series("events_read_total", source="trail"): "9+0x500",
                        series(
                            "last_poll_success_timestamp_seconds", source="trail", partition="p"
                        ): "0+60x400 24000+0x100",
                        series("checkpoint_timestamp_seconds", source="trail", partition="p"): "0+60x400 24000+0x100",
                    },
                    {300: (), 430: (), 443: _fired("21.31%")},
                    recorded=True,
                ),
            ),
        ),
        Alert(
            name="FreshnessBudgetBurnsSlowly",
            severity="warning",
            expr=_burns("ticketBurn", "3d", "6h"),
            minutes=60,
            summary="The month's budget for late events will not last.",
            description="Sources of {{ $labels.job }} were not fresh for {{ $value | humanizePercentage }} of the "
            "last three days, and the objective allows less. Nothing is urgent; the cause should be found.",
            action="Look for repeated short standstills on the Overview dashboard.",
            dashboard="overview",
            cases=(
                Case(
                    "an hour of a day",
                    {_BOOL: "1+0x400 0+0x5 1+0x60"},
                    {4020: (), 4100: (), 4110: _fired("1.456%"), 4300: _fired("1.392%"), 4600: ()},
                    step=10,
                ),
                Case(
                    "a long one four days ago, and a short one now",
                    {_BOOL: "1+0x100 0+0x19 1+0x459 0+0x0 1+0x60"},
                    {5840: (), 5900: ()},
                    step=10,
                ),
                Case("half an hour", {_BOOL: "1+0x400 0+0x2 1+0x60"}, {4060: (), 4120: (), 4500: ()}, step=10),
                Case("always fresh", {_BOOL: "1+0x500"}, {10: (), 1000: (), 4900: ()}, step=10),
            ),
        ),
    ),
)
