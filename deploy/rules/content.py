"""Alerts on what the events say. Not on by default: what is unusual differs from account to account.

Counters move when an event is published and not when it happened. While an archive is read for the first time these
alerts tell of the past.
"""

from __future__ import annotations

from deploy.rules.expressions import JOB, TARGET, foreign, increased
from deploy.rules.model import Alert, Case, Fired, Group

__all__ = ["GROUP"]


def _events(*matchers: str) -> str:
    return f"cloudtrail_events_total{{{','.join(('[[selector]]', *matchers))}}}"


def _counted(name: str, principal: str) -> str:
    return foreign(
        "cloudtrail_events_total",
        event_source="lookoutmetrics.amazonaws.com",
        event_name=name,
        principal_type=principal,
    )


def _denied(code: str, name: str = "CreateAlert") -> str:
    return foreign(
        "cloudtrail_event_errors_total",
        event_source="lookoutmetrics.amazonaws.com",
        event_name=name,
        error_code=code,
    )


_FROM = {"job": TARGET["job"], "event_source": "lookoutmetrics.amazonaws.com"}


def _fired(value: str, **labels: str) -> tuple[Fired, ...]:
    return (Fired({**_FROM, **labels}, (value,), whole=True),)


GROUP = Group(
    "cloudtrail-exporter.content",
    "content-alerts",
    (
        Alert(
            name="RootActivity",
            prefix="CloudTrail",
            severity="warning",
            expr=increased(_events('principal_type="Root"'), 15, f"{JOB}, event_source, event_name")
            + " > [[rootEvents]]",
            minutes=0,
            summary="The root user was active.",
            description="The root user of an account called {{ $labels.event_name }} of {{ $labels.event_source }} "
            '{{ printf "%.0f" $value }} times, as published within the last 15 minutes.',
            action="Find the events on the Events dashboard, and ask whoever holds the root credentials.",
            dashboard="events",
            cases=(
                Case(
                    "two calls",
                    {_counted("DeleteAlert", "Root"): "0+0x30 2+0x60"},
                    {30: (), 31: _fired("2", event_name="DeleteAlert"), 50: ()},
                ),
                Case(
                    "a call of a kind never seen, born at zero",
                    {_counted("Invented", "Root"): "_x30 0+0x1 1+0x60"},
                    {31: (), 32: _fired("1", event_name="Invented"), 50: ()},
                ),
                Case("others", {_counted("DeleteAlert", "IAMUser"): "0+9x60"}, {30: (), 50: ()}),
                Case(
                    "a restart: the ledger goes on where it was",
                    {_counted("DeleteAlert", "Root"): "7+0x20 _x3 7+0x60"},
                    {19: (), 24: (), 40: ()},
                ),
            ),
        ),
        Alert(
            name="AccessDeniedBurst",
            prefix="CloudTrail",
            severity="warning",
            expr=increased(
                'cloudtrail_event_errors_total{[[selector]],error_code=~".*(AccessDenied|Unauthorized).*"}',
                15,
                f"{JOB}, event_source",
            )
            + " > [[deniedEvents]]",
            minutes=0,
            summary="Many calls were refused.",
            description='{{ printf "%.0f" $value }} calls of {{ $labels.event_source }} were refused for lack of '
            "permission, as published within the last 15 minutes. Somebody tries what they may not do, or lost a "
            "permission.",
            action="Find who and from where on the Events dashboard.",
            dashboard="events",
            cases=(
                Case(
                    "eight refused calls of several kinds",
                    {
                        _denied("AccessDenied"): "0+0x30 3+0x60",
                        _denied("AccessDeniedException", "GetAlert"): "0+0x30 3+0x60",
                        _denied("Client.UnauthorizedOperation"): "0+0x30 2+0x60",
                    },
                    {30: (), 31: _fired("8"), 50: ()},
                ),
                Case("four refused calls", {_denied("AccessDenied"): "0+0x30 4+0x60"}, {31: (), 40: ()}),
                Case("other errors", {_denied("ValidationException"): "0+9x60"}, {30: (), 50: ()}),
            ),
        ),
        Alert(
            name="DestructiveCalls",
            prefix="CloudTrail",
            severity="warning",
            expr=increased(_events('event_name=~"Delete.*"'), 15, f"{JOB}, event_source, event_name")
            + " > [[destructiveEvents]]",
            minutes=0,
            summary="Something was deleted, or somebody tried to.",
            description='{{ $labels.event_name }} of {{ $labels.event_source }} was called {{ printf "%.0f" $value '
            "}} times, as published within the last 15 minutes. Calls that failed are among them.",
            action="Find who, and whether it worked, on the Events dashboard.",
            dashboard="events",
            cases=(
                Case(
                    "three deletions by two kinds of principal",
                    {
                        _counted("DeleteAlert", "IAMUser"): "0+0x30 2+0x60",
                        _counted("DeleteAlert", "AssumedRole"): "0+0x30 1+0x60",
                    },
                    {30: (), 31: _fired("3", event_name="DeleteAlert"), 50: ()},
                ),
                Case(
                    "a kind never seen, born at zero",
                    {_counted("DeleteInvented", "IAMUser"): "_x30 0+0x1 1+0x60"},
                    {31: (), 32: _fired("1", event_name="DeleteInvented"), 50: ()},
                ),
                Case(
                    "calls that delete nothing",
                    {_counted("CreateAlert", "IAMUser"): "0+9x60", _counted("UndeleteAlert", "IAMUser"): "0+9x60"},
                    {30: (), 50: ()},
                ),
                Case("quiet hours", {_counted("DeleteAlert", "IAMUser"): "9+0x60"}, {5: (), 50: ()}),
            ),
        ),
    ),
)
