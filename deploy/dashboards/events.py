"""Events: the log records themselves, in Loki.

Loki's OTLP endpoint turns the dots of attribute names into underscores, keeps attributes as structured metadata and
drops the event's name; ``service.name`` and ``cloud.region`` become labels of the stream. Names are those of
docs/mapping.md.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from deploy.dashboards.parts import COLOURS, EVENTS, Query, board, events_link, grid, log_lines, number, rows, series

__all__ = ["dashboard"]

_LOKI = model.DataSourceRef(type_val="loki", uid="${loki_datasource}")
_STREAM = '{service_name="$service", cloud_region=~"$region"}'
_NAME, _TYPE, _CODE = "aws_cloudtrail_event_name", "aws_principal_type", "aws_error_code"
_CALLER, _ID = "aws_cloudtrail_principal_display_name", "aws_cloudtrail_event_id"
_EMPTY = (
    "No events match. Widen the time range and clear the filters; Loki refuses records older than a week unless "
    "reject_old_samples is off."
)
#: Column of the table -> its heading.
_COLUMNS = {
    "Time": "Time",
    _NAME: "Operation",
    _TYPE: "Principal type",
    _CALLER: "Caller",
    "source_address": "Address",
    "cloud_region": "Region",
    "cloud_account_id": "Account",
    _CODE: "Error code",
    _ID: "Event id",
}


def _matching(*stages: str) -> str:
    """The chosen events; the text search comes first, because it is what Loki does fastest."""
    chosen = (
        "|~ `(?i)$search`",
        "| cloud_account_id=~`$account`",
        f'| {_TYPE}=~"$principal_type"',
        f"| {_NAME}=~`$event_name`",
    )
    return " ".join((_STREAM, *chosen, *stages))


def _count(*stages: str, by: str = "") -> str:
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (count_over_time({_matching(*stages)} [$__auto]))"


def _ask(expr: str, legend: str = "") -> Query:
    return Query(expr, legend, logql=True)


def _text(name: str, label: str, preset: str, text: str) -> build.TextBoxVariable:
    option = model.VariableOption(text=preset, value=preset, selected=True)
    box = build.TextBoxVariable(name).label(label).description(text).default_value(preset)
    return box.current(option).options([option])


def _stream(name: str, label: str, query: str) -> build.QueryVariable:
    variable = build.QueryVariable(name).label(label).query(query).datasource(_LOKI)
    return variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)


def _types() -> build.CustomVariable:
    everything = model.VariableOption(text="All", value="$__all", selected=True)
    known = [name for name in COLOURS if not name.startswith("_")]
    return (
        build.CustomVariable("principal_type")
        .label("Principal type")
        .values(",".join(known))
        .options([everything, *(model.VariableOption(text=name, value=name, selected=False) for name in known)])
        .current(everything)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def dashboard() -> build.Dashboard:
    """The dashboard, to be rendered by :mod:`deploy.dashboards.render`."""
    page = board(
        "CloudTrail exporter / Events",
        EVENTS,
        "The events themselves, from Loki: who called what from where, with the whole record of each. A click on an "
        "event id opens that event.",
        since="now-24h",
        logs=True,
    )
    cloudtrail = model.VariableOption(text="cloudtrail", value="cloudtrail", selected=True)
    every = model.VariableOption(text="All", value="$__all", selected=True)
    for variable in (
        _stream("service", "Stream", "label_values(service_name)").current(cloudtrail),
        _stream("region", "Region", 'label_values({service_name="$service"}, cloud_region)')
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(every),
        _text("account", "Account", ".*", "A regular expression for the account that received the event."),
        _types(),
        _text("event_name", "Operation", ".*", "A regular expression for eventName, such as Delete.*"),
        _text("search", "Text", "", "A regular expression for anything in the record; case does not matter."),
        _text("event_id", "Event id", "", "The event shown at the bottom."),
    ):
        page.with_variable(variable)
    for panel in (
        number(
            "Events",
            "Events that match the filters. A record sent again after a crash is a second line here with the same "
            "log_record_uid; the exact count is on the Overview dashboard.",
            "none",
            _ask(_count()),
            empty="No events match",
            size=(6, 4),
        ),
        number(
            "Failed",
            "Matching events with an error code; see Failed calls below for who and why.",
            "none",
            _ask(_count(f'| {_CODE}!=""')),
            empty="None",
            limits=(1, 100),
            size=(6, 4),
        ),
        number(
            "Calls by root",
            "Matching events of the account's root user: each is worth asking about.",
            "none",
            _ask(_count(f'| {_TYPE}="Root"')),
            empty="None",
            limits=(1, 1),
            size=(6, 4),
        ),
        number(
            "Callers",
            "Different callers among the matching events, by display name.",
            "none",
            _ask(f"count({_count(by=_CALLER)})"),
            empty="None",
            size=(6, 4),
        ),
    ):
        page.with_panel(panel)
    rows(
        page,
        "Over time",
        series(
            "Events by operation",
            "Matching events by eventName, at the time of the event.",
            "none",
            _ask(_count(by=_NAME), f"{{{{{_NAME}}}}}"),
            size=(12, 8),
            empty=_EMPTY,
            bars=True,
        ),
        series(
            "Events by principal type",
            "Matching events by userIdentity.type; red is root.",
            "none",
            _ask(_count(by=_TYPE), f"{{{{{_TYPE}}}}}"),
            size=(12, 8),
            empty=_EMPTY,
            bars=True,
            colours=COLOURS,
        ),
    )
    rows(
        page,
        "Events",
        grid(
            "Matching events",
            "The newest 500 that match. A click on an event id shows that event at the bottom of this page.",
            _ask(_matching()),
            columns=_COLUMNS,
            size=(24, 14),
            empty=_EMPTY,
            links={"Event id": _same_page("event_id", "${__value.raw}")},
        ),
    )
    rows(
        page,
        "Root",
        log_lines(
            "Root calls",
            "Every matching call of the root user, as recorded. Ask who and why; see sourceIPAddress and userAgent.",
            _ask(
                _matching(
                    f'| {_TYPE}="Root"',
                    f"| line_format `{{{{.{_NAME}}}}} from {{{{.source_address}}}} {{{{__line__}}}}`",
                )
            ),
        ),
    )
    rows(
        page,
        "Errors",
        series(
            "Failed calls by code",
            "Matching events with an error code, by that code.",
            "none",
            _ask(_count(f'| {_CODE}!=""', by=_CODE), f"{{{{{_CODE}}}}}"),
            size=(8, 9),
            empty="No failed calls match.",
            bars=True,
        ),
        log_lines(
            "Failed calls",
            "Who was refused what: code, operation, caller, then the record. The same caller and AccessDenied again "
            "and again: a wrong policy, or somebody trying doors.",
            _ask(
                _matching(
                    f'| {_CODE}!=""',
                    f"| line_format `{{{{.{_CODE}}}}} {{{{.{_NAME}}}}} by {{{{.{_CALLER}}}}} {{{{__line__}}}}`",
                )
            ),
            size=(16, 9),
        ),
    )
    return rows(
        page,
        "One event",
        log_lines(
            "Event $event_id",
            "The whole record of the event whose id is in the Event id box: click one in the table above. The filters "
            "do not matter here, the time range does.",
            _ask(f"{_STREAM} | {_ID}=`$event_id`"),
            size=(24, 12),
            pretty=True,
        ),
    )


def _same_page(name: str, value: str) -> str:
    """This dashboard with one more variable set and the filters kept."""
    kept = ("loki_datasource", "service", "region", "account", "principal_type", "event_name", "search")
    return events_link(**{name: value}) + "".join(f"&${{{variable}:queryparam}}" for variable in kept)
