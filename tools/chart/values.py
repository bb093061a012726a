"""values.yaml of the chart, read with its comments: each value with its text, default and schema annotation.

``# --`` begins the text of a value (helm-docs' form); further comment lines go on with it. ``# @schema {...}`` is a
piece of JSON schema in YAML that narrows what the value itself says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/cloudtrail-exporter"


@dataclass(frozen=True, slots=True)
class Value:
    """One key of values.yaml.

    Attributes:
        path: keys from the top.
        default: as YAML reads it.
        text: the comment behind ``# --``; "" when there is none.
        schema: the annotation.
        children: the keys below, when it is a mapping with keys.
    """

    path: tuple[str, ...]
    default: Any
    text: str
    schema: dict[str, Any]
    children: tuple[Value, ...] = field(default=())

    def walk(self) -> Iterator[Value]:
        """Itself, then everything below, in the order of the file."""
        yield self
        for child in self.children:
            yield from child.walk()


def load(path: Path = CHART / "values.yaml") -> tuple[Value, ...]:
    """The top-level values.

    Raises:
        ValueError: an annotation that is no mapping.
    """
    source = path.read_text()
    node = yaml.compose(source, yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)
    return _children(node, source.splitlines(), ())


def _children(node: yaml.MappingNode, lines: list[str], path: tuple[str, ...]) -> tuple[Value, ...]:
    found = []
    for key, value in node.value:
        below = (*path, str(key.value))
        text, schema = _comment(lines, key.start_mark.line, ".".join(below))
        block = isinstance(value, yaml.MappingNode) and not value.flow_style and value.value
        children = _children(value, lines, below) if block else ()
        default = yaml.safe_load(yaml.serialize(value))
        found.append(Value(below, default, text, schema, children))
    return tuple(found)


def _comment(lines: list[str], line: int, name: str) -> tuple[str, dict[str, Any]]:
    above: list[str] = []
    while line > 0 and lines[line - 1].strip().startswith("#"):
        line -= 1
        above.insert(0, lines[line].strip().removeprefix("#").strip())
    text: list[str] = []
    schema: dict[str, Any] = {}
    for comment in above:
        if comment.startswith("@schema "):
            schema = yaml.safe_load(comment.removeprefix("@schema "))
            if not isinstance(schema, dict):
                raise ValueError(f"{name}: the annotation is no mapping: {comment}")
        elif comment.startswith("-- "):
            text = [comment.removeprefix("-- ")]
        elif text:
            text.append(comment)
    return " ".join(text), schema
