"""bytes -> Record | Malformed. Pure: no I/O, no clock, never raises on data.

The fields and their oddities are those of the CloudTrail User Guide, "CloudTrail record contents" and "userIdentity
element". No field is trusted to exist or to have its documented type: a wrong type costs one value, never the record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

__all__ = [
    "ANOMALIES",
    "CREDENTIAL_CLASSES",
    "FILTER_REASONS",
    "MISSING",
    "OTHER",
    "PRINCIPAL_TYPES",
    "QUARANTINE_REASONS",
    "Document",
    "Identity",
    "Item",
    "Malformed",
    "Record",
    "Selection",
    "content_key",
    "event_version",
    "parse",
    "text",
]

#: Label value for a field that is absent, null, empty or not a string.
MISSING = "_MISSING"
#: Label value for everything outside a bounded set (the OpenTelemetry convention).
OTHER = "_OTHER"

#: The values AWS documents for ``userIdentity.type``; verbatim they are the ``principal_type`` label.
PRINCIPAL_TYPES: tuple[str, ...] = (
    "Root",
    "IAMUser",
    "AssumedRole",
    "Role",
    "FederatedUser",
    "Directory",
    "AWSAccount",
    "AWSService",
    "IdentityCenterUser",
    "SAMLUser",
    "WebIdentityUser",
    "Unknown",
)

CREDENTIAL_CLASSES: tuple[str, ...] = ("root_or_iam_user", "temporary_credentials", "aws_service", "unknown")

#: Why something lies in quarantine, with its meaning. The counter exists at 0 for each of them.
QUARANTINE_REASONS: dict[str, str] = {
    "not_json": "the text is not JSON",
    "not_a_record": "JSON, but no object with an event in it",
    "no_records": "a file without a list of records",
    "not_utf8": "the bytes are not UTF-8",
    "truncated": "the file ends in the middle; what came before the cut was read",
    "corrupt": "the compressed data is damaged; what came before was read",
    "record_too_large": "a record over limits.record_bytes",
    "too_deep": "JSON nested deeper than limits.json_depth",
    "too_many_records": "a file with more than limits.file_records records",
    "file_too_large": "a file over limits.file_bytes as it lies there",
    "plain_too_large": "a file over limits.plain_bytes once decompressed",
    "ratio": "decompresses to more than limits.ratio times its size",
    "unreadable": "the file is there and cannot be read",
    "archived": "the object is in an archive storage class and has to be restored first",
    "vanished": "a message names an object that is not there any more",
    "bad_key": "an object key that is too long or has control characters",
    "refused": "the receiver will never take this record",
    "partial_success": "the receiver took a part of a request and does not say which",
    "encode": "the record cannot be put into the wire format",
}

#: Why a record was read and not wanted, with its meaning. The counter exists at 0 for each of them.
FILTER_REASONS: dict[str, str] = {
    "other_service": "its eventSource is not among `services`",
    "aggregated": "a five-minute summary, not an event",
    "digest": "a digest file of log file integrity validation",
    "name": "its eventName is not among the chosen ones, or among the excluded",
    "read_only": "it reads and writes were asked for, or the other way round",
    "not_an_error": "the call succeeded and only errors were asked for",
    "account": "its account is not among the chosen ones",
    "region": "its awsRegion is not among the chosen ones",
}


#: What may be odd about a record that is mapped all the same, with its meaning.
ANOMALIES: dict[str, str] = {
    "wrong_type": "a field is not of its documented type and is left to the body",
    "boolean": "a field that should be true or false is neither",
    "empty_key": "a map with an empty key, which is left out",
    "unknown_key": "a top-level field that is not documented; it is in the body only",
    "major_version": "an eventVersion whose major number is not 1",
    "truncated": "an attribute was too large or too deep and became text, cut at the limit",
}


@dataclass(frozen=True, slots=True)
class Document:
    """One CloudTrail record as JSON text, its envelope taken off.

    Attributes:
        data: UTF-8 JSON of one value. It need not be valid: that is for parsing to find out.
        origin: where it lies, for people (``trail.json.gz#17``); never parsed.
    """

    data: bytes
    origin: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something that cannot become a record. It is quarantined with its reason; its neighbours go on.

    Attributes:
        reason: a key of :data:`QUARANTINE_REASONS`.
        detail: one line for people.
        origin: as in :class:`Document`; for a whole file its path and version, so that a repaired file is another one.
        sample: the bytes, or the first of them when there are too many to keep.
        size: how many bytes there were in all; 0 when unknown.
    """

    reason: str
    detail: str
    origin: str
    sample: bytes = b""
    size: int = 0


#: What a source yields.
Item: TypeAlias = Document | Malformed


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a record is, equal from whichever source it came.

    Attributes:
        uid: ``recipientAccountId/eventID``, with ``/UPDATED_DATA`` for a correction; ``sha256:...`` of the content when
            there is no eventID, or none of an identifier's length. It is the ``log.record.uid`` of the log record.
        key: 16 bytes for the ledger: the hour of the event (4, big-endian, hours since 1970) and a hash of the
            uid (12), so that what arrives together lies together.
    """

    uid: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """One event, as far as everybody needs it; :mod:`exporter.mapping` reads the rest from ``fields``.

    Strings are free of lone surrogates. ``event_source``, ``event_name``, ``principal_type`` and ``error_code`` are
    what AWS wrote ("" when absent): folding to label values happens where they are counted.

    Attributes:
        identity: see :class:`Identity`.
        event_time_ns: nanoseconds since 1970, UTC; None when ``eventTime`` is absent or cannot be read.
        observed_ns: when this process read it, nanoseconds since 1970.
        account_id: ``recipientAccountId``, else ``userIdentity.accountId``, else the session issuer's account.
        correction: an addendum with reason UPDATED_DATA: replaces an event delivered before, is not a second call.
        insight: a CloudTrail Insight: published, and not a call.
        fields: the whole record, decoded; keys in the order received. Read-only by agreement.
        data: the JSON text as received.
        origin: where it was read, for people.
    """

    identity: Identity
    event_time_ns: int | None
    observed_ns: int = field(compare=False)
    event_source: str
    event_name: str
    aws_region: str
    account_id: str
    principal_type: str
    error_code: str
    correction: bool
    insight: bool
    fields: Mapping[str, Any] = field(repr=False)
    data: bytes = field(repr=False, compare=False)
    origin: str = field(compare=False)


def text(value: object) -> str:
    """The value if it is a string, with lone surrogates replaced by U+FFFD; "" for everything else."""
    if not isinstance(value, str):
        return ""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def event_version(record: Record) -> tuple[int, int] | None:
    """``eventVersion`` as (major, minor), comparable: 1.10 is newer than 1.9; None when it cannot be read.

    A larger minor number only adds fields; another major number is another layout.
    """
    major, dot, minor = text(record.fields.get("eventVersion")).partition(".")
    if not (dot and major.isascii() and minor.isascii() and major.isdigit() and minor.isdigit()):
        return None
    return (int(major), int(minor)) if len(major) + len(minor) <= 18 else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


_decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode


def _load(data: bytes) -> Any:
    """JSON, fast and strict first; the lenient reader of the standard library takes what is legal and odd.

    Odd is: a lone surrogate, an integer of any length, NaN.
    """
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return json.loads(data, parse_int=_integer)


def _integer(digits: str) -> int | str:
    """Python refuses to convert more than 4,300 digits; such a number stays text."""
    return int(digits) if len(digits) <= 4000 else digits


def _deeper_than(value: Any, limit: int) -> bool:
    """Whether lists and objects are nested deeper than the limit; iterative, because the input may be hostile."""
    level: list[Any] = [value]
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _nanoseconds(value: object) -> int | None:
    """``eventTime`` -> nanoseconds since 1970. ISO 8601 in UTC with seconds; a fraction or an offset is taken too."""
    if not isinstance(value, str) or not value:
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    since = moment - _EPOCH
    nanoseconds = (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
    # What OTLP (fixed64) and everybody's signed 64 bit can say: 1970 to 2262.
    return nanoseconds if 0 <= nanoseconds < 2**63 else None


#: An account and a GUID have 49 characters; a longer identity than this is known by its hash.
_LONGEST_UID = 256


def content_key(content: bytes, hour: int = 0) -> bytes:
    """The 16-byte ledger key of something that is known by its content only."""
    return hour.to_bytes(4, "big") + hashlib.blake2b(content, digest_size=12).digest()


def _identity(fields: Mapping[str, Any], account: str, time_ns: int | None, *, correction: bool) -> Identity:
    event_id = text(fields.get("eventID")) or text(fields.get("eventId"))
    if event_id:
        uid = f"{account}/{event_id}"
        if len(uid) > _LONGEST_UID:
            uid = "sha256:" + hashlib.sha256(uid.encode()).hexdigest()
    else:
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        uid = "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()
    if correction:
        uid += "/UPDATED_DATA"
    hour = 0 if time_ns is None else time_ns // 3_600_000_000_000
    return Identity(uid=uid, key=content_key(uid.encode(), hour))


def parse(document: Document, *, observed_ns: int, depth: int = 64, size: int = 2 * 1024 * 1024) -> Record | Malformed:
    """One document -> one record, or the reason why it is none.

    Args:
        observed_ns: the time of reading, nanoseconds since 1970.
        depth: how deep lists and objects may nest (``limits.json_depth``).
        size: how many bytes a record may have (``limits.record_bytes``).
    """
    data, origin = document.data, document.origin

    def malformed(reason: str, detail: str) -> Malformed:
        return Malformed(reason, detail, origin, data[:size], len(data))

    if len(data) > size:
        return malformed("record_too_large", f"{len(data)} bytes, {size} are allowed")
    try:
        fields = _load(data)
    except RecursionError:
        return malformed("too_deep", "nested deeper than the JSON reader goes")
    except UnicodeDecodeError as error:
        return malformed("not_utf8", f"byte {error.start}: {error.reason}")
    except ValueError as error:
        return malformed("not_json", str(error))
    if not isinstance(fields, dict):
        return malformed("not_a_record", f"a JSON {type(fields).__name__}, not an object")
    # Fewer brackets than levels allowed, as in most records: no need to walk.
    if data.count(b"{") + data.count(b"[") > depth and _deeper_than(fields, depth):
        return malformed("too_deep", f"nested deeper than {depth} levels")

    insight = _mapping(fields.get("insightDetails"))
    source = text(fields.get("eventSource")) or text(insight.get("eventSource"))
    name = text(fields.get("eventName")) or text(insight.get("eventName"))
    if not source and not name and not fields.get("eventID") and not fields.get("eventVersion"):
        return malformed("not_a_record", "an object with none of eventSource, eventName, eventID, eventVersion")

    user = _mapping(fields.get("userIdentity"))
    issuer = _mapping(_mapping(user.get("sessionContext")).get("sessionIssuer"))
    account = text(fields.get("recipientAccountId")) or text(user.get("accountId")) or text(issuer.get("accountId"))
    correction = text(_mapping(fields.get("addendum")).get("reason")) == "UPDATED_DATA"
    time_ns = _nanoseconds(fields.get("eventTime"))
    return Record(
        identity=_identity(fields, account, time_ns, correction=correction),
        event_time_ns=time_ns,
        observed_ns=observed_ns,
        event_source=source,
        event_name=name,
        aws_region=text(fields.get("awsRegion")),
        account_id=account,
        principal_type=text(user.get("type")),
        error_code=text(fields.get("errorCode")),
        correction=correction,
        insight=bool(insight),
        fields=fields,
        data=data,
        origin=origin,
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records are wanted: those that every part of it lets through. Values are compared exactly.

    Attributes:
        services: values of ``eventSource``.
        invoked_by_service: also what one of the services did on the customer's behalf: records of other services
            whose ``userIdentity.invokedBy`` is one of ``services``.
        names: values of ``eventName``; empty: all.
        exclude_names: values of ``eventName`` that are not wanted, whatever ``names`` says.
        read_only: True: calls that read; False: calls that write; None: both. A record that does not say (``readOnly``
            is absent, or neither true nor false) is wanted under each: nothing is lost for want of a field.
        errors_only: records with an ``errorCode``, or with an ``errorMessage`` alone as a failed sign-in has it.
        accounts: values of :attr:`Record.account_id`; empty: all, also records without one.
        regions: values of ``awsRegion``; empty: all, also records without one.
    """

    services: Collection[str]
    invoked_by_service: bool = False
    names: frozenset[str] = frozenset()
    exclude_names: frozenset[str] = frozenset()
    read_only: bool | None = None
    errors_only: bool = False
    accounts: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()

    def refuses(self, record: Record) -> str | None:
        """The first filter reason, a key of :data:`FILTER_REASONS`; None: the record is wanted."""
        if text(record.fields.get("eventCategory")) == "Aggregated":
            return "aggregated"
        if record.event_source not in self.services and not self._on_behalf(record):
            return "other_service"
        name = record.event_name
        if name in self.exclude_names or (self.names and name not in self.names):
            return "name"
        if self.read_only is not None and _boolean(record.fields.get("readOnly")) is (not self.read_only):
            return "read_only"
        if self.errors_only and not record.error_code and not text(record.fields.get("errorMessage")):
            return "not_an_error"
        if self.accounts and record.account_id not in self.accounts:
            return "account"
        if self.regions and record.aws_region not in self.regions:
            return "region"
        return None

    def _on_behalf(self, record: Record) -> bool:
        if not self.invoked_by_service:
            return False
        return text(_mapping(record.fields.get("userIdentity")).get("invokedBy")) in self.services


def _boolean(value: object) -> bool | None:
    """true or false, also as the text that some deliveries make of it; None: neither."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(text(value).lower())
