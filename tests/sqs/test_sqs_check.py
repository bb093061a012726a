"""What `check` says of a queue, and what an address says of its region."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from exporter.sources.sqs import SqsSource
from exporter.sources.sqs_api import endpoint_of, region_of
from tests.fakes.sqs_queue import FakeQueue, Fault
from tests.sqs.queue import BUCKET, s3_event

Make = Callable[..., SqsSource]

ADDRESSES = {
    "https://sqs.us-east-2.amazonaws.com/111122223333/q": ("us-east-2", None),
    "https://sqs-fips.us-gov-west-1.amazonaws.com/111122223333/q": ("us-gov-west-1", None),
    "https://sqs.cn-north-1.amazonaws.com.cn/111122223333/q": ("cn-north-1", None),
    "https://sqs.eu-west-1.api.aws/111122223333/q": ("eu-west-1", None),
    "https://eu-central-1.queue.amazonaws.com/111122223333/q": ("eu-central-1", None),
    "https://queue.amazonaws.com/111122223333/q": ("us-east-1", None),
    "https://vpce-0a1-b2.sqs.us-east-2.vpce.amazonaws.com/111122223333/q": (
        "us-east-2",
        "https://vpce-0a1-b2.sqs.us-east-2.vpce.amazonaws.com",
    ),
    "http://127.0.0.1:4566/000000000000/q": (None, "http://127.0.0.1:4566"),
}


@pytest.mark.parametrize(("url", "expected"), ADDRESSES.items(), ids=ADDRESSES)
def test_the_address_tells_region_and_endpoint(url: str, expected: tuple[str | None, str | None]):
    """Each form of queue address that AWS has, and a server that is not AWS's."""
    assert (region_of(url), endpoint_of(url)) == expected


def levels(source: SqsSource) -> dict[str, str]:
    """The last word of each finding's subject and its level."""
    return {finding.subject.rsplit(": ", 1)[-1]: finding.level for finding in source.check()}


def redrive(tries: int) -> dict[str, str]:
    return {"RedrivePolicy": json.dumps({"deadLetterTargetArn": "arn:x", "maxReceiveCount": tries})}


CASES = {
    "well set up": (redrive(10) | {"MessageRetentionPeriod": "1209600"}, {}, {"redrive policy": "ok"}),
    "no redrive policy": ({}, {}, {"redrive policy": "warning"}),
    "few tries": (redrive(1), {}, {"redrive policy": "warning"}),
    "broken policy": ({"RedrivePolicy": "{"}, {}, {"redrive policy": "warning"}),
    "short visibility": (redrive(10), {"visibility_seconds": 10}, {"redrive policy": "ok", "visibility": "warning"}),
    "short retention": (
        redrive(10) | {"MessageRetentionPeriod": "3600"},
        {},
        {"redrive policy": "ok", "retention": "warning"},
    ),
    "no such bucket": (redrive(10), {"buckets": ["nowhere"]}, {"redrive policy": "ok", "nowhere": "error"}),
}


@pytest.mark.parametrize(("attributes", "changes", "expected"), CASES.values(), ids=CASES)
def test_findings(
    fake: FakeQueue, make: Make, attributes: dict[str, str], changes: dict[str, object], expected: dict[str, str]
):
    """What would lose or double messages is a warning with its fix; a bucket that is not there an error."""
    fake.attributes = attributes
    bucket = {} if "buckets" in changes else {BUCKET: "ok"}
    assert levels(make(**changes)) == {"trail-events": "ok"} | bucket | expected


def test_check_receives_nothing(fake: FakeQueue, make: Make):
    """A receive counts as a try; asking for attributes does not."""
    fake.send(s3_event("k"))
    findings = list(make().check())
    assert "1 messages waiting, 0 in flight" in findings[0].text
    assert {action for action, _ in fake.requests} == {"GetQueueAttributes"}


def test_a_refusal_comes_with_the_policy(fake: FakeQueue, make: Make):
    """Denied: the fix is the least policy, for this queue."""
    fake.script("GetQueueAttributes", Fault(403, "AccessDenied"))
    finding = next(iter(make().check()))
    policy = json.loads(finding.fix.removeprefix("attach this policy: "))
    assert finding.level == "error"
    assert policy["Statement"][0]["Resource"] == "arn:aws:sqs:us-east-2:111122223333:trail-events"
    assert set(policy["Statement"][0]["Action"]) == {
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
    }


def test_a_queue_that_is_not_there(fake: FakeQueue, make: Make):
    """Said in a line, and no bug."""
    fake.script("GetQueueAttributes", Fault(400, "QueueDoesNotExist"))
    finding = next(iter(make().check()))
    assert (finding.level, "is not there" in finding.text) == ("error", True)
