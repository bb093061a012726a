"""What Grafana and the chart rely on: fixed uids, no instance data, links, a place for every panel, a fixed size."""

from __future__ import annotations

import itertools
import json
import re

import pytest
import typer.main

from deploy.dashboards import __main__ as command
from deploy.dashboards.parts import COLOURS
from deploy.dashboards.render import dashboards
from exporter.cli import app
from exporter.config import Settings
from exporter.metrics import PRINCIPAL_TYPE_VALUES
from tests.dashboards.board import FOLDER, boards, panels

BOARDS = boards()


def test_committed_files_are_those_the_code_makes() -> None:
    """`python -m deploy.dashboards` writes them anew."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == dashboards()


def test_the_same_bytes_each_time() -> None:
    assert dashboards() == dashboards()


def test_check_names_what_is_stale(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    assert command.main(["--check"]) == 1
    assert "overview.json is stale" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert command.main([]) == 0
    assert command.main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_uids_never_change() -> None:
    """Links, alerts and bookmarks point to them."""
    assert {name: board["uid"] for name, board in BOARDS.items()} == {
        "overview": "cloudtrail-exporter-overview",
        "pipeline": "cloudtrail-exporter-pipeline",
        "events": "cloudtrail-exporter-events",
    }


@pytest.mark.parametrize("name", BOARDS)
def test_nothing_of_an_instance_is_in_it(name: str) -> None:
    """An `id` would overwrite another dashboard; `__inputs` cannot be provisioned."""
    assert not {"id", "__inputs", "__requires", "iteration"} & set(BOARDS[name])


@pytest.mark.parametrize("name", BOARDS)
def test_links_lead_to_the_other_dashboards(name: str) -> None:
    (link,) = BOARDS[name]["links"]
    assert link["type"] == "dashboards"
    assert all(set(link["tags"]) <= set(board["tags"]) for board in BOARDS.values())


@pytest.mark.parametrize("name", ["overview", "pipeline"])
def test_restarts_and_reloads_are_marked_at_their_own_time(name: str) -> None:
    marks = {mark["name"]: mark for mark in BOARDS[name]["annotations"]["list"]}
    assert "process_start_time_seconds" in marks["Restarts"]["expr"]
    assert "config_last_reload_success_timestamp_seconds" in marks["Web configuration reloads"]["expr"]
    assert all(mark["useValueForTime"] and mark["expr"].endswith("* 1000") for mark in marks.values())


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_ids_of_their_own(name: str) -> None:
    ids = [panel["id"] for panel in panels(BOARDS[name])]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", BOARDS)
def test_panels_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(BOARDS[name]):
        place = panel["gridPos"]
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", BOARDS)
def test_an_empty_panel_says_why(name: str) -> None:
    """The logs panel of Grafana knows no such text; its description says it."""
    for panel in panels(BOARDS[name]):
        text = panel.get("fieldConfig", {}).get("defaults", {}).get("noValue")
        assert panel["type"] == "logs" or text, panel["title"]


@pytest.mark.parametrize("name", BOARDS)
def test_titles_are_used_once(name: str) -> None:
    titles = [panel["title"] for panel in panels(BOARDS[name])]
    assert len(set(titles)) == len(titles)


def test_every_principal_type_has_a_colour_and_only_root_is_red() -> None:
    assert set(COLOURS) == set(PRINCIPAL_TYPE_VALUES)
    assert len(set(COLOURS.values())) == len(COLOURS)
    assert [name for name, colour in COLOURS.items() if "red" in colour] == ["Root"]


@pytest.mark.parametrize("name", ["overview", "events"])
def test_principal_types_keep_their_colour(name: str) -> None:
    (panel,) = [panel for panel in panels(BOARDS[name]) if panel["title"] == "Events by principal type"]
    fixed = {
        override["matcher"]["options"]: item["value"]["fixedColor"]
        for override in panel["fieldConfig"]["overrides"]
        for item in override["properties"]
        if item["id"] == "color"
    }
    assert fixed == COLOURS


@pytest.mark.parametrize("name", BOARDS)
def test_clicks_lead_to_variables_there_are(name: str) -> None:
    links = re.findall(r'"/d/[^"]*"', json.dumps(BOARDS[name]))
    variables = {item["name"] for item in BOARDS["events"]["templating"]["list"]}
    assert set(re.findall(r"var-(\w+)=", " ".join(links))) <= variables
    assert set(re.findall(r"\$\{(\w+):queryparam\}", " ".join(links))) <= variables


def test_the_page_names_every_dashboard_and_row() -> None:
    page = (FOLDER.parents[3] / "docs" / "dashboards.md").read_text().replace("\n", " ")
    for board in BOARDS.values():
        rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
        for wanted in (board["title"], board["uid"], *rows):
            assert wanted in page, wanted


def test_texts_name_commands_and_settings_there_are() -> None:
    texts = [(FOLDER.parents[3] / "docs" / "dashboards.md").read_text()]
    for board in BOARDS.values():
        texts += [panel["description"] for panel in panels(board)]
    named = " ".join(texts)
    commands = set(re.findall(r"`cloudtrail-exporter (\w+)", named))
    assert commands <= set(typer.main.get_command(app).commands)
    assert commands
    settings = Settings.model_json_schema()
    tops = set(settings["properties"])
    keys = {key for model in settings["$defs"].values() for key in model.get("properties", {})}
    found = [name.split(".") for name in re.findall(r"`(\w+\.\w+)`", named) if name.split(".")[0] in tops]
    assert found
    assert [name for name in found if name[1] not in keys] == []


def test_all_together_fit_a_config_map_with_room() -> None:
    """The API server takes 1 MiB of data in a ConfigMap."""
    assert sum(len(text.encode()) for text in dashboards().values()) < 512 * 1024
