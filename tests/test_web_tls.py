"""TLS and client certificates, over real sockets."""

from __future__ import annotations

import re
import socket
import ssl
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from exporter.errors import ConfigError
from exporter.web.live import loaded
from exporter.web.tls import allowed
from tests.fakes.certificates import Authority, Pair
from tests.website import serving, trusting, until_closed, write_tls

HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.issue("server", "127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Authority(tmp_path_factory.mktemp("other"), "other").issue("stranger")


def own(folder: Path, *, key: object = None, days: int = 1, usage: bool = True, password: bytes | None = None) -> Pair:
    """A certificate that signs itself; ``days`` from now, negative: it has expired."""
    private = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())  # type: ignore[attr-defined]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    if not usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    certificate = builder.sign(private, hashes.SHA256())  # type: ignore[arg-type]
    pair = Pair(folder / "own.crt", folder / "own.key")
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    sealed = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pair.key.write_bytes(
        private.private_bytes(  # type: ignore[attr-defined]
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed
        )
    )
    return pair


# -- serving ------------------------------------------------------------------------------------------------------


def test_https_with_a_verified_name(tmp_path: Path, authority: Authority, server: Pair) -> None:
    """The address says https, and a client that verifies the certificate is served."""
    with serving(web_config=write_tls(tmp_path, server), client=trusting(authority)) as site:
        assert site.server.urls[0].startswith("https://127.0.0.1:")
        response, body = site.get("/-/healthy")
        assert (response.status, body) == (200, b"healthy\n")


def test_certificate_and_key_may_stand_in_the_file_itself(tmp_path: Path, authority: Authority, server: Pair) -> None:
    """`cert` and `key` instead of files; nothing is left on disk by it."""
    section = {"cert": server.certificate.read_text(), "key": server.key.read_text(), "cert_file": "", "key_file": ""}
    with serving(web_config=write_tls(tmp_path, server, **section), client=trusting(authority)) as site:
        assert site.get("/metrics")[0].status == 200
    assert [path.name for path in tmp_path.iterdir()] == ["web-config.yaml"]


def test_plain_http_to_the_tls_port_is_closed(tmp_path: Path, server: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is served in the clear, and nothing is logged."""
    with serving(web_config=write_tls(tmp_path, server)) as site:
        assert b"200" not in site.raw(HEALTHY)
        assert not caplog.records


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("least", ["TLS12", "TLS13"])
@pytest.mark.parametrize("most", ["TLS12", "TLS13"])
def test_versions(tmp_path: Path, authority: Authority, server: Pair, version: object, least: str, most: str) -> None:
    """A client is served when its version lies between the two, and only then."""
    if least > most:
        return
    client = trusting(authority)
    client.minimum_version = client.maximum_version = version  # type: ignore[assignment]
    served = least <= {771: "TLS12", 772: "TLS13"}[int(version)] <= most  # type: ignore[call-overload]
    with serving(web_config=write_tls(tmp_path, server, min_version=least, max_version=most), client=client) as site:
        if served:
            assert site.get("/-/healthy")[0].status == 200
        else:
            with pytest.raises(ssl.SSLError):
                site.connect()


def test_cipher_suites(tmp_path: Path, authority: Authority, server: Pair) -> None:
    """TLS 1.2 uses a named suite, in the server's order or in the client's."""
    names = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
    client = trusting(authority)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
    for prefer, expected in ((True, "ECDHE-ECDSA-AES256-GCM-SHA384"), (False, "ECDHE-ECDSA-AES128-GCM-SHA256")):
        config = write_tls(tmp_path, server, cipher_suites=names, prefer_server_cipher_suites=prefer)
        with serving(web_config=config, client=client) as site, site.connect() as connection:
            assert isinstance(connection, ssl.SSLSocket)
            assert (connection.cipher() or ())[0] == expected


@pytest.mark.parametrize(("curve", "offered"), [("CurveP384", "secp384r1"), ("X25519", "X25519")])
def test_curve_preferences(tmp_path: Path, authority: Authority, server: Pair, curve: str, offered: str) -> None:
    """Only the named curve is taken."""
    with serving(web_config=write_tls(tmp_path, server, curve_preferences=[curve])) as site:
        for name, served in ((offered, True), ("secp521r1", False)):
            client = trusting(authority)
            client.set_ecdh_curve(name)
            site.client = client
            if served:
                assert site.get("/-/healthy")[0].status == 200
            else:
                with pytest.raises(ssl.SSLError):
                    site.connect()


def test_alpn_settles_on_http_1_1(tmp_path: Path, authority: Authority, server: Pair) -> None:
    """A client that would rather speak HTTP/2 is told what is spoken."""
    client = trusting(authority)
    client.set_alpn_protocols(["h2", "http/1.1"])
    with serving(web_config=write_tls(tmp_path, server), client=client) as site, site.connect() as connection:
        assert isinstance(connection, ssl.SSLSocket)
        assert connection.selected_alpn_protocol() == "http/1.1"


# -- what blocks and what does not --------------------------------------------------------------------------------


def test_clients_without_a_handshake_do_not_delay_a_scrape(tmp_path: Path, authority: Authority, server: Pair) -> None:
    """Two hundred silent connections, fifty in the midst of a handshake, fifty in the midst of a header after it."""
    with (
        serving(web_config=write_tls(tmp_path, server), client=trusting(authority)) as site,
        ExitStack() as stack,
    ):
        for _ in range(200):
            stack.enter_context(socket.create_connection(site.address, timeout=10))
        for _ in range(50):
            half = stack.enter_context(socket.create_connection(site.address, timeout=10))
            half.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
            drip = stack.enter_context(site.connect())
            drip.sendall(b"GET /metrics HTTP/1.1\r\nX-Dri")
        began = time.monotonic()
        assert site.get("/metrics")[0].status == 200
        # The limit is far over what it takes and far under any time-out in the way.
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["silent", "half a hello"])
def test_a_handshake_has_a_deadline(tmp_path: Path, server: Pair, said: bytes) -> None:
    """Who does not finish it is closed, and leaves no count behind."""
    with (
        serving(web_config=write_tls(tmp_path, server), idle_seconds=0.3, max_connections=1) as site,
        socket.create_connection(site.address, timeout=10) as connection,
    ):
        connection.sendall(said)
        until_closed(connection)
        with socket.create_connection(site.address, timeout=10) as following:
            following.settimeout(0.1)
            with pytest.raises(TimeoutError):
                following.recv(1)  # it has its own time: it is not over the limit


@pytest.mark.parametrize(
    "said", [b"", b"GET /met", b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"], ids=["silent", "half", "after an answer"]
)
def test_an_idle_client_is_closed_after_its_handshake_too(
    tmp_path: Path, authority: Authority, server: Pair, said: bytes
) -> None:
    """The deadline is the same as without TLS."""
    with (
        serving(web_config=write_tls(tmp_path, server), client=trusting(authority), idle_seconds=0.3) as site,
        site.connect() as connection,
    ):
        connection.sendall(said)
        until_closed(connection)


def test_connections_in_their_handshake_count(tmp_path: Path, authority: Authority, server: Pair) -> None:
    """Silent ones fill the limit as others do; when one leaves, the next is served."""
    with (
        serving(web_config=write_tls(tmp_path, server), client=trusting(authority), max_connections=3) as site,
        ExitStack() as stack,
    ):
        held = [stack.enter_context(socket.create_connection(site.address, timeout=10)) for _ in range(2)]
        served = stack.enter_context(site.connect())
        served.sendall(HEALTHY)
        assert served.recv(65_536).startswith(b"HTTP/1.1 200")
        with pytest.raises(OSError, match=r"EOF|reset"):
            site.connect()
        held[0].close()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                assert site.get("/-/healthy")[0].status == 200
                return
            except OSError:
                continue
        pytest.fail("the place was not given back")


def test_a_failed_handshake_gives_its_place_back(
    tmp_path: Path, authority: Authority, server: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """Garbage, again and again, fills no limit and writes no log."""
    with serving(web_config=write_tls(tmp_path, server), client=trusting(authority), max_connections=8) as site:
        for _ in range(30):
            with socket.create_connection(site.address, timeout=10) as connection:
                connection.sendall(b"GARBAGE GARBAGE GARBAGE\r\n")
                until_closed(connection)
            with pytest.raises(ssl.SSLError):
                ssl.create_default_context().wrap_socket(
                    socket.create_connection(site.address, timeout=10), server_hostname="127.0.0.1"
                )
        assert site.get("/-/healthy")[0].status == 200
        assert not caplog.records


def test_stop_ends_connections_in_their_handshake(tmp_path: Path, authority: Authority, server: Pair) -> None:
    """The port is free at once."""
    web_config = write_tls(tmp_path, server)
    with serving(web_config=web_config, client=trusting(authority)) as site:
        host, port = site.address
        with socket.create_connection(site.address, timeout=10) as silent, site.connect() as served:
            served.sendall(HEALTHY)
            assert served.recv(65_536)
            site.server.stop()
            assert until_closed(silent) == b""
    with serving(web_config=web_config, client=trusting(authority), listen=(f"{host}:{port}",)) as again:
        assert again.get("/-/healthy")[0].status == 200


def test_several_addresses_all_speak_tls(tmp_path: Path, authority: Authority) -> None:
    """IPv4 and IPv6 alike."""
    pair = authority.issue("both", "127.0.0.1", "localhost")
    with serving(web_config=write_tls(tmp_path, pair), listen=("127.0.0.1:0", "[::1]:0")) as site:
        assert [re.sub(r"\d+/$", "", url) for url in site.server.urls] == ["https://127.0.0.1:", "https://[::1]:"]
        for url in site.server.urls:
            host, _, port = url.removeprefix("https://").rstrip("/").rpartition(":")
            plain = socket.create_connection((host.strip("[]"), int(port)), timeout=10)
            with trusting(authority).wrap_socket(plain, server_hostname="localhost") as connection:
                connection.sendall(HEALTHY)
                assert connection.recv(65_536).startswith(b"HTTP/1.1 200")


# -- client certificates ------------------------------------------------------------------------------------------

REQUIRED = {"client_auth_type": "RequireAndVerifyClientCert"}


def test_a_required_client_certificate(tmp_path: Path, authority: Authority, server: Pair, stranger: Pair) -> None:
    """Served is who has one of the authority; nobody else gets a byte of an answer."""
    config = write_tls(tmp_path, server, **REQUIRED, client_ca_file=str(authority.file))
    with serving(web_config=config, client=trusting(authority, authority.issue("client"))) as site:
        assert site.get("/-/healthy")[0].status == 200
        for client in (trusting(authority), trusting(authority, stranger)):
            site.client = client
            with pytest.raises(OSError, match=r"alert|EOF|reset|closed"):
                site.get("/-/healthy")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_is_told_that_it_needs_a_certificate(
    tmp_path: Path, authority: Authority, server: Pair, version: object
) -> None:
    """By TLS's own alert: a broken connection would leave its operator guessing."""
    config = write_tls(tmp_path, server, **REQUIRED, client_ca_file=str(authority.file))
    client = trusting(authority)
    client.minimum_version = client.maximum_version = version  # type: ignore[assignment]
    with serving(web_config=config) as site:
        plain = socket.create_connection(site.address, timeout=10)
        with (
            pytest.raises(ssl.SSLError, match=r"ALERT"),
            client.wrap_socket(plain, server_hostname="127.0.0.1") as held,
        ):
            held.recv(1)


def test_the_authority_may_stand_in_the_file_itself(tmp_path: Path, authority: Authority, server: Pair) -> None:
    """`client_ca`, with comments that are not ASCII as bundles have them."""
    text = "# Autorité\n" + authority.file.read_text()
    config = write_tls(tmp_path, server, **REQUIRED, client_ca=text)
    with serving(web_config=config, client=trusting(authority, authority.issue("client"))) as site:
        assert site.get("/-/healthy")[0].status == 200


def test_a_client_certificate_that_is_verified_if_given(
    tmp_path: Path, authority: Authority, server: Pair, stranger: Pair
) -> None:
    """None is fine, a good one is fine, a stranger's is not."""
    config = write_tls(tmp_path, server, client_auth_type="VerifyClientCertIfGiven", client_ca_file=str(authority.file))
    with serving(web_config=config) as site:
        for client in (trusting(authority), trusting(authority, authority.issue("client"))):
            site.client = client
            assert site.get("/-/healthy")[0].status == 200
        site.client = trusting(authority, stranger)
        with pytest.raises(OSError, match=r"alert|EOF|reset|closed"):
            site.get("/-/healthy")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_only_allowed_names_are_served(tmp_path: Path, authority: Authority, server: Pair, version: object) -> None:
    """A certificate that verifies and has none of the names gets 403 for whatever it asks, and its connection ends."""
    config = write_tls(
        tmp_path,
        server,
        **REQUIRED,
        client_ca_file=str(authority.file),
        client_allowed_sans=["prometheus.example", "0:0:0:0:0:0:0:1", "10.0.0.7"],
    )
    good = [authority.issue("good", "other.example", "prometheus.example"), authority.issue("address", "10.0.0.7")]
    with serving(web_config=config) as site:
        for pair in good:
            site.client = trusting(authority, pair)
            assert site.get("/metrics")[0].status == 200
        site.client = trusting(authority, authority.issue("bad", "prometheus.example.evil.example"))
        site.client.minimum_version = site.client.maximum_version = version  # type: ignore[assignment]
        for path in ("/metrics", "/-/healthy", "/nowhere"):
            response, body = site.get(path)
            assert (response.status, body) == (403, b"the client certificate has no allowed name\n")
            assert response.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("certificate", "expected"),
    [
        (None, False),
        ({}, False),
        ({"subjectAltName": (("DNS", "a.example"),)}, True),
        ({"subjectAltName": (("DNS", "A.EXAMPLE"),)}, False),
        ({"subjectAltName": (("email", "a@a.example"),)}, True),
        ({"subjectAltName": (("URI", "spiffe://a/b"),)}, True),
        ({"subjectAltName": (("IP Address", "0:0:0:0:0:0:0:1"),)}, True),
        ({"subjectAltName": (("IP Address", "FE80:0:0:0:0:0:0:1"),)}, False),
        ({"subjectAltName": (("DirName", "a.example"),)}, False),
        ({"subject": ((("commonName", "a.example"),),)}, False),
    ],
)
def test_names_are_compared_exactly(certificate: dict[str, object] | None, expected: bool) -> None:
    """DNS, IP, e-mail and URI names; not the common name, no wildcard."""
    assert allowed(certificate, frozenset({"a.example", "a@a.example", "spiffe://a/b", "::1"})) is expected


# -- found at start -----------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(path)
    [problem] = caught.value.problems
    return str(problem)


def test_a_key_of_another_certificate(tmp_path: Path, authority: Authority, server: Pair) -> None:
    """Both are good; together they are not."""
    said = refusal(write_tls(tmp_path, Pair(server.certificate, authority.issue("another").key)))
    assert "tls_server_config.key_file = " in said
    assert "belongs to another one" in said


def test_a_key_with_a_password(tmp_path: Path) -> None:
    """Nobody is asked on a terminal for what the format has no place for."""
    said = refusal(write_tls(tmp_path, own(tmp_path, password=b"hunter2")))
    assert "key_file" in said
    assert "without a password" in said


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_a_file_that_is_no_pem(tmp_path: Path, authority: Authority, which: str) -> None:
    """The one of the two that is wrong is named."""
    pair = authority.issue(f"broken-{which}")
    getattr(pair, which).write_text("not what it should be")
    said = refusal(write_tls(tmp_path, pair))
    assert f"{'cert' if which == 'certificate' else 'key'}_file" in said
    assert "in PEM" in said


def test_an_authority_without_certificates(tmp_path: Path, server: Pair) -> None:
    """An empty bundle would let nobody in."""
    (tmp_path / "ca.pem").write_text("# none yet\n")
    assert "client_ca_file" in refusal(write_tls(tmp_path, server, **REQUIRED, client_ca_file="ca.pem"))


def test_a_key_that_is_too_small(tmp_path: Path) -> None:
    """OpenSSL takes none under 2048 bits for RSA."""
    pair = own(tmp_path, key=rsa.generate_private_key(65_537, 1024))
    assert "cert_file" in refusal(write_tls(tmp_path, pair))


def test_suites_that_do_not_fit_the_certificate(tmp_path: Path, server: Pair) -> None:
    """RSA suites for an EC certificate, without TLS 1.3: nobody could ever connect."""
    config = write_tls(tmp_path, server, max_version="TLS12", cipher_suites=["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"])
    said = refusal(config)
    assert "cipher_suites" in said
    assert "no client can connect" in said


@pytest.mark.parametrize(("options", "says"), [({"days": -1}, "expired"), ({"usage": False}, "purpose")])
def test_a_certificate_that_clients_will_refuse_is_a_warning(
    tmp_path: Path, options: dict[str, object], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It serves all the same: some clients do not verify."""
    pair = own(tmp_path, **options)  # type: ignore[arg-type]
    client = ssl.create_default_context()
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    with serving(web_config=write_tls(tmp_path, pair), client=client) as site:
        assert site.get("/-/healthy")[0].status == 200
    [record] = caplog.records
    assert says in record.getMessage()


@pytest.mark.parametrize("bits", [2048, 3072])
def test_rsa(tmp_path: Path, bits: int) -> None:
    """RSA certificates work as those of elliptic curves do."""
    web, tls = loaded(write_tls(tmp_path, own(tmp_path, key=rsa.generate_private_key(65_537, bits))))
    assert (web.warnings, tls.warnings if tls else None) == ((), ())
