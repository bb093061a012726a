"""The pages say what there is: every source, setting, command, metric and reason, and policies that are the least."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
import yaml
from pydantic import BaseModel

from exporter import config, metrics
from exporter.cli import app
from exporter.errors import REASONS
from exporter.record import FILTER_REASONS, QUARANTINE_REASONS
from exporter.sources.bucket import iam_policy as s3_policy
from exporter.sources.logs_api import group_arn, iam_policy
from exporter.sources.lookup_api import IAM_POLICY
from exporter.sources.sqs_api import queue_policy

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted((DOCS / "sources").glob("*.md"))


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The settings classes inside an annotation, one level."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models(argument)


def reachable(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A settings class and all below it."""
    yield model
    for field in model.model_fields.values():
        for inner in models(field.annotation):
            yield from reachable(inner)


SOURCES = {get_args(model.model_fields["type"].annotation)[0]: model for model in models(config.SourceSettings)}
#: What the policies of a page may allow, and nothing else. `files` needs nothing of AWS.
ACTIONS = {
    "files": set(),
    "lookup": {"cloudtrail:LookupEvents"},
    "s3": {"s3:ListBucket", "s3:GetObject", "kms:Decrypt"},
    "sqs": {
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
        "s3:GetObject",
        "s3:ListBucket",
        "kms:Decrypt",
    },
    "logs": {"logs:FilterLogEvents"},
}


def policies(kind: str) -> list[dict[str, Any]]:
    """The JSON blocks of a source's page, parsed."""
    text = (DOCS / "sources" / f"{kind}.md").read_text()
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def statements(kind: str) -> list[dict[str, Any]]:
    return [statement for policy in policies(kind) for statement in policy["Statement"]]


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


# -- one page per source --


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_every_source_has_a_page(kind: str) -> None:
    """Each type that can be configured has a page with the same chapters."""
    text = (DOCS / "sources" / f"{kind}.md").read_text()
    assert text.startswith(f"# Source `{kind}`")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["Configuration", "Permissions", "What is guaranteed", "What it costs"]


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_every_key_of_a_source_is_on_its_page(kind: str) -> None:
    """The keys of the configuration, those of settings inside it too, are named where they are explained."""
    text = (DOCS / "sources" / f"{kind}.md").read_text()
    keys = {name for model in reachable(SOURCES[kind]) for name in model.model_fields}
    assert {key for key in keys if f"`{key}`" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file of the repository finds it."""
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).resolve().exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_metrics_that_pages_name_exist(page: Path) -> None:
    """A metric that was renamed is renamed in the pages too."""
    named = set(re.findall(r"\bcloudtrail_[a-z0-9_]+", page.read_text()))
    assert named <= {declaration.name for declaration in metrics.declared()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_are_valid(page: Path) -> None:
    """The configuration a page begins with is accepted as it stands."""
    (example,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    settings = config.Settings.model_validate(yaml.safe_load(example))
    assert [source.type for source in settings.sources] == [page.stem]


# -- the least policy --


@pytest.mark.parametrize("kind", sorted(ACTIONS))
def test_policies_allow_what_is_needed_and_no_more(kind: str) -> None:
    """Each page's policies together allow just the actions its source calls, spelled out one by one."""
    found = statements(kind)
    assert {action for statement in found for action in listed(statement["Action"])} == ACTIONS[kind]
    assert all(policy["Version"] == "2012-10-17" for policy in policies(kind))
    assert all(statement["Effect"] == "Allow" for statement in found)
    sids = [[statement["Sid"] for statement in policy["Statement"]] for policy in policies(kind)]
    assert all(len(each) == len(set(each)) for each in sids)


@pytest.mark.parametrize("kind", sorted(ACTIONS))
def test_policies_name_their_resources(kind: str) -> None:
    """Only an action that knows no resources is allowed on all, and a listing is bound to the trail's folder."""
    for statement in statements(kind):
        for resource in listed(statement["Resource"]):
            assert (resource == "*") == (statement["Action"] == "cloudtrail:LookupEvents")
        assert ("Condition" in statement) == (statement["Action"] == "s3:ListBucket")


def test_pages_and_check_say_the_same() -> None:
    """What ``check`` tells to attach is what the page shows."""
    assert policies("lookup") == [json.loads(IAM_POLICY)]
    assert statements("s3") == json.loads(s3_policy("BUCKET", "PREFIX/AWSLogs/", "REGION"))["Statement"]
    queue = json.loads(queue_policy("arn:aws:sqs:REGION:ACCOUNT:QUEUE"))["Statement"]
    assert [{name: value for name, value in statements("sqs")[0].items() if name != "Sid"}] == [
        {name: value for name, value in statement.items() if name != "Sid"} for statement in queue
    ]
    assert policies("logs") == [json.loads(iam_policy(group_arn("REGION", "ACCOUNT", "GROUP")))]


# -- the generated pages --


@pytest.mark.parametrize("model", list(dict.fromkeys(reachable(config.Settings))), ids=lambda model: model.__name__)
def test_every_setting_is_in_the_reference(model: type[BaseModel]) -> None:
    """Each key has its row, in the section that says what the class is."""
    text = (DOCS / "configuration.md").read_text()
    said = "Top level" if model is config.Settings else (model.__doc__ or "").strip()
    (section,) = [section for section in re.split(r"^## ", text, flags=re.MULTILINE) if said in section]
    assert [name for name in model.model_fields if f"| `{name}` |" not in section] == []


def test_every_command_is_in_the_reference() -> None:
    """Each command, and each below it, has its chapter."""

    def paths(command: Any, path: str) -> Iterator[str]:
        yield path
        for name, child in getattr(command, "commands", {}).items():
            yield from paths(child, f"{path} {name}")

    chapters = re.findall(r"^## (.+)$", (DOCS / "cli.md").read_text(), re.MULTILINE)
    assert list(paths(typer.main.get_command(app), "cloudtrail-exporter")) == chapters


def test_every_metric_is_in_the_reference() -> None:
    """Each metric has its row."""
    rows = re.findall(r"^\| `(cloudtrail_[a-z0-9_]+)` \|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(declaration.name for declaration in metrics.declared())


def test_every_reason_is_in_the_reference() -> None:
    """Each reason of failures, of the quarantine and of the selection has its row."""
    text = (DOCS / "errors.md").read_text()
    missing = {reason for reason in (*REASONS, *QUARANTINE_REASONS, *FILTER_REASONS) if f"| `{reason}` |" not in text}
    assert missing == set()
