"""uvicorn's HTTP/1.1 protocol with a deadline and a bound. Imports asyncio and uvicorn: only a started server does."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["protocol_class"]


def protocol_class(*, idle_seconds: float, max_connections: int) -> type[H11Protocol]:
    """A protocol for :class:`uvicorn.Config` with these limits.

    uvicorn times only the wait between two requests, and each byte received ends that wait: a client that says nothing,
    or a header line a second, stays for ever. Here a connection has ``idle_seconds`` from one of these to the next: it
    was made, a request was complete, an answer was complete, blocked writing went on.
    """

    class Protocol(_DeadlineProtocol):
        _idle_seconds = idle_seconds
        _max_connections = max_connections

    return Protocol


class _DeadlineProtocol(H11Protocol):
    _idle_seconds: float
    _max_connections: int
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            transport.abort()
            return
        self._extend()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
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
