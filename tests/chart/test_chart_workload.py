"""Deployment, StatefulSet and what is around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CASES, Rendered, case_name

MOUNTS = {
    "config": "/etc/cloudtrail-exporter",
    "state": "/var/lib/cloudtrail-exporter",
    "tmp": "/tmp",
}


def mounts(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["mountPath"] for each in container["volumeMounts"]}


# -- modes and state --


def test_a_deployment_is_recreated_and_has_one_replica(render) -> None:
    """Two exporters never run side by side."""
    spec = render().one("Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_a_deployment_keeps_its_state_on_an_emptydir(render) -> None:
    """Nothing of the cluster is needed for a first try."""
    rendered = render()
    assert {"name": "state", "emptyDir": {}} in rendered.pod()["volumes"]
    assert rendered.all("PersistentVolumeClaim") == []


def test_a_deployment_with_persistence_has_a_claim_that_outlives_the_release(render) -> None:
    """The claim is the one the pod mounts, and `helm uninstall` leaves it."""
    rendered = render({"persistence": {"enabled": True}})
    claim = rendered.one("PersistentVolumeClaim")
    assert {"name": "state", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}} in rendered.pod()[
        "volumes"
    ]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_a_claim_that_may_go_is_not_kept(render) -> None:
    """The retention policy decides."""
    values = {"persistence": {"enabled": True, "retentionPolicy": {"whenDeleted": "Delete"}}}
    assert "annotations" not in render(values).one("PersistentVolumeClaim")["metadata"]


def test_a_statefulset_has_a_claim_of_its_own(render) -> None:
    """Storage class, size and what becomes of it are as asked."""
    values = {"mode": "statefulset", "persistence": {"storageClass": "gp3", "size": "3Gi"}}
    rendered = render(values)
    spec = rendered.one("StatefulSet")["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "state"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "gp3",
        "resources": {"requests": {"storage": "3Gi"}},
    }
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert "state" not in [volume["name"] for volume in rendered.pod()["volumes"]]


@pytest.mark.parametrize("mode", ["deployment", "statefulset"])
def test_an_existing_claim_is_used(mode: str, render) -> None:
    """No second claim is made beside it."""
    rendered = render({"mode": mode, "persistence": {"existingClaim": "old-{{ .Release.Name }}"}})
    assert {"name": "state", "persistentVolumeClaim": {"claimName": "old-r"}} in rendered.pod()["volumes"]
    assert rendered.all("PersistentVolumeClaim") == []
    assert "volumeClaimTemplates" not in rendered.workload()["spec"]


def test_the_state_has_one_path_in_each_mode(render) -> None:
    """Deployment, StatefulSet and sidecar mount the volume in the same place, and the file is below it."""
    deployment = render()
    stateful = render({"mode": "statefulset"})
    sidecar = render({"mode": "none", "sidecarTemplate": {"enabled": True}})
    assert mounts(deployment.container()) == mounts(stateful.container()) == MOUNTS
    (spec,) = [spec for name, spec in sidecar.pods() if name.endswith("-sidecar")]
    assert mounts(spec["initContainers"][0]) == {f"cloudtrail-exporter-{name}": path for name, path in MOUNTS.items()}
    for rendered in (deployment, stateful, sidecar):
        assert rendered.config()["state"]["path"] == "/var/lib/cloudtrail-exporter/state.db"


def test_mode_none_has_no_workload(render) -> None:
    """Only what a parent chart cannot make by itself."""
    values = yaml.safe_load(next(path for path in CASES if case_name(path) == "none").read_text())
    kinds = set(render(values).kinds())
    assert kinds.isdisjoint(
        {"Deployment", "StatefulSet", "Pod", "Service", "ServiceAccount", "NetworkPolicy", "Ingress"}
    )
    assert {"ConfigMap", "PodMonitor", "PersistentVolumeClaim"} <= kinds


def test_what_needs_something_of_the_cluster_is_off(render) -> None:
    """The defaults install on a bare cluster."""
    assert render().kinds() == ["ConfigMap", "Deployment", "Pod", "Service", "ServiceAccount"]


# -- names and labels --


@pytest.mark.parametrize("values", CASES, ids=case_name)
def test_selectors_find_the_pod_and_never_change(values: Path, render) -> None:
    """Whatever selects pods selects ours, by labels that a new version of the chart keeps."""
    rendered = render(values)
    if not rendered.all("Deployment") and not rendered.all("StatefulSet"):
        return
    labels = rendered.workload()["spec"]["template"]["metadata"]["labels"]
    selectors = [rendered.workload()["spec"]["selector"]["matchLabels"]]
    selectors += [each["spec"]["selector"] for each in rendered.all("Service")]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in rendered.all("NetworkPolicy")]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in rendered.all("PodDisruptionBudget")]
    tests = [each["metadata"]["labels"] for each in rendered.all("Pod")]
    for selector in selectors:
        assert not any(selector.items() <= pod.items() for pod in tests), "it finds the pod of helm test as well"
        assert set(selector) == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
        assert selector.items() <= labels.items()


@pytest.mark.parametrize("values", CASES, ids=case_name)
def test_everything_has_the_recommended_labels(values: Path, render) -> None:
    """All of the chart's own objects can be found by them, and lie in one namespace unless told otherwise."""
    given = yaml.safe_load(values.read_text())
    for each in render(values).objects:
        if each["metadata"]["name"] in ("extra", "r-collector"):
            continue
        labels = each["metadata"]["labels"]
        expected_name = "cloudtrail-exporter-test" if each["kind"] == "Pod" else "cloudtrail-exporter"
        assert labels["app.kubernetes.io/name"] == expected_name
        assert labels["app.kubernetes.io/instance"] == "r"
        assert labels["app.kubernetes.io/version"] == "0.1.0"
        assert labels["helm.sh/chart"].startswith("cloudtrail-exporter-")
        expected = {"audit", given.get("namespaceOverride", "audit"), "monitoring", "grafana"}
        assert each["metadata"]["namespace"] in expected


def test_labels_and_annotations_of_everything(render) -> None:
    """Common ones are on each object, the pod among them; the selector's cannot be overwritten."""
    values = {
        "commonLabels": {"team": "{{ .Release.Name }}", "app.kubernetes.io/name": "other"},
        "commonAnnotations": {"owner": "audit"},
        "persistence": {"enabled": True},
    }
    rendered = render(values)
    for each in [*rendered.objects, rendered.workload()["spec"]["template"]]:
        assert each["metadata"]["labels"]["team"] == "r"
        assert each["metadata"]["labels"]["app.kubernetes.io/name"].startswith("cloudtrail-exporter")
        assert each["metadata"]["annotations"]["owner"] == "audit"


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("r", {}, "r-cloudtrail-exporter"),
        ("cloudtrail-exporter", {}, "cloudtrail-exporter"),
        ("my-cloudtrail-exporter-2", {}, "my-cloudtrail-exporter-2"),
        ("r", {"nameOverride": "trail"}, "r-trail"),
        ("r", {"fullnameOverride": "audit"}, "audit"),
        ("r" * 53, {}, "r" * 52),
    ],
)
def test_names(release: str, values: dict[str, Any], name: str, render) -> None:
    """The usual rules; short enough for the labels of a StatefulSet's pods."""
    assert render(values, release=release).one("Deployment")["metadata"]["name"] == name


# -- image, environment, roll-out --


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "cloudtrail-exporter:0.1.0"),
        ({"image": {"tag": "1.2"}}, "cloudtrail-exporter:1.2"),
        ({"image": {"registry": "r.example", "repository": "a/b"}}, "r.example/a/b:0.1.0"),
        (
            {"image": {"registry": "r.example"}, "global": {"imageRegistry": "g.example"}},
            "g.example/cloudtrail-exporter:0.1.0",
        ),
        ({"image": {"tag": "x", "digest": "sha256:" + "0" * 64}}, "cloudtrail-exporter@sha256:" + "0" * 64),
    ],
)
def test_the_image(values: dict[str, Any], image: str, render) -> None:
    """A digest wins over a tag, the registry of all images over our own; the test pod runs the same."""
    rendered = render(values)
    assert [container["image"] for _, pod in rendered.pods() for container in pod["containers"]] == [image, image]


def test_a_changed_configuration_rolls_the_pod(render) -> None:
    """Its checksum is in the pod's annotations; with a reloader of one's own it can be left out."""

    def checksum(values: dict[str, Any]) -> str | None:
        metadata = render(values).workload()["spec"]["template"]["metadata"]
        return metadata.get("annotations", {}).get("checksum/config")

    assert checksum({}) == checksum({"resources": {"limits": {"memory": "1Gi"}}}) is not None
    assert checksum({}) != checksum({"source": {"lookup": {"enabled": True}}})
    assert checksum({"configChecksumAnnotation": False}) is None


def test_the_process_is_told_where_everything_is(render) -> None:
    """By environment, so that `kubectl exec ... check` knows it as well."""
    environment = render({"aws": {"region": "eu-west-1"}}).environment()
    assert environment == {
        "CLOUDTRAIL_EXPORTER_CONFIG": "/etc/cloudtrail-exporter/config.yaml",
        "CLOUDTRAIL_EXPORTER_WEB__LISTEN_ADDRESS": ":10042",
        "STATE_DIRECTORY": "/var/lib/cloudtrail-exporter",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_STS_REGIONAL_ENDPOINTS": "regional",
    }


def test_one_port_everywhere(render) -> None:
    """Container, probes, Service, policy and monitor follow one value."""
    rendered = render(
        {
            "metrics": {"port": 9000},
            "scrapeAnnotations": True,
            "networkPolicy": {"enabled": True},
            "serviceMonitor": {"enabled": True},
        }
    )
    container = rendered.container()
    assert container["ports"] == [{"name": "metrics", "containerPort": 9000, "protocol": "TCP"}]
    assert rendered.environment()["CLOUDTRAIL_EXPORTER_WEB__LISTEN_ADDRESS"] == ":9000"
    assert {container[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "liveness", "readiness")} == {
        "metrics"
    }
    assert rendered.one("Service")["spec"]["ports"][0] == {
        "name": "metrics",
        "port": 9000,
        "targetPort": "metrics",
        "protocol": "TCP",
    }
    assert rendered.one("NetworkPolicy")["spec"]["ingress"][0]["ports"] == [{"port": 9000, "protocol": "TCP"}]
    assert rendered.one("ServiceMonitor")["spec"]["endpoints"][0]["port"] == "metrics"
    assert "10042" not in rendered.text


# -- AWS --


def test_irsa_is_an_annotation(render) -> None:
    """The role and its regional STS."""
    role = "arn:aws:iam::111122223333:role/x"
    account = render({"aws": {"roleArn": role}, "serviceAccount": {"annotations": {"a": "b"}}}).one("ServiceAccount")
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": role,
        "eks.amazonaws.com/sts-regional-endpoints": "true",
        "a": "b",
    }


def test_pod_identity_needs_no_annotation(render) -> None:
    """An annotation would win over it."""
    account = render().one("ServiceAccount")
    assert "annotations" not in account["metadata"]


def test_the_token_of_kubernetes_is_not_mounted(render) -> None:
    """Neither by the ServiceAccount nor by a pod."""
    rendered = render()
    assert rendered.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert [pod["automountServiceAccountToken"] for _, pod in rendered.pods()] == [False, False]


def test_static_keys_come_from_a_secret(render) -> None:
    """By reference; a session token only where there is one."""
    environment = render({"aws": {"existingSecret": "keys"}}).environment()
    assert environment["AWS_ACCESS_KEY_ID"] == {"secretKeyRef": {"name": "keys", "key": "access_key_id"}}
    assert environment["AWS_SECRET_ACCESS_KEY"] == {"secretKeyRef": {"name": "keys", "key": "secret_access_key"}}
    assert "AWS_SESSION_TOKEN" not in environment


# -- probes and the web configuration --


def handlers(rendered: Rendered) -> list[dict[str, Any]]:
    container = rendered.container()
    names = ("startupProbe", "livenessProbe", "readinessProbe")
    return [
        {key: probe[key] for key in ("httpGet", "tcpSocket", "exec") if key in probe}
        for probe in map(container.get, names)
        if probe
    ]


def test_probes_ask_for_health_and_readiness(render) -> None:
    """Liveness asks the process, readiness the work."""
    healthy, ready = ({"httpGet": {"path": path, "port": "metrics"}} for path in ("/-/healthy", "/-/ready"))
    assert handlers(render()) == [healthy, healthy, ready]


def test_probes_speak_https_with_tls(render) -> None:
    """By a Secret alone, by a web configuration, or by what is said of an existing one."""
    tls = {"cert_file": "tls.crt", "key_file": "tls.key"}
    for web in (
        {"tlsSecret": "t"},
        {"tlsSecret": "t", "config": {"tls_server_config": tls}},
        {"existingSecret": "w", "tls": True},
    ):
        assert {each["httpGet"]["scheme"] for each in handlers(render({"web": web}))} == {"HTTPS"}


def test_probes_only_open_the_port_where_a_password_or_a_certificate_is_asked_for(render) -> None:
    """The kubelet has neither."""
    user = {"basic_auth_users": {"a": "$2b$10$" + "x" * 53}}
    mutual = {"tls_server_config": {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.crt"}}
    for web in ({"config": user}, {"tlsSecret": "t", "config": mutual}, {"existingSecret": "w", "authenticated": True}):
        assert handlers(render({"web": web})) == [{"tcpSocket": {"port": "metrics"}}] * 3


def test_a_probe_of_ones_own_and_none(render) -> None:
    """A handler that is given stays, timings alone get ours, null removes the probe."""
    rendered = render({"livenessProbe": {"exec": {"command": ["true"]}}, "startupProbe": None})
    assert handlers(rendered) == [{"exec": {"command": ["true"]}}, {"httpGet": {"path": "/-/ready", "port": "metrics"}}]


def test_the_web_configuration_lies_in_a_secret_with_its_certificate(render) -> None:
    """Beside each other, so that files are named relative to it."""
    rendered = render({"web": {"tlsSecret": "t"}})
    secret = rendered.one("Secret")
    assert yaml.safe_load(secret["stringData"]["web-config.yaml"]) == {
        "tls_server_config": {"cert_file": "tls.crt", "key_file": "tls.key"}
    }
    (volume,) = [each["projected"] for each in rendered.pod()["volumes"] if each["name"] == "config"]
    paths = {
        item["path"]: optional
        for each in volume["sources"]
        for kind in each.values()
        for item in kind["items"]
        for optional in [kind.get("optional", False)]
    }
    assert paths == {
        "config.yaml": False,
        "web/web-config.yaml": False,
        "web/tls.crt": False,
        "web/tls.key": False,
        "web/ca.crt": True,
    }


# -- around it --


def test_egress_is_what_the_configuration_needs(render) -> None:
    """DNS, AWS on 443 and at the sources' own addresses, the agent of Pod Identity, the receiver's port."""
    values = {
        "source": {"s3": {"enabled": True, "bucket": "trail", "endpoint_url": "http://minio:9000"}},
        "otlp": {"endpoint": "https://otlp.example.com"},
        "networkPolicy": {"enabled": True},
    }
    rules = render(values).one("NetworkPolicy")["spec"]["egress"]
    found = [
        (sorted({port["port"] for port in rule["ports"]}), [peer["ipBlock"]["cidr"] for peer in rule.get("to", [])])
        for rule in rules
    ]
    assert found == [
        ([53], []),
        ([443, 9000], ["0.0.0.0/0", "::/0"]),
        ([80], ["169.254.170.23/32", "fd00:ec2::23/128"]),
        ([443], []),
    ]


def test_the_policy_names_the_containers_port(render) -> None:
    """A policy sees packets behind the Service, whatever port that has."""
    policy = {"enabled": True, "ingressFrom": [{"podSelector": {}}]}
    values = {"networkPolicy": policy, "service": {"port": 80}, "tests": {"enabled": False}}
    assert render(values).one("NetworkPolicy")["spec"]["ingress"] == [
        {"ports": [{"port": 10042, "protocol": "TCP"}], "from": [{"podSelector": {}}]}
    ]


def test_the_policy_lets_helm_test_in(render) -> None:
    """Its pod is found by labels that nothing else has."""
    peer = {"namespaceSelector": {"matchLabels": {"a": "b"}}}
    rendered = render({"networkPolicy": {"enabled": True, "ingressFrom": [peer]}})
    first, second = rendered.one("NetworkPolicy")["spec"]["ingress"][0]["from"]
    assert first == peer
    assert second["podSelector"]["matchLabels"].items() <= rendered.one("Pod")["metadata"]["labels"].items()


def test_the_service_leads_to_a_pod_that_is_not_ready(render) -> None:
    """Why it is not ready is read there."""
    assert render().one("Service")["spec"]["publishNotReadyAddresses"] is True


def test_a_disruption_budget_lets_an_unready_pod_go(render) -> None:
    """A node can be drained while the receiver is away."""
    spec = render({"podDisruptionBudget": {"enabled": True}}).one("PodDisruptionBudget")["spec"]
    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_spread_finds_the_charts_own_pods(render) -> None:
    """A constraint without a selector gets the chart's."""
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    rendered = render({"topologySpreadConstraints": [spread]})
    (found,) = rendered.pod()["topologySpreadConstraints"]
    assert found["labelSelector"]["matchLabels"] == rendered.workload()["spec"]["selector"]["matchLabels"]


def test_a_field_that_an_older_api_does_not_know_is_left_out(render) -> None:
    """trafficDistribution came with Kubernetes 1.31."""
    values = {"service": {"trafficDistribution": "PreferClose"}}
    assert "trafficDistribution" not in render(values, version="1.29.0").one("Service")["spec"]
    assert render(values, version="1.31.0").one("Service")["spec"]["trafficDistribution"] == "PreferClose"


def test_extra_containers_share_the_pod(render) -> None:
    """A Collector in the same pod, its volume and its manifest, all templated."""
    values = next(path for path in CASES if case_name(path) == "collector")
    rendered = render(values)
    assert [container["name"] for container in rendered.pod()["containers"]] == ["cloudtrail-exporter", "collector"]
    assert {"name": "collector", "configMap": {"name": "r-collector"}} in rendered.pod()["volumes"]
    assert rendered.one("ConfigMap", "r-collector")["data"]["config.yaml"].startswith("receivers:")


@pytest.mark.parametrize("name", ["default", "statefulset"])
def test_the_whole_rendering_is_looked_at(name: str, render, golden) -> None:
    """A change of what is installed shows in a review."""
    values = next(path for path in CASES if case_name(path) == name)
    golden(f"chart/{name}.yaml", render(values).text)
