"""OTLP over HTTP/1.1: one POST, one reply, one deadline for all of it.

urllib3 pools the connections and knows when one is dead. Its time limits are per socket operation: a receiver that
trickles one byte a second would hold a call for ever. So each connect, send and receive here gets what is left of the
call's own time. Redirects are not followed, nothing is retried, and proxy variables of the environment are not
used: an address inside a cluster must not go through a proxy by accident.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import SplitResult, urlsplit

import urllib3
from isal import igzip
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, InsecureRequestWarning
from urllib3.exceptions import TimeoutError as NoAnswer

from exporter.contract import Clock, Delivery
from exporter.errors import ConfigError
from exporter.sinks.replies import Fault, HttpReply, broken_connection, from_http, out_of_time
from exporter.sinks.tls import Tls

__all__ = ["HttpTransport"]

#: Bytes of a reply that are read: of a success all, or it is none; of an error the beginning.
_SUCCESS_BYTES = 4 * 1024 * 1024
_ERROR_BYTES = 64 * 1024
#: Connections kept open; more threads than that open and close their own.
_CONNECTIONS = 32
#: Of ISA-L: 0.3 ms for 1.7 MB of log records, to within a seventh of what zlib's level 6 makes of it in 8 ms.
_GZIP_LEVEL = 2


class HttpTransport:
    """Posts request bodies to one address. Safe to use from several threads.

    Args:
        endpoint: the address as used, path included.
        headers: sent with each request; secrets.
        content_type: of the body; the reply is to have the same.
        timeout_seconds: for the whole call, from connecting to the last byte of the reply. Only the look-up of the
            name is the operating system's and has its own limit.

    Raises:
        ConfigError: a TLS file is unusable.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        headers: Mapping[str, str],
        content_type: str,
        compression: str,
        timeout_seconds: float,
        tls: Tls,
        clock: Clock,
    ) -> None:
        self._url: SplitResult = urlsplit(endpoint)
        self._headers = {**headers, "content-type": content_type}
        if compression == "gzip":
            self._headers["content-encoding"] = "gzip"
        self._content_type = content_type
        self._gzip = compression == "gzip"
        self._seconds = timeout_seconds
        self._tls = tls
        self._clock = clock
        self._pool: urllib3.HTTPConnectionPool | None = self._open()

    def prepare(self, body: bytes) -> bytes:
        """The body as it goes over the wire."""
        return igzip.compress(body, _GZIP_LEVEL, mtime=0) if self._gzip else body

    def export(self, wire: bytes, records: int) -> Delivery | Fault:
        """Send a prepared body that holds so many records; what the receiver made of it."""
        with _deadline_of(self._clock, self._seconds):
            reply = self._post(wire)
        if isinstance(reply, Fault):
            return reply
        return from_http(reply, records=records, sent=self._content_type, now=self._clock.now())

    def close(self) -> None:
        """Close the idle connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _post(self, wire: bytes) -> HttpReply | Fault:
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        try:
            pool = self._pool = self._pool or self._open()
            response = pool.urlopen(
                "POST",
                target,
                body=wire,
                headers=self._headers,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
                timeout=self._seconds,
            )
        except (HTTPError, OSError, ValueError) as error:
            return self._failed(error)
        except ConfigError as error:
            return Fault("block", "connection", str(error))
        success = 200 <= response.status < 300
        limit = _SUCCESS_BYTES if success else _ERROR_BYTES
        body = b""
        try:
            # Until it is empty: only then urllib3 notices that a body is shorter than announced.
            while len(body) <= limit and (piece := response.read(limit + 1 - len(body))):
                body += piece
        except (HTTPError, OSError) as error:
            response.close()
            if success:
                return self._failed(error)
        else:
            if len(body) > limit:
                response.close()
            else:
                response.release_conn()
        return HttpReply(
            status=response.status,
            content_type=response.headers.get("content-type", ""),
            body=body[:limit],
            retry_after=response.headers.get("retry-after", ""),
            location=response.headers.get("location", ""),
            complete=len(body) <= limit,
            delimited=response.status == 204
            or not {"content-length", "transfer-encoding"}.isdisjoint(name.lower() for name in response.headers),
        )

    def _failed(self, error: Exception) -> Fault:
        causes = list(_causes(error))
        if any(isinstance(cause, NoAnswer | TimeoutError) for cause in causes):
            return out_of_time(self._seconds)
        tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError | ssl.CertificateError)), None)
        if tls is not None:
            fault = broken_connection(str(tls), tls=True)
            if fault.kind == "block":
                self.close()  # the next call reads the files again: they may have been renewed
            return fault
        return broken_connection(str(causes[-1]) or type(causes[-1]).__name__)

    def _open(self) -> urllib3.HTTPConnectionPool:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            if self._tls.insecure_skip_verify:
                urllib3.disable_warnings(InsecureRequestWarning)  # it was asked for, and is not news at every call
            return _SecurePool(host, port, maxsize=_CONNECTIONS, ssl_context=self._tls.context())
        return _PlainPool(host, port, maxsize=_CONNECTIONS)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps; urllib3 hands the original on as an argument, as ``reason`` or as ``__cause__``."""
    seen: list[BaseException] = []
    pending = [error]
    while pending and len(seen) < 16:
        current = pending.pop()
        if current in seen:
            continue
        seen.append(current)
        yield current
        inner = [*current.args, getattr(current, "reason", None), current.__cause__]
        pending.extend(cause for cause in inner if isinstance(cause, BaseException))


# -- one deadline for every socket operation of a call ------------------------------------------------------------


class _Deadline:
    """When the call of this thread must be over."""

    __slots__ = ("_clock", "_end")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._end = clock.monotonic() + seconds

    def left(self) -> float:
        """Seconds left.

        Raises:
            TimeoutError: none.
        """
        seconds = self._end - self._clock.monotonic()
        if seconds <= 0:
            raise TimeoutError("the time of the call is over")
        return seconds


#: urllib3 has no way to hand a deadline down to its connections; a call never leaves its thread.
_current: ContextVar[_Deadline] = ContextVar("deadline of the OTLP call")


@contextlib.contextmanager
def _deadline_of(clock: Clock, seconds: float) -> Iterator[None]:
    token = _current.set(_Deadline(clock, seconds))
    try:
        yield
    finally:
        _current.reset(token)


class _Bytes(io.RawIOBase):
    """What the socket receives, each time within what is left of the call."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_current.get().left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Bytes(sock, self.fp.detach()))


class _Bounded(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        """Connect to the first address of the name that answers; each gets its share of what is left of the call."""
        addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        problem: OSError = OSError("the name has no address")
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(_current.get().left() / (len(addresses) - index))
                sock.connect(address)
                sock.settimeout(_current.get().left())
            except OSError as error:
                sock.close()
                problem = error
            else:
                return sock
        raise problem

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        rest = memoryview(data)
        while rest:
            self.sock.settimeout(_current.get().left())
            try:
                rest = rest[self.sock.send(rest) :]
            except ssl.SSLEOFError as error:
                # As with a plain socket: urllib3 then reads what the receiver said before it hung up.
                raise BrokenPipeError(errno.EPIPE, str(error)) from error


class _BoundedSecure(_Bounded, HTTPSConnection):
    pass


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Bounded


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _BoundedSecure
