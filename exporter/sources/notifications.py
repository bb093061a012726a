"""The body of a queue message -> what it names or carries. Pure, and never raises on data.

Amazon S3 User Guide, "Event message structure" (a key there is form-url-encoded) and "EventBridge event message
structure" (there it is not); SNS Developer Guide, "HTTP/HTTPS notification JSON format", which wraps any of them as
text; CloudTrail User Guide, "Configuring Amazon SNS notifications"; EventBridge's "... via CloudTrail" events carry the
record itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote_plus

import msgspec

from exporter.record import text

__all__ = ["LEFT", "Carried", "Content", "Drop", "Named", "Notice", "classified"]

#: Drops whose message is not deleted: a later version or another configuration may understand it.
LEFT = frozenset({"unknown_shape", "foreign_bucket"})

#: The folder that says what kind of file lies below it (CloudTrail User Guide, "Finding your CloudTrail log files").
_KIND = re.compile(r"(?:^|/)AWSLogs/(?:o-[a-z0-9]{10,32}/)?\d{12}/([^/]+)/")
_CONFIRMATIONS = ("SubscriptionConfirmation", "UnsubscribeConfirmation")


@dataclass(frozen=True, slots=True)
class Named:
    """An object.

    Attributes:
        keys: the key as it should be, then how else it might be meant.
    """

    bucket: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Carried:
    """A record that came in the message itself: JSON text."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing to read.

    Attributes:
        reason: ``test_event``, ``confirmation``, ``not_json``, ``unknown_shape``, ``kind`` or ``not_created``.
        detail: one line for people, never the body.
    """

    reason: str
    detail: str = ""


Content: TypeAlias = Named | Carried | Drop


@dataclass(frozen=True, slots=True)
class Notice:
    """A message understood.

    Attributes:
        shape: which of the known forms it has; ``sns:`` before it when it came in SNS's envelope.
        contents: all it names and carries, in its order; never empty.
    """

    shape: str
    contents: tuple[Content, ...]


def classified(body: str, *, kinds: Collection[str] = ("CloudTrail",)) -> Notice:
    """What a message is about.

    Text that is no JSON at all is CloudTrail's validation message and the like. JSON that is broken or strange is
    ``unknown_shape``: it may name a file, so it is not for us to throw away.

    Args:
        kinds: folders of trail files that are read; keys outside the layout of trails are read too.
    """
    notice = _classified(body, wrapped=False)
    return Notice(notice.shape, tuple(_of_kind(content, kinds) for content in notice.contents))


def _classified(body: str, *, wrapped: bool) -> Notice:
    body = body.removeprefix("\ufeff")
    members = _members(body)
    if members is None:
        if body.lstrip()[:1] in ("{", "[", '"'):
            return _unknown("broken JSON, or no object")
        return _dropped("not_json", f"{len(body)} characters that are not JSON")
    if not wrapped and "Type" in members and "TopicArn" in members:
        return _from_sns(members)
    if _value(members.get("Event")) == "s3:TestEvent":
        return _dropped("test_event")
    if records := _elements(members.get("Records")):
        return _from_records(records)
    if "s3Bucket" in members and "s3ObjectKey" in members:
        return _from_trail(_value(members["s3Bucket"]), _value(members["s3ObjectKey"]))
    kind = _value(members.get("detail-type"))
    if kind == "Object Created":
        return _from_bridge(_value(members.get("detail")))
    if isinstance(kind, str) and kind.endswith("via CloudTrail"):
        detail = members.get("detail")
        if isinstance(_value(detail), dict) and detail is not None:
            return Notice("eventbridge_record", (Carried(detail),))
        return _unknown("an EventBridge event without a record in `detail`")
    return _unknown("JSON of no known form")


def _from_sns(members: dict[str, bytes]) -> Notice:
    kind, message = _value(members["Type"]), _value(members.get("Message"))
    if kind in _CONFIRMATIONS:
        return _dropped("confirmation", str(kind))
    if kind != "Notification" or not isinstance(message, str):
        return _unknown("SNS without a message")
    inner = _classified(message, wrapped=True)
    return Notice(f"sns:{inner.shape}", inner.contents)


def _from_records(records: list[bytes]) -> Notice:
    """S3's notification, or a trail file sent as it is."""
    shape = "unknown_shape"
    contents: list[Content] = []
    for raw in records:
        record = _value(raw)
        if isinstance(record, dict) and isinstance(record.get("s3"), dict):
            shape = "s3"
            # MinIO writes "s3:ObjectCreated:Put".
            if not text(record.get("eventName")).removeprefix("s3:").startswith("ObjectCreated:"):
                contents.append(Drop("not_created", text(record.get("eventName"))[:100]))
                continue
            key = _at(record, "s3", "object", "key")
            contents.append(_named(_at(record, "s3", "bucket", "name"), _unquoted(key)))
        elif isinstance(record, dict) and "eventVersion" in record and "userIdentity" in record:
            shape = "records"
            contents.append(Carried(raw))
        else:
            contents.append(Drop("unknown_shape", "an element of `Records` of no known form"))
    return Notice(shape, tuple(contents))


def _from_trail(bucket: Any, keys: Any) -> Notice:
    """CloudTrail's own notification; its keys are as they are."""
    listed = keys if isinstance(keys, list) else [keys]
    return Notice("cloudtrail_sns", tuple(_named(bucket, key) for key in listed)) if listed else _unknown("no key")


def _from_bridge(detail: Any) -> Notice:
    """S3 through EventBridge: the key is as it is, or, whoever sent it, encoded after all."""
    key = _at(detail, "object", "key")
    return Notice("eventbridge_s3", (_named(_at(detail, "bucket", "name"), key, _unquoted(key)),))


def _named(bucket: Any, *keys: Any) -> Content:
    """Whether S3 would take such a key is for the reader of objects to say."""
    if not (isinstance(bucket, str) and bucket and all(isinstance(key, str) and key for key in keys)):
        return Drop("unknown_shape", "no bucket or no key")
    return Named(bucket, tuple(dict.fromkeys(keys)))


def _unquoted(key: Any) -> Any:
    return unquote_plus(key) if isinstance(key, str) else None


def _of_kind(content: Content, kinds: Collection[str]) -> Content:
    if not isinstance(content, Named):
        return content
    found = _KIND.search(content.keys[0])
    if (found and found[1] not in kinds) or content.keys[0].endswith("/"):
        return Drop("kind", found[1] if found else "a folder")
    return content


def _dropped(reason: str, detail: str = "") -> Notice:
    return Notice(reason, (Drop(reason, detail),))


def _unknown(detail: str) -> Notice:
    return _dropped("unknown_shape", detail)


# -- JSON, values left as the text they came in ------------------------------------------------------------------------

_object: Callable[[str], dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_list: Callable[[bytes], list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw]).decode
_strict: Callable[[bytes], Any] = msgspec.json.Decoder().decode


def _lenient(source: str | bytes) -> Any:
    """Takes what is legal and odd: a lone surrogate, an integer of any length, NaN. None: no JSON."""
    try:
        return json.loads(source, parse_int=lambda digits: int(digits) if len(digits) <= 4_000 else digits)
    except (ValueError, RecursionError):
        return None


def _members(source: str) -> dict[str, bytes] | None:
    """The members of an object, each as JSON text; None: it is not JSON, or none that is an object."""
    try:
        return {name: bytes(raw) for name, raw in _object(source).items()}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        value = _lenient(source)
        return {name: _dump(member) for name, member in value.items()} if isinstance(value, dict) else None


def _elements(raw: bytes | None) -> list[bytes]:
    if raw is None:
        return []
    try:
        return [bytes(element) for element in _list(raw)]
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        value = _lenient(raw)
        return [_dump(element) for element in value] if isinstance(value, list) else []


def _dump(value: Any) -> bytes:
    # ASCII, because a lone surrogate has no other form. What json could read, json can write.
    return json.dumps(value).encode()


def _value(raw: bytes | None) -> Any:
    if raw is None:
        return None
    try:
        return _strict(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _lenient(raw)


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
