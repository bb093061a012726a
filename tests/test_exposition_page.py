"""The whole of /metrics after the bundled samples were read, in both formats, under a clock that stands still."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter import config
from exporter.app import build
from exporter.clock import SystemClock
from exporter.exposition import EventSeries, Exposition, render
from exporter.metrics import declared
from exporter.runtime import Worker
from exporter.services import SERVICES
from exporter.testing.clock import ManualClock

SAMPLES = Path(__file__).parent.parent / "samples"
FORMATS = {
    "metrics_samples.txt": "",
    "metrics_samples.openmetrics.txt": "application/openmetrics-text;version=1.0.0",
}
#: What a machine, a build or a day changes.
CHANGING = [
    (r"^(# \w+ )?(process|python)_.*\n", ""),
    (r'(_version|version|revision|config_hash)="[^"]*"', r'\1="X"'),
]


class StandingClock(ManualClock, SystemClock):
    """The process's clock, which does not move by itself."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Exposition]]:
    """A process that has read copies of the samples with known times, all on one thread; -> its page in a format."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(SAMPLES, folder / "samples")
    for path in (folder / "samples").rglob("*"):
        os.utime(path, (0, 0))
    before = Path.cwd()
    os.chdir(folder)
    clock = StandingClock(start=datetime(2026, 1, 1, tzinfo=UTC))
    settings = config.Settings.model_validate(
        {
            "sources": [{"name": "samples", "type": "files", "path": "samples"}],
            "sink": {"type": "console"},
            "state": {"type": "memory"},
            "web": {"listen_address": "127.0.0.1:0"},
        }
    )
    shown: list[EventSeries] = []
    with pytest.MonkeyPatch.context() as patch:
        # The process keeps its event series to itself; the page is asked of them without a server in between.
        patch.setattr("exporter.app.EventSeries", lambda **given: shown.append(EventSeries(**given)) or shown[-1])
        process = build(settings, environ={}, serve=False, stdout=io.StringIO(), clock=clock)
    (source,) = process.sources
    try:
        for partition in source.partitions():
            worker = Worker(
                source=source,
                partition=partition,
                pipeline=process.runtime.pipeline,
                state=process.state,
                clock=clock,
                metrics=process.metrics,
                rng=random.Random(1),
                source_type="files",
                once=True,
            )
            worker.run()
            assert worker.error is None
        # Looked at twice in the same moment.
        first = [render(process.metrics.registry, shown[0]) for _ in range(2)][1]
        # The while at 0 of new series is over.
        clock.advance(settings.metrics.zero_seconds)
        yield lambda accept: first if accept == "first" else render(process.metrics.registry, shown[0], accept=accept)
    finally:
        os.chdir(before)
        process.close()


@pytest.mark.parametrize(("name", "accept"), FORMATS.items(), ids=["text", "openmetrics"])
def test_the_page_of_the_samples(
    page: Callable[[str], Exposition], golden: Callable[[str, str], None], name: str, accept: str
) -> None:
    """Every line of it, but for what the machine and the build say of themselves."""
    text = page(accept).body.decode()
    for pattern, put in CHANGING:
        text = re.sub(pattern, put, text, flags=re.MULTILINE)
    golden(name, text)


def test_whoever_looks_first_sees_every_call(page: Callable[[str], Exposition]) -> None:
    """Operations of the service are known: after `make run` the first page has the counts of samples/README.md."""
    assert "314" in (SAMPLES / "README.md").read_text()
    first, later = (summed(page(which)) for which in ("first", ""))
    assert first["cloudtrail_events_total"] == later["cloudtrail_events_total"] == 314
    # Nobody knows the error codes beforehand.
    assert first["cloudtrail_event_errors_total"] == 0 < later["cloudtrail_event_errors_total"]


def summed(exposition: Exposition) -> dict[str, float]:
    """Metric -> the sum over its series."""
    sums: dict[str, float] = {}
    for family in parse_text(exposition.body.decode()):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return sums


def test_the_books_of_the_page_balance(page: Callable[[str], Exposition]) -> None:
    """What was read is what was exported, filtered, known or set aside."""
    sums = summed(page(""))
    assert sums["cloudtrail_exporter_events_read_total"] == sum(
        sums[f"cloudtrail_exporter_events_{fate}_total"]
        for fate in ("exported", "filtered", "duplicate", "quarantined")
    )


def test_the_page_has_every_metric_of_a_folder_and_no_other(page: Callable[[str], Exposition]) -> None:
    """All that is declared, but what is about AWS, buckets and queues; in both formats under the right names."""
    wanted = {each.name for each in declared() if not each.only and "api" not in each.labels}
    for accept, parse in (("", parse_text), (FORMATS["metrics_samples.openmetrics.txt"], parse_openmetrics)):
        found = {
            sample.name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
            for family in parse(page(accept).body.decode())
            for sample in family.samples
        }
        assert {name for name in found if name.startswith("cloudtrail_")} == wanted


def test_every_series_that_counted_has_an_exemplar(page: Callable[[str], Exposition]) -> None:
    """After the first reading there is an event for each event series that is not at 0, and for no other."""
    families = parse_openmetrics(page(FORMATS["metrics_samples.openmetrics.txt"]).body.decode())
    samples = [sample for family in families for sample in family.samples]
    events = [each for each in samples if each.name.startswith("cloudtrail_event") and each.name.endswith("_total")]
    assert all((each.exemplar is not None) == (each.value > 0) for each in events)
    assert not [each for each in samples if each.exemplar and each not in events]


def test_known_services_are_at_zero_where_nothing_happened(page: Callable[[str], Exposition]) -> None:
    """Each operation of the service is on the page, called or not."""
    text = page("").body.decode()
    assert all(f'event_name="{name}"' in text for service in SERVICES.values() for name in service.operations)
