"""exporter-toolkit's web configuration file -> :class:`WebConfig`, or every problem at once.

The format is that of prometheus/exporter-toolkit, docs/web-configuration.md; what is refused here and accepted there is
told in docs/web.md with the reason. Pure but for :func:`load`, which reads the files that the text names.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from exporter import strictyaml
from exporter.errors import ConfigError, Problem, excerpt

__all__ = ["Pem", "RateLimit", "Tls", "WebConfig", "load", "parse", "read_file", "san"]

#: Bytes of the file, and of each certificate, key and authority file that it names.
MAX_BYTES = 1024**2
#: Each bcrypt step doubles the work; 18 is half a minute of one core for a password that is not cached.
_COSTS = range(4, 19)
_SLOW_COST = 14
_MAX_USERS = 1_000

_VERSIONS = ("TLS12", "TLS13")
_OLD_VERSIONS = ("TLS10", "TLS11")
_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
_SUITES_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
#: IANA's name -> OpenSSL's (ciphers(1)). Those of Go's tls.CipherSuites: the toolkit takes no others.
_SUITES_12 = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
_UNVERIFIED = (
    "needs a certificate that nobody verifies, and Python's ssl verifies each one it asks for; "
    "allowed: NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert"
)
_CLIENT_AUTH = ("NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
#: Go's other names, and the one that exporter-toolkit keeps for old files.
_CLIENT_AUTH_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")

#: Header -> the values it may have; none: any.
_HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}

_BCRYPT = re.compile(r"\$2[abxy]?\$(\d\d)\$[./A-Za-z0-9]{53}")
_DURATION = re.compile(r"(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_INTERVAL = 86_400.0


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate, key or authority: where the configuration has it, and its bytes.

    Attributes:
        key: the configuration key, for messages.
        path: None: it stands in the web configuration file itself.
    """

    key: str
    path: Path | None
    text: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tls:
    """``tls_server_config``, checked on its own; whether certificate and key fit is for :mod:`exporter.web.tls`.

    Attributes:
        client_auth: ``NoClientCert``, ``VerifyClientCertIfGiven`` or ``RequireAndVerifyClientCert``.
        client_allowed_sans: empty: any certificate that verifies.
        ciphers: OpenSSL names for TLS 1.2; empty: OpenSSL's own choice.
        curve: OpenSSL's name; empty: OpenSSL's own choice.
    """

    certificate: Pem
    key: Pem
    client_ca: Pem | None = None
    client_auth: str = "NoClientCert"
    client_allowed_sans: frozenset[str] = frozenset()
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    ciphers: tuple[str, ...] = ()
    prefer_server_ciphers: bool = True
    curve: str = ""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One request an interval (seconds), and ``burst`` at once after a pause."""

    interval: float
    burst: int


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What a web configuration file says.

    Attributes:
        headers: they replace those the exporter sets; an empty value: the header is not sent.
        users: name -> bcrypt hash; empty: no basic authentication.
        warnings: what works and is probably not meant.
    """

    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    rate_limit: RateLimit | None = None
    warnings: tuple[str, ...] = ()


def load(path: Path, *, read: Callable[[Path], bytes] | None = None) -> WebConfig:
    """Read the file and those it names.

    Args:
        read: a file's bytes; ValueError when it cannot be had. None: :func:`read_file`.

    Raises:
        ConfigError: with every problem; no message shows a key or a hash.
    """
    read = read or read_file
    try:
        data = read(path)
    except ValueError as error:
        raise ConfigError([Problem("web.config_file", str(path), str(error))]) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError([Problem("web.config_file", str(path), "a UTF-8 text file")]) from None
    return parse(text, name=str(path), folder=path.parent, read=read)


def read_file(path: Path) -> bytes:
    """The bytes of a file of at most 1 MiB.

    Raises:
        ValueError: it cannot be had; the text says why.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"a readable file ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise ValueError("a file of at most 1 MiB")
    return data


def parse(text: str, *, name: str, folder: Path, read: Callable[[Path], bytes] = read_file) -> WebConfig:
    """The text of a web configuration file, with the certificates and keys it names.

    Args:
        name: of the file, for messages.
        folder: what relative paths in it start from.
        read: a file's bytes; ValueError when it cannot be had.

    Raises:
        ConfigError: with every problem.
    """
    problems: list[Problem] = []
    warnings: list[str] = []
    tree = _tree(text, name, problems)
    top = _Section(tree, f"{name}: ", "", problems)
    top.known("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
    tls = _tls(top.section("tls_server_config"), folder, read, warnings)
    headers = _http(top.section("http_server_config"), warnings)
    users = _users(top.section("basic_auth_users"), warnings)
    rate_limit = _rate_limit(top.section("rate_limit"))
    if problems:
        raise ConfigError(problems)
    return WebConfig(tls, headers, users, rate_limit, tuple(warnings))


# -- YAML -----------------------------------------------------------------------------------------------------------


def _tree(text: str, name: str, problems: list[Problem]) -> Any:
    try:
        return strictyaml.load(text)
    except yaml.YAMLError as error:
        # Never str(error): it quotes the line, and the line may hold a key.
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        problems.append(
            Problem("web.config_file", place, f"valid YAML ({getattr(error, 'problem', None) or 'it is not'})")
        )
    except (RecursionError, ValueError, TypeError):
        problems.append(Problem("web.config_file", name, "valid YAML of plain keys and values"))
    return None


class _Section:
    """A mapping that is read key by key; what does not fit becomes a problem and reads as not given."""

    def __init__(self, tree: Any, file: str, path: str, problems: list[Problem]) -> None:
        self._file = file
        self._path = path
        self._problems = problems
        self.tree: dict[Any, Any] = {}
        if isinstance(tree, dict):
            self.tree = tree
        elif tree is not None:
            self.problem("", "", f"keys and values, not {_kind(tree)}")

    @property
    def problems(self) -> int:
        """How many there are so far, in the whole file."""
        return len(self._problems)

    def name(self, key: object) -> str:
        return f"{self._file}{self._path}{key}"

    def problem(self, key: object, value: object, allowed: str) -> None:
        shown = value if isinstance(value, str) else "" if isinstance(value, (dict, list)) else str(value)
        name = self.name(key) if key else (self._file + self._path).rstrip(".: ")
        self._problems.append(Problem(name, excerpt(shown), allowed))

    def known(self, *names: str) -> None:
        for key in self.tree:
            if key not in names:
                close = difflib.get_close_matches(str(key), names, n=1, cutoff=0.6)
                meant = f"; did you mean {close[0]}?" if close else ""
                self.problem(excerpt(str(key), 60), "", f"no such key{meant}; allowed: {', '.join(names)}")

    def section(self, key: str) -> _Section:
        return _Section(self.tree.get(key), self._file, f"{self._path}{key}.", self._problems)

    def text(self, key: str, *, secret: bool = False) -> str:
        value = self.tree.get(key)
        if value is None or isinstance(value, str):
            return value or ""
        self.problem(key, "(hidden)" if secret else value, "text; in quotes when it looks like a number")
        return ""

    def flag(self, key: str, default: bool) -> bool:
        value = self.tree.get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.problem(key, value, "true or false")
        return default

    def texts(self, key: str) -> list[str] | None:
        value = self.tree.get(key)
        if value is None:
            return None
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return list(value)
        self.problem(key, value, "a list of texts")
        return None


def _kind(value: object) -> str:
    return {"list": "a list", "str": "text"}.get(type(value).__name__, f"a {type(value).__name__}")


# -- tls_server_config ----------------------------------------------------------------------------------------------


def _tls(section: _Section, folder: Path, read: Callable[[Path], bytes], warnings: list[str]) -> Tls | None:
    if not section.tree:
        return None
    before = section.problems
    section.known(
        "cert",
        "cert_file",
        "key",
        "key_file",
        "client_ca",
        "client_ca_file",
        "client_auth_type",
        "client_allowed_sans",
        "min_version",
        "max_version",
        "cipher_suites",
        "prefer_server_cipher_suites",
        "curve_preferences",
    )
    certificate = _pem(section, "cert", folder, read)
    key = _pem(section, "key", folder, read, secret=True)
    if certificate is None and not section.tree.get("cert") and not section.tree.get("cert_file"):
        section.problem("cert_file", "", "required, or cert: a section without a certificate would serve plain HTTP")
    if key is None and not section.tree.get("key") and not section.tree.get("key_file"):
        section.problem("key_file", "", "required, or key: the key of the certificate")
    client_auth, client_ca, sans = _clients(section, folder, read)
    lowest, highest = _versions(section)
    ciphers, only_13 = _ciphers(section, warnings)
    if only_13:
        lowest = "TLS13"
        if highest != "TLS13":
            section.problem("cipher_suites", "", "names suites of TLS 1.3 only, and max_version is TLS12")
    curve = _curve(section)
    prefer = section.flag("prefer_server_cipher_suites", True)
    if certificate is None or key is None or section.problems > before:
        return None
    return Tls(certificate, key, client_ca, client_auth, sans, lowest, highest, ciphers, prefer, curve)


def _pem(
    section: _Section, key: str, folder: Path, read: Callable[[Path], bytes], *, secret: bool = False
) -> Pem | None:
    """The text under ``key`` or the file under ``key_file``; None when neither is given or it cannot be had."""
    inline, name = section.text(key, secret=secret), section.text(f"{key}_file")
    if inline and name:
        section.problem(f"{key}_file", name, f"not together with {key}")
        return None
    if inline:
        return Pem(section.name(key), None, inline.encode())
    if not name:
        return None
    path = folder / name
    try:
        return Pem(section.name(f"{key}_file"), path, read(path))
    except ValueError as error:
        section.problem(f"{key}_file", str(path), str(error))
        return None


def _clients(section: _Section, folder: Path, read: Callable[[Path], bytes]) -> tuple[str, Pem | None, frozenset[str]]:
    """Who may connect: the policy, the authority, the names."""
    auth = section.text("client_auth_type") or "NoClientCert"
    if auth in _CLIENT_AUTH_UNVERIFIED:
        section.problem("client_auth_type", auth, _UNVERIFIED)
    elif auth not in _CLIENT_AUTH:
        section.problem("client_auth_type", auth, f"one of {', '.join(_CLIENT_AUTH)}")
    authority = _pem(section, "client_ca", folder, read)
    given = bool(section.tree.get("client_ca") or section.tree.get("client_ca_file"))
    if given and auth == "NoClientCert":
        section.problem(
            "client_auth_type", auth, "RequireAndVerifyClientCert: with a client_ca, and no client is asked for one"
        )
    if not given and auth in _CLIENT_AUTH[1:]:
        section.problem(
            "client_ca_file", "", f"required, or client_ca: {auth} without one would trust every public authority"
        )
    sans = section.texts("client_allowed_sans")
    if sans is not None:
        if not sans:
            section.problem("client_allowed_sans", "[]", "at least one name; leave the key out to allow all")
        if auth != "RequireAndVerifyClientCert":
            section.problem(
                "client_allowed_sans",
                "",
                "only with client_auth_type RequireAndVerifyClientCert: else a client may come without a certificate",
            )
    return auth, authority, frozenset(san(name) for name in sans or ())


def san(name: str) -> str:
    """A subject alternative name in one spelling: an IP address has several."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


def _versions(section: _Section) -> tuple[str, str]:
    found = {}
    for key, default in (("min_version", "TLS12"), ("max_version", "TLS13")):
        value = section.text(key) or default
        if value in _OLD_VERSIONS:
            section.problem(key, value, "TLS12 or TLS13: TLS 1.0 and 1.1 are broken (RFC 8996) and not offered")
            value = default
        elif value not in _VERSIONS:
            section.problem(key, value, "TLS12 or TLS13")
            value = default
        found[key] = value
    if found["min_version"] > found["max_version"]:
        section.problem("max_version", found["max_version"], f"not below min_version, which is {found['min_version']}")
    return found["min_version"], found["max_version"]


def _ciphers(section: _Section, warnings: list[str]) -> tuple[tuple[str, ...], bool]:
    """OpenSSL's names for TLS 1.2, and whether only suites of TLS 1.3 were named."""
    suites = section.texts("cipher_suites") or []
    for suite in suites:
        if suite not in _SUITES_12 and suite not in _SUITES_13:
            close = difflib.get_close_matches(suite, [*_SUITES_12, *_SUITES_13], n=1, cutoff=0.6)
            meant = f"; did you mean {close[0]}?" if close else f"; allowed: {', '.join(_SUITES_12)}"
            section.problem("cipher_suites", suite, f"no such suite, or one that is not safe{meant}")
    ciphers = tuple(dict.fromkeys(_SUITES_12[suite] for suite in suites if suite in _SUITES_12))
    if any(suite in _SUITES_13 for suite in suites):
        warnings.append("cipher_suites is for TLS 1.2; TLS 1.3 offers all three of its suites whatever is named")
    return ciphers, bool(suites) and all(suite in _SUITES_13 for suite in suites)


def _curve(section: _Section) -> str:
    curves = section.texts("curve_preferences") or []
    for curve in curves:
        if curve not in _CURVES:
            section.problem("curve_preferences", curve, f"one of {', '.join(_CURVES)}")
    if len(curves) > 1:
        section.problem(
            "curve_preferences",
            ", ".join(curves),
            "one curve: Python's ssl cannot be told an order of several; leave the key out to offer OpenSSL's choice",
        )
    return _CURVES.get(curves[0], "") if curves else ""


# -- the other sections ---------------------------------------------------------------------------------------------


def _http(section: _Section, warnings: list[str]) -> dict[str, str]:
    section.known("http2", "headers")
    if section.flag("http2", False):
        warnings.append("http2 has no effect: this server speaks HTTP/1.1, and clients settle on that")
    given = section.section("headers")
    given.known(*_HEADERS)
    headers = {}
    for name, values in _HEADERS.items():
        if name not in given.tree:
            continue
        value = given.text(name).strip()
        if any(not (" " <= char <= "~") for char in value):
            given.problem(name, "", "printable ASCII on one line")
        elif value and values and value.lower() not in values:
            given.problem(name, value, f"one of {', '.join(values)}")
        else:
            headers[name] = value
    return headers


def _users(section: _Section, warnings: list[str]) -> dict[str, str]:
    users: dict[str, str] = {}
    if len(section.tree) > _MAX_USERS:
        section.problem("", "", f"at most {_MAX_USERS} users")
        return users
    for user, given in section.tree.items():
        if not isinstance(user, str) or not user or ":" in user:
            section.problem(
                excerpt(str(user), 60), "", "a user name: text without a colon; in quotes when it is a number"
            )
            continue
        match = _BCRYPT.fullmatch(given) if isinstance(given, str) else None
        if match is None:
            section.problem(excerpt(user, 60), "(hidden)", "a bcrypt hash such as `htpasswd -nBC 10 USER` prints")
            continue
        cost = int(match[1])
        if cost not in _COSTS:
            section.problem(excerpt(user, 60), f"cost {cost}", "a bcrypt cost from 4 to 18: each step doubles the time")
            continue
        if cost > _SLOW_COST:
            warnings.append(f"the bcrypt cost {cost} of user {excerpt(user, 60)} makes a first scrape take seconds")
        users[user] = str(given)
    return users


def _rate_limit(section: _Section) -> RateLimit | None:
    section.known("interval", "burst")
    interval = _interval(section)
    burst = section.tree.get("burst")
    if burst is not None and (not isinstance(burst, int) or isinstance(burst, bool) or not 0 <= burst <= 1_000_000):
        section.problem("burst", burst, "a whole number from 1 to 1000000")
        return None
    if not interval:
        return None
    if not burst:
        section.problem("burst", "" if burst is None else burst, "1 or more: with none every request is refused")
        return None
    return RateLimit(interval, burst)


def _interval(section: _Section) -> float:
    """Seconds; 0: no limit, or not to be understood."""
    value = section.tree.get("interval")
    if value is None or (value == 0 and not isinstance(value, bool)):
        return 0.0
    text = value.strip() if isinstance(value, str) else ""
    if text == "0":
        return 0.0
    seconds = -1.0
    if _DURATION.fullmatch(text):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if not 0 <= seconds <= _LONGEST_INTERVAL:
        section.problem(
            "interval", value, "a duration with its unit such as 100ms, 1s or 1m30s, up to 24h; 0 for no limit"
        )
        return 0.0
    return seconds
