"""What Helm rendered, to ask questions of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tools.chart.values import CHART

CASES = sorted((CHART / "ci").glob("*-values.yaml"))


def case_name(path: Path) -> str:
    return path.name.removesuffix("-values.yaml")


class Rendered:
    """The objects, in the order Helm prints them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.objects: list[dict[str, Any]] = [document for document in yaml.safe_load_all(text) if document]

    def kinds(self) -> list[str]:
        return sorted(document["kind"] for document in self.objects)

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [document for document in self.objects if document["kind"] == kind]

    def one(self, kind: str, name: str = "") -> dict[str, Any]:
        found = [each for each in self.all(kind) if name in ("", each["metadata"]["name"])]
        assert len(found) == 1, f"{kind} {name}: {[each['metadata']['name'] for each in self.all(kind)]}"
        return found[0]

    def workload(self) -> dict[str, Any]:
        return self.one("StatefulSet" if self.all("StatefulSet") else "Deployment")

    def pod(self) -> dict[str, Any]:
        return self.workload()["spec"]["template"]["spec"]

    def container(self) -> dict[str, Any]:
        return self.pod()["containers"][0]

    def environment(self) -> dict[str, Any]:
        return {each["name"]: each.get("value", each.get("valueFrom")) for each in self.container()["env"]}

    def config_text(self) -> str:
        (found,) = [
            each for each in self.all("ConfigMap") if "config.yaml" in each["data"] and "labels" in each["metadata"]
        ]
        return found["data"]["config.yaml"]

    def config(self) -> dict[str, Any]:
        return yaml.safe_load(self.config_text())

    def pods(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every pod spec there is, with where it is."""
        for document in self.objects:
            name = f"{document['kind']}/{document['metadata']['name']}"
            if document["kind"] == "Pod":
                yield name, document["spec"]
            elif document["kind"] in ("Deployment", "StatefulSet"):
                yield name, document["spec"]["template"]["spec"]
            elif "pod.yaml" in document.get("data", {}):
                yield name, yaml.safe_load(document["data"]["pod.yaml"])["spec"]
