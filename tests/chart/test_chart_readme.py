"""What README.md of the chart shows is true."""

from __future__ import annotations

import re

import yaml

from tools.chart.values import CHART

README = (CHART / "README.md").read_text()


def test_the_example_renders(render) -> None:
    """The values it begins with are taken, and give what they promise."""
    (example,) = re.findall(r"```yaml\n# values.yaml\n(.*?)```", README, re.DOTALL)
    kinds = set(render(yaml.safe_load(example)).kinds())
    assert {"StatefulSet", "ServiceMonitor", "PrometheusRule", "ConfigMap"} <= kinds


def test_the_refusal_is_what_helm_says(refused) -> None:
    """The lines of the message are quoted as they are."""
    shown = [line for line in README.splitlines() if line.startswith("- at '")]
    said = refused({"source": {"s3": {"enabled": True, "bukcet": "trail"}}})
    assert shown
    assert [line for line in shown if line not in said] == []


def test_what_it_names_exists() -> None:
    """Each value in backticks is one of values.yaml, but for the table of those that are not there."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    named = set(re.findall(r"`([a-z][A-Za-z]+(?:\.[A-Za-z_0-9]+)+)`", README.split("## What is not there")[0]))
    elsewhere = {"values.yaml", "values.schema.json", "tls.crt", "tls.key", "ca.crt", "config.sink.headers"}

    def there(path: str) -> bool:
        node = values
        for key in path.split("."):
            if not isinstance(node, dict) or key not in node:
                return False
            node = node[key]
        return True

    assert len(named) > 10
    assert {name for name in named - elsewhere if not there(name)} == set()
