"""Plain text in pieces -> one item per CloudTrail record, whatever they are wrapped in. Memory stays flat.

What is understood, decided by content alone, any number of them one after another, with or without line ends:

- ``{"Records": [...]}``, the trail file (CloudTrail User Guide, "CloudTrail log file examples"); any member order
- a bare list; one record per line; a single record, also pretty-printed
- ``{"Events": [{"CloudTrailEvent": "..."}]}``, what ``aws cloudtrail lookup-events`` prints, or parts of it by --query
- ``{"messageType": "DATA_MESSAGE", "logEvents": [{"message": "..."}]}``, the CloudWatch Logs subscription envelope

Speed comes from one trick: the longest stretch of text that ends where a record seems to end is given to a validating
decoder as a list. If it takes it, the boundaries it reports are exact, because a nested value cannot complete a list;
if not, a slower and exact scan goes from value to value and finds the broken one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from exporter.reading.decompress import CHUNK, Damaged
from exporter.reading.scan import Scan, lenient, looks_like_a_record, record_starts, valid, value_end
from exporter.reading.sift import Sift
from exporter.reading.stretch import ENVELOPE_KEYS, LISTS, STRETCH, Stretch, whole_elements, whole_lines
from exporter.reading.unwrap import unwrapped, wraps
from exporter.reading.window import Window
from exporter.record import Document, Item, Malformed

__all__ = ["SAMPLE_BYTES", "Splitter"]

#: So much of something too large or too damaged is kept to look at.
SAMPLE_BYTES = 64 * 1024

_BOM = b"\xef\xbb\xbf"
_BLANK = re.compile(rb"[ \t\r\n]*+")
_BLANK_OR_COMMA = re.compile(rb"[ \t\r\n,]*+")
_DIGEST = frozenset({b'"digestStartTime"', b'"digestEndTime"', b'"digestS3Object"'})
_TELLING = LISTS | _DIGEST
_CONTROL = b'"CONTROL_MESSAGE"'
#: Where reading may go on after something broken between values: a value that begins a line, or an envelope.
_FRESH = re.compile(rb'\n(?=\{\s*"|\[\s*[{"])|(?=\{\s*"(?:Records|Events|logEvents|messageType)"\s*:)')
#: An object that is an envelope by its first member.
_OPENER = re.compile(rb'\{\s*"(?:Records|Events|logEvents|messageType)"\s*:')

_COMMA, _COLON, _QUOTE, _LIST, _LIST_END, _OBJECT, _OBJECT_END = b',:"[]{}'


class Splitter:
    """Splits one text. Use once.

    Args:
        chunks: the text; may end in :class:`~exporter.reading.decompress.Damaged`, which becomes the last item.
        origin: what an item's origin begins with; its number follows, ``origin#17``.
        whole: the origin of what concerns the text as a whole.
        size: bytes of what the text was made from, to say with that; 0 when unknown.
        record_bytes: a value larger than this is not held, but skipped and reported.
        records: so many at most are passed over; the caller stops at the first item for which :attr:`seen` is larger.
        sift: tells records that cannot be wanted; they are counted and not yielded. None: all are yielded.
    """

    def __init__(
        self,
        chunks: Iterator[bytes],
        *,
        origin: str,
        whole: str,
        size: int,
        record_bytes: int,
        records: int = sys.maxsize,
        sift: Sift | None = None,
        passed_over: dict[str, int] | None = None,
    ) -> None:
        self._window = Window(chunks, limit=record_bytes + CHUNK, sample=SAMPLE_BYTES)
        self._origin = origin
        self._whole = whole
        self._size = size
        self._records = records
        self._sift = sift
        #: Records and broken things so far, yielded or passed over.
        self.seen = 0
        self._first = True
        self._over = False
        #: How far lines are tried together: less after a broken one, then more again.
        self._reach = STRETCH
        #: Up to this place of the text no stretches are tried: one failed, and the exact scan looks for the reason.
        self._careful_to = 0
        #: Records known not to be wanted, by filter reason.
        self.passed_over: dict[str, int] = {} if passed_over is None else passed_over

    def items(self) -> Iterator[Item]:
        """Every record of the text, and what is wrong with it, in the order of the text."""
        window = self._window
        window.grow(len(_BOM))
        if window.data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            yield self._problem(Damaged("not_utf8", "the text is UTF-16"), window.data)
            return
        while window.skip(_BLANK):
            if window.data[window.pos] == _BOM[0]:
                window.grow(len(_BOM))
            if window.data.startswith(_BOM, window.pos):
                window.pos += len(_BOM)
                continue
            match window.data[window.pos]:
                case 0x7B:
                    yield from self._object()
                case 0x5B:
                    window.pos += 1
                    yield from self._elements()
                case _:
                    yield from self._stray()
            self._first = False
        if window.damage is not None:
            yield self._problem(window.damage, b"")
        elif self._first:
            yield self._problem(Damaged("no_records", "the file is empty"), b"")

    # -- what is yielded -------------------------------------------------------------------------------------------

    def _region(self, stretch: Stretch) -> Iterator[Item]:
        """The items of a stretch of whole values; those that cannot be wanted are only counted."""
        sift = self._sift
        if sift is not None and not sift.may_hold(stretch.text):
            self._pass_over(len(stretch.values))
            return
        wrapped = wraps(stretch.text)
        for raw in stretch.values:
            # A Raw is a view that keeps the whole stretch alive: copy.
            text = bytes(raw)
            if sift is None or sift.may_hold(text):
                yield self._document(text, wrapped=wrapped)
            else:
                self._pass_over(1)

    def _pass_over(self, count: int) -> None:
        allowed = min(count, self._records - self.seen)
        if allowed > 0:
            self.passed_over["other_service"] = self.passed_over.get("other_service", 0) + allowed
        self.seen += count

    def _document(self, text: bytes, *, wrapped: bool = True) -> Document:
        self.seen += 1
        if wrapped or text[:1] == b'"':
            text = unwrapped(text)
        return Document(text, f"{self._origin}#{self.seen}")

    def _malformed(self, end: int, reason: str, detail: str) -> Malformed:
        """One item for all up to the offset; reading goes on behind it."""
        self.seen += 1
        sample = self._window.head(end).rstrip(b" \t\r\n,")
        self._window.take(end)
        self._careful_to = 0
        return Malformed(reason, detail, f"{self._origin}#{self.seen}", sample, end)

    def _problem(self, damage: Damaged, sample: bytes) -> Malformed:
        return Malformed(damage.reason, damage.detail, self._whole, sample[:SAMPLE_BYTES], self._size)

    def _cut_off(self) -> Iterator[Item]:
        """The text ended inside something; what there is of it is the sample."""
        if self._over:
            return
        self._over = True
        window = self._window
        damage = window.damage or Damaged("truncated", "the text ends in the middle of a value")
        end = window.end()
        sample = window.head(end)
        window.take(end)
        window.damage = None
        yield self._problem(damage, sample)

    # -- between values --------------------------------------------------------------------------------------------

    def _object(self) -> Iterator[Item]:
        """At ``{``: as many whole lines as there are, else member by member."""
        window = self._window
        if window.held < CHUNK:
            window.grow()
        if not self._first and not _OPENER.match(window.data, window.pos):
            if stretch := self._lines():
                yield from self._region(stretch)
                return
            head = window.data[window.pos : window.pos + SAMPLE_BYTES]
            end = value_end(head, 0)
            if end > 0 and not any(key in head[:end] for key in ENVELOPE_KEYS):
                yield from self._whole_value(end)
                return
            line = head.find(b"\n")
            if line > 0 and looks_like_a_record(head[line + 1 : head.find(b"\n", line + 1)]):
                yield self._malformed(line, "not_json", "broken; the next line is a record")
                return
        yield from self._members()

    def _lines(self) -> Stretch | None:
        """A stretch of whole values that are no envelopes, taken."""
        window = self._window
        stretch = whole_lines(window.data, window.pos, self._reach, window.ended)
        if stretch is not None:
            window.pos = stretch.end
        taken = len(stretch.text) if stretch is not None else 0
        self._reach = min(STRETCH, max(STRETCH // 32, 2 * taken))
        return stretch

    def _members(self) -> Iterator[Item]:
        """An object, member by member: its list of records if it has one, else the object itself."""
        window = self._window
        keys: set[bytes] = set()
        opened = False
        at = 1
        while True:
            at = window.blank(at, comma=True)
            if at < 0 or (first := window.byte(at)) not in (_QUOTE, _OBJECT_END):
                yield from self._garbage(opened=opened)
                return
            at += 1
            if first == _OBJECT_END:
                break
            end = self._span(at - 1)
            colon = window.blank(end) if end > 0 else -1
            value = window.blank(colon + 1) if colon > 0 and window.byte(colon) == _COLON else -1
            if value < 0:
                yield from self._garbage(opened=opened)
                return
            key = window.slice(at - 1, end)
            if key in _TELLING:
                keys.add(key)
            if key in LISTS and not opened and window.byte(value) == _LIST:
                window.take(value + 1)
                yield from self._elements()
                opened, at = True, 0
                continue
            at = self._span(value)
            if at < 0 or at == value:
                yield from self._garbage(opened=opened)
                return
            opened = opened or (key == b'"messageType"' and window.slice(value, at) == _CONTROL)
        yield from self._closed(at, keys, opened=opened)

    def _closed(self, end: int, keys: set[bytes], *, opened: bool) -> Iterator[Item]:
        """An object that ends at the offset: what was it?"""
        window = self._window
        if opened:
            window.take(end)
        elif len(keys & _DIGEST) >= 2:
            self.passed_over["digest"] = self.passed_over.get("digest", 0) + 1
            window.take(end)
        elif window.gone:
            yield self._malformed(end, "record_too_large", f"{end} bytes")
        else:
            text = window.slice(0, end)
            alone = self._first or keys & LISTS
            if alone and valid(text) and not looks_like_a_record(text, marks=1) and unwrapped(text) is text:
                yield self._malformed(end, "no_records", "an object with neither a list of records nor an event in it")
            else:
                yield from self._whole_value(end)

    def _whole_value(self, end: int) -> Iterator[Item]:
        """A value that is held and ends at the offset, unless a record begins in it because it is broken."""
        window = self._window
        text = window.slice(0, end)
        if not valid(text):
            self._careful_to = 0
            if not lenient(text):
                start = self._next_record()
                if 0 < start < end:
                    yield self._malformed(start, "not_json", "broken; the next record begins inside it")
                    return
        window.take(end)
        yield self._document(text)

    def _stray(self) -> Iterator[Item]:
        """Neither an object nor a list stands here: a lone string or number, or garbage."""
        end = self._span(0)
        window = self._window
        if end < 0 and window.ended and not window.gone:
            end = window.end()
        if 0 < end <= SAMPLE_BYTES and not window.gone and valid(window.slice(0, end)):
            text = window.slice(0, end)
            window.take(end)
            yield self._document(text)
        else:
            yield from self._garbage(cut_off=False)

    def _garbage(self, *, opened: bool = False, cut_off: bool = True) -> Iterator[Item]:
        """Something broken stands here: one item up to where a value begins again.

        Args:
            opened: an envelope whose list was read; what is left of it is no record.
            cut_off: reaching the end of the text means that the text was cut.
        """
        window = self._window
        begin = 0 if opened else 1
        while True:
            window.fill()
            start = self._restart(max(begin, window.gone))
            if start > 0 or (start == 0 and opened):
                if window.head(start).strip(b" \t\r\n,"):
                    yield self._malformed(start, "not_json", "broken; the next value begins behind it")
                else:
                    window.take(start)
                return
            if window.ended:
                if cut_off or window.damage is not None:
                    yield from self._cut_off()
                else:
                    yield self._malformed(window.end(), "not_json", "text without a record in it")
                return
            window.drop(keep=CHUNK)

    def _restart(self, at: int) -> int:
        """The offset at or behind ``at`` where a value begins between values; -1: none in what is held."""
        window = self._window
        index = window.index(at)
        fresh = _FRESH.search(window.data, index)
        stop = fresh.end() if fresh else -1
        start = next(record_starts(window.data, index), -1)
        found = min((place for place in (stop, start) if place >= 0), default=-1)
        return -1 if found < 0 else window.offset(found)

    # -- inside a list ---------------------------------------------------------------------------------------------

    def _elements(self) -> Iterator[Item]:
        """What is left of a list, its closing bracket taken."""
        window = self._window
        while True:
            if not window.skip(_BLANK_OR_COMMA):
                yield from self._cut_off()
                return
            if window.data[window.pos] == _LIST_END:
                window.pos += 1
                self._careful_to = 0
                return
            if window.place >= self._careful_to:
                if window.held < CHUNK:
                    window.grow()
                stretch, tried = whole_elements(window.data, window.pos, window.ended)
                if stretch is not None:
                    window.pos = stretch.end
                    yield from self._region(stretch)
                    continue
                if tried:
                    self._careful_to = window.place + window.held
                elif window.held <= window.limit and window.grow():
                    continue
            yield from self._element()

    def _element(self) -> Iterator[Item]:
        """One element, whole, broken or too large."""
        window = self._window
        end = self._span(0)
        if end < 0:
            start = self._next_record()
            if start > 0:
                yield self._malformed(start, "not_json", "broken; the next record begins inside it")
            else:
                yield from self._cut_off()
        elif window.gone:
            yield self._malformed(end, "record_too_large", f"{end} bytes")
        elif not self._stands_alone(end):
            start = self._next_record()
            yield self._malformed(start if start > 0 else max(1, end), "not_json", "what follows is no next record")
        else:
            yield from self._whole_value(end)

    def _stands_alone(self, end: int) -> bool:
        """Whether it is a good object, or at least followed by what has to follow an element."""
        window = self._window
        text = window.slice(0, end)
        if text[:1] == b"{" and valid(text):
            return True
        behind = window.blank(end)
        return end > 0 and (behind < 0 or window.byte(behind) in (_COMMA, _LIST_END))

    def _next_record(self) -> int:
        """The offset of the next record that begins behind the beginning of this value; -1: none in what is held."""
        window = self._window
        window.fill()
        start = next(record_starts(window.data, window.index(max(1, window.gone))), -1)
        return -1 if start < 0 else window.offset(start)

    def _span(self, at: int) -> int:
        """The offset behind the value at the offset; -1 when it has no end, or when a record begins inside something
        that has grown too large to be one.

        Nothing of a value that is larger than the limit is held.
        """
        window = self._window
        scan = Scan()
        index = window.index(at)
        while True:
            end = scan.feed(window.data, index)
            if end >= 0:
                return window.offset(end)
            at = window.end()
            if window.held > window.limit:
                if next(record_starts(window.data, window.pos + 1), -1) >= 0:
                    return -1
                window.drop(keep=CHUNK)
            if not window.grow():
                return -1
            index = window.index(at)
