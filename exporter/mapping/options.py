"""What one may choose about the log records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from exporter.mapping.values import MAX_DEPTH
from exporter.services import FAULT_CODES

__all__ = ["MappingOptions"]


@dataclass(frozen=True, slots=True)
class MappingOptions:
    """How a record becomes a log record. The defaults are the documented ones.

    Attributes:
        rpc: ``compat``: ``rpc.method`` is the bare event name; ``collector_v1``: ``eventSource/eventName``, as newer
            Collectors write it; ``v1_only``: that without the names of RPC conventions v0; ``off``: none.
        user_identity_prefix: names of identity attributes as with the Collector's gate of that name.
        emit_empty: emit the attributes that the Collector emits even when they are empty.
        body: the record as compact JSON, as a map, as a sentence, or nothing.
        original: with body ``sentence`` or ``none``: the record as JSON in ``log.record.original``.
        timestamp: ``observed``: for receivers that refuse old times; the event's time is then an attribute.
        parameters: request parameters and the other large documents as maps, as JSON text, or left to the body.
        severity: ``outcome``: WARN for refused calls, ERROR for the service's own faults; ``info``: INFO always.
        fault_codes: values of ``errorCode`` that are the service's own fault.
        service_name: resource attribute ``service.name``; empty: none.
        provenance: where the record was read, as ``aws.cloudtrail.origin``.
        recipient_account_id: ``recipientAccountId`` verbatim, as an attribute of its own.
        attribute_bytes: bytes one attribute may have; a larger one is cut and named in ``aws.cloudtrail.truncated``.
        attribute_depth: levels one attribute may nest; a deeper one becomes JSON text.
        resource_attributes: event source -> request parameter -> attribute that gets its value.
        access_key, source_address, user_names, credential_id: see :class:`~exporter.mapping.redaction.Redaction`.
    """

    rpc: Literal["compat", "collector_v1", "v1_only", "off"] = "compat"
    user_identity_prefix: bool = False
    emit_empty: bool = False
    body: Literal["json", "map", "sentence", "none"] = "json"
    original: bool = False
    timestamp: Literal["event", "observed"] = "event"
    parameters: Literal["map", "json", "off"] = "map"
    severity: Literal["outcome", "info"] = "outcome"
    fault_codes: frozenset[str] = FAULT_CODES
    service_name: str = "cloudtrail"
    provenance: bool = False
    recipient_account_id: bool = False
    attribute_bytes: int = 65_536
    attribute_depth: int = 20
    resource_attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    access_key: Literal["keep", "hash", "drop"] = "keep"
    source_address: Literal["keep", "drop"] = "keep"
    user_names: Literal["keep", "hash", "drop"] = "keep"
    credential_id: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.attribute_depth <= MAX_DEPTH:
            raise ValueError(f"attribute_depth = {self.attribute_depth}: 1 to {MAX_DEPTH}")
        if self.attribute_bytes < 16:
            raise ValueError(f"attribute_bytes = {self.attribute_bytes}: at least 16")
