"""values.schema.json of the chart: ``python -m tools.chart.schema [--check]``.

From values.yaml with its annotations, and from the exporter's own settings (:mod:`exporter.config`): what stands under
``config`` and ``source`` is checked when the chart is rendered, key by key. Draft 7, which every Helm 3 reads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from exporter.config import Settings
from exporter.generate import keep
from tools.chart.values import CHART, ROOT, Value, load

SCHEMA = CHART / "values.schema.json"
THRESHOLDS = CHART / "rules/thresholds.yaml"

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def _plain(node: Any) -> Any:
    """Pydantic's schema as draft 7, and so that what is wrong is said of the one kind that was chosen.

    A union of kinds becomes "if `type` is this, then that": of a plain `oneOf` people read that none of five matched.
    """
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "discriminator" in node:
        return _kinds(node)
    arms = node.get("anyOf")
    if arms and {"type": "null"} in arms:
        rest = [arm for arm in arms if arm != {"type": "null"}]
        if len(rest) == 1 and "discriminator" in rest[0]:
            return _plain({**{key: value for key, value in node.items() if key != "anyOf"}, **rest[0]})
        if len(rest) == 1 and "type" in rest[0]:
            node = {**{key: value for key, value in node.items() if key != "anyOf"}, **rest[0]}
            node["type"] = [node["type"], "null"]
            if "enum" in node:
                node["enum"] = [*node["enum"], None]
    left_out = {"title", "default", "format", "writeOnly"}
    if isinstance(node.get("properties"), dict):
        kept = {key: value for key, value in node.items() if key not in {*left_out, "properties"}}
        properties = {name: _plain(value) for name, value in node["properties"].items()}
        return {**{key: _plain(value) for key, value in kept.items()}, "properties": properties}
    kept = {key: _plain(value) for key, value in node.items() if key not in left_out}
    if "$ref" in kept:  # draft 7 does not look beside a reference
        return {"$ref": kept["$ref"].replace("#/$defs/", "#/definitions/")}
    return kept


def _kinds(node: dict[str, Any]) -> dict[str, Any]:
    kinds = node["discriminator"]["mapping"]
    first = {"type": "object", "properties": {"type": {"enum": sorted(kinds)}}}
    if "sqlite" not in kinds:
        first["required"] = ["type"]
    chosen = [
        {
            "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
            "then": {"$ref": reference.replace("#/$defs/", "#/definitions/")},
        }
        for kind, reference in sorted(kinds.items())
    ]
    if "sqlite" in kinds:  # the one kind that need not be named
        sqlite = kinds["sqlite"].replace("#/$defs/", "#/definitions/")
        chosen.append({"if": {"not": {"required": ["type"]}}, "then": {"$ref": sqlite}})
    told = {"description": node["description"]} if "description" in node else {}
    return {**told, **first, "allOf": chosen}


def _preset(model: dict[str, Any], value: Value) -> dict[str, Any]:
    """A source's own fields, and `enabled`; what it requires is required only then."""
    properties = {name: dict(field) for name, field in model["properties"].items() if name != "type"}
    required = {}
    for name in set(model["required"]) - {"name", "type"}:
        least = "minItems" if properties[name].get("type") == "array" else "minLength"
        properties[name].pop(least, None)
        required[name] = {least: 1}
    for child in value.children:
        if child.path[-1] == "enabled":
            properties = {"enabled": {"type": "boolean", "description": child.text}, **properties}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["if"] = {"properties": {"enabled": {"const": True}}, "required": ["enabled"]}
        schema["then"] = {"properties": dict(sorted(required.items())), "required": sorted(required)}
    return schema


def _of(value: Value, definitions: dict[str, Any]) -> dict[str, Any]:
    name = ".".join(value.path)
    annotation = dict(value.schema)
    reference = annotation.pop("$ref", "")
    told = {"description": value.text} if value.text else {}
    if reference == "exporter":
        return {**definitions["Settings"], **told}
    if reference.startswith("exporter/"):
        return {**told, **_preset(definitions[reference.removeprefix("exporter/")], value)}
    if reference == "thresholds":
        names = yaml.safe_load(THRESHOLDS.read_text()) if THRESHOLDS.exists() else {}
        numbers = {threshold: {"type": ["number", "string"]} for threshold in sorted(names)}
        return {**told, "type": "object", "properties": numbers, "additionalProperties": False}
    schema: dict[str, Any] = {**told}
    if "enum" not in annotation and "type" not in annotation:
        if value.default is None:
            raise ValueError(f"{name}: null says nothing of its type; annotate it")
        schema["type"] = _TYPES[type(value.default)]
    if isinstance(value.default, dict):
        if not value.children and "additionalProperties" not in annotation:
            raise ValueError(f"{name}: an empty mapping says nothing of its keys; annotate it")
        schema["additionalProperties"] = False
        if annotation.get("additionalProperties") is not True or value.path == ("global",):
            schema["properties"] = {child.path[-1]: _of(child, definitions) for child in value.children}
    if isinstance(value.default, list) and "items" not in annotation:
        raise ValueError(f"{name}: a list says nothing of its elements; annotate it")
    schema.update(annotation)
    if schema.get("properties") == {}:
        del schema["properties"]
    return schema


def produce() -> str:
    """The text of values.schema.json.

    Raises:
        ValueError: a value whose type nothing says.
    """
    settings = Settings.model_json_schema()
    definitions = {name: _plain(model) for name, model in settings.pop("$defs").items()}
    definitions["Settings"] = _plain(settings)
    values = load()
    properties = {value.path[0]: _of(value, definitions) for value in values}
    del definitions["Settings"]
    # A parent chart may switch its dependency by these.
    properties["enabled"] = {
        "type": "boolean",
        "description": "For the condition of a parent chart; without effect here.",
    }
    properties["tags"] = {"type": "object", "description": "For the tags of a parent chart; without effect here."}
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart cloudtrail-exporter",
        "description": "Generated by `make generate` from values.yaml and exporter/config.py; do not edit.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "definitions": definitions,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main(argv: list[str], root: Path = ROOT) -> int:
    """Write the schema, or with ``--check`` say that it is stale; returns the exit code."""
    return keep({str(SCHEMA.relative_to(ROOT)): produce()}, argv, root=root)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
