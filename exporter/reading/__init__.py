"""A file, an object, a reply body -> its CloudTrail records, within limits. Used by every source that reads files.

Three steps: :mod:`~exporter.reading.decompress` makes text of bytes, :mod:`~exporter.reading.split` records of text,
and they are counted here. Whatever the input does, what is held is a few times ``limits.record_bytes``.

Records that cannot be of a wanted service are counted and not yielded (:mod:`~exporter.reading.sift`); a file
of ordinary size is sifted in one go (:mod:`~exporter.reading.whole`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from exporter.reading.decompress import Readable, plain_chunks
from exporter.reading.sift import sift_for
from exporter.reading.split import SAMPLE_BYTES, Splitter
from exporter.reading.unwrap import unwrapped, wraps
from exporter.reading.whole import ORDINARY, Again, Whole, read_all, sifted
from exporter.record import Document, Item, Malformed

__all__ = ["SAMPLE_BYTES", "Limits", "Readable", "Reading"]

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How large input may be. Beyond a limit lies quarantine, never a crash and never a neighbour's loss.

    Attributes:
        file_bytes: a compressed file as it lies there. CloudTrail's own are at most 50 MB (User Guide, quotas).
        plain_bytes: the same file decompressed, or a file that is not compressed.
        ratio: plain bytes per compressed byte, judged from 16 MiB of plain text on. Trail files have 10 to 30, one
            record repeated over and over about 100; a bomb of zeros reaches 1,029, near the most deflate can do.
        record_bytes: one record. CloudTrail's are at most 256 KB, those of a Lake event data store 1 MB.
        file_records: records of one file; what follows them is not read.
        json_depth: how deep lists and objects may nest; 11 is the deepest seen in real records.
    """

    file_bytes: int = 256 * _MIB
    plain_bytes: int = 4096 * _MIB
    ratio: int = 1_000
    record_bytes: int = 2 * _MIB
    file_records: int = 10_000_000
    json_depth: int = 64


class Reading:
    """One pass over one stream. Iterate once; the stream is read as far as the iteration goes.

    Args:
        stream: what to read; its ``OSError`` passes through.
        origin: what the origin of its items begins with: ``origin#17``.
        version: which state of the file this is, so that a repaired file is another one in quarantine.
        size: bytes in the stream as far as known; 0 when unknown.
        wanted: values of ``eventSource`` in UTF-8. A record whose text cannot hold one of them is passed over as
            ``other_service``, also if it is odd in itself; one that is yielded may still be of another service. None:
            all are yielded.
    """

    #: The origin of what concerns the file as a whole.
    whole: str

    def __init__(
        self,
        stream: Readable,
        *,
        origin: str,
        version: str,
        size: int,
        limits: Limits,
        wanted: frozenset[bytes] | None = None,
    ) -> None:
        self.whole = f"{origin} ({version})"
        self._stream = stream
        self._origin = origin
        self._size = size
        self._limits = limits
        self._sift = sift_for(wanted)
        self._passed_over: dict[str, int] = {}

    @property
    def passed_over(self) -> Mapping[str, int]:
        """Records known not to be wanted so far, by filter reason: a digest file counts as one."""
        return self._passed_over

    def __iter__(self) -> Iterator[Item]:
        whole = self._at_once()
        if whole is None:
            yield from self._items()
            return
        if passed_over := whole.records - len(whole.held):
            self._passed_over["other_service"] = passed_over
        for number, text in whole.held:
            yield Document(unwrapped(text) if wraps(text) else text, f"{self._origin}#{number}")

    def _at_once(self) -> Whole | None:
        """The file, if it is of ordinary size and in order; else its bytes are there to be read again."""
        limits, size = self._limits, self._size
        if self._sift is None or not 0 < size <= min(ORDINARY, limits.file_bytes):
            return None
        data = read_all(self._stream, size)
        whole = None
        if len(data) == size:
            whole = sifted(data, sift=self._sift, most_bytes=limits.plain_bytes, record_bytes=limits.record_bytes)
        if whole is None or whole.records > limits.file_records:
            self._stream = Again(data, self._stream)
            return None
        return whole

    def _items(self) -> Iterator[Item]:
        limits = self._limits
        chunks = plain_chunks(
            self._stream,
            size=self._size,
            file_bytes=limits.file_bytes,
            plain_bytes=limits.plain_bytes,
            ratio=limits.ratio,
        )
        splitter = Splitter(
            chunks,
            origin=self._origin,
            whole=self.whole,
            size=self._size,
            record_bytes=limits.record_bytes,
            records=limits.file_records,
            sift=self._sift,
            passed_over=self._passed_over,
        )
        for item in splitter.items():
            if splitter.seen > limits.file_records:
                break
            yield item
        if splitter.seen > limits.file_records:
            detail = f"more than {limits.file_records} records (limits.file_records); the rest was not read"
            yield Malformed("too_many_records", detail, self.whole, b"", self._size)
