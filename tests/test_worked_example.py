"""The documentation's record through `drain`, from a file to a file: the worked example, and nothing twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.process import Exporter, write_config

DOCUMENTED = Path(__file__).parent / "data" / "describe-anomaly-detector.json"


def steady(text: str) -> str:
    """One OTLP/JSON request, pretty-printed, without what differs from run to run: time of reading, our version."""
    request = json.loads(text)
    for resource in request["resourceLogs"]:
        for scope in resource["scopeLogs"]:
            scope["scope"].pop("version", None)
            for record in scope["logRecords"]:
                assert int(record.pop("observedTimeUnixNano")) > 0
    return json.dumps(request, indent=1, ensure_ascii=False) + "\n"


def test_drain_writes_the_worked_example(tmp_path: Path, golden: Callable[[str, str], None]):
    """The golden file equals section 13 of the mapping the product started from; draining again adds nothing."""
    out = tmp_path / "out.jsonl"
    config = write_config(
        tmp_path,
        sources=[{"name": "documentation", "type": "files", "path": str(DOCUMENTED)}],
        sink={"type": "file", "path": str(out)},
    )
    for _ in range(2):
        with Exporter("drain", "--config", str(config)) as drain:
            assert drain.wait() == 0
        [line] = out.read_text().splitlines()
        golden("worked_example.json", steady(line))
