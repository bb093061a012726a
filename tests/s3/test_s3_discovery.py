"""Which accounts and regions there are, what is left out, and what `check` says."""

from __future__ import annotations

import pytest

from exporter.contract import Partition
from exporter.errors import Blocked
from exporter.metrics import Metrics
from exporter.testing.clock import ManualClock
from tests.fakes.s3 import FakeS3, Fault
from tests.s3.trail import Make, Reader, ago, put, sample

ORG = "o-abcdefghij"
OTHER = "o-zzzzzzzzzzzz"


def keys(partitions: object) -> list[str]:
    assert isinstance(partitions, tuple)
    return [partition.key for partition in partitions]


def lay(fake: FakeS3, *folders: str) -> None:
    for number, folder in enumerate(folders):
        put(fake, ago(minutes=5), number, folder=folder)


LAYOUTS = [
    pytest.param({}, "AWSLogs/111122223333/CloudTrail/us-east-1/", "111122223333/us-east-1", id="plain"),
    pytest.param({"prefix": "team a/x"}, "team a/x/AWSLogs/111122223333/CloudTrail/us-east-1/", None, id="prefix"),
    pytest.param({"prefix": "t/"}, "t/AWSLogs/111122223333/CloudTrail/us-east-1/", None, id="prefix with its slash"),
    pytest.param({"prefix": "t/AWSLogs"}, "t/AWSLogs/111122223333/CloudTrail/us-east-1/", None, id="prefix too long"),
    pytest.param({}, f"AWSLogs/{ORG}/111122223333/CloudTrail/eu-west-1/", f"{ORG}/111122223333/eu-west-1", id="org"),
    pytest.param({"organization": ORG}, f"AWSLogs/{ORG}/111122223333/CloudTrail/eu-west-1/", None, id="org named"),
    pytest.param({}, "AWSLogs/111122223333/CloudTrail/us-gov-west-1/", "111122223333/us-gov-west-1", id="GovCloud"),
    pytest.param({}, "AWSLogs/111122223333/CloudTrail/cn-north-1/", "111122223333/cn-north-1", id="China"),
    pytest.param(
        {"kinds": ["CloudTrail", "CloudTrail-NetworkActivity"]},
        "AWSLogs/111122223333/CloudTrail-NetworkActivity/us-east-1/",
        "111122223333/CloudTrail-NetworkActivity/us-east-1",
        id="network activity",
    ),
]


@pytest.mark.parametrize(("settings", "folder", "partition"), LAYOUTS)
def test_layout_is_found_and_read(
    make: Make, fake: FakeS3, settings: dict[str, object], folder: str, partition: str | None
) -> None:
    """Each form of key CloudTrail writes."""
    put(fake, ago(minutes=5), 7, folder=folder)
    source = make(**settings)
    (found,) = source.partitions()
    if partition:
        assert found == Partition("trail", partition)
    place = Reader(source, found)
    assert place.read() == [7]
    assert place.read() == []


def test_everything_in_an_organization_is_found(make: Make, fake: FakeS3) -> None:
    """Accounts of each organization, and those that stand outside of any, in a stable order."""
    lay(
        fake,
        "AWSLogs/111122223333/CloudTrail/us-east-1/",
        f"AWSLogs/{ORG}/111122223333/CloudTrail/us-east-1/",
        f"AWSLogs/{ORG}/444455556666/CloudTrail/us-east-1/",
        f"AWSLogs/{ORG}/444455556666/CloudTrail/us-east-2/",
        f"AWSLogs/{OTHER}/444455556666/CloudTrail/us-east-1/",
    )
    assert keys(make().partitions()) == [
        "111122223333/us-east-1",
        f"{ORG}/111122223333/us-east-1",
        f"{ORG}/444455556666/us-east-1",
        f"{ORG}/444455556666/us-east-2",
        f"{OTHER}/444455556666/us-east-1",
    ]


def test_what_is_named_is_taken_and_nothing_else(make: Make, fake: FakeS3) -> None:
    """Organization, accounts and regions narrow it down."""
    for account in ("111122223333", "444455556666"):
        for region in ("us-east-1", "us-east-2"):
            lay(fake, f"AWSLogs/{ORG}/{account}/CloudTrail/{region}/", f"AWSLogs/{account}/CloudTrail/{region}/")
    source = make(organization=ORG, accounts=["444455556666"], regions=["us-east-2"])
    assert keys(source.partitions()) == [f"{ORG}/444455556666/us-east-2"]
    assert fake.requests == [], "nothing is left to be found"
    assert keys(make(regions=["us-east-2"], organization=ORG).partitions()) == [
        f"{ORG}/111122223333/us-east-2",
        f"{ORG}/444455556666/us-east-2",
    ]
    assert len(keys(make(accounts=["111122223333"]).partitions())) == 4


def test_new_account_is_found_at_a_slow_rate(make: Make, fake: FakeS3, clock: ManualClock) -> None:
    """Asked again before its time, the source answers without a request."""
    lay(fake, "AWSLogs/111122223333/CloudTrail/us-east-1/")
    source = make(discover_interval=600)
    assert len(source.partitions()) == 1
    lay(fake, "AWSLogs/444455556666/CloudTrail/us-east-1/")
    asked = len(fake.requests)
    clock.advance(599)
    assert len(source.partitions()) == 1
    assert len(fake.requests) == asked
    clock.advance(1)
    assert keys(source.partitions()) == ["111122223333/us-east-1", "444455556666/us-east-1"]


def test_more_accounts_than_a_page(make: Make, fake: FakeS3) -> None:
    """Folders are listed page by page."""
    fake.page = 3
    lay(fake, *(f"AWSLogs/{number:012}/CloudTrail/us-east-1/" for number in range(10)))
    assert len(make().partitions()) == 10


def test_folders_of_other_kinds_are_left_out_and_counted_once(
    make: Make, fake: FakeS3, clock: ManualClock, metrics: Metrics
) -> None:
    """Digests, Insights and summaries are not listed, so that what is in them costs nothing."""
    kinds = ("CloudTrail", "CloudTrail-Digest", "CloudTrail-Insight", "CloudTrail-Aggregated", "Config", "elb")
    lay(fake, *(f"AWSLogs/111122223333/{kind}/us-east-1/" for kind in kinds))
    source = make()
    for _ in range(2):
        assert keys(source.partitions()) == ["111122223333/us-east-1"]
        clock.advance(3_600)
    assert sample(metrics, "s3_objects_skipped_total", reason="kind") == 3


def test_refusal_while_looking_is_the_loop_s_to_hear(make: Make, fake: FakeS3) -> None:
    """And the next time it is looked again."""
    lay(fake, "AWSLogs/111122223333/CloudTrail/us-east-1/")
    fake.faults["ListObjectsV2"] = [Fault(403, "AccessDenied")]
    source = make()
    with pytest.raises(Blocked):
        source.partitions()
    assert len(source.partitions()) == 1


# -- check --


def levels(source: object) -> list[str]:
    return [finding.level for finding in source.check()]  # type: ignore[attr-defined]


def test_check_reads_one_object(make: Make, fake: FakeS3) -> None:
    """Listing and reading are both tried."""
    lay(fake, "AWSLogs/111122223333/CloudTrail/us-east-1/")
    assert levels(make()) == ["ok", "ok"]
    assert len(fake.asked("GetObject")) == 1


def test_check_names_what_lies_where_the_trail_was_looked_for(make: Make, fake: FakeS3) -> None:
    """A forgotten prefix is the usual mistake."""
    lay(fake, "team/AWSLogs/111122223333/CloudTrail/us-east-1/")
    (finding,) = make().check()
    assert finding.level == "warning"
    assert "team" in finding.fix


REFUSED = [
    pytest.param("ListObjectsV2", Fault(403, "AccessDenied"), '"s3:ListBucket"', id="list"),
    pytest.param("GetObject", Fault(403, "AccessDenied"), '"s3:GetObject"', id="get"),
    pytest.param("GetObject", Fault(403, "AccessDenied", "not authorized to perform: kms:Decrypt"), '"kms:', id="key"),
]


@pytest.mark.parametrize(("operation", "fault", "words"), REFUSED)
def test_check_gives_the_policy_that_is_missing(
    make: Make, fake: FakeS3, operation: str, fault: Fault, words: str
) -> None:
    """As JSON to be attached."""
    lay(fake, "AWSLogs/111122223333/CloudTrail/us-east-1/")
    fake.always[operation] = fault
    finding = list(make().check())[-1]
    assert finding.level == "error"
    assert words in finding.fix


def test_check_says_when_all_it_tried_is_archived(make: Make, fake: FakeS3) -> None:
    """No proof either way is a warning."""
    lay(fake, "AWSLogs/111122223333/CloudTrail/us-east-1/")
    fake.always["GetObject"] = Fault(403, "InvalidObjectState")
    assert levels(make()) == ["ok", "warning"]
