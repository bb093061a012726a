"""The OTLP sink: encodes, bounds, sends, and believes a receiver only what it says."""

from __future__ import annotations

import dataclasses
import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

from exporter import __version__
from exporter.contract import Clock, Delivery, Finding, Record
from exporter.errors import ConfigError, Permanent, Problem, TooLarge
from exporter.metrics import Metrics
from exporter.otel import ExportLogsServiceRequest, ReadableLogRecord, encode, serialize
from exporter.sinks.bodies import JSON, PROTOBUF
from exporter.sinks.otlp_json import request_json
from exporter.sinks.replies import Fault
from exporter.sinks.tls import Tls

__all__ = ["OtlpSink", "Transport"]

_log = logging.getLogger("exporter.sink")

Mapper: TypeAlias = Callable[[Record], ReadableLogRecord]

#: So many single records refused in a row make us ask whether anything is taken at all.
_REFUSALS = 10
#: A request at which the server fails so often may hold a record that makes it fail; once halved, a part needs fewer.
_TRIES = 10
_TRIES_OF_A_PART = 2
#: Records that are held to be the cause in a row; more, and the server is ill.
_MOST_BLAMED = 3
#: Requests whose failures are counted apart.
_MOST_REQUESTS = 1_000
#: A receiver that calls a request of this many bytes too large takes no request of ours.
_TINY = 64 * 1024
#: Header values shorter than this are not searched for in texts: they would blank out ordinary words.
_SECRET_LENGTH = 6
#: Characters of an error that are kept.
_LONGEST_TEXT = 400


class Transport(Protocol):
    """One way to carry a request body to the receiver. Safe to use from several threads; raises nothing."""

    def prepare(self, body: bytes) -> bytes:
        """The body as it is handed over; its length is what counts as sent. gRPC compresses later, by itself."""
        ...

    def export(self, wire: bytes, records: int) -> Delivery | Fault:
        """Send a prepared body that holds so many records; returns within the configured time."""
        ...

    def close(self) -> None:
        """Close connections. Safe twice."""
        ...


class OtlpSink:
    """Sends records to an OpenTelemetry receiver, one request per :meth:`send`.

    Nothing is retried here and nothing buffered: what :meth:`send` returned for is accepted, and the loop decides when
    to try again. Proxy variables of the environment are not used.

    Args:
        mapper: a record -> its log record.
        protocol: transport and encoding.
        endpoint: the address as used: for HTTP with its path, for gRPC ``http://`` in clear or ``https://``.
        headers: sent with each request; kept out of logs, errors and findings.
        compression: of request bodies.
        timeout_seconds: for one whole call, connecting and the reply included.
        ca_file, client_cert_file, client_key_file, insecure_skip_verify: see :class:`exporter.sinks.tls.Tls`.
        max_request_bytes: of a request before compression; several records over it are sent as smaller requests, a
            single one is tried nevertheless.

    Raises:
        ConfigError: a header that cannot be sent, a TLS file that cannot be used, grpcio missing.
    """

    def __init__(
        self,
        mapper: Mapper,
        *,
        protocol: Literal["http/protobuf", "grpc", "http/json"] = "http/protobuf",
        endpoint: str,
        headers: Mapping[str, str] | None = None,
        compression: Literal["gzip", "none"] = "gzip",
        timeout_seconds: float = 10,
        ca_file: Path | None = None,
        client_cert_file: Path | None = None,
        client_key_file: Path | None = None,
        insecure_skip_verify: bool = False,
        max_request_bytes: int = 3_500_000,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        headers = _checked({name.lower(): value for name, value in (headers or {}).items()})
        tls = Tls(ca_file, client_cert_file, client_key_file, insecure_skip_verify)
        self._mapper = mapper
        self._json = protocol == "http/json"
        self._limit = max_request_bytes
        self._clock = clock
        self._metrics = metrics
        self._where = _shown(endpoint)
        self._protocol = protocol
        self._secrets = _secret_words(headers)
        self._guard = _Guard()
        self._illness = _Illness()
        self._said = ""
        self._transport: Transport
        if protocol == "grpc":
            from exporter.sinks.otlp_grpc import GrpcTransport

            self._transport = GrpcTransport(
                endpoint=endpoint, headers=headers, compression=compression, timeout_seconds=timeout_seconds, tls=tls
            )
        else:
            from exporter.sinks.otlp_http import HttpTransport

            self._transport = HttpTransport(
                endpoint=endpoint,
                headers={"user-agent": f"cloudtrail-exporter/{__version__}", **headers},
                content_type=JSON if self._json else PROTOBUF,
                compression=compression,
                timeout_seconds=timeout_seconds,
                tls=tls,
                clock=clock,
            )

    def __repr__(self) -> str:
        return f"OtlpSink({self._protocol}, {self._where})"

    def check(self) -> Iterable[Finding]:
        """Send an empty request, which a receiver is to accept."""
        subject = f"OTLP over {self._protocol} to {self._where}"
        outcome = self._probe()
        if isinstance(outcome, Fault):
            yield Finding("error", subject, outcome.text, outcome.fix)
        else:
            yield Finding("ok", subject, "takes log records")

    def send(self, records: Sequence[Record]) -> Delivery:
        """Hand the records over in one request.

        Raises:
            Retryable, Blocked, TooLarge, Permanent: see :class:`exporter.contract.Sink`.
        """
        body = self._body(records)
        if len(body) > self._limit and len(records) > 1:
            raise TooLarge(f"{len(records)} records make a request of {len(body)} bytes, {self._limit} are allowed")
        outcome = self._call(body, len(records))
        if isinstance(outcome, Fault):
            self._metrics.otlp_export_failures.labels(outcome.reason).inc()
            if len(records) == 1 and outcome.kind in ("refuse", "halve"):
                outcome = self._doubted(outcome, len(body))
            elif outcome.reason == "server":
                outcome = self._blamed(outcome, records)
            raise dataclasses.replace(outcome, text=f"{self._where}: {outcome.text}").error()
        self._accepted(outcome)
        return outcome

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def _body(self, records: Sequence[Record]) -> bytes:
        try:
            mapped = [self._mapper(record) for record in records]
            return request_json(encode(mapped)) if self._json else serialize(mapped)
        except Exception as error:
            # Whatever it is, it is about these records: the loop finds out which by halving.
            raise Permanent(f"cannot be encoded: {type(error).__name__}: {error}", reason="encode") from error

    def _call(self, body: bytes, records: int) -> Delivery | Fault:
        wire = self._transport.prepare(body)
        started = self._clock.monotonic()
        outcome = self._hidden(self._transport.export(wire, records))
        self._metrics.otlp_export_duration.observe(self._clock.monotonic() - started)
        self._metrics.otlp_exports.inc()
        self._metrics.otlp_sent_bytes.inc(len(wire))
        return outcome

    def _probe(self) -> Delivery | Fault:
        """An empty request: it says whether the receiver takes anything, and counts as no export."""
        wire = self._transport.prepare(request_json(ExportLogsServiceRequest()) if self._json else b"")
        return self._hidden(self._transport.export(wire, 0))

    def _accepted(self, delivery: Delivery) -> None:
        self._metrics.otlp_last_success.set(self._clock.now().timestamp())
        self._metrics.otlp_records_rejected.inc(delivery.rejected)
        if delivery.delivered:
            self._guard.accepted()
            self._illness.over()
        if delivery.reason and delivery.reason != self._said:
            self._said = delivery.reason
            _log.warning(
                "the receiver says: %s", delivery.reason, extra={"endpoint": self._where, "rejected": delivery.rejected}
            )

    def _doubted(self, fault: Fault, size: int) -> Fault:
        """A refused single record: is it the record, or does the receiver refuse everything?

        A wrong endpoint that answers 400 to whatever it gets must not empty the line into quarantine.
        """
        if not self._guard.doubtful():
            return fault
        if fault.kind == "halve":
            if size > _TINY:
                return fault
            text = f"the receiver calls a request of {size} bytes too large: {fault.text}"
            return Fault(
                "block", "too_large", text, "raise the largest request the receiver, or a proxy before it, takes"
            )
        probe = self._probe()
        if not isinstance(probe, Fault):
            self._guard.cleared()
            return fault
        if probe.kind in ("retry", "block"):
            return probe
        text = f"the receiver refuses every request, an empty one too: {probe.text}"
        return Fault("block", probe.reason, text, "check sink.endpoint, sink.protocol and sink.headers")

    def _blamed(self, fault: Fault, records: Sequence[Record]) -> Fault:
        """The server fails at this request: is it ill, or is it one record that makes it fail?

        Receivers answer 500 or INTERNAL also for what they will never take (the Collector does, for a permanent error
        further down), and one such record must not stop the line. So a request that keeps failing while an empty one
        is taken is halved, and a record that keeps failing alone is refused; but never more than a few in a row: then
        the server is ill after all, and everything is held.
        """
        if not self._illness.lasts(records[0].identity.uid, len(records)) or isinstance(self._probe(), Fault):
            return fault
        if len(records) > 1:
            return dataclasses.replace(fault, kind="halve")
        return dataclasses.replace(fault, kind="refuse") if self._illness.blame() else fault

    def _hidden(self, outcome: Delivery | Fault) -> Delivery | Fault:
        """Without our own headers: receivers like to quote the token they did not like."""
        if isinstance(outcome, Delivery):
            return dataclasses.replace(outcome, reason=self._presentable(outcome.reason))
        return dataclasses.replace(outcome, text=self._presentable(outcome.text))

    def _presentable(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


class _Guard:
    """Remembers enough to tell a receiver that refuses a record from one that refuses everything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ever_accepted = False
        self._refused = 0

    def accepted(self) -> None:
        """Something was taken."""
        with self._lock:
            self._ever_accepted = True
            self._refused = 0

    def doubtful(self) -> bool:
        """One more single record was refused: is it time to ask whether anything is taken?"""
        with self._lock:
            self._refused += 1
            return not self._ever_accepted or self._refused >= _REFUSALS

    def cleared(self) -> None:
        """The receiver takes requests; count anew."""
        with self._lock:
            self._refused = 0


class _Illness:
    """How often the server has failed at the same request, and how many records were held to be the cause."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tries: dict[tuple[str, int], int] = {}
        self._suspect = False
        self._blamed = 0

    def lasts(self, uid: str, records: int) -> bool:
        """One more failure of the request that begins with this record: has it failed often enough?"""
        with self._lock:
            if len(self._tries) > _MOST_REQUESTS:
                self._tries.clear()
            tries = self._tries[uid, records] = self._tries.get((uid, records), 0) + 1
            if tries < (_TRIES_OF_A_PART if self._suspect else _TRIES):
                return False
            self._suspect = True
            return True

    def blame(self) -> bool:
        """Whether one more record may be refused for it."""
        with self._lock:
            self._blamed += 1
            return self._blamed <= _MOST_BLAMED

    def over(self) -> None:
        """Something was taken."""
        with self._lock:
            self._tries.clear()
            self._suspect = False
            self._blamed = 0


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Headers both transports can carry.

    Raises:
        ConfigError: a name that is no token (RFC 9110, 5.6.2), a value with control or non-ASCII characters.
    """
    problems = []
    for name, value in headers.items():
        if not re.fullmatch(r"[0-9a-z!#$%&'*+.^_`|~-]+", name):
            problems.append(Problem(f"sink.headers.{name!r}", "", "a name of letters, digits and dashes"))
        elif not re.fullmatch(r"[\x20-\x7e]*", value) or value != value.strip():
            problems.append(Problem(f"sink.headers.{name}", "", "a value of printable ASCII, no space around it"))
    if problems:
        raise ConfigError(problems)
    return headers


def _secret_words(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What must not be shown, longest first: each value, and the token in ``Bearer token``."""
    words = {word for value in headers.values() for word in (value, value.rpartition(" ")[2])}
    return tuple(sorted((word for word in words if len(word) >= _SECRET_LENGTH), key=len, reverse=True))


def _shown(endpoint: str) -> str:
    """The address for people: a query may hold a token."""
    url = urlsplit(endpoint)
    return url._replace(netloc=url.netloc.rpartition("@")[2], query="", fragment="").geturl()
