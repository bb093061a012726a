"""Identifiers of a service's own resources, taken from the parameters of its calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from exporter.mapping.names import LOOKOUT_METRICS_IDENTIFIERS
from exporter.mapping.values import Attributes
from exporter.record import text
from exporter.services import LOOKOUT_METRICS

__all__ = ["IdentifierTable", "add_identifiers", "identifier_tables"]

#: Parameter name -> (attribute, whether only ARNs count); an attribute "" is told by the ARN's own text.
IdentifierTable: TypeAlias = dict[str, tuple[str, bool]]

#: Members of the parameters that hold an identifier one level down.
_HOLDERS = ("AnomalyGroupTimeSeriesFeedback", "anomalyGroupTimeSeriesFeedback")


def identifier_tables(configured: Mapping[str, Mapping[str, str]]) -> dict[str, IdentifierTable]:
    """Event source -> table, each parameter under both spellings of its first letter: services differ in it."""
    tables: dict[str, IdentifierTable] = {
        LOOKOUT_METRICS.event_source: {
            "AnomalyDetectorArn": ("aws.lookoutmetrics.anomaly_detector.arn", True),
            "MetricSetArn": ("aws.lookoutmetrics.metric_set.arn", True),
            "AlertArn": ("aws.lookoutmetrics.alert.arn", True),
            "AnomalyGroupId": ("aws.lookoutmetrics.anomaly_group.id", False),
            "ResourceArn": ("", True),
        }
    }
    for source, parameters in configured.items():
        table = tables.setdefault(source, {})
        table.update({parameter: (attribute, False) for parameter, attribute in parameters.items()})
    return {
        source: {
            spelling: entry
            for parameter, entry in table.items()
            if parameter
            for spelling in (parameter[0].lower() + parameter[1:], parameter[0].upper() + parameter[1:])
        }
        for source, table in tables.items()
    }


def add_identifiers(attributes: Attributes, table: IdentifierTable, fields: Mapping[str, Any]) -> None:
    """From the request, else from the response; the first to name a resource wins."""
    for document in (fields.get("requestParameters"), fields.get("responseElements")):
        if isinstance(document, dict):
            _add(attributes, table, document)
            for holder in _HOLDERS:
                inner = document.get(holder)
                if isinstance(inner, dict):
                    _add(attributes, table, inner)


def _add(attributes: Attributes, table: IdentifierTable, document: Mapping[str, Any]) -> None:
    for key, value in document.items():
        entry = table.get(key)
        if entry is None or not isinstance(value, str) or not value:
            continue
        attribute, only_arn = entry
        if only_arn and not value.startswith("arn:"):
            continue
        attribute = attribute or _attribute_of_arn(value)
        if attribute:
            attributes.setdefault(attribute, text(value))


def _attribute_of_arn(arn: str) -> str:
    resource = arn.split(":", 5)[5:]
    for prefix, attribute in LOOKOUT_METRICS_IDENTIFIERS:
        if resource and resource[0].startswith(prefix):
            return attribute
    return ""
