"""The named template, as a parent chart includes it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.chart.restricted import violations
from tools.chart import schemas

POD = """apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: shop}}
  template:
    metadata:
      labels: {app: shop}
      annotations:
        {{- include "cloudtrail-exporter.sidecar.annotations" CONTEXT | nindent 8 }}
    spec:
      initContainers:
        {{- include "cloudtrail-exporter.sidecar" CONTEXT | nindent 8 }}
      containers:
        - name: shop
          image: shop:1
          securityContext:
            allowPrivilegeEscalation: false
            runAsNonRoot: true
            capabilities: {drop: [ALL]}
            seccompProfile: {type: RuntimeDefault}
      volumes:
        {{- include "cloudtrail-exporter.sidecar.volumes" CONTEXT | nindent 8 }}
"""
NONE: dict[str, Any] = {"mode": "none"}


def template(context: str = ".") -> str:
    return POD.replace("CONTEXT", context)


def sidecar(rendered: Any) -> dict[str, Any]:
    (found,) = rendered.one("Deployment", "shop")["spec"]["template"]["spec"]["initContainers"]
    return found


def test_it_is_a_native_sidecar(parent, render) -> None:
    """An init container that is restarted for ever; liveness only, because its readiness would be the whole pod's."""
    container = sidecar(render({"cloudtrail-exporter": NONE}, chart=parent(template())))
    assert container["restartPolicy"] == "Always"
    assert container["livenessProbe"]["httpGet"] == {"path": "/-/healthy", "port": "metrics"}
    assert not {"readinessProbe", "startupProbe"} & set(container)
    assert container["ports"] == [{"name": "metrics", "containerPort": 10042, "protocol": "TCP"}]


def test_probes_can_be_asked_for(parent, render) -> None:
    """With a handler as everywhere else."""
    values = {**NONE, "sidecar": {"readinessProbe": {"periodSeconds": 9}, "startupProbe": {"failureThreshold": 3}}}
    container = sidecar(render({"cloudtrail-exporter": values}, chart=parent(template())))
    assert container["readinessProbe"] == {"periodSeconds": 9, "httpGet": {"path": "/-/ready", "port": "metrics"}}
    assert container["startupProbe"]["httpGet"]["path"] == "/-/healthy"


def test_values_come_from_the_parent(parent, render) -> None:
    """Configuration, image, environment: everything under the name of the dependency, and global."""
    values = {
        **NONE,
        "image": {"tag": "7"},
        "aws": {"region": "eu-west-1"},
        "source": {"s3": {"enabled": True, "bucket": "trail"}},
        "otlp": {"endpoint": "http://localhost:4318"},
    }
    rendered = render(
        {"cloudtrail-exporter": values, "global": {"imageRegistry": "g.example"}}, chart=parent(template())
    )
    container = sidecar(rendered)
    assert container["image"] == "g.example/cloudtrail-exporter:7"
    assert {"name": "AWS_REGION", "value": "eu-west-1"} in container["env"]
    assert rendered.config()["sources"][0]["bucket"] == "trail"
    assert rendered.kinds() == ["ConfigMap", "Deployment"]


def test_its_volumes_are_those_it_mounts(parent, render) -> None:
    """The configuration is the ConfigMap that mode none renders; names cannot meet those of the parent."""
    rendered = render({"cloudtrail-exporter": NONE}, chart=parent(template()))
    volumes = rendered.one("Deployment", "shop")["spec"]["template"]["spec"]["volumes"]
    mounted = [mount["name"] for mount in sidecar(rendered)["volumeMounts"]]
    assert [volume["name"] for volume in volumes] == mounted
    assert all(name.startswith("cloudtrail-exporter-") for name in mounted)
    named = volumes[0]["projected"]["sources"][0]["configMap"]["name"]
    assert rendered.one("ConfigMap", named)["data"]["config.yaml"]
    assert volumes[1]["emptyDir"] == {}


def test_the_state_may_lie_on_a_claim(parent, render) -> None:
    """One that mode none makes, or one that is there."""
    chart = parent(template())
    made = render({"cloudtrail-exporter": {**NONE, "persistence": {"enabled": True}}}, chart=chart)
    given = render({"cloudtrail-exporter": {**NONE, "persistence": {"existingClaim": "old"}}}, chart=chart)

    def claim(rendered: Any) -> str:
        volumes = rendered.one("Deployment", "shop")["spec"]["template"]["spec"]["volumes"]
        return volumes[1]["persistentVolumeClaim"]["claimName"]

    assert claim(made) == made.one("PersistentVolumeClaim")["metadata"]["name"]
    assert (claim(given), given.all("PersistentVolumeClaim")) == ("old", [])


def test_a_changed_configuration_rolls_the_parents_pod(parent, render) -> None:
    """By an annotation whose key is not the parent's own checksum."""
    chart = parent(template())

    def annotations(values: dict[str, Any]) -> dict[str, str]:
        rendered = render({"cloudtrail-exporter": {**NONE, **values}}, chart=chart)
        return rendered.one("Deployment", "shop")["spec"]["template"]["metadata"]["annotations"]

    assert list(annotations({})) == ["checksum/cloudtrail-exporter-config"]
    assert annotations({}) != annotations({"source": {"lookup": {"enabled": True}}})
    assert annotations({"configChecksumAnnotation": False}) == {"checksum/cloudtrail-exporter-config": "none"}


def test_an_alias_is_named(parent, render) -> None:
    """A dependency by another name is found when the name is passed."""
    chart = parent(template('(dict "context" . "name" "audit")'), alias="audit")
    rendered = render({"audit": {**NONE, "metrics": {"port": 9000}}}, chart=chart)
    assert sidecar(rendered)["ports"][0]["containerPort"] == 9000


def test_a_missing_dependency_is_said(parent, helm: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """The words name the chart, the dependency, and what to do about an alias."""
    done = helm({"audit": NONE}, chart=parent(template(), alias="audit"))
    assert done.returncode != 0
    assert 'the chart shop has no enabled dependency "cloudtrail-exporter"' in done.stderr


def test_values_that_contradict_each_other_are_refused_here_too(parent, helm) -> None:
    """The schema and the reasons hold for a dependency as well."""
    chart = parent(template())
    assert (
        "replicaCount: 2 is refused" in helm({"cloudtrail-exporter": {**NONE, "replicaCount": 2}}, chart=chart).stderr
    )
    assert (
        "'bukcet' not allowed" in helm({"cloudtrail-exporter": {"source": {"s3": {"bukcet": 1}}}}, chart=chart).stderr
    )


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_the_pod_is_valid_and_restricted(version: str, parent, render, invalid) -> None:
    """For each version of Kubernetes, and by the restricted Pod Security Standard."""
    rendered = render({"cloudtrail-exporter": NONE}, chart=parent(template()), version=version)
    assert invalid(rendered.text, version) == []
    assert [line for _, spec in rendered.pods() for line in violations(spec)] == []


def test_the_example_is_what_the_template_gives(render, parent) -> None:
    """The ConfigMap to copy from holds the same container and volumes."""
    example = render({**NONE, "sidecarTemplate": {"enabled": True}}).one("ConfigMap", "r-cloudtrail-exporter-sidecar")
    spec = yaml.safe_load(example["data"]["pod.yaml"])["spec"]
    rendered = render({"cloudtrail-exporter": NONE}, chart=parent(template()))
    pod = rendered.one("Deployment", "shop")["spec"]["template"]["spec"]
    assert (spec["initContainers"], spec["volumes"]) == (pod["initContainers"], pod["volumes"])
