"""What AWS may refuse, what becomes of it, and what ``check`` says."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from exporter.errors import Blocked, ExporterError, Retryable, SwitchedOff
from exporter.metrics import Metrics
from exporter.sources.logs_api import group_arn, iam_policy, patterns
from tests.fakes.log_events import FakeLogEvents, Fault
from tests.logs.reader import GROUP, HOME, LOOKOUT, NOW, Make, Reader, record, sample


@pytest.mark.parametrize(
    ("fault", "kind", "reason", "words"),
    [
        pytest.param(Fault.THROTTLE, Retryable, "throttled", "Rate exceeded", id="throttled"),
        pytest.param(Fault.LIMIT, Retryable, "throttled", "Too many", id="limit exceeded"),
        pytest.param(Fault.UNAVAILABLE, Retryable, "server", "cannot complete", id="unavailable"),
        pytest.param(Fault.SERVER_ERROR, Retryable, "server", "FilterLogEvents", id="server error"),
        pytest.param(Fault.RESET, Retryable, "connection", "FilterLogEvents", id="reset"),
        pytest.param(Fault.INVALID, Blocked, "invalid", "Invalid filter pattern", id="invalid"),
        pytest.param(Fault.EXPIRED_TOKEN, Blocked, "expired_credentials", "expired", id="expired credentials"),
        pytest.param(Fault.UNKNOWN_OPERATION, SwitchedOff, "unsupported", HOME, id="unknown operation"),
    ],
)
def test_a_fault_holds_everything_and_is_over_when_it_is_over(
    make: Make,
    fake: FakeLogEvents,
    metrics: Metrics,
    fault: Fault,
    kind: type[ExporterError],
    reason: str,
    words: str,
) -> None:
    """Each refusal is the right error, is counted, moves nothing; the next read brings everything."""
    fake.add(GROUP, record(1, NOW), at=NOW)
    fake.script(fault)
    place = Reader(make())
    with pytest.raises(kind, match=words) as caught:
        place.read()
    assert caught.value.reason == reason
    assert place.through == NOW - timedelta(minutes=15)
    assert sample(metrics, "aws_api_request_failures_total", api="FilterLogEvents", reason=reason) == 1
    assert place.read().ids == ["event-00001"]


def test_no_permission_names_action_and_resource(make: Make, fake: FakeLogEvents) -> None:
    """The operator reads what to allow, and on what."""
    fake.script(Fault.ACCESS_DENIED)
    with pytest.raises(Blocked) as caught:
        Reader(make(role_arn=None)).read()
    assert caught.value.reason == "access_denied"
    assert "logs:FilterLogEvents" in str(caught.value)
    assert f"arn:aws:logs:us-east-1:*:log-group:{GROUP}:*" in str(caught.value)


def test_group_that_is_not_there_names_group_and_region(make: Make, fake: FakeLogEvents) -> None:
    """A wrong name, or a group deleted meanwhile, blocks; created again, it is read on."""
    place = Reader(make()).read()
    fake.remove(GROUP)
    with pytest.raises(Blocked, match=f"no log group {GROUP} in {HOME}") as caught:
        place.read()
    assert caught.value.reason == "not_found"
    fake.add(GROUP, record(1, NOW), at=NOW)
    assert place.read().ids == ["event-00001"]


def test_throttle_in_the_middle_is_waited_out(make: Make, fake: FakeLogEvents) -> None:
    """A page with pages before it is asked for again, so that those are not read twice."""
    for number in range(120):
        fake.add(GROUP, record(number, NOW), at=NOW - timedelta(seconds=number))
    fake.script(Fault.OK, Fault.THROTTLE, Fault.THROTTLE)
    assert (len(Reader(make()).read().ids), len(fake.asked)) == (120, 5)


# -- what is asked for --


@pytest.mark.parametrize(
    ("services", "invoked", "expected"),
    [
        pytest.param([LOOKOUT], False, '{ $.eventSource = "lookoutmetrics.amazonaws.com" }', id="one"),
        pytest.param(["a.b", "c.d", "a.b"], False, '{ ($.eventSource = "a.b") || ($.eventSource = "c.d") }', id="two"),
        pytest.param(
            ["a.b"], True, '{ ($.eventSource = "a.b") || ($.userIdentity.invokedBy = "a.b") }', id="on behalf"
        ),
        pytest.param(['a"} || \\'], False, '{ $.eventSource = "a\\"} || \\\\" }', id="escaped"),
    ],
)
def test_pattern(services: list[str], invoked: bool, expected: str) -> None:
    """The pattern is CloudWatch's JSON syntax, and a value cannot leave its quotes."""
    assert patterns(services, invoked_by_service=invoked) == (expected,)


def test_patterns_hold_every_service_within_the_limit() -> None:
    """Many services are several patterns of at most 1,024 characters, and none is left out."""
    services = [f"service-{number:03}.amazonaws.com" for number in range(300)]
    found = patterns(services, invoked_by_service=True)
    assert max(map(len, found)) <= 1_024
    assert [sum(f'"{service}"' in pattern for pattern in found) >= 1 for service in services] == [True] * 300


@pytest.mark.parametrize(
    ("region", "partition"), [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-east-1", "aws-us-gov")]
)
def test_resource_is_of_the_regions_partition(region: str, partition: str) -> None:
    """China and GovCloud have ARNs of their own."""
    assert group_arn(region, "111122223333", "g") == f"arn:{partition}:logs:{region}:111122223333:log-group:g:*"


# -- check --


def findings(make: Make, **changes: object) -> list[tuple[str, str, str]]:
    return [(one.level, one.text, one.fix) for one in make(**changes).check()]


def test_check_says_who_asks_and_that_records_lie_there(make: Make, fake: FakeLogEvents) -> None:
    """All well: one request is enough."""
    fake.add(GROUP, record(1, NOW), at=NOW)
    identity, group = findings(make)
    assert (identity[0], "account 111122223333" in identity[1]) == ("ok", True)
    assert group[:2] == ("ok", "FilterLogEvents answers, and CloudTrail records lie there")
    assert [request.parameters["limit"] for request in fake.asked] == [1]


@pytest.mark.parametrize(
    ("message", "level", "words"),
    [
        pytest.param(record(1, NOW, eventSource="ec2.amazonaws.com"), "ok", "records lie there", id="another service"),
        pytest.param(None, "ok", "is empty", id="nothing"),
        pytest.param("START RequestId: 1", "warning", "something else", id="a log of something else"),
    ],
)
def test_check_looks_at_what_lies_there(
    make: Make, fake: FakeLogEvents, message: dict[str, object] | str | None, level: str, words: str
) -> None:
    """A service without events says nothing about the group, so a second request takes whatever there is."""
    if message is not None:
        fake.add(GROUP, message, at=NOW)
    *_, group = findings(make)
    assert (group[0], words in group[1], len(fake.asked)) == (level, True, 2)


def test_check_gives_the_missing_policy(make: Make, fake: FakeLogEvents) -> None:
    """The fix of a missing permission is the policy to attach, with the account that STS told."""
    fake.script(Fault.ACCESS_DENIED)
    *_, group = findings(make)
    policy = iam_policy(group_arn(HOME, "111122223333", GROUP))
    assert (group[0], group[2]) == ("error", f"attach this policy: {policy}")
    assert json.loads(policy)["Statement"][0]["Action"] == "logs:FilterLogEvents"


def test_check_finds_a_group_that_is_not_there(make: Make) -> None:
    """A wrong name is an error with the group and the region in it."""
    *_, group = findings(make, log_group="nowhere")
    assert (group[0], "no log group nowhere in us-east-1" in group[1]) == ("error", True)
