"""Whether a text can hold a record of a wanted service at all, found without parsing it. Pure.

The name of a service stands in JSON as it is, however often the JSON is put into a string of other JSON: it holds no
character that has to be escaped. It may be escaped all the same, and then only as ``\\uXXXX``; so a text that has
neither the name nor an escape that could be a part of it holds no record of the service. What is let through is
compared exactly later, so a wrong "may hold" costs time and nothing else.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

__all__ = ["Sift", "sift_for"]

#: Names made of anything else are not looked for: JSON has several spellings of "/", a quote, or what is not ASCII.
_PLAIN = re.compile(rb"[A-Za-z0-9._-]+")
#: What can hide a name when it is escaped: the letters of an escape within an escape, and NUL, which makes UTF-16.
_ESCAPING = b"\0\\u0123456789abcdefABCDEF"
_ESCAPE = b"\\u00"
#: Below this size calling out costs more than it spares.
_LARGE = 16 * 1024


def _search() -> Callable[[bytes, bytes, int], int]:
    """``text.find(needle, at)`` by the C library, which is three to five times as fast (15 GB/s against 3 to 5).

    It lets other threads run meanwhile. Where there is none (Windows) it is ``find`` itself.
    """
    try:
        memmem = ctypes.CDLL(None).memmem
    except (OSError, AttributeError, TypeError):
        return lambda needle, text, at: text.find(needle, at)
    memmem.restype = ctypes.c_void_p
    memmem.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
    cast: Callable[[bytes, object], ctypes.c_void_p] = ctypes.cast  # type: ignore[assignment]  # bytes are taken too

    def find(needle: bytes, text: bytes, at: int) -> int:
        # The caller holds the text while this looks at its bytes.
        begin = cast(text, ctypes.c_void_p).value or 0
        found = memmem(begin + at, len(text) - at, needle, len(needle)) if at < len(text) else None
        return -1 if found is None else found - begin

    return find


_find = _search()


class Sift:
    """Looks for names in texts; see :func:`sift_for`.

    Args:
        names: not empty; of ASCII letters, digits, ``.``, ``_`` and ``-``.
    """

    def __init__(self, names: frozenset[bytes]) -> None:
        self._names = tuple(sorted(names))
        hiding = sorted({*b"".join(self._names), *_ESCAPING})
        self._hidden = re.compile(rb"\\u00(?:%s)" % b"|".join(b"%02x" % byte for byte in hiding), re.IGNORECASE)

    def may_hold(self, text: bytes) -> bool:
        """False: nothing in the text is, or decodes to, one of the names."""
        if len(text) < _LARGE:
            for name in self._names:
                if name in text:
                    return True
            return b"\\" in text and _ESCAPE in text and self._hidden.search(text) is not None
        for name in self._names:
            if _find(name, text, 0) >= 0:
                return True
        return b"\\" in text and _find(_ESCAPE, text, 0) >= 0 and self._hidden.search(text) is not None

    def places(self, text: bytes, skip: Callable[[int], int]) -> Iterator[int]:
        """Where the names, and escapes that could be a part of one, begin; in no order.

        Args:
            skip: a place -> from where on the next one is of interest; larger than the place.
        """
        for name in self._names:
            place = _find(name, text, 0)
            while place >= 0:
                yield place
                place = _find(name, text, max(place + 1, skip(place)))
        if b"\\" in text and _find(_ESCAPE, text, 0) >= 0:
            yield from (match.start() for match in self._hidden.finditer(text))


@lru_cache(maxsize=8)
def sift_for(wanted: frozenset[bytes] | None) -> Sift | None:
    """What looks for these values of ``eventSource``; None: all has to be parsed.

    That is so when everything is wanted (None), and when one of the names may be spelt in several ways.
    """
    if not wanted or not all(_PLAIN.fullmatch(name) for name in wanted):
        return None
    return Sift(wanted)
