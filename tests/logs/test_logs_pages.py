"""What a read yields: what AWS is asked to pick out, page by page, record by record."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from exporter.contract import Document, Malformed
from exporter.errors import Retryable
from exporter.record import parse
from exporter.testing.clock import ManualClock
from tests.fakes.log_events import FakeLogEvents, Fault
from tests.logs.reader import GROUP, HOME, LOOKOUT, NOW, Make, Reader, record


def test_the_group_is_the_partition(make: Make) -> None:
    """Records of all regions lie in one group: there is one partition, named by the group and where it is."""
    assert [partition.key for partition in make().partitions()] == [f"{HOME}/{GROUP}"]


def test_first_read_goes_back_as_far_as_configured(make: Make, fake: FakeLogEvents) -> None:
    """A start of 15 minutes back finds what happened since, and nothing before."""
    for number, minutes in enumerate((16, 14, 5)):
        fake.add(GROUP, record(number, NOW), at=NOW - timedelta(minutes=minutes))
    assert Reader(make(start=timedelta(minutes=15))).read().ids == ["event-00001", "event-00002"]


def test_first_read_from_a_time(make: Make, fake: FakeLogEvents) -> None:
    """A start given as a time is where the first request begins; both bounds are sent in milliseconds."""
    Reader(make(start=datetime(2026, 11, 22, 9, 30, 0, 999_999, tzinfo=UTC))).read()
    (asked,) = fake.asked
    assert asked.parameters["startTime"] == datetime(2026, 11, 22, 9, 30, tzinfo=UTC).timestamp() * 1_000
    assert asked.parameters["endTime"] == NOW.timestamp() * 1_000
    assert (asked.region, asked.parameters["logGroupName"]) == (HOME, GROUP)


def test_resolved_start_is_committed_before_anything_is_read(
    make: Make, fake: FakeLogEvents, clock: ManualClock
) -> None:
    """A crash in the first window must not move the start: what happened then is still found an hour later."""
    fake.add(GROUP, record(1, NOW), at=NOW - timedelta(minutes=10))
    first = Reader(make(start=timedelta(minutes=15))).read(batches=1)
    assert fake.asked == []
    clock.advance(3600)
    assert first.read().ids == ["event-00001"]


def test_aws_picks_out_the_services(make: Make, fake: FakeLogEvents) -> None:
    """Only what is asked for travels: records of other services, and text that is none, stay where they are."""
    fake.add(GROUP, record(1, NOW), at=NOW)
    fake.add(GROUP, record(2, NOW, eventSource="s3.amazonaws.com"), at=NOW)
    fake.add(GROUP, record(3, NOW, eventSource="ec2.amazonaws.com"), at=NOW)
    fake.add(GROUP, "START RequestId", at=NOW)
    found = Reader(make(services=[LOOKOUT, "s3.amazonaws.com"])).read()
    assert (found.ids, len(found.items)) == (["event-00001", "event-00002"], 2)


def test_what_a_service_did_on_behalf_is_asked_for_on_request(make: Make, fake: FakeLogEvents) -> None:
    """invoked_by_service also brings records of other services whose invokedBy it is."""
    fake.add(GROUP, record(1, NOW, eventSource="sts.amazonaws.com", userIdentity={"invokedBy": LOOKOUT}), at=NOW)
    assert Reader(make()).read().ids == []
    assert Reader(make(invoked_by_service=True)).read().ids == ["event-00001"]


def test_more_services_than_one_pattern_holds(make: Make, fake: FakeLogEvents) -> None:
    """Patterns have 1,024 characters: more services are several questions, and the position moves after the last."""
    services = [f"service-{number:03}.amazonaws.com" for number in range(60)]
    for number, service in enumerate(services):
        fake.add(GROUP, record(number, NOW, eventSource=service), at=NOW)
    found = Reader(make(services=services)).read()
    assert sorted(found.ids) == [f"event-{number:05}" for number in range(60)]
    assert len(fake.asked) == len({request.parameters["filterPattern"] for request in fake.asked}) > 1
    assert [batch.after is not None for batch in found.batches] == [
        True,
        *[False] * (len(fake.asked) - 1),
        True,
    ]


def test_pages_are_followed_to_the_end(make: Make, fake: FakeLogEvents) -> None:
    """230 events of one window are 5 pages of 50, and the last one alone moves the position."""
    for number in range(230):
        fake.add(GROUP, record(number, NOW), at=NOW - timedelta(seconds=number))
    crowd = Reader(make()).read()
    assert (len(set(crowd.ids)), len(fake.asked)) == (230, 5)
    _, *pages = crowd.batches
    assert [batch.after is None for batch in pages] == [True] * 4 + [False]
    assert {request.answer for request in fake.asked} == {"OK"}


def test_all_pages_of_a_window_ask_for_the_same(make: Make, fake: FakeLogEvents) -> None:
    """Both ends are fixed before the first page, though time goes on meanwhile."""
    for number in range(120):
        fake.add(GROUP, record(number, NOW), at=NOW - timedelta(seconds=number))
    Reader(make()).read()
    asked = [{k: v for k, v in request.parameters.items() if k != "nextToken"} for request in fake.asked]
    assert len(asked) == 3
    assert asked[0] == asked[1] == asked[2]


def test_a_page_of_thousands_is_several_batches(make: Make, fake: FakeLogEvents) -> None:
    """A page of 2,500 events is cut into batches of at most 1,000."""
    fake.page = 10_000
    for number in range(2_500):
        fake.add(GROUP, record(number, NOW), at=NOW - timedelta(seconds=number % 600))
    found = Reader(make()).read()
    assert len(fake.asked) == 1
    assert [len(batch.items) for batch in found.batches] == [0, 1_000, 1_000, 500]
    assert [batch.after is None for batch in found.batches] == [False, True, True, False]


def test_empty_page_with_a_token_is_not_the_end(make: Make, fake: FakeLogEvents) -> None:
    """Pages without events may come before pages with some."""
    fake.add(GROUP, record(1, NOW), at=NOW - timedelta(minutes=1))
    fake.script(Fault.EMPTY_PAGE, Fault.EMPTY_PAGE)
    assert Reader(make()).read().ids == ["event-00001"]


def test_token_that_leads_nowhere_does_not_spin(make: Make, fake: FakeLogEvents) -> None:
    """The same token for the second time is a failing server, not an endless loop."""
    fake.script(*[Fault.SAME_TOKEN] * 5)
    with pytest.raises(Retryable, match="FilterLogEvents gives the same token"):
        Reader(make()).read()
    assert len(fake.asked) == 2


@pytest.mark.parametrize("fault", [pytest.param(Fault.HTML, id="html"), pytest.param(Fault.NO_EVENTS, id="other JSON")])
def test_answer_without_events_is_not_an_empty_window(make: Make, fake: FakeLogEvents, fault: Fault) -> None:
    """A sign-in page of a proxy has status 200: it must not move the position past unread events."""
    fake.add(GROUP, record(1, NOW), at=NOW - timedelta(minutes=1))
    fake.script(fault)
    place = Reader(make())
    with pytest.raises(Retryable):
        place.read()
    assert place.through < NOW - timedelta(minutes=14)
    assert place.read().ids == ["event-00001"]


def test_record_is_the_text_that_lies_there(make: Make, fake: FakeLogEvents) -> None:
    """The document is the message as it came, and its origin says where from."""
    text = json.dumps(record(1, NOW, requestParameters={"text": "ä \U0001f600"}), ensure_ascii=False)
    fake.add(GROUP, text, at=NOW, stream="o-abc_111122223333_CloudTrail_us-east-1_2")
    (item,) = Reader(make()).read().items
    assert item == Document(text.encode(), f"logs {GROUP}/o-abc_111122223333_CloudTrail_us-east-1_2 00000001")


def test_event_without_a_message_is_malformed(make: Make, fake: FakeLogEvents) -> None:
    """A log event that lacks its message is yielded as such, and the others with it."""
    fake.add(GROUP, record(1, NOW), at=NOW)
    fake.script(Fault.BARE_EVENT)
    bare, good = Reader(make()).read().items
    assert isinstance(bare, Malformed)
    assert (bare.reason, bare.origin) == ("not_a_record", f"logs {GROUP}/bare bare")
    assert isinstance(good, Document)


# -- records in two pieces --


def test_a_record_cut_in_two_is_one_again(make: Make, fake: FakeLogEvents) -> None:
    """Both halves lie in one stream, another stream's record between them and a page's end too."""
    fake.page = 2
    text = json.dumps(record(1, NOW, requestParameters={"text": "x" * 300_000}))
    fake.add(GROUP, text[:262_118], at=NOW, stream="a")
    fake.add(GROUP, record(2, NOW), at=NOW, stream="b")
    fake.add(GROUP, text[262_118:], at=NOW, stream="a")
    found = Reader(make(filter_pattern="")).read()
    assert sorted(found.ids) == ["event-00001", "event-00002"]
    assert len(found.items) == 2


def test_a_half_whose_rest_does_not_come_is_passed_on(make: Make, fake: FakeLogEvents) -> None:
    """A piece at the end, and one before a whole record, are yielded for the quarantine and cost no neighbour."""
    text = json.dumps(record(1, NOW))
    fake.add(GROUP, text[:100], at=NOW)
    fake.add(GROUP, record(2, NOW), at=NOW)
    fake.add(GROUP, text[:100], at=NOW)
    found = Reader(make(filter_pattern="")).read()
    parsed = [parse(item, observed_ns=0) for item in found.items if isinstance(item, Document)]
    assert [getattr(one, "reason", "record") for one in parsed] == ["not_json", "record", "not_json"]
