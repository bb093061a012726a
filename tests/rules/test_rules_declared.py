"""The declarations of alerts and recording rules: valid, of metrics that exist, each with cases of both kinds."""

from __future__ import annotations

import re
from collections.abc import Iterator

import promql_parser as promql
import pytest

from deploy.rules.catalogue import GROUPS, SITUATIONS, alerts, recordings
from deploy.rules.expressions import EACH, JOB
from deploy.rules.model import SLOT, Alert, Recording
from deploy.rules.recorded import CASES
from deploy.rules.render import PLAIN_SELECTOR, plain
from deploy.rules.thresholds import THRESHOLDS
from exporter.metrics import declared
from tests.dashboards.promql import grouped, matchers, parsed, selectors

ALERTS = list(alerts())
RULES: list[Alert | Recording] = [rule for group in GROUPS for rule in group.rules]
RECORDED = {rule.name for rule in recordings()}
_TARGET = {"cluster", "namespace", "job", "instance"}


def name_of(rule: Alert | Recording) -> str:
    return rule.name


def known() -> dict[str, set[str]]:
    """Every series name Prometheus has of us -> the labels it may have."""
    found: dict[str, set[str]] = {
        "up": set(),
        "process_start_time_seconds": set(),
        "process_resident_memory_bytes": set(),
    }
    for metric in declared():
        labels = set(metric.labels)
        if metric.kind == "histogram":
            found |= {f"{metric.name}_bucket": {*labels, "le"}, f"{metric.name}_count": labels}
            found[f"{metric.name}_sum"] = labels
        else:
            found[metric.name] = labels
    return found | {name: {"source", "partition"} for name in RECORDED}


KNOWN = known()


def checked(expr: str) -> Iterator[tuple[str, dict[str, tuple[str, str]]]]:
    """Name and matchers of every selector of an expression with its defaults."""
    for selector, _ in selectors(plain(expr)):
        yield selector.name, matchers(selector)


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_expressions_parse(rule: Alert | Recording) -> None:
    """A parser that is not Prometheus' own understands each one."""
    assert promql.parse(plain(rule.expr))


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_expressions_ask_for_what_there_is(rule: Alert | Recording) -> None:
    """Each metric is declared, and has the labels that are matched and grouped by."""
    labels: set[str] = set()
    for name, matched in checked(rule.expr):
        assert name in KNOWN
        assert set(matched) - {"job"} <= KNOWN[name]
        labels |= KNOWN[name]
    asked = {label for node, _ in parsed(plain(rule.expr)) for label in grouped(node)}
    assert asked - _TARGET <= labels


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_expressions_ask_for_the_exporter_alone(rule: Alert | Recording) -> None:
    """Each selector has the slot that the chart fills with job and namespace."""
    assert all(matched.get("job") == ("MatchOp.Equal", "cloudtrail-exporter") for _, matched in checked(rule.expr))
    assert rule.expr.count("[[selector]]") == plain(rule.expr).count(PLAIN_SELECTOR) > 0


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_expressions_aggregate_by_deployment(rule: Alert | Recording) -> None:
    """Exporters of two clusters or namespaces are never added up."""
    for node, _ in parsed(plain(rule.expr)):
        if isinstance(node, promql.AggregateExpr):
            assert set(JOB.split(", ")) <= set(grouped(node))


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_values_of_reasons_exist(alert: Alert) -> None:
    """A reason that an expression matches is one that the metric can have."""
    reasons = {metric.name: metric.labels["reason"] for metric in declared() if "reason" in metric.labels}
    for name, matched in checked(alert.expr):
        if "reason" in matched:
            assert set(matched["reason"][1].split("|")) <= set(reasons[name])


def test_names_are_unique() -> None:
    """No two alerts or groups share a name."""
    assert len({alert.title for alert in ALERTS}) == len(ALERTS)
    assert len({group.name for group in GROUPS}) == len(GROUPS)


def test_recorded_series_are_recorded_before_they_are_asked_for() -> None:
    """An expression asks only for recorded series of rules that stand before it."""
    seen: set[str] = set()
    for rule in RULES:
        assert {name for name, _ in checked(rule.expr)} & RECORDED <= seen
        if isinstance(rule, Recording):
            seen.add(rule.name)


# -- cases --


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_every_alert_has_cases_of_both_kinds(alert: Alert) -> None:
    """One in which it fires, and one in which it does not."""
    assert {case.fires for case in alert.cases} == {True, False}
    assert len({case.name for case in alert.cases}) == len(alert.cases)


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_waits_are_tested(alert: Alert) -> None:
    """In some case it does not fire yet at one minute and fires at a later one."""

    def begins(checks: list[bool]) -> bool:
        return True in checks and not all(checks[: checks.index(True) + 1])

    assert any(begins([bool(fired) for _, fired in sorted(case.checks.items())]) for case in alert.cases)


def test_situations_reach_every_alert() -> None:
    """What may not fire in them is there: every series the alerts read is in at least one situation."""
    given = {re.split(r"[{]", series)[0] for case in SITUATIONS for series in case.series}
    asked = {name for alert in ALERTS for name, _ in checked(alert.expr)} - RECORDED
    assert asked - given == {"cloudtrail_exporter_sqs_message_age_seconds_bucket"}


def test_every_recording_rule_is_looked_at() -> None:
    """Each recorded series is queried in a case, or is what another one is made of."""
    queried = {query.expr for case in CASES for query in case.queries}
    inside = {name for rule in recordings() for name, _ in checked(rule.expr)}
    assert queried | inside >= RECORDED


# -- thresholds and texts --


def test_every_threshold_is_used() -> None:
    """A number that users may set decides something, and is called like the other keys of a chart's values."""
    used = {name for rule in RULES for name in SLOT.findall(rule.expr)} - {"selector"}
    assert used == set(THRESHOLDS)
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z0-9]*)*", name) for name in THRESHOLDS)


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_texts_are_for_people(alert: Alert) -> None:
    """A short summary without values, a description with the labels that tell who, something to do."""
    assert len(alert.summary) <= 70
    assert "{{" not in alert.summary + alert.action
    assert all(text.endswith(".") for text in (alert.summary, alert.description, alert.action))
    result = {label for fired in _fired(alert) for label in fired}
    named = set(re.findall(r"\$labels\.(\w+)", alert.description))
    assert named <= result
    assert result - named <= _TARGET | {"event_source"}


def _fired(alert: Alert) -> Iterator[set[str]]:
    for case in alert.cases:
        for fired in case.checks.values():
            for each in fired:
                yield set(each.labels) | (set() if each.whole else set(EACH.split(", ")[2:]))
