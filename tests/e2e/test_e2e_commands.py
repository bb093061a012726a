"""The books on samples/ as Prometheus sees them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Report
from tests.e2e.processes import Exporter, Prometheus, all_ended, attribute, eventually, logged
from tests.e2e.trail import SAMPLES, Oracle, sample_records


@pytest.fixture
def expected() -> dict[str, Any]:
    """What samples/ says of itself."""
    loaded: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text())
    return loaded


def test_the_books_of_the_samples_balance_in_prometheus(
    tmp_path: Path, expected: dict[str, Any], need: Callable[[str], None], report: Report
) -> None:
    """read = published + filtered + duplicate + quarantined in PromQL, and each is what samples/ says."""
    need("prometheus")
    oracle = Oracle()
    oracle.add(sample_records())
    by_name = Counter[str]()
    for (operation, _), calls in oracle.counts.items():
        by_name[operation] += calls
    # Two oracles, written apart from each other and from the exporter, ought to agree first.
    assert by_name == expected["by_event_name"]

    out = tmp_path / "out.jsonl"
    config: dict[str, Any] = {
        "sources": [{"name": "samples", "type": "files", "path": str(SAMPLES)}],
        "sink": {"type": "file", "path": str(out)},
        "state": {"type": "sqlite", "path": str(tmp_path / "state.db")},
        "web": {"listen_address": "127.0.0.1:0"},
    }
    exporter = Exporter(config, folder=tmp_path)
    with all_ended(exporter):
        exporter.serve()
        prometheus = Prometheus(exporter.url.removeprefix("http://").rstrip("/"), folder=tmp_path)
        with all_ended(prometheus):
            prometheus.serve()

            def fate(name: str) -> int:
                answer = prometheus.query(f"sum by (source) (cloudtrail_exporter_events_{name}_total)")
                return int(answer.get(("samples",), -1))

            rows: list[list[object]] = [["", "samples/expected.json", "Prometheus"]]
            eventually("everything read", lambda: fate("read") == expected["read"])
            for name, key in (
                ("read", "read"),
                ("exported", "published"),
                ("filtered", "filtered"),
                ("duplicate", "duplicate"),
                ("quarantined", "quarantined"),
            ):
                rows.append([key, expected[key], fate(name)])
            report("the books of samples/", rows)
            assert all(row[1] == row[2] for row in rows[1:]), rows
            assert fate("read") == sum(fate(name) for name in ("exported", "filtered", "duplicate", "quarantined"))
            uids = [attribute(record, "log.record.uid") for record in logged(out)]
            assert len(uids) == len(set(uids)) == expected["published"]
            assert set(uids) == oracle.uids
            assert exporter.terminate() == 0
