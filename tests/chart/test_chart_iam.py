"""The notes ask AWS for just what `check` asks for, and say what is true of the release."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from exporter.sources.bucket import base_of
from exporter.sources.bucket import iam_policy as s3_policy
from exporter.sources.logs_api import group_arn
from exporter.sources.logs_api import iam_policy as logs_policy
from exporter.sources.lookup_api import IAM_POLICY
from exporter.sources.sqs_api import queue_policy
from tests.test_docs import ACTIONS

NOTES = """notes: |
  {{- include "cloudtrail-exporter.notes" (index .Subcharts "cloudtrail-exporter") | nindent 2 }}
kind: Notes
metadata: {name: notes}
"""
ROLE = "arn:aws:iam::444455556666:role/reader"


@pytest.fixture
def notes(parent, render):
    """What `helm install` would print, for values of the chart."""
    chart = parent(NOTES)

    def produce(values: Mapping[str, Any]) -> str:
        rendered = render({"cloudtrail-exporter": dict(values)}, chart=chart)
        return rendered.one("Notes")["notes"]

    return produce


def policies(text: str) -> list[dict[str, Any]]:
    """The JSON objects in it."""
    decoder = json.JSONDecoder()
    return [decoder.raw_decode(text, match.start())[0] for match in re.finditer(r"^\{$", text, re.MULTILINE)]


def statements(policy: str) -> list[dict[str, Any]]:
    return json.loads(policy)["Statement"]


def source(kind: str, **fields: Any) -> dict[str, Any]:
    return {"source": {kind: {"enabled": True, **fields}}}


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


# -- action by action --


def test_lookup(notes) -> None:
    """The same policy, byte for byte as data."""
    assert policies(notes(source("lookup", regions=["us-east-1"]))) == [json.loads(IAM_POLICY)]


@pytest.mark.parametrize("prefix", ["", "team", "team/", "a/AWSLogs", "AWSLogs"])
@pytest.mark.parametrize("region", ["us-east-1", "cn-north-1", "us-gov-west-1"])
def test_s3(prefix: str, region: str, notes) -> None:
    """Bucket, prefix and partition are filled in as `check` fills them in."""
    (policy,) = policies(notes(source("s3", bucket="trail", prefix=prefix, region=region)))
    assert policy["Statement"] == statements(s3_policy("trail", base_of(prefix), region))


@pytest.mark.parametrize(
    ("url", "arn"),
    [
        ("https://sqs.us-east-1.amazonaws.com/111122223333/trail", "arn:aws:sqs:us-east-1:111122223333:trail"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/111122223333/t", "arn:aws-cn:sqs:cn-north-1:111122223333:t"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/t", "arn:aws-us-gov:sqs:us-gov-west-1:1:t"),
        ("https://eu-west-1.queue.amazonaws.com/111122223333/t", "arn:aws:sqs:eu-west-1:111122223333:t"),
        ("https://vpce-0a-b.sqs.eu-west-1.vpce.amazonaws.com/111122223333/t", "arn:aws:sqs:eu-west-1:111122223333:t"),
    ],
)
def test_sqs(url: str, arn: str, notes) -> None:
    """The queue's ARN comes from its address, the actions from the exporter."""
    (policy,) = policies(notes(source("sqs", queue_url=url, buckets=["trail"])))
    queue = policy["Statement"][0]
    assert {name: value for name, value in queue.items() if name != "Sid"} == statements(queue_policy(arn))[0]
    reading = policy["Statement"][1]
    assert (reading["Action"], reading["Resource"]) == (
        "s3:GetObject",
        f"arn:{arn.split(':')[1]}:s3:::trail/*AWSLogs/*",
    )


def test_sqs_with_relist_may_list_its_bucket(notes) -> None:
    """The prefix is known then, and the listing is bound to it."""
    values = source(
        "sqs",
        queue_url="https://sqs.us-east-1.amazonaws.com/111122223333/trail",
        buckets=["trail", "second"],
        relist={"bucket": "trail", "prefix": "team"},
    )
    (policy,) = policies(notes(values))
    found = {statement["Sid"]: statement for statement in policy["Statement"]}
    assert found["ReadTrailFiles"]["Resource"] == [
        "arn:aws:s3:::trail/team/AWSLogs/*",
        "arn:aws:s3:::second/*AWSLogs/*",
    ]
    assert found["ListTrailBucket"] == statements(s3_policy("trail", "team/AWSLogs/", "us-east-1"))[0]


def test_logs(notes) -> None:
    """The account is that of the role; without one it is left to fill in."""
    (policy,) = policies(notes({**source("logs", log_group="g"), "aws": {"region": "us-gov-west-1", "roleArn": ROLE}}))
    assert policy == json.loads(logs_policy(group_arn("us-gov-west-1", "444455556666", "g")))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("lookup", {"regions": ["us-east-1"]}),
        ("s3", {"bucket": "trail"}),
        ("sqs", {"queue_url": "https://q.example.com/1/t", "buckets": ["trail"], "relist": {"bucket": "trail"}}),
        ("logs", {"log_group": "g"}),
    ],
)
def test_no_action_more_and_none_less_than_the_pages(kind: str, fields: dict[str, Any], notes) -> None:
    """docs/sources/ and the notes name the same actions."""
    (policy,) = policies(notes(source(kind, **fields)))
    assert {action for statement in policy["Statement"] for action in listed(statement["Action"])} == ACTIONS[kind]


def test_a_role_gets_the_policy_and_the_pod_may_assume_it(notes) -> None:
    """Two identities, two policies: only AssumeRole for ours."""
    text = notes(source("s3", bucket="trail", role_arn=ROLE, region="eu-west-1"))
    own, role = policies(text)
    assert [statement["Action"] for statement in own["Statement"]] == ["sts:AssumeRole"]
    assert own["Statement"][0]["Resource"] == [ROLE]
    assert role["Statement"] == statements(s3_policy("trail", "AWSLogs/", "eu-west-1"))
    assert f"the role {ROLE}, which has to trust the identity above" in text


def test_statements_of_one_policy_have_names_of_their_own(notes) -> None:
    """AWS refuses a policy with one Sid twice; the same statement is there once."""
    values = {
        "config": {
            "sources": [
                {"name": "a", "type": "s3", "bucket": "one"},
                {"name": "b", "type": "s3", "bucket": "two"},
                {"name": "c", "type": "lookup", "regions": ["us-east-1"]},
                {"name": "d", "type": "lookup", "regions": ["eu-west-1"]},
            ]
        }
    }
    (policy,) = policies(notes(values))
    sids = [statement["Sid"] for statement in policy["Statement"]]
    assert len(sids) == len(set(sids))
    assert [sid for sid in sids if sid.startswith("Lookup")] == ["Lookup"]
    assert {s for sid in sids if not re.fullmatch("[A-Za-z0-9]+", sid) for s in [sid]} == set()


# -- true words --


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {},
            ["event-history (lookup): Event history of the region", "standard output", "has no region and aws.region"],
        ),
        ({}, ["On an emptyDir", "not the deletion of the pod", "One replica"]),
        ({"mode": "statefulset"}, ["On a volume", "statefulset/r-cloudtrail-exporter"]),
        ({"persistence": {"enabled": True}}, ["On a volume", "deployment/r-cloudtrail-exporter"]),
        ({"config": {"state": {"type": "memory"}}}, ["In memory: after each restart"]),
        (source("s3", bucket="trail", prefix="team"), ["s3 (s3): s3://trail/team/AWSLogs/"]),
        ({"otlp": {"endpoint": "http://c:4318"}}, ["http://c:4318 (OTLP)"]),
        ({"web": {"tlsSecret": "t"}, "metrics": {"path": "/m"}}, ["https://localhost:10042/m"]),
        ({"mode": "none"}, ["No workload: mode is none", "N pollers", "counted N times"]),
        ({"existingConfigMap": "mine"}, ["What the ConfigMap mine says", "prints the policy that is missing"]),
        ({"aws": {"roleArn": ROLE}}, [f"the role {ROLE}"]),
        ({"aws": {"existingSecret": "keys"}}, ["the keys in Secret keys"]),
        ({"strategy": {"type": "RollingUpdate"}}, ["WARNING", "two exporters read side by side"]),
        (
            {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}},
            ["scraped twice and its counters add up twice"],
        ),
        ({"ingress": {"enabled": True, "hosts": [{"host": "a"}]}}, ["the exporter asks for no password"]),
        (
            {"serviceMonitor": {"enabled": True, "jobLabel": "team"}, "prometheusRule": {"enabled": True}},
            ['the rules look for the job "cloudtrail-exporter"'],
        ),
        (
            {"serviceMonitor": {"enabled": True}, "web": {"existingSecret": "w", "tls": True, "authenticated": True}},
            ["serviceMonitor.tlsConfig is empty and TLS is on", "every scrape will be turned away"],
        ),
        (
            {"aws": {"roleArn": ROLE}, "serviceAccount": {"create": False, "name": "mine"}},
            ["annotate your own with eks.amazonaws.com/role-arn"],
        ),
        ({"config": {"sink": {"type": "otlp", "headers": {"a": "b"}}}}, ["config.sink.headers lies in a ConfigMap"]),
    ],
)
def test_the_notes_say_what_is_true(values: dict[str, Any], words: list[str], notes) -> None:
    """What it reads, where it keeps its state, and what to mind."""
    text = notes(values)
    assert [word for word in words if word not in text] == []


def test_nothing_to_warn_of(notes) -> None:
    """A release with a region and no oddity has no warning."""
    assert "WARNING" not in notes({"aws": {"region": "us-east-1"}})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, True),
        (source("lookup"), True),
        (source("lookup") | {"config": {"services": ["iam.amazonaws.com"]}}, False),
        (source("s3", bucket="trail"), False),
    ],
    ids=["nothing said", "lookup", "another service", "an archive"],
)
def test_that_the_event_history_of_lookout_for_metrics_is_empty(values, told: bool, notes) -> None:
    """The service has ended: who polls its Event history is told, and nobody else."""
    assert ("ended on 2025-10-09" in notes(values)) is told
