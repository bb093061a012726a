"""The chart as Helm renders it. Needs the tools of `make tools`; `make chart` runs these tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import Rendered
from tools.chart import schemas
from tools.chart.check import tool, validate
from tools.chart.values import CHART

Render = Callable[..., Rendered]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.chart)


@pytest.fixture(scope="session")
def need_tool() -> Callable[[str], Path]:
    """Where a tool is; without it the test is skipped loudly, and fails where CI is set."""

    def find(name: str) -> Path:
        path = tool(name)
        if path is None:
            message = f"{name} is not here: run `make tools`"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)
        return path

    return find


@pytest.fixture
def helm(need_tool: Callable[[str], Path], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`helm template RELEASE CHART` with values; whatever becomes of it."""

    def template(
        values: Mapping[str, Any] | Path, *, chart: Path = CHART, release: str = "r", version: str = "1.33.0"
    ) -> subprocess.CompletedProcess[str]:
        if not isinstance(values, Path):
            path = tmp_path / "values.yaml"
            path.write_text(yaml.safe_dump(dict(values)))
            values = path
        command = [need_tool("helm"), "template", release, chart, "--namespace", "audit", "--values", values]
        return subprocess.run(
            [str(part) for part in [*command, "--kube-version", version]], capture_output=True, text=True, timeout=60
        )

    return template


@pytest.fixture(scope="session")
def invalid(need_tool: Callable[[str], Path]) -> Callable[[str, str], list[str]]:
    """What kubeconform finds wrong with manifests, for a version of Kubernetes."""
    kubeconform = need_tool("kubeconform")
    try:
        schemas.prepare()
    except schemas.Unavailable as reason:
        if os.environ.get("CI"):
            pytest.fail(str(reason))
        pytest.skip(str(reason))
    return lambda manifests, version: validate(kubeconform, manifests, version)


@pytest.fixture
def render(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """What the chart renders to."""

    def produce(values: Mapping[str, Any] | Path | None = None, **options: Any) -> Rendered:
        done = helm(values or {}, **options)
        assert done.returncode == 0, done.stderr
        return Rendered(done.stdout)

    return produce


@pytest.fixture
def refused(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[[Mapping[str, Any]], str]:
    """The words with which values are refused."""

    def words(values: Mapping[str, Any]) -> str:
        done = helm(values)
        assert done.returncode != 0, "rendered, but should be refused"
        return done.stderr.strip()

    return words


@pytest.fixture
def parent(tmp_path: Path) -> Callable[..., Path]:
    """A chart of somebody else with ours as a dependency and one template of its own."""

    def write(template: str, *, alias: str = "") -> Path:
        folder = tmp_path / "shop"
        shutil.copytree(CHART, folder / "charts/cloudtrail-exporter")
        (folder / "templates").mkdir()
        dependency = {"name": "cloudtrail-exporter", "version": "0.1.0", **({"alias": alias} if alias else {})}
        chart = {"apiVersion": "v2", "name": "shop", "version": "1.0.0", "dependencies": [dependency]}
        (folder / "Chart.yaml").write_text(yaml.safe_dump(chart))
        (folder / "templates/pod.yaml").write_text(template)
        return folder

    return write
