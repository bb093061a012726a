"""The declared metrics and their exposition."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter import config
from exporter.app import build
from exporter.contract import Clock, Labels
from exporter.errors import REASONS
from exporter.exposition import EventSeries, ExtraLabel, render
from exporter.metrics import PREFIX, Declaration, LogCounter, Metrics, declared
from exporter.record import FILTER_REASONS, PRINCIPAL_TYPES, QUARANTINE_REASONS
from exporter.services import LOOKOUT_METRICS
from exporter.state.memory import MemoryState
from exporter.testing.clock import ManualClock
from exporter.testing.scripted import ScriptedSink
from tests.harness import Whole

SERVICE = LOOKOUT_METRICS.event_source
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Ledger(dict[Labels, int]):
    """Totals that grow, as State.totals() gives them."""

    def count(self, name: str, times: int = 1, **changes: str | bool) -> None:
        labels = Labels(SERVICE, name, "IAMUser", "eu-west-1", "111122223333")._replace(**changes)  # type: ignore[arg-type]
        self[labels] = self.get(labels, 0) + times

    def totals(self) -> Mapping[Labels, int]:
        return dict(self)


def series(
    ledger: Ledger,
    metrics: Metrics | None = None,
    *,
    known: Mapping[str, Mapping[str, bool]] | None = None,
    extra_labels: tuple[ExtraLabel, ...] = (),
    max_series: int = 5_000,
    zero_seconds: float = 0,
    clock: Clock | None = None,
) -> EventSeries:
    return EventSeries(
        totals=ledger.totals,
        known=known or {},
        extra_labels=extra_labels,
        max_series=max_series,
        zero_seconds=zero_seconds,
        metrics=metrics or Metrics(platform_collectors=False),
        clock=clock,
    )


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def value(text: str, metric: str, **labels: str) -> float | None:
    return samples(text).get((metric, frozenset(labels.items())))


def events(text: str, name: str, principal_type: str = "IAMUser") -> float | None:
    return value(text, "cloudtrail_events_total", event_source=SERVICE, event_name=name, principal_type=principal_type)


# -- declarations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("declaration", declared(), ids=lambda declaration: declaration.name)
def test_a_name_keeps_the_rules_of_prometheus(declaration: Declaration) -> None:
    """Suffix by kind, snake case, help as a sentence, no label name that clashes with a target label."""
    assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", declaration.name)
    assert declaration.name.endswith("_total") == (declaration.kind == "counter")
    assert declaration.name.endswith("_info") == (declaration.kind == "info")
    assert declaration.help.endswith((".", "yet.", "unknown."))
    assert not {"type", "region", "service", "env", "cluster", "zone", "job", "instance"} & set(declaration.labels)


def test_no_name_is_declared_twice() -> None:
    """The generated documentation has one row for each metric."""
    names = [declaration.name for declaration in declared()]
    assert len(names) == len(set(names))


def test_what_is_declared_is_what_is_exposed(golden: Callable[[str, str], None]) -> None:
    """With every label set preset, the exposition has each declared metric and no other; the golden file shows it."""
    metrics = Metrics(platform_collectors=False)
    metrics.preset(source="trail", source_type="sqs")
    metrics.preset(source="trail", partition="eu-west-1")
    metrics.preset(api="LookupEvents")
    metrics.preset(backend="sqlite")
    ledger = Ledger()
    ledger.count("CreateAlert", 3)
    ledger.count("CreateAlert", 1, error_code="AccessDenied")
    ledger.count("CreateAlert", 1, correction=True)
    text = render(metrics.registry, series(ledger, metrics, known={SERVICE: {"CreateAlert": False}})).body.decode()
    exposed = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert exposed == {declaration.name for declaration in declared()}
    golden("metrics.txt", re.sub(r"(_version=|,version=)\"[^\"]*\"", r'\1"X"', text))


@pytest.mark.parametrize(
    ("metric", "label", "values"),
    [
        ("poll_failures_total", "reason", REASONS),
        ("events_filtered_total", "reason", FILTER_REASONS),
        ("events_quarantined_total", "reason", QUARANTINE_REASONS),
    ],
    ids=["poll failures", "filtered", "quarantined"],
)
def test_a_source_has_a_zero_for_each_reason(metric: str, label: str, values: Mapping[str, str]) -> None:
    """A failure that never happened is 0, not absent."""
    metrics = Metrics(platform_collectors=False)
    metrics.preset(source="trail", source_type="sqs")
    for reason in values:
        found = metrics.registry.get_sample_value(PREFIX + metric, {"source": "trail", label: reason})
        assert found == 0, reason


def test_reasons_without_a_source_are_there_from_the_start() -> None:
    """OTLP failures have no open label, so nobody has to preset them."""
    metrics = Metrics(platform_collectors=False)
    for reason in REASONS:
        assert metrics.registry.get_sample_value(PREFIX + "otlp_export_failures_total", {"reason": reason}) == 0


#: Each label whose values are not declared, and what bounds them.
BOUNDS = {
    "source": "sources in the configuration",
    "partition": "folders, regions, queue workers; accounts and regions of a bucket",
    "api": "operations of AWS that are called",
    "backend": "states there are",
    "event_source": "metrics.max_series",
    "event_name": "metrics.max_event_names",
    "error_code": "metrics.max_error_codes",
}
EVERY_SOURCE = {
    "sources": [
        {"name": "folder", "type": "files", "path": "trail"},
        {"name": "history", "type": "lookup", "regions": ["us-east-1"]},
        {"name": "archive", "type": "s3", "bucket": "trail", "role_arn": "arn:aws:iam::111122223333:role/reader"},
        {
            "name": "queue",
            "type": "sqs",
            "queue_url": "https://sqs.us-east-1.amazonaws.com/111122223333/trail",
            "buckets": ["trail"],
            "relist": {"bucket": "trail"},
        },
        {"name": "group", "type": "logs", "log_group": "trail", "region": "us-east-1"},
    ],
    "sink": {"type": "console"},
    "state": {"type": "memory"},
}


@pytest.fixture(scope="module")
def started() -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Name and labels of every sample of a process that has each source and has not read anything yet."""
    process = build(config.Settings.model_validate(EVERY_SOURCE), environ={}, serve=False)
    try:
        text = render(process.metrics.registry).body.decode()
    finally:
        process.close()
    zeros = {key for key, value in samples(text).items() if value == 0}
    return {(name.removesuffix("_count"), labels) for name, labels in zeros}


@pytest.mark.parametrize("declaration", declared(), ids=lambda declaration: declaration.name)
def test_every_label_is_bounded(declaration: Declaration) -> None:
    """A label's values are declared, or something that is known bounds them."""
    for label, values in declaration.labels.items():
        assert bool(values) != (label in BOUNDS), label
        assert len(values) == len(set(values))


def sourced() -> list[Declaration]:
    return [each for each in declared() if "source" in each.labels and "partition" not in each.labels]


@pytest.mark.parametrize("declaration", sourced(), ids=lambda declaration: declaration.name)
def test_every_source_is_at_zero_from_the_start(
    declaration: Declaration, started: set[tuple[str, frozenset[tuple[str, str]]]]
) -> None:
    """Before the first poll each configured source is there with each reason; a re-listing with what is of buckets."""
    types = {source["name"]: source["type"] for source in EVERY_SOURCE["sources"]} | {"queue-relist": "s3"}
    about = {name for name, kind in types.items() if not declaration.only or kind in declaration.only}
    if not declaration.only:
        about -= {"queue-relist"}
    choices = [[(label, value) for value in values] for label, values in declaration.labels.items() if values]
    wanted = {
        (declaration.name, frozenset({("source", source), *chosen}))
        for source in about
        for chosen in itertools.product(*choices)
    }
    assert {key for key in started if key[0] == declaration.name} == wanted


def test_every_failure_counter_has_each_reason() -> None:
    """The reasons of a failure are those of the error tree, whichever counter has them."""
    failures = [each for each in declared() if each.name.endswith("_failures_total") and "reason" in each.labels]
    assert len(failures) >= 5
    assert all(tuple(each.labels["reason"]) == tuple(REASONS) for each in failures)


@pytest.mark.parametrize(
    "api", ["LookupEvents", "ListObjectsV2", "GetObject", "ReceiveMessage", "FilterLogEvents", "AssumeRole"]
)
def test_every_request_to_aws_is_at_zero_from_the_start(
    api: str, started: set[tuple[str, frozenset[tuple[str, str]]]]
) -> None:
    """The first failure of a request is a rise from 0."""
    for reason in REASONS:
        labels = frozenset({("api", api), ("reason", reason)})
        assert (PREFIX + "aws_api_request_failures_total", labels) in started


def test_what_is_forgotten_is_counted() -> None:
    """An hourly pruning adds what it has forgotten to the evictions."""

    class Forgetting(MemoryState):
        def prune(self, before: datetime) -> int:
            return 7

    whole = Whole(ScriptedSink(), Forgetting(), clock=ManualClock(stop_after=2))
    whole.runtime()._prune()
    assert whole.metrics.registry.get_sample_value(PREFIX + "dedupe_evictions_total") == 14


def test_a_preset_nobody_knows_is_an_error() -> None:
    """A misspelt label presets nothing, so it says so."""
    with pytest.raises(ValueError, match="sorce"):
        Metrics(platform_collectors=False).preset(sorce="trail")


def test_two_processes_worth_of_metrics_do_not_share() -> None:
    """Each Metrics has a registry of its own."""
    one, other = Metrics(), Metrics()
    one.otlp_retries.inc()
    assert other.registry.get_sample_value(PREFIX + "otlp_retries_total") == 0


@pytest.mark.parametrize(
    ("level", "counted"),
    [
        (5, "debug"),
        (10, "debug"),
        (20, "info"),
        (25, "info"),
        (30, "warning"),
        (40, "error"),
        (50, "critical"),
        (99, "critical"),
    ],
)
def test_log_lines_are_counted_by_level(level: int, counted: str) -> None:
    """Each line counts under its level; odd levels under the next lower one."""
    metrics = Metrics(platform_collectors=False)
    logger = logging.Logger("test")
    logger.addHandler(LogCounter(metrics))
    logger.log(level, "a line")
    assert metrics.registry.get_sample_value(PREFIX + "log_messages_total", {"level": counted}) == 1


# -- formats ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
@pytest.mark.parametrize("created", [False, True], ids=["without created", "with created"])
def test_created_series_are_there_only_when_asked_for(accept: str, created: bool) -> None:
    """`_created` doubles the series of our own metrics; the event counters never have it."""
    metrics = Metrics(platform_collectors=False)
    ledger = Ledger()
    ledger.count("CreateAlert")
    body = render(metrics.registry, series(ledger, metrics), accept=accept, created_series=created).body.decode()
    assert ("_created" in body) is created
    assert "cloudtrail_events_created" not in body


def test_both_formats_say_the_same() -> None:
    """The OpenMetrics answer passes the strict parser and has the samples of the text answer."""
    metrics = Metrics()
    ledger = Ledger()
    ledger.count('odd "name"\\ with\nall', 2, error_code="AccessDenied")
    shown = series(ledger, metrics, known={SERVICE: LOOKOUT_METRICS.operations})
    text = render(metrics.registry, shown).body.decode()
    openmetrics = render(metrics.registry, shown, accept=OPENMETRICS)
    assert openmetrics.content_type.startswith("application/openmetrics-text; version=1.0.0")
    strict = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_openmetrics(openmetrics.body.decode())
        for sample in family.samples
    }
    changing = ("process_", "python_gc_")
    assert {key: v for key, v in strict.items() if not key[0].startswith(changing)} == {
        key: v for key, v in samples(text).items() if not key[0].startswith(changing)
    }
    assert events(text, 'odd "name"\\ with\nall') == 2


def test_names_restrict_the_answer() -> None:
    """`name[]` gives the samples of these names and nothing else."""
    metrics = Metrics()
    ledger = Ledger()
    ledger.count("CreateAlert")
    wanted = [PREFIX + "ready", "cloudtrail_events_total"]
    text = render(metrics.registry, series(ledger, metrics), names=wanted).body.decode()
    assert {name for name, _ in samples(text)} == set(wanted)


# -- event series -------------------------------------------------------------------------------------------------


def test_known_operations_are_at_zero_from_the_start() -> None:
    """Each operation of the service with each principal type: 12 of AWS, missing, other."""
    shown = samples(series(Ledger(), known={SERVICE: LOOKOUT_METRICS.operations}).text())
    zeros = [key for key, v in shown.items() if key[0] == "cloudtrail_events_total" and v == 0]
    assert len(zeros) == len(LOOKOUT_METRICS.operations) * (len(PRINCIPAL_TYPES) + 2) == 420


def test_a_known_operation_shows_its_count_at_once() -> None:
    """What was at 0 from the start needs no zero of its own."""
    ledger = Ledger()
    shown = series(ledger, known={SERVICE: {"CreateAlert": False}})
    ledger.count("CreateAlert", 3)
    assert events(shown.text(), "CreateAlert") == 3


def test_an_unknown_series_is_born_at_zero() -> None:
    """A label set nobody knew is 0 in the first scrape, its count from the second one on, and grows as usual."""
    ledger = Ledger()
    shown = series(ledger)
    ledger.count("Invented", 5)
    assert events(shown.text(), "Invented") == 0
    assert events(shown.text(), "Invented") == 5
    ledger.count("Invented")
    assert events(shown.text(), "Invented") == 6


def test_what_the_ledger_had_at_start_shows_its_count_at_once() -> None:
    """After a restart Prometheus knows the series: a zero would look like a reset and count everything again."""
    ledger = Ledger()
    ledger.count("Invented", 5, error_code="AccessDenied")
    text = series(ledger).text()
    assert events(text, "Invented") == 5
    assert (
        value(
            text,
            "cloudtrail_event_errors_total",
            event_source=SERVICE,
            event_name="Invented",
            error_code="AccessDenied",
        )
        == 5
    )


def test_asking_for_another_metric_leaves_the_zero() -> None:
    """A scrape with `name[]` takes the zeros of the metrics it shows, and only those."""
    ledger = Ledger()
    shown = series(ledger)
    ledger.count("Invented", 5, error_code="AccessDenied")
    shown.text(names=["cloudtrail_event_errors_total"])
    assert events(shown.text(), "Invented") == 0


def test_a_failed_call_is_an_event_and_an_error() -> None:
    """Errors are a part of the events, by code."""
    ledger = Ledger()
    ledger.count("CreateAlert", 2)
    ledger.count("CreateAlert", 3, error_code="AccessDenied")
    text = series(ledger).text()
    assert events(text, "CreateAlert") == 5
    labels = {"event_source": SERVICE, "event_name": "CreateAlert", "error_code": "AccessDenied"}
    assert value(text, "cloudtrail_event_errors_total", **labels) == 3


def test_a_correction_is_not_a_second_call() -> None:
    """Corrections are counted apart, and their error code is not a second error."""
    ledger = Ledger()
    ledger.count("CreateAlert", 2)
    ledger.count("CreateAlert", 1, correction=True, error_code="AccessDenied")
    text = series(ledger).text()
    assert events(text, "CreateAlert") == 2
    labels = {"event_source": SERVICE, "event_name": "CreateAlert", "principal_type": "IAMUser"}
    assert value(text, "cloudtrail_event_corrections_total", **labels) == 1
    assert "AccessDenied" not in text


def test_regions_and_accounts_are_summed_unless_asked_for() -> None:
    """The ledger keeps them; /metrics shows them with `extra_labels` only."""
    ledger = Ledger()
    ledger.count("CreateAlert", 2, aws_region="eu-west-1")
    ledger.count("CreateAlert", 3, aws_region="us-east-1")
    assert events(series(ledger).text(), "CreateAlert") == 5

    text = series(ledger, extra_labels=("aws_region",), known={SERVICE: {"CreateAlert": False}}).text()
    common = {"event_source": SERVICE, "event_name": "CreateAlert", "principal_type": "IAMUser"}
    assert value(text, "cloudtrail_events_total", **common, aws_region="us-east-1") == 3
    assert text.count("cloudtrail_events_total{") == 2


def test_operations_say_whether_they_read() -> None:
    """The access level is an info metric to join with, not a label of the counter."""
    text = series(Ledger(), known={SERVICE: {"CreateAlert": False, "ListAlerts": True}}).text()
    for name, access in (("CreateAlert", "write"), ("ListAlerts", "read")):
        labels = {"event_source": SERVICE, "event_name": name, "access": access}
        assert value(text, "cloudtrail_event_name_info", **labels) == 1


def total(text: str) -> float:
    return sum(v for (name, _), v in samples(text).items() if name == "cloudtrail_events_total")


def test_over_the_cap_counts_are_summed_and_never_dropped() -> None:
    """With more label sets than series allowed the rest is one `_OTHER` series; the sum stays exact."""
    ledger = Ledger()
    metrics = Metrics(platform_collectors=False)
    shown = series(ledger, metrics, max_series=10)
    for number in range(25):
        ledger.count(f"Name{number}", number)
    shown.text()
    text = shown.text()
    assert total(text) == sum(range(25))
    assert events(text, "Name9") == 9
    assert events(text, "_OTHER", "_OTHER") == sum(range(10, 25))
    assert metrics.registry.get_sample_value(PREFIX + "event_series") == 11
    assert metrics.registry.get_sample_value(PREFIX + "event_series_limit") == 10


def test_a_restart_shows_the_same_series_on_their_own() -> None:
    """A ledger that keeps its order has no series move into `_OTHER` or out of it at a restart."""
    ledger = Ledger()
    shown = series(ledger, max_series=5)
    for number in range(9):
        ledger.count(f"Name{number}", 2, error_code="AccessDenied" if number % 2 else "")
        shown.text()
    shown.text()
    assert samples(shown.text()) == samples(series(ledger, max_series=5).text())


def test_metrics_of_other_source_types_are_left_out():
    """A files source shows no queue at 0; a queue does."""
    files, queue = Metrics(platform_collectors=False), Metrics(platform_collectors=False)
    files.preset(source="a", source_type="files")
    queue.preset(source="a", source_type="sqs")
    name, labels = "cloudtrail_exporter_sqs_messages_received_total", {"source": "a"}
    assert files.registry.get_sample_value(name, labels) is None
    assert queue.registry.get_sample_value(name, labels) == 0
