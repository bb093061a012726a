"""OTLP over HTTP against a real server on loopback: what is sent, and every row of the table of replies."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from exporter.clock import SystemClock
from exporter.errors import Blocked, ExporterError, Permanent, Retryable, TooLarge
from exporter.mapping import Mapper
from exporter.metrics import Metrics
from exporter.sinks.otlp import OtlpSink
from exporter.sinks.replies import HTTP
from exporter.testing.clock import ManualClock
from exporter.testing.sink import a_record
from tests.fakes.otlp_receiver import Answer, HttpEvent, HttpReceiver, Raw, Reset, Silence, Trickle, nobody

MakeSink = Callable[..., OtlpSink]


@pytest.fixture
def make() -> Iterator[MakeSink]:
    """Makes sinks with defaults for loopback and closes them afterwards."""
    with ExitStack() as stack:

        def sink(endpoint: str, **settings: object) -> OtlpSink:
            settings = {
                "clock": SystemClock(),
                "metrics": Metrics(platform_collectors=False),
                "timeout_seconds": 5,
                **settings,
            }
            made = OtlpSink(Mapper(), endpoint=endpoint, **settings)  # type: ignore[arg-type]
            stack.callback(made.close)
            return made

        yield sink


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as receiver:
        yield receiver


def send_two(sink: OtlpSink) -> ExporterError:
    """The error that sending two records ends in."""
    with pytest.raises(ExporterError) as caught:
        sink.send([a_record(1), a_record(2)])
    return caught.value


# -- what is sent -------------------------------------------------------------------------------------------------


def test_the_request_is_what_otlp_asks_for(make: MakeSink, receiver: HttpReceiver) -> None:
    """POST to the path as given, protobuf, gzip for real, our headers and who we are."""
    make(receiver.url + "?tenant=7", headers={"Authorization": "Bearer abc"}).send([a_record(1)])
    [request] = receiver.requests
    assert request.path == "/v1/logs?tenant=7"
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["content-encoding"] == "gzip"
    assert request.headers["authorization"] == "Bearer abc"
    assert request.headers["user-agent"].startswith("cloudtrail-exporter/")
    assert len(request.wire) < len(gzip.decompress(request.wire))


def test_json_is_sent_as_json(make: MakeSink, receiver: HttpReceiver) -> None:
    """http/json says so and carries the same records."""
    make(receiver.url, protocol="http/json").send([a_record(1)])
    [request] = receiver.requests
    assert request.headers["content-type"] == "application/json"
    assert gzip.decompress(request.wire).startswith(b'{"resourceLogs":[{')
    assert request.uids == [a_record(1).identity.uid]


def test_without_compression_the_body_is_plain(make: MakeSink, receiver: HttpReceiver) -> None:
    """compression none sends the message as it is."""
    make(receiver.url, compression="none").send([a_record(1)])
    [request] = receiver.requests
    assert "content-encoding" not in request.headers
    assert request.wire == request.request.SerializeToString()


def test_connections_are_kept(make: MakeSink, receiver: HttpReceiver) -> None:
    """Requests one after the other use one connection."""
    opened = []
    serve = receiver.server.process_request
    receiver.server.process_request = lambda *args: (opened.append(args), serve(*args))[1]  # type: ignore[method-assign]
    sink = make(receiver.url)
    for number in range(5):
        sink.send([a_record(number)])
    assert len(opened) == 1


def test_proxy_variables_are_not_used(make: MakeSink, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address inside the cluster does not go through a proxy by accident."""
    with nobody() as port:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        assert make(receiver.url).send([a_record(1)]).delivered == 1


# -- what comes back ----------------------------------------------------------------------------------------------

CLASSES = {"retry": Retryable, "block": Blocked, "refuse": Permanent, "halve": TooLarge}
STATUSES = [*sorted(HTTP), 300, 301, 302, 304, 307, 308, 409, 418, 451, 505, 507, 599]


def expected_of(status: int) -> tuple[type[ExporterError], str]:
    """Written out by hundreds here, so that the table is not compared with itself alone."""
    if status in (400, 422, 409, 418, 451):
        return Permanent, "invalid"
    if status == 413:
        return TooLarge, "too_large"
    if status in (408, 425, 429, 500, 502, 503, 504, 505, 507, 599):
        reasons = {408: "timeout", 429: "throttled", 503: "unavailable"}
        return Retryable, reasons.get(status, "server")
    if 300 <= status < 400:
        return Blocked, "redirect"
    reasons = {401: "expired_credentials", 407: "expired_credentials", 402: "access_denied", 403: "access_denied"}
    return Blocked, reasons.get(status, "not_found" if status in (404, 410) else "not_otlp")


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_is_what_the_loop_has_to_do(make: MakeSink, receiver: HttpReceiver, status: int) -> None:
    """Every status over the wire: hold, hold and call, quarantine, halve."""
    receiver.always = Answer(status, b"", {"location": "http://127.0.0.1:9/elsewhere"} if status < 400 else {})
    error = send_two(make(receiver.url))
    assert (type(error), error.reason) == expected_of(status)
    assert len(receiver.requests) == 1  # nothing was followed, nothing tried again


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retry_after_is_handed_on(make: MakeSink, receiver: HttpReceiver, status: int) -> None:
    """The pause the receiver asks for reaches the loop."""
    receiver.always = Answer(status, b"", {"retry-after": "17"})
    error = send_two(make(receiver.url))
    assert isinstance(error, Retryable)
    assert error.after == 17.0


def test_retry_after_as_a_date_is_by_the_injected_clock(make: MakeSink, receiver: HttpReceiver) -> None:
    """A date is turned into seconds from the clock's now."""
    receiver.always = Answer(503, b"", {"retry-after": "Thu, 01 Jan 2026 00:00:40 GMT"})
    error = send_two(make(receiver.url, clock=ManualClock()))
    assert isinstance(error, Retryable)
    assert error.after == 40.0


BLOCKING: dict[str, Answer] = {
    "html": Answer(200, b"<html>Welcome</html>", {"content-type": "text/html"}),
    "huge": Answer(200, b"\0" * (5 * 1024 * 1024), {"content-type": "application/x-protobuf"}),
    "gzipped": Answer(200, gzip.compress(b""), {"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("answer", BLOCKING.values(), ids=BLOCKING)
def test_a_success_that_is_none_blocks(make: MakeSink, receiver: HttpReceiver, answer: Answer) -> None:
    """Status 200 with a page, or with more than any reply has, accepts nothing."""
    receiver.always = answer
    error = send_two(make(receiver.url))
    assert (type(error), error.reason) == (Blocked, "not_otlp")


def test_a_long_error_page_is_read_in_part(make: MakeSink, receiver: HttpReceiver) -> None:
    """The status of an error decides, however long its page is; the text stays short."""
    receiver.always = Answer(502, b"<p>bad gateway</p>" * 100_000, {"content-type": "text/html"})
    error = send_two(make(receiver.url))
    assert isinstance(error, Retryable)
    assert len(str(error)) < 600


# -- when nothing whole comes back --------------------------------------------------------------------------------

BROKEN: dict[str, HttpEvent] = {
    "reset": Reset(),
    "closed_without_a_word": Raw(b""),
    "not_http": Raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "cut_status_line": Raw(b"HTTP/1.1 200 OK\r\n"),
    "cut_head": Raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "no_length": Raw(b"HTTP/1.1 200 OK\r\n\r\n"),
    "cut_body": Raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 50\r\n\r\nabc"),
    "cut_chunk": Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
    "nonsense_length": Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "endless_header_line": Raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000),
    "too_many_headers": Raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"),
}


@pytest.mark.parametrize("event", BROKEN.values(), ids=BROKEN)
def test_a_broken_connection_is_tried_again(make: MakeSink, receiver: HttpReceiver, event: HttpEvent) -> None:
    """Without a whole reply nothing is known, so the same is sent again: and then it works."""
    receiver.script.append(event)
    sink = make(receiver.url)
    error = send_two(sink)
    assert (type(error), error.reason) == (Retryable, "connection")
    assert sink.send([a_record(1)]).delivered == 1


def test_an_error_whose_body_breaks_off_keeps_its_status(make: MakeSink, receiver: HttpReceiver) -> None:
    """413 with half a page is still 413."""
    receiver.script.append(Raw(b"HTTP/1.1 413 Too Large\r\nContent-Length: 500\r\n\r\nabc"))
    assert isinstance(send_two(make(receiver.url)), TooLarge)


def test_a_refused_connection_is_tried_again(make: MakeSink) -> None:
    """Nobody listens: it may yet start."""
    with nobody() as port:
        error = send_two(make(f"http://127.0.0.1:{port}/v1/logs"))
    assert (type(error), error.reason) == (Retryable, "connection")


def test_an_unknown_name_is_tried_again(make: MakeSink) -> None:
    """A name that does not resolve may do so later."""
    error = send_two(make("http://receiver.invalid:4318/v1/logs"))
    assert (type(error), error.reason) == (Retryable, "connection")


# A server that sends for ever can only be left by the deadline: without one these tests do not end.
ENDLESS: dict[str, HttpEvent] = {
    "silent": Silence(),
    "status_line": Trickle(b"HTTP/1.1 200 "),
    "headers": Trickle(b"HTTP/1.1 200 OK\r\nX-Slow: "),
    "many_headers": Trickle(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "continue": Trickle(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": Trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
    "chunks": Trickle(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "body_without_length": Trickle(b"HTTP/1.1 200 OK\r\n\r\n"),
}


@pytest.mark.parametrize("event", ENDLESS.values(), ids=ENDLESS)
def test_the_timeout_bounds_the_whole_call(make: MakeSink, receiver: HttpReceiver, event: HttpEvent) -> None:
    """A receiver that trickles, wherever in its reply, is left when the time of the call is over."""
    receiver.always = event
    error = send_two(make(receiver.url, timeout_seconds=0.3))
    if isinstance(event, Trickle) and event.head.endswith(b"200 OK\r\n") and event.byte:
        assert isinstance(error, Retryable)  # over a hundred headers are refused before the time is over
    else:
        assert (type(error), error.reason) == (Retryable, "timeout")


def test_sending_is_within_the_timeout_too(make: MakeSink) -> None:
    """A receiver that accepts the connection and reads nothing is left as well."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sink = make(f"http://127.0.0.1:{server.getsockname()[1]}/v1/logs", timeout_seconds=0.3, compression="none")
        records = [a_record(n, requestParameters={"text": "x" * 200_000}) for n in range(10)]
        with pytest.raises(Retryable) as caught:
            sink.send(records)
    assert caught.value.reason == "timeout"


def test_the_timeout_is_by_the_injected_clock(make: MakeSink, receiver: HttpReceiver) -> None:
    """Each socket operation asks the clock what is left of the call."""
    clock = ManualClock()
    ticking = clock.monotonic

    def monotonic() -> float:
        clock.advance(1)
        return ticking()

    clock.monotonic = monotonic  # type: ignore[method-assign]
    error = send_two(make(receiver.url, clock=clock, timeout_seconds=3))
    assert (type(error), error.reason) == (Retryable, "timeout")


def test_a_connection_left_in_the_middle_is_not_used_again(make: MakeSink, receiver: HttpReceiver) -> None:
    """After a timeout the late answer to the old request cannot be taken for the new one's."""
    receiver.script.append(Trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"))
    sink = make(receiver.url, timeout_seconds=0.3)
    send_two(sink)
    assert sink.send([a_record(1)]).delivered == 1
    assert len(receiver.requests) == 2


def test_more_threads_than_pooled_connections(make: MakeSink, receiver: HttpReceiver) -> None:
    """Forty threads at once all get through."""
    sink = make(receiver.url)
    threads = [threading.Thread(target=sink.send, args=([a_record(n)],)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(receiver.accepted)) == 40
