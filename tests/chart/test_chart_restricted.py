"""Every pod the chart makes is admitted where the restricted Pod Security Standard is enforced."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chart.rendering import CASES, case_name
from tests.chart.restricted import violations


@pytest.mark.parametrize("values", CASES, ids=case_name)
def test_every_pod_is_restricted(values: Path, render) -> None:
    """Workload, test pod and sidecar, with whatever a case switches on."""
    pods = list(render(values).pods())
    assert pods
    assert [(name, line) for name, spec in pods for line in violations(spec)] == []


@pytest.mark.parametrize("values", CASES, ids=case_name)
def test_our_containers_cannot_write_their_image(values: Path, render) -> None:
    """The root file system is read-only; what is written lies on volumes, /tmp with a limit."""
    for _, spec in render(values).pods():
        for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
            if not container["name"].startswith(("cloudtrail-exporter", "ready")):
                continue
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["runAsUser"] == 65532
            assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]
        for volume in spec["volumes"]:
            if volume["name"].endswith("tmp"):
                assert volume["emptyDir"]["sizeLimit"]


MUTATIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "hostNetwork": lambda pod: pod.update(hostNetwork=True),
    "hostPath": lambda pod: pod["volumes"].append({"name": "a", "hostPath": {"path": "/"}}),
    "privileged": lambda pod: pod["containers"][0]["securityContext"].update(privileged=True),
    "escalation": lambda pod: pod["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
    "capabilities": lambda pod: pod["containers"][0]["securityContext"].pop("capabilities"),
    "added": lambda pod: pod["containers"][0]["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
    "root": lambda pod: pod["containers"][0]["securityContext"].update(runAsUser=0),
    "maybe root": lambda pod: pod["containers"][0]["securityContext"].update(runAsNonRoot=False),
    "unconfined": lambda pod: pod["containers"][0]["securityContext"].update(seccompProfile={"type": "Unconfined"}),
    "hostPort": lambda pod: pod["containers"][0]["ports"][0].update(hostPort=1),
    "second container": lambda pod: pod["containers"].append({"name": "second"}),
}


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_the_rules_bite(mutation: Callable[[dict[str, Any]], object], render) -> None:
    """Each rule finds a pod that breaks it."""
    pod = copy.deepcopy(render().pod())
    assert list(violations(pod)) == []
    mutation(pod)
    assert list(violations(pod))
