"""From builders to JSON: panel ids, the fields the SDK does not know, one fixed order of keys."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.dashboards import events, overview, pipeline

__all__ = ["FOLDER", "dashboards"]

#: Where the JSON lies, from the root of the repository.
FOLDER = "deploy/helm/cloudtrail-exporter/dashboards"

_PAGES = {"overview.json": overview.dashboard, "pipeline.json": pipeline.dashboard, "events.json": events.dashboard}


def dashboards() -> dict[str, str]:
    """File name -> JSON text of every dashboard; the same bytes each time."""
    return {name: text(page()) for name, page in _PAGES.items()}


def text(dashboard: Dashboard) -> str:
    """One dashboard as JSON, ending in a newline."""
    document: dict[str, Any] = json.loads(JSONEncoder().encode(dashboard.build()))
    for number, panel in enumerate(_panels(document["panels"]), start=1):
        panel["id"] = number
    for annotation in document["annotations"]["list"]:
        # The value of these series is an instant in milliseconds: Grafana draws the mark there. The SDK has no such
        # field. The instant of a mark does not hang on when it was scraped, and a new pod gets its own.
        if "expr" in annotation:
            annotation["useValueForTime"] = True
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _panels(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from itertools.chain.from_iterable([panel, *_panels(panel.get("panels", []))] for panel in panels)
