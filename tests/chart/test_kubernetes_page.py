"""docs/kubernetes.md: its values render, its YAML is that of the files, its policies and numbers are true."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from exporter import configfile
from exporter.sources.lookup_api import IAM_POLICY
from tests.chart.rendering import Rendered
from tests.e2e.processes import Exporter, all_ended, eventually
from tools.chart import check, schemas
from tools.chart.values import CHART, ROOT

PAGE = ROOT / "docs" / "kubernetes.md"
TEXT = PAGE.read_text()
RELEASE, NAMESPACE = "cloudtrail-exporter", "observability"

#: File name in the first line -> values.
VALUES = {
    found[1]: yaml.safe_load(found[0])
    for found in re.findall(r"```yaml\n(# (\S+-values\.yaml)\n.*?)```", TEXT, re.DOTALL)
}
EXCERPTS = re.findall(r"<!-- from (\S+) -->\n```yaml\n(.*?)```", TEXT, re.DOTALL)
CONSOLE = "".join(re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL))
#: What is typed, continued lines joined.
COMMANDS = [line.removeprefix("$ ") for line in CONSOLE.replace("\\\n", " ").splitlines() if line.startswith("$ ")]
POLICIES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]

HelmText = Callable[..., str]


@pytest.fixture
def helm_template(need_tool: Callable[[str], Path], tmp_path: Path) -> HelmText:
    """`helm template` with the page's release, namespace and the values files of these names."""

    def template(*names: str, version: str = schemas.VERSIONS[0]) -> str:
        arguments: list[str | Path] = []
        for name in names:
            (tmp_path / name).write_text(yaml.safe_dump(VALUES[name]))
            arguments += ["--values", tmp_path / name]
        command = [need_tool("helm"), "template", RELEASE, CHART, "--namespace", NAMESPACE, *arguments]
        done = subprocess.run(
            [str(part) for part in [*command, "--kube-version", version]], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return template


#: Every installation of the page: values files as its commands name them.
INSTALLATIONS = sorted(
    {
        tuple(re.findall(r"--values (\S+)", command))
        for command in COMMANDS
        if re.match(r"helm (install|upgrade) cloudtrail-exporter ", command)
    }
)


def test_the_commands_use_every_values_file_of_the_page() -> None:
    assert {name for names in INSTALLATIONS for name in names} == set(VALUES)


@pytest.mark.parametrize("names", INSTALLATIONS, ids=" ".join)
def test_an_installation_renders_and_fits_the_schemas(
    names: tuple[str, ...], helm_template: HelmText, need_tool: Callable[[str], Path]
) -> None:
    kubeconform = need_tool("kubeconform")
    schemas.prepare()
    wrong = {
        version: check.validate(kubeconform, helm_template(*names, version=version), version)
        for version in schemas.VERSIONS
    }
    assert not any(wrong.values()), wrong


@pytest.mark.parametrize("names", INSTALLATIONS, ids=" ".join)
def test_the_configuration_of_an_installation_is_valid(
    names: tuple[str, ...], helm_template: HelmText, tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(Rendered(helm_template(*names)).config_text())
    configfile.load(path, {})


def test_what_the_commands_name_is_there(helm_template: HelmText) -> None:
    rendered = {names: Rendered(helm_template(*names)) for names in INSTALLATIONS}
    here = {
        f"{found['kind'].lower()}/{found['metadata']['name']}" for each in rendered.values() for found in each.objects
    }
    named = {name for command in COMMANDS for name in re.findall(r"(?:deployment|statefulset)/[\w-]+", command)}
    assert named
    assert named <= here


def test_the_claims_of_the_page_are_those_of_the_chart(helm_template: HelmText) -> None:
    stateful = Rendered(helm_template("aws-values.yaml")).one("StatefulSet")
    (template,) = stateful["spec"]["volumeClaimTemplates"]
    assert f"`{template['metadata']['name']}-{stateful['metadata']['name']}-0`" in TEXT
    assert f"`{RELEASE}-state`" in TEXT


# -- excerpts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "block"), EXCERPTS, ids=[name for name, _ in EXCERPTS])
def test_an_excerpt_is_what_the_file_says(name: str, block: str) -> None:
    source = (ROOT / name).read_text()
    indents = {len(line) - len(line.lstrip()) for line in source.splitlines() if line.strip()}
    assert any(textwrap.indent(block, " " * indent) in source for indent in indents)


def test_each_way_of_the_sidecar_is_shown() -> None:
    ways = {Path(name).relative_to("deploy/sidecar").parts[0] for name, _ in EXCERPTS}
    assert ways == {path.name for path in (ROOT / "deploy/sidecar").iterdir() if path.is_dir()}


# -- AWS --------------------------------------------------------------------------------------------------------------


def test_the_policy_is_the_one_that_check_prints() -> None:
    assert POLICIES[0] == (json.loads(IAM_POLICY) if isinstance(IAM_POLICY, str) else IAM_POLICY)


def test_the_trust_policies_are_for_the_service_account_of_the_chart(helm_template: HelmText) -> None:
    account = Rendered(helm_template("aws-values.yaml")).one("ServiceAccount")
    subject = f"system:serviceaccount:{NAMESPACE}:{account['metadata']['name']}"
    _, pod_identity, irsa = POLICIES
    (statement,) = pod_identity["Statement"]
    assert statement["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    (statement,) = irsa["Statement"]
    provider = statement["Principal"]["Federated"].partition("oidc-provider/")[2]
    assert statement["Condition"]["StringEquals"] == {
        f"{provider}:aud": "sts.amazonaws.com",
        f"{provider}:sub": subject,
    }
    (association,) = [shlex.split(command) for command in COMMANDS if "create-pod-identity-association" in command]
    assert association[association.index("--service-account") + 1] == account["metadata"]["name"]
    assert association[association.index("--namespace") + 1] == NAMESPACE


# -- samples, and the backup, with the real program -------------------------------------------------------------------


def mounted(folder: Path) -> Path:
    """The samples as kubelet mounts a ConfigMap: links into a folder that is exchanged as a whole."""
    data = folder / "..2026_11_23"
    data.mkdir(parents=True)
    for path in (ROOT / "samples/AWSLogs").rglob("*.json.gz"):
        (data / path.name).write_bytes(path.read_bytes())
        (folder / path.name).symlink_to(Path("..data", path.name))
    (folder / "..data").symlink_to(data.name)
    return folder


def published(exporter: Exporter) -> int:
    """Lines of events that it has printed since it was started last."""
    return len(re.findall(r"^\d{4}-\S+Z +lookoutmetrics ", exporter.said(), re.MULTILINE))


def test_the_samples_come_out_as_the_page_says_and_a_backup_goes_on_from_there(
    helm_template: HelmText, tmp_path: Path
) -> None:
    exporter = Exporter({}, folder=tmp_path)
    (tmp_path / "exporter.yaml").write_text(Rendered(helm_template("samples-values.yaml")).config_text())
    state = tmp_path / "state"
    exporter.env |= {
        "CLOUDTRAIL_EXPORTER_SOURCES__0__PATH": str(mounted(tmp_path / "samples")),
        "CLOUDTRAIL_EXPORTER_STATE__PATH": str(state / "state.db"),
        "CLOUDTRAIL_EXPORTER_WEB__LISTEN_ADDRESS": "127.0.0.1:0",
    }
    state.mkdir()
    logged, counted = map(int, re.findall(r"The log holds (\d+) events\..*? shows them as (\d+)", TEXT, re.DOTALL)[0])
    (backup,) = [shlex.split(command) for command in COMMANDS if "VACUUM INTO" in command]
    with all_ended(exporter):
        exporter.serve()
        eventually("all counters", lambda: exporter.value("cloudtrail_events_total") == counted)
        assert published(exporter) == logged
        argv = [exporter.argv[0], "check", *exporter.argv[2:]]
        checked = subprocess.run(argv, env=exporter.env, capture_output=True, text=True, timeout=60)
        assert checked.returncode == 0, checked.stdout
        assert "held by pid" in checked.stdout
        code = backup[backup.index("-c") + 1].replace("/var/lib/cloudtrail-exporter", str(state))
        subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
        assert exporter.terminate() == 0

        exporter.env["CLOUDTRAIL_EXPORTER_STATE__PATH"] = str(state / "backup.db")
        exporter.serve()
        eventually("a first look at the samples", exporter.ready)
        assert exporter.value("cloudtrail_events_total") == counted
        assert published(exporter) == 0
