"""The configuration that values become is one the exporter takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import configfile
from exporter.config import LogsSource, LookupSource, OtlpSink, S3Source, Settings, SqliteState, SqsSource
from tests.chart.rendering import CASES, Rendered, case_name

STATE = "/var/lib/cloudtrail-exporter/state.db"
#: The cases whose configuration is the chart's.
OWN = [
    path
    for path in CASES
    if not yaml.safe_load(path.read_text()).keys() & {"existingConfigMap", "existingConfigSecret"}
]


def settings(rendered: Rendered, folder: Path) -> Settings:
    """What the process would run with: the file of the ConfigMap and the environment of the container."""
    file = folder / "config.yaml"
    file.write_text(rendered.config_text())
    environment = {name: str(value) for name, value in rendered.environment().items()}
    return configfile.load(file, environment)


@pytest.mark.parametrize("values", OWN, ids=case_name)
def test_every_case_is_a_valid_configuration(values: Path, render, tmp_path: Path) -> None:
    """The file and the environment that a pod gets are accepted as they stand."""
    given = yaml.safe_load(values.read_text())
    if given.get("mode") == "none":
        (tmp_path / "config.yaml").write_text(render(values).config_text())
        loaded = configfile.load(tmp_path / "config.yaml", {})
    else:
        loaded = settings(render(values), tmp_path)
    assert isinstance(loaded.state, SqliteState)
    assert str(loaded.state.path) == STATE


def test_a_preset_is_the_source(render, tmp_path: Path) -> None:
    """Each preset gives one source of its type, with the fields that were given and the exporter's own defaults."""
    presets = {
        "lookup": {"enabled": True, "regions": ["us-east-1"], "start": "-90d", "poll_interval_seconds": 7.5},
        "s3": {"enabled": True, "bucket": "trail", "accounts": ["011122223333"], "downloads": 3},
        "sqs": {"enabled": True, "queue_url": "https://q.example.com/1/t", "buckets": ["trail"], "workers": 9},
        "logs": {"enabled": True, "log_group": "group", "filter_pattern": ""},
    }
    loaded = settings(render({"source": presets}), tmp_path)
    lookup, s3, sqs, logs = loaded.sources
    assert lookup == LookupSource(
        name="lookup", type="lookup", regions=["us-east-1"], start="-90d", poll_interval_seconds=7.5
    )
    assert s3 == S3Source(name="s3", type="s3", bucket="trail", accounts=["011122223333"], downloads=3)
    assert sqs == SqsSource(name="sqs", type="sqs", queue_url="https://q.example.com/1/t", buckets=["trail"], workers=9)
    assert logs == LogsSource(name="logs", type="logs", log_group="group", filter_pattern="")


def test_presets_come_behind_the_sources_of_config(render) -> None:
    """Both ways of naming sources add up."""
    values = {
        "config": {"sources": [{"name": "own", "type": "files", "path": "/data"}]},
        "source": {"lookup": {"enabled": True}},
    }
    assert [source["name"] for source in render(values).config()["sources"]] == ["own", "lookup"]


def test_nothing_set_is_the_exporters_own_default(render, tmp_path: Path) -> None:
    """Without any source and receiver the file names neither, so that the exporter's defaults hold."""
    assert render().config() == {"state": {"type": "sqlite", "path": STATE}}


def test_the_receiver_of_otlp(render, tmp_path: Path) -> None:
    """Every value of otlp reaches the sink, numbers as numbers."""
    otlp = {
        "endpoint": "https://{{ .Release.Name }}-collector:4317",
        "protocol": "grpc",
        "compression": "none",
        "timeoutSeconds": 2.5,
        "maxRequestBytes": 3_500_000,
        "caSecret": {"name": "ca"},
        "clientCertSecret": {"name": "client"},
        "insecureSkipVerify": True,
    }
    assert settings(render({"otlp": otlp}), tmp_path).sink == OtlpSink(
        type="otlp",
        endpoint="https://r-collector:4317",
        protocol="grpc",
        compression="none",
        timeout_seconds=2.5,
        max_request_bytes=3_500_000,
        ca_file=Path("/etc/cloudtrail-exporter/otlp/ca.crt"),
        client_cert_file=Path("/etc/cloudtrail-exporter/otlp/tls.crt"),
        client_key_file=Path("/etc/cloudtrail-exporter/otlp/tls.key"),
        insecure_skip_verify=True,
    )


def test_headers_come_from_a_secret_and_never_into_the_file(render) -> None:
    """The token is an environment variable by reference."""
    rendered = render({"otlp": {"endpoint": "http://c:4318", "headersSecret": {"name": "token", "key": "value"}}})
    assert rendered.environment()["OTEL_EXPORTER_OTLP_HEADERS"] == {"secretKeyRef": {"name": "token", "key": "value"}}
    assert "headers" not in rendered.config()["sink"]


def test_values_of_metrics(render, tmp_path: Path) -> None:
    """They are the exporter's metrics settings, zero and false among them."""
    values = {"metrics": {"createdSeries": False, "maxSeries": 500, "extraLabels": ["account_id"], "zeroSeconds": 0}}
    assert render(values).config()["metrics"] == {
        "created_series": False,
        "max_series": 500,
        "extra_labels": ["account_id"],
        "zero_seconds": 0,
    }


def test_text_of_config_is_a_template(render) -> None:
    """Text may name the release or other values; what looks like a number stays text where it was text."""
    values = {"config": {"select": {"accounts": ["011122223333"], "names": ["{{ .Release.Name }}"]}}}
    assert render(values).config()["select"] == {"accounts": ["011122223333"], "names": ["r"]}


def test_large_numbers_stay_whole(render, tmp_path: Path) -> None:
    """Helm reads numbers as floating point; the exporter gets the integer that was meant."""
    loaded = settings(render({"config": {"limits": {"plain_bytes": 8_589_934_592}}}), tmp_path)
    assert loaded.limits.plain_bytes == 8_589_934_592


def test_state_in_memory_has_no_path(render, tmp_path: Path) -> None:
    """Who wants no state gets none."""
    assert render({"config": {"state": {"type": "memory"}}}).config()["state"] == {"type": "memory"}


def test_a_configuration_of_ones_own(render) -> None:
    """It is mounted where ours would be; port, path and web configuration hold with it."""
    values = {
        "existingConfigSecret": "mine-{{ .Release.Name }}",
        "existingConfigKey": "exporter.yaml",
        "metrics": {"port": 9999, "path": "/prom"},
        "web": {"tlsSecret": "tls"},
    }
    rendered = render(values)
    (volume,) = [each for each in rendered.pod()["volumes"] if each["name"] == "config"]
    assert volume["projected"]["sources"][0] == {
        "secret": {"name": "mine-r", "items": [{"key": "exporter.yaml", "path": "config.yaml"}]}
    }
    environment = rendered.environment()
    assert environment["CLOUDTRAIL_EXPORTER_WEB__LISTEN_ADDRESS"] == ":9999"
    assert environment["CLOUDTRAIL_EXPORTER_WEB__TELEMETRY_PATH"] == "/prom"
    assert environment["CLOUDTRAIL_EXPORTER_WEB__CONFIG_FILE"] == "/etc/cloudtrail-exporter/web/web-config.yaml"
    assert rendered.all("ConfigMap") == []


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"replicaCount": 2}, "2 replicas publish and count every event 2 times"),
        ({"mode": "none", "replicaCount": 3}, "replicaCount: 3 is refused"),
        (
            {"config": {"sink": {"type": "console"}}, "otlp": {"endpoint": "http://c:4318"}},
            "config.sink and otlp.endpoint are both set",
        ),
        ({"otlp": {"headersSecret": {"name": "token"}}}, "otlp.endpoint: required"),
        ({"config": {"web": {"listen_address": ":1"}}}, "config.web.listen_address: set metrics.port"),
        ({"config": {"web": {"config_file": "/w"}}}, "config.web.config_file: set web.config"),
        ({"config": {"web": {"telemetry_path": "/m"}}}, "config.web.telemetry_path: set metrics.path"),
        ({"config": {"state": {"type": "sqlite", "path": "/elsewhere"}}}, "config.state.path: /var/lib"),
        (
            {"config": {"metrics": {"max_series": 600}}, "metrics": {"maxSeries": 700}},
            "config.metrics.max_series and metrics.maxSeries are both set",
        ),
        (
            {
                "config": {"sources": [{"name": "lookup", "type": "files", "path": "/d"}]},
                "source": {"lookup": {"enabled": True}},
            },
            'two sources are named "lookup"',
        ),
        ({"config": {"shutdown_seconds": 60}}, "terminationGracePeriodSeconds: 45 is not more than"),
        (
            {"existingConfigMap": "a", "source": {"lookup": {"enabled": True}}},
            "source.lookup.enabled: without effect beside an existing configuration",
        ),
        ({"existingConfigMap": "a", "config": {"concurrency": 1}}, "config: without effect"),
        ({"existingConfigMap": "a", "metrics": {"maxSeries": 600}}, "metrics.maxSeries: without effect"),
        ({"existingConfigMap": "a", "existingConfigSecret": "b"}, "both set"),
        ({"web": {"config": {"rate_limit": {}}, "existingSecret": "b"}}, "web.config and web.existingSecret"),
        ({"web": {"tls": True}}, "web.tls and web.authenticated describe the Secret"),
        ({"serviceMonitor": {"enabled": True}, "service": {"enabled": False}}, "use podMonitor"),
        ({"mode": "none", "podMonitor": {"enabled": True}}, "podMonitor.selector: required with mode none"),
        ({"dashboards": {"grafanaOperator": {"enabled": True}}}, "dashboards.enabled, which is false"),
        ({"ingress": {"enabled": True}}, "ingress.hosts: at least one"),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs: at least one"),
        ({"podDisruptionBudget": {"enabled": True, "minAvailable": 1}}, "Kubernetes takes one"),
        ({"prometheusRule": {"enabled": True, "defaultRules": {"disabled": ["Nope"]}}}, 'there is no alert "Nope"'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_that_contradict_each_other_are_refused_with_the_reason(
    values: Mapping[str, Any], word: str, refused: Callable[[Mapping[str, Any]], str]
) -> None:
    """A value without effect, or against another, is an error and not a surprise."""
    assert word in refused(values)
