"""What stands in the body of an HTTP or gRPC reply, in every form receivers write it."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from exporter.sinks.status import Status, read_status

__all__ = ["JSON", "PROTOBUF", "Partial", "plain_words", "read_error", "read_response"]

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

_PROTOBUF = (PROTOBUF, "application/protobuf", "application/octet-stream")
#: Characters of a receiver's words that are kept; who shows them hides secrets first and then shortens.
_WORDS = 2_000


class Partial(NamedTuple):
    """``ExportLogsPartialSuccess``: how many were refused and why; zero and "" when the field is not set."""

    rejected: int
    message: str


def read_response(kind: str, body: bytes) -> Partial:
    """An ExportLogsServiceResponse; an empty protobuf message has no bytes at all.

    Args:
        kind: the content type, without parameters, in lower case.

    Raises:
        ValueError: it is none.
    """
    if kind == JSON:
        return _from_json(body)
    if kind in _PROTOBUF:
        return _from_protobuf(body)
    raise ValueError("a content type of something else")


def read_error(kind: str, body: bytes) -> Status:
    """The words of an error, and RetryInfo if there is one, whatever the body is written in. Never raises."""
    if kind in _PROTOBUF or not kind:
        return read_status(body) or Status()
    if kind == JSON:
        said = _object(body) or {}
        inner = said.get("error")
        told = {**said, **inner} if isinstance(inner, dict) else said
        words = [told[key] for key in ("message", "error", "detail", "title") if isinstance(told.get(key), str)]
        return Status(next(iter(words), ""))
    if kind.startswith("text/"):
        return Status(body[: 4 * _WORDS].decode("utf-8", "replace"))
    return Status()


def plain_words(text: str) -> str:
    """A foreign text as one short line: no control characters, no markup."""
    text = re.sub(r"(?s)<(script|style).*?</\1>|<[^>]*>", " ", text[: 4 * _WORDS])
    text = "".join(character if character.isprintable() else " " for character in text)
    text = " ".join(text.split())
    return text if len(text) <= _WORDS else text[: _WORDS - 3] + "..."


def _from_protobuf(body: bytes) -> Partial:
    try:
        partial = ExportLogsServiceResponse.FromString(body).partial_success
    except DecodeError as error:
        raise ValueError(str(error)) from None
    return Partial(partial.rejected_log_records, partial.error_message)


def _from_json(body: bytes) -> Partial:
    if not body:
        return Partial(0, "")
    response = _object(body)
    if response is None:
        raise ValueError("not a JSON object")
    if not response:
        return Partial(0, "")
    # Unknown fields are to be ignored, and an object of nothing but unknown fields is somebody else's reply.
    if not response.keys() & {"partialSuccess", "partial_success"}:
        raise ValueError("no field of ExportLogsServiceResponse")
    partial = response.get("partialSuccess", response.get("partial_success")) or {}
    if not isinstance(partial, dict):
        raise ValueError("partialSuccess is no object")  # noqa: TRY004 - one error for all that is not ours
    rejected = partial.get("rejectedLogRecords", partial.get("rejected_log_records")) or 0
    if not isinstance(rejected, int | str):
        raise ValueError("rejectedLogRecords is no number")  # noqa: TRY004
    message = partial.get("errorMessage", partial.get("error_message")) or ""
    return Partial(int(rejected), str(message))


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
