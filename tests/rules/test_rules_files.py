"""The generated files: current, and the same in the chart as without it; a runbook for every alert, of what is true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import typer.main
import yaml

from deploy.rules import __main__ as command
from deploy.rules.catalogue import FILES, alerts
from deploy.rules.model import Alert
from deploy.rules.render import CHART_SELECTOR, PLAIN_SELECTOR, files, number
from deploy.rules.thresholds import THRESHOLDS
from exporter.cli import app
from exporter.errors import REASONS
from exporter.record import QUARANTINE_REASONS
from tests.rules.test_rules_declared import KNOWN

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "cloudtrail-exporter"
RUNBOOKS = ROOT / "docs" / "runbooks"
ALERTS = list(alerts())
MADE = files()


def name_of(alert: Alert) -> str:
    return alert.name


# -- generated --


@pytest.mark.parametrize("name", sorted(MADE))
def test_generated_files_are_current(name: str) -> None:
    """What lies in the repository is what the declarations make."""
    assert (ROOT / name).read_text() == MADE[name], "run `python -m deploy.rules`"


def test_nothing_stale_lies_beside_them() -> None:
    """No rule or test file that nothing makes any more."""
    made = {ROOT / name for name in MADE}
    folders = {path.parent for path in made if path.suffix == ".yaml"}
    assert {path for folder in folders for path in folder.glob("*.yaml")} <= made


def test_the_check_finds_a_stale_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check names what differs and exits with 1; without it the files are written."""
    monkeypatch.setattr(command, "ROOT", tmp_path)
    assert command.main([]) == 0
    assert command.main(["--check"]) == 0
    (tmp_path / "docs" / "alerts.md").write_text("old")
    assert command.main(["--check"]) == 1
    assert "docs/alerts.md is stale" in capsys.readouterr().err


# -- the chart's files --

_RULES = ".Values.prometheusRule.defaultRules"
_KEPT = re.compile(r"\{\{`(.*?)`\}\}")


def rendered(text: str) -> str:
    """What Helm makes of a template with the defaults, as far as the files use its language."""
    text = text.replace(CHART_SELECTOR, PLAIN_SELECTOR)
    for threshold in THRESHOLDS.values():
        text = text.replace(f"{{{{ {_RULES}.thresholds.{threshold.name} }}}}", number(threshold.default))
    text = text.replace(f'{{{{ {_RULES}.runbookUrl | trimSuffix "/" }}}}', "docs/runbooks")
    text = text.replace(f'{{{{ {_RULES}.dashboardUrl | trimSuffix "/" }}}}', "")
    assert "{{ ." not in _KEPT.sub("", text)
    assert "{{" not in _KEPT.sub("", text)
    return _KEPT.sub(lambda kept: kept[1], text)


@pytest.mark.parametrize("file", FILES)
def test_the_chart_has_the_same_rules(file: str) -> None:
    """With the defaults the template is the plain rule file, to the letter."""
    template = (CHART / "rules" / f"{file}.yaml").read_text()
    assert rendered(template) == (ROOT / "deploy" / "prometheus" / f"{file}.yaml").read_text()


@pytest.mark.parametrize("file", FILES)
def test_templates_are_valid_yaml_whatever_is_filled_in(file: str) -> None:
    """Expressions of Helm stand inside of quoted texts and blocks, so the file parses before and after."""
    loaded: dict[str, Any] = yaml.safe_load((CHART / "rules" / f"{file}.yaml").read_text())
    assert set(loaded) == {"groups"}


def test_the_chart_knows_the_thresholds() -> None:
    """rules/thresholds.yaml has every threshold with its default."""
    loaded = yaml.safe_load((CHART / "rules" / "thresholds.yaml").read_text())
    assert loaded == {name: threshold.default for name, threshold in THRESHOLDS.items()}


def test_the_chart_has_the_values_that_the_templates_use() -> None:
    """What the templates read is in values.yaml, and what values.yaml sets is a threshold."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())["prometheusRule"]["defaultRules"]
    text = "".join((CHART / "rules" / f"{file}.yaml").read_text() for file in FILES)
    assert set(re.findall(re.escape(_RULES) + r"\.(\w+)", text)) <= set(values)
    assert set(values["thresholds"]) <= set(THRESHOLDS)


def test_links_lead_to_dashboards_that_exist() -> None:
    """Each alert's dashboard has the uid that its address ends in."""
    for alert in ALERTS:
        board = json.loads((CHART / "dashboards" / f"{alert.dashboard}.json").read_text())
        assert board["uid"] == f"cloudtrail-exporter-{alert.dashboard}"


# -- runbooks --


def text_of(alert: Alert) -> str:
    return (RUNBOOKS / f"{alert.title}.md").read_text()


def commands() -> set[str]:
    """Every command of the console script, those below it too."""

    def paths(node: Any, path: str) -> set[str]:
        inner = getattr(node, "commands", {})
        below = set().union(*(paths(child, f"{path} {name}".strip()) for name, child in inner.items()), set())
        return below | ({path} if not inner else set())

    return paths(typer.main.get_command(app), "")


def test_every_runbook_has_an_alert() -> None:
    """No page is left of an alert that is gone."""
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == {alert.title for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_runbooks_have_the_four_parts(alert: Alert) -> None:
    """Meaning, impact, diagnosis, mitigation, in this order, and something in each."""
    text = text_of(alert)
    assert text.startswith(f"# {alert.title}\n")
    parts = re.split(r"^## (\w+)$", text, flags=re.MULTILINE)[1:]
    assert parts[::2] == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert all(len(body.strip()) > 30 for body in parts[1::2])


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_runbooks_name_their_thresholds(alert: Alert) -> None:
    """Each threshold of the alert is named with its default, and no other value is given for one."""
    text = " ".join(text_of(alert).split())
    said = dict(re.findall(r"`(\w+)`(?:,| is)? \(?([0-9.]*[0-9])\b", text))
    for name in alert.thresholds:
        assert said.get(name) == number(THRESHOLDS[name].default), name
    for name in set(said) & set(THRESHOLDS):
        assert said[name] == number(THRESHOLDS[name].default), name


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_runbooks_name_metrics_that_exist(alert: Alert) -> None:
    """A metric that was renamed is renamed here too."""
    named = set(re.findall(r"\b(?:\w+:)?cloudtrail_[a-z0-9_]+(?::\w+)?", text_of(alert)))
    assert named <= set(KNOWN)


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_runbooks_name_commands_that_exist(alert: Alert) -> None:
    """What one is told to run can be run."""
    called = set(re.findall(r"[`$] ?cloudtrail-exporter ([a-z]+)", text_of(alert)))
    assert called <= commands() | {"config"}


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_queries_of_runbooks_parse(alert: Alert) -> None:
    """Each query, one a line or one over indented lines, is PromQL."""
    for block in re.findall(r"```promql\n(.*?)```", text_of(alert), re.DOTALL):
        lines = [line.strip() for line in block.strip().splitlines()]
        whole = " ".join(lines)
        for query in [whole] if lines[0].endswith("(") else lines:
            assert promql.parse(query)


@pytest.mark.parametrize("alert", ALERTS, ids=name_of)
def test_links_of_runbooks_lead_somewhere(alert: Alert) -> None:
    """Files that are linked are there, and alerts that are named exist."""
    text = text_of(alert)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (RUNBOOKS / target).resolve().exists(), target
    assert set(re.findall(r"\bCloudTrailExporter\w+", text)) <= {each.title for each in ALERTS}


def test_runbooks_explain_reasons_that_exist() -> None:
    """A reason at the beginning of a point is one of the tables."""
    known = {*REASONS, *QUARANTINE_REASONS, "unknown_shape", "foreign_bucket", "confirmation"}
    for name in ("SourceDown", "AwsApiErrors", "ExportFailing", "ReceiverRefuses", "QuarantineGrows"):
        text = (RUNBOOKS / f"CloudTrailExporter{name}.md").read_text()
        starts = re.findall(r"^- ((?:`\w+`(?:, )?)+):", text, re.MULTILINE)
        assert {reason for start in starts for reason in re.findall(r"`(\w+)`", start)} <= known


# -- the page --


def test_the_page_lists_every_alert_with_its_expression() -> None:
    """docs/alerts.md has a row and an expression for each, and a row for each threshold."""
    page = (ROOT / "docs" / "alerts.md").read_text()
    for alert in ALERTS:
        assert f"| [{alert.title}](runbooks/{alert.title}.md) | {alert.severity} |" in page
        assert f"### {alert.title}\n" in page
    assert all(f"| `{name}` |" in page for name in THRESHOLDS)


def test_metrics_that_the_page_names_exist() -> None:
    """Also in the text between the tables."""
    named = set(re.findall(r"\b(?:\w+:)?cloudtrail_[a-z0-9_]+(?::\w+)?", (ROOT / "docs" / "alerts.md").read_text()))
    assert named <= set(KNOWN)
