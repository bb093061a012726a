"""A stream of bytes, gzip or not -> plain bytes in pieces, within limits. Pure apart from reading the stream.

Whether it is gzip is decided by its first bytes, never by a name: S3 copy jobs and browsers unpack and keep the name.
Several members in one stream are one text (RFC 1952 section 2.2), as Firehose writes them; gzip within gzip is taken
off too, because Firehose can compress what CloudWatch Logs has compressed already.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor, IsalError

__all__ = ["CHUNK", "Damaged", "Readable", "plain_chunks"]

#: Bytes of plain text in one piece; what a reader holds of a file at a time is a small multiple of this.
CHUNK = 64 * 1024

_MAGIC = b"\x1f\x8b"
#: A damaged block takes back what was unpacked in the same step: small steps lose little.
_STEP = 64 * 1024
#: So much of a member is kept packed, so that damage in it can be approached byte by byte. Trail files are smaller.
_SALVAGE = 1024 * 1024
#: Below this much plain text no ratio is judged: small files of one repeated record compress absurdly well.
_RATIO_FROM = 16 * 1024 * 1024
_LAYERS = 2


class Readable(Protocol):
    """What is read from: an open file, the body of an HTTP reply."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; empty at the end."""
        ...


class Damaged(Exception):
    """The stream gives no more, for this reason; what was yielded before is good.

    Args:
        reason: a key of :data:`exporter.record.QUARANTINE_REASONS`.
        detail: one line for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class _Packed:
    """The stream in blocks, with how many bytes it gave."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.bytes = 0
        self.head = self._take()

    def _take(self) -> bytes:
        block = self._stream.read(CHUNK)
        self.bytes += len(block)
        return block

    def blocks(self) -> Iterator[bytes]:
        block, self.head = self.head, b""
        while block:
            yield block
            block = self._take()


def plain_chunks(
    stream: Readable, *, size: int, file_bytes: int, plain_bytes: int, ratio: int, chunk: int = CHUNK
) -> Iterator[bytes]:
    """The plain text in pieces of about ``chunk`` bytes.

    Args:
        size: bytes of the stream as far as known beforehand; 0 when unknown.
        file_bytes: how many a compressed stream may have.
        plain_bytes: how many the plain text may have.
        ratio: plain bytes a compressed byte may become, judged from 16 MiB of plain text on.

    Raises:
        Damaged: after the last good piece; reasons ``file_too_large``, ``plain_too_large``, ``ratio``, ``truncated``
            and ``corrupt``.
    """
    packed = _Packed(stream)
    if packed.head[:2] != _MAGIC:
        if size > plain_bytes:
            raise Damaged("plain_too_large", f"{size} bytes, limits.plain_bytes allows {plain_bytes}")
        yield from _bounded(packed.blocks(), packed, plain_bytes, 0)
        return
    if size > file_bytes:
        raise Damaged("file_too_large", f"{size} bytes compressed, limits.file_bytes allows {file_bytes}")
    blocks = packed.blocks()
    for _ in range(_LAYERS):
        blocks = _bounded(_unzip(blocks, chunk), packed, plain_bytes, ratio)
        first = next(blocks, b"")
        blocks = _again(first, blocks)
        if first[:2] != _MAGIC:
            break
    for block in blocks:
        if packed.bytes > file_bytes:
            raise Damaged("file_too_large", f"over {file_bytes} bytes compressed (limits.file_bytes)")
        yield block


def _again(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _bounded(pieces: Iterator[bytes], packed: _Packed, plain_bytes: int, ratio: int) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > plain_bytes:
            raise Damaged("plain_too_large", f"over {plain_bytes} bytes of text (limits.plain_bytes)")
        if ratio and total > _RATIO_FROM and total > ratio * packed.bytes:
            raise Damaged("ratio", f"{packed.bytes} bytes became {total}, limits.ratio allows {ratio} times as many")
        yield piece


def _unzip(blocks: Iterator[bytes], chunk: int) -> Iterator[bytes]:
    """All members of a gzip stream as one text."""
    held: list[bytes] = []
    size = 0
    member = _Member()
    for block in blocks:
        while True:
            try:
                text = member.feed(block)
            except IsalError as error:  # type: ignore[misc]  # its stub declares a variable
                yield b"".join(held)
                yield from member.salvage()
                raise Damaged("corrupt", f"the compressed data is damaged: {error}") from None
            if text:
                held.append(text)
                size += len(text)
            if size >= chunk:
                yield b"".join(held)
                held, size = [], 0
            block = b""
            if member.over:
                rest = member.rest.lstrip(b"\0")
                if not rest:
                    # Zeros behind the last member are padding, as gzip(1) has it; a further member may still come.
                    member = _Member()
                    break
                if rest[:2] != _MAGIC[: len(rest)]:
                    yield b"".join(held)
                    raise Damaged("corrupt", "something that is not gzip follows the compressed data")
                member, block = _Member(), rest
            elif member.hungry:
                break
    yield b"".join(held)
    if member.started:
        raise Damaged("truncated", "the compressed data ends in the middle")


class _Member:
    """One gzip member being unpacked; its checksum is verified by ISA-L at its end."""

    def __init__(self) -> None:
        self._engine = IgzipDecompressor(flag=DECOMP_GZIP)
        self._fed: list[bytes] = []
        self._kept = 0
        self._given = 0
        self.started = False

    @property
    def over(self) -> bool:
        return self._engine.eof

    @property
    def hungry(self) -> bool:
        return self._engine.needs_input

    @property
    def rest(self) -> bytes:
        return self._engine.unused_data

    def feed(self, block: bytes) -> bytes:
        if not self.started:
            block = block.lstrip(b"\0")
        if block:
            self.started = True
            if self._kept <= _SALVAGE:
                self._fed.append(block)
                self._kept += len(block)
            elif self._fed:
                self._fed = []
        text = self._engine.decompress(block, _STEP) if self.started else b""
        self._given += len(text)
        return text

    def salvage(self) -> Iterator[bytes]:
        """What can be had of the damaged step: everything before the damage, by going through it byte by byte."""
        engine = zlib.decompressobj(31)
        skip = self._given
        held: list[bytes] = []
        size = 0
        try:
            for block in self._fed:
                for index in range(len(block)):
                    text = engine.decompress(block[index : index + 1])
                    if skip:
                        taken = min(skip, len(text))
                        skip -= taken
                        text = text[taken:]
                    if text:
                        held.append(text)
                        size += len(text)
                        if size >= CHUNK:
                            yield b"".join(held)
                            held, size = [], 0
        except zlib.error:
            pass
        yield b"".join(held)
