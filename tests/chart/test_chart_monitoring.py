"""Monitors, rules and dashboards as the Prometheus and Grafana operators get them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from tools.chart.values import CHART, ROOT

SELECTOR = {"app.kubernetes.io/name": "cloudtrail-exporter", "app.kubernetes.io/instance": "r"}
#: Keys of an endpoint, and of a monitor's spec, with a value of each.
ENDPOINT: dict[str, Any] = {
    "interval": "30s",
    "scrapeTimeout": "10s",
    "scheme": "https",
    "tlsConfig": {"insecureSkipVerify": True},
    "basicAuth": {"username": {"name": "a", "key": "b"}},
    "authorization": {"credentials": {"name": "a", "key": "b"}},
    "relabelings": [{"targetLabel": "a", "replacement": "b"}],
    "metricRelabelings": [{"action": "drop", "regex": "c"}],
    "honorLabels": True,
    "enableHttp2": False,
}
SPEC: dict[str, Any] = {
    "sampleLimit": 5,
    "labelLimit": 6,
    "podTargetLabels": ["team"],
    "jobLabel": "app.kubernetes.io/name",
    "scrapeProtocols": ["OpenMetricsText1.0.0"],
}


# -- monitors --


@pytest.mark.parametrize(("kind", "value"), [("ServiceMonitor", "serviceMonitor"), ("PodMonitor", "podMonitor")])
def test_a_monitor_passes_on_every_field(kind: str, value: str, render) -> None:
    """Each value is the field of its name."""
    spec = render({value: {"enabled": True, **ENDPOINT, **SPEC}}).one(kind)["spec"]
    (endpoint,) = spec.get("endpoints", spec.get("podMetricsEndpoints"))
    assert endpoint == {"port": "metrics", "path": "/metrics", **ENDPOINT}
    assert {key: spec[key] for key in SPEC} == SPEC


@pytest.mark.parametrize(("kind", "value"), [("ServiceMonitor", "serviceMonitor"), ("PodMonitor", "podMonitor")])
def test_a_monitor_finds_the_release_and_names_its_job(kind: str, value: str, render) -> None:
    """The rules and dashboards look for the job cloudtrail-exporter, which is what that label holds."""
    rendered = render({value: {"enabled": True, "namespace": "monitoring"}, "releaseLabel": True})
    monitor = rendered.one(kind)
    assert monitor["metadata"]["namespace"] == "monitoring"
    assert monitor["metadata"]["labels"]["release"] == "r"
    assert monitor["spec"]["selector"] == {"matchLabels": SELECTOR}
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["audit"]}
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"
    labels = rendered.one("Service")["metadata"]["labels"]
    assert labels[monitor["spec"]["jobLabel"]] == "cloudtrail-exporter"


def test_a_pod_monitor_of_sidecars_has_the_same_job(render) -> None:
    """The pods of somebody else have another name; the job is written over."""
    values = {"mode": "none", "podMonitor": {"enabled": True, "selector": {"matchLabels": {"app": "shop"}}}}
    spec = render(values).one("PodMonitor")["spec"]
    assert spec["selector"] == {"matchLabels": {"app": "shop"}}
    assert "jobLabel" not in spec
    assert spec["podMetricsEndpoints"][0]["relabelings"] == [
        {"targetLabel": "job", "replacement": "cloudtrail-exporter"}
    ]


def test_monitors_follow_tls_and_the_path(render) -> None:
    """HTTPS without being told, where the chart knows of it."""
    values = {"web": {"tlsSecret": "t"}, "metrics": {"path": "/m"}, "serviceMonitor": {"enabled": True}}
    (endpoint,) = render(values).one("ServiceMonitor")["spec"]["endpoints"]
    assert (endpoint["scheme"], endpoint["path"]) == ("https", "/m")


def test_annotations_for_a_prometheus_without_the_operator(render) -> None:
    """The four that the usual scrape configuration reads."""
    metadata = render({"scrapeAnnotations": True}).workload()["spec"]["template"]["metadata"]
    found = {key: value for key, value in metadata["annotations"].items() if key.startswith("prometheus.io/")}
    assert found == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "10042",
        "prometheus.io/path": "/metrics",
        "prometheus.io/scheme": "http",
    }


# -- rules --


def plain(name: str) -> list[dict[str, Any]]:
    """The rules of a generated file for a plain Prometheus."""
    groups = yaml.safe_load((ROOT / f"deploy/prometheus/{name}.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def ruled(rendered: Any, name: str) -> list[dict[str, Any]]:
    groups = rendered.one("PrometheusRule", f"r-cloudtrail-exporter-{name}")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def compared(rule: dict[str, Any]) -> dict[str, Any]:
    """Without what is laid out otherwise: spaces in an expression, and where links lead."""
    links = ("runbook_url", "dashboard_url")
    annotations = {key: value for key, value in rule.get("annotations", {}).items() if key not in links}
    return {**rule, "expr": re.sub(r"\s+", "", rule["expr"]), "annotations": annotations}


@pytest.mark.parametrize("name", ["alerts", "recording", "content-alerts"])
def test_rules_are_those_of_a_plain_prometheus(name: str, render) -> None:
    """With the default thresholds, Prometheus' own braces and all; for sidecars, which lie in any namespace."""
    rendered = render({"mode": "none", "prometheusRule": {"enabled": True, "contentAlerts": {"enabled": True}}})
    assert [compared(rule) for rule in ruled(rendered, name)] == [compared(rule) for rule in plain(name)]


@pytest.mark.parametrize("name", ["alerts", "recording", "content-alerts"])
def test_rules_of_a_release_watch_that_release_alone(name: str, render) -> None:
    """Another release of another name or namespace neither fires nor hides them."""
    values = {"nameOverride": "trail", "prometheusRule": {"enabled": True, "contentAlerts": {"enabled": True}}}
    groups = render(values).one("PrometheusRule", f"r-trail-{name}")["spec"]["groups"]
    selectors = [
        selector
        for group in groups
        for rule in group["rules"]
        for selector in re.findall(r"[a-z_:]*(?:cloudtrail_|process_|up)[a-z_:0-9]*\{([^}]*)\}", rule["expr"])
    ]
    assert selectors
    assert [each for each in selectors if 'job="trail",namespace="audit"' not in each.replace(" ", "")] == []


def test_content_alerts_are_asked_for(render) -> None:
    """They say something of the events, which not everybody wants to be woken by."""
    names = {each["metadata"]["name"] for each in render({"prometheusRule": {"enabled": True}}).all("PrometheusRule")}
    assert names == {"r-cloudtrail-exporter-alerts", "r-cloudtrail-exporter-recording"}


def test_an_alert_can_be_left_out(render) -> None:
    """By its name, wherever it is; the others stay."""
    names = [rule["alert"] for rule in plain("alerts")]
    values = {"prometheusRule": {"enabled": True, "defaultRules": {"disabled": names[:2]}}}
    assert [rule["alert"] for rule in ruled(render(values), "alerts")] == names[2:]


def test_labels_and_annotations_of_every_alert(render) -> None:
    """For routing; a recording rule gets none."""
    defaults = {"additionalLabels": {"team": "a"}, "additionalAnnotations": {"b": "c"}, "keepFiringFor": "5m"}
    rendered = render({"prometheusRule": {"enabled": True, "defaultRules": defaults}})
    for alert in ruled(rendered, "alerts"):
        assert (alert["labels"]["team"], alert["annotations"]["b"], alert["keep_firing_for"]) == ("a", "c", "5m")
        assert alert["labels"]["severity"]
    assert all(
        "keep_firing_for" not in rule and "team" not in rule.get("labels", {}) for rule in ruled(rendered, "recording")
    )


def test_every_threshold_can_be_changed(render) -> None:
    """Each of them turns up in some rule."""
    defaults = yaml.safe_load((CHART / "rules/thresholds.yaml").read_text())
    assert defaults
    numbers = {name: 70_001 + index for index, name in enumerate(defaults)}
    changed = {
        name: number if isinstance(defaults[name], int | float) else re.sub(r"\d+", str(number), defaults[name])
        for name, number in numbers.items()
    }
    values = {"enabled": True, "contentAlerts": {"enabled": True}, "defaultRules": {"thresholds": changed}}
    text = render({"prometheusRule": values}).text
    assert {name for name, number in numbers.items() if str(number) not in text} == set()


def test_links_lead_where_they_are_told_to(render) -> None:
    """To the runbook of each alert."""
    values = {"enabled": True, "defaultRules": {"runbookUrl": "https://wiki.example.com/r"}}
    for alert in ruled(render({"prometheusRule": values}), "alerts"):
        assert re.fullmatch(
            rf"https://wiki\.example\.com/r/{alert['alert']}(\.md)?", alert["annotations"]["runbook_url"]
        )


def test_rules_of_ones_own_are_left_as_they_are(render) -> None:
    """Prometheus' templates in them are not Helm's; without the default ones they are alone."""
    own = {"alert": "Own", "expr": "up == 0", "annotations": {"summary": "{{ $labels.job }} is away"}}
    rendered = render({"prometheusRule": {"enabled": True, "defaultRules": {"enabled": False}, "rules": [own]}})
    assert ruled(rendered, "own") == [own]
    assert len(rendered.all("PrometheusRule")) == 1


# -- dashboards --


def test_dashboards_are_found_by_grafanas_sidecar(render) -> None:
    """Each file as it is, under a name no other release has, with the label of kube-prometheus-stack."""
    rendered = render({"dashboards": {"enabled": True}})
    found = [each for each in rendered.all("ConfigMap") if "grafana_dashboard" in each["metadata"]["labels"]]
    assert {each["metadata"]["labels"]["grafana_dashboard"] for each in found} == {"1"}
    files = sorted((CHART / "dashboards").glob("*.json"))
    assert len(found) == len(files) == 3
    for each, path in zip(found, files, strict=True):
        ((name, text),) = each["data"].items()
        assert name == f"audit-r-cloudtrail-exporter-{path.name}"
        assert json.loads(text) == json.loads(path.read_text())
        assert len(text) < 1_000_000


def test_label_namespace_and_folder_of_dashboards(render) -> None:
    """As the sidecar at hand is set up."""
    values = {
        "enabled": True,
        "label": "dash",
        "labelValue": "yes",
        "namespace": "grafana",
        "folderAnnotation": "grafana_folder",
        "folder": "Audit",
    }
    rendered = render({"dashboards": values})
    metadata = rendered.one("ConfigMap", "r-cloudtrail-exporter-overview")["metadata"]
    assert (metadata["labels"]["dash"], metadata["namespace"]) == ("yes", "grafana")
    assert metadata["annotations"] == {"grafana_folder": "Audit"}


def test_the_grafana_operator_reads_the_same_configmaps(render) -> None:
    """One object for each, by name and key."""
    rendered = render({"dashboards": {"enabled": True, "grafanaOperator": {"enabled": True}}})
    found = rendered.all("GrafanaDashboard")
    assert len(found) == 3
    for each in found:
        reference = each["spec"]["configMapRef"]
        assert reference["key"] in rendered.one("ConfigMap", reference["name"])["data"]
