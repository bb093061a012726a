"""The rules of dashboard-linter hold, and each of them finds what it is for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.dashboards.board import Board, boards, panels
from tests.dashboards.linter import RULES, excluded, problems

BOARDS = boards()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", BOARDS)
def test_rule_holds(name: str, rule: str) -> None:
    assert problems(rule, BOARDS[name]) == []


def test_every_exception_in_the_lint_file_is_needed() -> None:
    broken = {
        (rule, board["title"], panel)
        for rule in excluded()
        for board in BOARDS.values()
        for panel, _ in RULES[rule](board)
    }
    assert broken == {(rule, *entry) for rule, entries in excluded().items() for entry in entries}


def query(text: str, *, panel: int = 0) -> Callable[[Board], None]:
    return lambda board: list(panels(board))[panel]["targets"][0].update(expr=text)


def first(key: str, value: Any) -> Callable[[Board], None]:
    return lambda board: next(panels(board)).update({key: value})


def chosen(name: str, key: str, value: Any) -> Callable[[Board], None]:
    return lambda board: next(item for item in board["templating"]["list"] if item["name"] == name).update({key: value})


BREAKS: list[tuple[str, str, Callable[[Board], None]]] = [
    ("template-datasource-rule", "overview", chosen("datasource", "label", "Prometheus")),
    ("template-job-rule", "overview", chosen("job", "allValue", ".*")),
    ("template-instance-rule", "overview", chosen("instance", "multi", False)),
    ("template-label-promql-rule", "overview", chosen("job", "query", "label_values(up{, job)")),
    ("template-on-time-change-reload-rule", "events", chosen("region", "refresh", 1)),
    ("panel-datasource-rule", "overview", first("datasource", {"type": "prometheus", "uid": "P1809F7CD0C75ACF3"})),
    ("panel-title-description-rule", "events", first("description", "")),
    ("panel-units-rule", "overview", lambda board: next(panels(board))["fieldConfig"]["defaults"].pop("unit")),
    ("panel-no-targets-rule", "pipeline", first("targets", [])),
    ("target-promql-rule", "overview", query("sum(")),
    ("target-rate-interval-rule", "overview", query("rate(up[5m])")),
    ("target-job-rule", "overview", query('up{job=~".+", instance=~"$instance"}')),
    ("target-instance-rule", "overview", query('up{job=~"$job"}')),
    ("target-counter-agg-rule", "overview", query('sum(cloudtrail_events_total{job=~"$job", instance=~"$instance"})')),
    ("target-logql-auto-rule", "events", query('sum(count_over_time({service_name="cloudtrail"}[5m]))')),
    ("uneditable-dashboard", "overview", lambda board: board.update(editable=True)),
]


@pytest.mark.parametrize(("rule", "name", "breaks"), BREAKS, ids=[rule for rule, _, _ in BREAKS])
def test_rule_finds_what_it_is_for(rule: str, name: str, breaks: Callable[[Board], None]) -> None:
    board = copy.deepcopy(BOARDS[name])
    breaks(board)
    assert problems(rule, board)


def test_every_rule_has_been_seen_to_fail() -> None:
    assert {rule for rule, _, _ in BREAKS} == set(RULES)
