"""Overview: who did what, and can these numbers be trusted right now."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.dashboards.parts import (
    BEHIND,
    COLOURS,
    NO_EVENTS,
    OVERVIEW,
    Query,
    board,
    chosen,
    events_link,
    grid,
    increase,
    number,
    own,
    rows,
    series,
    total,
)

__all__ = ["dashboard"]

_ROOT, _WRITE = 'principal_type="Root"', 'access="write"'
_SERVICE = 'event_source=~"$event_source"'
#: How an event finds its operation in the table of operations.
_OPERATION = "job, instance, event_source, event_name"
_BARS = (
    "Counted by when they arrived here, 5 to 15 minutes after the call. Bars are estimates at the edges; the numbers "
    "on top and the table are rounded to whole events."
)


def _events(*matchers: str) -> str:
    return total("cloudtrail_events_total", _SERVICE, *matchers)


def _errors() -> str:
    return total("cloudtrail_event_errors_total", _SERVICE)


def _access(*matchers: str) -> str:
    return f"on ({_OPERATION}) group_left (access) {total('cloudtrail_event_name_info', _SERVICE, *matchers)}"


def dashboard() -> Dashboard:
    """The dashboard, to be rendered by :mod:`deploy.dashboards.render`."""
    page = board(
        "CloudTrail exporter / Overview",
        OVERVIEW,
        "Who called what in the AWS services this exporter watches: by operation, by kind of principal, reads and "
        "writes, errors, the root user. Each CloudTrail event is counted once.",
        since="now-24h",
    )
    page.with_variable(
        chosen(
            "event_source",
            'label_values(cloudtrail_events_total{job=~"$job", instance=~"$instance"}, event_source)',
            label="Service",
        )
    )
    for panel in (
        number(
            "Events, 24 h",
            "Events of the last 24 hours, whatever the time range is. Prometheus estimates growth between scrapes, so "
            "the rounded number may be off by a few per thousand. An exporter younger than a day shows its own age.",
            "none",
            Query(f"round(sum({increase(_events(), '24h')}))"),
            empty="Not scraped yet",
            decimals=0,
        ),
        number(
            "Error share",
            "Share of the calls in the time range that failed with an error code. Orange from 5 %, red from 20 %: see "
            "Errors by code, then Failed calls on the Events dashboard for who and why.",
            "percentunit",
            Query(
                f"(sum({increase(_errors(), '$__range')}) or vector(0)) / (sum({increase(_events(), '$__range')}) > 0)"
            ),
            empty="No events",
            limits=(0.05, 0.2),
            decimals=1,
        ),
        number(
            "Calls by root",
            "Calls of the account's root user in the time range. AWS advises never to use it for daily work: one is "
            "worth asking about. See Root by operation below, and Root calls on the Events dashboard.",
            "none",
            Query(f"round(sum({increase(_events(_ROOT), '$__range')}))"),
            empty="Not scraped yet",
            limits=(1, 1),
            decimals=0,
        ),
        number(
            "Sources up",
            "Share of what is polled (folders, regions, queues) whose last poll worked. Below 100 %: the log of the "
            "exporter and Poll failures on the Pipeline dashboard say which and why.",
            "percentunit",
            Query(f"avg({own('source_up')})"),
            empty="No poll yet",
            limits=(1, 1),
            low_is_bad=True,
            decimals=0,
        ),
        number(
            "Worst lag",
            "Age of the oldest moment up to which not everything is read and accepted yet, over all sources. Orange "
            "from 30 minutes, red from 4 hours, as the alerts. See Lag by source.",
            "s",
            Query(f"max(time() - ({own('checkpoint_timestamp_seconds')} > 0))"),
            empty="Unknown: plain files have no end",
            limits=BEHIND,
        ),
        number(
            "Version",
            "The running build. Two versions at once are normal during a roll-out only.",
            "string",
            Query(own("build_info"), "{{version}}"),
            empty="Not scraped",
            name=True,
        ),
    ):
        page.with_panel(panel)
    rows(
        page,
        "Who did what",
        series(
            "Events by operation",
            f"Calls by eventName. {_BARS} Dots, where Prometheus keeps exemplars, carry the id of an event for the "
            "Event id box of the Events dashboard.",
            "none",
            Query(f"sum by (event_name) ({increase(_events())}) > 0", "{{event_name}}", exemplars=True),
            size=(12, 9),
            empty=NO_EVENTS,
            bars=True,
        ),
        series(
            "Events by principal type",
            "Calls by userIdentity.type; colours are the same everywhere, red is root. `_MISSING`: AWS wrote no type; "
            "`_OTHER`: a type that is not known to this version. A type that never called before is worth a look.",
            "none",
            Query(f"sum by (principal_type) ({increase(_events())}) > 0", "{{principal_type}}"),
            size=(12, 9),
            empty=NO_EVENTS,
            bars=True,
            colours=COLOURS,
        ),
        series(
            "Reads against writes",
            "Calls by the IAM access level of the operation. Unknown: an operation that is not in this version's "
            "table; the event itself is counted and published all the same.",
            "none",
            Query(f"sum by (access) ({increase(_events())} * {_access()}) > 0", "{{access}}"),
            Query(
                f"sum({increase(_events())} unless on ({_OPERATION}) "
                f"{total('cloudtrail_event_name_info', _SERVICE)}) > 0",
                "unknown",
            ),
            size=(8, 9),
            empty=NO_EVENTS,
            bars=True,
            colours={"read": "blue", "write": "orange", "unknown": "#808080"},
        ),
        series(
            "Writes by operation",
            "Calls that change something. Compare with your change calendar; an unexpected Delete is worth a look at "
            "the Events dashboard, which names the caller.",
            "none",
            Query(f"sum by (event_name) ({increase(_events())} * {_access(_WRITE)}) > 0", "{{event_name}}"),
            size=(8, 9),
            empty="No writes in this time range.",
            bars=True,
        ),
        series(
            "Root by operation",
            "What the root user called. Empty is good. Otherwise ask who and why; the Events dashboard shows address "
            "and user agent.",
            "none",
            Query(f"sum by (event_name) ({increase(_events(_ROOT))}) > 0", "{{event_name}}"),
            size=(8, 9),
            empty="Root called nothing in this time range.",
            bars=True,
        ),
    )
    rows(
        page,
        "Errors and lag",
        series(
            "Errors by code",
            "Failed calls by errorCode. AccessDenied in a row: a wrong policy, or somebody trying doors. Throttling: a "
            "client without back-off.",
            "none",
            Query(f"sum by (error_code) ({increase(_errors())}) > 0", "{{error_code}}"),
            size=(12, 9),
            empty="No failed calls in this time range.",
            bars=True,
        ),
        series(
            "Lag by source",
            "Age of the moment up to which everything of a source is read, accepted and committed; it stays low when "
            "nothing happens. AWS itself is 5 to 15 minutes late. Above the lines, see the Pipeline dashboard.",
            "s",
            Query(f"max by (source) (time() - ({own('checkpoint_timestamp_seconds')} > 0))", "{{source}}"),
            size=(12, 9),
            empty="Unknown: plain files have no end, other sources have none before their first poll is over.",
            limits=BEHIND,
        ),
    )
    return rows(
        page,
        "In numbers",
        grid(
            "Most frequent: operation and principal type",
            "The 50 most frequent pairs in the time range, whole events. A click on an operation leads to its events.",
            Query(
                "sort_desc(topk(50, round(sum by (event_source, event_name, principal_type) "
                f"({increase(_events(), '$__range')})) > 0))"
            ),
            columns={
                "event_source": "Service",
                "event_name": "Operation",
                "principal_type": "Principal type",
                "Value": "Events",
            },
            links={
                "Operation": events_link(
                    event_name="${__data.fields.Operation}", principal_type='${__data.fields["Principal type"]}'
                )
            },
        ),
    )
