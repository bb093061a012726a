"""uvicorn's HTTP/1.1 protocol with a deadline, a bound and a TLS that changes between two connections.

Imports asyncio and uvicorn: only a started server does.
"""

from __future__ import annotations

import asyncio
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from typing import TYPE_CHECKING

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from exporter.web.tls import ServerTls

__all__ = ["protocol_class"]

#: Seconds for a handshake, which takes milliseconds, and for a client to say that it has seen the end.
_HANDSHAKE = 10.0
_FAREWELL = 1.0


def protocol_class(
    *, idle_seconds: float, max_connections: int, tls: Callable[[], ServerTls | None] = lambda: None
) -> type[H11Protocol]:
    """A protocol for :class:`uvicorn.Config` with these limits.

    uvicorn times only the wait between two requests, and each byte received ends that wait: a client that says nothing,
    or a header line a second, stays for ever. Here a connection has ``idle_seconds`` from one of these to the next: it
    was made, a request was complete, an answer was complete, blocked writing went on. A TLS handshake has 10 seconds,
    or ``idle_seconds`` when that is less.

    Args:
        max_connections: counted from the moment the connection is accepted, before its handshake.
        tls: asked for each new connection; None: plain HTTP.
    """

    class Protocol(_DeadlineProtocol):
        _idle_seconds = idle_seconds
        _max_connections = max_connections
        _tls = staticmethod(tls)

    return Protocol


class _Tls(SSLProtocol):
    # The standard 256 KiB are allocated for each connection, silent ones too. A request fits into this.
    max_size = 16 * 1024

    def _on_handshake_complete(self, handshake_exc: BaseException | None) -> None:
        # asyncio closes without OpenSSL's alert, which tells the client why: that it needs a certificate, say.
        if handshake_exc is not None:
            self._process_outgoing()  # type: ignore[attr-defined]  # not in typeshed
        super()._on_handshake_complete(handshake_exc)


class _DeadlineProtocol(H11Protocol):
    _idle_seconds: float
    _max_connections: int
    _tls: Callable[[], ServerTls | None]
    _deadline: asyncio.TimerHandle | None = None
    #: While a handshake goes on: the connection below it, and what it is secured with.
    _below: asyncio.Transport | None = None
    _secured: ServerTls | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called when the connection was accepted and, with TLS, again when its handshake is complete."""
        if self._secured is not None:
            self._secure_connection_made(transport, self._secured)
            return
        if len(self.connections) >= self._max_connections:
            transport.abort()
            return
        self._secured = self._tls()
        if self._secured is None:
            super().connection_made(transport)
            self._extend()
            return
        # The server's own set, so that connections in their handshake count as others do and end with the server.
        self.connections.add(self)
        self._below = transport
        shaken: asyncio.Future[None] = self.loop.create_future()
        shaken.add_done_callback(self._handshake_over)
        layer = _Tls(
            self.loop,
            self,
            self._secured.context,
            shaken,
            server_side=True,
            ssl_handshake_timeout=min(_HANDSHAKE, self._idle_seconds),  # type: ignore[arg-type] # typeshed: int
            ssl_shutdown_timeout=_FAREWELL,
        )
        transport.set_protocol(layer)
        layer.connection_made(transport)

    def _secure_connection_made(self, transport: asyncio.Transport, secured: ServerTls) -> None:
        self._below = None
        super().connection_made(transport)
        self._extend()
        if secured.allowed_sans:
            from exporter.web.tls import allowed

            if not allowed(transport.get_extra_info("peercert"), secured.allowed_sans):
                self.app = _not_allowed

    def _handshake_over(self, shaken: asyncio.Future[None]) -> None:
        if not shaken.cancelled():
            shaken.exception()  # asked for, so that asyncio does not log it
        if self._below is not None:
            self._below = None
            self.connections.discard(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self.transport is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._extend()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._extend()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._extend()

    def send_400_response(self, msg: str) -> None:
        if self._answering():
            # A broken body of a request that is being answered: uvicorn would answer twice.
            self.cycle.disconnected = True
            self.transport.abort()
        elif self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()

    def shutdown(self) -> None:
        if self._below is not None:
            self._below.abort()
            return
        try:
            super().shutdown()
        except h11.LocalProtocolError:
            self.transport.abort()

    def timeout_keep_alive_handler(self) -> None:
        try:
            super().timeout_keep_alive_handler()
        except h11.LocalProtocolError:
            self.transport.abort()

    def _extend(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self._idle_seconds, self._expire)

    def _expire(self) -> None:
        if self._answering() and not self.flow.write_paused:
            # It waits for us, not we for it.
            self._extend()
            return
        self.transport.abort()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


async def _not_allowed(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
    """For clients whose certificate verifies and has none of the allowed names."""
    await send(
        {
            "type": "http.response.start",
            "status": 403,
            "headers": [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")],
        }
    )
    await send({"type": "http.response.body", "body": b"the client certificate has no allowed name\n"})
