"""The lookup source against the fake LookupEvents: what is read, when the position moves, what each refusal does."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.contract import Batch, Document, Malformed, Partition, Position, Unit
from exporter.errors import Blocked, Retryable, Stopping, SwitchedOff
from exporter.metrics import Metrics
from exporter.sources.aws import default_region
from exporter.sources.lookup import LookupSource
from exporter.sources.ratelimit import RateLimits
from exporter.testing.clock import ManualClock
from exporter.testing.source import SourceContract
from tests.fakes.aws_environment import aws_environment
from tests.fakes.lookup_events import FakeLookupEvents, Fault

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LOOKOUT = "lookoutmetrics.amazonaws.com"
S3 = "s3.amazonaws.com"
HOME = "us-east-1"
ROLE = "arn:aws:iam::444455556666:role/reader"


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def record(number: int, at: datetime, **more: Any) -> dict[str, Any]:
    fields = {
        "eventVersion": "1.08",
        "eventID": f"event-{number:05}",
        "eventTime": stamp(at),
        "eventSource": LOOKOUT,
        "eventName": "ListAlerts",
        "awsRegion": HOME,
        "recipientAccountId": "111122223333",
        "userIdentity": {"type": "IAMUser", "userName": "alice"},
    }
    return fields | more


@dataclass
class Reader:
    """What the loop does: commit each batch, then ask for the next; it can be made to die after some commits."""

    source: LookupSource
    partition: Partition
    position: Position | None = None
    ids: list[str] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    def unfinished(self, units: list[Unit]) -> list[Unit]:
        return list(units)

    def read(self, batches: int | None = None) -> Reader:
        """One read to its end, or dead right after so many commits (0: with the first batch in hand)."""
        reading = self.source.read(self.partition, self)  # type: ignore[arg-type]
        for taken, batch in enumerate(reading, 1):
            if batches == 0:
                break
            self.batches.append(batch)
            self.ids += [json.loads(item.data)["eventID"] for item in batch.items if isinstance(item, Document)]
            if batch.after is not None:
                self.position = json.loads(json.dumps(batch.after))
            if taken == batches:
                break
        return self

    @property
    def through(self) -> datetime:
        assert self.position is not None
        return datetime.fromisoformat(str(self.position["through"]))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=NOW)


@pytest.fixture
def fake(clock: ManualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeLookupEvents]:
    with FakeLookupEvents(clock=clock) as server:
        aws_environment(monkeypatch, tmp_path, sts=server.url)
        yield server
    assert server.model_problems == []


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(platform_collectors=False)


Make = Callable[..., LookupSource]


@pytest.fixture
def make(fake: FakeLookupEvents, clock: ManualClock, metrics: Metrics) -> Iterator[Make]:
    limits = RateLimits(clock=clock)
    made: list[LookupSource] = []

    def source(**changes: Any) -> LookupSource:
        settings: dict[str, Any] = {
            "name": "history",
            "regions": [HOME],
            "services": [LOOKOUT],
            "limits": limits,
            "clock": clock,
            "metrics": metrics,
            "endpoint_url": fake.url,
            "rng": random.Random(1),
        }
        made.append(LookupSource(**(settings | changes)))
        return made[-1]

    yield source
    for each in made:
        each.close()


def reader(source: LookupSource, key: str = f"{HOME}/{LOOKOUT}", position: Position | None = None) -> Reader:
    return Reader(source, Partition(source.name, key), position)


def at(through: datetime, *, since: datetime | None = None, swept: datetime | None = None) -> Position:
    return {"v": 1, "since": stamp(since or through), "through": stamp(through), "swept": stamp(swept or through)}


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"cloudtrail_exporter_{name}", labels) or 0.0


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


# -- nothing lost: late, crashed, cut --


def test_late_event_within_the_overlap_is_found(make: Make, fake: FakeLookupEvents, clock: ManualClock) -> None:
    """An event that AWS delivers 20 minutes late is found by the look back of the next read."""
    fake.add(record(1, NOW - timedelta(minutes=1)), visible_at=NOW + timedelta(minutes=20))
    late = reader(make()).read()
    assert late.ids == []
    clock.advance(20 * 60)
    assert late.read().ids == ["event-00001"]


def test_late_event_beyond_the_overlap_is_found_by_the_sweep(
    make: Make, fake: FakeLookupEvents, clock: ManualClock
) -> None:
    """An event that comes five hours late is found by the hourly look back over the last day."""
    fake.add(record(1, NOW - timedelta(minutes=1)), visible_at=NOW + timedelta(hours=5))
    late = reader(make())
    found: list[float] = []
    for minutes in range(0, 8 * 60, 10):
        if late.read().ids and not found:
            found.append(minutes)
        clock.jump(600)
    assert found
    assert 300 <= found[0] <= 360


def test_sweep_comes_once_an_interval(make: Make, fake: FakeLookupEvents, clock: ManualClock) -> None:
    """Two reads in one hour sweep once; the sweep asks for what lies before the ordinary window, not for it again."""
    place = reader(make(), position=at(NOW, since=NOW - timedelta(days=3), swept=NOW - timedelta(hours=1)))
    place.read()
    swept = [(request.parameters["StartTime"], request.parameters["EndTime"]) for request in fake.asked()]
    edge = (NOW - timedelta(minutes=30)).timestamp()
    assert swept == [(edge, NOW.timestamp()), ((NOW - timedelta(days=1)).timestamp(), edge)]
    clock.jump(60)
    place.read()
    assert len(fake.asked()) == 3


def test_sweep_does_not_reach_behind_the_start(make: Make, fake: FakeLookupEvents, clock: ManualClock) -> None:
    """Whoever asked for the last 15 minutes does not get yesterday an hour later."""
    fake.add(record(1, NOW - timedelta(hours=2)))
    place = reader(make(start=timedelta(minutes=15))).read()
    clock.jump(2 * 3600)
    assert place.read().ids == []


def test_interrupted_sweep_is_made_again(make: Make, fake: FakeLookupEvents) -> None:
    """A sweep that broke off is not remembered as made."""
    position = at(NOW, since=NOW - timedelta(days=3), swept=NOW - timedelta(hours=2))
    place = reader(make(), position=position)
    fake.script(HOME, Fault.OK, Fault.SERVER_ERROR)
    with pytest.raises(Retryable):
        place.read()
    assert place.position is not None
    assert place.position["swept"] == position["swept"]
    place.read()
    assert place.position["swept"] != position["swept"]


def test_sweep_of_several_windows_is_made_when_its_last_one_is(make: Make, fake: FakeLookupEvents) -> None:
    """A look back over five days that dies after the second begins anew; the position does not say it was made."""
    position = at(NOW, since=NOW - timedelta(days=30), swept=NOW - timedelta(hours=2))
    place = reader(make(sweep_depth=timedelta(days=5)), position=position)
    fake.script(HOME, Fault.OK, Fault.OK, Fault.OK, Fault.SERVER_ERROR)
    with pytest.raises(Retryable):
        place.read()
    assert place.position is not None
    assert place.position["swept"] == position["swept"]


@pytest.mark.parametrize("committed", [1, 2, 3, 4, 5])
def test_crash_between_pages_loses_nothing(
    make: Make, fake: FakeLookupEvents, clock: ManualClock, committed: int
) -> None:
    """Pages come newest first: a process that dies between two finds all the older ones when it starts again."""
    for number in range(240):
        fake.add(record(number, NOW - timedelta(seconds=number)))
    died = reader(make()).read(batches=committed)
    clock.advance(120)
    again = reader(make(), position=died.position).read()
    assert set(died.ids) | set(again.ids) == {f"event-{number:05}" for number in range(240)}


def test_edge_second_belongs_to_both_windows(make: Make, fake: FakeLookupEvents, clock: ManualClock) -> None:
    """With no overlap at all, an event of the very second in which a window ended is still read by the next one."""
    source = make(overlap=timedelta(0))
    place = reader(source).read()
    fake.add(record(1, NOW))
    clock.advance(60)
    assert place.read().ids == ["event-00001"]


def test_long_absence_is_read_in_windows_oldest_first(make: Make, fake: FakeLookupEvents) -> None:
    """90 days are 90 windows of a day; the position moves after each, so that a crash costs one day of reading."""
    for day in range(0, 90, 7):
        fake.add(record(day, NOW - timedelta(days=day, hours=1)))
    place = reader(make(start=timedelta(days=90))).read()
    positions = [batch.through for batch in place.batches if batch.through is not None]
    assert positions == sorted(positions)
    assert len(fake.asked()) == 90
    assert place.ids == [f"event-{day:05}" for day in reversed(range(0, 90, 7))]


def test_crash_in_a_long_absence_resumes_at_the_window(make: Make, fake: FakeLookupEvents) -> None:
    """What windows were completed is not asked for again, but for the overlap."""
    for day in range(10):
        fake.add(record(day, NOW - timedelta(days=day, hours=1)))
    died = reader(make(start=timedelta(days=10))).read(batches=6)
    asked = len(fake.asked())
    again = reader(make(), position=died.position).read()
    assert sorted(died.ids + again.ids) == [f"event-{day:05}" for day in range(10)]
    assert fake.asked()[asked].parameters["StartTime"] == (died.through - timedelta(minutes=30)).timestamp()


def test_absence_beyond_the_history_is_a_counted_gap(make: Make, fake: FakeLookupEvents, metrics: Metrics) -> None:
    """100 days away: ten days are gone for good, which is counted once and does not stop the rest."""
    fake.add(record(1, NOW - timedelta(days=80)))
    place = reader(make(), position=at(NOW - timedelta(days=100))).read()
    place.read()
    assert place.ids == ["event-00001"]
    assert sample(metrics, "gaps_total", source="history") == 1
    assert sample(metrics, "gap_seconds_total", source="history") == pytest.approx(864_000, abs=600)


def test_gap_is_not_counted_before_its_commit(make: Make, metrics: Metrics) -> None:
    """A process that dies before the clamped position is committed has not counted the gap: the next one will."""
    reader(make(), position=at(NOW - timedelta(days=100))).read(batches=0)
    assert sample(metrics, "gaps_total", source="history") == 0


def test_ninety_days_are_no_gap(make: Make, metrics: Metrics) -> None:
    """A start of -90d is all there is: the few minutes of margin are not reported as lost."""
    reader(make(start=timedelta(days=90))).read()
    assert sample(metrics, "gaps_total", source="history") == 0


def test_beginning_that_aws_finds_too_old_is_moved_on(make: Make, fake: FakeLookupEvents, metrics: Metrics) -> None:
    """InvalidTimeRange about the oldest day: an hour is given up, counted, and the rest is read."""
    fake.script(HOME, Fault.TIME_RANGE, Fault.TIME_RANGE)
    place = reader(make(start=timedelta(days=90))).read()
    assert place.through == datetime.fromtimestamp(fake.asked()[-1].parameters["EndTime"], UTC)
    assert sample(metrics, "gap_seconds_total", source="history") == 7200


def test_time_range_refused_without_need_blocks(make: Make, fake: FakeLookupEvents) -> None:
    """InvalidTimeRange for the last minutes is not a matter of age: nothing is skipped."""
    fake.script(HOME, Fault.TIME_RANGE)
    with pytest.raises(Blocked) as caught:
        reader(make()).read()
    assert caught.value.reason == "invalid"


# -- tokens --


def test_lost_token_starts_the_window_again(make: Make, fake: FakeLookupEvents) -> None:
    """A token that is refused in mid-window costs a repetition and no event."""
    for number in range(120):
        fake.add(record(number, NOW - timedelta(seconds=number)))
    fake.script(HOME, Fault.OK, Fault.LOST_TOKEN)
    assert set(reader(make()).read().ids) == {f"event-{number:05}" for number in range(120)}


def test_window_too_crowded_for_its_token_is_halved_until_it_fits(make: Make, fake: FakeLookupEvents) -> None:
    """Where the token of a window dies after six pages, one of twenty is read in smaller ones, and all of it is."""
    fake.token_seconds = 6
    for number in range(1000):
        fake.add(record(number, NOW - timedelta(seconds=number % 800)))
    position = at(NOW - timedelta(seconds=800), since=NOW - timedelta(seconds=800), swept=NOW)
    assert set(_slow(reader(make(), position=position)).ids) == {f"event-{number:05}" for number in range(1000)}
    assert "InvalidNextTokenException" in {request.answer for request in fake.asked()}


def _slow(place: Reader) -> Reader:
    """Read while each batch takes a second downstream."""
    clock: Any = place.source._clock
    for batch in place.source.read(place.partition, place):  # type: ignore[arg-type]
        clock.advance(1)
        place.ids += [json.loads(item.data)["eventID"] for item in batch.items if isinstance(item, Document)]
        place.position = batch.after or place.position
    return place


def test_tokens_that_never_hold_end_in_a_retry(make: Make, fake: FakeLookupEvents) -> None:
    """The repetitions are bounded: in the end the loop's back-off takes over, with the position where it was."""
    for number in range(120):
        fake.add(record(number, NOW - timedelta(seconds=1)))
    fake.token_seconds = -1
    place = reader(make())
    with pytest.raises(Retryable, match="none of its tokens"):
        place.read()
    assert place.through < NOW
    assert len(fake.asked()) < 100


# -- the request budget --


def test_sources_of_one_account_share_the_limit(make: Make, fake: FakeLookupEvents) -> None:
    """Two sources and two services in one region together stay below 2 requests per second: nothing is throttled."""
    first, second = make(name="a", services=[LOOKOUT, S3]), make(name="b")
    for _ in range(5):
        for source in (first, second):
            for partition in source.partitions():
                Reader(source, partition).read()
    times = [request.at for request in fake.asked()]
    assert len(times) == 15
    assert {request.answer for request in fake.asked()} == {"OK"}
    assert all(later - earlier >= 1 for earlier, later in zip(times, times[2:], strict=False))


def test_wait_for_the_budget_is_counted(make: Make, metrics: Metrics, clock: ManualClock) -> None:
    """The seconds spent waiting for our own limit are a metric."""
    place = reader(make())
    for _ in range(4):
        place.read()
    waited = sample(metrics, "aws_api_throttle_wait_seconds_total", api="LookupEvents")
    assert waited == pytest.approx(sum(clock.waits))
    assert waited > 1


def test_throttled_first_page_is_left_to_the_loop(make: Make, fake: FakeLookupEvents, metrics: Metrics) -> None:
    """With nothing to lose the throttle goes to the back-off of the loop, and the bucket is slower from then on."""
    fake.script(HOME, Fault.THROTTLE)
    limits = RateLimits(clock=ManualClock())
    with pytest.raises(Retryable) as caught:
        reader(make(limits=limits)).read()
    assert caught.value.reason == "throttled"
    assert limits.bucket("default", HOME).rate == 0.9
    assert sample(metrics, "aws_api_request_failures_total", api="LookupEvents", reason="throttled") == 1
    assert sample(metrics, "aws_api_requests_total", api="LookupEvents") == 1


def test_full_rate_comes_back_after_a_throttle(make: Make, fake: FakeLookupEvents, clock: ManualClock) -> None:
    """Requests that are answered bring the rate back to what is allowed."""
    limits = RateLimits(clock=clock)
    place = reader(make(limits=limits))
    fake.script(HOME, Fault.THROTTLE)
    with pytest.raises(Retryable):
        place.read()
    for _ in range(10):
        place.read()
    assert limits.bucket("default", HOME).rate == 1.8


@pytest.mark.parametrize("fault", [Fault.THROTTLE, Fault.SERVER_ERROR, Fault.UNAVAILABLE, Fault.RESET])
def test_page_in_the_middle_is_tried_again_in_place(make: Make, fake: FakeLookupEvents, fault: Fault) -> None:
    """A hiccup between pages does not cost the pages before it."""
    for number in range(120):
        fake.add(record(number, NOW - timedelta(seconds=number)))
    fake.script(HOME, Fault.OK, fault, fault)
    assert len(reader(make()).read().ids) == 120
    assert len(fake.asked()) == 5


def test_page_in_the_middle_is_not_tried_for_ever(make: Make, fake: FakeLookupEvents, clock: ManualClock) -> None:
    """After five tries, with growing pauses between, the loop gets the error."""
    for number in range(120):
        fake.add(record(number, NOW - timedelta(seconds=number)))
    fake.script(HOME, Fault.OK, *[Fault.SERVER_ERROR] * 20)
    with pytest.raises(Retryable):
        reader(make()).read()
    assert len(fake.asked()) == 6
    assert 7 < clock.monotonic() < 30


def test_stop_signal_ends_a_read_at_once(make: Make, clock: ManualClock) -> None:
    """The wait for the budget is where a read notices that the process is to end."""
    clock.stop()
    with pytest.raises(Stopping):
        reader(make()).read()


# -- refusals --


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        pytest.param(Fault.SERVER_ERROR, Retryable, "server", id="500"),
        pytest.param(Fault.UNAVAILABLE, Retryable, "server", id="503"),
        pytest.param(Fault.RESET, Retryable, "connection", id="reset"),
        pytest.param(Fault.HANG, Retryable, "timeout", id="hang"),
        pytest.param(Fault.ACCESS_DENIED, Blocked, "access_denied", id="denied"),
        pytest.param(Fault.EXPIRED_TOKEN, Blocked, "expired_credentials", id="expired"),
        pytest.param(Fault.UNKNOWN_KEY, Blocked, "expired_credentials", id="unknown key"),
        pytest.param(Fault.BAD_ATTRIBUTE, Blocked, "invalid", id="attribute"),
        pytest.param(Fault.UNSUPPORTED, SwitchedOff, "unsupported", id="unsupported"),
        pytest.param(Fault.NOT_PERMITTED, SwitchedOff, "unsupported", id="not permitted"),
    ],
)
def test_refusal_leaves_the_position_and_is_counted(
    make: Make, fake: FakeLookupEvents, metrics: Metrics, fault: Fault, kind: type[Exception], reason: str
) -> None:
    """Each refusal becomes the error the loop acts on, is counted under its reason, and moves nothing."""
    fake.script(HOME, fault)
    place = reader(make(timeout=0.2), position=at(NOW - timedelta(hours=1)))
    with pytest.raises(kind) as caught:
        place.read()
    assert getattr(caught.value, "reason", "") == reason
    assert place.through == NOW - timedelta(hours=1)
    assert sample(metrics, "aws_api_request_failures_total", api="LookupEvents", reason=reason) == 1
    assert sample(metrics, "aws_api_request_duration_seconds_count", api="LookupEvents") == 1


def test_denial_names_permission_and_identity(make: Make, fake: FakeLookupEvents) -> None:
    """The operator reads which permission to give to whom."""
    fake.script(HOME, Fault.ACCESS_DENIED)
    with pytest.raises(Blocked, match=r"cloudtrail:LookupEvents in us-east-1 as the default credentials \(env\)"):
        reader(make()).read()


def test_unsupported_region_goes_alone(make: Make, fake: FakeLookupEvents) -> None:
    """One region without the API is switched off; the others are read."""
    fake.unsupported = {"eu-west-1"}
    fake.add(record(1, NOW - timedelta(minutes=1)))
    source = make(regions=[HOME, "eu-west-1"])
    with pytest.raises(SwitchedOff):
        reader(source, f"eu-west-1/{LOOKOUT}").read()
    assert reader(source).read().ids == ["event-00001"]


def test_region_nobody_has_heard_of_is_switched_off(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that AWS's list does not have and no resolver knows is no region; an outage of the resolver is none."""
    import socket

    def resolver(number: int) -> Callable[..., Any]:
        def getaddrinfo(*arguments: Any, **more: Any) -> Any:
            raise socket.gaierror(number, "resolver says")

        return getaddrinfo

    source = make(regions=["mars-north-1", HOME], endpoint_url=None)
    monkeypatch.setattr(socket, "getaddrinfo", resolver(socket.EAI_NONAME))
    with pytest.raises(SwitchedOff):
        reader(source, f"mars-north-1/{LOOKOUT}").read()
    with pytest.raises(Retryable):
        reader(source).read()
    monkeypatch.setattr(socket, "getaddrinfo", resolver(socket.EAI_AGAIN))
    with pytest.raises(Retryable):
        reader(source, f"mars-north-1/{LOOKOUT}").read()


def test_requests_say_who_asks(make: Make, fake: FakeLookupEvents) -> None:
    """The user agent names the exporter, so that the account's owner finds its calls."""
    reader(make()).read()
    assert "cloudtrail-exporter/" in fake.asked()[0].user_agent


# -- credentials --


def profile(path: Path, key: str) -> None:
    path.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")


def test_rotated_credentials_are_picked_up(
    make: Make, fake: FakeLookupEvents, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Keys in a file go bad and are replaced: the same process reads on, and has lost nothing."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    profile(tmp_path / "credentials", "AKIAFIRST")
    fake.keys = {"AKIAFIRST"}
    place = reader(make()).read()
    fake.keys = {"AKIASECOND"}
    fake.add(record(1, NOW))
    with pytest.raises(Blocked, match="shared-credentials-file"):
        place.read()
    profile(tmp_path / "credentials", "AKIASECOND")
    assert place.read().ids == ["event-00001"]
    assert [request.access_key for request in fake.asked()] == ["AKIAFIRST", "AKIAFIRST", "AKIASECOND"]


def test_missing_credentials_block_until_they_come(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process started before its secret is mounted waits for it."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    place = reader(make())
    with pytest.raises(Blocked) as caught:
        place.read()
    assert caught.value.reason == "expired_credentials"
    profile(tmp_path / "credentials", "AKIALATE")
    place.read()
    assert place.through == NOW


def test_unknown_profile_blocks(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that is not there is for the operator to mend, not a crash."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(Blocked, match="nobody"):
        reader(make()).read()


def test_role_is_assumed_with_its_external_id_and_refreshed(
    make: Make, fake: FakeLookupEvents, clock: ManualClock, metrics: Metrics
) -> None:
    """The role's credentials are asked for once, and again before they expire; what is read is its account's."""
    fake.roles[ROLE] = "open sesame"
    fake.add(record(1, NOW, recipientAccountId="444455556666"))
    fake.add(record(2, NOW, recipientAccountId="111122223333"))
    place = reader(make(role_arn=ROLE, external_id="open sesame")).read()
    place.read()
    assert (fake.sts_calls, place.ids) == (["AssumeRole"], ["event-00001"] * 2)
    clock.jump(3590)
    place.read()
    assert fake.sts_calls == ["AssumeRole"] * 2
    assert {request.answer for request in fake.asked()} == {"OK"}
    assert sample(metrics, "aws_api_requests_total", api="AssumeRole") == 2


def test_role_that_may_not_be_assumed_blocks_and_names_it(make: Make, fake: FakeLookupEvents) -> None:
    """A wrong external id says which role could not be assumed, by which permission; CloudTrail is not asked."""
    fake.roles[ROLE] = "open sesame"
    with pytest.raises(Blocked, match=f"sts:AssumeRole of {ROLE}") as caught:
        reader(make(role_arn=ROLE, external_id="wrong")).read()
    assert (caught.value.reason, fake.asked()) == ("access_denied", [])


def test_role_of_another_account_has_its_own_limit(make: Make, fake: FakeLookupEvents, clock: ManualClock) -> None:
    """Two accounts do not wait for each other."""
    fake.roles[ROLE] = None
    own, other = reader(make()), reader(make(role_arn=ROLE))
    for place in (own, other, own, other):
        place.read()
    assert sum(clock.waits) == 0


# -- clock and position --


def test_clock_that_jumps_back_a_little_moves_nothing_back(
    make: Make, fake: FakeLookupEvents, clock: ManualClock
) -> None:
    """Ten minutes back: what is inside the overlap is read, and the position stays."""
    place = reader(make()).read()
    clock.jump(-600)
    fake.add(record(1, NOW - timedelta(minutes=11)))
    assert place.read().ids == ["event-00001"]
    assert place.through == NOW


def test_clock_that_jumps_back_far_asks_nothing(make: Make, fake: FakeLookupEvents, clock: ManualClock) -> None:
    """A day back: no inverted window, no crash, and on it goes when the clock is there again."""
    place = reader(make()).read()
    clock.jump(-86_400)
    before = len(fake.asked())
    place.read()
    assert (len(fake.asked()), place.through) == (before, NOW)
    clock.jump(86_400 + 60)
    assert place.read().through == NOW + timedelta(seconds=60)


@pytest.mark.parametrize(
    "position",
    [
        pytest.param({"v": 2, "through": stamp(NOW)}, id="newer version"),
        pytest.param({}, id="empty"),
        pytest.param({"v": 1, "since": 5, "through": None, "swept": "x"}, id="types"),
        pytest.param({"v": 1, "since": "2026-01-01", "through": "2026-01-01", "swept": "2026-01-01"}, id="no zone"),
    ],
)
def test_position_of_another_version_blocks(make: Make, fake: FakeLookupEvents, position: Position) -> None:
    """A position that cannot be understood is not guessed at."""
    with pytest.raises(Blocked) as caught:
        reader(make(), position=position).read()
    assert (caught.value.reason, fake.asked()) == ("state", [])


# -- what people are told --


def test_ended_service_with_an_empty_history_says_so_once(
    make: Make, caplog: pytest.LogCaptureFixture, clock: ManualClock
) -> None:
    """An empty graph is explained: when the service ended, how far back history goes, what to read instead."""
    source = make(regions=[HOME, "eu-west-1"])
    for partition in [*source.partitions(), *source.partitions()]:
        Reader(source, partition).read()
    (notice,) = source.notices
    assert all(part in notice for part in ("Amazon Lookout for Metrics", "2025-10-09", "90 days", "s3", "files"))
    assert [line.message for line in caplog.records if line.name == "exporter.lookup"] == [notice]


@pytest.mark.parametrize(
    ("service", "now", "events"),
    [
        pytest.param(S3, NOW, 0, id="a service that lives"),
        pytest.param(LOOKOUT, datetime(2025, 10, 1, tzinfo=UTC), 0, id="before the end"),
        pytest.param(LOOKOUT, NOW, 1, id="events came"),
    ],
)
def test_no_notice_where_there_is_nothing_to_explain(
    make: Make, fake: FakeLookupEvents, clock: ManualClock, service: str, now: datetime, events: int
) -> None:
    """No notice for a living service, before the end, or while events come."""
    clock.jump((now - NOW).total_seconds())
    for number in range(events):
        fake.add(record(number, now))
    source = make(services=[service])
    reader(source, f"{HOME}/{service}").read()
    assert source.notices == ()


def test_check_says_who_asks_and_that_each_region_answers(make: Make) -> None:
    """All is well: identity and regions are ok, and the service that ended is a warning."""
    found = [(finding.level, finding.subject) for finding in make(regions=[HOME, "eu-west-1"]).check()]
    assert found == [
        ("ok", "source history: identity"),
        ("ok", f"source history: {HOME}"),
        ("ok", "source history: eu-west-1"),
        ("warning", f"source history: {LOOKOUT}"),
    ]


def test_check_gives_the_policy_that_is_missing(make: Make, fake: FakeLookupEvents) -> None:
    """A denial comes with the IAM policy to attach, as JSON."""
    fake.script(HOME, Fault.ACCESS_DENIED)
    finding = next(finding for finding in make(services=[S3]).check() if finding.level == "error")
    policy = json.loads(finding.fix[finding.fix.index("{") :])
    assert policy["Statement"][0]["Action"] == "cloudtrail:LookupEvents"


@pytest.mark.parametrize(
    ("fault", "level"),
    [
        (Fault.UNSUPPORTED, "warning"),
        (Fault.SERVER_ERROR, "error"),
        (Fault.EXPIRED_TOKEN, "error"),
        (Fault.RESET, "error"),
    ],
)
def test_check_never_raises_for_a_finding(make: Make, fake: FakeLookupEvents, fault: Fault, level: str) -> None:
    """Whatever a region answers is a finding, and the next region is tried."""
    fake.script(HOME, fault)
    findings = {finding.subject: finding for finding in make(regions=[HOME, "eu-west-1"], services=[S3]).check()}
    assert findings[f"source history: {HOME}"].level == level
    assert findings[f"source history: {HOME}"].fix
    assert findings["source history: eu-west-1"].level == "ok"


def test_check_without_a_region_says_what_to_set(make: Make) -> None:
    """No region is a finding too."""
    (finding,) = make(regions=[]).check()
    assert (finding.level, "AWS_REGION" in finding.fix) == ("error", True)


def test_close_is_safe_twice_and_before_any_read(make: Make) -> None:
    """Closing frees what is held, if anything is; reading again is possible."""
    source = make()
    source.close()
    reader(source).read()
    source.close()
    source.close()


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
