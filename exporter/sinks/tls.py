"""TLS as configured -> what ssl and gRPC want. Files are read each time, so that renewed ones are found."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import ConfigError, Problem

__all__ = ["Tls"]


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom to trust and who we are.

    Attributes:
        ca_file: authorities to trust, PEM; None: those of the system.
        client_cert_file, client_key_file: our certificate and its key, PEM, for mutual TLS; both or none. A
            certificate file that holds the key as well may come alone.
        insecure_skip_verify: believe any certificate.
    """

    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    insecure_skip_verify: bool = False

    def context(self) -> ssl.SSLContext:
        """For HTTP.

        Raises:
            ConfigError: a file is missing, unreadable or not what it should be.
        """
        self._check_pair()
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise _unusable("sink.ca_file", self.ca_file, error) from None
        if self.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_cert_file is not None:
            try:
                context.load_cert_chain(self.client_cert_file, self.client_key_file, password=_no_password)
            except (OSError, ValueError) as error:
                raise _unusable("sink.client_cert_file", self.client_cert_file, error) from None
        return context

    def pems(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """For gRPC: authorities, key, certificate.

        Raises:
            ConfigError: as :meth:`context`; or ``insecure_skip_verify``, which gRPC does not offer.
        """
        if self.insecure_skip_verify:
            raise ConfigError(
                [
                    Problem(
                        "sink.insecure_skip_verify", "true", "false with protocol grpc; name the authority in ca_file"
                    )
                ]
            )
        self.context()  # says what is wrong with a file; gRPC would only fail to connect
        key_file = self.client_key_file or self.client_cert_file
        return (
            self.ca_file.read_bytes() if self.ca_file else None,
            key_file.read_bytes() if key_file else None,
            self.client_cert_file.read_bytes() if self.client_cert_file else None,
        )

    def _check_pair(self) -> None:
        if self.client_key_file is not None and self.client_cert_file is None:
            raise ConfigError([Problem("sink.client_cert_file", "", "needed beside client_key_file")])


def _no_password() -> str:
    """An encrypted key must fail, not ask at the terminal."""
    raise ValueError("the key is encrypted; give one without a password")


def _unusable(key: str, path: Path | None, error: Exception) -> ConfigError:
    why = getattr(error, "strerror", None) or str(error)
    return ConfigError([Problem(key, str(path or ""), f"a readable PEM file: {why}")])
