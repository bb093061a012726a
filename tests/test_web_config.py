"""The web configuration file: what is taken, what is refused and how it is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Web
from exporter.errors import ConfigError, Problem
from exporter.metrics import declared
from exporter.web.configuration import RateLimit, WebConfig, load, parse
from tests.website import write

#: Of "hunter2".
HASH = "$2y$04$KdNdRPfbFO3oYsYvVSVQ8u1Q7Z0mJkLIoKxdAG6eV3kHqAW2V1nUm"
FOLDER = Path("/etc/web")


def parsed(text: str, files: dict[str, bytes] | None = None) -> WebConfig:
    def read(path: Path) -> bytes:
        try:
            return ({"c.pem": b"certificate", "k.pem": b"key", "ca.pem": b"authority"} | (files or {}))[path.name]
        except KeyError:
            raise ValueError("a readable file (No such file or directory)") from None

    return parse(text, name="web.yaml", folder=FOLDER, read=read)


def problems(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return list(caught.value.problems)


def refused(text: str) -> tuple[Problem, ...]:
    """The problems, none when it is taken."""
    try:
        parsed(text)
    except ConfigError as error:
        return error.problems
    return ()


def tls(extra: str = "") -> str:
    return "tls_server_config: {cert_file: c.pem, key_file: k.pem" + (f", {extra}" if extra else "") + "}"


# -- what is taken ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{}", "# nothing", "tls_server_config:", "tls_server_config: {}", "rate_limit:"])
def test_an_empty_file_asks_for_nothing(text: str) -> None:
    """Plain HTTP for everybody."""
    assert parsed(text) == WebConfig()


def test_the_toolkit_s_own_sample_is_taken() -> None:
    """Every section at once, with its defaults filled in."""
    config = parsed(
        f"""
        tls_server_config:
          cert_file: c.pem
          key_file: k.pem
          client_auth_type: RequireAndVerifyClientCert
          client_ca_file: ca.pem
          client_allowed_sans: [prometheus.example, "::1"]
          min_version: TLS12
          max_version: TLS13
          cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
          prefer_server_cipher_suites: false
          curve_preferences: [CurveP256]
        http_server_config:
          http2: false
          headers:
            Content-Security-Policy: "default-src 'self'"
            X-Frame-Options: deny
            X-Content-Type-Options: nosniff
            X-XSS-Protection: "1; mode=block"
            Strict-Transport-Security: max-age=31536000
        basic_auth_users:
          alice: {HASH}
        rate_limit:
          interval: 1m30s
          burst: 20
        """
    )
    assert config.tls is not None
    assert (config.tls.certificate.text, config.tls.key.text) == (b"certificate", b"key")
    assert config.tls.client_allowed_sans == {"prometheus.example", "::1"}
    assert config.tls.ciphers == ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256")
    assert (config.tls.prefer_server_ciphers, config.tls.curve) == (False, "prime256v1")
    assert len(config.headers) == 5
    assert config.users == {"alice": HASH}
    assert config.rate_limit == RateLimit(90.0, 20)
    assert config.warnings == ()


def test_relative_paths_start_at_the_file() -> None:
    """As in exporter-toolkit; absolute ones stay."""
    config = parsed("tls_server_config: {cert_file: sub/c.pem, key_file: /keys/k.pem}")
    assert config.tls is not None
    assert (config.tls.certificate.path, config.tls.key.path) == (FOLDER / "sub/c.pem", Path("/keys/k.pem"))


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [("1s", 1.0), ("100ms", 0.1), ("1m30s", 90.0), ("1.5h", 5400.0), ("250µs", 0.00025), ('"10s"', 10.0)],
)
def test_intervals_are_go_s_durations(interval: str, seconds: float) -> None:
    """time.ParseDuration's form, since that is what the toolkit reads."""
    limit = parsed(f"rate_limit: {{interval: {interval}, burst: 1}}").rate_limit
    assert limit is not None
    assert limit.interval == pytest.approx(seconds)


@pytest.mark.parametrize("interval", ["0", '"0"', "0s"])
def test_an_interval_of_zero_is_no_limit(interval: str) -> None:
    """As in exporter-toolkit."""
    assert parsed(f"rate_limit: {{interval: {interval}, burst: 1}}").rate_limit is None


def test_only_suites_of_tls_1_3_mean_no_tls_1_2() -> None:
    """Nothing is left for TLS 1.2, as in Go."""
    config = parsed(tls("cipher_suites: [TLS_AES_128_GCM_SHA256]"))
    assert config.tls is not None
    assert config.tls.min_version == "TLS13"
    assert "TLS 1.3 offers all three" in config.warnings[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("http_server_config: {http2: true}", "HTTP/1.1"),
        (f"basic_auth_users: {{a: {HASH.replace('$04$', '$15$')}}}", "cost 15"),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(text: str, says: str) -> None:
    """It is taken, and said."""
    [warning] = parsed(text).warnings
    assert says in warning


# -- what is refused ----------------------------------------------------------------------------------------------

REFUSED = [
    ("tls_server_conf: {}", "tls_server_conf", "did you mean tls_server_config?"),
    (tls("cert_flie: x"), "tls_server_config.cert_flie", "no such key"),
    ("http_server_config: {headers: {Server: x}}", "http_server_config.headers.Server", "no such key"),
    ("http_server_config: {headers: {x-frame-options: deny}}", "x-frame-options", "did you mean X-Frame-Options?"),
    ("http_server_config: {headers: {X-Frame-Options: allow}}", "X-Frame-Options", "one of deny, sameorigin"),
    ('http_server_config: {headers: {X-XSS-Protection: "1\\r\\nSet-Cookie: a"}}', "X-XSS-Protection", "on one line"),
    ("http_server_config: {http2: 1}", "http2", "true or false"),
    ("[]", "web.yaml", "keys and values, not a list"),
    ("tls_server_config: yes", "tls_server_config", "keys and values, not a bool"),
    ("tls_server_config: {key_file: k.pem, min_version: TLS12}", "cert_file", "would serve plain HTTP"),
    ("tls_server_config: {cert_file: c.pem}", "key_file", "required"),
    ("tls_server_config: {cert_file: none.pem, key_file: k.pem}", "cert_file = /etc/web/none.pem", "a readable file"),
    (tls("cert: x"), "cert_file", "not together with cert"),
    (tls("min_version: TLS10"), "min_version = TLS10", "RFC 8996"),
    (tls("max_version: TLS11"), "max_version = TLS11", "RFC 8996"),
    (tls("min_version: SSL3"), "min_version = SSL3", "TLS12 or TLS13"),
    (tls("min_version: TLS13, max_version: TLS12"), "max_version", "not below min_version"),
    (tls("client_auth_type: RequestClientCert"), "client_auth_type", "nobody verifies"),
    (tls("client_auth_type: RequireAnyClientCert"), "client_auth_type", "nobody verifies"),
    (tls("client_auth_type: RequireClientCert"), "client_auth_type", "nobody verifies"),
    (tls("client_auth_type: Always"), "client_auth_type = Always", "one of NoClientCert"),
    (tls("client_auth_type: RequireAndVerifyClientCert"), "client_ca_file", "every public authority"),
    (tls("client_ca_file: ca.pem"), "client_auth_type", "RequireAndVerifyClientCert"),
    (tls("client_allowed_sans: [a]"), "client_allowed_sans", "only with client_auth_type"),
    (
        tls("client_allowed_sans: [a], client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem"),
        "client_allowed_sans",
        "without a certificate",
    ),
    (
        tls("client_allowed_sans: [], client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"),
        "client_allowed_sans",
        "at least one",
    ),
    (tls("cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]"), "cipher_suites = TLS_RSA_WITH_RC4_128_SHA", "not safe"),
    (tls("cipher_suites: TLS_AES_128_GCM_SHA256"), "cipher_suites", "a list of texts"),
    (tls("cipher_suites: [TLS_AES_128_GCM_SHA256], max_version: TLS12"), "cipher_suites", "max_version is TLS12"),
    (tls("curve_preferences: [CurveP257]"), "curve_preferences = CurveP257", "one of CurveP256"),
    (tls("curve_preferences: [X25519, CurveP256]"), "curve_preferences", "one curve"),
    ("basic_auth_users: {a: hunter2}", "basic_auth_users.a = (hidden)", "a bcrypt hash"),
    ("basic_auth_users: {a: 5}", "basic_auth_users.a = (hidden)", "a bcrypt hash"),
    (f"basic_auth_users: {{7: {HASH}}}", "basic_auth_users.7", "in quotes"),
    (f"basic_auth_users: {{'a:b': {HASH}}}", "basic_auth_users.a:b", "without a colon"),
    (f"basic_auth_users: {{a: {HASH.replace('$04$', '$31$')}}}", "basic_auth_users.a = cost 31", "from 4 to 18"),
    ("rate_limit: {interval: 1s}", "rate_limit.burst", "1 or more"),
    ("rate_limit: {interval: 1s, burst: 0}", "rate_limit.burst = 0", "1 or more"),
    ("rate_limit: {interval: 1s, burst: -1}", "rate_limit.burst = -1", "a whole number"),
    ("rate_limit: {interval: 5, burst: 1}", "rate_limit.interval = 5", "with its unit"),
    ("rate_limit: {interval: 1 week, burst: 1}", "rate_limit.interval = 1 week", "with its unit"),
    ("rate_limit: {interval: true, burst: 1}", "rate_limit.interval", "with its unit"),
]


@pytest.mark.parametrize(("text", "names", "says"), REFUSED, ids=[row[1] + ": " + row[2] for row in REFUSED])
def test_a_mistake_is_one_problem_that_names_key_value_and_what_is_allowed(text: str, names: str, says: str) -> None:
    """One line a person can act on."""
    [problem] = problems(text)
    assert names in str(problem)
    assert says in problem.allowed
    assert problem.key.startswith("web.yaml")


def test_all_mistakes_are_told_at_once() -> None:
    """In every section, in one go."""
    text = """
    tls_server_config: {cert_file: c.pem, min_version: TLS10, oops: 1}
    http_server_config: {headers: {X-Frame-Options: no}}
    basic_auth_users: {a: b, c: d}
    rate_limit: {interval: x}
    more: {}
    """
    assert len(problems(text)) == 8


@pytest.mark.parametrize(
    "text",
    [
        "basic_auth_users: {a: hunter2: hunter2}",
        "basic_auth_users:\n  a: 'hunter2",
        "basic_auth_users:\n\ta: hunter2",
        "tls_server_config: {cert: x, key: [hunter2]}",
        "tls_server_config: {cert: x, key: {a: hunter2}}",
        "basic_auth_users: hunter2",
        "basic_auth_users: [hunter2]",
        "[[[[hunter2",
        "? [a, hunter2]\n: b",
    ],
)
def test_no_message_shows_a_secret(text: str) -> None:
    """Not even when the file cannot be read as YAML."""
    assert "hunter2" not in "\n".join(map(str, problems(text)))


def test_a_key_given_twice_is_refused() -> None:
    """YAML would take the last one in silence."""
    [problem] = problems(f"basic_auth_users:\n  a: {HASH}\n  a: {HASH}\n")
    assert "there twice" in problem.allowed
    assert problem.value == "web.yaml:3:3"


@pytest.mark.parametrize("text", ["[" * 3_000, "a: " * 2_000, "{" * 5_000 + "}" * 5_000])
def test_deep_nesting_is_a_problem_not_a_crash(text: str) -> None:
    """Whatever the parser thinks of it."""
    assert problems(text)


def test_neither_the_key_nor_hashes_are_in_the_representation() -> None:
    """What is logged by accident holds no secret."""
    config = parsed(f"{tls()}\nbasic_auth_users: {{a: {HASH}}}")
    shown = repr(config)
    assert HASH not in shown
    assert "b'key'" not in shown


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["tls_server_config", "cert_file", "headers", "http_server_config", "rate_limit", "interval", "a"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_tree_is_taken_or_refused_in_words(tree: object) -> None:
    """No other outcome, and every refusal names something and says what is allowed."""
    assert all(problem.key and problem.allowed for problem in refused(yaml.safe_dump(tree)))


@given(st.text(max_size=60))
def test_any_text_is_taken_or_refused_in_words(text: str) -> None:
    """No other outcome."""
    assert all(problem.key and problem.allowed for problem in refused(text))


# -- the file itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "a readable file"), (b"\xff\xfe", "UTF-8"), (b"#" * (2**20 + 1), "at most 1 MiB")],
)
def test_a_file_that_cannot_be_had_names_the_setting(tmp_path: Path, content: bytes | None, says: str) -> None:
    """And the path, and why."""
    path = tmp_path / "web.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    [problem] = caught.value.problems
    assert (problem.key, problem.value) == ("web.config_file", str(path))
    assert says in problem.allowed


def test_a_certificate_file_is_bounded(tmp_path: Path) -> None:
    """A wrong path to something large costs a megabyte, not the memory."""
    (tmp_path / "c.pem").write_bytes(b"x" * (2**20 + 1))
    (tmp_path / "k.pem").write_bytes(b"x")
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, tls_server_config={"cert_file": "c.pem", "key_file": "k.pem"}))
    assert "at most 1 MiB" in str(caught.value)


def test_the_example_has_every_key() -> None:
    """examples/web/web-config.yaml names all there is, and is taken as it stands."""
    path = Path(__file__).parent.parent / "examples" / "web" / "web-config.yaml"
    text = path.read_text()
    keys = (
        "tls_server_config cert_file key_file client_ca_file client_auth_type client_allowed_sans min_version "
        "max_version cipher_suites prefer_server_cipher_suites curve_preferences http_server_config http2 headers "
        "Content-Security-Policy X-Frame-Options X-Content-Type-Options X-XSS-Protection Strict-Transport-Security "
        "basic_auth_users rate_limit interval burst"
    ).split()
    assert [key for key in keys if f"{key}:" not in text] == []
    config = parse(text, name="example", folder=path.parent, read=lambda _: b"")
    assert config.users
    assert config.tls is not None


# -- docs/web.md --------------------------------------------------------------------------------------------------

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "web.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_of_the_page_are_taken(block: str) -> None:
    """As they stand, without a warning."""
    assert parse(block, name="page", folder=FOLDER, read=lambda _: b"").warnings == ()


def test_the_links_of_the_page_lead_somewhere() -> None:
    """To files of the repository, those that are no addresses."""
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (DOCS / target).resolve().exists(), target


def test_the_page_names_metrics_that_exist() -> None:
    """A metric that is renamed is renamed here."""
    assert set(re.findall(r"cloudtrail_[a-z_]+", PAGE)) <= {declaration.name for declaration in declared()}


@pytest.mark.parametrize(
    "setting", ["listen_address", "config_file", "telemetry_path", "idle_seconds", "max_connections"]
)
def test_the_page_tells_of_every_setting_of_the_web(setting: str) -> None:
    """As a key or as a flag."""
    assert setting in Web.model_fields
    assert f"web.{setting}" in PAGE or f"web.{setting.replace('_', '-')}" in PAGE
