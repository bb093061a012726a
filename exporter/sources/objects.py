"""One object of a bucket -> its records: fetched, streamed, every answer of S3 named. For all that reads objects.

What S3 answers, and what is done (cloudtrail.md 6.4; S3 API reference, "GetObject"): an archived object is set aside
with its key, one that is gone is :class:`Vanished`, a refusal holds the line and says whether s3:GetObject or
kms:Decrypt is missing. A body that ends before its Content-Length is a broken connection, never a truncated file.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol, TypeVar

from exporter.clock import Backoff
from exporter.contract import Clock, Item, Malformed
from exporter.errors import Blocked, ExporterError, Retryable
from exporter.metrics import Metrics
from exporter.reading import Limits, Reading
from exporter.sources.aws import Clients
from exporter.sources.aws_errors import code_of

__all__ = ["ObjectReader", "OpenObject", "Vanished", "patiently"]

#: S3's own limit, bytes of UTF-8.
_LONGEST_KEY = 1_024
#: How often one request is sent before its error goes to the loop.
_TRIES = 3

_T = TypeVar("_T")


class Vanished(Exception):
    """There is no such object. The cause is the translated error."""


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


def patiently(clock: Clock, rng: random.Random, request: Callable[[], _T]) -> _T:
    """The answer, after a few tries if need be, with growing pauses between: a hiccup costs no more than itself.

    Raises:
        Retryable, Blocked, Stopping: as the request; Retryable only from the last try.
    """
    backoff = Backoff(first=0.5, longest=10, rng=rng)
    for _ in range(_TRIES - 1):
        try:
            return request()
        except Retryable as error:
            clock.wait(backoff.next(error.after))
    return request()


class OpenObject:
    """An object being read. Iterate once: its items; what is broken about it is among them, as Malformed.

    Use it as a context manager, or iterate to its end, so that its connection is free again.

    Attributes:
        version: ``etag-size`` of what is read, whatever a listing or a message said of it before; "" when it was set
            aside without being read.
        size: bytes as it lies there; 0 when unknown.
    """

    def __init__(
        self, *, version: str, size: int, items: Iterator[Item], reading: Reading | None, stream: _Stream
    ) -> None:
        self.version = version
        self.size = size
        self._items = items
        self._reading = reading
        self._stream = stream

    @property
    def passed_over(self) -> Mapping[str, int]:
        """Records known not to be wanted so far, by filter reason; to be added to the batch with its last item."""
        return self._reading.passed_over if self._reading is not None else {}

    def __iter__(self) -> Iterator[Item]:
        """Raises: Retryable, Blocked: the body broke off; what came before is to be had again."""
        return self._items

    def __enter__(self) -> OpenObject:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back. Safe twice."""
        self._stream.close()


class ObjectReader:
    """Reads objects of any bucket under one identity. Safe to share between threads.

    Args:
        source: name of the source, as the label of its metrics.
        limits: how large input may be.
        region: where requests are sent first; a bucket that lies elsewhere is found by S3's own word.
        wanted: see :class:`exporter.reading.Reading`.
    """

    def __init__(
        self,
        *,
        clients: Clients,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
        source: str,
        region: str,
        wanted: frozenset[bytes] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._clients = clients
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._source = source
        self._region = region
        self._wanted = wanted
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        metrics.preset(api="GetObject")

    def items(self, bucket: str, key: str) -> Iterator[Item]:
        """The items of one object, read as they are asked for; see :meth:`open`."""
        with self.open(bucket, key) as found:
            yield from found

    def open(self, bucket: str, key: str, *, size: int = 0) -> OpenObject:
        """Ask for the object; its body is read while its items are iterated.

        Args:
            size: bytes, as a listing has it; 0: not known. What no limit would let through is not asked for.

        Raises:
            Vanished: it is not there.
            Retryable, Blocked: see :mod:`exporter.sources.aws_errors`.
            Stopping: from the clock.
        """
        return self._opened(bucket, key, size, hold=0)

    def fetch(self, bucket: str, key: str, *, size: int = 0, hold: int) -> OpenObject:
        """As :meth:`open`, with the body in memory already if it has at most ``hold`` bytes: ahead of its turn."""
        return self._opened(bucket, key, size, hold=hold)

    def _opened(self, bucket: str, key: str, size: int, *, hold: int) -> OpenObject:
        origin = f"s3://{bucket}/{_printable(key)[: 2 * _LONGEST_KEY]}"
        if problem := _refused(key):
            return self._aside("bad_key", problem, origin, size)
        if size > max(self._limits.file_bytes, self._limits.plain_bytes):
            detail = f"{size} bytes, limits.file_bytes allows {self._limits.file_bytes}: it was not downloaded"
            return self._aside("file_too_large", detail, origin, size)
        try:
            return patiently(self._clock, self._rng, lambda: self._asked(bucket, key, origin, hold))
        except ExporterError as error:
            match code_of(error):
                case "NoSuchKey":
                    raise Vanished(str(error)) from error
                case "InvalidObjectState":
                    return self._aside("archived", f"not to be had without a restore: {error}", origin, size)
            self._failed(error)
            if error.reason == "access_denied" and isinstance(error, Blocked):
                raise Blocked(f"{error} The object: {origin}{_ALSO}", reason=error.reason) from error
            raise

    def _asked(self, bucket: str, key: str, origin: str, hold: int) -> OpenObject:
        answer = self._clients.call("s3", "GetObject", region=self._region, Bucket=bucket, Key=key)
        etag = str(answer.get("ETag", "")).strip('"')
        size = int(answer.get("ContentLength") or 0)
        stream: _Stream = _Body(
            answer["Body"], size, self._broken, self._metrics.s3_bytes_read.labels(self._source).inc
        )
        if size <= hold:
            try:
                stream = io.BytesIO(_all(stream))
            finally:
                answer["Body"].close()
        version = f"{etag}-{size}"
        reading = Reading(stream, origin=origin, version=version, size=size, limits=self._limits, wanted=self._wanted)
        return OpenObject(version=version, size=size, items=self._read(reading, stream), reading=reading, stream=stream)

    def _read(self, reading: Reading, stream: _Stream) -> Iterator[Item]:
        try:
            yield from reading
            self._metrics.s3_objects_processed.labels(self._source).inc()
        except ExporterError as error:
            self._failed(error)
            raise
        finally:
            stream.close()

    def _aside(self, reason: str, detail: str, origin: str, size: int) -> OpenObject:
        """An object without a body to read: one broken thing, kept with its key."""
        item = Malformed(reason, detail, f"{origin} ({reason})", b"", size)
        return OpenObject(version="", size=size, items=iter((item,)), reading=None, stream=io.BytesIO())

    def _broken(self, error: Exception) -> ExporterError | None:
        return self._clients.broken(error, "s3", "GetObject", region=self._region)

    def _failed(self, error: ExporterError) -> None:
        self._metrics.s3_object_failures.labels(self._source, error.reason).inc()


_ALSO = (
    " -- S3 says the same of an object encrypted with a key this identity may not use (kms:Decrypt) and, without "
    "s3:ListBucket, of an object that is not there."
)


class _Body:
    """The body of an answer; its errors are ours, and it is whole or it is broken."""

    def __init__(
        self,
        body: Any,
        size: int,
        broken: Callable[[Exception], ExporterError | None],
        count: Callable[[float], None],
    ) -> None:
        self._body = body
        self._left = size
        self._broken = broken
        self._count = count

    def read(self, size: int, /) -> bytes:
        try:
            data: bytes = self._body.read(size)
        except Exception as error:
            found = self._broken(error)
            if found is None:
                raise
            raise found from error
        self._left -= len(data)
        self._count(len(data))
        if not data and size and self._left > 0:
            raise Retryable(f"the body of an object ended {self._left} bytes before its end", reason="connection")
        return data

    def close(self) -> None:
        # Read to its end, a body gives its connection back by itself; closed before, it takes the connection along.
        self._body.close()


def _all(stream: _Stream) -> bytes:
    pieces = []
    while piece := stream.read(1024 * 1024):
        pieces.append(piece)
    return b"".join(pieces)


def _refused(key: str) -> str:
    """Why no object can have this key; "" if one can."""
    if not key:
        return "an empty key"
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "a key that is not text"
    if size > _LONGEST_KEY:
        return f"a key of {size} bytes, S3 allows {_LONGEST_KEY}"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in key):
        return "a key with control characters"
    return ""


def _printable(key: str) -> str:
    """The key as text that every log takes: control characters and lone surrogates are escaped."""
    if key.isprintable():
        return key
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in key)
