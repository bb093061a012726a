"""The examples of deploy/sidecar render, fit Kubernetes, are restricted, and hold a configuration that is valid."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import exporter
from exporter import config, configfile
from tools.chart import check, schemas

ROOT = Path(__file__).resolve().parents[2]
SIDECAR = ROOT / "deploy" / "sidecar"
README = SIDECAR / "README.md"
NAME = "cloudtrail-exporter"
#: Where the configuration and the state are, in each mode and in each way.
CONFIG_FILE, STATE_FOLDER = "/etc/cloudtrail-exporter/config.yaml", "/var/lib/cloudtrail-exporter"

WAYS = ("plain", "plain on a claim", "kustomize", "kustomize on a claim", "helm", "with a collector")
ON_A_CLAIM = {"plain on a claim", "kustomize on a claim", "helm"}
FILES = {
    "plain": "plain/deployment.yaml",
    "plain on a claim": "plain/statefulset.yaml",
    "with a collector": "with-collector/deployment.yaml",
}
OVERLAYS = {"kustomize": "example", "kustomize on a claim": "example-claim"}

Object = dict[str, Any]


def tool(name: str) -> Path:
    """Where a tool is; without it the test is skipped, and fails where CI is set."""
    path = check.tool(name)
    if path is None:
        message = f"{name} is not in .tools/bin: run `make tools`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def run(*argv: str | Path, **environment: str) -> str:
    """A command that has to work; its standard output."""
    done = subprocess.run(
        [str(part) for part in argv], capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@functools.cache
def text_of(way: str) -> str:
    """The manifests of a way, as they go to a cluster."""
    if way in FILES:
        return (SIDECAR / FILES[way]).read_text()
    if way in OVERLAYS:
        return run(tool("kustomize"), "build", SIDECAR / "kustomize" / OVERLAYS[way])
    return parent_chart()


def parent_chart(*arguments: str) -> str:
    """The parent chart, its dependency built in a folder of its own, so that the tree stays as it is."""
    helm = tool("helm")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "deploy" / "helm", Path(folder, "helm"))
        shutil.copytree(SIDECAR / "helm-parent", Path(folder, "sidecar", "parent"))
        chart = Path(folder, "sidecar", "parent")
        run(helm, "dependency", "build", chart, "--skip-refresh")
        run(helm, "lint", "--strict", chart, "--kube-version", schemas.VERSIONS[0])
        return run(helm, "template", "shop", chart, "--kube-version", schemas.VERSIONS[0], *arguments)


def objects(way: str) -> list[Object]:
    return [found for found in yaml.safe_load_all(text_of(way)) if found]


def of_kind(way: str, kind: str) -> Object:
    """The one object of this kind."""
    (found,) = [each for each in objects(way) if each["kind"] == kind]
    return dict(found)


def workload(way: str) -> Object:
    return of_kind(way, "StatefulSet" if way == "plain on a claim" else "Deployment")


def pod(way: str) -> Object:
    return dict(workload(way)["spec"]["template"]["spec"])


def sidecar(way: str) -> Object:
    (found,) = [each for each in pod(way)["initContainers"] if each["name"] == NAME]
    return dict(found)


def volume(way: str, path: str) -> Object:
    """What is mounted at this path of the sidecar; a claim template as a claim of the volume's name."""
    (name,) = [mount["name"] for mount in sidecar(way)["volumeMounts"] if mount["mountPath"] == path]
    found = [each for each in pod(way)["volumes"] if each["name"] == name]
    templates = [each["metadata"]["name"] for each in workload(way)["spec"].get("volumeClaimTemplates", [])]
    if name in templates:
        assert not found
        return {"persistentVolumeClaim": {"claimName": name}}
    return dict(found[0])


def configuration(way: str) -> str:
    """The exporter's configuration, by the way the container gets it: path, volume, ConfigMap, key."""
    environment = {each["name"]: each.get("value") for each in sidecar(way)["env"]}
    assert environment["CLOUDTRAIL_EXPORTER_CONFIG"] == CONFIG_FILE
    mounted = volume(way, str(Path(CONFIG_FILE).parent))
    source = mounted["configMap"] if "configMap" in mounted else mounted["projected"]["sources"][0]["configMap"]
    keys = {item["path"]: item["key"] for item in source.get("items", [])}
    (found,) = [
        each
        for each in objects(way)
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == source.get("name", "")
    ]
    return str(found["data"][keys.get("config.yaml", "config.yaml")])


def settings(way: str, folder: Path) -> config.Settings:
    path = folder / "config.yaml"
    path.write_text(configuration(way))
    return configfile.load(path, {})


# -- they fit Kubernetes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_every_example_fits_the_schemas(version: str) -> None:
    kubeconform = tool("kubeconform")
    try:
        schemas.prepare()
    except schemas.Unavailable as reason:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(reason))
    wrong = {way: check.validate(kubeconform, text_of(way), version) for way in WAYS}
    assert not any(wrong.values()), wrong


def test_every_version_tried_has_native_sidecars() -> None:
    assert all(tuple(map(int, version.split(".")[:2])) >= (1, 29) for version in schemas.VERSIONS)


def restricted_problems(pod: Object) -> Iterator[str]:
    """Where a pod breaks the restricted profile (kubernetes.io, "Pod Security Standards"), rule by rule."""
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield key
    for each in pod.get("volumes", []):
        if not set(each) - {"name"} <= allowed:
            yield f"volume {each['name']}"
    shared = pod.get("securityContext", {})
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        name, own = container["name"], container.get("securityContext", {})
        merged = {**shared, **own}
        if own.get("privileged"):
            yield f"{name}: privileged"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: allowPrivilegeEscalation"
        if merged.get("runAsNonRoot") is not True or merged.get("runAsUser") == 0:
            yield f"{name}: runAsNonRoot"
        if merged.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name}: seccompProfile"
        capabilities = own.get("capabilities", {})
        if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"{name}: capabilities"
        if own.get("procMount", "Default") != "Default":
            yield f"{name}: procMount"
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield f"{name}: hostPort"


@pytest.mark.parametrize("way", WAYS)
def test_the_whole_pod_meets_the_restricted_standard(way: str) -> None:
    assert list(restricted_problems(pod(way))) == []


def test_a_pod_that_breaks_the_restricted_standard_is_found() -> None:
    broken = {"hostNetwork": True, "volumes": [{"name": "x", "hostPath": {}}], "containers": [{"name": "a"}]}
    rules = ["allowPrivilegeEscalation", "runAsNonRoot", "seccompProfile", "capabilities"]
    assert list(restricted_problems(broken)) == ["hostNetwork", "volume x", *(f"a: {rule}" for rule in rules)]


# -- the sidecar ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_the_sidecar_is_a_native_one(way: str) -> None:
    assert sidecar(way)["restartPolicy"] == "Always"
    assert NAME not in [each["name"] for each in pod(way)["containers"]]


@pytest.mark.parametrize("way", WAYS)
def test_the_sidecar_has_a_liveness_probe_and_no_other(way: str) -> None:
    probes = {key: value for key, value in sidecar(way).items() if key.endswith("Probe")}
    assert list(probes) == ["livenessProbe"]
    assert probes["livenessProbe"]["httpGet"] == {"path": "/-/healthy", "port": "metrics"}


@pytest.mark.parametrize("way", WAYS)
def test_the_sidecar_is_the_same_in_every_way(way: str) -> None:
    ours, plain = sidecar(way), sidecar("plain")
    ours_env, plain_env = ({each["name"]: each["value"] for each in found.pop("env")} for found in (ours, plain))
    assert ours == plain
    assert ours_env.items() >= plain_env.items()


@pytest.mark.parametrize("way", WAYS)
def test_the_sidecar_runs_the_image_of_this_version(way: str) -> None:
    assert sidecar(way)["image"] == f"{NAME}:{exporter.__version__}"


@pytest.mark.parametrize("way", WAYS)
def test_there_is_one_replica_and_so_one_poller(way: str) -> None:
    assert workload(way)["spec"]["replicas"] == 1


# -- configuration and state ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_the_configuration_is_valid_and_its_state_lies_on_the_volume(way: str, tmp_path: Path) -> None:
    state = settings(way, tmp_path).state
    assert isinstance(state, config.SqliteState)
    assert str(state.path) == f"{STATE_FOLDER}/state.db"


@pytest.mark.parametrize("way", WAYS)
def test_the_state_lies_on_a_claim_or_on_an_empty_dir(way: str) -> None:
    kind = "persistentVolumeClaim" if way in ON_A_CLAIM else "emptyDir"
    assert set(volume(way, STATE_FOLDER)) - {"name"} == {kind}


@pytest.mark.parametrize("way", sorted(ON_A_CLAIM))
def test_a_claim_is_writable_for_the_sidecar_and_used_by_one_pod_at_a_time(way: str) -> None:
    assert pod(way)["securityContext"]["fsGroup"] == 65532
    if way != "plain on a claim":
        assert workload(way)["spec"]["strategy"] == {"type": "Recreate"}
        claim = of_kind(way, "PersistentVolumeClaim")
        assert volume(way, STATE_FOLDER)["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]


@pytest.mark.parametrize("way", WAYS)
def test_the_pod_monitor_finds_the_sidecar_and_names_the_job_of_the_rules(way: str) -> None:
    monitor = of_kind(way, "PodMonitor")["spec"]
    labels = workload(way)["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    containers = [*pod(way)["initContainers"], *pod(way)["containers"]]
    offering = [
        each["name"] for each in containers for port in each.get("ports", []) if port["name"] == endpoint["port"]
    ]
    assert offering == [NAME]
    assert {"targetLabel": "job", "replacement": NAME} in endpoint["relabelings"]


# -- Kustomize --------------------------------------------------------------------------------------------------------


def without_the_sidecar(found: Object) -> Object:
    """The Deployment with everything taken away that carries the sidecar's name."""
    template = found["spec"]["template"]
    del template["metadata"]["labels"][f"{NAME}/sidecar"]
    for key in ("initContainers", "volumes"):
        template["spec"][key] = [each for each in template["spec"][key] if not each["name"].startswith(NAME)]
    return found


def test_the_component_leaves_what_the_deployment_has_as_it_is() -> None:
    (before,) = [
        found
        for found in yaml.safe_load_all((SIDECAR / "kustomize/example/shop.yaml").read_text())
        if found["kind"] == "Deployment"
    ]
    assert without_the_sidecar(workload("kustomize")) == before


def test_the_sidecar_comes_before_the_init_containers_of_the_deployment() -> None:
    assert [each["name"] for each in pod("kustomize")["initContainers"]] == [NAME, "migrate"]


def overlay(folder: Path, *, label: str = "true", config: str = "services: [iam.amazonaws.com]\n") -> list[Object]:
    """The component over a Deployment with this value of the label."""
    shutil.copytree(SIDECAR / "kustomize", folder / "kustomize")
    example = folder / "kustomize" / "example"
    shop = (example / "shop.yaml").read_text()
    (example / "shop.yaml").write_text(shop.replace(f'{NAME}/sidecar: "true"', f'{NAME}/sidecar: "{label}"'))
    (example / "config.yaml").write_text(config)
    return [found for found in yaml.safe_load_all(run(tool("kustomize"), "build", example)) if found]


def config_map(found: list[Object]) -> str:
    (name,) = [each["metadata"]["name"] for each in found if each["kind"] == "ConfigMap"]
    return str(name)


def test_a_deployment_without_the_label_gets_no_sidecar(tmp_path: Path) -> None:
    (deployment,) = [each for each in overlay(tmp_path, label="false") if each["kind"] == "Deployment"]
    assert [each["name"] for each in deployment["spec"]["template"]["spec"]["initContainers"]] == ["migrate"]


def test_another_configuration_is_another_config_map_so_that_the_pod_rolls(tmp_path: Path) -> None:
    names = set()
    for folder, service in (("one", "iam"), ("two", "kms")):
        found = overlay(tmp_path / folder, config=f"services: [{service}.amazonaws.com]\n")
        (deployment,) = [each for each in found if each["kind"] == "Deployment"]
        mounted = [
            each["configMap"]["name"]
            for each in deployment["spec"]["template"]["spec"]["volumes"]
            if "configMap" in each
        ]
        assert mounted == [config_map(found)]
        names.add(config_map(found))
    assert len(names) == 2


# -- Helm -------------------------------------------------------------------------------------------------------------


def test_the_parent_chart_renders_no_workload_but_its_own() -> None:
    workloads = [each["metadata"]["name"] for each in objects("helm") if each["kind"] in ("Deployment", "StatefulSet")]
    assert workloads == ["shop"]


def test_another_configuration_changes_the_pod_of_the_parent_chart() -> None:
    def annotations(text: str) -> Any:
        (found,) = [each for each in yaml.safe_load_all(text) if each and each["kind"] == "Deployment"]
        return found["spec"]["template"]["metadata"]["annotations"]

    changed = parent_chart("--set", "cloudtrail-exporter.source.lookup.start=-2h")
    assert annotations(text_of("helm")) != annotations(changed)


def test_without_persistence_the_parent_chart_keeps_the_state_on_an_empty_dir() -> None:
    text = parent_chart("--set", "cloudtrail-exporter.persistence.enabled=false")
    found = [each for each in yaml.safe_load_all(text) if each]
    assert "PersistentVolumeClaim" not in {each["kind"] for each in found}
    (deployment,) = [each for each in found if each["kind"] == "Deployment"]
    volumes = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["volumes"]}
    assert "emptyDir" in volumes[f"{NAME}-state"]


# -- with a Collector -------------------------------------------------------------------------------------------------

COLLECTOR = "with a collector"


def test_the_collector_starts_before_the_exporter_and_so_stops_after_it() -> None:
    native = [each["name"] for each in pod(COLLECTOR)["initContainers"] if each.get("restartPolicy") == "Always"]
    assert native == ["collector", NAME]


def test_nothing_of_the_pod_waits_for_the_collector() -> None:
    (collector, _) = pod(COLLECTOR)["initContainers"]
    assert [key for key in collector if key.endswith("Probe")] == ["livenessProbe"]


def test_the_collector_is_of_the_release_that_the_tests_run() -> None:
    (collector, _) = pod(COLLECTOR)["initContainers"]
    pinned = re.search(r"^OTELCOL_VERSION=(.*)$", (ROOT / "tools/versions.env").read_text(), re.MULTILINE)
    assert pinned
    assert collector["image"].rpartition(":")[2] == pinned[1]


def collector_configurations() -> dict[str, Object]:
    """The one of the pod, and the one of the operator's resource in README.md."""
    (resource,) = [
        found
        for block in re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
        for found in yaml.safe_load_all(block)
        if found.get("kind") == "OpenTelemetryCollector"
    ]
    return {
        "pod": yaml.safe_load(of_kind(COLLECTOR, "ConfigMap")["data"]["collector.yaml"]),
        "operator": resource["spec"]["config"],
    }


@pytest.mark.parametrize("where", ["pod", "operator"])
def test_the_exporter_sends_where_the_collector_of_its_pod_listens(where: str, tmp_path: Path) -> None:
    listens = collector_configurations()[where]["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    sink = settings(COLLECTOR, tmp_path).sink
    assert isinstance(sink, config.OtlpSink)
    assert (listens, sink.endpoint) == ("127.0.0.1:4318", "http://localhost:4318")


@pytest.mark.parametrize("where", ["pod", "operator"])
def test_the_collector_answers_when_its_backend_has_answered(where: str) -> None:
    found = collector_configurations()[where]
    sender = found["exporters"]["otlp_http"]
    assert not sender["sending_queue"]["enabled"]
    assert not sender["retry_on_failure"]["enabled"]
    assert found["service"]["pipelines"] == {"logs": {"receivers": ["otlp"], "exporters": ["otlp_http"]}}


@pytest.mark.parametrize("where", ["pod", "operator"])
def test_a_real_collector_takes_the_configuration(where: str, tmp_path: Path) -> None:
    otelcol = tool("otelcol")
    components = yaml.safe_load(run(otelcol, "components"))
    if "otlp_http" not in {each["name"] for each in components["exporters"]}:
        tool("otelcol with otlp_http")
    path = tmp_path / "collector.yaml"
    path.write_text(json.dumps(collector_configurations()[where]))
    run(otelcol, "validate", f"--config={path}", BACKEND_ENDPOINT="http://backend:4318")


# -- README.md --------------------------------------------------------------------------------------------------------


def test_the_scrape_configuration_of_the_page_keeps_the_port_of_the_sidecar_alone(tmp_path: Path) -> None:
    (job,) = next(
        found["scrape_configs"]
        for block in re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
        for found in yaml.safe_load_all(block)
        if "scrape_configs" in found
    )
    # promtool has no cluster to ask: what Kubernetes would say of the pod's ports is given to it.
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    prefix = "__meta_kubernetes_"
    job["static_configs"] = [
        {
            "targets": [f"10.0.0.1:{port['containerPort']}"],
            "labels": {
                f"{prefix}namespace": "default",
                f"{prefix}pod_name": "shop-0",
                f"{prefix}pod_container_name": container["name"],
                f"{prefix}pod_container_port_name": port["name"],
            },
        }
        for container in [*pod(COLLECTOR)["initContainers"], *pod(COLLECTOR)["containers"]]
        for port in container["ports"]
    ]
    path = tmp_path / "prometheus.yaml"
    path.write_text(json.dumps({"scrape_configs": [job]}))
    targets = json.loads(run(tool("promtool"), "check", "service-discovery", "--timeout=1s", path, NAME))
    kept = [found["labels"] for found in targets if found["labels"]]
    assert [(each["instance"], each["job"], each["namespace"], each["pod"]) for each in kept] == [
        ("10.0.0.1:10042", NAME, "default", "shop-0")
    ]


@pytest.mark.parametrize("page", [README, ROOT / "docs/kubernetes.md"], ids=lambda page: page.stem)
def test_the_links_of_the_page_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)[#)]", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_page_names_every_folder() -> None:
    folders = sorted(path.name for path in SIDECAR.iterdir() if path.is_dir())
    text = README.read_text()
    assert [name for name in folders if f"({name}/" not in text] == []
