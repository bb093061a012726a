"""The part of a long text that is held in memory: it grows at its end and is taken from its beginning."""

from __future__ import annotations

import re
from collections.abc import Iterator

from exporter.reading.decompress import Damaged

__all__ = ["Window"]

_BLANK = re.compile(rb"[ \t\r\n]*+")
_BLANK_OR_COMMA = re.compile(rb"[ \t\r\n,]*+")


class Window:
    """A moving view of a text that comes in pieces.

    ``pos`` is the index in ``data`` where the value being read begins. Within a value places are *offsets* from its
    beginning; they stay true when the window grows and when the beginning of a large value is dropped.

    Attributes:
        data: what is held, from before ``pos`` on.
        pos: index of the beginning of the value, or of what is left of it.
        gone: how many bytes of the value were dropped.
        sample: the first bytes of a value of which some were dropped.
        ended: there are no more pieces.
        damage: why they ended, when it was not the end of the text; the reader takes it.
        limit: bytes that one value may need.
    """

    __slots__ = ("_base", "_chunks", "_sample_bytes", "damage", "data", "ended", "gone", "limit", "pos", "sample")

    def __init__(self, chunks: Iterator[bytes], *, limit: int, sample: int) -> None:
        self._chunks = chunks
        self._sample_bytes = sample
        self._base = 0
        self.limit = limit
        self.data = b""
        self.pos = 0
        self.gone = 0
        self.sample = b""
        self.ended = False
        self.damage: Damaged | None = None

    @property
    def held(self) -> int:
        """Bytes held from ``pos`` on."""
        return len(self.data) - self.pos

    @property
    def place(self) -> int:
        """How far ``pos`` is from the beginning of the text."""
        return self._base + self.pos

    def grow(self, upto: int = 0) -> bool:
        """Hold one more piece, or so many that ``upto`` bytes are held; False when the text has ended."""
        if self.ended:
            return False
        pieces = [self.data[self.pos :]]
        held = len(pieces[0])
        grown = False
        while not self.ended and (not grown or held < upto):
            try:
                piece = next(self._chunks, None)
            except Damaged as damage:
                self.damage = damage
                piece = None
            if piece is None:
                self.ended = True
            elif piece:
                pieces.append(piece)
                held += len(piece)
                grown = True
        if grown:
            self._base += self.pos
            self.data = b"".join(pieces)
            self.pos = 0
        return grown

    def fill(self) -> None:
        """Hold as much as one value may need, if there is so much."""
        if self.held < self.limit:
            self.grow(self.limit)

    def skip(self, what: re.Pattern[bytes]) -> bool:
        """Move ``pos`` behind what the pattern matches; False when nothing is left."""
        while True:
            self.pos = what.match(self.data, self.pos).end()  # type: ignore[union-attr]  # it matches the empty string
            if self.pos < len(self.data):
                return True
            if not self.grow():
                return False

    # -- offsets in the value --------------------------------------------------------------------------------------

    def index(self, offset: int) -> int:
        """Where in ``data`` the offset is."""
        return self.pos + offset - self.gone

    def offset(self, index: int) -> int:
        """The offset of an index of ``data``."""
        return index - self.pos + self.gone

    def end(self) -> int:
        """The offset behind everything that is held."""
        return len(self.data) - self.pos + self.gone

    def byte(self, offset: int) -> int:
        """The byte at an offset that is held."""
        return self.data[self.index(offset)]

    def slice(self, start: int, end: int) -> bytes:
        """A copy of what lies between the offsets, as far as it is held."""
        return self.data[max(self.index(start), self.pos) : max(self.index(end), self.pos)]

    def blank(self, offset: int, *, comma: bool = False) -> int:
        """The first offset from here on that is not blank (nor a comma); -1 when the text ends before."""
        what = _BLANK_OR_COMMA if comma else _BLANK
        while True:
            index = what.match(self.data, self.index(offset)).end()  # type: ignore[union-attr]  # as in skip
            offset = self.offset(index)
            if index < len(self.data):
                return offset
            if self.held > self.limit:
                self.drop(keep=0)
            if not self.grow():
                return -1

    def head(self, end: int) -> bytes:
        """The first bytes of the value up to the offset, at most as many as a sample has."""
        if self.gone:
            return self.sample
        return self.data[self.pos : self.pos + min(end, self._sample_bytes)]

    def take(self, end: int) -> None:
        """The value ends at the offset: the next begins there."""
        self.pos = self.index(end)
        self.gone = 0
        self.sample = b""

    def drop(self, *, keep: int) -> None:
        """Let go of the beginning of the value, but for the last ``keep`` bytes held."""
        count = self.held - keep
        if count <= 0:
            return
        if not self.gone:
            self.sample = self.data[self.pos : self.pos + min(count, self._sample_bytes)]
        self.pos += count
        self.gone += count
