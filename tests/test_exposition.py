"""Born at zero, and exemplars: what a scraper sees of the event metrics, and when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.samples import Exemplar

from exporter.contract import Batch, Commit, Committed, Labels
from exporter.errors import ExporterError, Retryable
from exporter.exposition import EventSeries, render
from exporter.metrics import Metrics
from exporter.state.memory import MemoryState
from exporter.status import Status
from exporter.testing.clock import ManualClock
from exporter.testing.scripted import ScriptedSink, ScriptedSource, event
from exporter.web.app import create_app
from tests.harness import Whole, no_hold
from tests.test_metrics import OPENMETRICS, SERVICE, Ledger, events, samples, series

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = "5e8b2f6c-1d5f-4c7a-9a41-0f3f6f1f2a10"


def held(ledger: Ledger, clock: ManualClock, seconds: float = 70) -> EventSeries:
    return series(ledger, zero_seconds=seconds, clock=clock)


# -- born at zero ---------------------------------------------------------------------------------------------------


def test_a_new_series_is_at_zero_for_a_while_after_it_was_shown_first() -> None:
    """70 seconds from the first scrape that has it, however many scrapes there are; then its count."""
    ledger, clock = Ledger(), ManualClock()
    shown = held(ledger, clock)
    ledger.count("Invented", 5)
    assert events(shown.text(), "Invented") == 0
    clock.advance(69.9)
    ledger.count("Invented")
    assert [events(shown.text(), "Invented") for _ in range(3)] == [0, 0, 0]
    clock.advance(0.1)
    assert events(shown.text(), "Invented") == 6
    ledger.count("Invented")
    assert events(shown.text(), "Invented") == 7


def test_the_while_begins_when_somebody_looks() -> None:
    """A series that nobody has asked for yet is not shown at its count, however old it is."""
    ledger, clock = Ledger(), ManualClock()
    shown = held(ledger, clock)
    ledger.count("Invented", 5)
    clock.advance(3_600)
    assert events(shown.text(), "Invented") == 0
    clock.advance(70)
    assert events(shown.text(), "Invented") == 5


def test_a_jump_of_the_wall_clock_changes_nothing() -> None:
    """The while is measured by a clock that only grows."""
    ledger, clock = Ledger(), ManualClock()
    shown = held(ledger, clock)
    ledger.count("Invented", 5)
    shown.text()
    clock.jump(86_400)
    assert events(shown.text(), "Invented") == 0
    clock.jump(-2 * 86_400)
    clock.advance(70)
    assert events(shown.text(), "Invented") == 5


def test_errors_and_corrections_are_born_at_zero_too() -> None:
    """Each metric of events holds its own new series; a known operation beside them shows its count at once."""
    ledger, clock = Ledger(), ManualClock()
    shown = series(ledger, known={SERVICE: {"CreateAlert": False}}, zero_seconds=70, clock=clock)
    ledger.count("CreateAlert", 2, error_code="AccessDenied")
    ledger.count("CreateAlert", 1, correction=True)

    def now() -> list[float | None]:
        text = shown.text()
        found = {name: value for (name, labels), value in samples(text).items() if value}
        return [found.get(f"cloudtrail_{name}_total", 0) for name in ("events", "event_errors", "event_corrections")]

    assert now() == [2, 0, 0]
    clock.advance(70)
    assert now() == [2, 2, 1]


@pytest.mark.parametrize("after", [0, 69, 70], ids=["first", "held", "released"])
def test_all_forms_of_the_page_agree(after: float) -> None:
    """Text, OpenMetrics and `name[]` say the same of a series at every moment."""
    ledger, clock = Ledger(), ManualClock()
    metrics = Metrics(platform_collectors=False)
    shown = series(ledger, metrics, zero_seconds=70, clock=clock)
    ledger.count("Invented", 5)
    shown.text()
    clock.advance(after)
    pages = [
        render(metrics.registry, shown, accept=accept, names=names).body.decode()
        for accept in ("", OPENMETRICS)
        for names in ((), ("cloudtrail_events_total",))
    ]
    lines = {next(line for line in page.splitlines() if "Invented" in line) for page in pages}
    assert len(lines) == 1
    assert lines.pop().endswith(" 5.0" if after == 70 else " 0.0")


@pytest.mark.parametrize(
    ("method", "path"), [("HEAD", "/metrics"), ("POST", "/metrics"), ("GET", "/metric")], ids=["HEAD", "POST", "404"]
)
def test_an_answer_without_the_series_does_not_begin_the_while(method: str, path: str) -> None:
    """Nobody has seen the series by it."""
    ledger, clock = Ledger(), ManualClock()
    metrics = Metrics(platform_collectors=False)
    shown = series(ledger, metrics, zero_seconds=70, clock=clock)
    ledger.count("Invented", 5)
    status = Status(True, (), "", NOW, (), "", "", "")
    app = create_app(metrics=metrics, events=shown, status=lambda: status, clock=clock)
    sent: list[str] = []

    async def ask() -> None:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, object]) -> None:
            sent.append(str(message["type"]))

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": method,
            "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": [],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        }  # fmt: skip
        await app(scope, receive, send)  # type: ignore[arg-type]

    asyncio.run(ask())
    assert sent
    clock.advance(70)
    assert events(shown.text(), "Invented") == 0


@given(
    zero_seconds=st.sampled_from([5.0, 15.0, 70.0]),
    scrapers=st.lists(st.tuples(st.floats(0.05, 1.0), st.floats(0.0, 1.0)), min_size=1, max_size=3),
    counts=st.lists(st.floats(0.0, 200.0), min_size=1, max_size=8),
    seed=st.integers(0, 2**16),
)
def test_whoever_scrapes_often_enough_sees_each_count(
    zero_seconds: float, scrapers: list[tuple[float, float]], counts: list[float], seed: int
) -> None:
    """Several servers, each at an interval up to `zero_seconds`: each sees 0 first, never a fall, in the end all."""
    rng = random.Random(seed)
    ledger, clock = Ledger(), ManualClock()
    shown = held(ledger, clock, zero_seconds)
    end = max(counts) + 3 * zero_seconds
    moments: list[tuple[float, int]] = [(at, -1) for at in counts]
    for number, (share, offset) in enumerate(scrapers):
        interval = share * zero_seconds
        at = offset * interval
        while at < end:
            moments.append((at, number))
            at += interval
    rng.shuffle(moments)
    seen: list[list[float]] = [[] for _ in scrapers]
    for at, who in sorted(moments, key=lambda moment: moment[0]):
        clock.advance(max(0.0, at - clock.monotonic()))
        if who < 0:
            ledger.count("Invented")
            continue
        value = events(shown.text(), "Invented")
        if value is not None:
            seen[who].append(value)
    for values in seen:
        assert values[0] == 0
        assert values == sorted(values)
        assert values[-1] == len(counts)


# -- exemplars ------------------------------------------------------------------------------------------------------


def exemplars(text: str) -> dict[tuple[str, str], Exemplar]:
    """(metric, event name) -> exemplar, by the strict parser."""
    families = parse_openmetrics(text if text.endswith("# EOF\n") else text + "# EOF\n")
    return {
        (sample.name, sample.labels["event_name"]): sample.exemplar._replace(timestamp=float(sample.exemplar.timestamp))
        for family in families
        for sample in family.samples
        if sample.exemplar
    }


def labels_of(name: str, **changes: str) -> Labels:
    return Labels(SERVICE, name, "IAMUser", "eu-west-1", "111122223333")._replace(**changes)


def known(ledger: Ledger, *names: str, **options: int) -> EventSeries:
    return series(ledger, known={SERVICE: dict.fromkeys(names, False)}, **options)


def test_an_exemplar_names_the_event_counted_last() -> None:
    """Its eventID, the value 1 and the time of counting; on the events and on the errors."""
    ledger = Ledger()
    shown = known(ledger, "CreateAlert")
    ledger.count("CreateAlert", 2, error_code="AccessDenied")
    shown.text()
    for number, at in ((1, NOW), (2, NOW + timedelta(seconds=1.5))):
        shown.counted({labels_of("CreateAlert", error_code="AccessDenied"): f"event-{number}"}, at)
    expected = Exemplar({"event_id": "event-2"}, 1.0, NOW.timestamp() + 1.5)
    found = exemplars(shown.text(openmetrics=True))
    assert found == {
        ("cloudtrail_events_total", "CreateAlert"): expected,
        ("cloudtrail_event_errors_total", "CreateAlert"): expected,
    }


def test_the_older_format_has_no_exemplars() -> None:
    """Its parsers would refuse the whole page."""
    ledger = Ledger()
    shown = known(ledger, "CreateAlert")
    ledger.count("CreateAlert")
    shown.counted({labels_of("CreateAlert"): ID}, NOW)
    assert ID in shown.text(openmetrics=True)
    assert ID not in shown.text()


def test_an_exemplar_waits_until_the_series_shows_its_count() -> None:
    """A line at 0 with the ID of an event would contradict itself; the newest one is there as soon as the count is."""
    ledger, clock = Ledger(), ManualClock()
    shown = held(ledger, clock)
    ledger.count("Invented", 2)
    shown.counted({labels_of("Invented"): "event-1"}, NOW)
    assert exemplars(shown.text(openmetrics=True)) == {}
    shown.counted({labels_of("Invented"): "event-2"}, NOW + timedelta(seconds=1))
    clock.advance(70)
    (found,) = exemplars(shown.text(openmetrics=True)).values()
    assert found.labels == {"event_id": "event-2"}


@pytest.mark.parametrize(
    "event_id",
    ["", "x" * 121, 'a"b', "a\\b", "a\nb", "a b", "a}b", "\ud800", "é", "a\u2028b", "a\n"],
    ids=["none", "too long", "quote", "backslash", "newline", "space", "brace", "surrogate", "accent", "line", "end"],
)
def test_an_id_that_does_not_fit_is_left_out(event_id: str) -> None:
    """Cut or escaped it would lead to no log record; the exemplar before it stays, and the page is as it should be."""
    ledger = Ledger()
    shown = known(ledger, "CreateAlert")
    ledger.count("CreateAlert", 2)
    shown.counted({labels_of("CreateAlert"): ID}, NOW)
    before = shown.text(openmetrics=True)
    shown.counted({labels_of("CreateAlert"): event_id}, NOW + timedelta(seconds=1))
    assert shown.text(openmetrics=True) == before


def test_the_longest_id_that_is_allowed_is_there() -> None:
    """128 characters with the name of the label, as OpenMetrics has it."""
    ledger = Ledger()
    shown = known(ledger, "CreateAlert")
    ledger.count("CreateAlert")
    shown.counted({labels_of("CreateAlert"): "x" * 120}, NOW)
    (found,) = exemplars(shown.text(openmetrics=True)).values()
    assert sum(len(part) for pair in found.labels.items() for part in pair) == 128


def test_an_exemplar_never_grows_older() -> None:
    """Two workers report in another order than they committed: Prometheus refuses an exemplar older than its last."""
    ledger = Ledger()
    shown = known(ledger, "CreateAlert")
    ledger.count("CreateAlert", 2)
    shown.counted({labels_of("CreateAlert"): "newer"}, NOW + timedelta(seconds=1))
    shown.counted({labels_of("CreateAlert"): "older"}, NOW)
    (found,) = exemplars(shown.text(openmetrics=True)).values()
    assert found.labels == {"event_id": "newer"}


def test_exemplars_are_bounded_by_the_series() -> None:
    """However many label sets there are, one for each series that is shown; over the cap, that of `_OTHER`."""
    ledger = Ledger()
    metrics = Metrics(platform_collectors=False)
    shown = series(ledger, metrics, max_series=10)
    for number in range(500):
        ledger.count(f"Name{number}")
        shown.counted({labels_of(f"Name{number}"): f"event-{number}"}, NOW + timedelta(seconds=number))
    shown.text()
    found = exemplars(shown.text(openmetrics=True))
    assert len(found) == 11
    assert found["cloudtrail_events_total", "_OTHER"].labels == {"event_id": "event-499"}
    assert found["cloudtrail_events_total", "Name9"].labels == {"event_id": "event-9"}


def test_reporting_in_another_order_chooses_the_same_series() -> None:
    """Which series are shown on their own goes by the ledger's order, not by who reports first."""
    ledger = Ledger()
    shown = series(ledger, max_series=1)
    ledger.count("First")
    ledger.count("Second")
    shown.counted({labels_of("Second"): "event-2"}, NOW)
    shown.text()
    assert events(shown.text(), "First") == 1


# -- exemplars, from the pipeline -----------------------------------------------------------------------------------


class Reported(list[dict[str, str]]):
    """What the pipeline reports as counted: event name -> eventID, a report after the other."""

    def __call__(self, counted: dict[Labels, str], at: datetime) -> None:
        self.append({labels.event_name: event_id for labels, event_id in counted.items()})


def reporting(sink: ScriptedSink, state: MemoryState | None = None) -> tuple[Whole, Reported]:
    whole, reported = Whole(sink, state or MemoryState()), Reported()
    whole.pipeline._counted = reported
    return whole, reported


def test_the_last_event_of_each_label_set_is_reported() -> None:
    """Once for each commit; what is a repeat, refused, or of another service is not among it."""
    sink = ScriptedSink(poison=["111122223333/event-9"])
    whole, reported = reporting(sink)
    batches: Sequence[Sequence[bytes]] = [
        [event(1), event(2), event(3, eventName="CreateAlert"), event(1)],
        [event(2)],
        [event(9)],
        [event(4, eventSource="s3.amazonaws.com")],
        [event(5), b"nonsense"],
    ]
    whole.drain(ScriptedSource({"p": batches}))
    assert reported == [
        {"ListAnomalyDetectors": "event-2", "CreateAlert": "event-3"},
        {"ListAnomalyDetectors": "event-5"},
    ]


def test_nothing_is_reported_before_it_is_committed() -> None:
    """While the commit fails, /metrics names no event; when it works, once."""
    effects: list[str] = []

    class Failing(MemoryState):
        def commit(self, commit: Commit) -> Committed:
            effects.append("commit")
            if len(effects) < 3:
                raise Retryable("busy", reason="state")
            return super().commit(commit)

    whole, reported = reporting(ScriptedSink(), Failing())
    whole.pipeline._counted = lambda counted, at: (effects.append("counted"), reported(dict(counted), at))[1]
    held_for: list[ExporterError] = []
    source = ScriptedSource({"p": [[event(1)]]})
    (batch,) = _batches(source)
    whole.pipeline.deliver(source, batch, held_for.append)
    assert effects == ["commit", "commit", "commit", "counted"]
    assert len(held_for) == 2
    assert reported == [{"ListAnomalyDetectors": "event-1"}]


def test_what_the_state_knew_is_not_reported() -> None:
    """Another writer was faster: the state counts one of two and does not say which, so none is named."""

    class Late(MemoryState):
        def unseen(self, keys: Sequence[bytes]) -> set[bytes]:
            return set(keys)

    whole, reported = reporting(ScriptedSink(), Late())
    source = ScriptedSource({"p": [[event(1)], [event(1), event(2)]]})
    for batch in _batches(source):
        whole.pipeline.deliver(source, batch, no_hold)
    assert reported == [{"ListAnomalyDetectors": "event-1"}]
    assert whole.counted() == {"ListAnomalyDetectors": 2}


def _batches(source: ScriptedSource) -> list[Batch]:
    (partition,) = source.partitions()
    return list(source.read(partition, _Nothing()))


class _Nothing:
    position = None

    def unfinished(self, units: Sequence[object]) -> Sequence[object]:
        return units
