"""CloudTrail events for tests: the record of the Lookout for Metrics documentation, and one identity of each shape."""

from __future__ import annotations

import json
from typing import Any

from exporter.record import Document, Malformed, Record, parse

#: The documentation's record, as one line of a trail file.
SEED = (
    b'{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","principalId":"AKIAI44QH8DHBEXAMPLE",'
    b'"arn":"arn:aws:iam::123456789012:user/fred","accountId":"123456789012","accessKeyId":"AKIAIOSFODNN7EXAMPLE",'
    b'"userName":"fred","sessionContext":{"sessionIssuer":{},"webIdFederationData":{},"attributes":'
    b'{"mfaAuthenticated":"false","creationDate":"2021-01-09T00:14:34Z"}}},"eventTime":"2021-01-09T00:18:12Z",'
    b'"eventSource":"lookoutmetrics.amazonaws.com","eventName":"DescribeAnomalyDetector","awsRegion":"us-east-2",'
    b'"sourceIPAddress":"205.256.256.182","userAgent":"aws-sdk-java/1.11.930 Linux/4.9.230-0.1.ac.223.84.332.metal1.'
    b'x86_64 OpenJDK_64-Bit_Server_VM/25.275-b01 java/1.8.0_275 vendor/Oracle_Corporation","requestParameters":'
    b'{"AnomalyDetectorArn":"arn:aws:lookoutmetrics:us-east-2:123456789012:AnomalyDetector:my-detector-5m"},'
    b'"responseElements":null,"requestID":"f587ee3c-xmpl-406b-b573-66100bb14b61","eventID":'
    b'"f2f879f8-xmpl-4475-9c0c-4291a389e14a","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,'
    b'"eventCategory":"Management","recipientAccountId":"123456789012"}'
)

#: 2026-11-22T20:00:00Z, when tests read.
OBSERVED_NS = 1_795_305_600_000_000_000

_SESSION = {"creationDate": "2026-02-01T08:00:00Z", "mfaAuthenticated": "false"}


def _role(name: str, number: int, session: str, **context: Any) -> dict[str, Any]:
    return {
        "type": "AssumedRole",
        "principalId": f"AROAEXAMPLEROLE00000{number}:{session}",
        "arn": f"arn:aws:sts::111122223333:assumed-role/{name}/{session}",
        "accountId": "111122223333",
        "accessKeyId": f"ASIAEXAMPLEKEY00000{number + 1}",
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": f"AROAEXAMPLEROLE00000{number}",
                "arn": f"arn:aws:iam::111122223333:role/{name}",
                "accountId": "111122223333",
                "userName": name,
            },
            "webIdFederationData": {},
            "attributes": _SESSION,
            **context,
        },
    }


_MIRA = {
    "type": "IAMUser",
    "principalId": "AIDAEXAMPLEUSER000001",
    "arn": "arn:aws:iam::111122223333:user/ops/mira",
    "accountId": "111122223333",
    "accessKeyId": "AKIAEXAMPLEKEY000001",
    "userName": "mira",
}

#: One made-up ``userIdentity`` per shape.
IDENTITIES: dict[str, dict[str, Any]] = {
    "root": {
        "type": "Root",
        "principalId": "111122223333",
        "arn": "arn:aws:iam::111122223333:root",
        "accountId": "111122223333",
        "sessionContext": {"attributes": {"creationDate": "2026-02-01T08:00:00Z", "mfaAuthenticated": "true"}},
    },
    "user": _MIRA,
    "user-by-service": {
        **_MIRA,
        "accessKeyId": "ASIAEXAMPLEKEY000001",
        "sessionContext": {"sessionIssuer": {}, "webIdFederationData": {}, "attributes": _SESSION},
        "invokedBy": "cloudformation.amazonaws.com",
    },
    "role-on-instance": _role("collector", 1, "i-0abc123", ec2RoleDelivery="2.0"),
    "role-by-web-identity": _role(
        "irsa",
        2,
        "k8s",
        webIdFederationData={
            "federatedProvider": "arn:aws:iam::111122223333:oidc-provider/oidc.example/id/AB",
            "attributes": {},
        },
    ),
    "role": {
        "type": "Role",
        "arn": "arn:aws:iam::111122223333:role/keeper",
        "accountId": "111122223333",
        "sessionContext": {"sessionIssuer": {"type": "Role", "userName": "keeper"}},
    },
    "federated": {
        "type": "FederatedUser",
        "principalId": "111122223333:lea",
        "arn": "arn:aws:sts::111122223333:federated-user/lea",
        "accountId": "111122223333",
        "accessKeyId": "ASIAEXAMPLEKEY000004",
        "sessionContext": {
            "sessionIssuer": {
                "type": "IAMUser",
                "principalId": "AIDAEXAMPLEUSER000002",
                "arn": "arn:aws:iam::111122223333:user/broker",
                "accountId": "111122223333",
                "userName": "broker",
            },
            "attributes": _SESSION,
        },
    },
    "account-session": {
        "type": "AWSAccount",
        "principalId": "AROAEXAMPLEROLE000003:audit",
        "accountId": "444455556666",
    },
    "account-user": {"type": "AWSAccount", "principalId": "AIDAEXAMPLEUSER000003", "accountId": "444455556666"},
    "account": {"type": "AWSAccount", "principalId": "", "accountId": "ANONYMOUS_PRINCIPAL"},
    "service": {"type": "AWSService", "invokedBy": "lookoutmetrics.amazonaws.com"},
    "identity-center": {
        "type": "IdentityCenterUser",
        "accountId": "111122223333",
        "onBehalfOf": {
            "userId": "9067f0aa-0000-4000-8000-000000000001",
            "identityStoreArn": "arn:aws:identitystore::111122223333:identitystore/d-9067f00000",
        },
        "credentialId": "bearer-example-id",
    },
    "saml": {
        "type": "SAMLUser",
        "principalId": "idp.example:mira",
        "userName": "mira",
        "identityProvider": "idp.example",
    },
    "web-identity": {
        "type": "WebIdentityUser",
        "principalId": "accounts.example:app:user1",
        "userName": "user1",
        "identityProvider": "accounts.example",
    },
    "directory": {
        "type": "Directory",
        "accountId": "111122223333",
        "principalId": "d-9067f00000",
        "userName": "mira",
    },
    "unknown": {
        "type": "Unknown",
        "principalId": "111122223333",
        "accountId": "111122223333",
        "userName": "HIDDEN_DUE_TO_SECURITY_REASONS",
    },
    "no-type": {"accountId": "111122223333", "invokedBy": "kms.amazonaws.com"},
}


def event(**changes: Any) -> dict[str, Any]:
    """The documentation's record with fields replaced; ``...`` takes a field away."""
    fields = {**json.loads(SEED), **changes}
    return {key: value for key, value in fields.items() if value is not ...}


def record_of(fields: dict[str, Any] | bytes) -> Record:
    """The record of an event, or of its JSON text."""
    data = fields if isinstance(fields, bytes) else json.dumps(fields, separators=(",", ":")).encode()
    parsed = parse(Document(data, "trail.json#1"), observed_ns=OBSERVED_NS)
    assert not isinstance(parsed, Malformed), parsed
    return parsed


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
