"""The configurations of deploy/sidecar/with-collector as two processes; a second Collector is the backend."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.e2e import processes
from tests.e2e.conftest import Report
from tests.e2e.processes import Collector, Exporter, FakeLookup, Process, all_ended, eventually, free_port, get
from tests.e2e.trail import SERVICE, events, uid_of
from tests.fakes.otlp_receiver import Answer, HttpReceiver

EXAMPLE = processes.ROOT / "deploy" / "sidecar" / "with-collector" / "deployment.yaml"
FAILURES = "cloudtrail_exporter_otlp_export_failures_total"


@pytest.fixture
def files() -> dict[str, str]:
    """The ConfigMap of the example: file name -> content."""
    objects = list(yaml.safe_load_all(EXAMPLE.read_text()))
    return next(dict(found["data"]) for found in objects if found["kind"] == "ConfigMap")


@pytest.fixture
def collector_with_otlp_http(need: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A Collector is of use here only with the exporter that the example sends on with."""
    need("otelcol")
    listed = subprocess.run([processes.TOOLS / "otelcol", "components"], capture_output=True, text=True, check=True)
    components = yaml.safe_load(listed.stdout)
    if "otlp_http" not in {exporter["name"] for exporter in components["exporters"]}:
        need("otelcol with otlp_http")


class SidecarCollector(Process):
    """The Collector of the example: its configuration on free ports, its environment as the container's."""

    def __init__(self, configuration: str, *, backend: str, folder: Path) -> None:
        self.address, self.health = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        for was, now in (('"127.0.0.1:4318"', self.address), ('":13133"', self.health)):
            assert configuration.count(was) == 1, was
            configuration = configuration.replace(was, f'"{now}"')
        path = folder / "sidecar.yaml"
        path.write_text(configuration)
        argv = [processes.TOOLS / "otelcol", f"--config={path}"]
        super().__init__("sidecar", argv, folder=folder, env={"BACKEND_ENDPOINT": backend})

    def serve(self) -> None:
        self.start()
        eventually("the sidecar Collector to be healthy", lambda: get(f"http://{self.health}/")[0] == 200)


def exporter_of(files: dict[str, str], *, lookup: FakeLookup, collector: SidecarCollector, folder: Path) -> Exporter:
    """The exporter with the example's own file; only addresses, service and place of the state are laid over."""
    exporter = Exporter({}, folder=folder)
    (folder / "exporter.yaml").write_text(files["config.yaml"])
    exporter.env |= {
        "CLOUDTRAIL_EXPORTER_SERVICES": f"[{SERVICE}]",
        "CLOUDTRAIL_EXPORTER_SOURCES__0__ENDPOINT_URL": lookup.url,
        "CLOUDTRAIL_EXPORTER_SOURCES__0__POLL_INTERVAL_SECONDS": "1",
        "CLOUDTRAIL_EXPORTER_SINK__ENDPOINT": f"http://localhost:{collector.address.rpartition(':')[2]}",
        "CLOUDTRAIL_EXPORTER_STATE__PATH": str(folder / "state.db"),
        "CLOUDTRAIL_EXPORTER_WEB__LISTEN_ADDRESS": "127.0.0.1:0",
        "CLOUDTRAIL_EXPORTER_LOG__FORMAT": "text",
    }
    return exporter


@pytest.mark.usefixtures("collector_with_otlp_http")
def test_a_pod_with_a_collector_loses_nothing_while_backend_and_collector_are_away(
    files: dict[str, str], report: Report, tmp_path: Path
) -> None:
    first, second, third = (events(count, seed=seed) for count, seed in ((30, 1), (20, 2), (10, 3)))
    wanted = {uid_of(event) for event in [*first, *second, *third]}
    lookup = FakeLookup(first, folder=tmp_path)
    lookup.serve()
    backend = Collector(folder=tmp_path)
    collector = SidecarCollector(files["collector.yaml"], backend=backend.http, folder=tmp_path)
    exporter = exporter_of(files, lookup=lookup, collector=collector, folder=tmp_path)

    def arrived(count: int) -> Callable[[], bool]:
        return lambda: len(set(backend.uids())) == count

    with all_ended(exporter, collector, backend, lookup):
        backend.serve()
        collector.serve()
        exporter.serve()
        eventually("the first events at the backend", arrived(30))

        backend.kill()
        lookup.add(second)
        eventually("a refused request", lambda: exporter.value(FAILURES) > 0)
        assert exporter.value("cloudtrail_exporter_events_quarantined_total") == 0
        backend.serve()
        eventually("the events that were held", arrived(50))

        collector.kill()
        failures = exporter.value(FAILURES)
        lookup.add(third)
        eventually("a request that nobody answered", lambda: exporter.value(FAILURES) > failures)
        collector.serve()
        eventually("all events", arrived(60))

        eventually("the counters", lambda: exporter.value("cloudtrail_events_total") == len(wanted))
        assert set(backend.uids()) == wanted
        repeats = len(backend.uids()) - len(wanted)
        assert exporter.terminate() == 0
        assert collector.terminate() == 0
    report(
        "exporter -> Collector in the same pod -> backend, each of them away once",
        [
            ("", "events"),
            ("in Event history", len(wanted)),
            ("at the backend", len(wanted)),
            ("there twice", repeats),
        ],
    )


@pytest.mark.usefixtures("collector_with_otlp_http")
def test_a_collector_whose_backend_refuses_its_token_holds_everything_and_says_so(
    files: dict[str, str], tmp_path: Path
) -> None:
    made = events(10, seed=4)
    lookup = FakeLookup(made, folder=tmp_path)
    lookup.serve()
    with HttpReceiver(always=Answer(401, body=b"")) as backend:
        base = backend.url.removesuffix("/v1/logs")
        collector = SidecarCollector(files["collector.yaml"], backend=base, folder=tmp_path)
        exporter = exporter_of(files, lookup=lookup, collector=collector, folder=tmp_path)
        with all_ended(exporter, collector, lookup):
            collector.serve()
            exporter.serve()
            eventually("not ready, with the reason", lambda: "blocked" in get(f"{exporter.url}-/ready")[1])
            assert exporter.value("cloudtrail_exporter_events_quarantined_total") == 0
            assert exporter.value("cloudtrail_events_total") == 0

            backend.always = Answer()
            eventually("all events", lambda: exporter.value("cloudtrail_events_total") == len(made))
            assert set(backend.accepted) == {uid_of(event) for event in made}
