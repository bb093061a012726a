"""The web surface of a real process: flags, refusals at start, the log, the health check, idle memory."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from exporter.errors import ConfigError
from tests.fakes.certificates import Authority
from tests.process import ENVIRONMENT, Exporter, write_config
from tests.website import basic, hashed, trusting, write, write_tls


def address(run: Exporter) -> str:
    """Scheme, host and port it says it listens on."""
    return str(
        run.until(
            lambda: next(
                (m[1] for line in list(run.err) if (m := re.search(r"listening on (https?://[^/]+)/", line))), ""
            )
        )
    )


def status(url: str, client: ssl.SSLContext | None = None, headers: dict[str, str] | None = None) -> int:
    try:
        request = urllib.request.Request(url, headers=headers or {})
        with urllib.request.urlopen(request, timeout=10, context=client) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def healthcheck(run: Exporter, *more: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    listen = address(run).partition("://")[2]
    with Exporter("healthcheck", "--web.listen-address", listen, *more, env=env) as asked:
        code = asked.wait()
        return code, "\n".join(asked.out + asked.err)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


# -- flags --------------------------------------------------------------------------------------------------------


def test_the_flags_of_the_toolkit(tmp_path: Path, authority: Authority) -> None:
    """Two addresses, a web configuration file and a path for the metrics; the log says https for both addresses."""
    web = write_tls(tmp_path, authority.issue("server", "127.0.0.1", "localhost"))
    config = write_config(tmp_path, web={})
    flags = ["--web.listen-address=127.0.0.1:0", "--web.listen-address=[::1]:0"]
    flags += [f"--web.config.file={web}", "--web.telemetry-path=/m"]
    with Exporter("run", "--config", str(config), *flags) as run:
        first = address(run)
        client = trusting(authority)
        assert status(f"{first}/m", client) == 200
        assert status(f"{first}/metrics", client) == 404
        said = [line for line in run.err if "listening on" in line]
        assert [re.findall(r"listening on (https://\S+?):\d+/", line) for line in said] == [
            ["https://127.0.0.1"],
            ["https://[::1]"],
        ]
        second = re.findall(r"https://\[::1\]:(\d+)", said[1])[0]
        with client.wrap_socket(socket.create_connection(("::1", int(second))), server_hostname="localhost") as other:
            other.sendall(b"GET /m HTTP/1.1\r\nHost: a\r\n\r\n")
            assert other.recv(65_536).startswith(b"HTTP/1.1 200")


def test_an_empty_flag_switches_the_web_configuration_off(tmp_path: Path) -> None:
    """As in exporter-toolkit; it wins over the configuration."""
    config = write_config(tmp_path, web={"listen_address": "127.0.0.1:0", "config_file": str(tmp_path / "none.yaml")})
    with Exporter("run", "--config", str(config), "--web.config.file=") as run:
        assert address(run).startswith("http://")


def test_every_problem_of_the_web_is_told_with_the_others_and_exits_2(tmp_path: Path) -> None:
    """The web configuration file, and what is wrong elsewhere, in one go; no secret is repeated."""
    web = write(tmp_path, basic_auth_users={"a": "hunter2"}, oops=1)
    config = write_config(
        tmp_path,
        web={"config_file": str(web), "listen_address": []},
        state={"type": "sqlite", "path": "/proc/no/no.db"},
    )
    with Exporter("run", "--config", str(config)) as run:
        assert run.wait() == 2
        said = "\n".join(run.err)
    for expected in (f"{web}: oops", f"{web}: basic_auth_users.a = (hidden)", "web.listen_address", "state.path"):
        assert expected in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "path", ["metrics", "/", "", "/-/ready", "/-/healthy", "/-/x", "//m", "/m/", "/a/../m", "/{a}", "/m?"]
)
def test_a_path_that_collides_is_refused(tmp_path: Path, path: str) -> None:
    """By flag and by configuration, each naming what it came from."""
    from exporter import configfile

    config = write_config(tmp_path, web={"telemetry_path": path})
    with pytest.raises(ConfigError) as caught:
        configfile.load(config, {})
    [problem] = caught.value.problems
    assert problem.key == "web.telemetry_path"
    assert "a path" in problem.allowed


def test_a_wrong_flag_is_named(tmp_path: Path) -> None:
    """Not the setting it overrides."""
    with Exporter("run", "--config", str(write_config(tmp_path)), "--web.telemetry-path", "/-/ready") as run:
        assert run.wait() == 2
        assert "  --web.telemetry-path = /-/ready: a path of its own" in "\n".join(run.err)


# -- secrets ------------------------------------------------------------------------------------------------------


def test_neither_hashes_nor_keys_nor_passwords_are_shown(tmp_path: Path, authority: Authority) -> None:
    """Not in the log at its most talkative, not by config show, not on a page."""
    pair = authority.issue("secret", "127.0.0.1")
    key = pair.key.read_text()
    hash_ = hashed("hunter2")
    tls = {"cert": pair.certificate.read_text(), "key": key, "cert_file": "", "key_file": ""}
    web = write(tmp_path, tls_server_config=tls, basic_auth_users={"a": hash_})
    config = write_config(
        tmp_path, web={"config_file": str(web), "listen_address": "127.0.0.1:0"}, log={"level": "debug"}
    )
    with Exporter("run", "--config", str(config)) as run:
        url = address(run)
        client = trusting(authority)
        assert status(f"{url}/metrics", client, basic("a", "hunter2")) == 200
        assert status(f"{url}/metrics", client, basic("a", "hunter3")) == 401
        run.signal(signal.SIGTERM)
        assert run.wait() == 0
        everything = "\n".join(run.out + run.err)
    with Exporter("config", "show", "--config", str(config)) as show:
        show.wait()
        everything += "\n".join(show.out)
        assert f"config_file: {web}" in everything
    for secret in ("hunter", hash_, key.splitlines()[1]):
        assert secret not in everything


# -- healthcheck and check ----------------------------------------------------------------------------------------


def test_the_health_check_finds_out_about_tls(tmp_path: Path, authority: Authority) -> None:
    """Nothing has to be told to it, a proxy of the environment is not asked, and --ready works too."""
    web = write_tls(tmp_path, authority.issue("server", "127.0.0.1"))
    config = write_config(tmp_path, web={"config_file": str(web), "listen_address": "127.0.0.1:0"})
    with Exporter("run", "--config", str(config)) as run:
        client = trusting(authority)
        run.until(lambda: status(f"{address(run)}/-/ready", client) == 200)
        assert healthcheck(run, env={"http_proxy": "http://127.0.0.1:9"}) == (0, "healthy")
        assert healthcheck(run, "--ready") == (0, "ready")


def test_the_health_check_behind_authentication_sees_that_it_serves(tmp_path: Path) -> None:
    """401 is an answer; whether it is ready stays unknown, and unknown is not ready."""
    web = write(tmp_path, basic_auth_users={"a": hashed("x")})
    config = write_config(tmp_path, web={"config_file": str(web), "listen_address": "127.0.0.1:0"})
    with Exporter("run", "--config", str(config)) as run:
        assert healthcheck(run) == (0, "serves; answered 401 unauthorized")
        assert healthcheck(run, "--ready") == (1, "not known: answered 401 unauthorized")


@pytest.mark.parametrize("most", ["TLS12", "TLS13"])
def test_the_health_check_without_the_certificate_that_is_asked_for(
    tmp_path: Path, authority: Authority, most: str
) -> None:
    """The handshake shows that it serves."""
    web = write_tls(
        tmp_path,
        authority.issue("server", "127.0.0.1"),
        client_auth_type="RequireAndVerifyClientCert",
        client_ca_file=str(authority.file),
        max_version=most,
    )
    config = write_config(tmp_path, web={"config_file": str(web), "listen_address": "127.0.0.1:0"})
    with Exporter("run", "--config", str(config)) as run:
        assert healthcheck(run) == (0, "serves; answered 403 to a client without a certificate")
        assert healthcheck(run, "--ready")[0] == 1


def test_the_health_check_of_nobody_is_1() -> None:
    """Refused is not well."""
    with Exporter("healthcheck", "--web.listen-address", "127.0.0.1:9") as asked:
        assert asked.wait() == 1


@pytest.mark.parametrize(("sections", "code", "says"), [({}, 0, "ok      web "), ({"oops": 1}, 1, "no such key")])
def test_check_tries_the_web_configuration(tmp_path: Path, sections: dict[str, object], code: int, says: str) -> None:
    """What run would refuse, check tells."""
    config = write_config(tmp_path, state={"type": "memory"})
    with Exporter("check", "--config", str(config), f"--web.config.file={write(tmp_path, **sections)}") as check:
        assert check.wait() == code
        assert says in "\n".join(check.out)


# -- what it costs ------------------------------------------------------------------------------------------------


def test_without_a_web_configuration_nothing_of_it_is_imported() -> None:
    """Nobody pays for what is not used."""
    code = (
        "import sys, exporter.web.app, exporter.web.server, exporter.web.protocol, exporter.app\n"
        "print(sorted(name for name in sys.modules if name == 'bcrypt' or name.startswith('exporter.web.')))"
    )
    out = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == str(
        ["exporter.web.app", "exporter.web.landing", "exporter.web.protocol", "exporter.web.server"]
    )
