"""The events of the synthetic trail: who called what, as CloudTrail would have written it. Standard library only."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

SERVICE = "lookoutmetrics.amazonaws.com"
ACCOUNTS = ("111122223333", "444455556666")
REGIONS = ("us-east-2", "eu-west-1")

Event = dict[str, Any]

READS = set(
    """DescribeAlert DescribeAnomalyDetectionExecutions DescribeAnomalyDetector DescribeMetricSet GetAnomalyGroup
    GetDataQualityMetrics GetFeedback GetSampleData ListAlerts ListAnomalyDetectors ListAnomalyGroupRelatedMetrics
    ListAnomalyGroupSummaries ListAnomalyGroupTimeSeries ListMetricSets ListTagsForResource""".split()
)
WRITES = set(
    """ActivateAnomalyDetector BackTestAnomalyDetector CreateAlert CreateAnomalyDetector CreateMetricSet
    DeactivateAnomalyDetector DeleteAlert DeleteAnomalyDetector DetectMetricSetConfig PutFeedback TagResource
    UntagResource UpdateAlert UpdateAnomalyDetector UpdateMetricSet""".split()
)
OPERATIONS = sorted(READS | WRITES)

#: Error code -> message, as the service and IAM write them.
ERRORS = {
    "AccessDenied": "User: arn:aws:iam::111122223333:user/ops/lee is not authorized to perform this action",
    "AccessDeniedException": "You do not have sufficient access to perform this action.",
    "ConflictException": "The resource is already in use.",
    "InternalServerException": "The request processing has failed because of an unknown error.",
    "ResourceNotFoundException": "The specified resource cannot be found.",
    "ServiceQuotaExceededException": "The request exceeded the service's quotas.",
    "TooManyRequestsException": "The request was denied due to too many requests being submitted at the same time.",
    "ValidationException": "1 validation error detected: FIELD_VALIDATION_FAILED",
}

AGENTS = (
    "aws-sdk-java/1.12.780 Linux/5.10.235 OpenJDK_64-Bit_Server_VM/17.0.14 java/17.0.14",
    "aws-cli/2.27.5 md/awscrt#0.26.1 ua/2.1 os/linux#6.8.0 md/arch#x86_64 lang/python#3.13.3 cfg/retry-mode#standard",
    "Boto3/1.40.40 md/Botocore#1.40.40 ua/2.1 os/linux#6.1.0 md/arch#aarch64 lang/python#3.12.10",
    "APN/1.0 HashiCorp/1.0 Terraform/1.9.8 aws-sdk-go-v2/1.36.3",
)
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
CREATED = "2025-09-28T07:12:40Z"


class Trail:
    """The events, made one after another from one random source."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def guid(self) -> str:
        text = f"{self.rng.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"

    def address(self) -> str:
        net = self.rng.choice(("192.0.2", "198.51.100", "203.0.113"))
        return f"{net}.{self.rng.randrange(1, 255)}" if self.rng.random() < 0.9 else "2001:db8:85a3::8a2e:370:7334"

    # -- who -----------------------------------------------------------------------------------------------------------

    def session(self, issuer: Event | None = None, *, mfa: str = "false", **more: Any) -> Event:
        attributes = {"creationDate": CREATED, "mfaAuthenticated": mfa}
        return {"sessionIssuer": issuer or {}, "webIdFederationData": {}, "attributes": attributes, **more}

    def role(self, account: str, name: str, session: str, **more: Any) -> Event:
        ident = f"AROAEXAMPLE{name.upper().replace('-', '')[:8]:0<8}"
        issuer = {
            "type": "Role",
            "principalId": ident,
            "arn": f"arn:aws:iam::{account}:role/{name}",
            "accountId": account,
            "userName": name,
        }
        return {
            "type": "AssumedRole",
            "principalId": f"{ident}:{session}",
            "arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
            "accountId": account,
            "accessKeyId": "ASIAEXAMPLEKEY000002",
            "sessionContext": self.session(issuer, **more),
        }

    def user(self, account: str, name: str, *, key: str = "AKIAEXAMPLEKEY000001") -> Event:
        return {
            "type": "IAMUser",
            "principalId": f"AIDAEXAMPLE{name.upper():0<9}",
            "arn": f"arn:aws:iam::{account}:user/ops/{name}",
            "accountId": account,
            "accessKeyId": key,
            "userName": name,
        }

    def identities(self) -> dict[str, Callable[[str], Event]]:
        """Label value of ``principal_type`` -> an identity of an account that gets it."""
        partner = {ACCOUNTS[0]: ACCOUNTS[1], ACCOUNTS[1]: ACCOUNTS[0]}
        store = "arn:aws:identitystore::111122223333:identitystore/d-9067f00000"
        return {
            "AssumedRole": lambda a: self.role(a, "metrics-collector", "i-0abc123def4567890", ec2RoleDelivery="2.0"),
            "IAMUser": lambda a: self.user(a, "mira"),
            "Root": lambda a: {
                "type": "Root",
                "principalId": a,
                "arn": f"arn:aws:iam::{a}:root",
                "accountId": a,
                "sessionContext": {"attributes": {"creationDate": CREATED, "mfaAuthenticated": "true"}},
            },
            "Role": lambda a: {**self.role(a, "detector-owner", "nightly"), "type": "Role"},
            "FederatedUser": lambda a: {
                "type": "FederatedUser",
                "principalId": f"{a}:lea",
                "arn": f"arn:aws:sts::{a}:federated-user/lea",
                "accountId": a,
                "accessKeyId": "ASIAEXAMPLEKEY000004",
                "sessionContext": self.session(self.user(a, "broker")),
            },
            "Directory": lambda a: {
                "type": "Directory",
                "accountId": a,
                "principalId": "d-9067f00000",
                "userName": "mira",
            },
            "AWSAccount": lambda a: {
                "type": "AWSAccount",
                "principalId": "AROAEXAMPLEROLE000003:audit",
                "accountId": partner[a],
            },
            "AWSService": lambda _: {"type": "AWSService", "invokedBy": "cloudformation.amazonaws.com"},
            "IdentityCenterUser": lambda a: {
                "type": "IdentityCenterUser",
                "accountId": a,
                "onBehalfOf": {"userId": "9067f0aa-0000-4000-8000-000000000001", "identityStoreArn": store},
                "credentialId": "bearer-example-id",
            },
            "SAMLUser": lambda _: {
                "type": "SAMLUser",
                "principalId": "idp.example:mira",
                "userName": "mira",
                "identityProvider": "idp.example",
            },
            "WebIdentityUser": lambda _: {
                "type": "WebIdentityUser",
                "principalId": "accounts.example:app:user1",
                "userName": "user1",
                "identityProvider": "accounts.example",
            },
            "Unknown": lambda a: {
                "type": "Unknown",
                "principalId": a,
                "accountId": a,
                "userName": "HIDDEN_DUE_TO_SECURITY_REASONS",
            },
            "_MISSING": lambda a: {"accountId": a, "invokedBy": SERVICE},
            "_OTHER": lambda a: {"type": "ExternalWorkload", "principalId": "workload-7", "accountId": a},
        }

    # -- what ----------------------------------------------------------------------------------------------------------

    def call(self, operation: str, account: str, region: str) -> tuple[Event | None, Event | None]:
        """Request parameters and response elements, in the capitals of the service's model."""
        name = self.rng.choice(("orders-5m", "checkout-latency", "ad-spend-daily", "signups-hourly"))
        arn = f"arn:aws:lookoutmetrics:{region}:{account}"
        detector = {"AnomalyDetectorArn": f"{arn}:AnomalyDetector:{name}"}
        metric_set = {"MetricSetArn": f"{arn}:MetricSet/{name}/{name}-set"}
        alert = {"AlertArn": f"{arn}:Alert:{name}-alert"}
        group = {"AnomalyGroupId": self.guid()}
        frequency = self.rng.choice(("PT5M", "PT10M", "PT1H", "P1D"))
        role = f"arn:aws:iam::{account}:role/detector-owner"
        s3 = {
            "S3SourceConfig": {
                "RoleArn": role,
                "TemplatedPathList": [f"s3://example-metrics-{account}/{name}/{{{{yyyyMMdd}}}}"],
            }
        }
        action = {"SNSConfiguration": {"RoleArn": role, "SnsTopicArn": f"arn:aws:sns:{region}:{account}:anomalies"}}
        feedback = {"AnomalyGroupTimeSeriesFeedback": {**group, "TimeSeriesId": self.guid(), "IsAnomaly": True}}
        config = {"AnomalyDetectorConfig": {"AnomalyDetectorFrequency": frequency}}
        resource = {
            "resourceArn": self.rng.choice((detector["AnomalyDetectorArn"], *metric_set.values(), *alert.values()))
        }
        page: Event = {"MaxResults": 50}
        table: dict[str, tuple[Event | None, Event | None]] = {
            "CreateAnomalyDetector": ({"AnomalyDetectorName": name, **config}, detector),
            "UpdateAnomalyDetector": ({**detector, **config}, detector),
            "CreateMetricSet": (
                {
                    **detector,
                    "MetricSetName": f"{name}-set",
                    "MetricList": [{"MetricName": "value", "AggregationFunction": "SUM"}],
                    "DimensionList": ["country", "device"],
                    "MetricSetFrequency": frequency,
                    "MetricSource": s3,
                },
                metric_set,
            ),
            "UpdateMetricSet": ({**metric_set, "MetricSetFrequency": frequency, "MetricSource": s3}, metric_set),
            "DescribeMetricSet": (metric_set, None),
            "CreateAlert": (
                {"AlertName": f"{name}-alert", "AlertSensitivityThreshold": 70, **detector, "Action": action},
                alert,
            ),
            "UpdateAlert": ({**alert, "AlertSensitivityThreshold": 55}, alert),
            "DescribeAlert": (alert, None),
            "DeleteAlert": (alert, None),
            "DetectMetricSetConfig": ({**detector, "AutoDetectionMetricSource": s3}, None),
            "GetAnomalyGroup": ({**detector, **group}, None),
            "GetDataQualityMetrics": ({**detector, **metric_set}, None),
            "GetFeedback": ({**detector, "AnomalyGroupTimeSeriesFeedback": group}, None),
            "PutFeedback": ({**detector, **feedback}, None),
            "GetSampleData": (s3, None),
            "ListAnomalyDetectors": (page, None),
            "ListAnomalyGroupRelatedMetrics": ({**detector, **group, **page}, None),
            "ListAnomalyGroupSummaries": ({**detector, "SensitivityThreshold": 50, **page}, None),
            "ListAnomalyGroupTimeSeries": ({**detector, **group, "MetricName": "value", **page}, None),
            "ListTagsForResource": (resource, None),
            "TagResource": ({**resource, "Tags": {"team": "observability", "stage": "prod"}}, None),
            "UntagResource": ({**resource, "tagKeys": ["stage"]}, None),
        }
        return table.get(operation, (detector, None))

    def event(
        self,
        operation: str,
        who: Event,
        account: str,
        region: str,
        time: datetime,
        *,
        error: str = "",
        console: bool = False,
    ) -> Event:
        """One record of the service. Member order is CloudTrail's."""
        request, response = self.call(operation, account, region)
        service = who.get("invokedBy")
        missing = "type" not in who
        record: Event = {
            "eventVersion": "1.11",
            "userIdentity": who,
            "eventTime": f"{time:%Y-%m-%dT%H:%M:%SZ}",
            "eventSource": SERVICE,
            "eventName": operation,
            "awsRegion": region,
            "sourceIPAddress": service or self.address(),
            "userAgent": service or (BROWSER if console else self.rng.choice(AGENTS)),
        }
        if error:
            record |= {"errorCode": error, "errorMessage": ERRORS[error]}
        record |= {
            "requestParameters": request,
            "responseElements": None if error or operation in READS else response,
            "requestID": self.guid(),
            "eventID": self.guid(),
            "readOnly": operation in READS,
            "eventType": "AwsServiceEvent" if missing else "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": account,
            "eventCategory": "Management",
        }
        if not service:
            record["tlsDetails"] = {
                "tlsVersion": "TLSv1.3",
                "cipherSuite": "TLS_AES_128_GCM_SHA256",
                "clientProvidedHostHeader": f"lookoutmetrics.{region}.amazonaws.com",
            }
        if console:
            record["sessionCredentialFromConsole"] = "true"
        return record

    def foreign(self, account: str, region: str, time: datetime) -> Event:
        """A record of another service, as they lie beside ours in every trail file."""
        source, operation, request = self.rng.choice(
            (
                (
                    "sts",
                    "AssumeRole",
                    {"roleArn": f"arn:aws:iam::{account}:role/detector-owner", "roleSessionName": "x"},
                ),
                ("monitoring", "GetMetricData", {"startTime": "Sep 29, 2025, 8:00:00 AM", "maxDatapoints": 500}),
                ("s3", "GetBucketLocation", {"bucketName": f"example-metrics-{account}", "location": ""}),
                ("sns", "GetTopicAttributes", {"topicArn": f"arn:aws:sns:{region}:{account}:anomalies"}),
                ("kms", "Decrypt", {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"}),
            )
        )
        record = self.event("ListAlerts", self.identities()["AssumedRole"](account), account, region, time)
        record |= {"eventSource": f"{source}.amazonaws.com", "eventName": operation, "requestParameters": request}
        if source == "sts":
            record |= {
                "userIdentity": {"type": "AWSService", "invokedBy": SERVICE},
                "sourceIPAddress": SERVICE,
                "userAgent": SERVICE,
                "sharedEventID": self.guid(),
            }
            record.pop("tlsDetails", None)
        return record
