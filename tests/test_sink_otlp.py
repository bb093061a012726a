"""What the OTLP sink does by itself: bounds, doubts, counts, hides, checks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse

from exporter.clock import SystemClock
from exporter.contract import Record
from exporter.errors import Blocked, ConfigError, Permanent, Retryable, TooLarge
from exporter.mapping import Mapper
from exporter.metrics import Metrics
from exporter.otel import ReadableLogRecord
from exporter.sinks.otlp import OtlpSink
from exporter.testing.clock import ManualClock
from exporter.testing.scripted import ScriptedSource, event
from exporter.testing.sink import a_record
from tests.fakes.otlp_receiver import Answer, HttpReceiver, nobody
from tests.harness import Whole

MakeSink = Callable[..., OtlpSink]
REFUSED = Answer(400, b"", {"content-type": "application/x-protobuf"})
TOKEN = "tok-4f9a8c71d2"
MAPPER = Mapper()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(platform_collectors=False)


@pytest.fixture
def make(metrics: Metrics) -> Iterator[MakeSink]:
    """Makes sinks and closes them afterwards."""
    with ExitStack() as stack:

        def sink(endpoint: str, mapper: Callable[[Record], ReadableLogRecord] = MAPPER, **settings: object) -> OtlpSink:
            settings = {"clock": SystemClock(), "metrics": metrics, **settings}
            made = OtlpSink(mapper, endpoint=endpoint, **settings)  # type: ignore[arg-type]
            stack.callback(made.close)
            return made

        yield sink


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as receiver:
        yield receiver


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """A sample of our own metrics."""
    found = metrics.registry.get_sample_value(f"cloudtrail_exporter_{name}", labels)
    assert found is not None, name
    return found


def partial(rejected: int, message: str) -> Answer:
    success = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=message)
    body = ExportLogsServiceResponse(partial_success=success).SerializeToString()
    return Answer(200, body, {"content-type": "application/x-protobuf"})


# -- bounds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_several_records_over_the_limit_are_not_sent(make: MakeSink, receiver: HttpReceiver, protocol: str) -> None:
    """The loop is told to halve before a byte has gone."""
    sink = make(receiver.url, protocol=protocol, max_request_bytes=10_000)
    with pytest.raises(TooLarge):
        sink.send([a_record(n) for n in range(10)])
    assert receiver.requests == []


def test_a_single_record_over_the_limit_is_tried(make: MakeSink, receiver: HttpReceiver) -> None:
    """The limit is ours; whether the receiver takes more, it may say itself."""
    record = a_record(1, requestParameters={"text": "x" * 50_000})
    assert make(receiver.url, max_request_bytes=10_000).send([record]).delivered == 1


def test_what_cannot_be_encoded_is_permanent(make: MakeSink, receiver: HttpReceiver) -> None:
    """A record that does not fit the wire format is no trouble of the receiver: halve, then quarantine."""

    def broken(record: Record) -> ReadableLogRecord:
        raise RuntimeError("no such field")

    with pytest.raises(Permanent) as caught:
        make(receiver.url, broken).send([a_record(1)])
    assert caught.value.reason == "encode"
    assert receiver.requests == []


# -- does it refuse the record, or everything? --------------------------------------------------------------------


def test_a_receiver_that_refuses_everything_blocks(make: MakeSink, receiver: HttpReceiver) -> None:
    """A wrong endpoint that answers 400 to whatever comes empties nothing into quarantine."""
    receiver.always = REFUSED
    sink = make(receiver.url)
    for _ in range(3):
        with pytest.raises(Blocked) as caught:
            sink.send([a_record(1)])
        assert "refuses every request" in str(caught.value)


def test_a_record_refused_before_anything_was_accepted_goes_if_the_receiver_works(
    make: MakeSink, receiver: HttpReceiver
) -> None:
    """The very first record may be the bad one: an empty request tells."""
    receiver.script.append(REFUSED)
    with pytest.raises(Permanent):
        make(receiver.url).send([a_record(1)])
    assert [len(request.uids) for request in receiver.requests] == [1, 0]


def test_a_bad_record_among_good_ones_is_not_asked_about(make: MakeSink, receiver: HttpReceiver) -> None:
    """Once something was accepted, a refusal is the record's own."""
    receiver.script.extend([Answer(), REFUSED])
    sink = make(receiver.url)
    sink.send([a_record(1)])
    with pytest.raises(Permanent):
        sink.send([a_record(2)])
    assert len(receiver.requests) == 2


def test_ten_refusals_in_a_row_are_asked_about(make: MakeSink, receiver: HttpReceiver) -> None:
    """A receiver that took records and now refuses all of them is found out at the tenth."""
    sink = make(receiver.url)
    sink.send([a_record(0)])
    receiver.always = REFUSED
    for number in range(1, 10):
        with pytest.raises(Permanent):
            sink.send([a_record(number)])
    with pytest.raises(Blocked):
        sink.send([a_record(10)])


def test_an_accepted_record_starts_the_count_again(make: MakeSink, receiver: HttpReceiver) -> None:
    """Nine bad records, a good one, nine bad ones: nobody is asked."""
    sink = make(receiver.url)
    for start in (0, 10):
        sink.send([a_record(start)])
        receiver.script.extend([REFUSED] * 9)
        for number in range(1, 10):
            with pytest.raises(Permanent):
                sink.send([a_record(start + number)])
    assert len(receiver.requests) == 20


def test_a_receiver_that_fails_while_it_is_asked_holds(make: MakeSink, receiver: HttpReceiver) -> None:
    """When the question itself finds nobody, the record waits."""
    receiver.script.append(REFUSED)
    receiver.always = Answer(503, b"")
    with pytest.raises(Retryable):
        make(receiver.url).send([a_record(1)])


def test_several_refused_records_are_halved_without_asking(make: MakeSink, receiver: HttpReceiver) -> None:
    """Only a record that stands alone can be told bad."""
    receiver.always = REFUSED
    with pytest.raises(Permanent):
        make(receiver.url).send([a_record(1), a_record(2)])
    assert len(receiver.requests) == 1


def test_a_tiny_request_that_is_too_large_blocks(make: MakeSink, receiver: HttpReceiver) -> None:
    """A receiver, or the proxy before it, that takes not even one small record is set up wrongly."""
    receiver.always = Answer(413, b"")
    with pytest.raises(Blocked) as caught:
        make(receiver.url).send([a_record(1)])
    assert caught.value.reason == "too_large"


def test_a_large_record_that_is_too_large_is_permanent(make: MakeSink, receiver: HttpReceiver) -> None:
    """A record of 300 KB may well be the record's own fault."""
    receiver.always = Answer(413, b"")
    with pytest.raises(TooLarge):
        make(receiver.url).send([a_record(1, requestParameters={"text": "x" * 300_000})])


# -- metrics and log ----------------------------------------------------------------------------------------------


def test_an_accepted_request_is_counted(make: MakeSink, receiver: HttpReceiver, metrics: Metrics) -> None:
    """One request: one export, its bytes as sent, its time, and when it succeeded."""
    make(receiver.url).send([a_record(1)])
    assert value(metrics, "otlp_exports_total") == 1
    assert value(metrics, "otlp_sent_bytes_total") == len(receiver.requests[0].wire)
    assert value(metrics, "otlp_export_duration_seconds_count") == 1
    assert value(metrics, "otlp_last_success_timestamp_seconds") > 0


def test_a_failed_request_is_counted_by_reason(make: MakeSink, receiver: HttpReceiver, metrics: Metrics) -> None:
    """A request that was not accepted is an export and a failure."""
    receiver.always = Answer(429, b"")
    with pytest.raises(Retryable):
        make(receiver.url).send([a_record(1)])
    assert value(metrics, "otlp_exports_total") == 1
    assert value(metrics, "otlp_export_failures_total", reason="throttled") == 1
    assert value(metrics, "otlp_last_success_timestamp_seconds") == 0


def test_rejected_records_are_counted(make: MakeSink, receiver: HttpReceiver, metrics: Metrics) -> None:
    """A partial success is a delivery that says how many were refused and why."""
    receiver.always = partial(2, "too old")
    delivery = make(receiver.url).send([a_record(n) for n in range(5)])
    assert (delivery.delivered, delivery.rejected, delivery.reason) == (3, 2, "too old")
    assert value(metrics, "otlp_records_rejected_total") == 2


def test_a_receivers_warning_is_logged_once(
    make: MakeSink, receiver: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything accepted and a message with it: one warning, not one per batch."""
    receiver.always = partial(0, "field x is deprecated")
    sink = make(receiver.url)
    with caplog.at_level(logging.WARNING, logger="exporter.sink"):
        assert sink.send([a_record(1)]).rejected == 0
        sink.send([a_record(2)])
    assert [record.getMessage() for record in caplog.records] == ["the receiver says: field x is deprecated"]


# -- secrets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", TOKEN])
def test_a_token_the_receiver_quotes_is_not_shown(
    make: MakeSink, receiver: HttpReceiver, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Receivers quote what they did not like: it is in no error, finding, log line or repr."""
    body = f"bad token {TOKEN} in 'Bearer {TOKEN}'".encode()
    receiver.always = Answer(401, body, {"content-type": "text/plain"})
    sink = make(receiver.url + f"?key={TOKEN}", headers={"authorization": header})
    with caplog.at_level(logging.DEBUG, logger="exporter"), pytest.raises(Blocked) as caught:
        sink.send([a_record(1)])
    assert "bad token ***" in str(caught.value)
    shown = (str(caught.value), repr(sink), str(list(sink.check())), caplog.text)
    assert [text for text in shown if TOKEN in text] == []


def test_a_token_at_the_end_of_a_long_text_is_not_shown_in_part(make: MakeSink, receiver: HttpReceiver) -> None:
    """Secrets are hidden before the text is shortened."""
    for padding in range(340, 400, 5):
        receiver.always = Answer(401, b"x" * padding + TOKEN.encode(), {"content-type": "text/plain"})
        with pytest.raises(Blocked) as caught:
            make(receiver.url, headers={"authorization": TOKEN}).send([a_record(1)])
        assert TOKEN[:5] not in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [{"bad name": "tok-secret"}, {"": "tok-secret"}, {"x": "tok-secret\r\nHost: evil"}, {"x": "tok-secret-ä"}],
    ids=["name", "no_name", "line_break", "not_ascii"],
)
def test_a_header_that_cannot_be_sent_is_refused_at_start(make: MakeSink, headers: dict[str, str]) -> None:
    """A broken header is a configuration error that does not print its value."""
    with pytest.raises(ConfigError) as caught:
        make("http://localhost:4318/v1/logs", headers=headers)
    assert "sink.headers" in str(caught.value)
    assert "tok-secret" not in str(caught.value)


# -- check --------------------------------------------------------------------------------------------------------


def test_check_names_the_fix(make: MakeSink, receiver: HttpReceiver) -> None:
    """What is wrong comes with the line that mends it."""
    receiver.always = Answer(404, b"")
    [finding] = make(receiver.url).check()
    assert (finding.level, "sink.endpoint" in finding.fix) == ("error", True)
    assert "404 Not Found" in finding.text


def test_check_of_a_receiver_that_is_not_there(make: MakeSink) -> None:
    """A connection that cannot be made is a finding, not an error."""
    with nobody() as port:
        [finding] = make(f"http://127.0.0.1:{port}/v1/logs").check()
    assert finding.level == "error"
    assert "sink.endpoint" in finding.fix


def test_check_counts_nothing(make: MakeSink, receiver: HttpReceiver, metrics: Metrics) -> None:
    """Trying the receiver is no export."""
    list(make(receiver.url).check())
    assert value(metrics, "otlp_exports_total") == 0


# -- a server that fails: at everything, or at one record? ----------------------------------------------------------


def failing_at(receiver: HttpReceiver, *poisoned: str, everything: bool = False) -> None:
    """Let the receiver answer 500 to requests with one of the uids in them, or to all but empty ones."""

    def answer(received: object) -> Answer | None:
        uids = getattr(received, "uids", [])
        ill = bool(uids) if everything else not set(poisoned).isdisjoint(uids)
        return Answer(500, b"boom", {"content-type": "text/plain"}) if ill else None

    receiver.decide = answer


def test_one_record_that_makes_the_server_fail_does_not_stop_the_line(make: MakeSink, receiver: HttpReceiver) -> None:
    """After some tries the batch is halved until the record is alone and refused; the others are accepted once."""
    failing_at(receiver, "111122223333/event-3")
    whole = Whole(make(receiver.url))
    books = whole.drain(ScriptedSource({"p": [[event(number) for number in range(8)]]}))
    assert (books.published, dict(books.quarantined)) == (7, {"refused": 1})
    assert sorted(receiver.accepted) == sorted(f"111122223333/event-{number}" for number in range(8) if number != 3)


def test_a_server_that_fails_at_every_record_is_held_after_a_few(make: MakeSink, receiver: HttpReceiver) -> None:
    """An ill server does not empty the line into quarantine: three records at most, then everything is held."""
    failing_at(receiver, everything=True)
    whole = Whole(make(receiver.url), clock=ManualClock(stop_after=400))
    worker = whole.worker(ScriptedSource({"p": [[event(number) for number in range(8)]]}), "p", once=False)
    worker.run()
    assert worker.view.standing == "retrying"
    assert whole.state.size().quarantined == 3


def test_a_server_that_refuses_empty_requests_too_is_held(make: MakeSink, receiver: HttpReceiver) -> None:
    """500 to everything is no record's fault."""
    receiver.always = Answer(500, b"boom", {"content-type": "text/plain"})
    whole = Whole(make(receiver.url), clock=ManualClock(stop_after=60))
    whole.worker(ScriptedSource({"p": [[event(1)]]}), "p", once=False).run()
    assert whole.state.size().quarantined == 0
