"""The web configuration file and what it names, changed under a running server."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.clock import SystemClock
from exporter.errors import ConfigError
from exporter.metrics import Metrics
from exporter.web import live
from exporter.web.live import LiveConfig
from tests.fakes.certificates import Authority, Pair
from tests.website import Site, basic, hashed, serving, trusting, write, write_tls


def gauge(metrics: Metrics, name: str) -> float:
    value = metrics.registry.get_sample_value(f"cloudtrail_exporter_config_last_reload_{name}")
    assert value is not None
    return value


def until(what: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def served_by(site: Site) -> str:
    """The common name of the certificate that a new connection sees."""
    with site.connect() as connection:
        assert isinstance(connection, ssl.SSLSocket)
        certificate = connection.getpeercert() or {}
        return str(dict(part[0] for part in certificate["subject"])["commonName"])  # type: ignore[misc]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., LiveConfig]:
    def make(path: Path) -> LiveConfig:
        return LiveConfig(path, clock=SystemClock(), metrics=Metrics(platform_collectors=False))

    return make


# -- in a running server ------------------------------------------------------------------------------------------


def test_a_rotated_certificate_is_served_without_a_restart(tmp_path: Path, authority: Authority) -> None:
    """As Kubernetes swaps a Secret: a link to another folder. Open connections go on; no scrape fails meanwhile."""
    for name in ("first", "second"):
        pair = authority.issue(name, "127.0.0.1")
        (tmp_path / name).mkdir()
        shutil.copy(pair.certificate, tmp_path / name / "tls.crt")
        shutil.copy(pair.key, tmp_path / name / "tls.key")
    data = tmp_path / "..data"
    data.symlink_to("first")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    config = write_tls(tmp_path, Pair(Path("tls.crt"), Path("tls.key")))
    with serving(web_config=config, client=trusting(authority)) as site:
        assert served_by(site) == "first"
        held = site.connection()
        held.request("GET", "/-/healthy")
        assert held.getresponse().read() == b"healthy\n"
        before = held.sock
        (tmp_path / "..fresh").symlink_to("second")
        (tmp_path / "..fresh").rename(data)
        until(lambda: site.get("/metrics")[0].status == 200 and served_by(site) == "second")
        held.request("GET", "/-/healthy")
        assert held.getresponse().read() == b"healthy\n"
        assert held.sock is before
        held.close()
        assert gauge(site.metrics, "successful") == 1


def test_a_new_password_works_without_a_restart_and_the_old_one_no_more(tmp_path: Path) -> None:
    """Also on a connection that was open before, and also when the old one had been remembered."""
    path = write(tmp_path, basic_auth_users={"a": hashed("old")})
    with serving(web_config=path) as site:
        connection = site.connection()

        def status(password: str) -> int:
            connection.request("GET", "/-/healthy", headers=basic("a", password))
            response = connection.getresponse()
            response.read()
            return response.status

        assert (status("old"), status("new")) == (200, 401)
        write(tmp_path, basic_auth_users={"a": hashed("new")})
        until(lambda: status("new") == 200)
        assert status("old") == 401
        connection.close()


def test_a_wrong_change_leaves_the_last_good_one_in_force(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Scrapes go on, the gauge falls, one line is logged; putting it right raises the gauge again."""
    caplog.set_level(logging.INFO, "exporter")
    pair = authority.issue("good", "127.0.0.1")
    path = write_tls(tmp_path, pair)
    good = path.read_text()
    with serving(web_config=path, client=trusting(authority)) as site:
        began = gauge(site.metrics, "success_timestamp_seconds")
        assert (gauge(site.metrics, "successful"), began) == (1, pytest.approx(time.time(), abs=60))
        path.write_text("tls_server_config: {cert_file: nowhere.pem, key: hunter2}")
        until(lambda: gauge(site.metrics, "successful") == 0)
        assert gauge(site.metrics, "success_timestamp_seconds") == began
        # Long enough for a second look.
        until(lambda: time.time() - path.stat().st_mtime > 2.5)
        assert served_by(site) == "good"
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert "nowhere.pem" in record.getMessage()
        assert "hunter2" not in record.getMessage()
        path.write_text(good)
        until(lambda: gauge(site.metrics, "successful") == 1)
        assert gauge(site.metrics, "success_timestamp_seconds") > began


# -- one look at a time -------------------------------------------------------------------------------------------


def test_nothing_is_read_again_while_nothing_changes(
    tmp_path: Path, authority: Authority, opened: Callable[..., LiveConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at files that lie still is a look at their times."""
    pair = authority.issue("still")
    path = write_tls(tmp_path, pair)
    for file in (path, pair.certificate, pair.key):
        os.utime(file, (1_700_000_000, 1_700_000_000))
    config = opened(path)
    monkeypatch.setattr(live, "read_file", lambda _: pytest.fail("read"))
    config.refresh()


def test_a_file_written_twice_within_a_tick_of_its_clock_is_seen(
    tmp_path: Path, opened: Callable[..., LiveConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same size, same times, same inode: while a file is young its content is looked at."""
    path = tmp_path / "web.yaml"
    path.write_text("rate_limit: {interval: 1s, burst: 1}")
    stamp = live._stamp(path)
    monkeypatch.setattr(live, "_stamp", lambda _: stamp)
    config = opened(path)
    path.write_text("rate_limit: {interval: 1s, burst: 2}")
    config.refresh()
    assert config.config.rate_limit is not None
    assert config.config.rate_limit.burst == 2


def test_touching_a_file_is_no_change(
    tmp_path: Path, opened: Callable[..., LiveConfig], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is said, and the time of the last reload stays."""
    caplog.set_level(logging.INFO, "exporter")
    path = write(tmp_path, rate_limit={"interval": "1s", "burst": 1})
    config = opened(path)
    before = gauge(config._metrics, "success_timestamp_seconds")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    config.refresh()
    assert gauge(config._metrics, "success_timestamp_seconds") == before
    assert not caplog.records


def test_a_file_that_appears_after_the_configuration_named_it_is_seen(
    tmp_path: Path, authority: Authority, opened: Callable[..., LiveConfig]
) -> None:
    """The configuration was written first; it does not have to be touched again."""
    config = opened(write_tls(tmp_path, authority.issue("first")))
    before = config.tls
    pair = authority.issue("later")
    write_tls(tmp_path, Pair(Path("later.crt"), Path("later.key")))
    config.refresh()
    assert gauge(config._metrics, "successful") == 0
    shutil.copy(pair.certificate, tmp_path / "later.crt")
    config.refresh()
    assert config.tls is before
    shutil.copy(pair.key, tmp_path / "later.key")
    config.refresh()
    assert config.tls is not before
    assert gauge(config._metrics, "successful") == 1


def test_a_deleted_file_is_a_wrong_change(
    tmp_path: Path, opened: Callable[..., LiveConfig], caplog: pytest.LogCaptureFixture
) -> None:
    """What was in force stays; when the same file comes back all is well."""
    path = write(tmp_path, rate_limit={"interval": "1s", "burst": 1})
    text = path.read_text()
    config = opened(path)
    path.unlink()
    for _ in range(3):
        config.refresh()
    assert gauge(config._metrics, "successful") == 0
    assert config.config.rate_limit is not None
    [record] = caplog.records
    assert "No such file" in record.getMessage()
    path.write_text(text)
    config.refresh()
    assert gauge(config._metrics, "successful") == 1


def test_each_wrong_change_is_told_once(
    tmp_path: Path, opened: Callable[..., LiveConfig], caplog: pytest.LogCaptureFixture
) -> None:
    """Two changes with the same mistake are two lines."""
    path = write(tmp_path)
    config = opened(path)
    for text in ("oops: 1", "oops: 2"):
        path.write_text(text)
        for _ in range(3):
            config.refresh()
    assert len(caplog.records) == 2


@pytest.mark.parametrize(("first", "then", "word"), [(True, False, "removed"), (False, True, "added")])
def test_whether_tls_is_spoken_takes_a_restart(
    tmp_path: Path,
    authority: Authority,
    opened: Callable[..., LiveConfig],
    caplog: pytest.LogCaptureFixture,
    first: bool,
    then: bool,
    word: str,
) -> None:
    """It is said so, and nothing else of that change is taken over."""

    def put(secure: bool, users: dict[str, str]) -> Path:
        pair = authority.issue("toggle")
        section = {"cert_file": str(pair.certificate), "key_file": str(pair.key)} if secure else {}
        return write(tmp_path, tls_server_config=section, basic_auth_users=users)

    config = opened(put(first, {"a": hashed("x")}))
    put(then, {})
    config.refresh()
    assert (config.tls is not None) == first
    assert config.config.users
    assert gauge(config._metrics, "successful") == 0
    [record] = caplog.records
    assert f"tls_server_config: was {word}" in record.getMessage()
    assert "takes a restart" in record.getMessage()


def test_what_fails_for_a_moment_is_tried_again(
    tmp_path: Path, opened: Callable[..., LiveConfig], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Too many open files is not the file's fault: the next look takes the change over, without another one."""
    path = write(tmp_path, rate_limit={"interval": "1s", "burst": 1})
    config = opened(path)
    write(tmp_path, rate_limit={"interval": "1s", "burst": 2})

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(live, "loaded", fail)
        for _ in range(3):
            config.refresh()
    assert gauge(config._metrics, "successful") == 0
    assert len(caplog.records) == 1
    config.refresh()
    assert config.config.rate_limit is not None
    assert config.config.rate_limit.burst == 2
    assert gauge(config._metrics, "successful") == 1


def test_a_wrong_file_at_start_is_refused(tmp_path: Path, opened: Callable[..., LiveConfig]) -> None:
    """There is no last good one yet."""
    with pytest.raises(ConfigError, match="no such key"):
        opened(write(tmp_path, oops=1))
