"""The longest run of whole JSON values at a place, found by guessing its end and letting a decoder prove it. Pure.

A wrong guess costs time, never a record: a run is only taken when the decoder accepts all of it, and the end of a
nested value, or a place inside a string, cannot complete a list or a sequence of values.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from exporter.reading.decompress import CHUNK

__all__ = ["ENVELOPE_KEYS", "LISTS", "STRETCH", "Stretch", "whole_elements", "whole_lines"]

#: The members, as they stand in the text, under which records are listed.
LISTS = frozenset({b'"Records"', b'"Events"', b'"logEvents"'})
#: Members that tell an object which is not itself a record.
ENVELOPE_KEYS = (*sorted(LISTS), b'"digestStartTime"')

#: Bytes of the longest run that is tried.
STRETCH = 4 * CHUNK
#: How many ends are guessed before the caller has to look exactly.
_TRIES = 4

_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines


class Stretch(NamedTuple):
    """A run of whole values: where each lies, the text they lie in, and the index behind it in the data."""

    values: list[msgspec.Raw]
    text: bytes
    end: int


def whole_elements(data: bytes, pos: int, ended: bool) -> tuple[Stretch | None, bool]:
    """Elements of a list whose next one begins at ``pos``; and whether some end was tried in vain.

    Args:
        ended: nothing follows the data.
    """
    top = min(len(data), pos + STRETCH)
    end = data.rfind(b"]", pos) if ended and top == len(data) else -1
    end = end if end > pos else _last_record(data, pos, top)
    tried = False
    for _ in range(_TRIES):
        if end <= pos:
            break
        text = b"".join((b"[", memoryview(data)[pos:end], b"]"))
        try:
            return Stretch(_decode_list(text), text, end), False
        except (msgspec.DecodeError, RecursionError) as error:
            tried = True
            place = _place(error)
            end = _last_record(data, pos, pos + place if 0 <= place < end - pos else end - 1)
    return None, tried


def whole_lines(data: bytes, pos: int, reach: int, ended: bool) -> Stretch | None:
    """Values outside everything, the next one at ``pos``, with no envelope among them; None: this one is not so.

    Args:
        reach: how many bytes are tried at most.
        ended: nothing follows the data.
    """
    top = min(len(data), pos + reach)
    end = top if ended and top == len(data) else _last_line(data, pos, top)
    for _ in range(_TRIES):
        text = data[pos:end] if end > pos else b""
        envelope = min((at for key in ENVELOPE_KEYS if (at := text.find(key)) >= 0), default=-1)
        if envelope >= 0:
            end = _last_line(data, pos, pos + envelope)
            text = data[pos:end] if end > pos else b""
        if not text:
            return None
        try:
            return Stretch(_decode_lines(text), text, end)
        except (msgspec.DecodeError, RecursionError) as error:
            place = _place(error)
            end = _last_line(data, pos, pos + place if 0 <= place < end - pos else end - 1)
    return None


def _last_record(data: bytes, start: int, end: int) -> int:
    """The last place before ``end`` where an object ends and the next in a list begins; -1: none."""
    while (end := data.rfind(b"},", start, end)) >= 0:
        if data[end + 2 : end + 66].lstrip()[:1] == b"{":
            return end + 1
    return -1


def _last_line(data: bytes, start: int, end: int) -> int:
    """The last place before ``end`` where a line ends, or an object and the next one begins; -1: none."""
    return max(data.rfind(b"\n", start, end), data.rfind(b"}{", start, end) + 1) or -1


_BYTE = re.compile(r"\(byte (\d+)\)")


def _place(error: Exception) -> int:
    """Where the decoder stopped, if it says so; only speed depends on it."""
    found = _BYTE.search(str(error))
    return int(found[1]) if found else -1
