"""A trail file of ordinary size in one go: how many records it has, and those of them that may be wanted.

CloudTrail closes a file long before it has 8 MiB of text, and few of its records are of one service. For such files
the general way, which is made for any size and any damage, costs several times the work itself.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import msgspec
from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor, IsalError

from exporter.reading.decompress import Readable
from exporter.reading.sift import Sift

__all__ = ["ORDINARY", "Again", "Whole", "read_all", "sifted"]

#: Files of no more bytes than this, as they lie there, are tried in one go.
ORDINARY = 2 * 1024 * 1024
#: And of no more than this once unpacked: it bounds what is held.
_PLAIN = 8 * 1024 * 1024

_GZIP = b"\x1f\x8b"
_HEAD = re.compile(rb'\s*\{\s*"Records"\s*:\s*(?=\[)')

_view: Callable[[msgspec.Raw], memoryview] = memoryview
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Whole:
    """A trail file that is in order.

    Attributes:
        records: how many it has.
        held: the number in the file, from 1 on, and the text of each that may be wanted; in order.
    """

    records: int
    held: Sequence[tuple[int, bytes]] = ()


class Again:
    """What was read of a stream, and the stream behind it.

    Args:
        head: what was read.
        rest: the stream it was read from.
    """

    def __init__(self, head: bytes, rest: Readable) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; empty at the end."""
        if not self._head:
            return self._rest.read(size)
        part, self._head = self._head[:size], self._head[size:]
        return part


def read_all(stream: Readable, size: int) -> bytes:
    """All of a stream that should have so many bytes; or somewhat more than that, when it has more.

    Raises:
        OSError: of the stream.
    """
    data = stream.read(size + 1)
    # Only an empty answer is the end.
    while data and len(data) <= size and (more := stream.read(size + 1 - len(data))):
        data += more
    return data


def sifted(data: bytes, *, sift: Sift, most_bytes: int, record_bytes: int) -> Whole | None:
    """The file, when it is a trail file, well-formed and of ordinary size.

    Args:
        data: gzip or not.
        most_bytes: how many bytes of text it may have.
        record_bytes: how many one record may have.

    Returns:
        None when it is anything else: the general way finds out what.
    """
    text = _plain(data, min(_PLAIN, most_bytes))
    head, end = _HEAD.match(text), text.rfind(b"]")
    if head is None or text[end + 1 :].strip(b" \t\r\n") != b"}":
        return None
    begin = head.end()
    try:
        # One list from the first bracket to the last: so "Records" is the only member, and there is nothing behind it.
        values = _decode_list(memoryview(text)[begin : end + 1])
    except (msgspec.DecodeError, RecursionError):
        return None
    sizes = [len(view) for view in map(_view, values)]
    if not sizes or max(sizes) > record_bytes:
        return None
    if not sift.may_hold(text):
        return Whole(len(values))
    # Where the next record begins, if nothing but one comma stands between two of them, as CloudTrail writes it.
    ends = list(accumulate((size + 1 for size in sizes), initial=begin + 1))
    if ends[-1] != end + 1:
        held = [(number, text) for number, raw in enumerate(values, 1) if sift.may_hold(text := bytes(raw))]
    else:
        places = sift.places(text, lambda place: ends[min(bisect_right(ends, place), len(values))])
        numbers = sorted({bisect_right(ends, place) for place in places})
        held = [(number, bytes(values[number - 1])) for number in numbers if 1 <= number <= len(values)]
    return Whole(len(values), held)


def _plain(data: bytes, most: int) -> bytes:
    """The text; empty when it is larger, damaged, or more than one gzip member."""
    if data[:2] != _GZIP:
        return data if len(data) <= most else b""
    # RFC 1952, 2.3.1: ISIZE, the size of the plain text modulo 2**32, ends a member.
    size = int.from_bytes(data[-4:], "little")
    if not 0 < size <= most:
        return b""
    engine = IgzipDecompressor(flag=DECOMP_GZIP)
    try:
        text: bytes = engine.decompress(data, size)
    except IsalError:  # type: ignore[misc]  # its stub declares a variable
        return b""
    return text if engine.eof and not engine.unused_data else b""
