"""The committed dashboards as data: their panels and queries, and what Grafana puts in for variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "cloudtrail-exporter" / "dashboards"

Board = dict[str, Any]

#: What a variable stands for when a query is only parsed.
ANY = {
    "__rate_interval": "1m",
    "__range": "1h",
    "__auto": "5m",
    "job": ".+",
    "instance": ".+",
    "event_source": ".+",
    "service": "cloudtrail",
    "region": ".*",
    "account": ".*",
    "principal_type": ".*",
    "event_name": ".*",
    "search": "",
    "event_id": "00000000-0000-0000-0000-000000000000",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of a dashboard.

    Attributes:
        where: dashboard file, panel and number of the query, for people.
        panel: title of the panel; "annotation NAME" or "variable NAME" for the others.
        index: number of the query in its panel.
        expr: with variables.
        instant: asked once, not over a range.
    """

    where: str
    panel: str
    index: int
    expr: str
    instant: bool


def boards() -> dict[str, Board]:
    """File name without its ending -> dashboard."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels(board: Board) -> Iterator[Board]:
    """Every panel that draws something, those in folded rows too."""

    def below(found: list[Board]) -> Iterator[Board]:
        for panel in found:
            if panel["type"] != "row":
                yield panel
            yield from below(panel.get("panels", []))

    return below(board["panels"])


def asks(board: Board, kind: str) -> bool:
    """Whether its data source is of this kind: prometheus or loki."""
    return any(item["type"] == "datasource" and item["query"] == kind for item in board["templating"]["list"])


def queries(name: str, board: Board) -> Iterator[Asked]:
    """Every query of its panels."""
    for panel in panels(board):
        for index, target in enumerate(panel["targets"]):
            instant = bool(target.get("instant")) or target.get("queryType") == "instant"
            where = f"{name}: {panel['title']} [{index}]"
            yield Asked(where, panel["title"], index, target["expr"], instant)


def marks(name: str, board: Board) -> Iterator[Asked]:
    """Every query of its annotations."""
    for mark in board["annotations"]["list"]:
        yield Asked(f"{name}: annotation {mark['name']}", f"annotation {mark['name']}", 0, mark["expr"], False)


def choices(name: str, board: Board) -> Iterator[Asked]:
    """The selectors that its variables take their values from; asked as an instant query they give the series."""
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            assert found, f"{name}: {variable['name']} is no label_values(selector, label)"
            text = f"group by ({found[2]}) ({found[1]})"
            yield Asked(f"{name}: variable {variable['name']}", f"variable {variable['name']}", 0, text, True)


def filled(expr: str, values: Mapping[str, str] = ANY) -> str:
    """The query with its variables replaced; a variable that is not known is an error."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: values[found[1]], expr)
