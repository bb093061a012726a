"""The validation itself can fail: schemas that let everything through would prove nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tools.chart import check, readme, schema, schemas
from tools.chart.values import load

WRONG = {
    "a key no container has": {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"spec": {"containers": [{"name": "a", "imagePolicy": "Always"}]}},
        },
    },
    "a type": {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": "http"}]}},
    "a key no monitor has": {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": "a"},
        "spec": {"selector": {}, "endpoints": [{"port": "metrics", "intervall": "30s"}]},
    },
    "a key no rule has": {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "a"},
        "spec": {"groups": [{"name": "a", "rules": [{"alert": "A", "expr": "up", "fro": "5m"}]}]},
    },
    "a kind without schema": {"apiVersion": "example.com/v1", "kind": "Gizmo", "metadata": {"name": "a"}},
}


@pytest.mark.parametrize("version", schemas.VERSIONS)
@pytest.mark.parametrize("document", WRONG.values(), ids=WRONG)
def test_wrong_manifests_are_found(document: dict[str, object], version: str, invalid) -> None:
    """A misspelt key, a wrong type, and a kind that nothing is known of."""
    assert invalid(yaml.safe_dump(document), version)


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_a_missing_tool_is_said_and_fails_in_ci(
    ci: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is skipped in silence."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(check, "tool", lambda name: None)
    monkeypatch.setattr(check, "run_tests", lambda: 0)
    assert check.main() == code
    said = capsys.readouterr().err
    assert "SKIPPED: helm: not here; run `make tools`" in said
    assert "SKIPPED: kubeconform: not here; run `make tools`" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: null\n", "a: null says nothing of its type"),
        ("a: {}\n", "a: an empty mapping says nothing of its keys"),
        ("a: []\n", "a: a list says nothing of its elements"),
        ("# @schema [1]\na: 1\n", "a: the annotation is no mapping"),
    ],
)
def test_a_value_of_unknown_type_is_no_value(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schema cannot be left open by forgetting an annotation."""
    (tmp_path / "values.yaml").write_text(text)
    monkeypatch.setattr(schema, "load", lambda: load(tmp_path / "values.yaml"))
    with pytest.raises(ValueError, match=words):
        schema.produce()


def test_a_value_without_a_text_is_no_value(tmp_path: Path) -> None:
    """The README cannot have a row without a description."""
    (tmp_path / "values.yaml").write_text("# -- Explained.\na: 1\nb: 2\n")
    with pytest.raises(ValueError, match="b has no text"):
        readme.rows(load(tmp_path / "values.yaml"))


def test_the_chart_speaks_of_this_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """appVersion and the image of the annotations follow the version of the package."""
    assert check.version_problems() == []
    monkeypatch.setattr("exporter.__version__", "9.9.9")
    assert check.version_problems() == ["Chart.yaml: appVersion is 0.1.0, the exporter is 9.9.9"]
