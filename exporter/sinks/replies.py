"""A receiver's reply -> a Delivery, or a Fault that says what to do about it. Pure tables, no I/O.

Source: opentelemetry-proto, docs/specification.md ("OTLP/gRPC Response", "OTLP/HTTP Response"). Where that document
tells a client to drop data for a fault of the server (HTTP 500, gRPC UNKNOWN, INTERNAL, DATA_LOSS, RESOURCE_EXHAUSTED
without RetryInfo), the data is held instead: audit records are not given up because a server is ill. And a success is
believed only when it is one: a web page with status 200 accepts nothing.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from exporter.contract import Delivery
from exporter.errors import Blocked, Permanent, Retryable, TooLarge
from exporter.sinks.bodies import PROTOBUF, Partial, plain_words, read_error, read_response
from exporter.sinks.status import Status, read_status

__all__ = [
    "GRPC",
    "HTTP",
    "Fault",
    "GrpcReply",
    "HttpReply",
    "Kind",
    "broken_connection",
    "from_grpc",
    "from_http",
    "out_of_time",
]

#: Nobody may make us wait longer than this at once, in seconds.
LONGEST_PAUSE = 3_600.0

#: What the loop does next: hold and repeat; hold and call for an operator; quarantine; halve.
Kind: TypeAlias = Literal["retry", "block", "refuse", "halve"]


@dataclass(frozen=True, slots=True)
class HttpReply:
    """The parts of an HTTP reply that decide.

    Attributes:
        body: as received; for an error the beginning is enough.
        complete: whether the body was read to its end.
        delimited: whether the reply says where it ends. If not, the end of the connection may have cut it.
    """

    status: int
    content_type: str = ""
    body: bytes = b""
    retry_after: str = ""
    location: str = ""
    complete: bool = True
    delimited: bool = True


@dataclass(frozen=True, slots=True)
class GrpcReply:
    """The parts of a gRPC reply that decide.

    Attributes:
        code: the name of the status code, ``OK`` or ``RESOURCE_EXHAUSTED``.
        message: the status message.
        details: the ``grpc-status-details-bin`` trailer: a ``google.rpc.Status``.
        body: the response message when the code is OK.
    """

    code: str
    message: str = ""
    details: bytes = b""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why nothing is known to be accepted.

    Attributes:
        reason: a key of :data:`exporter.errors.REASONS`.
        text: what was met, for people.
        fix: what to do about it; may be empty.
        after: seconds the receiver asked us to wait.
    """

    kind: Kind
    reason: str
    text: str
    fix: str = ""
    after: float | None = None

    def error(self) -> Retryable | Blocked | Permanent:
        """The error of our tree."""
        message = f"{self.text}; {self.fix}" if self.fix else self.text
        if self.kind == "retry":
            return Retryable(message, reason=self.reason, after=self.after)
        if self.kind == "block":
            return Blocked(message, reason=self.reason)
        if self.kind == "halve":
            return TooLarge(message, reason=self.reason)
        return Permanent(message, reason=self.reason)


class _Row(NamedTuple):
    kind: Kind
    reason: str


_HOLD = _Row("retry", "server")
_BUSY = _Row("retry", "throttled")
_LOGIN = _Row("block", "expired_credentials")
_FORBIDDEN = _Row("block", "access_denied")
_ABSENT = _Row("block", "not_found")
_FOREIGN = _Row("block", "not_otlp")
_REDIRECT = _Row("block", "redirect")
_REFUSED = _Row("refuse", "invalid")
_TOO_LARGE = _Row("halve", "too_large")
_NOT_REACHED = _Row("retry", "connection")

#: UNAVAILABLE comes from a receiver that sheds load, and from our own gRPC library when there is no receiver.
_NEVER_REACHED = re.compile(r"^(failed to connect|errors resolving|DNS resolution|Socket closed|Connection reset)")

#: Every HTTP status that is not told by its hundred alone.
HTTP: Mapping[int, _Row] = {
    400: _REFUSED,
    401: _LOGIN,
    402: _FORBIDDEN,  # a plan or quota of a vendor has run out
    403: _FORBIDDEN,
    404: _ABSENT,
    405: _FOREIGN,
    406: _FOREIGN,
    407: _LOGIN,
    408: _Row("retry", "timeout"),
    410: _ABSENT,
    411: _FOREIGN,
    413: _TOO_LARGE,
    415: _FOREIGN,
    421: _FOREIGN,
    422: _REFUSED,
    425: _HOLD,
    426: _FOREIGN,
    429: _BUSY,
    431: _FOREIGN,
    500: _HOLD,
    501: _FOREIGN,  # "does not know POST": a plain file server
    502: _HOLD,
    503: _Row("retry", "unavailable"),
    504: _HOLD,
}
_HTTP_HUNDREDS: Mapping[int, _Row] = {3: _REDIRECT, 4: _REFUSED, 5: _HOLD}

#: Every gRPC code but OK. RESOURCE_EXHAUSTED is decided by its details.
GRPC: Mapping[str, _Row] = {
    "CANCELLED": _NOT_REACHED,
    "UNKNOWN": _HOLD,
    "INVALID_ARGUMENT": _REFUSED,
    "DEADLINE_EXCEEDED": _Row("retry", "timeout"),
    "NOT_FOUND": _ABSENT,
    "ALREADY_EXISTS": _REFUSED,
    "PERMISSION_DENIED": _FORBIDDEN,
    "RESOURCE_EXHAUSTED": _BUSY,
    "FAILED_PRECONDITION": _Row("block", "unavailable"),
    "ABORTED": _HOLD,
    "OUT_OF_RANGE": _HOLD,
    "UNIMPLEMENTED": _FOREIGN,
    "INTERNAL": _HOLD,
    "UNAVAILABLE": _Row("retry", "unavailable"),
    "DATA_LOSS": _HOLD,
    "UNAUTHENTICATED": _LOGIN,
}

_FIXES: Mapping[tuple[Kind, str], str] = {
    ("block", "expired_credentials"): "set sink.headers to credentials the receiver takes",
    ("block", "access_denied"): "give these credentials leave to write logs, or set others in sink.headers",
    ("block", "not_found"): "correct sink.endpoint: nothing takes logs at that path",
    ("block", "not_otlp"): "point sink.endpoint at an OTLP receiver and check sink.protocol "
    "(http/protobuf and http/json usually port 4318, grpc 4317)",
    ("block", "redirect"): "set sink.endpoint to the final address: records are not sent after a redirect",
    ("block", "unavailable"): "look into the receiver's own log",
    ("retry", "connection"): "check that the receiver runs, that sink.endpoint names it, and whether it wants TLS or a "
    "client certificate",
    ("retry", "timeout"): "check the way to the receiver, or raise sink.timeout_seconds",
}

# OpenSSL's own words, as both Python's ssl and gRPC hand them on; the first match decides.
_TLS: tuple[tuple[str, str, str], ...] = (
    (
        r"certificate.?verify.?failed|hostname (verification|mismatch)|peer name .* is not in peer certificate",
        "connection",
        "set sink.ca_file to who signed the receiver's certificate, and sink.endpoint to a name it carries",
    ),
    (
        r"alert.*(certificate|unknown.?ca|access.?denied|handshake.?failure)|certificate.?required",
        "access_denied",
        "set sink.client_cert_file and sink.client_key_file to a certificate the receiver trusts",
    ),
    (
        r"wrong.?version.?number|http.?request|unknown.?protocol|packet length too long|record layer failure",
        "not_otlp",
        "the receiver does not speak TLS at that port: use http:// in sink.endpoint, or its TLS port",
    ),
    (
        r"no.?shared.?cipher|unsupported.?protocol|protocol.?version|no.?protocols.?available",
        "connection",
        "the receiver and this exporter have no TLS version or cipher in common",
    ),
)


def from_http(reply: HttpReply, *, records: int, sent: str, now: datetime) -> Delivery | Fault:
    """What an HTTP reply means for a request of so many records.

    Args:
        sent: the content type of the request; the reply's when it names none itself.
        now: for a ``Retry-After`` that is a date.
    """
    if 200 <= reply.status < 300:
        return _accepted(reply, records, sent)
    row = HTTP.get(reply.status) or _HTTP_HUNDREDS.get(reply.status // 100, _FOREIGN)
    status = read_error(_kind(reply), reply.body)
    words = plain_words(status.message)
    text = f"the receiver answered {_phrase(reply.status)}" + (f": {words}" if words else "")
    if row is _REDIRECT:
        text += f", Location: {_without_query(reply.location)}" if reply.location else ""
    after = None
    if row.kind == "retry":
        after = _pause(reply.retry_after, now)
        after = status.retry_after if after is None else after
    return _fault(row, text, after)


def from_grpc(reply: GrpcReply, *, records: int) -> Delivery | Fault:
    """What a gRPC reply means for a request of so many records."""
    if reply.code == "OK":
        try:
            return _delivery(read_response(PROTOBUF, reply.body), records)
        except ValueError:
            return _fault(_FOREIGN, "the receiver's reply is no ExportLogsServiceResponse")
    words = plain_words(reply.message)
    if reply.code == "UNAVAILABLE" and _NEVER_REACHED.search(words):
        return broken_connection(words, tls=True)
    status = read_status(reply.details) or Status()
    row = GRPC.get(reply.code, _HOLD)
    if reply.code == "RESOURCE_EXHAUSTED" and status.retry_after is None and _says_too_large(words):
        row = _FOREIGN if words.startswith("CLIENT:") else _TOO_LARGE
    after = status.retry_after if row.kind == "retry" else None
    return _fault(row, f"the receiver answered {reply.code}" + (f": {words}" if words else ""), after)


def broken_connection(problem: str, *, tls: bool = False) -> Fault:
    """No reply at all: refused, reset, name not found.

    Args:
        problem: what the operating system says; for ``tls``, what OpenSSL says.
    """
    words = plain_words(problem)
    if tls and (fault := _tls(words)):
        return fault
    return _fault(_NOT_REACHED, f"no connection to the receiver: {words}")


def out_of_time(seconds: float) -> Fault:
    """No complete reply within the time one call may take."""
    return _fault(_Row("retry", "timeout"), f"no complete answer within {seconds:g} s")


# -- success ------------------------------------------------------------------------------------------------------


def _accepted(reply: HttpReply, records: int, sent: str) -> Delivery | Fault:
    kind = _kind(reply) or sent
    try:
        if not reply.complete:
            raise ValueError("too long")
        response = read_response(kind, reply.body)
    except ValueError:
        text = f"status {reply.status} with a body that is no ExportLogsServiceResponse (content type {kind!r})"
        return _fault(_FOREIGN, plain_words(text))
    if not reply.delimited:
        # "200 OK" and then nothing is also what a receiver leaves behind that dies while it answers.
        return _fault(_NOT_REACHED, f"status {reply.status}, and the reply may be cut off: it has no length")
    return _delivery(response, records)


def _delivery(partial: Partial, records: int) -> Delivery:
    rejected = min(max(partial.rejected, 0), records)
    return Delivery(delivered=records - rejected, rejected=rejected, reason=plain_words(partial.message))


# -- failure ------------------------------------------------------------------------------------------------------


def _fault(row: _Row, text: str, after: float | None = None) -> Fault:
    after = None if after is None else min(after, LONGEST_PAUSE)
    return Fault(row.kind, row.reason, text, _FIXES.get((row.kind, row.reason), ""), after)


def _tls(words: str) -> Fault | None:
    for pattern, reason, fix in _TLS:
        if re.search(pattern, words, re.IGNORECASE):
            return Fault("block", reason, f"no secure connection to the receiver: {words}", fix)
    return None


def _says_too_large(words: str) -> bool:
    """Go and C++ say "larger than max", Java "exceeds maximum size"; there is no code of its own for it."""
    return bool(re.search(r"larger than max|exceeds max|too large|message size", words, re.IGNORECASE))


def _kind(reply: HttpReply) -> str:
    return reply.content_type.partition(";")[0].strip().lower()


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _pause(value: str, now: datetime) -> float | None:
    """``Retry-After`` (RFC 9110, 10.2.3) in seconds: a number of them, or a date."""
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())


def _without_query(location: str) -> str:
    """An address without what may be a secret in it."""
    try:
        parts = urlsplit(plain_words(location))
    except ValueError:
        return "(unreadable)"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
