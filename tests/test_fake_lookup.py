"""The fake LookupEvents does what the documentation says of the real one: asked through botocore, as a user would."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from exporter.testing.clock import ManualClock
from tests.fakes.aws_environment import aws_environment
from tests.fakes.lookup_events import FakeLookupEvents, Fault
from tests.fakes.lookup_history import operation, problems_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SOURCE = "lookoutmetrics.amazonaws.com"


def record(number: int, *, back: float = 60, region: str = "us-east-1", **more: Any) -> dict[str, Any]:
    moment = NOW - timedelta(seconds=back)
    fields = {
        "eventVersion": "1.08",
        "eventID": f"event-{number:05}",
        "eventTime": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": SOURCE,
        "eventName": "ListAlerts",
        "awsRegion": region,
        "recipientAccountId": "111122223333",
        "readOnly": True,
        "userIdentity": {"type": "IAMUser", "userName": "alice", "accessKeyId": "AKIAALICE"},
    }
    return fields | more


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=NOW)


@pytest.fixture
def fake(clock: ManualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeLookupEvents]:
    with FakeLookupEvents(clock=clock, rate=None) as server:
        aws_environment(monkeypatch, tmp_path, sts=server.url)
        yield server


@cache
def session() -> Any:
    """One for all tests: what takes time is reading the service model."""
    return botocore.session.Session()


def client(fake: FakeLookupEvents, service: str = "cloudtrail", region: str = "us-east-1", timeout: float = 10) -> Any:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=timeout)
    return session().create_client(service, region_name=region, endpoint_url=fake.url, config=config)


def ids(answer: dict[str, Any]) -> list[str]:
    return [event["EventId"] for event in answer["Events"]]


def code(asked: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        asked.lookup_events(**parameters)
    return str(caught.value.response["Error"]["Code"])


def test_newest_event_comes_first(fake: FakeLookupEvents) -> None:
    """Pages run backwards in time, whatever order events were added in."""
    for number, back in enumerate((20, 10, 30)):
        fake.add(record(number, back=back))
    assert ids(client(fake).lookup_events()) == ["event-00001", "event-00000", "event-00002"]


def test_event_is_a_string_that_holds_the_whole_record(fake: FakeLookupEvents) -> None:
    """The record comes as text, beside a wrapper with a few of its members."""
    fake.add(record(1))
    (event,) = client(fake).lookup_events()["Events"]
    assert json.loads(event["CloudTrailEvent"]) == record(1)
    assert (event["Username"], event["ReadOnly"], event["AccessKeyId"]) == ("alice", "true", "AKIAALICE")


def test_no_more_than_fifty_a_page(fake: FakeLookupEvents) -> None:
    """120 events are three pages, and the last has no token."""
    for number in range(120):
        fake.add(record(number, back=number))
    asked, sizes = client(fake), []
    token: dict[str, str] = {}
    while True:
        answer = asked.lookup_events(**token)
        sizes.append(len(answer["Events"]))
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
    assert sizes == [50, 50, 20]


def test_both_bounds_are_inclusive_seconds(fake: FakeLookupEvents) -> None:
    """Events at the very second of either bound are in; a second outside they are not."""
    for number, back in enumerate((9, 10, 15, 20, 21)):
        fake.add(record(number, back=back))
    span = {"StartTime": NOW - timedelta(seconds=20), "EndTime": NOW - timedelta(seconds=10)}
    assert ids(client(fake).lookup_events(**span)) == ["event-00001", "event-00002", "event-00003"]


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        pytest.param("EventSource", "s3.amazonaws.com", ["event-00002"], id="source"),
        pytest.param("EventSource", "S3.amazonaws.com", [], id="case counts"),
        pytest.param("EventName", "GetObject", ["event-00002"], id="name"),
        pytest.param("EventId", "event-00001", ["event-00001"], id="id"),
        pytest.param("Username", "alice", ["event-00002", "event-00001"], id="user"),
        pytest.param("ReadOnly", "false", ["event-00002"], id="read only"),
    ],
)
def test_one_attribute_selects_exactly(fake: FakeLookupEvents, key: str, value: str, found: list[str]) -> None:
    """An attribute is compared exactly with the record's own member."""
    fake.add(record(1))
    fake.add(record(2, eventSource="s3.amazonaws.com", eventName="GetObject", readOnly=False))
    assert ids(client(fake).lookup_events(LookupAttributes=[{"AttributeKey": key, "AttributeValue": value}])) == found


@pytest.mark.parametrize(
    ("parameters", "refusal"),
    [
        pytest.param(
            {"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "a"}] * 2},
            "InvalidLookupAttributesException",
            id="two attributes",
        ),
        pytest.param(
            {"LookupAttributes": [{"AttributeKey": "Colour", "AttributeValue": "a"}]},
            "InvalidLookupAttributesException",
            id="unknown attribute",
        ),
        pytest.param({"MaxResults": 51}, "InvalidMaxResultsException", id="page too large"),
        pytest.param({"EventCategory": "data"}, "InvalidEventCategoryException", id="category"),
        pytest.param({"NextToken": "made up"}, "InvalidNextTokenException", id="made-up token"),
        pytest.param(
            {"StartTime": NOW, "EndTime": NOW - timedelta(seconds=1)}, "InvalidTimeRangeException", id="inverted"
        ),
        pytest.param({"StartTime": NOW - timedelta(days=91)}, "InvalidTimeRangeException", id="91 days"),
    ],
)
def test_wrong_request_is_refused_by_its_own_error(
    fake: FakeLookupEvents, parameters: dict[str, Any], refusal: str
) -> None:
    """Each rule of the request has the error the API reference names."""
    assert code(client(fake), **parameters) == refusal


def two_pages(fake: FakeLookupEvents) -> str:
    for number in range(60):
        fake.add(record(number, back=number))
    return str(client(fake).lookup_events(EndTime=NOW)["NextToken"])


def test_token_holds_for_the_same_parameters_only(fake: FakeLookupEvents) -> None:
    """A token with another EndTime is refused; with the same it leads on."""
    token = two_pages(fake)
    assert code(client(fake), EndTime=NOW - timedelta(seconds=1), NextToken=token) == "InvalidNextTokenException"
    assert len(client(fake).lookup_events(EndTime=NOW, NextToken=token)["Events"]) == 10


def test_token_expires(fake: FakeLookupEvents, clock: ManualClock) -> None:
    """A token older than it may be is refused."""
    fake.token_seconds = 300
    token = two_pages(fake)
    clock.advance(301)
    assert code(client(fake), EndTime=NOW, NextToken=token) == "InvalidNextTokenException"


def test_late_event_is_invisible_until_its_time(fake: FakeLookupEvents, clock: ManualClock) -> None:
    """An event that AWS has not delivered yet is not found, and is later."""
    fake.add(record(1, back=600), visible_at=NOW + timedelta(seconds=60))
    before = ids(client(fake).lookup_events())
    clock.advance(60)
    assert (before, ids(client(fake).lookup_events())) == ([], ["event-00001"])


def test_regions_have_their_own_events(fake: FakeLookupEvents) -> None:
    """The region of the signature decides what is seen."""
    fake.add(record(1, region="us-east-1"))
    fake.add(record(2, region="eu-west-1"))
    assert ids(client(fake, region="eu-west-1").lookup_events()) == ["event-00002"]


def test_third_request_within_a_second_is_throttled_with_status_400(fake: FakeLookupEvents, clock: ManualClock) -> None:
    """Two requests per second and region pass; the third is a ThrottlingException, which is HTTP 400."""
    fake.rate = 2
    asked = client(fake)
    asked.lookup_events()
    asked.lookup_events()
    with pytest.raises(ClientError) as caught:
        asked.lookup_events()
    response: Any = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == ("ThrottlingException", 400)
    client(fake, region="eu-west-1").lookup_events()
    clock.advance(1)
    asked.lookup_events()


def test_empty_page_with_a_token_hides_nothing(fake: FakeLookupEvents) -> None:
    """A page may be empty and its token still lead to events."""
    fake.add(record(1))
    fake.script("us-east-1", Fault.EMPTY_PAGE)
    first = client(fake).lookup_events(EndTime=NOW)
    assert (ids(first), ids(client(fake).lookup_events(EndTime=NOW, NextToken=first["NextToken"]))) == (
        [],
        ["event-00001"],
    )


SCRIPTED = [fault for fault in Fault if fault.value and fault.value[0] >= 400]


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in SCRIPTED])
def test_scripted_fault_happens_once(fake: FakeLookupEvents, fault: Fault) -> None:
    """A fault in the script is the answer to one request; the next is answered well."""
    fake.script("us-east-1", fault)
    assert code(client(fake)) == fault.value[1]
    assert client(fake).lookup_events()["Events"] == []


def test_reset_breaks_the_connection(fake: FakeLookupEvents) -> None:
    """RESET is a broken connection, not an answer."""
    fake.script("us-east-1", Fault.RESET)
    with pytest.raises(ConnectionClosedError):
        client(fake).lookup_events()


def test_hang_answers_nothing(fake: FakeLookupEvents) -> None:
    """HANG keeps the connection and says nothing."""
    fake.script("us-east-1", Fault.HANG)
    with pytest.raises(ReadTimeoutError):
        client(fake, timeout=0.1).lookup_events()


def test_unknown_key_is_refused(fake: FakeLookupEvents) -> None:
    """Where keys are listed, another one is no client."""
    fake.keys = {"AKIAOTHER"}
    assert code(client(fake)) == "UnrecognizedClientException"


def test_role_needs_its_external_id(fake: FakeLookupEvents) -> None:
    """AssumeRole hands out credentials to whoever knows the external id, and to nobody else."""
    role = "arn:aws:iam::444455556666:role/reader"
    fake.roles[role] = "open sesame"
    sts = client(fake, "sts")
    with pytest.raises(ClientError, match="AccessDenied"):
        sts.assume_role(RoleArn=role, RoleSessionName="test", ExternalId="wrong")
    given = sts.assume_role(RoleArn=role, RoleSessionName="test", ExternalId="open sesame")["Credentials"]
    assert given["AccessKeyId"].startswith("ASIA")
    assert given["Expiration"] == NOW + timedelta(hours=1)


def test_identity_is_told(fake: FakeLookupEvents) -> None:
    """GetCallerIdentity answers with account and ARN."""
    answer = client(fake, "sts").get_caller_identity()
    assert (answer["Account"], answer["Arn"]) == ("111122223333", "arn:aws:sts::111122223333:user/exporter")


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"MaxResults": "ten"}, id="type"),
        pytest.param({"Colour": "red"}, id="unknown member"),
        pytest.param({"LookupAttributes": [{"AttributeKey": "EventName"}]}, id="missing member"),
    ],
)
def test_service_model_is_the_judge_of_requests(parameters: dict[str, Any]) -> None:
    """A request the model does not allow is found, so that the fake cannot be pleased by one AWS would refuse."""
    assert problems_of(parameters, operation().input_shape)


def test_replies_keep_to_the_service_model(fake: FakeLookupEvents) -> None:
    """What the fake answers is what the model describes."""
    fake.add(record(1))
    client(fake).lookup_events()
    assert fake.model_problems == []
    assert problems_of({"Events": [{"EventId": 5}]}, operation().output_shape)


def test_as_a_process_it_takes_more_events_while_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Started from a shell it prints its address, serves a file of records, and takes more by POST /_add."""
    aws_environment(monkeypatch, tmp_path)
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    events = tmp_path / "events.jsonl"
    events.write_text(json.dumps(record(1, eventTime=moment)) + "\n")
    command = [sys.executable, "-m", "tests.fakes.lookup_events", "--port", "0", "--events", str(events)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            late = record(2, eventTime=moment) | {"_visible_at": "2099-01-01T00:00:00Z"}
            lines = "\n".join(json.dumps(each) for each in (record(3, eventTime=moment), late))
            urllib.request.urlopen(f"{url}/_add", data=lines.encode()).close()
            config = Config(retries={"total_max_attempts": 1})
            asked = session().create_client("cloudtrail", region_name="us-east-1", endpoint_url=url, config=config)
            assert ids(asked.lookup_events()) == ["event-00003", "event-00001"]
        finally:
            process.kill()
