"""A server on loopback and what it serves, for the tests of the web surface."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import bcrypt
import yaml

from exporter.clock import SystemClock
from exporter.contract import Labels
from exporter.exposition import EventSeries
from exporter.metrics import Metrics
from exporter.status import SourceStatus, Status
from exporter.web.app import create_app
from exporter.web.live import LiveConfig
from exporter.web.server import WebServer
from tests.fakes.certificates import Authority, Pair

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
READY = Status(
    ready=True,
    reasons=(),
    version="1.2.3",
    started_at=NOW - timedelta(hours=3),
    sources=(SourceStatus("trail", "files", "/data", "caught up", NOW - timedelta(minutes=5), NOW),),
    reading="files from /data",
    sending="http://collector:4318/v1/logs",
    keeping="/var/lib/exporter/state.db",
)


def write_tls(folder: Path, server: Pair, **more: object) -> Path:
    """A web configuration file with this certificate; ``more`` goes into its section."""
    section = {"cert_file": str(server.certificate), "key_file": str(server.key)} | more
    return write(folder, tls_server_config=section)


def write(folder: Path, **sections: object) -> Path:
    """A web configuration file of these sections, put there in one step."""
    path, fresh = folder / "web-config.yaml", folder / "fresh.yaml"
    fresh.write_text(yaml.safe_dump(sections))
    fresh.replace(path)
    return path


def trusting(authority: Authority, client: Pair | None = None) -> ssl.SSLContext:
    """A client's context: trusts the authority; with a certificate of its own when one is given."""
    context = ssl.create_default_context(cafile=str(authority.file))
    if client:
        context.load_cert_chain(client.certificate, client.key)
    return context


def hashed(password: str, cost: int = 4, prefix: str = "$2y$") -> str:
    """A bcrypt hash as `htpasswd -nB` writes it."""
    return prefix + bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(cost)).decode()[4:]


def basic(user: str, password: str) -> dict[str, str]:
    """The header of basic authentication."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Site:
    """A server on loopback and what it serves."""

    def __init__(
        self,
        *,
        web_config: Path | None = None,
        client: ssl.SSLContext | None = None,
        telemetry_path: str = "/metrics",
        **options: object,
    ) -> None:
        self.metrics = Metrics()
        self.client = client
        self.config = LiveConfig(web_config, clock=SystemClock(), metrics=self.metrics) if web_config else None
        self.totals: dict[Labels, int] = {}
        self.status = READY
        self.before_status: Callable[[], object] = lambda: None
        self.before_totals: Callable[[], object] = lambda: None
        events = EventSeries(totals=self._totals, known={}, metrics=self.metrics)
        app = create_app(
            metrics=self.metrics,
            events=events,
            status=self._status,
            clock=SystemClock(),
            telemetry_path=telemetry_path,
            config=self.config,
        )
        options = {"listen": ("127.0.0.1:0",), "config": self.config} | options
        self.server = WebServer(app, **options)  # type: ignore[arg-type]

    def _status(self) -> Status:
        self.before_status()
        return self.status

    def _totals(self) -> Mapping[Labels, int]:
        self.before_totals()
        return dict(self.totals)

    @property
    def address(self) -> tuple[str, int]:
        url = urlsplit(self.server.urls[0])
        assert url.hostname is not None
        assert url.port is not None
        return url.hostname, url.port

    def connection(self) -> http.client.HTTPConnection:
        if self.client is None:
            return http.client.HTTPConnection(*self.address, timeout=10)
        return http.client.HTTPSConnection(*self.address, timeout=10, context=self.client)

    def connect(self) -> socket.socket:
        """Connected, and with TLS past the handshake."""
        plain = socket.create_connection(self.address, timeout=10)
        return plain if self.client is None else self.client.wrap_socket(plain, server_hostname=self.address[0])

    def get(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self.connection()
        try:
            connection.request(method, path, headers=dict(headers or {}))
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def raw(self, data: bytes) -> bytes:
        with self.connect() as connection:
            # The server may end the connection before it has taken all.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                connection.sendall(data)
            return until_closed(connection)


def until_closed(connection: socket.socket) -> bytes:
    received = b""
    while True:
        try:
            data = connection.recv(65_536)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            return received
        if not data:
            return received
        received += data


@contextmanager
def serving(**options: object) -> Iterator[Site]:
    site = Site(**options)
    site.server.start()
    try:
        yield site
    finally:
        site.server.stop()
