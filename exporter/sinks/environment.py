"""The standard ``OTEL_EXPORTER_OTLP_*`` variables -> the settings of the OTLP sink. Pure.

Source: OpenTelemetry specification, protocol/exporter.md ("Configuration Options", "Specifying headers via environment
variables") and configuration/sdk-environment-variables.md: a ``LOGS_`` variable wins over the generic one, an empty one
is not set, a generic endpoint is a base address, ``LOGS_ENDPOINT`` is used as it stands. **Timeouts are milliseconds**
(opentelemetry-python reads seconds); ``10s`` and ``10000ms`` say which. ``INSECURE`` decides only for a gRPC endpoint
without a scheme. A value that cannot be understood stops the start, it is not guessed around.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from exporter.errors import ConfigError, Problem

__all__ = ["PROTOCOLS", "Protocol", "otlp_settings", "signal_url"]

Protocol: TypeAlias = Literal["http/protobuf", "grpc", "http/json"]
PROTOCOLS: tuple[Protocol, ...] = ("http/protobuf", "grpc", "http/json")
COMPRESSIONS = ("gzip", "none")

_PREFIX = "OTEL_EXPORTER_OTLP_"
_PATH = "/v1/logs"
_DEFAULT_PORTS: Mapping[str, int] = {"http/protobuf": 4318, "http/json": 4318, "grpc": 4317}
#: A unit-less timeout under this was meant in seconds, as opentelemetry-python takes it.
_LEAST_MILLISECONDS = 100
_MOST_SECONDS = 600.0
_T = TypeVar("_T")


def signal_url(endpoint: str) -> str:
    """A base address with ``/v1/logs`` added to its path; an address that ends in it already as it is."""
    url = urlsplit(endpoint)
    path = url.path.rstrip("/")
    return endpoint if path.endswith(_PATH) else url._replace(path=path + _PATH).geturl()


def otlp_settings(
    environ: Mapping[str, str],
    *,
    protocol: str | None = None,
    endpoint: str | None = None,
    headers: Mapping[str, str] | None = None,
    compression: str | None = None,
    timeout_seconds: float | None = None,
    ca_file: Path | None = None,
    client_cert_file: Path | None = None,
    client_key_file: Path | None = None,
) -> dict[str, Any]:
    """What is configured, else what the environment says, else the defaults; ``endpoint`` is the address as used.

    Configured headers are added to those of the environment and win over them. What is configured is not looked up,
    so a bad variable that decides nothing is no problem.

    Returns:
        The keyword arguments of :class:`exporter.sinks.otlp.OtlpSink` of the same names.

    Raises:
        ConfigError: variables that cannot be understood, all of them, each by its name. Headers are not shown.
    """
    read = _Reader(environ)
    chosen = protocol or read("PROTOCOL", _one_of(PROTOCOLS)) or "http/protobuf"
    return read.done(
        {
            "protocol": chosen,
            "endpoint": _endpoint(read, chosen, endpoint),
            "headers": {**(read("HEADERS", _headers) or {}), **{k.lower(): v for k, v in (headers or {}).items()}},
            "compression": compression or read("COMPRESSION", _one_of(COMPRESSIONS)) or "gzip",
            "timeout_seconds": timeout_seconds or read("TIMEOUT", _seconds) or 10.0,
            "ca_file": ca_file or read("CERTIFICATE", Path),
            "client_cert_file": client_cert_file or read("CLIENT_CERTIFICATE", Path),
            "client_key_file": client_key_file or read("CLIENT_KEY", Path),
        }
    )


class _Refused(ValueError):
    """What is allowed, for people; ``secret`` keeps the value out of the problem."""

    def __init__(self, allowed: str, *, secret: bool = False) -> None:
        super().__init__(allowed)
        self.secret = secret


class _Reader:
    """Reads variables and keeps what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: list[Problem] = []

    def variable(self, name: str) -> str | None:
        """The full name of the variable that decides, the one for logs first; None: neither is set."""
        names = (f"{_PREFIX}LOGS_{name}", _PREFIX + name)
        return next((full for full in names if self._environ.get(full, "").strip()), None)

    def __call__(self, name: str, convert: Callable[[str], _T]) -> _T | None:
        variable = self.variable(name)
        if variable is None:
            return None
        value = self._environ[variable].strip()
        try:
            return convert(value)
        except _Refused as refused:
            self._problems.append(Problem(variable, "" if refused.secret else value, str(refused)))
            return None

    def done(self, settings: dict[str, Any]) -> dict[str, Any]:
        if self._problems:
            raise ConfigError(self._problems)
        return settings


def _endpoint(read: _Reader, protocol: str, configured: str | None) -> str:
    over_http = protocol != "grpc"
    if configured:
        return signal_url(configured) if over_http else configured
    default = f"http://localhost:{_DEFAULT_PORTS[protocol]}"
    if over_http:
        given = read("ENDPOINT", _http_url)
        verbatim = (read.variable("ENDPOINT") or "").endswith("_LOGS_ENDPOINT")
        return given if given and verbatim else signal_url(given or default)
    insecure = read("INSECURE", _boolean)
    scheme = "http" if insecure else "https"
    return read("ENDPOINT", lambda value: _grpc_url(value, scheme)) or default


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def convert(value: str) -> str:
        if value.lower() not in allowed:
            raise _Refused(f"one of {', '.join(allowed)}")
        return value.lower()

    return convert


def _boolean(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise _Refused("true or false")
    return value.lower() == "true"


def _seconds(value: str) -> float:
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s)?", value)
    if match is None:
        raise _Refused("milliseconds, as the specification says (10000), or with a unit (10s, 10000ms)")
    number, unit = float(match[1]), match[2]
    if unit is None and number < _LEAST_MILLISECONDS:
        raise _Refused(f"milliseconds, at least {_LEAST_MILLISECONDS}; if seconds are meant, write {match[1]}s")
    seconds = number if unit == "s" else number / 1000
    if not 0 < seconds <= _MOST_SECONDS:
        raise _Refused(f"more than 0 and at most {_MOST_SECONDS:g} s")
    return seconds


def _headers(value: str) -> dict[str, str]:
    """W3C Baggage list without properties: ``key1=value1,key2=value2``, percent-encoded, spaces around ignored."""
    headers = {}
    for pair in value.split(","):
        if not pair.strip():
            continue
        name, equals, content = pair.partition("=")
        name = unquote(name).strip().lower()
        if not equals or not name:
            raise _Refused("name=value,name=value with values percent-encoded", secret=True)
        headers[name] = unquote(content.strip())
    return headers


def _url(value: str) -> SplitResult:
    allowed = "an address such as http://localhost:4318"
    try:
        url = urlsplit(value)
        _ = url.port
    except ValueError:
        raise _Refused(allowed) from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise _Refused(f"{allowed}, with http:// or https://", secret="@" in value)
    if "@" in url.netloc:
        raise _Refused("an address without user and password; put credentials into the headers", secret=True)
    return url


def _http_url(value: str) -> str:
    _url(value)
    return value


def _grpc_url(value: str, scheme: str) -> str:
    full = value if "://" in value else f"{scheme}://{value}"
    _url(full)
    return full
