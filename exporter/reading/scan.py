"""Where one JSON value ends: exact, without decoding it, over pieces of any size. Pure.

Every decision about boundaries that a validating decoder cannot take (the value is larger than memory, or damaged)
rests on this: brackets are counted outside strings only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec

__all__ = ["Scan", "lenient", "looks_like_a_record", "record_starts", "valid", "value_end"]

_STRING = rb'(?:[^"\\]++|\\.)*+"'
_IN_STRING = re.compile(_STRING, re.DOTALL)
#: Everything up to the next bracket, whole strings included; stops at a quote only when its string is not finished.
_TO_BRACKET = re.compile(rb'[^"{}\[\]]*+(?:"' + _STRING + rb'[^"{}\[\]]*+)*+', re.DOTALL)
_SCALAR = re.compile(rb'[^\s,:"{}\[\]]*+')

_OPEN, _CLOSE = b"{[", b"}]"


class Scan:
    """Finds the end of one value that is fed piece by piece."""

    __slots__ = ("_depth", "_escaped", "_in_string", "_scalar", "_started")

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._scalar = False
        self._started = False

    def feed(self, data: bytes, at: int = 0) -> int:
        """The index just behind the value; -1 when it goes on behind this piece.

        The first piece has to begin, at ``at``, with the value itself. A number or word that reaches the end of the
        piece may go on, so -1 is returned for it: at the end of input the caller knows better.
        """
        if not self._started:
            if at >= len(data):
                return -1
            self._started = True
            first = data[at]
            if first == 0x22:
                self._in_string = True
                at += 1
            elif first not in _OPEN:
                self._scalar = True
        if self._scalar:
            end = _SCALAR.match(data, at).end()  # type: ignore[union-attr]  # it matches the empty string
            return end if end < len(data) else -1
        return self._brackets(data, at)

    def _brackets(self, data: bytes, at: int) -> int:
        size = len(data)
        while True:
            if self._in_string:
                if self._escaped and at < size:
                    at += 1
                    self._escaped = False
                match = _IN_STRING.match(data, at)
                if match is None:
                    if data.endswith(b"\\"):
                        self._escaped = min(size - at, size - len(data.rstrip(b"\\"))) % 2 == 1
                    return -1
                self._in_string = False
                at = match.end()
                if self._depth == 0:
                    return at
            at = _TO_BRACKET.match(data, at).end()  # type: ignore[union-attr]  # as above
            if at >= size:
                return -1
            if data[at] in _OPEN:
                self._depth += 1
            elif data[at] in _CLOSE:
                self._depth -= 1
                if self._depth <= 0:
                    return at + 1
            else:
                self._in_string = True
            at += 1


def value_end(data: bytes, at: int) -> int:
    """The index behind the value that begins at ``at``; -1 when the data ends first."""
    return Scan().feed(data, at)


_validate = msgspec.json.Decoder(msgspec.Raw).decode


def valid(text: bytes) -> bool:
    """Whether it is one JSON value, read strictly."""
    try:
        _validate(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def lenient(text: bytes) -> bool:
    """Whether the reader :func:`exporter.record.parse` falls back to takes it: NaN, lone surrogates, any nesting."""
    try:
        json.loads(text, parse_int=len, parse_float=len)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


class _Marks(msgspec.Struct):
    # CloudTrail's spelling, as all below
    eventVersion: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815
    eventName: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815
    eventSource: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815
    eventID: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815


class _Wrapping(msgspec.Struct):
    CloudTrailEvent: str | msgspec.UnsetType = msgspec.UNSET
    id: str | msgspec.UnsetType = msgspec.UNSET
    timestamp: int | msgspec.UnsetType = msgspec.UNSET
    message: str | msgspec.UnsetType = msgspec.UNSET


_marks = msgspec.json.Decoder(_Marks).decode
_wrapping = msgspec.json.Decoder(_Wrapping).decode
_MARKS = tuple(f'"{name}"'.encode() for name in _Marks.__struct_fields__)
_WRAPPING = (b'"CloudTrailEvent"', b'"message"')


def looks_like_a_record(text: bytes, *, marks: int = 2) -> bool:
    """Whether it is a whole object with so many of eventVersion, eventName, eventSource, eventID at its top."""
    try:
        found = _marks(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return sum(getattr(found, name) is not msgspec.UNSET for name in _Marks.__struct_fields__) >= marks


def _looks_like_a_wrapper(text: bytes) -> bool:
    """Whether it is a whole LookupEvents event or log event."""
    if not any(mark in text for mark in _WRAPPING):
        return False
    try:
        found = _wrapping(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return found.CloudTrailEvent is not msgspec.UNSET or msgspec.UNSET not in (found.id, found.timestamp, found.message)


_OBJECT = re.compile(rb'[,\[{}\]\s](\{)\s*"')
#: How many bytes are looked through for one broken value, so that hostile nesting does not cost quadratic time.
_BUDGET = 16 * 1024 * 1024


def record_starts(data: bytes, at: int) -> Iterator[int]:
    """Where whole, valid records (or what wraps one) begin behind ``at``: places to go on from after damage."""
    if sum(data.find(mark, at) >= 0 for mark in _MARKS) < 2 and all(data.find(mark, at) < 0 for mark in _WRAPPING):
        return
    budget = _BUDGET
    for match in _OBJECT.finditer(data, max(0, at - 1)):
        start = match.start(1)
        end = value_end(data, start)
        budget -= (end if end > 0 else len(data)) - start
        text = data[start:end] if end > 0 else b""
        if text and (looks_like_a_record(text) or _looks_like_a_wrapper(text)):
            yield start
        if budget < 0:
            return
