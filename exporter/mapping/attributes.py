"""The attributes of one log record. Pure; what is odd about a record costs one attribute and is reported by a word.

The order is the order of the worked example in docs/mapping.md. Rests on the CloudTrail User Guide, "CloudTrail record
contents", and on the Collector's ``awslogsencodingextension`` for the names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from exporter.mapping.identifiers import add_identifiers, identifier_tables
from exporter.mapping.names import (
    ADDENDUM,
    DOCUMENTS,
    IN_SCOPE_OF,
    KNOWN_KEYS,
    NETWORK,
    SESSION_ATTRIBUTES,
    SESSION_CONTEXT,
    SESSION_ISSUER,
    TLS,
    USER_IDENTITY,
    USER_IDENTITY_PREFIXED,
)
from exporter.mapping.options import MappingOptions
from exporter.mapping.values import Attributes, TooDeepError, attribute_size, boolean, clean, cut, json_text
from exporter.principal import credential_class, credential_kind, display_name, made_by_aws_service
from exporter.record import Record, text

__all__ = ["AttributeRules"]


class AttributeRules:
    """Record -> attributes, by one set of options. Safe to call from several threads.

    Args:
        on_anomaly: called with a key of :data:`ANOMALIES` for each one met.
    """

    def __init__(self, options: MappingOptions, on_anomaly: Callable[[str], None]) -> None:
        self._options = options
        self._anomaly = on_anomaly
        self._empty_key = lambda: on_anomaly("empty_key")
        self._user_identity = USER_IDENTITY_PREFIXED if options.user_identity_prefix else USER_IDENTITY
        self._store_arn = (
            "aws.user_identity.identity_store.arn" if options.user_identity_prefix else "aws.identity_store.arn"
        )
        self._identifiers = identifier_tables(options.resource_attributes)

    def __call__(self, original: Record, record: Record, error_type: str) -> Attributes:
        """All attributes but those that repeat the record as a whole.

        Args:
            original: the record as it was read: it answers questions whose answers hold no names.
            record: the record without what must not leave; every text comes from it.
            error_type: ``error.type``; "" for a call that succeeded.
        """
        fields, options = record.fields, self._options
        attributes: Attributes = {}
        self._event(attributes, record, error_type)
        user = fields.get("userIdentity")
        if user:
            self._identity(attributes, user)
        self._details(attributes, record)
        attributes["aws.cloudtrail.credential.class"] = credential_class(original)
        kind = credential_kind(original)
        if kind:
            attributes["aws.cloudtrail.credential.kind"] = kind
        attributes["aws.cloudtrail.made_by_aws_service"] = made_by_aws_service(original)
        name = display_name(record)
        if name != "-":
            attributes["aws.cloudtrail.principal.display_name"] = name
        table = self._identifiers.get(record.event_source)
        if table:
            add_identifiers(attributes, table, fields)
        if options.provenance:
            attributes["aws.cloudtrail.origin"] = text(record.origin)
        # No attribute is larger than the record it comes from, so most records need not be measured.
        if len(original.data) > options.attribute_bytes or "aws.cloudtrail.truncated" in attributes:
            self._limit(attributes)
        return attributes

    def _event(self, attributes: Attributes, record: Record, error_type: str) -> None:
        fields, options = record.fields, self._options
        string = self._string
        always = options.emit_empty
        version = string(fields, "eventVersion")
        if version or always:
            attributes["aws.cloudtrail.event_version"] = version
        if version and not version.startswith("1."):
            self._anomaly("major_version")
        event_id = string(fields, "eventID")
        if event_id or always:
            attributes["aws.cloudtrail.event_id"] = event_id
        if record.event_name:
            attributes["aws.cloudtrail.event_name"] = record.event_name
        if record.event_source:
            attributes["aws.cloudtrail.event_source"] = record.event_source
        event_type = string(fields, "eventType")
        if event_type:
            attributes["aws.cloudtrail.event_type"] = event_type
        if options.timestamp == "observed" or record.event_time_ns is None:
            self._strings(attributes, fields, (("eventTime", "aws.cloudtrail.event_time"),))
        if options.rpc != "off" and not record.insight:
            self._rpc(attributes, record, event_type)
        self._strings(
            attributes,
            fields,
            (
                ("apiVersion", "aws.cloudtrail.api_version"),
                ("requestID", "aws.request_id"),
                ("sharedEventID", "aws.shared_event_id"),
            ),
        )
        category = string(fields, "eventCategory")
        if category or always:
            attributes["aws.event.category"] = category
        self._boolean(attributes, fields, "readOnly", "aws.event.read_only")
        self._boolean(attributes, fields, "managementEvent", "aws.event.management")
        if boolean(fields.get("sessionCredentialFromConsole")):
            attributes["aws.session.console"] = True
        self._strings(
            attributes,
            fields,
            (
                ("sourceIPAddress", "source.address"),
                ("userAgent", "user_agent.original"),
                ("errorCode", "aws.error.code"),
            ),
        )
        if error_type:
            attributes["error.type"] = error_type
            self._strings(attributes, fields, (("errorMessage", "aws.error.message"),))

    def _rpc(self, attributes: Attributes, record: Record, event_type: str) -> None:
        mode = self._options.rpc
        if record.event_name:
            qualified = mode != "compat" and record.event_source
            attributes["rpc.method"] = f"{record.event_source}/{record.event_name}" if qualified else record.event_name
        if mode != "v1_only":
            if record.event_source:
                attributes["rpc.service"] = record.event_source
            if event_type or self._options.emit_empty:
                attributes["rpc.system"] = event_type
        if event_type:
            attributes["rpc.system.name"] = event_type

    def _identity(self, attributes: Attributes, user: Any) -> None:
        if not isinstance(user, dict):
            self._anomaly("wrong_type")
            return
        self._strings(attributes, user, self._user_identity)
        if self._options.credential_id:
            self._strings(attributes, user, (("credentialId", "aws.user_identity.credential_id"),))
        behalf = self._part(user, "onBehalfOf")
        if behalf:
            self._strings(
                attributes,
                behalf,
                (
                    ("userId", "user.id"),
                    ("userId", "aws.user_identity.on_behalf_of.user_id"),
                    ("identityStoreArn", self._store_arn),
                ),
            )
        delegate = self._part(user, "invokedByDelegate")
        if delegate:
            self._strings(attributes, delegate, (("accountId", "aws.user_identity.invoked_by_delegate.account_id"),))
        scope = self._part(user, "inScopeOf")
        if scope:
            self._strings(attributes, scope, IN_SCOPE_OF)
        session = self._part(user, "sessionContext")
        if session:
            self._session(attributes, session)

    def _session(self, attributes: Attributes, session: Mapping[str, Any]) -> None:
        prefix = "aws.user_identity.session_context."
        inner = self._part(session, "attributes")
        if inner:
            self._boolean(attributes, inner, "mfaAuthenticated", prefix + "attributes.mfa_authenticated")
            self._strings(attributes, inner, SESSION_ATTRIBUTES)
            # Older records have it here.
            if boolean(inner.get("sessionCredentialFromConsole")):
                attributes["aws.session.console"] = True
        issuer = self._part(session, "sessionIssuer")
        if issuer:
            self._strings(attributes, issuer, SESSION_ISSUER)
        web = self._part(session, "webIdFederationData")
        if web:
            self._strings(attributes, web, (("federatedProvider", prefix + "web_id_federation.provider"),))
            self._document(attributes, prefix + "web_id_federation.attributes", web.get("attributes"))
        self._strings(attributes, session, SESSION_CONTEXT)
        self._boolean(attributes, session, "assumedRoot", prefix + "assumed_root")
        if boolean(session.get("sessionCredentialFromConsole")):
            attributes["aws.session.console"] = True

    def _details(self, attributes: Attributes, record: Record) -> None:
        fields, options = record.fields, self._options
        if not fields.keys() <= KNOWN_KEYS:
            self._anomaly("unknown_key")
        tls = self._part(fields, "tlsDetails")
        if tls:
            version = self._string(tls, "tlsVersion")
            number = version.removeprefix("TLSv")
            if number:
                attributes["tls.protocol.version"] = number
                if number != version:
                    attributes["tls.protocol.name"] = "tls"
            self._strings(attributes, tls, TLS)
        self._strings(attributes, fields, NETWORK)
        if options.recipient_account_id:
            self._strings(attributes, fields, (("recipientAccountId", "aws.cloudtrail.recipient_account_id"),))
        for key, name, large in DOCUMENTS:
            value = fields.get(key)
            if value is None or (large and options.parameters == "off"):
                continue
            if large and options.parameters == "json" and isinstance(value, dict | list):
                value = json_text(value) if value else None
            self._document(attributes, name, value)
        resources = fields.get("resources")
        if resources:
            self._resource_list(attributes, resources)
        addendum = self._part(fields, "addendum")
        if addendum:
            self._strings(attributes, addendum, ADDENDUM)
            updated = addendum.get("updatedFields")
            names = updated.split(",") if isinstance(updated, str) else updated if isinstance(updated, list) else ()
            listed = [name for name in (text(name).strip() for name in names) if name]
            if listed:
                attributes["aws.cloudtrail.addendum.updated_fields"] = listed

    def _resource_list(self, attributes: Attributes, resources: Any) -> None:
        listed: list[dict[str, str]] = []
        for resource in resources if isinstance(resources, list) else ():
            if not isinstance(resource, dict):
                self._anomaly("wrong_type")
                continue
            entry: Attributes = {}
            self._strings(
                entry,
                resource,
                (("ARN", "arn"), ("accountId", "account.id"), ("type", "type"), ("ARNPrefix", "arn_prefix")),
            )
            if entry:
                listed.append(entry)
        if listed:
            attributes["aws.resources"] = listed

    # -- values -----------------------------------------------------------------------------------------------------

    def _string(self, source: Mapping[str, Any], key: str) -> str:
        value = source.get(key)
        if type(value) is str:
            return value if value.isascii() else text(value)
        if value:
            self._anomaly("wrong_type")
        return ""

    def _strings(self, attributes: Attributes, source: Mapping[str, Any], table: tuple[tuple[str, str], ...]) -> None:
        for key, name in table:
            value = source.get(key)
            if value:
                if type(value) is str:
                    attributes[name] = value if value.isascii() else text(value)
                else:
                    self._anomaly("wrong_type")

    def _boolean(self, attributes: Attributes, source: Mapping[str, Any], key: str, name: str) -> None:
        value = source.get(key)
        if value is None:
            return
        converted = boolean(value)
        if converted is not None:
            attributes[name] = converted
        elif value != "":
            self._anomaly("boolean")

    def _part(self, source: Mapping[str, Any], key: str) -> dict[str, Any] | None:
        """The object under the key; None when it is absent, empty or something else."""
        value = source.get(key)
        if not value:
            return None
        if isinstance(value, dict):
            return value
        self._anomaly("wrong_type")
        return None

    def _document(self, attributes: Attributes, name: str, value: Any) -> None:
        """A value of any shape, kept as such; null, "", {} and [] are no value."""
        if value is None or value in ("", [], {}):
            return
        try:
            value = clean(value, self._options.attribute_depth, self._empty_key)
        except TooDeepError:
            value = json_text(value)
            attributes.setdefault("aws.cloudtrail.truncated", []).append(name)
        if value not in ([], {}):
            attributes[name] = value

    def _limit(self, attributes: Attributes) -> None:
        """Cut what is larger than allowed, and say so at the end."""
        limit = self._options.attribute_bytes
        truncated = attributes.pop("aws.cloudtrail.truncated", [])
        for name, value in attributes.items():
            if attribute_size(value) > limit:
                attributes[name] = cut(value if isinstance(value, str) else json_text(value), limit)
                if name not in truncated:
                    truncated.append(name)
        if truncated:
            self._anomaly("truncated")
            attributes["aws.cloudtrail.truncated"] = truncated
