"""Parsing: any bytes become a record or a reason; no field is trusted."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.record import (
    QUARANTINE_REASONS,
    Document,
    Malformed,
    Record,
    Selection,
    event_version,
    parse,
    text,
)
from tests.fakes.events import OBSERVED_NS, SEED, event, record_of


def _nested(levels: int) -> bytes:
    return SEED[:-1] + b',"x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "not_json", id="nothing"),
        pytest.param(b"\x00\xff\xfe", "not_utf8", id="binary"),
        pytest.param(SEED[:-1], "not_json", id="cut"),
        pytest.param(SEED + b"}", "not_json", id="trailing"),
        pytest.param(b'{"eventID":"\xff"}', "not_utf8", id="not-utf8"),
        pytest.param(b'"a string"', "not_a_record", id="string"),
        pytest.param(b"[{}]", "not_a_record", id="list"),
        pytest.param(b"null", "not_a_record", id="null"),
        pytest.param(b"17", "not_a_record", id="number"),
        pytest.param(b"{}", "not_a_record", id="empty-object"),
        pytest.param(b'{"digestS3Bucket":"b","logFiles":[]}', "not_a_record", id="foreign-object"),
        pytest.param(_nested(65), "too_deep", id="one-level-too-deep"),
        pytest.param(b"[" * 100_000, "too_deep", id="deeper-than-the-reader"),
        pytest.param(b'{"eventID":"1","x":"' + b"x" * 2**21 + b'"}', "record_too_large", id="too-large"),
    ],
)
def test_what_is_no_record_says_why(data: bytes, reason: str) -> None:
    """Bytes that hold no record give the reason, keep a bounded sample and the true size."""
    parsed = parse(Document(data, "here"), observed_ns=1)
    assert isinstance(parsed, Malformed)
    assert (parsed.reason, parsed.origin, parsed.size) == (reason, "here", len(data))
    assert reason in QUARANTINE_REASONS
    assert len(parsed.sample) <= 2**21


def test_the_deepest_allowed_record_is_read() -> None:
    """Nesting exactly as deep as the limit is no reason for quarantine."""
    assert isinstance(parse(Document(_nested(64), ""), observed_ns=1), Record)


def test_brackets_inside_text_are_no_nesting() -> None:
    """A string full of brackets is shallow."""
    assert record_of(event(userAgent="[{" * 500)).event_name == "DescribeAnomalyDetector"


def test_documentation_record_is_read_whole() -> None:
    """The seed's values arrive where everybody looks for them."""
    record = record_of(SEED)
    assert dataclasses.asdict(record) | {"fields": None, "data": None, "identity": None} == {
        "identity": None,
        "event_time_ns": 1_610_151_492_000_000_000,
        "observed_ns": OBSERVED_NS,
        "event_source": "lookoutmetrics.amazonaws.com",
        "event_name": "DescribeAnomalyDetector",
        "aws_region": "us-east-2",
        "account_id": "123456789012",
        "principal_type": "IAMUser",
        "error_code": "",
        "correction": False,
        "insight": False,
        "fields": None,
        "data": None,
        "origin": "trail.json#1",
    }
    assert list(record.fields) == list(json.loads(SEED))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2021-01-09T00:18:12Z", 1_610_151_492_000_000_000),
        ("2021-01-09T00:18:12.250Z", 1_610_151_492_250_000_000),
        ("2021-01-09T01:18:12+01:00", 1_610_151_492_000_000_000),
        ("2021-01-09T00:18:12", 1_610_151_492_000_000_000),
        ("20210109T001812Z", 1_610_151_492_000_000_000),
        ("1970-01-01T00:00:00Z", 0),
        ("2262-04-11T23:47:16Z", 9_223_372_036_000_000_000),
        ("2262-04-11T23:47:17Z", None),
        ("9999-12-31T23:59:59Z", None),
        ("1969-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
        (1_610_151_492, None),
        ({}, None),
    ],
)
def test_event_time_is_read_or_absent(value: object, expected: int | None) -> None:
    """A time is nanoseconds since 1970 that fit into 64 bit, or None; it never costs the record."""
    assert record_of(event(eventTime=value)).event_time_ns == expected


def test_identity_is_account_and_event_id() -> None:
    """The identity needs no UUID: the seed's has letters that are no hex."""
    assert record_of(SEED).identity.uid == "123456789012/f2f879f8-xmpl-4475-9c0c-4291a389e14a"


def test_identity_key_begins_with_the_hour() -> None:
    """Keys sort by the hour of the event, so that what arrives together lies together."""
    key = record_of(SEED).identity.key
    assert len(key) == 16
    assert int.from_bytes(key[:4], "big") == 1_610_151_492 // 3600


def test_a_correction_has_its_own_identity() -> None:
    """A correction that keeps the event's id is told from the event."""
    correction = record_of(event(addendum={"reason": "UPDATED_DATA"}))
    late = record_of(event(addendum={"reason": "DELIVERY_DELAY"}))
    assert correction.identity.uid == record_of(SEED).identity.uid + "/UPDATED_DATA"
    assert correction.correction
    assert late.identity == record_of(SEED).identity
    assert not late.correction


def test_copies_in_two_accounts_are_not_duplicates() -> None:
    """A shared event id does not make two events one."""
    first = record_of(event(sharedEventID="s", eventID="a", recipientAccountId="111122223333"))
    second = record_of(event(sharedEventID="s", eventID="b", recipientAccountId="444455556666"))
    assert first.identity != second.identity


def test_without_an_event_id_the_content_is_the_identity() -> None:
    """The same content in another order of keys and with other blanks is the same record."""
    fields = event(eventID=...)
    shuffled = json.dumps(dict(reversed(fields.items())), indent=2).encode()
    assert record_of(fields).identity == record_of(shuffled).identity
    assert record_of(fields).identity.uid.startswith("sha256:")
    assert record_of(fields).identity != record_of(event(eventID=..., readOnly=False)).identity


def test_a_huge_event_id_does_not_make_a_huge_identity() -> None:
    """An eventID of any length gives a bounded uid that still tells records apart."""
    first, second = (record_of(event(eventID="x" * 100_000 + end)).identity for end in "ab")
    assert len(first.uid) < 100
    assert first != second


@pytest.mark.parametrize(
    ("changes", "account"),
    [
        pytest.param({}, "123456789012", id="recipient"),
        pytest.param({"recipientAccountId": ..., "userIdentity": {"accountId": "2"}}, "2", id="caller"),
        pytest.param(
            {"recipientAccountId": "", "userIdentity": {"sessionContext": {"sessionIssuer": {"accountId": "3"}}}},
            "3",
            id="issuer",
        ),
        pytest.param({"recipientAccountId": 123456789012, "userIdentity": None}, "", id="none"),
    ],
)
def test_account_falls_back_as_awss_own_library(changes: dict[str, Any], account: str) -> None:
    """The recipient's account, else the caller's, else the session issuer's."""
    assert record_of(event(**changes)).account_id == account


@pytest.mark.parametrize("odd", [None, "", {}, [], 0, True, "text", ["x"], {"sessionContext": []}], ids=repr)
def test_a_user_identity_of_any_type_is_survived(odd: object) -> None:
    """A missing or wrong identity leaves the principal type empty and the record whole."""
    assert record_of(event(userIdentity=odd)).principal_type == ""


def test_lenient_json_is_read() -> None:
    """NaN, integers of any length and lone surrogates are legal enough; surrogates never reach a string value."""
    data = SEED[:-1] + b',"x":[NaN,-Infinity,' + b"9" * 300 + b"," + b"9" * 5000 + b'],"errorCode":"a\\ud800b"}'
    record = record_of(data)
    assert record.error_code == "a�b"
    assert record.fields["x"][2] == int("9" * 300)
    assert record.fields["x"][3] == "9" * 5000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("grün 🎉", "grün 🎉"),
        ("\ud800", "�"),
        ("a\udc00b\ud800", "a�b�"),
        ("\ufeffkept", "\ufeffkept"),
        (None, ""),
        (1, ""),
    ],
)
def test_text_is_valid_utf8(value: object, expected: str) -> None:
    """Lone surrogates become U+FFFD and nothing else changes; what is no string is empty."""
    assert text(value) == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.08", (1, 8)), ("1.9", (1, 9)), ("1.10", (1, 10)), ("2.0", (2, 0)), ("1", None), ("1.x", None), (1.08, None)],
)
def test_event_version_is_two_integers(version: object, expected: tuple[int, int] | None) -> None:
    """Versions compare as numbers: 1.10 is newer than 1.09."""
    assert event_version(record_of(event(eventVersion=version))) == expected


def test_an_insight_is_known_by_its_details() -> None:
    """Insights carry source and name one level down."""
    insight = record_of(
        {
            "eventVersion": "1.07",
            "eventTime": "2026-02-01T08:00:00Z",
            "eventID": "i",
            "eventType": "AwsCloudTrailInsight",
            "eventCategory": "Insight",
            "insightDetails": {"eventSource": "lookoutmetrics.amazonaws.com", "eventName": "CreateAlert"},
        }
    )
    assert (insight.insight, insight.event_source, insight.event_name, insight.principal_type) == (
        True,
        "lookoutmetrics.amazonaws.com",
        "CreateAlert",
        "",
    )


@pytest.mark.parametrize(
    ("changes", "by_service", "reason"),
    [
        pytest.param({}, False, None, id="the-service"),
        pytest.param({"eventSource": "s3.amazonaws.com"}, False, "other_service", id="another"),
        pytest.param({"eventSource": "LookoutMetrics.amazonaws.com"}, False, "other_service", id="exact"),
        pytest.param({"eventCategory": "Aggregated"}, False, "aggregated", id="aggregated"),
        pytest.param(
            {"eventSource": "sts.amazonaws.com", "userIdentity": {"invokedBy": "lookoutmetrics.amazonaws.com"}},
            False,
            "other_service",
            id="on-behalf-unasked",
        ),
        pytest.param(
            {"eventSource": "sts.amazonaws.com", "userIdentity": {"invokedBy": "lookoutmetrics.amazonaws.com"}},
            True,
            None,
            id="on-behalf-asked",
        ),
    ],
)
def test_selection_says_why_not(changes: dict[str, Any], by_service: bool, reason: str | None) -> None:
    """A record is wanted by its exact service, or by who invoked it when that is asked for."""
    selection = Selection({"lookoutmetrics.amazonaws.com"}, invoked_by_service=by_service)
    assert selection.refuses(record_of(event(**changes))) == reason


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=64) | st.integers(0, len(SEED)).map(lambda cut: SEED[:cut] + b"\xff" + SEED[cut + 1 :]))
def test_any_bytes_are_answered(data: bytes) -> None:
    """Whatever the bytes are, there is a record or a known reason."""
    parsed = parse(Document(data, ""), observed_ns=1)
    assert isinstance(parsed, Record) or parsed.reason in QUARANTINE_REASONS
