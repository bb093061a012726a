"""The worked example, the Collector's names and the envelope of a log record."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from exporter import __version__
from exporter.mapping import Mapper
from exporter.otel import ReadableLogRecord, SeverityNumber, encode
from tests.fakes.events import FULL, IDENTITIES, OBSERVED_NS, SEED, event, record_of
from tests.fakes.mapped import attributes, mapped


def otlp_json(*records: ReadableLogRecord) -> Any:
    """The request as OTLP/JSON writes it, the version of this package taken out."""
    message = MessageToDict(encode(records), use_integers_for_enums=True)
    for resource in message["resourceLogs"]:
        for scope in resource["scopeLogs"]:
            assert scope["scope"].pop("version") == __version__
    return message


# -- the worked example ------------------------------------------------------------------------------------------------

GOLDEN_OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "rpc-collector_v1": {"rpc": "collector_v1"},
    "rpc-v1_only": {"rpc": "v1_only"},
    "rpc-off": {"rpc": "off"},
    "user-identity-prefix": {"user_identity_prefix": True},
    "body-map": {"body": "map"},
    "body-sentence": {"body": "sentence", "original": True},
    "body-none": {"body": "none"},
}


@pytest.mark.parametrize("mode", GOLDEN_OPTIONS)
def test_worked_example(mode: str, golden: Callable[[str, str], None]) -> None:
    """The documentation's record in every rpc, prefix and body mode; `default` is the worked example, to the letter."""
    produced = otlp_json(mapped(SEED, **GOLDEN_OPTIONS[mode]))
    golden(f"mapping/{mode}.json", json.dumps(produced, indent=1) + "\n")


def test_worked_example_has_30_attributes() -> None:
    """As many as the table says, the identity last."""
    names = list(attributes(SEED))
    assert len(names) == 30
    assert names[0] == "aws.cloudtrail.event_version"
    assert names[-1] == "log.record.uid"


# -- the Collector's names ---------------------------------------------------------------------------------------------

#: What the extension makes of it (its names and types, `rpc` gate off), with the differences we declare.
COLLECTOR: dict[str, Any] = {
    "aws.cloudtrail.event_version": "1.08",
    "aws.cloudtrail.event_id": "f2f879f8-xmpl-4475-9c0c-4291a389e14a",
    "aws.cloudtrail.api_version": "2017-07-25",
    "aws.request_id": "f587ee3c-xmpl-406b-b573-66100bb14b61",
    "aws.event.category": "Management",
    "aws.event.read_only": True,
    "aws.event.management": True,
    "source.address": "205.256.256.182",
    "user_agent.original": FULL["userAgent"],
    "aws.session.console": True,
    "user.name": "n",
    "aws.user_identity.account_id": "111122223333",
    "aws.access_key.id": "ASIAEXAMPLEKEY000002",
    "aws.user_identity.invoked_by": "athena.amazonaws.com",
    "aws.principal.id": "AROAEXAMPLEROLE000001:i-0abc123",
    "aws.principal.arn": "arn:aws:sts::111122223333:assumed-role/collector/i-0abc123",
    "aws.principal.type": "AssumedRole",
    "aws.user_identity.session_context.attributes.mfa_authenticated": False,
    "aws.user_identity.session_context.attributes.creation_date": "2026-02-01T08:00:00Z",
    "aws.user_identity.session_context.issuer.type": "Role",
    "aws.user_identity.session_context.issuer.principal_id": "AROAEXAMPLEROLE000001",
    "aws.user_identity.session_context.issuer.arn": "arn:aws:iam::111122223333:role/collector",
    "aws.user_identity.session_context.issuer.account_id": "111122223333",
    "aws.user_identity.session_context.issuer.user_name": "collector",
    "tls.protocol.version": "1.2",
    "tls.cipher": "ECDHE",
    "server.address": "lookoutmetrics.us-east-2.amazonaws.com",
    "aws.error.code": "ValidationException",
    "aws.error.message": "no",
    "aws.shared_event_id": "shared",
    "aws.insight_details": {"state": "Start"},
    "aws.request.parameters": FULL["requestParameters"],
    "aws.response.elements": {"r": {"n": 1}},
    "aws.cloudtrail.additional_event_data": {"a": "b"},
}


@pytest.mark.parametrize("name", COLLECTOR)
def test_collector_attribute(name: str) -> None:
    """Every attribute of the Collector has the same name, level and type with us."""
    assert attributes(FULL)[name] == COLLECTOR[name]


def test_resources_have_the_collectors_keys() -> None:
    """Members that are absent or no strings are left out; entries that are no objects too."""
    assert attributes(FULL)["aws.resources"] == [
        {"arn": "arn:aws:x", "account.id": "1", "type": "T"},
        {"arn_prefix": "arn:aws:y"},
    ]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (
            "compat",
            {
                "rpc.method": "DescribeAnomalyDetector",
                "rpc.service": "lookoutmetrics.amazonaws.com",
                "rpc.system": "AwsApiCall",
                "rpc.system.name": "AwsApiCall",
            },
        ),
        (
            "collector_v1",
            {
                "rpc.method": "lookoutmetrics.amazonaws.com/DescribeAnomalyDetector",
                "rpc.service": "lookoutmetrics.amazonaws.com",
                "rpc.system": "AwsApiCall",
                "rpc.system.name": "AwsApiCall",
            },
        ),
        (
            "v1_only",
            {
                "rpc.method": "lookoutmetrics.amazonaws.com/DescribeAnomalyDetector",
                "rpc.system.name": "AwsApiCall",
            },
        ),
        ("off", {}),
    ],
)
def test_rpc_names(mode: str, expected: dict[str, str]) -> None:
    """Each switch gives exactly its set of rpc.* attributes, and the stable triple stays."""
    found = attributes(SEED, rpc=mode)
    assert {name: value for name, value in found.items() if name.startswith("rpc.")} == expected
    assert [found[f"aws.cloudtrail.event_{part}"] for part in ("name", "source", "type")] == [
        "DescribeAnomalyDetector",
        "lookoutmetrics.amazonaws.com",
        "AwsApiCall",
    ]


def test_identity_prefix_renames_five() -> None:
    """With the prefix, the five names of the Collector's gate change and nothing else does."""
    fields = event(
        userIdentity={**IDENTITIES["user"], "onBehalfOf": {"userId": "u", "identityStoreArn": "arn:aws:store"}}
    )
    plain, prefixed = attributes(fields), attributes(fields, user_identity_prefix=True)
    assert list(plain.values()) == list(prefixed.values())
    assert {old: new for old, new in zip(plain, prefixed, strict=True) if old != new} == {
        "aws.principal.type": "aws.user_identity.principal.type",
        "aws.principal.id": "aws.user_identity.principal.id",
        "aws.principal.arn": "aws.user_identity.principal.arn",
        "aws.access_key.id": "aws.user_identity.access_key.id",
        "aws.identity_store.arn": "aws.user_identity.identity_store.arn",
    }


def test_empty_attributes_on_request() -> None:
    """`emit_empty` gives the Collector's always-attributes, by default nothing empty is sent."""
    fields = event(
        eventVersion="", eventID=None, eventCategory=..., eventType="", recipientAccountId=..., userIdentity=...
    )
    names = {"aws.cloudtrail.event_version", "aws.cloudtrail.event_id", "aws.event.category", "rpc.system"}
    plain, always = mapped(fields), mapped(fields, emit_empty=True)
    assert not names & set(plain.log_record.attributes or {})
    assert {name: (always.log_record.attributes or {})[name] for name in names} == dict.fromkeys(names, "")
    assert "cloud.account.id" not in plain.resource.attributes
    assert always.resource.attributes["cloud.account.id"] == ""


# -- envelope ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_type", "expected"),
    [
        ("AwsApiCall", "aws.cloudtrail.api_call"),
        ("AwsServiceEvent", "aws.cloudtrail.service_event"),
        ("AwsConsoleSignIn", "aws.cloudtrail.console_sign_in"),
        ("AwsConsoleAction", "aws.cloudtrail.console_action"),
        ("AwsVpceEvent", "aws.cloudtrail.vpce_event"),
        ("AwsVpceEvents", "aws.cloudtrail.vpce_event"),
        ("AwsCloudTrailInsight", "aws.cloudtrail.insight"),
        ("AwsAggregatedEvent", "aws.cloudtrail.aggregated"),
        ("Tomorrow", "aws.cloudtrail.event"),
        (["AwsApiCall"], "aws.cloudtrail.event"),
        (None, "aws.cloudtrail.event"),
    ],
)
def test_event_name_is_one_of_a_fixed_set(event_type: object, expected: str) -> None:
    """The event name tells the structure and never holds text of the record."""
    assert mapped(event(eventType=event_type)).log_record.event_name == expected


SIGN_IN = {"eventType": "AwsConsoleSignIn", "responseElements": {"ConsoleLogin": "Failure"}}


@pytest.mark.parametrize(
    ("changes", "severity", "error_type"),
    [
        pytest.param({}, "INFO", None, id="success"),
        pytest.param({"errorCode": "InternalServerException"}, "ERROR", "InternalServerException", id="fault"),
        pytest.param({"errorCode": "AccessDenied"}, "WARN", "AccessDenied", id="refused"),
        pytest.param({"errorMessage": "only words"}, "WARN", "_OTHER", id="message-only"),
        pytest.param(SIGN_IN, "WARN", "_OTHER", id="sign-in"),
        pytest.param({"errorCode": 500}, "WARN", "_OTHER", id="code-no-string"),
        pytest.param({"errorCode": "", "errorMessage": None}, "INFO", None, id="empty"),
    ],
)
def test_severity_and_error_type(changes: dict[str, Any], severity: str, error_type: str | None) -> None:
    """Refused callers are warnings, faults of the service errors; `info` changes severity only."""
    record = mapped(event(**changes)).log_record
    assert (record.severity_text, record.severity_number) == (severity, SeverityNumber[severity])
    assert (record.attributes or {}).get("error.type") == error_type
    quiet = mapped(event(**changes), severity="info").log_record
    assert (quiet.severity_number, (quiet.attributes or {}).get("error.type")) == (SeverityNumber.INFO, error_type)


def test_the_fault_set_is_configurable() -> None:
    """What counts as the service's fault is an option."""
    record = mapped(event(errorCode="Mine"), fault_codes=frozenset({"Mine"})).log_record
    assert record.severity_number == SeverityNumber.ERROR


@pytest.mark.parametrize(
    ("time", "mode", "timestamp", "attribute"),
    [
        ("2021-01-09T00:18:12Z", "event", 1_610_151_492_000_000_000, None),
        ("2021-01-09T00:18:12Z", "observed", OBSERVED_NS, "2021-01-09T00:18:12Z"),
        ("never", "event", OBSERVED_NS, "never"),
        (None, "event", OBSERVED_NS, None),
        ("9999-12-31T23:59:59Z", "event", OBSERVED_NS, "9999-12-31T23:59:59Z"),
    ],
)
def test_time_is_never_lost(time: object, mode: str, timestamp: int, attribute: str | None) -> None:
    """The event's time is the timestamp, or an attribute when it cannot be or may not be."""
    record = mapped(event(eventTime=time), timestamp=mode).log_record
    assert (record.timestamp, record.observed_timestamp) == (timestamp, OBSERVED_NS)
    assert (record.attributes or {}).get("aws.cloudtrail.event_time") == attribute


def test_no_trace_is_invented() -> None:
    """The log record carries no trace id, span id or flags."""
    message = encode([mapped(SEED)]).resource_logs[0].scope_logs[0].log_records[0]
    assert (message.trace_id, message.span_id, message.flags) == (b"", b"", 0)


def test_regions_and_accounts_are_resources_of_their_own() -> None:
    """Two regions and two accounts in one request: each record below its own resource, equal ones together."""
    mapper = Mapper()
    places = [("us-east-1", "1"), ("us-east-2", "1"), ("us-east-1", "2"), ("us-east-1", "1")]
    records = [mapper(record_of(event(awsRegion=region, recipientAccountId=account))) for region, account in places]
    message = otlp_json(*records)
    found = {
        tuple(pair["value"]["stringValue"] for pair in resource["resource"]["attributes"]): len(
            resource["scopeLogs"][0]["logRecords"]
        )
        for resource in message["resourceLogs"]
    }
    assert found == {
        ("aws", "us-east-1", "1", "cloudtrail"): 2,
        ("aws", "us-east-2", "1", "cloudtrail"): 1,
        ("aws", "us-east-1", "2", "cloudtrail"): 1,
    }


def test_service_name_may_be_switched_off() -> None:
    """An empty service name is no attribute."""
    assert "service.name" not in mapped(SEED, service_name="").resource.attributes


def test_resource_ignores_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter's own OTEL_RESOURCE_ATTRIBUTES are not the event's."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=p")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "other")
    assert dict(mapped(SEED).resource.attributes) == {
        "cloud.provider": "aws",
        "cloud.region": "us-east-2",
        "cloud.account.id": "123456789012",
        "service.name": "cloudtrail",
    }


def test_resources_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions made up by the input do not pile up."""
    monkeypatch.setattr("exporter.mapping._MOST_RESOURCES", 3)
    mapper = Mapper()
    for number in range(10):
        mapper(record_of(event(awsRegion=f"r{number}")))
    assert len(mapper._resources) <= 3
