"""What the chart hands to others is taken by them: the web configuration by the exporter, the rules by Prometheus."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from exporter.web import configuration
from tests.chart.rendering import CASES, case_name


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A folder with what a Secret of type kubernetes.io/tls brings."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "exporter")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "tls.crt").write_bytes(pem)
    (tmp_path / "ca.crt").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "tls.key").write_bytes(private)
    return tmp_path


MUTUAL = {
    "tls_server_config": {
        "cert_file": "tls.crt",
        "key_file": "tls.key",
        "client_ca_file": "ca.crt",
        "client_auth_type": "RequireAndVerifyClientCert",
    }
}


@pytest.mark.parametrize(
    "web",
    [
        {"tlsSecret": "t"},
        {"tlsSecret": "t", "config": MUTUAL},
        *(yaml.safe_load(path.read_text())["web"] for path in CASES if case_name(path) == "web-auth"),
    ],
    ids=["TLS", "mutual TLS", "passwords"],
)
def test_the_exporter_takes_the_web_configuration(web: Mapping[str, Any], certificate: Path, render) -> None:
    """As the Secret has it, with the certificate's files beside it."""
    path = certificate / "web-config.yaml"
    path.write_text(render({"web": web}).one("Secret")["stringData"]["web-config.yaml"])
    assert configuration.load(path).tls is not None


def test_prometheus_takes_the_rules(render, need_tool, tmp_path: Path) -> None:
    """With defaults, and with everything that can be added to them."""
    promtool = need_tool("promtool")
    defaults = {"additionalLabels": {"team": "a"}, "additionalAnnotations": {"b": "c"}}
    for number, rules in enumerate(({}, {"defaultRules": defaults})):
        rendered = render({"prometheusRule": {"enabled": True, "contentAlerts": {"enabled": True}, **rules}})
        for each in rendered.all("PrometheusRule"):
            path = tmp_path / f"{number}-{each['metadata']['name']}.yaml"
            path.write_text(yaml.safe_dump(each["spec"]))
            done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
