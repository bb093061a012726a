"""A record that comes as text inside another value -> the record. Pure."""

from __future__ import annotations

import msgspec

__all__ = ["unwrapped", "wraps"]

_string = msgspec.json.Decoder(str).decode


class _Wrapper(msgspec.Struct):
    """An element that carries the record as text: a LookupEvents event, a log event."""

    CloudTrailEvent: str | msgspec.UnsetType = msgspec.UNSET
    message: str | msgspec.UnsetType = msgspec.UNSET
    eventVersion: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815 - CloudTrail's spelling


_wrapper = msgspec.json.Decoder(_Wrapper).decode


def wraps(text: bytes) -> bool:
    """Whether some value of the text may be something to unwrap; a quick look."""
    return b'"CloudTrailEvent"' in text or b'"message"' in text or text[:1] == b'"'


def unwrapped(text: bytes) -> bytes:
    """The record inside a LookupEvents event, a log event or a string that holds JSON; the same text if it is none."""
    try:
        if text[:1] == b'"':
            inner: object = _string(text)
        else:
            wrapper = _wrapper(text)
            if wrapper.eventVersion is not msgspec.UNSET:
                return text
            inner = wrapper.message if wrapper.CloudTrailEvent is msgspec.UNSET else wrapper.CloudTrailEvent
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text
    if not isinstance(inner, str) or (text[:1] == b'"' and not inner.lstrip().startswith("{")):
        return text
    return inner.encode()
