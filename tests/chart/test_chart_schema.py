"""values.schema.json refuses what is wrong, in words that name the key and what is allowed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, get_args

import pytest

from exporter import config
from tools.chart import readme, schema
from tools.chart.values import load

WRONG: list[tuple[str, Mapping[str, Any], list[str]]] = [
    ("a key misspelt", {"replicaCont": 2}, ["'replicaCont' not allowed"]),
    ("a key misspelt below", {"otlp": {"endpont": "http://c:4318"}}, ["'/otlp'", "'endpont' not allowed"]),
    ("a mode that is none", {"mode": "daemonset"}, ["'/mode'", "'deployment', 'statefulset', 'none'"]),
    ("text for a number", {"replicaCount": "two"}, ["'/replicaCount'", "got string, want integer"]),
    ("a port out of range", {"metrics": {"port": 70_000}}, ["'/metrics/port'", "maximum"]),
    ("a label that is none", {"metrics": {"extraLabels": ["arn"]}}, ["'aws_region', 'account_id'"]),
    ("an unknown key of config", {"config": {"sevices": ["a"]}}, ["'/config'", "'sevices' not allowed"]),
    ("an unknown key deep in config", {"config": {"limits": {"depth": 3}}}, ["'/config/limits'", "'depth'"]),
    ("a limit of config", {"config": {"limits": {"json_depth": 3}}}, ["'/config/limits/json_depth'", "want 16"]),
    ("an unknown field of a source", {"source": {"s3": {"bukcet": "b"}}}, ["'/source/s3'", "'bukcet' not allowed"]),
    ("a source without what it needs", {"source": {"s3": {"enabled": True}}}, ["'/source/s3/bucket'"]),
    ("a queue without buckets", {"source": {"sqs": {"enabled": True, "queue_url": "x"}}}, ["'/source/sqs/buckets'"]),
    ("a type of source that is none", {"config": {"sources": [{"name": "a", "type": "s4"}]}}, ["'lookup', 's3'"]),
    (
        "a field of another source",
        {"config": {"sources": [{"name": "a", "type": "lookup", "bucket": "b"}]}},
        ["'/config/sources/0'", "'bucket' not allowed"],
    ),
    ("a source without a type", {"config": {"sources": [{"name": "a"}]}}, ["missing property 'type'"]),
    ("a protocol that is none", {"otlp": {"protocol": "thrift"}}, ["'/otlp/protocol'", "'http/protobuf'"]),
    ("a sink's protocol", {"config": {"sink": {"type": "otlp", "protocol": "x"}}}, ["'/config/sink/protocol'"]),
    ("a state's key", {"config": {"state": {"paht": "x"}}}, ["'/config/state'", "'paht' not allowed"]),
    ("an address without scheme", {"otlp": {"endpoint": "collector:4318"}}, ["'/otlp/endpoint'"]),
    ("a role that is none", {"aws": {"roleArn": "admin"}}, ["'/aws/roleArn'"]),
    ("a digest that is none", {"image": {"digest": "latest"}}, ["'/image/digest'"]),
    ("shared storage", {"persistence": {"accessModes": ["ReadWriteMany"]}}, ["'ReadWriteOnce', 'ReadWriteOncePod'"]),
    (
        "a password in clear",
        {"web": {"config": {"basic_auth_users": {"a": "secret"}}}},
        ["'/web/config/basic_auth_users/a'"],
    ),
    ("an annotation that is no text", {"commonAnnotations": {"a": True}}, ["got boolean, want string"]),
    ("a variable without a name", {"extraEnv": [{"value": "x"}]}, ["'/extraEnv/0'", "'name'"]),
    ("a duration that is none", {"prometheusRule": {"defaultRules": {"keepFiringFor": "soon"}}}, ["keepFiringFor"]),
    (
        "a threshold that is none",
        {"prometheusRule": {"defaultRules": {"thresholds": {"nope": 1}}}},
        ["'nope' not allowed"],
    ),
]


@pytest.mark.parametrize(("values", "words"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_wrong_values_are_refused_readably(
    values: Mapping[str, Any], words: list[str], refused: Callable[[Mapping[str, Any]], str]
) -> None:
    """The message names the place and what is wrong there, in a few lines."""
    said = refused(values)
    assert [word for word in words if word not in said] == []
    assert len(said.splitlines()) <= 8
    assert "values don't meet the specifications" in said


@pytest.mark.parametrize(
    "values",
    [
        {"global": {"imageRegistry": "a", "somebody": {"else": 1}}},
        {"enabled": True, "tags": {"audit": True}},
        {"imagePullSecrets": ["a", {"name": "b"}]},
        {"startupProbe": None, "livenessProbe": None, "readinessProbe": None},
        {"config": {"services": ["{{ .Release.Name }}"]}},
        {"config": {"state": {"horizon_days": 3}}},
        {"prometheusRule": {"defaultRules": {"thresholds": {}}}},
    ],
    ids=[
        "foreign keys of global",
        "a parent's condition",
        "names of secrets",
        "no probes",
        "templates",
        "state",
        "none",
    ],
)
def test_right_values_are_taken(values: Mapping[str, Any], render) -> None:
    """What looks odd and is right is not in the way."""
    render(values)


@pytest.mark.parametrize("kind", ["lookup", "s3", "sqs", "logs"])
def test_a_preset_has_every_field_of_its_source(kind: str) -> None:
    """A setting that a source gets is a value of the chart at once."""
    models = {
        get_args(each.model_fields["type"].annotation)[0]: each for each in get_args(get_args(config.SourceSettings)[0])
    }
    produced = json.loads(schema.produce())["properties"]["source"]["properties"][kind]
    assert set(produced["properties"]) == {"enabled", *models[kind].model_fields} - {"type"}
    assert produced["additionalProperties"] is False


def test_every_group_of_settings_is_closed() -> None:
    """No key of the configuration can be misspelt in silence."""
    produced = json.loads(schema.produce())
    assert produced["properties"]["config"]["additionalProperties"] is False
    assert set(produced["properties"]["config"]["properties"]) == set(config.Settings.model_fields)
    assert [name for name, model in produced["definitions"].items() if model["additionalProperties"] is not False] == []


def test_generated_files_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    """Schema and README are what their generators write now."""
    assert (schema.main(["--check"]), readme.main(["--check"])) == (0, 0), capsys.readouterr().err


def test_every_value_is_explained() -> None:
    """Each leaf of values.yaml has a text, or is part of an object that has one."""
    named = {".".join(value.path) for value in readme.rows(load())}
    assert {"mode", "source.s3.bucket", "prometheusRule.defaultRules.disabled"} <= named
