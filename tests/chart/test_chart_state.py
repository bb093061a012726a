"""The state survives: what a pod of the StatefulSet would run, run as a process, killed and started again."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import EXPORTER, Process, all_ended, attribute, eventually, free_port, get, logged
from tools.chart.values import ROOT

EXPECTED = json.loads((ROOT / "samples/expected.json").read_text())
VALUES = {
    "mode": "statefulset",
    "config": {
        "sources": [
            {"name": "trail", "type": "files", "path": "/data/trail", "poll_interval_seconds": 0.2, "settle_seconds": 0}
        ],
        "sink": {"type": "file", "path": "/var/lib/cloudtrail-exporter/sent.jsonl"},
    },
}


class Pod:
    """The container of a rendered StatefulSet as a process: its environment and its files, its mounts as folders.

    A path of the container begins with a mount path; in this process it begins with the folder that stands for the
    volume. Nothing else of what was rendered is changed.
    """

    def __init__(self, rendered: Any, folder: Path, files: Path) -> None:
        container = rendered.container()
        self.volumes = {mount["mountPath"]: folder / mount["name"] for mount in container["volumeMounts"]}
        self.volumes["/data/trail"] = files
        for path in self.volumes.values():
            path.mkdir(parents=True, exist_ok=True)
        self.file = self.volumes["/etc/cloudtrail-exporter"] / "config.yaml"
        self.file.write_text(self.mapped(rendered.config_text()))
        self.environment = {each["name"]: self.mapped(each["value"]) for each in container["env"]}
        address = f"127.0.0.1:{free_port()}"
        self.environment["CLOUDTRAIL_EXPORTER_WEB__LISTEN_ADDRESS"] = address
        self.url = f"http://{address}"
        self.process = Process("exporter", [EXPORTER, *container["args"]], folder=folder, env=self.environment)
        self.sent = self.volumes["/var/lib/cloudtrail-exporter"] / "sent.jsonl"

    def mapped(self, text: str) -> str:
        paths = "|".join(map(re.escape, self.volumes))
        return re.sub(rf"(?<![\w/])({paths})(?![\w-])", lambda found: str(self.volumes[found[1]]), text)

    def events(self) -> dict[str, float]:
        """The lines of cloudtrail_events_total."""
        page = get(f"{self.url}/metrics")[1].splitlines()
        return {
            line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
            for line in page
            if line.startswith("cloudtrail_events_total{")
        }

    def uids(self) -> Counter[str]:
        return Counter(attribute(record, "log.record.uid") for record in logged(self.sent))


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    """A part of the samples; the rest is `later`."""
    files = sorted(path for path in (ROOT / "samples").rglob("*") if path.is_file() and "AWSLogs" in path.parts)
    for index, path in enumerate(files):
        part = tmp_path / ("first" if index % 2 else "later") / path.relative_to(ROOT / "samples")
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, part)
    return tmp_path / "first"


@pytest.mark.timeout(180)
def test_counters_and_identities_survive_kill_9(render, tmp_path: Path, trail: Path) -> None:
    """Killed and started again on the same volume: the same counts, nothing published twice, and the rest goes on."""
    pod = Pod(render(VALUES), tmp_path / "pod", trail)
    with all_ended(pod.process):
        pod.process.start()
        eventually("the first half to be published", lambda: get(f"{pod.url}/-/ready")[0] == 200)
        before, uids = pod.events(), pod.uids()
        assert sum(before.values()) > 50
        assert (pod.volumes["/var/lib/cloudtrail-exporter"] / "state.db").exists()
        pod.process.kill()

        pod.process.start()
        eventually("it to be ready again", lambda: get(f"{pod.url}/-/ready")[0] == 200)
        assert pod.events() == before
        assert pod.uids() == uids

        shutil.copytree(tmp_path / "later", trail, dirs_exist_ok=True)
        total = EXPECTED["published"] - EXPECTED["corrections"]
        eventually("the rest to be counted", lambda: sum(pod.events().values()) == total, seconds=60)
        pod.process.kill()
        pod.process.start()
        eventually("it to be ready a third time", lambda: get(f"{pod.url}/-/ready")[0] == 200)
        assert sum(pod.events().values()) == total
        assert set(pod.uids().values()) == {1}
        assert pod.process.terminate() == 0


@pytest.mark.timeout(120)
def test_helm_test_tells_a_ready_release_from_one_that_is_not(render, tmp_path: Path, trail: Path) -> None:
    """The arguments of the test pod, against a process that serves and then does not."""
    rendered = render(VALUES)
    pod = Pod(rendered, tmp_path / "pod", trail)
    test = rendered.one("Pod")["spec"]["containers"][0]
    service = f"r-cloudtrail-exporter.audit.svc:{rendered.one('Service')['spec']['ports'][0]['port']}"
    assert f"--web.listen-address={service}" in test["args"]
    # The name of the Service, as the cluster's DNS would resolve it.
    arguments = [argument.replace(service, pod.url.removeprefix("http://")) for argument in test["args"]]

    def outcome() -> int:
        process = Process("test", [EXPORTER, *arguments], folder=tmp_path)
        with all_ended(process):
            process.start()
            return process.finish()

    with all_ended(pod.process):
        pod.process.start()
        eventually("it to be ready", lambda: get(f"{pod.url}/-/ready")[0] == 200)
        assert outcome() == 0
        pod.process.kill()
        assert outcome() == 1
