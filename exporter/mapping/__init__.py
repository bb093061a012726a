"""Record -> OpenTelemetry log record. Pure: no I/O, no clock; never raises on a record that parsing returns.

Names are those of the OpenTelemetry Collector's ``awslogsencodingextension`` (format ``cloudtrail``), then of the
semantic conventions 1.44.0, then our own below ``aws.cloudtrail.``; docs/mapping.md has the table and the reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from exporter import __version__
from exporter.mapping.attributes import AttributeRules
from exporter.mapping.names import EVENT_NAMES, SCHEMA_URL, SCOPE
from exporter.mapping.options import MappingOptions
from exporter.mapping.redaction import Redaction
from exporter.mapping.sentence import failed, sentence
from exporter.mapping.values import TooDeepError, clean, cut, json_text
from exporter.otel import InstrumentationScope, LogRecord, ReadableLogRecord, Resource, SeverityNumber
from exporter.record import ANOMALIES, Record, text

__all__ = ["ANOMALIES", "Mapper", "MappingOptions", "sentence"]

#: Most (region, account) pairs remembered; beyond it the Resources are built anew.
_MOST_RESOURCES: Final = 4096

_DEFAULTS: Final = MappingOptions()


class Mapper:
    """Maps records with one set of options. Safe to call from several threads.

    Args:
        on_anomaly: called with a key of :data:`ANOMALIES` for each one met, at each mapping.
    """

    def __init__(
        self,
        options: MappingOptions = _DEFAULTS,
        *,
        on_anomaly: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._options = options
        self._empty_key = lambda: on_anomaly("empty_key")
        self._redact = Redaction(
            access_key=options.access_key,
            source_address=options.source_address,
            user_names=options.user_names,
            credential_id=options.credential_id,
        )
        self._scope = InstrumentationScope(SCOPE, __version__, SCHEMA_URL, {"encoding.format": "aws.cloudtrail"})
        self._attributes = AttributeRules(options, on_anomaly)
        self._resources: dict[tuple[str, str], Resource] = {}

    def __call__(self, record: Record) -> ReadableLogRecord:
        """The log record of one event. It always encodes, and in a request of any protobuf receiver."""
        original = record
        record = self._redact(record)
        options, fields = self._options, record.fields
        severity_text, severity, error_type = self._outcome(record)

        attributes = self._attributes(original, record, error_type)
        if options.original and options.body in ("sentence", "none"):
            attributes["log.record.original"] = _original(record)
        attributes["log.record.uid"] = record.identity.uid

        observed = record.observed_ns
        happened = record.event_time_ns
        return ReadableLogRecord(
            LogRecord(
                timestamp=observed if happened is None or options.timestamp == "observed" else happened,
                observed_timestamp=observed,
                severity_text=severity_text,
                severity_number=severity,
                body=self._body(record),
                attributes=attributes,
                event_name=EVENT_NAMES.get(text(fields.get("eventType")), "aws.cloudtrail.event"),
            ),
            self._resource(record.aws_region, record.account_id),
            self._scope,
        )

    def redacted(self, record: Record) -> Record:
        """The record without what the options take out, for whoever shows it in another form."""
        return self._redact(record)

    # -- envelope ---------------------------------------------------------------------------------------------------

    def _resource(self, region: str, account: str) -> Resource:
        resource = self._resources.get((region, account))
        if resource is None:
            attributes = {"cloud.provider": "aws"}
            if region:
                attributes["cloud.region"] = cut(region, 256)
            if account or self._options.emit_empty:
                attributes["cloud.account.id"] = cut(account, 256)
            if self._options.service_name:
                attributes["service.name"] = self._options.service_name
            # Not Resource.create: it would add this process, which did not make the call.
            resource = Resource(attributes)
            if len(self._resources) >= _MOST_RESOURCES:
                self._resources.clear()
            if len(region) + len(account) < 512:
                self._resources[region, account] = resource
        return resource

    def _outcome(self, record: Record) -> tuple[str, SeverityNumber, str]:
        """Severity text and number, and ``error.type`` ("" for success)."""
        code = record.error_code
        if not code and not failed(record):
            return "INFO", SeverityNumber.INFO, ""
        error_type = code or "_OTHER"
        if self._options.severity == "info":
            return "INFO", SeverityNumber.INFO, error_type
        if code in self._options.fault_codes:
            return "ERROR", SeverityNumber.ERROR, error_type
        return "WARN", SeverityNumber.WARN, error_type

    def _body(self, record: Record) -> Any:
        kind = self._options.body
        if kind == "json":
            return _original(record)
        if kind == "map":
            try:
                return clean(dict(record.fields), self._options.attribute_depth + 1, self._empty_key)
            except TooDeepError:
                return _original(record)
        return sentence(record) if kind == "sentence" else None


def _original(record: Record) -> str:
    """The record as compact JSON: order of keys and spelling of numbers as received, where that is valid JSON."""
    try:
        return msgspec.json.format(record.data, indent=-1).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return json_text(record.fields)
