"""Names that log records carry: CloudTrail field -> attribute, as data. docs/mapping.md is this table for people."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "ADDENDUM",
    "DOCUMENTS",
    "EVENT_NAMES",
    "IN_SCOPE_OF",
    "KNOWN_KEYS",
    "LOOKOUT_METRICS_IDENTIFIERS",
    "NETWORK",
    "SCHEMA_URL",
    "SCOPE",
    "SESSION_ATTRIBUTES",
    "SESSION_CONTEXT",
    "SESSION_ISSUER",
    "TLS",
    "USER_IDENTITY",
    "USER_IDENTITY_PREFIXED",
]

#: Instrumentation scope of every log record: the distribution's name.
SCOPE = "cloudtrail-exporter"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

#: ``eventType`` -> LogRecord.event_name. A fixed set: an event name tells the structure, never the operation.
EVENT_NAMES: Mapping[str, str] = {
    "AwsApiCall": "aws.cloudtrail.api_call",
    "AwsServiceEvent": "aws.cloudtrail.service_event",
    "AwsConsoleSignIn": "aws.cloudtrail.console_sign_in",
    "AwsConsoleAction": "aws.cloudtrail.console_action",
    "AwsVpceEvent": "aws.cloudtrail.vpce_event",
    "AwsVpceEvents": "aws.cloudtrail.vpce_event",
    "AwsCloudTrailInsight": "aws.cloudtrail.insight",
    "AwsAggregatedEvent": "aws.cloudtrail.aggregated",
}

#: Strings of ``userIdentity``.
USER_IDENTITY: tuple[tuple[str, str], ...] = (
    ("type", "aws.principal.type"),
    ("principalId", "aws.principal.id"),
    ("arn", "aws.principal.arn"),
    ("accountId", "aws.user_identity.account_id"),
    ("accessKeyId", "aws.access_key.id"),
    ("userName", "user.name"),
    ("invokedBy", "aws.user_identity.invoked_by"),
    ("identityProvider", "aws.user_identity.identity_provider"),
)

_PREFIXED = {
    "aws.principal.type": "aws.user_identity.principal.type",
    "aws.principal.id": "aws.user_identity.principal.id",
    "aws.principal.arn": "aws.user_identity.principal.arn",
    "aws.access_key.id": "aws.user_identity.access_key.id",
}

#: The same, as with the Collector's gate ``enable.user.identity.prefix``.
USER_IDENTITY_PREFIXED: tuple[tuple[str, str], ...] = tuple(
    (key, _PREFIXED.get(name, name)) for key, name in USER_IDENTITY
)

IN_SCOPE_OF: tuple[tuple[str, str], ...] = (
    ("sourceArn", "aws.user_identity.in_scope_of.source_arn"),
    ("sourceAccount", "aws.user_identity.in_scope_of.source_account"),
    ("issuerType", "aws.user_identity.in_scope_of.issuer_type"),
    ("credentialsIssuedTo", "aws.user_identity.in_scope_of.credentials_issued_to"),
    ("credentialsIssuedToVersion", "aws.user_identity.in_scope_of.credentials_issued_to_version"),
)

SESSION_ATTRIBUTES: tuple[tuple[str, str], ...] = (
    ("creationDate", "aws.user_identity.session_context.attributes.creation_date"),
)

SESSION_ISSUER: tuple[tuple[str, str], ...] = (
    ("type", "aws.user_identity.session_context.issuer.type"),
    ("principalId", "aws.user_identity.session_context.issuer.principal_id"),
    ("arn", "aws.user_identity.session_context.issuer.arn"),
    ("accountId", "aws.user_identity.session_context.issuer.account_id"),
    ("userName", "aws.user_identity.session_context.issuer.user_name"),
)

SESSION_CONTEXT: tuple[tuple[str, str], ...] = (
    ("sourceIdentity", "aws.user_identity.session_context.source_identity"),
    ("ec2RoleDelivery", "aws.user_identity.session_context.ec2_role_delivery"),
    ("signInSessionArn", "aws.user_identity.session_context.sign_in_session_arn"),
)

#: Strings of ``tlsDetails`` that are taken verbatim.
TLS: tuple[tuple[str, str], ...] = (
    ("cipherSuite", "tls.cipher"),
    ("clientProvidedHostHeader", "server.address"),
    ("keyExchange", "aws.cloudtrail.tls.key_exchange"),
)

NETWORK: tuple[tuple[str, str], ...] = (
    ("vpcEndpointId", "aws.cloudtrail.vpc_endpoint.id"),
    ("vpcEndpointAccountId", "aws.cloudtrail.vpc_endpoint.account_id"),
)

ADDENDUM: tuple[tuple[str, str], ...] = (
    ("reason", "aws.cloudtrail.addendum.reason"),
    ("originalEventID", "aws.cloudtrail.addendum.original_event_id"),
    ("originalRequestID", "aws.cloudtrail.addendum.original_request_id"),
)

#: Fields of free shape -> (attribute, whether the switch for large parameters applies).
DOCUMENTS: tuple[tuple[str, str, bool], ...] = (
    ("requestParameters", "aws.request.parameters", True),
    ("responseElements", "aws.response.elements", True),
    ("additionalEventData", "aws.cloudtrail.additional_event_data", True),
    ("serviceEventDetails", "aws.cloudtrail.service_event_details", True),
    ("edgeDeviceDetails", "aws.cloudtrail.edge_device_details", False),
    ("eventContext", "aws.cloudtrail.event_context", False),
    ("insightDetails", "aws.insight_details", False),
)

#: What a ``ResourceArn`` of Lookout for Metrics names, by the beginning of its resource part.
LOOKOUT_METRICS_IDENTIFIERS: tuple[tuple[str, str], ...] = (
    ("AnomalyDetector:", "aws.lookoutmetrics.anomaly_detector.arn"),
    ("MetricSet/", "aws.lookoutmetrics.metric_set.arn"),
    ("Alert:", "aws.lookoutmetrics.alert.arn"),
)

#: Every documented top-level field; another one is in the body only, and counted.
KNOWN_KEYS: frozenset[str] = frozenset(
    """
    eventVersion userIdentity eventTime eventSource eventName awsRegion sourceIPAddress userAgent errorCode errorMessage
    requestParameters responseElements additionalEventData requestID eventID eventType apiVersion managementEvent
    readOnly resources recipientAccountId serviceEventDetails sharedEventID vpcEndpointId vpcEndpointAccountId
    eventCategory addendum sessionCredentialFromConsole edgeDeviceDetails tlsDetails insightDetails eventContext
    annotation
    """.split()
)
