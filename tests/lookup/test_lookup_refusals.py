"""What refusals do: the request budget, errors, credentials, and what people are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import Blocked, Retryable, Stopping, SwitchedOff
from exporter.metrics import Metrics
from exporter.sources.ratelimit import RateLimits
from exporter.testing.clock import ManualClock
from tests.fakes.lookup_events import FakeLookupEvents, Fault
from tests.lookup.reader import HOME, LOOKOUT, NOW, ROLE, S3, Make, Reader, at, reader, record, sample

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
