"""Values of log attributes and bodies: what goes onto the OTLP wire, from JSON of any shape.

OTLP strings are UTF-8 and its integers signed 64 bit (opentelemetry-proto, common.proto); a protobuf receiver refuses
a whole request that nests deeper than 100 messages, which 31 nested maps do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import isfinite, isnan
from typing import Any, TypeAlias

from exporter.record import text

__all__ = ["MAX_DEPTH", "Attributes", "TooDeepError", "attribute_size", "boolean", "clean", "cut", "json_text"]

#: Attributes of one log record under construction.
Attributes: TypeAlias = dict[str, Any]

#: Levels of lists and maps that fit into one protobuf message under the usual limit of 100, envelope included.
MAX_DEPTH = 28


class TooDeepError(ValueError):
    """Lists and maps nest deeper than asked for."""


def clean(value: Any, levels: int, on_empty_key: Callable[[], None]) -> Any:
    """The value as OTLP can carry it: nothing is renamed or flattened, integers stay integers.

    Null members of maps go, null items of lists stay in place; empty keys go; integers outside 64 bit and numbers that
    are none become text; lone surrogates become U+FFFD.

    Args:
        levels: how deep lists and maps may nest; 1 is a map of scalars.
        on_empty_key: called for each empty key left out.

    Raises:
        TooDeepError: the value nests deeper.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() else text(value)
    if kind is dict:
        if not levels:
            raise TooDeepError
        out = {}
        for key, child in value.items():
            if child is None:
                continue
            if not key:
                on_empty_key()
                continue
            if not key.isascii():
                key = text(key)
            out[key] = child if type(child) is str and child.isascii() else clean(child, levels - 1, on_empty_key)
        return out
    if kind is list:
        if not levels:
            raise TooDeepError
        return [clean(child, levels - 1, on_empty_key) for child in value]
    if kind is int:
        return value if -(2**63) <= value < 2**63 else str(value)
    if kind is float:
        return value if isfinite(value) else _word(value)
    return value


def _word(value: float) -> str:
    if isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def boolean(value: Any) -> bool | None:
    """A JSON boolean, or the word for one in any case, as CloudTrail writes some; None for everything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= 5:
        return {"true": True, "false": False}.get(value.lower())
    return None


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def json_text(value: Any) -> str:
    """Compact JSON with the keys in their order; valid UTF-8; NaN and its kin as strings."""
    try:
        encoded = _encode(value)
    except ValueError:
        encoded = _encode(_finite(value))
    return encoded if encoded.isascii() else text(encoded)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_finite(child) for child in value]
    if isinstance(value, float) and not isfinite(value):
        return _word(value)
    return value


def cut(value: str, limit: int) -> str:
    """The first characters that fit into so many bytes of UTF-8."""
    if len(value) * 4 <= limit:
        return value
    encoded = value.encode()
    return value if len(encoded) <= limit else encoded[:limit].decode(errors="ignore")


def attribute_size(value: Any) -> int:
    """Bytes of a cleaned value: UTF-8 for a string, compact JSON for lists and maps, 8 for any other scalar."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    if isinstance(value, Mapping | list):
        return len(json_text(value).encode())
    return 8
