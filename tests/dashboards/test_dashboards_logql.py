"""The LogQL of the Events dashboard can be read, and names what Loki makes of our attributes."""

from __future__ import annotations

import re

import pytest

from exporter.mapping import Mapper, MappingOptions
from exporter.record import PRINCIPAL_TYPES
from tests.dashboards.board import Asked, boards, filled, panels, queries
from tests.dashboards.logql import labels, parses
from tests.fakes.events import FULL, IDENTITIES, record_of

EVENTS = boards()["events"]
ASKED = list(queries("events", EVENTS))
#: What Loki's OTLP endpoint makes labels of the stream; everything else is structured metadata.
STREAM = {"service_name", "cloud_region"}


def stored() -> set[str]:
    """The names under which Loki keeps the attributes of our records: dots become underscores."""
    names: set[str] = set()
    for fields in (FULL, *({**FULL, "userIdentity": identity} for identity in IDENTITIES.values())):
        mapped = Mapper(MappingOptions())(record_of(fields))
        names |= {*(mapped.log_record.attributes or {}), *mapped.resource.attributes}
    return {name.replace(".", "_") for name in names}


STORED = stored()


def by_where(asked: Asked) -> str:
    return asked.where


@pytest.mark.parametrize("asked", ASKED, ids=by_where)
def test_query_parses(asked: Asked) -> None:
    assert parses(filled(asked.expr))


@pytest.mark.parametrize(
    "broken",
    [
        '{service_name="cloudtrail"',
        '{service_name="cloudtrail"} | aws_principal_type="Root" |',
        "{service_name=`cloudtrail`} |~ `unclosed",
        '{service_name="cloudtrail"} | line_format `{{.a}`',
        'sum by (count_over_time({service_name="cloudtrail"} [5m]))',
        'count_over_time({service_name="cloudtrail"})',
        "",
    ],
)
def test_what_is_no_query_does_not_parse(broken: str) -> None:
    assert not parses(broken)


@pytest.mark.parametrize("asked", ASKED, ids=by_where)
def test_query_names_only_attributes_the_exporter_writes(asked: Asked) -> None:
    assert labels(asked.expr) <= STORED


@pytest.mark.parametrize("asked", ASKED, ids=by_where)
def test_stream_is_chosen_by_index_labels_only(asked: Asked) -> None:
    """Structured metadata in the braces finds nothing, and says nothing."""
    (stream,) = re.findall(r"\{[^{}]*\}", re.sub(r"line_format `[^`]*`", "", asked.expr))
    assert set(re.findall(r"(\w+)=", stream)) <= STREAM


def test_columns_of_the_table_are_attributes() -> None:
    (table,) = [panel for panel in panels(EVENTS) if panel["type"] == "table"]
    kept = next(item for item in table["transformations"] if item["id"] == "filterFieldsByName")
    assert set(kept["options"]["include"]["names"]) - {"Time"} <= STORED


def test_filters_offer_account_region_principal_and_operation() -> None:
    names = [item["name"] for item in EVENTS["templating"]["list"]]
    assert {"account", "region", "principal_type", "event_name", "event_id"} <= set(names)


def test_every_principal_type_can_be_chosen() -> None:
    choice = next(item for item in EVENTS["templating"]["list"] if item["name"] == "principal_type")
    assert set(choice["query"].split(",")) == set(PRINCIPAL_TYPES)


def test_click_on_an_event_id_opens_that_event() -> None:
    (table,) = [panel for panel in panels(EVENTS) if panel["type"] == "table"]
    (links,) = [
        item["value"]
        for override in table["fieldConfig"]["overrides"]
        if override["matcher"]["options"] == "Event id"
        for item in override["properties"]
        if item["id"] == "links"
    ]
    assert f"/d/{EVENTS['uid']}?" in links[0]["url"]
    assert "var-event_id=${__value.raw}" in links[0]["url"]
    assert any("aws_cloudtrail_event_id=`$event_id`" in asked.expr for asked in ASKED)
