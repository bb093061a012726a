"""Which records are wanted: every setting of the selection by itself, and what they mean together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.record import FILTER_REASONS, Document, Record, Selection, parse

LOOKOUT = "lookoutmetrics.amazonaws.com"
EVENT: dict[str, Any] = {
    "eventVersion": "1.11",
    "eventID": "e",
    "eventTime": "2026-02-01T08:00:00Z",
    "eventSource": LOOKOUT,
    "eventName": "CreateAlert",
    "awsRegion": "us-east-1",
    "recipientAccountId": "111122223333",
    "readOnly": False,
    "userIdentity": {"type": "IAMUser"},
}


def refused(selection: dict[str, Any], **changes: Any) -> str | None:
    """What a selection says of the event with these members; a member that is None is left out."""
    fields = {name: value for name, value in (EVENT | changes).items() if value is not None}
    record = parse(Document(json.dumps(fields).encode(), ""), observed_ns=1)
    assert isinstance(record, Record)
    return Selection(frozenset({LOOKOUT}), **selection).refuses(record)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"eventName": None}, id="no name"),
        pytest.param({"readOnly": True}, id="read"),
        pytest.param({"readOnly": None}, id="not said"),
        pytest.param({"errorCode": "AccessDenied"}, id="error"),
        pytest.param({"recipientAccountId": None}, id="no account"),
        pytest.param({"awsRegion": None}, id="no region"),
    ],
)
def test_without_settings_the_service_alone_decides(changes: dict[str, Any]) -> None:
    """The defaults leave nothing of the service out."""
    assert refused({}, **changes) is None
    assert refused({}, **(changes | {"eventSource": "s3.amazonaws.com"})) == "other_service"


@pytest.mark.parametrize(
    ("include", "exclude", "name", "expected"),
    [
        pytest.param({"CreateAlert", "DeleteAlert"}, set(), "CreateAlert", None, id="included"),
        pytest.param({"DeleteAlert"}, set(), "CreateAlert", "name", id="not included"),
        pytest.param({"createalert"}, set(), "CreateAlert", "name", id="exactly"),
        pytest.param({"DeleteAlert"}, set(), None, "name", id="no name"),
        pytest.param(set(), {"ListAlerts"}, "CreateAlert", None, id="not excluded"),
        pytest.param(set(), {"ListAlerts"}, "ListAlerts", "name", id="excluded"),
        pytest.param(set(), {"ListAlerts"}, None, None, id="no name to exclude"),
        pytest.param({"ListAlerts"}, {"ListAlerts"}, "ListAlerts", "name", id="both"),
    ],
)
def test_names(include: set[str], exclude: set[str], name: str | None, expected: str | None) -> None:
    """Names are compared exactly, and to exclude wins."""
    selection = {"names": frozenset(include), "exclude_names": frozenset(exclude)}
    assert refused(selection, eventName=name) == expected


@pytest.mark.parametrize(
    ("value", "reads"),
    [
        pytest.param(True, True, id="true"),
        pytest.param(False, False, id="false"),
        pytest.param("true", True, id="text true"),
        pytest.param("False", False, id="text false"),
        pytest.param(None, None, id="absent"),
        pytest.param("maybe", None, id="neither"),
        pytest.param(0, None, id="a number"),
    ],
)
def test_read_only(value: object, reads: bool | None) -> None:
    """Reads or writes are left out when the record says so; one that does not say is wanted under both settings."""
    assert refused({"read_only": True}, readOnly=value) == ("read_only" if reads is False else None)
    assert refused({"read_only": False}, readOnly=value) == ("read_only" if reads is True else None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, "not_an_error", id="success"),
        pytest.param({"errorCode": "ThrottlingException"}, None, id="error code"),
        pytest.param({"errorMessage": "Failed authentication"}, None, id="message alone"),
        pytest.param({"errorCode": ""}, "not_an_error", id="empty"),
    ],
)
def test_errors_only(changes: dict[str, Any], expected: str | None) -> None:
    """Errors have a code, or at least a message."""
    assert refused({"errors_only": True}, **changes) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, None, id="chosen"),
        pytest.param({"recipientAccountId": "999999999999"}, "account", id="another"),
        pytest.param({"recipientAccountId": None}, "account", id="none"),
        pytest.param(
            {"recipientAccountId": None, "userIdentity": {"accountId": "111122223333"}}, None, id="the caller's"
        ),
    ],
)
def test_accounts(changes: dict[str, Any], expected: str | None) -> None:
    """The account is the one the event is counted under; a record without any is in no chosen account."""
    assert refused({"accounts": frozenset({"111122223333"})}, **changes) == expected


@pytest.mark.parametrize(("region", "expected"), [("us-east-1", None), ("eu-west-1", "region"), (None, "region")])
def test_regions(region: str | None, expected: str | None) -> None:
    """The region is the record's own; a record without any is in no chosen region."""
    assert refused({"regions": frozenset({"us-east-1"})}, awsRegion=region) == expected


def test_what_was_done_on_behalf_is_selected_like_the_rest() -> None:
    """invoked_by_service widens the services and nothing else: the other settings still decide."""
    changes = {"eventSource": "sts.amazonaws.com", "userIdentity": {"invokedBy": LOOKOUT}, "eventName": "AssumeRole"}
    assert refused({"names": frozenset({"AssumeRole"})}, **changes) == "other_service"
    assert refused({"invoked_by_service": True, "names": frozenset({"AssumeRole"})}, **changes) is None
    assert refused({"invoked_by_service": True, "names": frozenset({"CreateAlert"})}, **changes) == "name"


def test_every_reason_is_known() -> None:
    """A reason that the counters do not have at 0 would be a series from nowhere."""
    everything = {
        "names": frozenset({"X"}),
        "read_only": True,
        "errors_only": True,
        "accounts": frozenset({"X"}),
        "regions": frozenset({"X"}),
    }
    found = {refused({}, eventCategory="Aggregated"), refused({}, eventSource="s3.amazonaws.com")}
    found |= {refused({name: value}) for name, value in everything.items()}
    assert len(found) == 7
    assert found <= FILTER_REASONS.keys()
