"""Configuration: defaults that serve, every problem at once, and no secret in any message."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter import config, configfile
from exporter.errors import ConfigError

BAD = sorted((Path(__file__).parent / "data" / "config").glob("*.bad.yaml"))


def problems(path: Path | None, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        configfile.load(path, environ or {})
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("path", BAD, ids=[path.name.removesuffix(".bad.yaml") for path in BAD])
def test_a_bad_file_gets_every_problem_with_key_value_and_what_is_allowed(path: Path, golden, monkeypatch):
    """Each fixture's messages are what the golden file says."""
    monkeypatch.chdir(path.parent)
    golden(f"config/{path.name.removesuffix('.bad.yaml')}.txt", "\n".join(problems(Path(path.name))) + "\n")


def test_no_message_ever_shows_a_secret():
    """Neither a password in an address nor a header's value is repeated."""
    shown = "\n".join(problems(Path(__file__).parent / "data" / "config" / "secret.bad.yaml"))
    assert "hunter2" not in shown
    assert "sink.endpoint" in shown


def test_an_empty_configuration_polls_the_event_history_for_lookout_for_metrics():
    """No file, no variables: one lookup source, SQLite, loopback."""
    settings = configfile.load(None, {})
    assert settings.services == ["lookoutmetrics.amazonaws.com"]
    assert [type(source) for source in settings.sources] == [config.LookupSource]
    assert isinstance(settings.state, config.SqliteState)
    assert settings.web.listen_address == "127.0.0.1:10042"


def test_a_variable_wins_over_the_file(tmp_path: Path):
    """The environment is laid over the file, into nested keys and lists too."""
    file = tmp_path / "c.yaml"
    file.write_text("sources: [{name: a, type: files, path: x}]\nweb: {idle_seconds: 5}\n")
    settings = configfile.load(
        file,
        {
            "CLOUDTRAIL_EXPORTER_SOURCES__0__PATH": "/data",
            "CLOUDTRAIL_EXPORTER_SOURCES__1__NAME": "b",
            "CLOUDTRAIL_EXPORTER_SOURCES__1__TYPE": "lookup",
            "CLOUDTRAIL_EXPORTER_SOURCES__1__REGIONS": "[us-east-1, us-east-2]",
            "CLOUDTRAIL_EXPORTER_STATE__TYPE": "memory",
        },
    )
    first, second = settings.sources
    assert isinstance(first, config.FilesSource)
    assert isinstance(second, config.LookupSource)
    assert (str(first.path), second.regions) == ("/data", ["us-east-1", "us-east-2"])
    assert (settings.web.idle_seconds, settings.state.type) == (5, "memory")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CLOUDTRAIL_EXPORTER_STAT__PATH", "CLOUDTRAIL_EXPORTER_STATE__PATH"),
        ("CLOUDTRAIL_EXPORTER_SHUTDOWN_SECOND", "CLOUDTRAIL_EXPORTER_SHUTDOWN_SECONDS"),
        ("CLOUDTRAIL_EXPORTER_SINK__ENDPONT", "CLOUDTRAIL_EXPORTER_SINK__ENDPOINT"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_name_that_was_meant(name: str, meant: str):
    """A typing error in the environment is never taken in silence."""
    [problem] = problems(None, {name: "1"})
    assert problem == f"{name}: no such setting; did you mean {meant}?"


def test_variables_that_kubernetes_makes_for_a_service_of_our_name_are_not_typing_errors():
    """A Service called cloudtrail-exporter puts these into every pod of its namespace."""
    configfile.load(
        None,
        {
            "CLOUDTRAIL_EXPORTER_SERVICE_HOST": "10.0.0.1",
            "CLOUDTRAIL_EXPORTER_SERVICE_PORT": "10042",
            "CLOUDTRAIL_EXPORTER_SERVICE_PORT_HTTP": "10042",
            "CLOUDTRAIL_EXPORTER_PORT": "tcp://10.0.0.1:10042",
            "CLOUDTRAIL_EXPORTER_PORT_10042_TCP": "tcp://10.0.0.1:10042",
            "CLOUDTRAIL_EXPORTER_PORT_10042_TCP_PROTO": "tcp",
            "CLOUDTRAIL_EXPORTER_PORT_10042_TCP_ADDR": "10.0.0.1",
        },
    )


def test_every_setting_has_a_variable_that_is_taken():
    """What environment_names lists is what load accepts as a name; whether the value fits is another matter."""
    refused = "\n".join(problems(None, dict.fromkeys(configfile.environment_names(), "1")))
    assert "no such setting" not in refused


def test_headers_are_masked_when_the_configuration_is_shown(tmp_path: Path):
    """config show is for tickets and chats."""
    file = tmp_path / "c.yaml"
    file.write_text("sink: {type: otlp, headers: {authorization: Bearer hunter2}}\n")
    assert "hunter2" not in json.dumps(configfile.load(file, {}).shown())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-15m", timedelta(minutes=15)),
        ("-90d", timedelta(days=90)),
        ("2026-02-01T08:00:00Z", datetime(2026, 2, 1, 8, tzinfo=UTC)),
        ("2026-02-01", datetime(2026, 2, 1, tzinfo=UTC)),
    ],
)
def test_a_start_is_a_distance_back_or_a_time(text: str, expected: object):
    """Both forms of `start`."""
    assert config.start_of(text) == expected


def test_a_missing_file_is_named(tmp_path: Path):
    """--config with a wrong path says so."""
    [problem] = problems(tmp_path / "none.yaml")
    assert problem.startswith(f"--config = {tmp_path}/none.yaml: a readable file")


def test_a_date_without_quotes_stays_text(tmp_path: Path):
    """YAML would make a date of `start: 2026-02-01`; people mean the text."""
    file = tmp_path / "c.yaml"
    file.write_text("sources: [{name: a, type: lookup, start: 2026-02-01}]\n")
    [source] = configfile.load(file, {}).sources
    assert isinstance(source, config.LookupSource)
    assert source.start == "2026-02-01"


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent.parent / "examples").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_example_is_valid(path: Path):
    """What people copy works."""
    configfile.load(path, {})
