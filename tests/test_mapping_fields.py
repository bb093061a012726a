"""Every field and its attribute; special records."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.mapping import ANOMALIES, Mapper
from tests.fakes.events import IDENTITIES, event, record_of
from tests.fakes.mapped import attributes, deep

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
        pytest.param({"requestParameters": deep(21)}, ["truncated"], id="truncated"),
    ],
)
def test_oddities_are_reported(changes: dict[str, Any], expected: list[str]) -> None:
    """What costs an attribute is told to whoever counts it, by a word of a bounded set."""
    met: list[str] = []
    Mapper(on_anomaly=met.append)(record_of(event(**changes)))
    assert met == expected
    assert set(met) <= ANOMALIES.keys()
