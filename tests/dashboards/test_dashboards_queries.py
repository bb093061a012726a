"""The PromQL of the dashboards names metrics and labels that the exporter has, and leaves none of them out."""

from __future__ import annotations

import re
from collections.abc import Iterator

import promql_parser as promql
import pytest

from exporter.metrics import Metrics, declared
from tests.dashboards.board import Asked, asks, boards, choices, filled, marks, panels, queries
from tests.dashboards.promql import grouped, matchers, parsed, selectors

BOARDS = {name: board for name, board in boards().items() if asks(board, "prometheus")}
ASKED = [asked for name, board in BOARDS.items() for ask in (queries, marks, choices) for asked in ask(name, board)]
#: What Prometheus itself puts on every series.
SCRAPED = {"job", "instance"}
#: Metrics that no panel shows, and why.
UNSEEN = {
    "cloudtrail_exporter_config_info": "constant for a process; the landing page shows it",
}


def exposed() -> dict[str, set[str]]:
    """Series name -> its labels, as they stand in the exposition."""
    names = {family.name: set(family.labels) for family in declared()}
    for family in declared():
        if family.kind == "histogram":
            names[f"{family.name}_bucket"] = {*family.labels, "le"}
            names |= {f"{family.name}_{part}": set(family.labels) for part in ("sum", "count")}
    for collected in Metrics().registry.collect():
        for sample in collected.samples:
            if sample.name.startswith(("process_", "python_")) or sample.name.endswith("_info"):
                names.setdefault(sample.name, set()).update(sample.labels)
    return names


EXPOSED = exposed()


def by_where(asked: Asked) -> str:
    return asked.where


@pytest.mark.parametrize("asked", ASKED, ids=by_where)
def test_query_names_only_metrics_and_labels_there_are(asked: Asked) -> None:
    known = {family.name: family.labels for family in declared()}
    for selector, _ in selectors(filled(asked.expr)):
        assert selector.name in EXPOSED
        for label, (operator, value) in matchers(selector).items():
            assert label in EXPOSED[selector.name] | SCRAPED, f"{selector.name} has no label {label}"
            values = known.get(selector.name, {}).get(label, ())
            if operator == "MatchOp.Equal" and values:
                assert value in values


@pytest.mark.parametrize("asked", ASKED, ids=by_where)
def test_query_groups_by_labels_its_series_have(asked: Asked) -> None:
    for node, _ in parsed(filled(asked.expr)):
        below = {label for found, _ in selectors(node.prettify()) for label in EXPOSED[found.name]}
        assert set(grouped(node)) <= below | SCRAPED


@pytest.mark.parametrize("name", BOARDS)
def test_legend_names_labels_that_are_left(name: str) -> None:
    for panel in panels(BOARDS[name]):
        for target in panel["targets"]:
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
            assert wanted <= left(promql.parse(filled(target["expr"]))), panel["title"]


def left(node: object) -> set[str]:
    """The labels a result has: those of the outermost aggregation on every side, or those of the series."""
    if isinstance(node, promql.AggregateExpr) and node.param is None:
        return set(grouped(node))
    found: set[str] = set()
    inner = [getattr(node, part, None) for part in ("expr", "lhs", "rhs", "vector_selector")]
    for child in (*inner, *(getattr(node, "args", None) or [])):
        if child is not None:
            found |= left(child)
    if isinstance(node, promql.VectorSelector):
        found |= EXPOSED[str(node.name)] | SCRAPED
    return found


def names_of(asked: list[Asked]) -> Iterator[str]:
    for one in asked:
        for selector, _ in selectors(filled(one.expr)):
            yield re.sub(r"_(bucket|count|sum)$", "", str(selector.name))


def test_every_metric_is_on_a_dashboard_or_has_a_reason() -> None:
    shown = set(names_of(ASKED))
    assert {family.name for family in declared()} - shown == set(UNSEEN)


def test_shares_and_quantiles_are_not_divided_by_zero() -> None:
    """A denominator that is 0 makes NaN, which Grafana draws as a hole without a word."""
    for asked in ASKED:
        for node, _ in parsed(filled(asked.expr)):
            if isinstance(node, promql.BinaryExpr) and str(node.op) == "/":
                assert "> 0" in node.rhs.prettify() or "max_fds" in node.rhs.prettify(), asked.where


def test_counts_in_numbers_and_tables_are_whole_events() -> None:
    """increase() extrapolates: what reads as an exact count is rounded."""
    for asked in ASKED:
        whole = asked.instant and "increase(cloudtrail_events_total" in asked.expr and "/" not in asked.expr
        assert not whole or "round(" in asked.expr, asked.where
