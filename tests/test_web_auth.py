"""Basic authentication, rate limit and headers of the web configuration file, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import builtins
import contextlib
import http.client
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from exporter.errors import ConfigError
from exporter.testing.clock import ManualClock
from exporter.web.auth import BasicAuth
from exporter.web.configuration import RateLimit
from exporter.web.guard import TokenBucket
from exporter.web.live import loaded
from tests.website import Site, basic, hashed, serving, write

LONG = "é" * 60
USERS = {"alice": hashed("hunter2"), "bob": hashed("swordfish", prefix="$2a$"), "long": hashed(LONG)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(web_config=write(tmp_path_factory.mktemp("auth"), basic_auth_users=USERS)) as site:
        yield site


# -- who may pass -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("user", "password"), [("alice", "hunter2"), ("bob", "swordfish"), ("long", LONG)])
def test_the_right_password_passes_again_and_again(site: Site, user: str, password: str) -> None:
    """Hashes of each bcrypt version, and passwords longer than bcrypt reads."""
    for _ in range(3):
        assert site.get("/metrics", headers=basic(user, password))[0].status == 200


WRONG = {
    "none": {},
    "wrong password": basic("alice", "hunter3"),
    "empty password": basic("alice", ""),
    "another's password": basic("alice", "swordfish"),
    "unknown user": basic("eve", "hunter2"),
    "no user": basic("", ""),
    "case": basic("Alice", "hunter2"),
    "NUL": basic("alice", "hunter2\0"),
    "no colon": {"Authorization": "Basic " + base64.b64encode(b"alice").decode()},
    "no base64": {"Authorization": "Basic alice:hunter2"},
    "not UTF-8": {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:hunter2").decode()},
    "the hash as password": basic("alice", USERS["alice"]),
    "another scheme": {"Authorization": "Bearer hunter2"},
    "only a scheme": {"Authorization": "Basic"},
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
def test_others_get_401_with_the_way_to_ask(site: Site, headers: dict[str, str]) -> None:
    """Twice: the second answer comes from memory."""
    for _ in range(2):
        response, body = site.get("/metrics", headers=headers)
        assert (response.status, body) == (401, b"unauthorized\n")
        assert response.headers["www-authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_everything_is_behind_it(site: Site, path: str, method: str) -> None:
    """The probes too, as in exporter-toolkit; a path that is not there does not tell."""
    assert site.get(path, method)[0].status == 401


def test_a_refusal_has_the_headers_of_every_answer(site: Site) -> None:
    """Nothing is framed, sniffed or cached."""
    headers = site.get("/metrics")[0].headers
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"


def test_the_scheme_is_in_any_case(site: Site) -> None:
    """RFC 7617: case-insensitive."""
    header = {"Authorization": basic("alice", "hunter2")["Authorization"].replace("Basic", "bAsIc")}
    assert site.get("/metrics", headers=header)[0].status == 200


# -- what it costs ------------------------------------------------------------------------------------------------


def test_a_right_password_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was right or wrong is remembered, by user, hash and password."""
    calls: list[bytes] = []
    check = bcrypt.checkpw

    def counting(password: bytes, against: bytes) -> bool:
        calls.append(password)
        return check(password, against)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    with serving(web_config=write(tmp_path, basic_auth_users=USERS)) as site:
        for _ in range(5):
            for user, password in (("alice", "hunter2"), ("alice", "wrong"), ("eve", "hunter2"), ("mallory", "x")):
                site.get("/-/healthy", headers=basic(user, password))
    assert sorted(calls) == [b"hunter2", b"hunter2", b"wrong", b"x"]


def test_an_unknown_user_costs_a_check_of_a_configured_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Always the same one for a name; over many names, each of them: time does not tell who is known."""
    checked: list[bytes] = []

    def note(password: bytes, against: bytes) -> bool:
        checked.append(against)
        return True  # even when it is that user's password

    monkeypatch.setattr(bcrypt, "checkpw", note)
    users = {f"user{number}": "$2b$04$" + str(number) * 53 for number in range(3)}

    async def ask() -> list[str]:
        auth = BasicAuth()
        names = [f"eve{number % 40}" for number in range(80)]
        headers = [basic(name, f"p{index}")["Authorization"] for index, name in enumerate(names)]
        return [await auth.verdict(users, header, "::1") for header in headers]

    assert asyncio.run(ask()) == ["no"] * 80
    assert checked[:40] == checked[40:]
    assert set(checked) == {value.encode() for value in users.values()}


def test_what_is_remembered_is_bounded_and_guesses_push_no_right_password_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of wrong ones later, the right one is not checked again."""
    checks: list[bytes] = []

    def check(password: bytes, against: bytes) -> bool:
        checks.append(password)
        return password == b"right"

    monkeypatch.setattr(bcrypt, "checkpw", check)
    users = {"a": "$2b$04$" + "a" * 53}

    async def ask() -> BasicAuth:
        auth = BasicAuth()
        for password in ("right", *map(str, range(3_000)), "right"):
            await auth.verdict(users, basic("a", password)["Authorization"], "::1")
        return auth

    auth = asyncio.run(ask())
    assert checks.count(b"right") == 1
    held = [value for value in vars(auth).values() if hasattr(value, "__len__")]
    assert sum(map(len, held)) < 2_000
    assert b"right" not in b"".join(auth._right)


def test_wrong_passwords_do_not_delay_a_scrape_whose_password_is_known(tmp_path: Path) -> None:
    """While guesses keep one core busy, a scrape is answered as before: no check runs in the event loop."""
    users = {"prometheus": hashed("right"), "slow": hashed("x", cost=12)}
    with serving(web_config=write(tmp_path, basic_auth_users=users)) as site:
        assert site.get("/metrics", headers=basic("prometheus", "right"))[0].status == 200
        stop = threading.Event()
        statuses: list[int] = []

        def guess(number: int) -> None:
            for turn in range(10_000):
                if stop.is_set():
                    return
                statuses.append(site.get("/metrics", headers=basic("slow", f"{number}-{turn}"))[0].status)

        guessing = [threading.Thread(target=guess, args=(number,)) for number in range(8)]
        for thread in guessing:
            thread.start()
        try:
            took = []
            for _ in range(20):
                began = time.monotonic()
                assert site.get("/metrics", headers=basic("prometheus", "right"))[0].status == 200
                took.append(time.monotonic() - began)
        finally:
            stop.set()
            for thread in guessing:
                thread.join()
        # A check of cost 12 takes a quarter of a second and four of one client may wait.
        assert statistics.median(took) < 0.5
        assert max(took) < 5
        assert set(statuses) <= {401, 429}


def test_a_client_has_no_more_than_its_share_of_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fifth at once of an address is told to come back; another is served in its turn; one check runs at a time."""
    release = threading.Event()
    running: list[bytes] = []
    most = 0

    def slow(password: bytes, against: bytes) -> bool:
        nonlocal most
        running.append(password)
        most = max(most, len(running))
        release.wait(10)
        running.remove(password)
        return password == b"right"

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    users = {"a": "$2b$04$" + "a" * 53}

    async def ask() -> tuple[list[str], str]:
        auth = BasicAuth()
        guesses = [
            asyncio.create_task(auth.verdict(users, basic("a", str(number))["Authorization"], "192.0.2.1"))
            for number in range(10)
        ]
        done, _ = await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        assert {task.result() for task in done} == {"busy"}
        right = asyncio.create_task(auth.verdict(users, basic("a", "right")["Authorization"], "192.0.2.2"))
        await asyncio.sleep(0)
        release.set()
        return [await guess for guess in guesses], await right

    guesses, right = asyncio.run(ask())
    assert most == 1
    assert sorted(guesses) == ["busy"] * 6 + ["no"] * 4
    assert right == "yes"


def test_a_client_that_leaves_gives_its_place_in_the_queue_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that is cancelled waits no more."""
    monkeypatch.setattr(bcrypt, "checkpw", lambda *_: False)
    users = {"a": "$2b$04$" + "a" * 53}

    async def ask() -> int:
        auth = BasicAuth()
        for number in range(10):
            task = asyncio.create_task(auth.verdict(users, basic("a", str(number))["Authorization"], "::1"))
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return auth._waiting.total()

    assert asyncio.run(ask()) == 0


def test_without_bcrypt_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At start, not at the first scrape; without users nobody needs it."""
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "bcrypt":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"pip install 'cloudtrail-exporter\[auth\]'"):
        loaded(write(tmp_path, basic_auth_users=USERS))
    loaded(write(tmp_path, basic_auth_users={}))


# -- rate limit ---------------------------------------------------------------------------------------------------


def test_the_bucket_gives_its_burst_then_one_an_interval() -> None:
    """It never holds more than the burst, however long the pause."""
    clock = ManualClock()
    bucket = TokenBucket(RateLimit(0.5, 3), clock)
    assert [bucket.take() for _ in range(5)] == [True] * 3 + [False] * 2
    clock.advance(0.5)
    assert [bucket.take() for _ in range(2)] == [True, False]
    clock.advance(3_600)
    assert [bucket.take() for _ in range(5)] == [True] * 3 + [False] * 2


def test_over_the_rate_every_request_gets_429(tmp_path: Path) -> None:
    """Probes and unknown paths too; the burst is answered."""
    with serving(web_config=write(tmp_path, rate_limit={"interval": "1h", "burst": 2})) as site:
        answers = [site.get(path)[0] for path in ("/metrics", "/-/healthy", "/metrics", "/-/ready", "/", "/nowhere")]
        assert [answer.status for answer in answers] == [200, 200, 429, 429, 429, 429]
        assert answers[-1].headers["retry-after"] == "1"


def test_the_rate_limit_comes_before_authentication(tmp_path: Path) -> None:
    """A guess counts as a request, as in exporter-toolkit."""
    config = write(tmp_path, rate_limit={"interval": "1h", "burst": 1}, basic_auth_users=USERS)
    with serving(web_config=config) as site:
        assert site.get("/metrics", headers=basic("alice", "wrong"))[0].status == 401
        assert site.get("/metrics", headers=basic("alice", "hunter2"))[0].status == 429


# -- headers ------------------------------------------------------------------------------------------------------


def test_configured_headers_replace_ours_on_every_answer(tmp_path: Path) -> None:
    """An empty one is not sent; those that are not named stay."""
    headers = {
        "X-Frame-Options": "sameorigin",
        "Content-Security-Policy": "",
        "Strict-Transport-Security": "max-age=31536000",
        "X-XSS-Protection": "1; mode=block",
    }
    with serving(web_config=write(tmp_path, http_server_config={"headers": headers})) as site:
        for path in ("/", "/metrics", "/nowhere"):
            found = site.get(path)[0].headers
            assert found["x-frame-options"] == "sameorigin"
            assert "content-security-policy" not in found
            assert found["strict-transport-security"] == "max-age=31536000"
            assert found["x-xss-protection"] == "1; mode=block"
            assert found["x-content-type-options"] == "nosniff"


# -- the path of the metrics --------------------------------------------------------------------------------------


def test_the_metrics_are_where_they_were_put() -> None:
    """The landing page leads there, and nothing is at the usual path."""
    with serving(telemetry_path="/internal/metrics") as site:
        assert site.get("/internal/metrics")[0].status == 200
        assert site.get("/metrics")[0].status == 404
        page = site.get("/")[1]
        assert b'href="/internal/metrics"' in page
        assert b'href="/metrics"' not in page


def test_a_connection_goes_on_over_a_refusal(tmp_path: Path) -> None:
    """401 does not end it: the next request with a password is answered on it."""
    with serving(web_config=write(tmp_path, basic_auth_users=USERS)) as site:
        connection = http.client.HTTPConnection(*site.address, timeout=10)
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert (response.status, response.read()) == (401, b"unauthorized\n")
        held = connection.sock
        assert isinstance(held, socket.socket)
        connection.request("GET", "/-/healthy", headers=basic("alice", "hunter2"))
        assert connection.getresponse().read() == b"healthy\n"
        assert connection.sock is held
        connection.close()
