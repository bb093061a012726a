"""TLS and mutual TLS, over HTTP and gRPC, with certificates of our own authority."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from exporter.clock import SystemClock
from exporter.errors import Blocked, ConfigError, ExporterError, Retryable
from exporter.mapping import Mapper
from exporter.metrics import Metrics
from exporter.sinks.otlp import OtlpSink
from exporter.testing.sink import a_record
from tests.fakes.certificates import Authority, Pair
from tests.fakes.otlp_receiver import GrpcReceiver, HttpReceiver

PROTOCOLS = ["http/protobuf", "grpc"]
Serve = Callable[..., HttpReceiver | GrpcReceiver]
Make = Callable[..., OtlpSink]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.issue("server", "localhost")


@pytest.fixture(scope="module")
def client(authority: Authority) -> Pair:
    return authority.issue("client")


@pytest.fixture(scope="module")
def stranger(authority: Authority) -> Pair:
    return Authority(authority.file.parent, "other").issue("stranger", "localhost")


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serve(authority: Authority, protocol: str) -> Iterator[Serve]:
    """Starts a receiver of the protocol with this certificate; ``mutual``: only for clients of our authority."""
    with ExitStack() as stack:

        def start(pair: Pair | None, *, mutual: bool = False) -> HttpReceiver | GrpcReceiver:
            if protocol == "grpc":
                return stack.enter_context(GrpcReceiver(credentials=_credentials(pair, authority, mutual)))
            return stack.enter_context(HttpReceiver(tls=_context(pair, authority, mutual)))

        yield start


@pytest.fixture
def make(protocol: str) -> Iterator[Make]:
    with ExitStack() as stack:

        def sink(endpoint: str, **settings: Any) -> OtlpSink:
            made = OtlpSink(
                Mapper(),
                protocol=protocol,  # type: ignore[arg-type]
                endpoint=endpoint,
                clock=SystemClock(),
                metrics=Metrics(platform_collectors=False),
                **settings,
            )
            stack.callback(made.close)
            return made

        yield sink


def _context(pair: Pair | None, authority: Authority, mutual: bool) -> ssl.SSLContext | None:
    if pair is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if mutual:
        # With TLS 1.3 the client learns only while it sends, and may see the connection end instead of the alert.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.file)
    return context


def _credentials(pair: Pair | None, authority: Authority, mutual: bool) -> Any:
    if pair is None:
        return None
    roots = authority.file.read_bytes() if mutual else None
    return grpc.ssl_server_credentials([(pair.key.read_bytes(), pair.certificate.read_bytes())], roots, mutual)


def failure(sink: OtlpSink) -> ExporterError:
    """The error that sending ends in."""
    with pytest.raises(ExporterError) as caught:
        sink.send([a_record(1)])
    return caught.value


def test_a_certificate_of_the_named_authority_is_trusted(
    serve: Serve, make: Make, server: Pair, authority: Authority
) -> None:
    """ca_file is enough for a private authority."""
    receiver = serve(server)
    assert make(receiver.url, ca_file=authority.file).send([a_record(1)]).delivered == 1


def test_an_unknown_authority_blocks_and_names_ca_file(serve: Serve, make: Make, server: Pair) -> None:
    """Without it nothing is sent, and the setting that mends it is named."""
    receiver = serve(server)
    error = failure(make(receiver.url))
    assert isinstance(error, Blocked)
    assert "sink.ca_file" in str(error)
    assert receiver.requests == []


def test_a_certificate_for_another_name_blocks(serve: Serve, make: Make, authority: Authority) -> None:
    """A certificate of somebody else is not believed."""
    receiver = serve(authority.issue("elsewhere", "elsewhere.example"))
    error = failure(make(receiver.url, ca_file=authority.file))
    assert isinstance(error, Blocked)
    assert "sink.endpoint" in str(error)


def test_a_receiver_without_tls_blocks(serve: Serve, make: Make, authority: Authority) -> None:
    """https to a port that speaks plainly is a wrong setting."""
    receiver = serve(None)
    error = failure(make(receiver.url.replace("http:", "https:"), ca_file=authority.file))
    assert (type(error), error.reason) == (Blocked, "not_otlp")


def test_speaking_plainly_to_tls_says_what_to_look_at(serve: Serve, make: Make, server: Pair) -> None:
    """http to a TLS port ends as a broken connection; the hint names TLS."""
    receiver = serve(server)
    error = failure(make(receiver.url.replace("https:", "http:")))
    assert isinstance(error, Retryable)
    assert "TLS" in str(error)


def test_a_client_certificate_is_shown(
    serve: Serve, make: Make, server: Pair, client: Pair, authority: Authority
) -> None:
    """Mutual TLS with a certificate the receiver trusts."""
    receiver = serve(server, mutual=True)
    sink = make(receiver.url, ca_file=authority.file, client_cert_file=client.certificate, client_key_file=client.key)
    assert sink.send([a_record(1)]).delivered == 1


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_a_client_the_receiver_does_not_trust_sends_nothing(
    serve: Serve, make: Make, server: Pair, stranger: Pair, authority: Authority, protocol: str, who: str
) -> None:
    """No certificate, or one of another authority: held, with a word about certificates; over HTTP it blocks.

    gRPC tells only that the connection ended.
    """
    receiver = serve(server, mutual=True)
    own = {"client_cert_file": stranger.certificate, "client_key_file": stranger.key} if who == "stranger" else {}
    error = failure(make(receiver.url, ca_file=authority.file, **own))
    assert isinstance(error, Retryable if protocol == "grpc" else Blocked)
    assert "certificate" in str(error)
    assert receiver.requests == []


def test_a_renewed_authority_file_is_found_without_a_restart(
    serve: Serve, make: Make, server: Pair, authority: Authority, stranger: Pair, tmp_path: Path
) -> None:
    """After a failure the files are read again: what was renewed on disk works."""
    ca_file = tmp_path / "ca.pem"
    shutil.copy(Authority(tmp_path, "other").file, ca_file)
    receiver = serve(server)
    sink = make(receiver.url, ca_file=ca_file)
    assert isinstance(failure(sink), Blocked)
    shutil.copy(authority.file, ca_file)
    assert sink.send([a_record(1)]).delivered == 1


def test_a_file_that_went_bad_blocks_and_is_named(
    serve: Serve, make: Make, server: Pair, authority: Authority, tmp_path: Path
) -> None:
    """A certificate file that is half written when it is read again holds, and is named."""
    ca_file = tmp_path / "ca.pem"
    shutil.copy(Authority(tmp_path, "other").file, ca_file)
    sink = make(serve(server).url, ca_file=ca_file)
    failure(sink)
    ca_file.write_text("-----BEGIN")
    error = failure(sink)
    assert isinstance(error, Blocked)
    assert "sink.ca_file" in str(error)


@pytest.mark.parametrize("setting", ["ca_file", "client_cert_file"])
@pytest.mark.parametrize("content", [None, "", "not a certificate"], ids=["missing", "empty", "no_pem"])
def test_an_unusable_file_is_a_configuration_error(
    make: Make, tmp_path: Path, setting: str, content: str | None
) -> None:
    """A file that cannot be used stops the start, with its setting and its path."""
    path = tmp_path / "x.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        make("https://localhost:4318/v1/logs", **{setting: path})
    assert f"sink.{setting} = {path}" in str(caught.value)


def test_a_key_without_its_certificate_is_a_configuration_error(make: Make, client: Pair) -> None:
    """The key alone proves nothing."""
    with pytest.raises(ConfigError) as caught:
        make("https://localhost:4318/v1/logs", client_key_file=client.key)
    assert "sink.client_cert_file" in str(caught.value)


@pytest.mark.parametrize("protocol", ["http/protobuf"], indirect=True)
def test_insecure_skip_verify_believes_any_certificate(serve: Serve, make: Make, stranger: Pair) -> None:
    """For tests: encrypted, not verified, and without a warning per request."""
    receiver = serve(stranger)
    assert make(receiver.url, insecure_skip_verify=True).send([a_record(1)]).delivered == 1


@pytest.mark.parametrize("protocol", ["grpc"], indirect=True)
def test_insecure_skip_verify_is_refused_over_grpc(make: Make) -> None:
    """gRPC has no such thing; better to say so than to verify in silence."""
    with pytest.raises(ConfigError) as caught:
        make("https://localhost:4317", insecure_skip_verify=True)
    assert "sink.insecure_skip_verify" in str(caught.value)
