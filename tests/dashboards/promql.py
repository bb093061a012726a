"""A walk over parsed PromQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import promql_parser as promql

#: A node, and the nodes it lies in, the nearest last.
Step = tuple[Any, tuple[Any, ...]]


def walk(node: Any, above: tuple[Any, ...] = ()) -> Iterator[Step]:
    """The node and everything below it."""
    yield node, above
    inner: list[Any] = []
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        child = getattr(node, name, None)
        if child is not None:
            inner.append(child)
    inner += list(getattr(node, "args", None) or [])
    for child in inner:
        yield from walk(child, (*above, node))


def parsed(expr: str) -> list[Step]:
    """Every node of an expression; ValueError when it cannot be parsed."""
    return list(walk(promql.parse(expr)))


def selectors(expr: str) -> Iterator[tuple[promql.VectorSelector, tuple[Any, ...]]]:
    """Every selector of series, and what it lies in."""
    for node, above in parsed(expr):
        if isinstance(node, promql.VectorSelector):
            yield node, above


def matchers(selector: promql.VectorSelector) -> dict[str, tuple[str, str]]:
    """label -> (operator, value)."""
    return {found.name: (str(found.op), found.value) for found in selector.matchers.matchers}


def grouped(node: Any) -> list[str]:
    """The labels an aggregation or a binary operation names."""
    modifier = getattr(node, "modifier", None)
    if modifier is None:
        return []
    if isinstance(node, promql.AggregateExpr):
        return list(modifier.labels)
    matching = list(modifier.matching.labels) if modifier.matching is not None else []
    return matching + list(modifier.group_labels or [])
