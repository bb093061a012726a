"""OTLP over gRPC: one unary call with a deadline. Needs the extra ``[grpc]``; imported only when configured.

The request is handed over as bytes that are encoded already, so its size is known before it is sent.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from exporter import __version__
from exporter.contract import Delivery
from exporter.errors import ConfigError, Problem
from exporter.sinks.replies import Fault, GrpcReply, from_grpc
from exporter.sinks.tls import Tls

if TYPE_CHECKING:
    import grpc

__all__ = ["GrpcTransport"]

_METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
_DETAILS = "grpc-status-details-bin"
#: After these the next call gets a new channel: it resolves the name and reads the certificates again.
_RENEW = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})


class GrpcTransport:
    """Calls one receiver. Safe to use from several threads.

    Args:
        endpoint: ``http://host:port`` in clear, ``https://host:port`` with TLS; a path is ignored. Without a port
            4317 in clear and 443 with TLS.
        headers: sent with each request as metadata; secrets. Names in lower case.
        timeout_seconds: the deadline of each call, connecting included.

    Raises:
        ConfigError: grpcio is not installed, or a TLS file is unusable.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        headers: Mapping[str, str],
        compression: str,
        timeout_seconds: float,
        tls: Tls,
    ) -> None:
        self._grpc = _library()
        url = urlsplit(endpoint)
        self._secure = url.scheme == "https"
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        self._target = f"{host}:{url.port or (443 if self._secure else 4317)}"
        self._metadata = tuple(headers.items())
        self._gzip = compression == "gzip"
        self._seconds = timeout_seconds
        self._tls = tls
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = self._open()

    def prepare(self, body: bytes) -> bytes:
        """The body as it is handed to gRPC, which compresses it itself."""
        return body

    def export(self, wire: bytes, records: int) -> Delivery | Fault:
        """Send a prepared body that holds so many records; what the receiver made of it."""
        try:
            with self._lock:
                channel = self._channel = self._channel or self._open()
        except ConfigError as error:
            return Fault("block", "connection", str(error))
        call = channel.unary_unary(_METHOD, request_serializer=None, response_deserializer=None)
        compression = self._grpc.Compression.Gzip if self._gzip else self._grpc.Compression.NoCompression
        try:
            body = call(wire, timeout=self._seconds, metadata=self._metadata, compression=compression)
            reply = GrpcReply("OK", body=body)
        except self._grpc.RpcError as error:
            reply = _reply(error)
        except ValueError as error:  # the channel was closed under us
            reply = GrpcReply("UNAVAILABLE", str(error))
        if reply.code in _RENEW:
            self._renew(channel)
        return from_grpc(reply, records=records)

    def close(self) -> None:
        """Close the channel; calls under way end as cancelled."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _renew(self, used: grpc.Channel) -> None:
        """Leave the channel to the calls still under way in other threads; it closes when the last one lets go."""
        with self._lock:
            if self._channel is used:
                self._channel = None

    def _open(self) -> grpc.Channel:
        options = (
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", 4 * 1024 * 1024),
            ("grpc.primary_user_agent", f"cloudtrail-exporter/{__version__}"),
        )
        if not self._secure:
            plain: grpc.Channel = self._grpc.insecure_channel(self._target, options=options)
            return plain
        authorities, key, certificate = self._tls.pems()
        credentials = self._grpc.ssl_channel_credentials(authorities, key, certificate)
        channel: grpc.Channel = self._grpc.secure_channel(self._target, credentials, options=options)
        return channel


def _library() -> Any:
    # Its C core writes lines of its own to standard error, into our structured log; errors reach us as replies.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import grpc
    except ImportError:
        raise ConfigError(
            [Problem("sink.protocol", "grpc", "needs grpcio: pip install 'cloudtrail-exporter[grpc]'")]
        ) from None
    return grpc


def _reply(error: Any) -> GrpcReply:
    details = next((value for key, value in error.trailing_metadata() or () if key == _DETAILS), b"")
    return GrpcReply(error.code().name, error.details() or "", details if isinstance(details, bytes) else b"")
