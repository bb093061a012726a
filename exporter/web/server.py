"""uvicorn in a thread, with what it lacks for a port that anybody can reach: a deadline for slow and silent clients."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from exporter.errors import ConfigError, Problem

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

    from exporter.web.live import LiveConfig
    from exporter.web.tls import ServerTls

__all__ = ["WebServer"]

_LOG = logging.getLogger("exporter.web")
_KEY = "web.listen_address"
_SHAPES = "HOST:PORT, [IPv6]:PORT or :PORT for all addresses, with a port from 0 (any free one) to 65535"
_BACKLOG = 512
#: Seconds between two looks at the web configuration file.
_REFRESH = 1.0

#: What is wrong with the address -> what to do about it.
_ADVICE = {
    errno.EADDRINUSE: "the port is in use: stop the process that has it or choose another port (0 takes a free one)",
    errno.EACCES: "this user may not listen on that port: choose one above 1023",
    errno.EPERM: "this user may not listen on that port: choose one above 1023",
    errno.EADDRNOTAVAIL: "no network interface of this machine has that address",
    errno.EAFNOSUPPORT: "this machine has no such address family: IPv6 may be off",
}


class WebServer:
    """Serves an ASGI application on one or more addresses.

    Args:
        listen: ``127.0.0.1:10042``, ``[::1]:0``, ``:10042``.
        idle_seconds: a connection on which no complete request arrives, or no answer can be written, for so long is
            closed.
        max_connections: connections at once, those in their TLS handshake too; further ones are closed as they come.
        config: the web configuration file, which is looked at each second; None: plain HTTP.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        listen: Sequence[str] = ("127.0.0.1:10042",),
        idle_seconds: float = 30.0,
        max_connections: int = 512,
        config: LiveConfig | None = None,
    ) -> None:
        self._app = app
        self._listen = tuple(listen)
        self._idle_seconds = idle_seconds
        self._max_connections = max_connections
        self._config = config
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.urls: tuple[str, ...] = ()

    def start(self) -> None:
        """Take the addresses, then serve in a thread. Connections are accepted from the moment this returns.

        Raises:
            ConfigError: addresses that cannot be had, all of them at once; nothing is left behind.
        """
        sockets = _bind_all(self._listen)
        # uvicorn and asyncio are the larger part of the web surface: nobody pays for them who does not serve.
        import uvicorn

        from exporter.web.protocol import protocol_class

        config = uvicorn.Config(
            self._app,
            http=protocol_class(idle_seconds=self._idle_seconds, max_connections=self._max_connections, tls=self._tls),
            ws="none",
            loop="asyncio",
            lifespan="off",
            workers=1,  # else WEB_CONCURRENCY of the environment is read
            interface="asgi3",
            log_config=None,
            # Below it says a line for each malformed request: whoever reaches the port would write our log.
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=max(1, int(self._idle_seconds)),
        )
        config.load()
        scheme = "http" if self._tls() is None else "https"
        self.urls = tuple(_url(scheme, bound) for bound in sockets)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=_serve,
            args=(self._server, sockets, self._config.refresh if self._config else None),
            name="exporter-web",
            daemon=True,
        )
        self._thread.start()

    def stop(self, deadline_seconds: float = 3.0) -> None:
        """Accept nothing more, finish the answers under way, and return within the deadline. Safe twice."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        # uvicorn takes whole seconds; what is left over is for its own steps.
        server.config.timeout_graceful_shutdown = max(1, int(deadline_seconds) - 1)
        server.should_exit = True
        thread.join(deadline_seconds)
        self._server = self._thread = None

    def _tls(self) -> ServerTls | None:
        return self._config.tls if self._config else None


def _serve(server: uvicorn.Server, sockets: list[socket.socket], refresh: Callable[[], None] | None) -> None:
    async def serve() -> None:
        watching = asyncio.create_task(_watch(refresh)) if refresh else None
        try:
            await server.serve(sockets=sockets)
        finally:
            if watching:
                watching.cancel()

    try:
        asyncio.run(serve())
    except Exception:
        _LOG.exception("the web server ended by a bug; nothing but /metrics and the probes is affected")


async def _watch(refresh: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(_REFRESH)
        try:
            # In a thread: the file may lie on a network.
            await asyncio.to_thread(refresh)
        except Exception:
            _LOG.exception("the web configuration was not read again because of a bug; the last good one stays")


def _bind_all(listen: Sequence[str]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    problems: list[Problem] = []
    for address in listen:
        try:
            sockets.append(_bind(address))
        except ValueError:
            problems.append(Problem(_KEY, address, f"not an address to listen on; allowed is {_SHAPES}"))
        except socket.gaierror as error:
            problems.append(Problem(_KEY, address, f"the host name has no address ({error.strerror})"))
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
            problems.append(Problem(_KEY, address, advice))
    if not listen:
        problems.append(Problem(_KEY, "", f"at least one address; allowed is {_SHAPES}"))
    if problems:
        for bound in sockets:
            bound.close()
        raise ConfigError(problems)
    return sockets


def _bind(address: str) -> socket.socket:
    host, port = _parse(address)
    if not host:
        return _bind_every(port)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name with several addresses is taken at one of them, IPv4 first.
    family, _, _, _, target = min(found, key=lambda info: info[0] != socket.AF_INET)
    return _listening(family, target)


def _bind_every(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return _listening(socket.AF_INET6, ("::", port))
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
    return _listening(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 - ":PORT" asks for all addresses


def _listening(family: int, target: Any) -> socket.socket:
    # The protocol is named because asyncio switches Nagle's algorithm off only then; with it, an answer over TLS, which
    # is several writes, waits 40 ms for the client's acknowledgement.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            every = target[0] == "::"
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if every else 1)
        bound.bind(target)
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _parse(address: str) -> tuple[str, int]:
    """``host:port`` -> its parts; the host is empty for all addresses.

    Raises:
        ValueError: it has another shape.
    """
    host, colon, digits = address.strip().rpartition(":")
    if not colon or not (digits.isascii() and digits.isdigit()) or int(digits) > 65_535:
        raise ValueError(address)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise ValueError(address)
    elif ":" in host or "[" in host or "/" in host or " " in host:
        raise ValueError(address)
    return host, int(digits)


def _url(scheme: str, bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    if host in ("::", "0.0.0.0"):  # noqa: S104 - compared, not listened on
        host = "localhost"
    elif ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}:{port}/"
