"""The web surface over real sockets."""

from __future__ import annotations

import gzip
import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter.contract import Labels
from exporter.errors import ConfigError
from exporter.status import SourceStatus, Status
from exporter.web.landing import landing_page
from tests.fakes.certificates import Authority
from tests.website import NOW, READY, Site, serving, trusting, until_closed, write_tls


@pytest.fixture(scope="module", params=["plain", "tls"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Over TLS everything is as without it."""
    if request.param == "plain":
        with serving() as site:
            yield site
        return
    authority = Authority(tmp_path_factory.mktemp("tls"))
    web_config = write_tls(authority.file.parent, authority.issue("server", "127.0.0.1"))
    with serving(web_config=web_config, client=trusting(authority)) as site:
        yield site


@pytest.fixture
def site(running: Site) -> Site:
    """One server for the tests that leave it as it was; what they set is put back."""
    running.totals.clear()
    running.status = READY
    running.before_status = running.before_totals = lambda: None
    return running


# -- routes -------------------------------------------------------------------------------------------------------


def test_metrics_as_text(site: Site) -> None:
    """Without an Accept header the answer is the Prometheus text format, event metrics included."""
    site.totals[Labels("s", "CreateAlert", "Root", "r", "a")] = 1
    response, body = site.get("/metrics")
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert b"\ncloudtrail_exporter_ready 0.0\n" in body
    assert b'event_name="CreateAlert"' in body


def test_metrics_as_openmetrics(site: Site) -> None:
    """As Prometheus asks for it: OpenMetrics that its strict parser takes."""
    accept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5"
    response, body = site.get("/metrics", headers={"Accept": accept})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert list(text_string_to_metric_families(body.decode()))


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [("gzip", True), ("deflate, gzip;q=0.5", True), ("gzip;q=0", False), ("identity", False), ("", False)],
)
def test_metrics_are_compressed_for_those_who_accept_it(site: Site, accepted: str, zipped: bool) -> None:
    """gzip when it is accepted, and not when it is refused by q=0."""
    response, body = site.get("/metrics", headers={"Accept-Encoding": accepted})
    assert response.headers.get("content-encoding") == ("gzip" if zipped else None)
    assert b"cloudtrail_exporter_ready" in (gzip.decompress(body) if zipped else body)
    assert "Accept-Encoding" in response.headers["vary"]


def test_metrics_by_name(site: Site) -> None:
    """`name[]`, more than once, restricts the answer."""
    _, body = site.get("/metrics?name[]=cloudtrail_exporter_ready&name[]=cloudtrail_exporter_otlp_retries_total")
    names = [line.split(b" ")[0] for line in body.splitlines() if not line.startswith(b"#")]
    assert sorted(names) == [b"cloudtrail_exporter_otlp_retries_total", b"cloudtrail_exporter_ready"]


def test_a_new_series_is_at_zero_for_one_scrape_and_head_is_none(site: Site) -> None:
    """HEAD shows no series, so it does not take the zero; the first GET does."""
    site.totals[Labels("s", "NewHere", "Root", "r", "a")] = 7
    line = rb'cloudtrail_events_total\{event_source="s",event_name="NewHere",principal_type="Root"\} (\S+)'
    site.get("/metrics", "HEAD")
    values = [re.findall(line, site.get("/metrics")[1]) for _ in range(3)]
    assert values == [[b"0.0"], [b"7.0"], [b"7.0"]]


def test_healthy_as_long_as_it_serves(site: Site) -> None:
    """Liveness does not ask the rest of the process."""
    site.status = replace(READY, ready=False, reasons=("no poll yet",))
    response, body = site.get("/-/healthy")
    assert (response.status, body) == (200, b"healthy\n")


def test_ready(site: Site) -> None:
    """Ready is 200."""
    response, body = site.get("/-/ready")
    assert (response.status, body) == (200, b"ready\n")


def test_not_ready_says_why(site: Site) -> None:
    """Not ready is 503 with a reason a line, whatever line breaks a reason has."""
    site.status = replace(READY, ready=False, reasons=("lookup: no poll yet", "sink: token\nrefused"))
    response, body = site.get("/-/ready")
    assert (response.status, body) == (503, b"lookup: no poll yet\nsink: token refused\n")


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
def test_head(site: Site, path: str) -> None:
    """HEAD is answered like GET, without a body."""
    response, body = site.get(path, "HEAD")
    assert (response.status, body) == (200, b"")
    assert response.headers["content-type"] == site.get(path)[0].headers["content-type"]


@pytest.mark.parametrize("path", ["/healthz", "/metrics/", "/metrics/x", "//metrics", "/%2e%2e/etc/passwd", "/%ff"])
def test_an_unknown_path_is_not_found(site: Site, path: str) -> None:
    """No path but the documented ones serves anything."""
    assert site.get(path)[0].status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_another_method_is_not_allowed(site: Site, method: str) -> None:
    """405 names the methods that are."""
    response, _ = site.get("/metrics", method)
    assert response.status == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/ready", "/nowhere"])
def test_security_headers_are_on_every_answer(site: Site, path: str) -> None:
    """Nothing is loaded from elsewhere, framed, sniffed or cached; the server does not say what it is."""
    headers = site.get(path)[0].headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "server" not in headers


def test_a_bug_in_the_status_is_500_and_metrics_go_on(site: Site) -> None:
    """An error in one answer costs that answer."""

    def fail() -> None:
        raise RuntimeError

    site.before_status = fail
    assert site.get("/")[0].status == 500
    assert site.get("/metrics")[0].status == 200


def test_answers_are_not_held_back_by_nagle() -> None:
    """An answer over TLS is several writes; the later ones would wait for the client's delayed acknowledgement."""
    with serving() as site, site.connect() as client:
        client.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 200")
        assert site.server._server is not None
        [connection] = site.server._server.server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_keep_alive(site: Site) -> None:
    """Two scrapes go over one connection."""
    connection = site.connection()
    for _ in range(2):
        connection.request("GET", "/-/healthy")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"healthy\n")
    connection.close()


# -- what blocks and what does not --------------------------------------------------------------------------------


def test_a_slow_scrape_holds_nobody_up(site: Site) -> None:
    """While scrapes wait for the state, health and readiness are answered."""
    release, entered = threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        entered.release()
        release.wait(10)

    site.before_totals = wait
    scrapes = [threading.Thread(target=site.get, args=("/metrics",)) for _ in range(2)]
    for scrape in scrapes:
        scrape.start()
    for _ in scrapes:
        assert entered.acquire(timeout=10)
    try:
        assert site.get("/-/healthy")[0].status == 200
        assert site.get("/-/ready")[0].status == 200
    finally:
        release.set()
        for scrape in scrapes:
            scrape.join()


def test_a_storm_of_scrapes_is_refused_not_queued_for_ever(site: Site) -> None:
    """Over the bound a scrape gets 503 at once; those that wait are answered in their turn."""
    release = threading.Event()
    site.before_totals = lambda: release.wait(10)
    statuses: list[int] = []
    refused = threading.Event()

    def scrape() -> None:
        status = site.get("/metrics")[0].status
        statuses.append(status)
        if status == 503:
            refused.set()

    scrapes = [threading.Thread(target=scrape) for _ in range(30)]
    for thread in scrapes:
        thread.start()
    try:
        assert refused.wait(10)
    finally:
        release.set()
        for thread in scrapes:
            thread.join()
    assert set(statuses) == {200, 503}
    assert site.get("/metrics")[0].status == 200


def test_idle_and_dripping_clients_do_not_delay_a_scrape(site: Site) -> None:
    """Two hundred silent connections and fifty that stopped in the midst of a header: a scrape is answered at once."""
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(site.address, timeout=10))
        for _ in range(50):
            drip = stack.enter_context(site.connect())
            drip.sendall(b"GET /metrics HTTP/1.1\r\nX-Dri")
        began = time.monotonic()
        assert site.get("/metrics")[0].status == 200
        # The limit is far over what it takes and far under any time-out in the way.
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "said",
    [b"", b"GET /met", b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-Half: ", b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"],
    ids=["silent", "half a request line", "half a header", "silent after an answer"],
)
def test_an_idle_client_is_closed(said: bytes) -> None:
    """A connection without a complete request is closed after idle_seconds."""
    with serving(idle_seconds=0.2) as site, socket.create_connection(site.address, timeout=10) as connection:
        connection.sendall(said)
        until_closed(connection)


@pytest.mark.parametrize(
    "start",
    [
        b"GET /metrics HTTP/1.1\r\nX: ",
        b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n",
    ],
    ids=["header", "body"],
)
def test_a_dripping_client_is_closed(start: bytes) -> None:
    """A byte now and then does not extend the deadline."""
    with serving(idle_seconds=0.5) as site, socket.create_connection(site.address, timeout=0.05) as connection:
        connection.sendall(start)
        for _ in range(200):
            try:
                connection.sendall(b"x")
                if not connection.recv(65_536):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("still connected")


def test_a_client_that_does_not_read_is_closed() -> None:
    """An answer that cannot be written does not keep the connection for ever."""
    with serving(idle_seconds=0.3) as site, socket.socket() as connection:
        for number in range(4_000):
            site.totals[Labels("s", f"A{'long' * 25}{number}", "Root", "r", "a")] = 1
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(10)
        connection.connect(site.address)
        # Enough answers to fill every buffer on the way.
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
        deadline = time.monotonic() + 20
        while site.get("/-/healthy")[0].status == 200 and time.monotonic() < deadline:
            try:
                connection.send(b"\r\n")
            except OSError:
                break
            time.sleep(0.1)
        else:
            pytest.fail("still connected")


def test_a_handler_that_takes_longer_than_the_deadline_is_answered() -> None:
    """The deadline is for clients: a scrape that waits for us keeps its connection."""
    with serving(idle_seconds=0.1) as site:
        site.before_totals = lambda: threading.Event().wait(0.2)
        assert site.get("/metrics")[0].status == 200


def test_connections_over_the_limit_are_closed() -> None:
    """Those that are open stay; when one leaves, the next is served."""
    with serving(max_connections=3) as site, ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(site.address, timeout=10)) for _ in range(3)]
        for connection in held:
            connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        assert site.raw(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n") == b""
        for connection in held:
            connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert b"HTTP/1.1 200" in until_closed(connection)
        assert site.get("/-/healthy")[0].status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GARBAGE\r\n\r\n",
        b"GET /metrics HTTP/x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200_000,
        b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\nno chunk\r\n",
        b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\nGARBAGE\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n",
    ],
    ids=[
        "tls to a plain port",
        "no request",
        "version",
        "no host",
        "length",
        "header too large",
        "chunks",
        "garbage after a request",
        "connect",
        "asterisk",
        "websocket",
    ],
)
def test_a_malformed_request_costs_its_connection(site: Site, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is sent, the connection is answered or closed, nothing is logged, and the next scrape works."""
    site.raw(data)
    assert site.get("/metrics")[0].status == 200
    assert not caplog.records


# -- addresses ----------------------------------------------------------------------------------------------------


def test_several_addresses() -> None:
    """IPv4 and IPv6, each with its own port, serve the same."""
    with serving(listen=("127.0.0.1:0", "[::1]:0")) as site:
        assert [urlsplit(url).hostname for url in site.server.urls] == ["127.0.0.1", "::1"]
        for url in site.server.urls:
            parts = urlsplit(url)
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
            connection.request("GET", "/-/healthy")
            assert connection.getresponse().status == 200
            connection.close()


def test_all_addresses() -> None:
    """`:PORT` is reached by IPv4 and IPv6."""
    with serving(listen=(":0",)) as site:
        port = urlsplit(site.server.urls[0]).port
        for host in ("127.0.0.1", "::1"):
            connection = http.client.HTTPConnection(host, port, timeout=10)
            connection.request("GET", "/-/healthy")
            assert connection.getresponse().status == 200
            connection.close()


def test_a_port_in_use_names_the_key() -> None:
    """The refusal names the key, the address and what to do; the other addresses are given back."""
    with socket.socket() as taken, socket.socket() as free:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        free.bind(("127.0.0.1", 0))
        other = free.getsockname()[1]
        free.close()
        with pytest.raises(ConfigError) as error:
            Site(listen=(f"127.0.0.1:{other}", address)).server.start()
        [problem] = error.value.problems
        assert (problem.key, problem.value) == ("web.listen_address", address)
        assert "in use" in problem.allowed
        with serving(listen=(f"127.0.0.1:{other}",)) as site:
            assert site.get("/-/healthy")[0].status == 200


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("10042", "[IPv6]:PORT"),
        ("", "[IPv6]:PORT"),
        ("127.0.0.1", "[IPv6]:PORT"),
        ("127.0.0.1:http", "[IPv6]:PORT"),
        ("127.0.0.1:65536", "[IPv6]:PORT"),
        ("127.0.0.1:-1", "[IPv6]:PORT"),
        ("::1:10042", "[IPv6]:PORT"),
        ("[127.0.0.1]:0", "[IPv6]:PORT"),
        ("http://127.0.0.1:0", "[IPv6]:PORT"),
        ("203.0.113.1:0", "no network interface"),
        ("a" * 70 + ".example:0", "[IPv6]:PORT"),
    ],
)
def test_an_address_that_cannot_be_had_names_what_is_allowed(address: str, says: str) -> None:
    """A wrong address is a configuration error, before anything is served."""
    with pytest.raises(ConfigError) as error:
        Site(listen=(address,)).server.start()
    [problem] = error.value.problems
    assert (problem.key, problem.value) == ("web.listen_address", address)
    assert says in problem.allowed


def test_all_wrong_addresses_are_told_at_once() -> None:
    """Two mistakes are two problems in one error."""
    with pytest.raises(ConfigError) as error:
        Site(listen=("nonsense", "203.0.113.1:0")).server.start()
    assert len(error.value.problems) == 2


def test_stop_frees_the_port_and_may_be_repeated() -> None:
    """After stop the port is free at once, also with clients still connected."""
    with serving() as site:
        host, port = site.address
        with socket.create_connection(site.address, timeout=10) as connection:
            connection.sendall(b"GET /met")
            site.server.stop()
            site.server.stop()
            assert until_closed(connection) == b""
    with serving(listen=(f"{host}:{port}",)) as again:
        assert again.get("/-/healthy")[0].status == 200


def test_stop_before_start_does_nothing() -> None:
    """A process that fails between making and starting the server can stop it."""
    Site().server.stop()


# -- landing page -------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a browser would make of the page: text, links, and whether each tag is closed in turn."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style" and data.strip():
            self.text.append(data.strip())


def test_the_landing_page(site: Site, golden: Callable[[str, str], None]) -> None:
    """It says what runs, from where to where, and links to the rest; the golden file shows it."""
    html = landing_page(READY, now=NOW)
    page = Page(html)
    for expected in ("1.2.3", "Ready", "files from /data", READY.sending, READY.keeping, "caught up", "5 min ago"):
        assert expected in page.text
    golden("landing.html", html)
    response, body = site.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "Ready" in Page(body.decode()).text


def test_the_landing_page_loads_nothing() -> None:
    """Its links are its own routes, and there is no script."""
    page = Page(landing_page(READY, now=NOW))
    assert set(page.links) == {"data:,", "/metrics", "/-/healthy", "/-/ready"}
    assert not {"script", "img", "iframe", "form"} & set(page.tags)


def test_the_landing_page_says_why_it_is_not_ready() -> None:
    """Reasons, hints and notices are on it."""
    source = replace(READY.sources[0], state="blocked", hint="create /data", last_success=None, through=None)
    status = replace(
        READY,
        ready=False,
        reasons=("trail: /data is not there",),
        notices=("The service has ended.",),
        sources=(source,),
    )
    text = Page(landing_page(status, now=NOW)).text
    for expected in ("Not ready", "trail: /data is not there", "create /data", "The service has ended."):
        assert expected in text


def test_the_landing_page_escapes_every_value() -> None:
    """A name that looks like markup is shown as text, wherever it comes from."""
    evil = "<script>alert('1')</script>&\""
    source = SourceStatus(evil, evil, evil, evil, NOW, NOW, evil)
    status = Status(
        ready=False,
        reasons=(evil,),
        version=evil,
        started_at=NOW,
        sources=(source,),
        reading=evil,
        sending=evil,
        keeping=evil,
        notices=(evil,),
    )
    page = Page(landing_page(status, now=NOW))
    assert "script" not in page.tags
    assert page.text.count(evil) == 11


def test_the_landing_page_is_bounded() -> None:
    """Thousands of partitions are a count, not a page of megabytes."""
    sources = tuple(replace(READY.sources[0], partition=str(number)) for number in range(5_000))
    html = landing_page(replace(READY, sources=sources), now=NOW)
    assert "and 4800 more" in Page(html).text
    assert len(html) < 100_000
