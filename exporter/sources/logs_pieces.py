"""Log events -> items; a record that was cut into two log events becomes one again. Pure.

CloudWatch Logs takes at most 1 MB per event, formerly 256 KB, and forwarders cut what is longer into consecutive
events of one stream. CloudTrail itself does not: it leaves out what is too long (User Guide, "Sending events to
CloudWatch Logs").
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import msgspec

from exporter.record import Document, Item, Malformed

__all__ = ["Pieces"]

#: The longest record that is put together, bytes.
_LONGEST = 2 * 1024 * 1024
#: How much text may wait for its rest, all streams together.
_WAITING = 8 * 1024 * 1024
#: So much is kept of an event that has no message.
_SAMPLE = 64 * 1024

_whole_json = msgspec.json.Decoder(msgspec.Raw).decode


def _whole(data: bytes) -> bool:
    try:
        _whole_json(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


class Pieces:
    """The log events of one question in the order they came, its pages one after the other.

    A message that begins like an object and is none waits for the next one of its stream. If both together are JSON
    they are one record; if not, each is passed on as it is, and parsing says what is wrong with it.

    Args:
        group: for the origin of the items: ``logs GROUP/STREAM EVENT``.
    """

    def __init__(self, group: str) -> None:
        self._group = group
        self._waiting: dict[str, Document] = {}
        self._bytes = 0

    def put(self, events: Iterable[object]) -> Iterator[Item]:
        """What is complete now."""
        for event in events:
            members = event if isinstance(event, dict) else {}
            stream = str(members.get("logStreamName", "?"))[:512]
            origin = f"logs {self._group}/{stream} {str(members.get('eventId', '?'))[:100]}"
            message = members.get("message")
            if not isinstance(message, str):
                text = json.dumps(event, default=str).encode()
                yield Malformed("not_a_record", "a log event without message", origin, text[:_SAMPLE], len(text))
                continue
            yield from self._one(stream, Document(message.encode("utf-8", "surrogatepass"), origin))

    def rest(self) -> Iterator[Item]:
        """What still waits: its other half did not come."""
        yield from self._waiting.values()
        self._waiting.clear()
        self._bytes = 0

    def _one(self, stream: str, document: Document) -> Iterator[Item]:
        first = self._waiting.pop(stream, None)
        if first is not None:
            self._bytes -= len(first.data)
        if _whole(document.data):
            if first is not None:
                yield first
            yield document
            return
        if first is not None:
            together = first.data + document.data
            if len(together) <= _LONGEST and _whole(together):
                yield Document(together, first.origin)
                return
            yield first
        if document.data.lstrip()[:1] == b"{" and len(document.data) < _LONGEST:
            self._waiting[stream] = document
            self._bytes += len(document.data)
            while self._bytes > _WAITING:
                oldest = self._waiting.pop(next(iter(self._waiting)))
                self._bytes -= len(oldest.data)
                yield oldest
        else:
            yield document
