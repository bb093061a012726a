"""The standard variables, in the specification's units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter.errors import ConfigError
from exporter.sinks.environment import otlp_settings, signal_url

P = "OTEL_EXPORTER_OTLP_"


def test_without_variables_the_defaults_hold() -> None:
    """Nothing set: the Collector on this machine, over http/protobuf."""
    assert otlp_settings({}) == {
        "protocol": "http/protobuf",
        "endpoint": "http://localhost:4318/v1/logs",
        "headers": {},
        "compression": "gzip",
        "timeout_seconds": 10.0,
        "ca_file": None,
        "client_cert_file": None,
        "client_key_file": None,
    }


GOOD: dict[str, tuple[dict[str, str], str, Any]] = {
    "protocol": ({"PROTOCOL": "http/json"}, "protocol", "http/json"),
    "protocol_for_logs_wins": ({"PROTOCOL": "grpc", "LOGS_PROTOCOL": "http/json"}, "protocol", "http/json"),
    "empty_is_not_set": ({"PROTOCOL": "grpc", "LOGS_PROTOCOL": ""}, "protocol", "grpc"),
    "base_endpoint": ({"ENDPOINT": "http://c:4318"}, "endpoint", "http://c:4318/v1/logs"),
    "base_endpoint_with_slash": ({"ENDPOINT": "http://c:4318/"}, "endpoint", "http://c:4318/v1/logs"),
    "base_endpoint_with_path": ({"ENDPOINT": "https://c/otlp"}, "endpoint", "https://c/otlp/v1/logs"),
    "base_endpoint_with_query": ({"ENDPOINT": "https://c/?t=1"}, "endpoint", "https://c/v1/logs?t=1"),
    "logs_endpoint_verbatim": ({"LOGS_ENDPOINT": "http://c:4318/in"}, "endpoint", "http://c:4318/in"),
    "logs_endpoint_wins": ({"ENDPOINT": "http://a", "LOGS_ENDPOINT": "http://b/x"}, "endpoint", "http://b/x"),
    "grpc_default": ({"PROTOCOL": "grpc"}, "endpoint", "http://localhost:4317"),
    "grpc_https": ({"PROTOCOL": "grpc", "ENDPOINT": "https://c:1"}, "endpoint", "https://c:1"),
    "grpc_without_scheme_is_secure": ({"PROTOCOL": "grpc", "ENDPOINT": "c:4317"}, "endpoint", "https://c:4317"),
    "grpc_insecure": (
        {"PROTOCOL": "grpc", "ENDPOINT": "c:4317", "INSECURE": "True"},
        "endpoint",
        "http://c:4317",
    ),
    "scheme_wins_over_insecure": (
        {"PROTOCOL": "grpc", "ENDPOINT": "https://c:1", "INSECURE": "true"},
        "endpoint",
        "https://c:1",
    ),
    "timeout_is_milliseconds": ({"TIMEOUT": "2500"}, "timeout_seconds", 2.5),
    "timeout_in_seconds_by_unit": ({"TIMEOUT": "10s"}, "timeout_seconds", 10.0),
    "timeout_in_milliseconds_by_unit": ({"TIMEOUT": "50 ms"}, "timeout_seconds", 0.05),
    "timeout_for_logs_wins": ({"TIMEOUT": "1000", "LOGS_TIMEOUT": "3000"}, "timeout_seconds", 3.0),
    "compression_none": ({"COMPRESSION": "none"}, "compression", "none"),
    "certificate": ({"CERTIFICATE": "/ca.pem"}, "ca_file", Path("/ca.pem")),
    "client_certificate": ({"LOGS_CLIENT_CERTIFICATE": "/c.pem"}, "client_cert_file", Path("/c.pem")),
    "client_key": ({"CLIENT_KEY": "/k.pem"}, "client_key_file", Path("/k.pem")),
    "headers": ({"HEADERS": "API-Key=a%3Db%2C1 , x = y,"}, "headers", {"api-key": "a=b,1", "x": "y"}),
    "header_value_with_equals": (
        {"HEADERS": "authorization=Basic%20YWI=="},
        "headers",
        {"authorization": "Basic YWI=="},
    ),
    "headers_for_logs_replace": ({"HEADERS": "a=1", "LOGS_HEADERS": "b=2"}, "headers", {"b": "2"}),
}


@pytest.mark.parametrize(("variables", "key", "expected"), GOOD.values(), ids=GOOD)
def test_a_variable_is_understood(variables: dict[str, str], key: str, expected: object) -> None:
    """Each variable means what the specification says."""
    assert otlp_settings({P + name: value for name, value in variables.items()})[key] == expected


BAD: dict[str, tuple[dict[str, str], str, str, str]] = {
    "protocol": ({"PROTOCOL": "http"}, "PROTOCOL", "http", "http/protobuf, grpc, http/json"),
    "compression": ({"LOGS_COMPRESSION": "deflate"}, "LOGS_COMPRESSION", "deflate", "gzip, none"),
    "timeout_words": ({"TIMEOUT": "ten"}, "TIMEOUT", "ten", "milliseconds"),
    "timeout_zero": ({"TIMEOUT": "0s"}, "TIMEOUT", "0s", "more than 0"),
    "timeout_negative": ({"TIMEOUT": "-1"}, "TIMEOUT", "-1", "milliseconds"),
    "timeout_for_ever": ({"TIMEOUT": "999999999"}, "TIMEOUT", "999999999", "at most 600 s"),
    "timeout_meant_in_seconds": ({"TIMEOUT": "10"}, "TIMEOUT", "10", "write 10s"),
    "endpoint_without_scheme": ({"ENDPOINT": "c:4318"}, "ENDPOINT", "c:4318", "http://"),
    "endpoint_scheme": ({"ENDPOINT": "ftp://c"}, "ENDPOINT", "ftp://c", "http://"),
    "endpoint_port": ({"ENDPOINT": "http://c:99999"}, "ENDPOINT", "http://c:99999", "an address"),
    "insecure": ({"PROTOCOL": "grpc", "INSECURE": "1"}, "INSECURE", "1", "true or false"),
}


@pytest.mark.parametrize(("variables", "name", "value", "allowed"), BAD.values(), ids=BAD)
def test_a_value_that_cannot_be_understood_is_named(
    variables: dict[str, str], name: str, value: str, allowed: str
) -> None:
    """The problem names the variable, what it holds, and what it may hold."""
    with pytest.raises(ConfigError) as caught:
        otlp_settings({P + key: content for key, content in variables.items()})
    [problem] = caught.value.problems
    assert (problem.key, problem.value) == (P + name, value)
    assert allowed in problem.allowed


@pytest.mark.parametrize(
    "variables",
    [{"HEADERS": "s3cret-token"}, {"HEADERS": "=s3cret-token"}, {"ENDPOINT": "http://me:s3cret-token@c:4318"}],
    ids=["no_equals", "no_name", "password_in_address"],
)
def test_secrets_are_not_shown(variables: dict[str, str]) -> None:
    """A header or password that cannot be used is refused without being printed."""
    with pytest.raises(ConfigError) as caught:
        otlp_settings({P + key: content for key, content in variables.items()})
    assert "s3cret" not in str(caught.value)


def test_all_problems_come_at_once() -> None:
    """Two bad variables are two problems."""
    with pytest.raises(ConfigError) as caught:
        otlp_settings({P + "PROTOCOL": "x", P + "TIMEOUT": "y"})
    assert [problem.key for problem in caught.value.problems] == [P + "PROTOCOL", P + "TIMEOUT"]


def test_what_is_configured_wins_and_is_not_looked_up() -> None:
    """A setting beats its variable, even one that could not be understood; headers are joined."""
    environ = {P + "PROTOCOL": "nonsense", P + "TIMEOUT": "nonsense", P + "HEADERS": "a=1,b=2"}
    settings = otlp_settings(
        environ, protocol="grpc", endpoint="http://c:1", timeout_seconds=3, headers={"B": "9"}, compression="none"
    )
    assert (settings["protocol"], settings["endpoint"], settings["timeout_seconds"]) == ("grpc", "http://c:1", 3)
    assert settings["headers"] == {"a": "1", "b": "9"}


@pytest.mark.parametrize(
    ("endpoint", "used"),
    [
        ("http://c:4318", "http://c:4318/v1/logs"),
        ("http://c:4318/v1/logs", "http://c:4318/v1/logs"),
        ("http://c/otlp/v1/logs?x=1", "http://c/otlp/v1/logs?x=1"),
        ("http://c/otlp/", "http://c/otlp/v1/logs"),
    ],
)
def test_signal_url(endpoint: str, used: str) -> None:
    """A base address gets the path of logs, a full one stays."""
    assert signal_url(endpoint) == used
