"""Folding the values of records into bounded label sets."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.contract import Labels
from exporter.labels import LabelFolder, clean
from exporter.metrics import Metrics
from exporter.record import PRINCIPAL_TYPES, Identity, Record
from exporter.services import LOOKOUT_METRICS

SERVICE = LOOKOUT_METRICS.event_source
KNOWN = {SERVICE: LOOKOUT_METRICS.operations}


def record(**changes: Any) -> Record:
    """A successful call of a known operation, with some fields changed."""
    fields: dict[str, Any] = {
        "identity": Identity(uid="111122223333/1", key=bytes(16)),
        "event_time_ns": 0,
        "observed_ns": 0,
        "event_source": SERVICE,
        "event_name": "CreateAlert",
        "aws_region": "eu-west-1",
        "account_id": "111122223333",
        "principal_type": "IAMUser",
        "error_code": "",
        "correction": False,
        "insight": False,
        "fields": {},
        "data": b"{}",
        "origin": "test",
    }
    return Record(**(fields | changes))


def folder(metrics: Metrics | None = None, *, seen: Iterable[Labels] = (), **limits: int) -> LabelFolder:
    return LabelFolder(known=KNOWN, services=[SERVICE], seen=seen, metrics=metrics or Metrics(), **limits)


def collapsed(metrics: Metrics, label: str) -> float | None:
    return metrics.registry.get_sample_value("cloudtrail_exporter_label_values_collapsed_total", {"label": label})


def test_a_plain_record_keeps_its_values() -> None:
    """Values that are known or within their caps are the labels as they stand."""
    assert folder().fold(record()) == Labels(SERVICE, "CreateAlert", "IAMUser", "eu-west-1", "111122223333")


def test_an_error_and_a_correction_are_carried() -> None:
    """The error code and the mark of a correction are part of the label set."""
    labels = folder().fold(record(error_code="AccessDenied", correction=True))
    assert (labels.error_code, labels.correction) == ("AccessDenied", True)


@pytest.mark.parametrize("field", ["event_source", "event_name", "principal_type", "aws_region", "account_id"])
def test_an_absent_value_is_missing(field: str) -> None:
    """An empty label value equals an absent label in Prometheus, so it gets a name of its own, and is not folding."""
    metrics = Metrics()
    labels = folder(metrics).fold(record(**{field: ""}))
    assert getattr(labels, field) == "_MISSING"
    assert collapsed(metrics, field) == 0


@pytest.mark.parametrize("value", PRINCIPAL_TYPES)
def test_each_documented_principal_type_is_verbatim(value: str) -> None:
    """What AWS documents for userIdentity.type is the label, `Unknown` included."""
    assert folder().fold(record(principal_type=value)).principal_type == value


def test_an_unrecognised_principal_type_is_folded_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Each such event is counted; each value makes one log line."""
    metrics = Metrics()
    fold = folder(metrics).fold
    with caplog.at_level(logging.WARNING, "exporter.labels"):
        assert [fold(record(principal_type="Alien")).principal_type for _ in range(3)] == ["_OTHER"] * 3
    assert collapsed(metrics, "principal_type") == 3
    assert [line.__dict__["principal_type"] for line in caplog.records] == ["Alien"]


def test_unrecognised_principal_types_cannot_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred values are logged; those after them are only counted."""
    metrics = Metrics()
    fold = folder(metrics).fold
    with caplog.at_level(logging.WARNING, "exporter.labels"):
        for number in range(300):
            fold(record(principal_type=f"Alien{number}"))
    assert len(caplog.records) == 100
    assert collapsed(metrics, "principal_type") == 300


@pytest.mark.parametrize(
    ("field", "limit", "first", "further"),
    [
        ("event_name", "max_event_names", ["NewA", "NewB"], "NewC"),
        ("error_code", "max_error_codes", ["ErrorA", "ErrorB"], "ErrorC"),
        ("aws_region", "max_regions", ["eu-west-1", "eu-west-2"], "eu-west-3"),
        ("account_id", "max_accounts", ["111122223333", "222233334444"], "333344445555"),
        ("event_source", "max_event_sources", ["a.amazonaws.com", "b.amazonaws.com"], "c.amazonaws.com"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_first_values_are_kept_and_later_ones_folded(
    field: str, limit: str, first: list[str], further: str
) -> None:
    """Over its cap a value is counted as _OTHER; those admitted before stay themselves."""
    metrics = Metrics()
    fold = folder(metrics, **{limit: 2}).fold
    values = [*first, further, first[0]]
    assert [getattr(fold(record(**{field: value})), field) for value in values] == [*first, "_OTHER", first[0]]
    assert collapsed(metrics, field) == 1


def test_known_operations_are_kept_whatever_came_before() -> None:
    """The operations of the service do not count towards the cap and cannot be crowded out."""
    fold = folder(max_event_names=1).fold
    for number in range(5):
        fold(record(event_name=f"Invented{number}"))
    names = [fold(record(event_name=name)).event_name for name in LOOKOUT_METRICS.operations]
    assert names == list(LOOKOUT_METRICS.operations)


def test_the_configured_service_is_kept_whatever_came_before() -> None:
    """Foreign event sources, as `invoked_by_service` brings them, cannot crowd out the configured one."""
    fold = folder(max_event_sources=1).fold
    for number in range(5):
        fold(record(event_source=f"s{number}.amazonaws.com"))
    assert fold(record()).event_source == SERVICE


def test_names_of_one_event_source_leave_those_of_another_alone() -> None:
    """The cap of event names holds for each event source."""
    fold = folder(max_event_names=1).fold
    fold(record(event_source="s3.amazonaws.com", event_name="PutObject"))
    assert fold(record(event_source="kms.amazonaws.com", event_name="Decrypt")).event_name == "Decrypt"


def test_a_restart_folds_as_before() -> None:
    """What was counted by name before the restart is counted by name after it, and what was not is not."""
    before = folder(max_event_names=2, max_error_codes=1, max_accounts=1, max_regions=1)
    first = [record(event_name=name, error_code="Throttling", account_id="1") for name in ("A", "B", "C")]
    counted = dict.fromkeys(before.fold(item) for item in first)

    after = folder(max_event_names=2, max_error_codes=1, max_accounts=1, max_regions=1, seen=counted)
    other = record(event_name="D", error_code="AccessDenied", account_id="2", aws_region="us-east-1")
    assert after.fold(other) == Labels(SERVICE, "_OTHER", "IAMUser", "_OTHER", "_OTHER", "_OTHER")
    assert [after.fold(item) for item in first] == [before.fold(item) for item in first]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("CreateAlert", "CreateAlert"),
        ("two words", "two words"),
        ("Größe", "Größe"),
        ("a\nb", "a\ufffdb"),
        ("a\x00b", "a\ufffdb"),
        ("a\u202eb", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        ("x" * 300, "x" * 128),
    ],
    ids=["plain", "space", "umlaut", "newline", "nul", "bidi override", "lone surrogate", "long"],
)
def test_a_value_is_made_fit_for_the_exposition(value: str, expected: str) -> None:
    """Nothing that cannot be encoded or printed, and nothing long, becomes a label value."""
    assert clean(value) == expected
    assert folder().fold(record(event_name=value)).event_name == expected


@pytest.mark.parametrize("word", ["_MISSING", "_OTHER"])
def test_our_own_words_cannot_be_forged(word: str) -> None:
    """A caller who writes them is folded like any value that is too much."""
    labels = folder().fold(record(event_name=word, error_code=word))
    assert (labels.event_name, labels.error_code) == ("_OTHER", "_OTHER")


@example(["", "0", "1", "00", "000", "_MISSING"])
@given(st.lists(st.text(alphabet=st.characters(codec=None), max_size=200), max_size=40))
def test_labels_are_bounded_whatever_comes(values: list[str]) -> None:
    """Any text in any field gives encodable label values, and no more of them than the caps say."""
    fold = folder(max_event_names=3, max_error_codes=3, max_accounts=3, max_regions=3, max_event_sources=3).fold
    sets = [
        fold(record(event_source=v, event_name=v, principal_type=v, aws_region=v, account_id=v, error_code=v))
        for v in values
    ]
    for index in range(6):
        distinct = {str(labels[index]) for labels in sets}
        assert all(len(value) <= 128 and value.encode() is not None for value in distinct)
    # Three values each, and _OTHER, and _MISSING (or "" for no error) for the empty text.
    for index in (0, 3, 4, 5):
        assert len({labels[index] for labels in sets}) <= 5
    for source in {labels.event_source for labels in sets}:
        assert len({labels.event_name for labels in sets if labels.event_source == source}) <= 5
    assert {labels.principal_type for labels in sets} <= {*PRINCIPAL_TYPES, "_MISSING", "_OTHER"}


def test_threads_share_one_cap() -> None:
    """Two workers that meet new values at once do not admit more than the cap."""
    fold = folder(max_event_names=10).fold
    results: list[str] = []

    def work(offset: int) -> None:
        results.extend(fold(record(event_name=f"Name{(number + offset) % 50}")).event_name for number in range(200))

    threads = [threading.Thread(target=work, args=(offset,)) for offset in (0, 13, 26, 39)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results) - {"_OTHER"}) == 10
