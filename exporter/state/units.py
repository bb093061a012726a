"""Finished units in SQLite, by scope. Opens no transaction and takes no lock: that is for its caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from exporter.contract import Unit
from exporter.state.encoding import to_text, unit_key
from exporter.state.identities import among

__all__ = ["finish_units", "forget_scopes", "unfinished_in"]


def unfinished_in(connection: sqlite3.Connection, partition: int, units: Sequence[Unit]) -> list[Unit]:
    """Those of the units that are not finished in the partition of this number, in the given order."""
    keys = [(unit.scope, unit_key(unit)) for unit in units]
    finished: dict[str, set[bytes]] = {}
    for scope in {scope for scope, _ in keys}:
        number = _number(connection, partition, scope)
        asked = [key for of, key in keys if of == scope] if number is not None else ()
        finished[scope] = among(connection, "SELECT unit FROM finished WHERE scope = ? AND unit", asked, number)
    return [unit for unit, (scope, key) in zip(units, keys, strict=True) if key not in finished[scope]]


def finish_units(connection: sqlite3.Connection, partition: int, units: Sequence[Unit]) -> None:
    """Remember the units as finished in the partition of this number."""
    numbers: dict[str, int | None] = {}
    for scope in {unit.scope for unit in units}:
        connection.execute(
            "INSERT OR IGNORE INTO scopes (partition, name) VALUES (?, CAST(? AS TEXT))", (partition, to_text(scope))
        )
        numbers[scope] = _number(connection, partition, scope)
    connection.executemany(
        "INSERT OR IGNORE INTO finished VALUES (?, ?)", [(numbers[unit.scope], unit_key(unit)) for unit in units]
    )


def forget_scopes(connection: sqlite3.Connection, partition: int, scopes: Iterable[str]) -> None:
    """Forget the finished units of these scopes of the partition of this number; "" is never forgotten."""
    for scope in scopes:
        number = _number(connection, partition, scope) if scope else None
        if number is not None:
            connection.execute("DELETE FROM finished WHERE scope = ?", (number,))
            connection.execute("DELETE FROM scopes WHERE id = ?", (number,))


def _number(connection: sqlite3.Connection, partition: int, scope: str) -> int | None:
    row = connection.execute(
        "SELECT id FROM scopes WHERE partition = ? AND name = CAST(? AS TEXT)", (partition, to_text(scope))
    ).fetchone()
    return None if row is None else int(row[0])
