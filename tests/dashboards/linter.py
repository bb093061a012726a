"""The rules of grafana/dashboard-linter, each under its name there, for dashboards of one data source.

Written anew from docs/index.md and docs/rules of that project, and stricter where it says less: every panel has title,
description and unit, whatever its type, and ``increase`` takes no window of its own but a day.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import promql_parser as promql
import yaml

from tests.dashboards.board import FOLDER, Board, asks, choices, filled, panels, queries
from tests.dashboards.promql import matchers, selectors

Rule = Callable[[Board], Iterator[tuple[str, str]]]

#: Of Grafana's unit ids (packages/grafana-data/src/valueFormats/categories.ts) those that are in use here.
UNITS = {"none", "string", "percentunit", "s", "bytes", "Bps", "ops", "reqps", "bool"}
#: Windows increase() may have: the step's, the time range's, and that of "Events, 24 h".
WINDOWS = {"$__rate_interval", "$__range", "24h"}


def variable(board: Board, name: str) -> dict[str, Any]:
    return next((item for item in board["templating"]["list"] if item["name"] == name), {})


def template_datasource(board: Board) -> Iterator[tuple[str, str]]:
    sources = [item for item in board["templating"]["list"] if item["type"] == "datasource"]
    if len(sources) != 1:
        yield "", f"{len(sources)} data source variables"
        return
    names = {
        "datasource": "Data source",
        f"{sources[0]['query']}_datasource": f"{sources[0]['query'].title()} data source",
    }
    if names.get(sources[0]["name"]) != sources[0].get("label"):
        yield "", f"data source variable {sources[0]['name']} is labelled {sources[0].get('label')}"


def template_label(name: str) -> Rule:
    def rule(board: Board) -> Iterator[tuple[str, str]]:
        if not asks(board, "prometheus"):
            return
        found = variable(board, name)
        wanted = {
            "type": "query",
            "label": name.title(),
            "multi": True,
            "includeAll": True,
            "allValue": ".+",
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
        }
        for key, value in wanted.items():
            if found.get(key) != value:
                yield "", f"variable {name}: {key} is {found.get(key)!r}, not {value!r}"

    return rule


def template_label_promql(board: Board) -> Iterator[tuple[str, str]]:
    if not asks(board, "prometheus"):
        return
    for choice in choices("", board):
        try:
            promql.parse(filled(choice.expr))
        except ValueError as error:
            yield "", f"{choice.panel}: {error}"


def template_reload(board: Board) -> Iterator[tuple[str, str]]:
    for item in board["templating"]["list"]:
        if item["type"] == "query" and item.get("refresh") != 2:
            yield "", f"variable {item['name']} is not read anew when the time range changes"


def panel_datasource(board: Board) -> Iterator[tuple[str, str]]:
    sources = {"${" + item["name"] + "}" for item in board["templating"]["list"] if item["type"] == "datasource"}
    for panel in panels(board):
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            if source["uid"] not in sources:
                yield panel["title"], f"data source {source['uid']}"


def panel_title_description(board: Board) -> Iterator[tuple[str, str]]:
    for panel in panels(board):
        if not panel.get("title") or not panel.get("description"):
            yield panel.get("title", ""), "no title or no description"


def panel_units(board: Board) -> Iterator[tuple[str, str]]:
    for panel in panels(board):
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        if panel["type"] != "logs" and unit not in UNITS:
            yield panel["title"], f"unit {unit!r}"


def panel_no_targets(board: Board) -> Iterator[tuple[str, str]]:
    for panel in panels(board):
        if not panel.get("targets"):
            yield panel["title"], "no query"


def target_promql(board: Board) -> Iterator[tuple[str, str]]:
    for asked in promqueries(board):
        try:
            promql.parse(filled(asked.expr))
        except ValueError as error:
            yield asked.panel, f"{asked.expr}: {error}"


def target_rate_interval(board: Board) -> Iterator[tuple[str, str]]:
    for asked in promqueries(board):
        for function, window in re.findall(
            r"\b(rate|irate|increase|delta|idelta)\(\w+(?:\{[^}]*\})?\[([^\]]+)\]", asked.expr
        ):
            allowed = WINDOWS if function == "increase" else {"$__rate_interval"}
            if window not in allowed:
                yield asked.panel, f"{function} over {window}"


def target_label(name: str) -> Rule:
    def rule(board: Board) -> Iterator[tuple[str, str]]:
        for asked in promqueries(board):
            # Filled with a text of its own, so that the variable itself is seen and not something equal to it.
            expr = filled(asked.expr, Named())
            for selector, _ in selectors(expr):
                if matchers(selector).get(name) != ("MatchOp.Re", f"of_{name}"):
                    yield asked.panel, f'{selector.name} without {name}=~"${name}"'

    return rule


def target_counter_agg(board: Board) -> Iterator[tuple[str, str]]:
    for asked in promqueries(board):
        for selector, above in selectors(filled(asked.expr)):
            if not (selector.name or "").endswith(("_total", "_bucket", "_count", "_sum")):
                continue
            call = above[-2] if len(above) > 1 and isinstance(above[-1], promql.MatrixSelector) else None
            if not isinstance(call, promql.Call) or call.func.name not in ("rate", "irate", "increase"):
                yield asked.panel, f"counter {selector.name} outside of rate, irate, increase"


def target_logql_auto(board: Board) -> Iterator[tuple[str, str]]:
    if asks(board, "loki"):
        for asked in queries("", board):
            for window in re.findall(r"\[([^\]]+)\]", asked.expr):
                if window != "$__auto":
                    yield asked.panel, f"range {window}"


def uneditable(board: Board) -> Iterator[tuple[str, str]]:
    if board.get("editable") is not False:
        yield "", "editable"


class Named(dict[str, str]):
    """Every variable filled with its own name; windows stay windows."""

    def __missing__(self, name: str) -> str:
        return "1m" if name.startswith("__") else f"of_{name}"


RULES: dict[str, Rule] = {
    "template-datasource-rule": template_datasource,
    "template-job-rule": template_label("job"),
    "template-instance-rule": template_label("instance"),
    "template-label-promql-rule": template_label_promql,
    "template-on-time-change-reload-rule": template_reload,
    "panel-datasource-rule": panel_datasource,
    "panel-title-description-rule": panel_title_description,
    "panel-units-rule": panel_units,
    "panel-no-targets-rule": panel_no_targets,
    "target-promql-rule": target_promql,
    "target-rate-interval-rule": target_rate_interval,
    "target-job-rule": target_label("job"),
    "target-instance-rule": target_label("instance"),
    "target-counter-agg-rule": target_counter_agg,
    "target-logql-auto-rule": target_logql_auto,
    "uneditable-dashboard": uneditable,
}


def promqueries(board: Board) -> Iterator[Any]:
    return queries("", board) if asks(board, "prometheus") else iter(())


def excluded() -> dict[str, set[tuple[str, str]]]:
    """Rule -> (dashboard, panel) that .lint lets pass; an entry needs a reason."""
    rules = yaml.safe_load((FOLDER / ".lint").read_text())["exclusions"]
    assert all(rule["reason"] and rule["entries"] for rule in rules.values())
    return {
        name: {(entry["dashboard"], entry.get("panel", "")) for entry in rule["entries"]}
        for name, rule in rules.items()
    }


def problems(rule: str, board: Board) -> list[tuple[str, str]]:
    """(panel, what is wrong) of one rule, exceptions taken out."""
    allowed = excluded().get(rule, set())
    return [found for found in RULES[rule](board) if (board["title"], found[0]) not in allowed]
