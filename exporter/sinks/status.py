"""``google.rpc.Status`` and the ``RetryInfo`` in it, read from their bytes without a dependency for two messages.

Sources: googleapis ``google/rpc/status.proto`` (code = 1, message = 2, details = 3), ``error_details.proto``
(RetryInfo.retry_delay = 1), protobuf ``any.proto`` (type_url = 1, value = 2) and ``duration.proto`` (seconds = 1,
nanos = 2). OTLP carries a Status in the body of every HTTP error and in ``grpc-status-details-bin``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Status", "read_status"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Status:
    """What an error reply says.

    Attributes:
        message: for developers; may be empty.
        retry_after: seconds of ``RetryInfo.retry_delay``; None: there is no RetryInfo, so no promise of a recovery.
    """

    message: str = ""
    retry_after: float | None = None


def read_status(data: bytes) -> Status | None:
    """The Status in these bytes; None when they are none. Never raises."""
    try:
        message, retry_after = "", None
        for number, value in _fields(data):
            if number == 2 and isinstance(value, bytes):
                message = value.decode("utf-8", "replace")
            elif number == 3 and isinstance(value, bytes):
                delay = _retry_delay(value)
                retry_after = delay if delay is not None else retry_after
            elif number > 3:
                return None
    except ValueError:
        return None
    return Status(message, retry_after)


def _retry_delay(packed: bytes) -> float | None:
    """Seconds in a packed RetryInfo; None when something else is packed."""
    type_url, content = b"", b""
    for number, value in _fields(packed):
        if isinstance(value, bytes):
            type_url, content = (value, content) if number == 1 else (type_url, value)
    if not type_url.endswith(b"/google.rpc.RetryInfo"):
        return None
    seconds = 0.0
    for number, value in _fields(content):
        if number == 1 and isinstance(value, bytes):
            parts = {part: amount for part, amount in _fields(value) if isinstance(amount, int)}
            seconds = _signed(parts.get(1, 0)) + _signed(parts.get(2, 0)) / 1e9
    return max(0.0, seconds)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of one message, in the order of the bytes.

    Raises:
        ValueError: not protobuf.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("field number 0")
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + length > len(data):
            raise ValueError("cut off")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a number of more than 64 bits")
