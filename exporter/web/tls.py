"""A checked ``tls_server_config`` -> an SSL context that a client was tried against. Imported only when TLS is used."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from exporter.errors import ConfigError, Problem
from exporter.web.configuration import Pem, Tls, san

__all__ = ["ServerTls", "allowed", "server_tls"]

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What a connection is secured with.

    Attributes:
        allowed_sans: a client's certificate needs one of these names; empty: none is needed.
        warnings: why clients may refuse the certificate.
    """

    context: ssl.SSLContext
    allowed_sans: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


def server_tls(config: Tls) -> ServerTls:
    """Build the context and try it with a client in memory.

    Raises:
        ConfigError: certificate and key do not fit, or no client could ever connect.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[config.min_version]
    context.maximum_version = _VERSIONS[config.max_version]
    context.set_alpn_protocols(["http/1.1"])
    if not config.prefer_server_ciphers:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    problems: list[Problem] = []
    _set_ciphers(context, config, problems)
    if config.curve:
        try:
            context.set_ecdh_curve(config.curve)
        except (ValueError, ssl.SSLError):
            problems.append(_problem(config, "curve_preferences", f"{config.curve} is not in this OpenSSL"))
    _load_pair(context, config, problems)
    if config.client_ca is not None:
        _load_authority(context, config.client_ca, problems)
    if problems:
        raise ConfigError(problems)
    warnings = _try(context, config)
    context.verify_mode = _VERIFY[config.client_auth]
    if context.verify_mode != ssl.CERT_NONE:
        # A session that is resumed would bring its client in without a look at the certificate.
        context.num_tickets = 0
    return ServerTls(context, config.client_allowed_sans, warnings)


def allowed(certificate: Mapping[str, Any] | None, sans: frozenset[str]) -> bool:
    """Whether a client's certificate, as ``getpeercert()`` tells it, has one of the names (DNS, IP, e-mail, URI)."""
    names = (certificate or {}).get("subjectAltName", ())
    return any(san(value) in sans for kind, value in names if kind in ("DNS", "IP Address", "email", "URI"))


def _problem(config: Tls, key: str, text: str) -> Problem:
    return Problem(config.certificate.key.rpartition(".")[0] + f".{key}", "", text)


def _set_ciphers(context: ssl.SSLContext, config: Tls, problems: list[Problem]) -> None:
    if not config.ciphers:
        return
    try:
        context.set_ciphers(":".join(config.ciphers))
    except ssl.SSLError:
        missing = list(config.ciphers)
    else:
        # OpenSSL drops the names it does not know in silence.
        offered = {cipher["name"] for cipher in context.get_ciphers()}
        missing = [cipher for cipher in config.ciphers if cipher not in offered]
    if missing:
        problems.append(_problem(config, "cipher_suites", f"not in this OpenSSL: {', '.join(missing)}"))


def _load_pair(context: ssl.SSLContext, config: Tls, problems: list[Problem]) -> None:
    def no_password() -> bytes:
        raise PermissionError

    with _file(config.certificate) as certificate, _file(config.key) as key:
        try:
            context.load_cert_chain(certificate, key, password=no_password)
        except PermissionError:
            problems.append(
                Problem(config.key.key, _where(config.key), "a key without a password: the file format has none")
            )
        except ssl.SSLError as error:
            problems.append(_refused(config, error))


def _refused(config: Tls, error: ssl.SSLError) -> Problem:
    """OpenSSL does not say which of the two files it could not read: look which one holds what it should."""
    if error.reason == "KEY_VALUES_MISMATCH":
        return Problem(config.key.key, _where(config.key), "the key of the certificate; it belongs to another one")
    reason = (error.reason or "not understood").replace("_", " ").lower()
    try:
        ssl.PEM_cert_to_DER_cert(_first(config.certificate.text))
    except ValueError:
        return Problem(config.certificate.key, _where(config.certificate), f"a certificate in PEM ({reason})")
    if b"PRIVATE KEY-----" not in config.key.text:
        return Problem(config.key.key, _where(config.key), f"a private key in PEM ({reason})")
    return Problem(
        config.certificate.key, _where(config.certificate), f"a certificate that OpenSSL takes with its key ({reason})"
    )


def _first(pem: bytes) -> str:
    """The first certificate of a chain."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = pem.decode("ascii", errors="ignore")
    start = text.find(begin)
    stop = text.find(end, start)
    if start < 0 or stop < 0:
        raise ValueError("no certificate")
    return text[start : stop + len(end)]


def _load_authority(context: ssl.SSLContext, authority: Pem, problems: list[Problem]) -> None:
    try:
        context.load_verify_locations(cadata=authority.text.decode("ascii", errors="ignore"))
    except (ssl.SSLError, ValueError):
        problems.append(Problem(authority.key, _where(authority), "certificates of authorities in PEM"))


def _where(pem: Pem) -> str:
    return str(pem.path) if pem.path else ""


@contextmanager
def _file(pem: Pem) -> Iterator[str]:
    """A path that OpenSSL can read the bytes from: it takes no others, and they may stand in the configuration.

    On Linux they lie in memory: the root may be read-only, and a key belongs on no further disk.
    """
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("pem", os.MFD_CLOEXEC)
        try:
            with os.fdopen(number, "wb", closefd=False) as memory:
                memory.write(pem.text)
            yield f"/proc/self/fd/{number}"
        finally:
            os.close(number)
    else:
        with tempfile.NamedTemporaryFile("wb") as file:
            file.write(pem.text)
            file.flush()
            yield file.name


def _try(context: ssl.SSLContext, config: Tls) -> tuple[str, ...]:
    """Connect to it in memory: suites that do not fit the key, or an expired certificate, show here and not later.

    Raises:
        ConfigError: no client can connect.
    """
    certificate = _first(config.certificate.text)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(cadata=certificate)
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    for client in (trusting, blind):
        client.set_ciphers("ALL:@SECLEVEL=0")
    try:
        _shake_hands(context, trusting)
    except ssl.SSLCertVerificationError as error:
        warning = f"{config.certificate.key}: clients that verify it will not connect: {error.verify_message}"
    except ssl.SSLError as error:
        reason = (error.reason or "no handshake").replace("_", " ").lower()
        raise ConfigError(
            [
                _problem(
                    config, "cipher_suites", f"no client can connect with this certificate and these suites ({reason})"
                )
            ]
        ) from None
    else:
        return ()
    _shake_hands(context, blind)
    return (warning,)


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [server.wrap_bio(there, back, server_side=True), client.wrap_bio(back, there)]
    ends.reverse()
    waiting = list(ends)
    for _ in range(8):
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
        if not waiting:
            return
    raise ssl.SSLError("no handshake")
