"""The schemas kubeconform validates with, written once into .tools/schemas: ``python -m tools.chart.schemas``.

Those of Kubernetes come with the package kubernetes-validate; those of custom resources from the definitions that their
projects ship (crds.yaml), read through the Go module proxy. Each is made complete in itself and strict: a key that the
API does not know is an error, as `kubectl apply --validate=strict` says it.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tools.chart.values import ROOT

FOLDER = ROOT / ".tools/schemas"
CRDS = Path(__file__).with_name("crds.yaml")

#: The oldest the chart takes, one in the middle, the newest that the package knows.
VERSIONS = ("1.29.0", "1.33.0", "1.37.0")


class Unavailable(Exception):
    """A part is missing on this machine; the text says which."""


def fingerprint() -> str:
    """Changes with whatever the schemas are made of."""
    parts = [Path(__file__).read_bytes(), CRDS.read_bytes(), " ".join(VERSIONS).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def ready() -> bool:
    """Whether the schemas are there, made from just this."""
    stamp = FOLDER / "stamp"
    return stamp.exists() and stamp.read_text() == fingerprint()


def prepare() -> None:
    """Write all schemas, unless they are there.

    Raises:
        Unavailable: a package, Go, or a module cannot be had.
    """
    if ready():
        return
    made = FOLDER.with_name("schemas.new")
    shutil.rmtree(made, ignore_errors=True)
    for version in VERSIONS:
        _kubernetes(version, made / f"v{version}")
    for crd in yaml.safe_load(CRDS.read_text()):
        folder = _module(crd["module"], crd["version"])
        for file in crd["files"]:
            _custom(folder / file, made / "crds")
    (made / "stamp").write_text(fingerprint())
    shutil.rmtree(FOLDER, ignore_errors=True)
    made.rename(FOLDER)


def _kubernetes(version: str, folder: Path) -> None:
    try:
        package = importlib.resources.files("kubernetes_validate")
    except ModuleNotFoundError:
        raise Unavailable("the package kubernetes-validate is not installed: `make venv`") from None
    source = Path(str(package)) / "kubernetes-json-schema" / f"v{version}-local-strict"
    if not source.is_dir():
        raise Unavailable(f"kubernetes-validate has no schemas of Kubernetes {version}")
    shared = json.loads((source / "_definitions.json").read_text())["$defs"]
    folder.mkdir(parents=True)
    for path in sorted(source.glob("*-v*.json")):
        schema = json.loads(path.read_text())
        kind = schema.get("properties", {}).get("kind", {}).get("enum")
        if not kind or "apiVersion" not in schema["properties"]:
            continue
        (folder / path.name).write_text(json.dumps(_complete(schema, shared)))


def _complete(schema: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """The schema with everything it refers to inside it."""
    text = json.dumps(schema).replace("/api/_definitions.json#/$defs/", "#/definitions/")
    definitions: dict[str, Any] = {}
    wanted = list(_references(json.loads(text)))
    while wanted:
        name = wanted.pop()
        if name in definitions:
            continue
        inner = json.dumps(shared[name]).replace("/api/_definitions.json#/$defs/", "#/definitions/")
        definitions[name] = _strict(json.loads(inner.replace("#/$defs/", "#/definitions/")))
        wanted += _references(definitions[name])
    return {**_strict(json.loads(text)), "definitions": definitions}


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix("#/definitions/")
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _strict(node: Any) -> Any:
    """No other keys than those that are listed, wherever some are."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {
        key: {name: _strict(inner) for name, inner in value.items()}
        if key == "properties" and isinstance(value, dict)
        else _strict(value)
        for key, value in node.items()
        # The API server compiles these with Go's regular expressions and its own formats; neither is a matter of keys.
        if key not in ("format", "x-kubernetes-validations")
    }
    free = node.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(node.get("properties"), dict) and "additionalProperties" not in node and not free:
        made["additionalProperties"] = False
    if node.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made


def _module(module: str, version: str) -> Path:
    go = shutil.which("go")
    if go is None:
        raise Unavailable(f"go is not on this machine: it fetches the custom resources of {module}")
    command = [go, "mod", "download", "-json", f"{module}@{version}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=FOLDER.parent, check=False)
    answer = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    if "Dir" not in answer:
        raise Unavailable(f"{module}@{version}: {answer.get('Error') or done.stderr.strip()}")
    return Path(answer["Dir"])


def _custom(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for definition in yaml.safe_load_all(path.read_text()):
        if not definition or definition.get("kind") != "CustomResourceDefinition":
            continue
        spec = definition["spec"]
        for version in spec["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            name = f"{spec['names']['kind'].lower()}-{spec['group'].split('.')[0]}-{version['name']}.json"
            (folder / name).write_text(json.dumps(schema))


if __name__ == "__main__":
    try:
        prepare()
    except Unavailable as missing:
        sys.exit(str(missing))
