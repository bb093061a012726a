"""What a read yields: where it begins, page by page, record by record."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.contract import Document, Malformed
from exporter.errors import Blocked, Retryable
from exporter.sources.aws import default_region
from exporter.sources.lookup import LookupSource
from exporter.testing.clock import ManualClock
from exporter.testing.source import SourceContract
from tests.fakes.lookup_events import FakeLookupEvents, Fault
from tests.lookup.reader import HOME, LOOKOUT, NOW, S3, Make, reader, record, stamp

# -- partitions --


def test_partition_per_region_and_service(make: Make) -> None:
    """LookupEvents takes one eventSource at a time, so each region has a partition for each."""
    keys = [partition.key for partition in make(regions=[HOME, "eu-west-1"], services=[LOOKOUT, S3]).partitions()]
    assert keys == [f"{HOME}/{LOOKOUT}", f"{HOME}/{S3}", f"eu-west-1/{LOOKOUT}", f"eu-west-1/{S3}"]


def test_region_of_the_environment_is_the_default(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without configured regions the AWS environment decides."""
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert [partition.key for partition in make(regions=[]).partitions()] == [f"eu-north-1/{LOOKOUT}"]


def test_region_of_the_profile_is_found(make: Make, tmp_path: Path) -> None:
    """A region in the AWS profile counts where no variable is set."""
    (tmp_path / "config").write_text("[default]\nregion = ap-southeast-2\n")
    assert default_region() == "ap-southeast-2"


def test_no_region_at_all_blocks_and_says_what_to_set(make: Make) -> None:
    """With no region anywhere there is nothing to read, and the message names both ways out."""
    with pytest.raises(Blocked, match="AWS_REGION"):
        make(regions=[]).partitions()


# -- first read --


def test_first_read_goes_back_as_far_as_configured(make: Make, fake: FakeLookupEvents) -> None:
    """A start of 15 minutes back finds what happened since, and nothing before."""
    for number, minutes in enumerate((5, 14, 16)):
        fake.add(record(number, NOW - timedelta(minutes=minutes)))
    assert reader(make(start=timedelta(minutes=15))).read().ids == ["event-00000", "event-00001"]


def test_first_read_from_a_time(make: Make, fake: FakeLookupEvents) -> None:
    """A start given as a time is where the first request begins; both bounds are sent as whole seconds."""
    reader(make(start=datetime(2026, 11, 22, 9, 30, 0, 999_999, tzinfo=UTC))).read()
    (asked,) = fake.asked()
    assert asked.parameters["StartTime"] == datetime(2026, 11, 22, 9, 30, tzinfo=UTC).timestamp()
    assert asked.parameters["EndTime"] == NOW.timestamp()


def test_resolved_start_is_committed_before_anything_is_read(
    make: Make, fake: FakeLookupEvents, clock: ManualClock
) -> None:
    """A crash in the first window must not move the start: what happened then is still found an hour later."""
    fake.add(record(1, NOW - timedelta(minutes=10)))
    first = reader(make(start=timedelta(minutes=15))).read(batches=1)
    assert fake.asked() == []
    clock.advance(3600)
    assert first.read().ids == ["event-00001"]


def test_empty_window_still_moves_the_position(make: Make, clock: ManualClock) -> None:
    """Quiet is told from stalled: a read that found nothing yields the position it reached."""
    quiet = reader(make()).read()
    clock.advance(60)
    quiet.read()
    assert (quiet.ids, quiet.through, quiet.batches[-1].through) == ([], clock.now(), clock.now())


def test_start_in_the_future_asks_nothing_until_it_comes(
    make: Make, fake: FakeLookupEvents, clock: ManualClock
) -> None:
    """A start that is yet to come makes no inverted window, and is kept once it comes."""
    later = reader(make(start=NOW + timedelta(minutes=10))).read()
    assert fake.asked() == []
    fake.add(record(1, NOW + timedelta(minutes=5)))
    fake.add(record(2, NOW + timedelta(minutes=10)))
    clock.advance(660)
    assert later.read().ids == ["event-00002"]


# -- pages --


def test_ten_thousand_events_come_page_by_page(make: Make, fake: FakeLookupEvents) -> None:
    """10,000 events of one window are 200 requests and 200 batches of 50, and the last one alone moves the position."""
    for number in range(10_000):
        fake.add(record(number, NOW - timedelta(seconds=number % 800)))
    crowd = reader(make(start=timedelta(minutes=15))).read()
    assert (len(crowd.ids), len(set(crowd.ids)), len(fake.asked())) == (10_000, 10_000, 200)
    _, *pages = crowd.batches
    assert [len(batch.items) for batch in pages] == [50] * 200
    assert [batch.after is None for batch in pages] == [True] * 199 + [False]
    assert {request.answer for request in fake.asked()} == {"OK"}


def test_page_of_large_records_is_several_batches(make: Make, fake: FakeLookupEvents) -> None:
    """A page of 50 records of 250 KB is cut into batches of at most 4 MiB; the last one moves the position."""
    for number in range(50):
        fake.add(record(number, NOW - timedelta(seconds=number), requestParameters={"text": "x" * 250_000}))
    place = reader(make()).read()
    _, *batches = place.batches
    sizes = [sum(len(item.data) for item in batch.items if isinstance(item, Document)) for batch in batches]
    assert (len(place.ids), len(sizes), max(sizes) <= 4 * 1024 * 1024) == (50, 4, True)
    assert [batch.after is None for batch in batches] == [True, True, True, False]


def test_all_pages_of_a_window_ask_for_the_same(make: Make, fake: FakeLookupEvents) -> None:
    """Both ends are fixed before the first page: a token holds for the same parameters only."""
    for number in range(120):
        fake.add(record(number, NOW - timedelta(seconds=number)))
    reader(make()).read()
    asked = [{k: v for k, v in request.parameters.items() if k != "NextToken"} for request in fake.asked()]
    assert len(asked) == 3
    assert asked[0] == asked[1] == asked[2]
    assert asked[0]["LookupAttributes"] == [{"AttributeKey": "EventSource", "AttributeValue": LOOKOUT}]


def test_empty_page_with_a_token_is_not_the_end(make: Make, fake: FakeLookupEvents) -> None:
    """Pages without events may come before pages with some."""
    fake.add(record(1, NOW - timedelta(minutes=1)))
    fake.script(HOME, Fault.EMPTY_PAGE, Fault.EMPTY_PAGE)
    assert reader(make()).read().ids == ["event-00001"]


def test_token_that_leads_nowhere_does_not_spin(make: Make, fake: FakeLookupEvents) -> None:
    """The same token for the second time is a failing server, not an endless loop."""
    fake.script(HOME, *[Fault.SAME_TOKEN] * 5)
    with pytest.raises(Retryable, match="same token"):
        reader(make()).read()
    assert len(fake.asked()) == 2


def test_record_is_the_text_aws_gave(make: Make, fake: FakeLookupEvents) -> None:
    """The document is the CloudTrailEvent string as it came, and its origin says where from."""
    fake.add(record(7, NOW, requestParameters={"text": "ä \U0001f600"}))
    (item,) = reader(make()).read().batches[-1].items
    assert isinstance(item, Document)
    assert (json.loads(item.data)["requestParameters"]["text"], item.origin) == (
        "ä \U0001f600",
        f"lookup {HOME} event-00007",
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"eventID": "lone \ud800 surrogate"}', id="lone surrogate"),
        pytest.param("not JSON at all", id="no JSON"),
        pytest.param("", id="empty"),
    ],
)
def test_odd_text_is_passed_on_with_its_neighbours(make: Make, fake: FakeLookupEvents, text: str) -> None:
    """A record that cannot be read is for parsing to find out; it costs the page nothing."""
    fake.add(text, event_time=stamp(NOW))
    fake.add(record(1, NOW - timedelta(seconds=5)))
    odd, good = _items(make())
    assert isinstance(odd, Document)
    assert odd.data == text.encode("utf-8", "surrogatepass")
    assert isinstance(good, Document)


def _items(source: LookupSource) -> list[Any]:
    """All items of a first read, unopened."""
    place = reader(source)
    return [item for batch in source.read(place.partition, place) for item in batch.items]  # type: ignore[arg-type]


def test_event_without_a_record_is_malformed(make: Make, fake: FakeLookupEvents) -> None:
    """An event that lacks CloudTrailEvent is yielded as such, and the others with it."""
    fake.add(record(1, NOW))
    fake.script(HOME, Fault.BARE_EVENT)
    bare, good = _items(make())
    assert isinstance(bare, Malformed)
    assert (bare.reason, bare.origin) == ("not_a_record", f"lookup {HOME} bare")
    assert b'"EventName"' in bare.sample
    assert isinstance(good, Document)


def test_timestamp_that_is_none_does_not_cost_the_page(make: Make, fake: FakeLookupEvents) -> None:
    """botocore alone refuses a whole page for one EventTime it cannot read."""
    fake.add(record(1, NOW))
    fake.script(HOME, Fault.ODD_TIME)
    assert reader(make()).read().ids == ["odd", "event-00001"]


@pytest.mark.parametrize("fault", [pytest.param(Fault.HTML, id="html"), pytest.param(Fault.NO_EVENTS, id="other JSON")])
def test_answer_without_events_is_not_an_empty_window(make: Make, fake: FakeLookupEvents, fault: Fault) -> None:
    """A sign-in page of a proxy has status 200: it must not move the position past unread events."""
    fake.add(record(1, NOW - timedelta(minutes=1)))
    fake.script(HOME, fault)
    place = reader(make())
    with pytest.raises(Retryable, match="without Events"):
        place.read()
    assert place.through < NOW - timedelta(minutes=14)
    assert place.read().ids == ["event-00001"]


# -- the law of every source --


class TestContract(SourceContract):
    """The laws every source keeps, over two regions, several pages, and one text that is no record."""

    malformed = 1
    repeats = True

    @pytest.fixture
    def remote(self, fake: FakeLookupEvents) -> FakeLookupEvents:
        for number in range(120):
            region = HOME if number < 110 else "eu-west-1"
            fake.add(record(number, NOW - timedelta(seconds=number), awsRegion=region))
        fake.add("no record", event_time=stamp(NOW))
        return fake

    @pytest.fixture
    def open_source(self, remote: FakeLookupEvents, make: Make) -> Callable[[], LookupSource]:
        return lambda: make(regions=[HOME, "eu-west-1"])

    @pytest.fixture
    def expected(self, remote: FakeLookupEvents) -> list[str]:
        return [f"111122223333/event-{number:05}" for number in range(120)]
