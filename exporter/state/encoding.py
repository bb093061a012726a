"""How values of the contract are kept: positions as JSON, units as 16 bytes, times as microseconds. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from exporter.contract import Position, Unit

__all__ = ["from_micros", "from_text", "position_of", "position_text", "to_micros", "to_text", "unit_key"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def position_text(position: Position) -> str:
    """The position as JSON in ASCII; lone surrogates survive in it. Mappings and sequences of any kind are taken."""
    return json.dumps(position, separators=(",", ":"), default=_plain)


def position_of(text: str) -> Position:
    """What :func:`position_text` made a text of."""
    position: dict[str, Any] = json.loads(text)
    return position


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"a position holds JSON, not {type(value).__name__}")


def unit_key(unit: Unit) -> bytes:
    """16 bytes that stand for a unit within its scope; its name and version cannot run into each other."""
    name = to_text(unit.name)
    return hashlib.blake2b(len(name).to_bytes(8, "big") + name + to_text(unit.version), digest_size=16).digest()


def to_text(text: str) -> bytes:
    """Any string as bytes, also a file name that was not UTF-8 (Python gives it lone surrogates)."""
    return text.encode("utf-8", "surrogatepass")


def from_text(raw: bytes) -> str:
    """What :func:`to_text` made bytes of."""
    return raw.decode("utf-8", "surrogatepass")


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware time, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The time, aware, in UTC."""
    return _EPOCH + timedelta(microseconds=micros)
