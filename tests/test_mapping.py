"""Record -> log record: the worked example, every field, every switch, and whatever else a record may hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter import __version__
from exporter.mapping import ANOMALIES, Mapper, MappingOptions, sentence
from exporter.otel import ExportLogsServiceRequest, ReadableLogRecord, SeverityNumber, encode
from exporter.record import Document, Malformed, parse
from exporter.services import LOOKOUT_METRICS
from tests.fakes.events import IDENTITIES, OBSERVED_NS, SEED, event, record_of


def mapped(fields: dict[str, Any] | bytes, **options: Any) -> ReadableLogRecord:
    return Mapper(MappingOptions(**options))(record_of(fields))


def attributes(fields: dict[str, Any] | bytes, **options: Any) -> dict[str, Any]:
    return dict(mapped(fields, **options).log_record.attributes or {})


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

#: A record with a value in every field that the Collector's extension reads.
FULL = event(
    apiVersion="2017-07-25",
    errorCode="ValidationException",
    errorMessage="no",
    sharedEventID="shared",
    sessionCredentialFromConsole="true",
    responseElements={"r": {"n": 1}},
    additionalEventData={"a": "b"},
    resources=[{"ARN": "arn:aws:x", "accountId": "1", "type": "T"}, {"ARNPrefix": "arn:aws:y", "type": 5}, "odd"],
    tlsDetails={
        "tlsVersion": "TLSv1.2",
        "cipherSuite": "ECDHE",
        "clientProvidedHostHeader": "lookoutmetrics.us-east-2.amazonaws.com",
        "keyExchange": "x25519",
    },
    insightDetails={"state": "Start"},
    userIdentity={**IDENTITIES["role-on-instance"], "userName": "n", "invokedBy": "athena.amazonaws.com"},
)

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


# -- fields the Collector does not know --------------------------------------------------------------------------------

OURS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "tls-name",
        {"tlsDetails": {"tlsVersion": "TLSv1.3"}},
        {"tls.protocol.version": "1.3", "tls.protocol.name": "tls"},
    ),
    ("tls-odd", {"tlsDetails": {"tlsVersion": "QUIC"}}, {"tls.protocol.version": "QUIC", "tls.protocol.name": None}),
    ("key-exchange", {"tlsDetails": {"keyExchange": "x25519"}}, {"aws.cloudtrail.tls.key_exchange": "x25519"}),
    (
        "vpc-endpoint",
        {"vpcEndpointId": "vpce-1", "vpcEndpointAccountId": "AWS Internal"},
        {"aws.cloudtrail.vpc_endpoint.id": "vpce-1", "aws.cloudtrail.vpc_endpoint.account_id": "AWS Internal"},
    ),
    (
        "addendum",
        {
            "addendum": {
                "reason": "UPDATED_DATA",
                "updatedFields": "errorCode, responseElements,",
                "originalEventID": "e",
                "originalRequestID": "r",
            }
        },
        {
            "aws.cloudtrail.addendum.reason": "UPDATED_DATA",
            "aws.cloudtrail.addendum.updated_fields": ["errorCode", "responseElements"],
            "aws.cloudtrail.addendum.original_event_id": "e",
            "aws.cloudtrail.addendum.original_request_id": "r",
            "log.record.uid": "123456789012/f2f879f8-xmpl-4475-9c0c-4291a389e14a/UPDATED_DATA",
        },
    ),
    (
        "addendum-list",
        {"addendum": {"updatedFields": ["errorCode", 5]}},
        {"aws.cloudtrail.addendum.updated_fields": ["errorCode"]},
    ),
    (
        "documents",
        {
            "serviceEventDetails": {"k": 1},
            "edgeDeviceDetails": {"type": "x"},
            "eventContext": {"tagContext": {"principalTags": {}}},
        },
        {
            "aws.cloudtrail.service_event_details": {"k": 1},
            "aws.cloudtrail.edge_device_details": {"type": "x"},
            "aws.cloudtrail.event_context": {"tagContext": {"principalTags": {}}},
        },
    ),
    (
        "on-behalf",
        {"userIdentity": IDENTITIES["identity-center"]},
        {
            "user.id": "9067f0aa-0000-4000-8000-000000000001",
            "aws.user_identity.on_behalf_of.user_id": "9067f0aa-0000-4000-8000-000000000001",
            "aws.identity_store.arn": "arn:aws:identitystore::111122223333:identitystore/d-9067f00000",
            "aws.user_identity.credential_id": None,
        },
    ),
    (
        "identity-parts",
        {
            "userIdentity": {
                "invokedByDelegate": {"accountId": "5"},
                "identityProvider": "idp",
                "inScopeOf": {
                    "sourceArn": "arn:aws:l",
                    "sourceAccount": "6",
                    "issuerType": "AWS::Lambda::Function",
                    "credentialsIssuedTo": "arn:aws:f",
                    "credentialsIssuedToVersion": "3",
                },
            }
        },
        {
            "aws.user_identity.invoked_by_delegate.account_id": "5",
            "aws.user_identity.identity_provider": "idp",
            "aws.user_identity.in_scope_of.source_arn": "arn:aws:l",
            "aws.user_identity.in_scope_of.source_account": "6",
            "aws.user_identity.in_scope_of.issuer_type": "AWS::Lambda::Function",
            "aws.user_identity.in_scope_of.credentials_issued_to": "arn:aws:f",
            "aws.user_identity.in_scope_of.credentials_issued_to_version": "3",
            "aws.principal.type": None,
        },
    ),
    (
        "session-parts",
        {
            "userIdentity": {
                "sessionContext": {
                    "sourceIdentity": "mira",
                    "ec2RoleDelivery": "2.0",
                    "assumedRoot": "True",
                    "signInSessionArn": "arn:aws:signin",
                    "webIdFederationData": {"federatedProvider": "p", "attributes": {"a:b/c": "d"}},
                    "attributes": {"sessionCredentialFromConsole": "true", "creationDate": "20131102T010628Z"},
                }
            }
        },
        {
            "aws.user_identity.session_context.source_identity": "mira",
            "aws.user_identity.session_context.ec2_role_delivery": "2.0",
            "aws.user_identity.session_context.assumed_root": True,
            "aws.user_identity.session_context.sign_in_session_arn": "arn:aws:signin",
            "aws.user_identity.session_context.web_id_federation.provider": "p",
            "aws.user_identity.session_context.web_id_federation.attributes": {"a:b/c": "d"},
            "aws.user_identity.session_context.attributes.creation_date": "20131102T010628Z",
            "aws.session.console": True,
        },
    ),
    (
        "booleans",
        {"readOnly": "TRUE", "managementEvent": "no"},
        {"aws.event.read_only": True, "aws.event.management": None},
    ),
    ("console-bool", {"sessionCredentialFromConsole": True}, {"aws.session.console": True}),
    ("console-false", {"sessionCredentialFromConsole": "false"}, {"aws.session.console": None}),
    ("service-address", {"sourceIPAddress": "AWS Internal/12"}, {"source.address": "AWS Internal/12"}),
    ("parameters-text", {"requestParameters": "text"}, {"aws.request.parameters": "text"}),
    ("parameters-list", {"requestParameters": ["a", None, 1]}, {"aws.request.parameters": ["a", None, 1]}),
    (
        "inside-maps",
        {"requestParameters": {"": 1, "n": None, "e": "", "m": {}, "big": 2**63, "f": 1.5, "a.b": True}},
        {"aws.request.parameters": {"e": "", "m": {}, "big": "9223372036854775808", "f": 1.5, "a.b": True}},
    ),
    ("only-nulls", {"requestParameters": {"n": None}}, {"aws.request.parameters": None}),
    ("bad-time", {"eventTime": "yesterday"}, {"aws.cloudtrail.event_time": "yesterday"}),
    ("unknown-key", {"tomorrow": {"x": 1}}, {"tomorrow": None}),
]


@pytest.mark.parametrize(("changes", "expected"), [row[1:] for row in OURS], ids=[row[0] for row in OURS])
def test_field(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each field gives its attribute with its type; None stands for an attribute that is not there."""
    found = attributes(event(**changes))
    assert {name: found.get(name) for name in expected} == expected
    assert not any(name in found for name, value in expected.items() if value is None)


@pytest.mark.parametrize("shape", IDENTITIES)
def test_identity_facts_are_attributes(shape: str) -> None:
    """Class, flag and name of each identity shape are on the record; the class and the flag always."""
    found = attributes(event(userIdentity=IDENTITIES[shape]))
    assert found["aws.cloudtrail.credential.class"]
    assert isinstance(found["aws.cloudtrail.made_by_aws_service"], bool)
    assert found["aws.cloudtrail.principal.display_name"]


def test_opt_in_attributes() -> None:
    """Off by default, there when asked for."""
    fields = event(userIdentity=IDENTITIES["identity-center"])
    names = {
        "aws.cloudtrail.recipient_account_id": "123456789012",
        "aws.cloudtrail.origin": "trail.json#1",
        "aws.user_identity.credential_id": "bearer-example-id",
    }
    assert not names.keys() & attributes(fields).keys()
    found = attributes(fields, recipient_account_id=True, provenance=True, credential_id=True)
    assert {name: found[name] for name in names} == names


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


# -- body --------------------------------------------------------------------------------------------------------------


def test_json_body_keeps_order_and_spelling() -> None:
    """The body is the record as received, blanks taken out: order of keys, numbers and escapes are not touched."""
    data = b'{ "z": 1.0E+2, "eventID": "1",\n "a": 123456789012345678901234567890, "u": "\\u00e9\\ud83d\\ude00" }'
    assert (
        mapped(data).log_record.body
        == '{"z":1.0E+2,"eventID":"1","a":123456789012345678901234567890,"u":"\\u00e9\\ud83d\\ude00"}'
    )


def test_documentation_record_is_its_own_body() -> None:
    """A record that is compact already goes through byte for byte."""
    assert mapped(SEED).log_record.body == SEED.decode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b'{"eventID":"1","x":"a\\ud800b"}', '{"eventID":"1","x":"a�b"}', id="lone-surrogate"),
        pytest.param(b'{"eventID":"1","\\udc00":1}', '{"eventID":"1","�":1}', id="surrogate-in-key"),
        pytest.param(b'{"eventID":"1","x":"\xed\xa0\x80"}', '{"eventID":"1","x":"�"}', id="encoded-surrogate"),
        pytest.param(b'{"eventID":"1","x":[NaN,-Infinity]}', '{"eventID":"1","x":["NaN","-Infinity"]}', id="nan"),
        pytest.param(b'\xef\xbb\xbf{"eventID":"1"}', '{"eventID":"1"}', id="byte-order-mark"),
        pytest.param('{"eventID":"é"}'.encode("utf-16"), '{"eventID":"é"}', id="utf-16"),
    ],
)
def test_odd_records_get_a_rebuilt_body(data: bytes, expected: str) -> None:
    """Where the text as received is no valid JSON in UTF-8, the body is written anew."""
    body = mapped(data).log_record.body
    assert body == expected
    json.loads(str(body))


def test_map_body_is_the_record() -> None:
    """As a map the record keeps its values; nulls go."""
    body = mapped(SEED, body="map").log_record.body
    assert body == {key: value for key, value in json.loads(SEED).items() if value is not None}


def test_map_body_too_deep_is_json() -> None:
    """A record deeper than a receiver takes is sent as text."""
    value: Any = 1
    for _ in range(25):
        value = {"k": value}
    fields = event(requestParameters=value)
    assert json.loads(str(mapped(fields, body="map").log_record.body)) == fields


@pytest.mark.parametrize("body", ["sentence", "none"])
def test_original_goes_along_on_request(body: str) -> None:
    """With a body that is not the record, the record may travel as log.record.original, whole."""
    fields = event(requestParameters={"p": "x" * 100_000})
    assert "log.record.original" not in attributes(fields, body=body)
    assert json.loads(attributes(fields, body=body, original=True)["log.record.original"]) == fields


SENTENCES: list[tuple[str, dict[str, Any], str]] = [
    (
        "seed",
        {},
        (
            "IAMUser fred called DescribeAnomalyDetector on lookoutmetrics.amazonaws.com in us-east-2"
            " from 205.256.256.182: ok"
        ),
    ),
    (
        "error",
        {"errorCode": "AccessDenied", "userIdentity": IDENTITIES["role-on-instance"]},
        (
            "AssumedRole collector/i-0abc123 called DescribeAnomalyDetector on lookoutmetrics.amazonaws.com in us-east-2"
            " from 205.256.256.182: AccessDenied"
        ),
    ),
    (
        "sparse",
        {
            "userIdentity": ...,
            "eventName": ...,
            "eventSource": None,
            "awsRegion": "",
            "sourceIPAddress": 5,
            "errorMessage": "x",
        },
        "- called - on -: failed",
    ),
    (
        "hostile",
        {"userIdentity": {"type": "IAMUser", "userName": "a\n\x1b[31m\u202eb\u2028c"}, "sourceIPAddress": "\r\x00"},
        "IAMUser a??[31m?b?c called DescribeAnomalyDetector on lookoutmetrics.amazonaws.com in us-east-2 from ??: ok",
    ),
]


@pytest.mark.parametrize(("changes", "expected"), [row[1:] for row in SENTENCES], ids=[row[0] for row in SENTENCES])
def test_sentence(changes: dict[str, Any], expected: str) -> None:
    """One line for people, whatever callers wrote into it."""
    assert sentence(record_of(event(**changes))) == expected


def test_sentence_is_bounded() -> None:
    """Long values do not make long lines."""
    changes = dict.fromkeys(("eventName", "awsRegion", "sourceIPAddress", "errorCode"), "x" * 10_000)
    assert len(sentence(record_of(event(**changes)))) < 1_500


# -- size and depth ----------------------------------------------------------------------------------------------------


def _deep(levels: int) -> Any:
    value: Any = "end"
    for _ in range(levels):
        value = {"k": value}
    return value


@pytest.mark.parametrize(("levels", "kept"), [(20, True), (21, False), (40, False)])
def test_depth_is_limited(levels: int, kept: bool) -> None:
    """A value that nests deeper than a receiver takes becomes JSON text and is named."""
    found = attributes(event(requestParameters=_deep(levels)))
    expected = _deep(levels) if kept else json.dumps(_deep(levels), separators=(",", ":"))
    assert found["aws.request.parameters"] == expected
    assert found.get("aws.cloudtrail.truncated") == (None if kept else ["aws.request.parameters"])


def test_the_deepest_setting_survives_a_receiver() -> None:
    """At the largest depth one may set, attributes and map bodies still parse under protobuf's limit of 100."""
    fields = event(requestParameters=_deep(28), responseElements=_deep(60))
    request = encode([mapped(fields, attribute_depth=28, body="map", parameters="map")])
    fields = event(requestParameters=_deep(28))
    shallow = encode([mapped(fields, attribute_depth=28, body="map")])
    for message in (request, shallow):
        assert ExportLogsServiceRequest.FromString(message.SerializeToString()) == message
    assert shallow.resource_logs[0].scope_logs[0].log_records[0].body.HasField("kvlist_value")


def test_size_is_limited() -> None:
    """What is larger than allowed is cut, between characters, and named; the rest and the body stay."""
    fields = event(requestParameters={"p": "é" * 700}, userAgent="u" * 2_000, apiVersion="v" * 1_024)
    found = attributes(fields, attribute_bytes=1_024)
    assert found["aws.cloudtrail.truncated"] == ["user_agent.original", "aws.request.parameters"]
    assert found["user_agent.original"] == "u" * 1_024
    assert found["aws.request.parameters"] == '{"p":"' + "é" * 509
    assert found["aws.cloudtrail.api_version"] == "v" * 1_024
    assert json.loads(str(mapped(fields, attribute_bytes=1_024).log_record.body)) == fields


@pytest.mark.parametrize("options", [{"attribute_depth": 29}, {"attribute_depth": 0}, {"attribute_bytes": 1}], ids=str)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    """Limits that a receiver would not survive are refused when they are set."""
    with pytest.raises(ValueError, match="attribute_"):
        MappingOptions(**options)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("map", ({"a": [1]}, "text", {"s": 1})),
        ("json", ('{"a":[1]}', "text", '{"s":1}')),
        ("off", (None, None, None)),
    ],
)
def test_parameters_switch(mode: str, expected: tuple[object, ...]) -> None:
    """The large documents as maps, as JSON text, or left to the body; identifiers are found all the same."""
    arn = "arn:aws:lookoutmetrics:us-east-2:1:Alert:a"
    fields = event(
        requestParameters={"a": [1]}, responseElements="text", serviceEventDetails={"s": 1}, additionalEventData={}
    )
    found = attributes(fields, parameters=mode)
    names = ("aws.request.parameters", "aws.response.elements", "aws.cloudtrail.service_event_details")
    assert tuple(found.get(name) for name in names) == expected
    with_arn = attributes(event(requestParameters={"AlertArn": arn}), parameters=mode)
    assert with_arn["aws.lookoutmetrics.alert.arn"] == arn


# -- identifiers -------------------------------------------------------------------------------------------------------

_PREFIX = "arn:aws:lookoutmetrics:us-east-2:123456789012:"
_ARNS = {
    "anomaly_detector": _PREFIX + "AnomalyDetector:d",
    "metric_set": _PREFIX + "MetricSet/d/s",
    "alert": _PREFIX + "Alert:a",
}
_ON_DETECTOR = """
ActivateAnomalyDetector BackTestAnomalyDetector DeactivateAnomalyDetector DeleteAnomalyDetector
DescribeAnomalyDetectionExecutions DescribeAnomalyDetector DetectMetricSetConfig ListAlerts
ListAnomalyGroupSummaries ListMetricSets UpdateAnomalyDetector
""".split()
_DETECTOR = {"AnomalyDetectorArn": _ARNS["anomaly_detector"]}
_ROLE = {"RoleArn": "arn:aws:iam::1:role/r", "KmsKeyArn": "arn:aws:kms:us-east-2:1:key/k"}

#: operation -> (request, response, identifiers expected)
OPERATIONS: dict[str, tuple[dict[str, Any], dict[str, Any] | None, dict[str, str]]] = {
    **{name: (_DETECTOR, None, {"anomaly_detector.arn": _ARNS["anomaly_detector"]}) for name in _ON_DETECTOR},
    "CreateAnomalyDetector": (
        {"AnomalyDetectorName": "d", **_ROLE},
        {"AnomalyDetectorArn": _ARNS["anomaly_detector"]},
        {"anomaly_detector.arn": _ARNS["anomaly_detector"]},
    ),
    "CreateMetricSet": (
        {**_DETECTOR, "MetricSetName": "s"},
        {"MetricSetArn": _ARNS["metric_set"]},
        {"anomaly_detector.arn": _ARNS["anomaly_detector"], "metric_set.arn": _ARNS["metric_set"]},
    ),
    "CreateAlert": (
        {**_DETECTOR, "AlertName": "a", "Action": {"SNSConfiguration": {"SnsTopicArn": "arn:aws:sns:x:1:t"}}},
        {"AlertArn": _ARNS["alert"]},
        {"anomaly_detector.arn": _ARNS["anomaly_detector"], "alert.arn": _ARNS["alert"]},
    ),
    **{
        name: ({"AlertArn": _ARNS["alert"]}, None, {"alert.arn": _ARNS["alert"]})
        for name in ("DeleteAlert", "DescribeAlert", "UpdateAlert")
    },
    **{
        name: ({"MetricSetArn": _ARNS["metric_set"]}, None, {"metric_set.arn": _ARNS["metric_set"]})
        for name in ("DescribeMetricSet", "UpdateMetricSet")
    },
    "GetDataQualityMetrics": (
        {**_DETECTOR, "MetricSetArn": _ARNS["metric_set"]},
        None,
        {"anomaly_detector.arn": _ARNS["anomaly_detector"], "metric_set.arn": _ARNS["metric_set"]},
    ),
    **{
        name: (
            {**_DETECTOR, "AnomalyGroupId": "g-1"},
            None,
            {"anomaly_detector.arn": _ARNS["anomaly_detector"], "anomaly_group.id": "g-1"},
        )
        for name in ("GetAnomalyGroup", "ListAnomalyGroupRelatedMetrics", "ListAnomalyGroupTimeSeries")
    },
    **{
        name: (
            {**_DETECTOR, "AnomalyGroupTimeSeriesFeedback": {"AnomalyGroupId": "g-2"}},
            None,
            {"anomaly_detector.arn": _ARNS["anomaly_detector"], "anomaly_group.id": "g-2"},
        )
        for name in ("GetFeedback", "PutFeedback")
    },
    "GetSampleData": ({"S3SourceConfig": _ROLE}, None, {}),
    "ListAnomalyDetectors": ({}, None, {}),
    **{
        name: ({"ResourceArn": _ARNS[kind]}, None, {f"{kind}.arn": _ARNS[kind]})
        for name, kind in zip(("ListTagsForResource", "TagResource", "UntagResource"), _ARNS, strict=True)
    },
}


def test_every_operation_has_its_row() -> None:
    """The table covers the 30 operations of the service."""
    assert OPERATIONS.keys() == LOOKOUT_METRICS.operations.keys()


def _recased(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[:1].lower() + key[1:]: _recased(child) for key, child in value.items()}
    return value


@pytest.mark.parametrize("recase", [lambda value: value, _recased], ids=["Pascal", "camel"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_names_its_resource(operation: str, recase: Callable[[Any], Any]) -> None:
    """Each operation's record names its detector, metric set, alert or group, whatever the case of the first letter."""
    request, response, expected = OPERATIONS[operation]
    found = attributes(event(eventName=operation, requestParameters=recase(request), responseElements=recase(response)))
    prefix = "aws.lookoutmetrics."
    assert {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)} == expected


@pytest.mark.parametrize(
    "parameters",
    [
        {"AnomalyDetectorArn": "my-detector"},
        {"AnomalyDetectorArn": ["arn:aws:x"]},
        {"anomalydetectorarn": _ARNS["anomaly_detector"]},
        {"ResourceArn": "arn:aws:s3:::bucket"},
        {"ResourceArn": "arn:"},
        {"AnomalyGroupId": 5},
        [_DETECTOR],
        "AnomalyDetectorArn",
    ],
    ids=str,
)
def test_what_is_no_identifier_is_none(parameters: object) -> None:
    """Names, other types and other resources do not become identifiers."""
    assert not [name for name in attributes(event(requestParameters=parameters)) if name.startswith("aws.lookout")]


def test_another_services_table() -> None:
    """A configured table serves other services, and only the service it names."""
    options = {"resource_attributes": {"s3.amazonaws.com": {"bucketName": "aws.s3.bucket"}}}
    changes = {"requestParameters": {"BucketName": "b"}}
    assert attributes(event(eventSource="s3.amazonaws.com", **changes), **options)["aws.s3.bucket"] == "b"
    assert "aws.s3.bucket" not in attributes(event(**changes), **options)


# -- special records ---------------------------------------------------------------------------------------------------


def test_insight_has_no_call_and_no_caller() -> None:
    """An Insight carries its details, source and name for filters, and neither rpc nor identity."""
    details = {"state": "Start", "eventSource": "lookoutmetrics.amazonaws.com", "eventName": "CreateAlert"}
    found = attributes(
        {
            "eventVersion": "1.07",
            "eventTime": "2026-02-01T08:00:00Z",
            "awsRegion": "us-east-2",
            "eventID": "i",
            "eventType": "AwsCloudTrailInsight",
            "recipientAccountId": "1",
            "sharedEventID": "s",
            "eventCategory": "Insight",
            "insightDetails": details,
        }
    )
    assert found == {
        "aws.cloudtrail.event_version": "1.07",
        "aws.cloudtrail.event_id": "i",
        "aws.cloudtrail.event_name": "CreateAlert",
        "aws.cloudtrail.event_source": "lookoutmetrics.amazonaws.com",
        "aws.cloudtrail.event_type": "AwsCloudTrailInsight",
        "aws.shared_event_id": "s",
        "aws.event.category": "Insight",
        "aws.insight_details": details,
        "aws.cloudtrail.credential.class": "unknown",
        "aws.cloudtrail.made_by_aws_service": False,
        "log.record.uid": "1/i",
    }


def test_network_activity() -> None:
    """A call through a VPC endpoint maps as any call, its caller by the rules for another account."""
    found = attributes(
        event(
            eventType="AwsVpceEvent",
            eventCategory="NetworkActivity",
            errorCode="VpceAccessDenied",
            vpcEndpointId="vpce-1",
            userIdentity=IDENTITIES["account-session"],
        )
    )
    assert found["aws.cloudtrail.credential.class"] == "temporary_credentials"
    assert found["aws.cloudtrail.vpc_endpoint.id"] == "vpce-1"
    assert found["error.type"] == "VpceAccessDenied"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, [], id="nothing-odd"),
        pytest.param({"eventVersion": "2.0"}, ["major_version"], id="other-layout"),
        pytest.param({"eventVersion": "1.10"}, [], id="newer-minor"),
        pytest.param({"tomorrow": 1}, ["unknown_key"], id="unknown-key"),
        pytest.param({"readOnly": "maybe"}, ["boolean"], id="boolean"),
        pytest.param({"requestParameters": {"": 1}}, ["empty_key"], id="empty-key"),
        pytest.param({"userAgent": ["x"]}, ["wrong_type"], id="wrong-type"),
        pytest.param({"userIdentity": "me"}, ["wrong_type"], id="wrong-identity"),
        pytest.param({"requestParameters": _deep(21)}, ["truncated"], id="truncated"),
    ],
)
def test_oddities_are_reported(changes: dict[str, Any], expected: list[str]) -> None:
    """What costs an attribute is told to whoever counts it, by a word of a bounded set."""
    met: list[str] = []
    Mapper(on_anomaly=met.append)(record_of(event(**changes)))
    assert met == expected
    assert set(met) <= ANOMALIES.keys()


# -- whatever else -----------------------------------------------------------------------------------------------------

#: Every field with a value, so that each can be replaced by something else.
EVERYTHING = {
    **FULL,
    **{key: value for row in OURS for key, value in row[1].items()},
    "userIdentity": FULL["userIdentity"],
}

TORTURE: dict[str, bytes] = {
    "null": b"null",
    "empty-text": b'""',
    "empty-map": b"{}",
    "empty-list": b"[]",
    "zero": b"0",
    "true": b"true",
    "text": b'"text"',
    "list": b'["a",1,null,{"b":[]}]',
    "digits": b"9" * 300,
    "nest": b'{"k":' * 39 + b"{}" + b"}" * 39,
    "surrogate": b'"a\\ud800b"',
    "surrogate-inside": b'{"\\udc00":["\\ud800"]}',
    "nan": b"NaN",
    "long": b'"' + b"x" * 70_000 + b'"',
}

_OPTIONS = [
    MappingOptions(),
    MappingOptions(body="map", parameters="json", emit_empty=True, credential_id=True),
    MappingOptions(body="sentence", original=True, rpc="v1_only", access_key="hash", user_names="hash"),
    MappingOptions(body="none", timestamp="observed", source_address="drop", user_names="drop", access_key="drop"),
]


def _paths(value: dict[str, Any], at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, child in value.items():
        found.append((*at, key))
        if key in ("userIdentity", "sessionContext", "sessionIssuer", "attributes", "tlsDetails", "addendum"):
            found += _paths(child, (*at, key)) if isinstance(child, dict) else []
    return found


def _replaced(path: tuple[str, ...], instead: bytes) -> bytes:
    fields = json.loads(json.dumps(EVERYTHING))
    inner = fields
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "@@@"
    return json.dumps(fields).encode().replace(b'"@@@"', instead)


def _round_trip(records: list[ReadableLogRecord]) -> ExportLogsServiceRequest:
    request = encode(records)
    assert ExportLogsServiceRequest.FromString(request.SerializeToString()) == request
    assert sum(len(scope.log_records) for group in request.resource_logs for scope in group.scope_logs) == len(records)
    return request


@pytest.mark.parametrize("torture", TORTURE)
def test_any_field_may_hold_anything(torture: str) -> None:
    """Each field replaced by a value of the wrong kind: the record comes out, and the whole batch encodes."""
    records = [record_of(_replaced(path, TORTURE[torture])) for path in _paths(EVERYTHING)]
    for options in _OPTIONS:
        _round_trip([Mapper(options)(record) for record in records])


_json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**18, 10**25)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from([*TORTURE, "arn:aws:iam::1:user/x", "a:b", "AIDA", "UPDATED_DATA", "AWSAccount", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
_keys = st.sampled_from(sorted({key for path in _paths(EVERYTHING) for key in path}))


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(_keys | st.text(st.characters(), max_size=5), _json_values, max_size=12),
    st.dictionaries(_keys, _json_values, max_size=8),
    st.sampled_from(_OPTIONS),
)
def test_any_object_maps_and_encodes(fields: dict[str, Any], user: dict[str, Any], options: MappingOptions) -> None:
    """Any JSON object is a record or a reason; every record becomes a log record that survives the wire."""
    if user:
        fields = {**fields, "userIdentity": user}
    parsed = parse(Document(json.dumps(fields).encode(), "x"), observed_ns=1)
    if isinstance(parsed, Malformed):
        return
    _round_trip([Mapper(options)(parsed)])
