"""What the dashboards are put together from: selectors, queries, panels, variables, links, marks.

Every panel has a title, a description that ends in what to do, a unit, and a text for when there is nothing to draw:
an account may make no call for days, and an empty panel must not look like a broken one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import common as look
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import heatmap, logs, loki, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.loki import LokiQueryDirection
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

__all__ = [
    "BEHIND",
    "COLOURS",
    "EVENTS",
    "NO_EVENTS",
    "OVERVIEW",
    "PIPELINE",
    "TAG",
    "Query",
    "board",
    "delay_heatmap",
    "events_link",
    "grid",
    "increase",
    "log_lines",
    "number",
    "own",
    "quantile",
    "rate",
    "rows",
    "series",
    "total",
]

TAG = "cloudtrail-exporter"
#: The uids: links and alerts point to them, so they never change.
OVERVIEW, PIPELINE, EVENTS = f"{TAG}-overview", f"{TAG}-pipeline", f"{TAG}-events"

#: Lag in seconds where the alerts of deploy/prometheus begin: warning, critical.
BEHIND = (1800.0, 14400.0)
NO_EVENTS = "No events in this time range. CloudTrail is rare: widen the range, and see that sources are up."

#: A colour of its own for every principal type, the same on every panel. Root is red, and no other type is.
COLOURS: Mapping[str, str] = {
    "Root": "red",
    "IAMUser": "blue",
    "AssumedRole": "green",
    "Role": "light-green",
    "FederatedUser": "purple",
    "Directory": "light-purple",
    "AWSAccount": "orange",
    "AWSService": "light-blue",
    "IdentityCenterUser": "yellow",
    "SAMLUser": "light-orange",
    "WebIdentityUser": "light-yellow",
    "Unknown": "#808080",
    "_MISSING": "#A0A0A0",
    "_OTHER": "#606060",
}

_SELECTORS = ('job=~"$job"', 'instance=~"$instance"')
_PROMETHEUS = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
_LOKI = model.DataSourceRef(type_val="loki", uid="${loki_datasource}")

_Panel = TypeVar("_Panel", timeseries.Panel, stat.Panel, table.Panel, heatmap.Panel, logs.Panel)


# -- PromQL -----------------------------------------------------------------------------------------------------------


def total(name: str, *matchers: str) -> str:
    """A selector of one metric, for the jobs and instances that are chosen."""
    return f"{name}{{{', '.join((*_SELECTORS, *matchers))}}}"


def own(name: str, *matchers: str) -> str:
    """A selector of one ``cloudtrail_exporter_*`` metric."""
    return total(f"cloudtrail_exporter_{name}", *matchers)


def increase(selector: str, window: str = "$__rate_interval") -> str:
    """How much counters grew. It extrapolates to the ends of the window: whole events come of ``round`` only."""
    return f"increase({selector}[{window}])"


def rate(selector: str) -> str:
    """Growth per second."""
    return f"rate({selector}[$__rate_interval])"


def quantile(share: float, name: str, *by: str) -> str:
    """A quantile of one of our histograms, by further labels."""
    labels = ", ".join(("le", *by))
    return f"histogram_quantile({share}, sum by ({labels}) ({rate(own(f'{name}_bucket'))}))"


# -- queries ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: PromQL or LogQL.
        legend: the name of a series; ``{{label}}`` is replaced.
        exemplars: ask for exemplars too.
        logql: ``expr`` is LogQL.
    """

    expr: str
    legend: str = ""
    exemplars: bool = False
    logql: bool = False

    def target(
        self, ref: str, *, instant: bool = False, format_: PromQueryFormat | None = None
    ) -> prometheus.Dataquery | loki.Dataquery:
        """The builder for it."""
        if self.logql:
            asked = loki.Dataquery().expr(self.expr).ref_id(ref).datasource(_LOKI).legend_format(self.legend)
            asked.query_type("instant" if instant else "range").direction(LokiQueryDirection.BACKWARD)
            return asked.max_lines(500)
        query = prometheus.Dataquery().expr(self.expr).ref_id(ref).datasource(_PROMETHEUS).legend_format(self.legend)
        query.instant() if instant else query.range()
        if self.exemplars:
            query.exemplar(True)
        return query.format(format_ or PromQueryFormat.TIME_SERIES)


def _fill(
    panel: _Panel,
    title: str,
    text: str,
    queries: Sequence[Query],
    *,
    size: tuple[int, int],
    instant: bool = False,
    format_: PromQueryFormat | None = None,
) -> _Panel:
    panel.title(title).description(text).span(size[0]).height(size[1])
    panel.datasource(_LOKI if queries[0].logql else _PROMETHEUS)
    for ref, query in zip("ABCDEFGH", queries, strict=False):
        panel.with_target(query.target(ref, instant=instant, format_=format_))
    return panel


# -- panels -----------------------------------------------------------------------------------------------------------


def series(
    title: str,
    text: str,
    unit: str,
    *queries: Query,
    size: tuple[int, int] = (8, 8),
    empty: str = "No data: is the exporter scraped? See Targets in Prometheus.",
    bars: bool = False,
    limits: tuple[float, float] | None = None,
    top: float | None = None,
    floor: float | None = 0,
    colours: Mapping[str, str] = {},
    lines: Sequence[str] = (),
) -> timeseries.Panel:
    """A graph over time.

    Args:
        title: shown above it.
        text: what it shows and what to do.
        unit: a Grafana unit id.
        queries: what it draws.
        size: width of 24, height.
        empty: what to say when there is nothing to draw.
        bars: counts per step as stacked bars, with steps of five minutes or more: ``$__rate_interval`` reaches one
            scrape further than a step, and with short steps one event would stand in several bars.
        limits: where a warning and a critical line are drawn.
        top: upper end of the axis.
        floor: lower end of the axis; None: where the data ends.
        colours: series -> fixed colour.
        lines: names of series that are drawn as a line above the bars.
    """
    panel = _fill(timeseries.Panel(), title, text, queries, size=size).unit(unit).no_value(empty)
    panel.legend(
        look.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE if size[0] > 8 else common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.RIGHT if size[0] > 8 else common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["sum"] if bars else ["lastNotNull", "max"])
    )
    panel.tooltip(look.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    panel.show_points(common.VisibilityMode.NEVER)
    if bars:
        panel.draw_style(common.GraphDrawStyle.BARS).fill_opacity(80).line_width(0).interval("5m")
        panel.stacking(look.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    else:
        panel.draw_style(common.GraphDrawStyle.LINE).fill_opacity(8).line_width(1)
    if limits:
        panel.thresholds(_steps(limits))
        panel.thresholds_style(look.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    if floor is not None:
        panel.min(floor)
    if top is not None:
        panel.max(top)
    for name, colour in colours.items():
        panel.override_by_name(name, [_fixed(colour)])
    for name in lines:
        panel.override_by_name(
            name,
            [
                model.DynamicConfigValue(id_val="custom.drawStyle", value="line"),
                model.DynamicConfigValue(id_val="custom.lineWidth", value=2),
                model.DynamicConfigValue(id_val="custom.fillOpacity", value=0),
                model.DynamicConfigValue(id_val="custom.stacking", value={"mode": "none", "group": "A"}),
            ],
        )
    return panel


def number(
    title: str,
    text: str,
    unit: str,
    query: Query,
    *,
    empty: str,
    limits: tuple[float, float] | None = None,
    low_is_bad: bool = False,
    name: bool = False,
    decimals: int | None = None,
    size: tuple[int, int] = (4, 4),
) -> stat.Panel:
    """One number, asked for once at the end of the time range.

    Args:
        title: shown above it.
        text: what it shows and what to do.
        unit: a Grafana unit id.
        query: has one series.
        empty: what to say when there is none.
        limits: warning and critical; both the same: only critical.
        low_is_bad: the colours begin with red and turn at the limits.
        name: show the name of the series and not its value.
        decimals: digits after the point.
        size: width of 24, height.
    """
    panel = _fill(stat.Panel(), title, text, [query], size=size, instant=True).unit(unit).no_value(empty)
    panel.reduce_options(look.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.graph_mode(common.BigValueGraphMode.NONE)
    panel.text_mode(common.BigValueTextMode.NAME if name else common.BigValueTextMode.VALUE)
    panel.color_mode(common.BigValueColorMode.VALUE if limits else common.BigValueColorMode.NONE)
    if limits:
        panel.thresholds(_steps(limits, low_is_bad=low_is_bad))
    return panel if decimals is None else panel.decimals(decimals)


def grid(
    title: str,
    text: str,
    query: Query,
    *,
    columns: Mapping[str, str],
    size: tuple[int, int] = (24, 10),
    empty: str = NO_EVENTS,
    links: Mapping[str, str] = {},
) -> table.Panel:
    """A table.

    Args:
        title: shown above it.
        text: what it shows and what to do.
        query: PromQL that is asked once, or LogQL whose structured metadata become columns.
        columns: field -> heading, in this order; other fields are left out.
        size: width of 24, height.
        empty: what to say when there is no row.
        links: heading -> where a click in that column leads.
    """
    formatted = None if query.logql else PromQueryFormat.TABLE
    panel = _fill(table.Panel(), title, text, [query], size=size, instant=not query.logql, format_=formatted)
    panel.unit("none").no_value(empty)
    if query.logql:
        panel.with_transformation(
            model.DataTransformerConfig(
                id_val="extractFields", options={"source": "labels", "format": "json", "keepTime": False}
            )
        )
    panel.with_transformation(
        model.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(columns)}})
    )
    panel.with_transformation(
        model.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {},
                "indexByName": {field: place for place, field in enumerate(columns)},
                "renameByName": dict(columns),
            },
        )
    )
    for heading, url in links.items():
        link = {"title": "Show in Events", "url": url, "targetBlank": False}
        panel.override_by_name(heading, [model.DynamicConfigValue(id_val="links", value=[link])])
    colour = {
        "type": "value",
        "options": {name: {"color": value, "index": place} for place, (name, value) in enumerate(COLOURS.items())},
    }
    panel.override_by_name(
        "Principal type",
        [
            model.DynamicConfigValue(id_val="mappings", value=[colour]),
            model.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
        ],
    )
    return panel


def delay_heatmap(title: str, text: str, query: Query, *, size: tuple[int, int], empty: str) -> heatmap.Panel:
    """A histogram over time, darker where more events fall; ``legend`` of the query is ``{{le}}``."""
    panel = _fill(heatmap.Panel(), title, text, [query], size=size, format_=PromQueryFormat.HEATMAP)
    panel.unit("s").no_value(empty).interval("5m").calculate(False)
    panel.y_axis(heatmap.YAxisConfig().unit("s").axis_placement(common.AxisPlacement.LEFT))
    return panel.color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(32))


def log_lines(
    title: str, text: str, query: Query, *, size: tuple[int, int] = (24, 9), pretty: bool = False
) -> logs.Panel:
    """Log records, the newest first; ``pretty`` breaks the JSON of a record into lines."""
    panel = _fill(logs.Panel(), title, text, [query], size=size).show_time(True).wrap_log_message(pretty)
    panel.prettify_log_message(pretty).enable_log_details(True).sort_order(common.LogsSortOrder.DESCENDING)
    return panel.dedup_strategy(common.LogsDedupStrategy.NONE)


def _steps(limits: tuple[float, float], *, low_is_bad: bool = False) -> build.ThresholdsConfig:
    warning, critical = limits
    first, last = ("red", "green") if low_is_bad else ("green", "red")
    steps = [model.Threshold(value=None, color=first)]
    if warning != critical:
        steps.append(model.Threshold(value=warning, color="orange"))
    return (
        build.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([*steps, model.Threshold(value=critical, color=last)])
    )


def _fixed(colour: str) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})


# -- dashboards -------------------------------------------------------------------------------------------------------


def board(title: str, uid: str, text: str, *, since: str, logs: bool = False) -> build.Dashboard:
    """A dashboard without panels: uid, links to the others, marks, and the choice of data source, job and instance."""
    page = build.Dashboard(title).uid(uid).description(text).tags([TAG]).readonly().version(1)
    page.time(since, "now").refresh("1m").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    page.link(
        build.DashboardLink("CloudTrail exporter")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .include_vars(True)
        .keep_time(True)
    )
    if logs:
        source = build.DatasourceVariable("loki_datasource").label("Loki data source").type("loki")
        return page.with_variable(source).annotations([])
    page.with_variable(build.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    page.with_variable(chosen("job", "label_values(cloudtrail_exporter_build_info, job)"))
    page.with_variable(chosen("instance", 'label_values(cloudtrail_exporter_build_info{job=~"$job"}, instance)'))
    for name, metric, colour in (
        ("Restarts", "process_start_time_seconds", "orange"),
        ("Web configuration reloads", "cloudtrail_exporter_config_last_reload_success_timestamp_seconds", "blue"),
    ):
        mark = build.AnnotationQuery().name(name).datasource(_PROMETHEUS).enable(True).icon_color(colour)
        page.annotation(mark.expr(f"{total(metric)} * 1000"))
    return page


def chosen(name: str, query: str, *, label: str = "") -> build.QueryVariable:
    """A variable over the values of a Prometheus label: any number of them, all at first, read anew with the range."""
    return (
        build.QueryVariable(name)
        .label(label or name.title())
        .query(query)
        .datasource(_PROMETHEUS)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(model.VariableOption(text="All", value="$__all", selected=True))
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


def rows(page: build.Dashboard, title: str, *panels: Any, folded: bool = False) -> build.Dashboard:
    """Add a row of panels; ``folded``: it is opened by a click, and asks nothing before."""
    row = build.Row(title).collapsed(folded)
    if folded:
        for panel in panels:
            row.with_panel(panel)
        return page.with_row(row)
    page.with_row(row)
    for panel in panels:
        page.with_panel(panel)
    return page


def events_link(**variables: str) -> str:
    """Where a click leads to the Events dashboard with these of its variables set, at the same time range."""
    return f"/d/{EVENTS}?${{__url_time_range}}" + "".join(f"&var-{name}={value}" for name, value in variables.items())
