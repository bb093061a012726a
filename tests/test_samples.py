"""samples/ is what its script writes, and reads as its README says."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from exporter.contract import Partition
from exporter.reading import Limits
from exporter.record import OTHER, PRINCIPAL_TYPES, Document, Malformed, Record, Selection, parse
from exporter.services import LOOKOUT_METRICS
from exporter.sources.files import FilesSource
from exporter.testing.clock import ManualClock
from exporter.testing.source import MemoryProgress

SAMPLES = Path(__file__).parent.parent / "samples"


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text())
    return loaded


def files(folder: Path) -> dict[str, bytes]:
    """Every written file's content; compressed ones by their text, because zlib versions differ in how they pack."""
    written = [path for path in folder.rglob("*") if path.is_file() and path.suffix in (".gz", ".json", ".md")]
    return {
        str(path.relative_to(folder)): gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in written
    }


def test_the_script_writes_what_lies_there(tmp_path: Path):
    """Nobody edited a sample, its README or its expectations by hand: the seed gives exactly these."""
    subprocess.run([sys.executable, "-B", str(SAMPLES / "make_samples.py"), str(tmp_path)], check=True, timeout=60)
    assert files(tmp_path) == files(SAMPLES)


def test_compressed_samples_carry_no_time():
    """The gzip header's time is 0 and it has no name: the same text packs to the same bytes."""
    for path in SAMPLES.rglob("*.gz"):
        assert path.read_bytes()[3:8] == b"\0\0\0\0\0"


def test_the_samples_are_small():
    """They are cloned by everybody."""
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 300_000


def test_the_books_are_what_the_readme_says(expected: dict[str, Any]):
    """Read by the files source, parsed, selected and told apart by identity, the samples give the expected counts."""
    source = FilesSource(name="samples", path=SAMPLES, limits=Limits(), clock=ManualClock(), watch=False)
    selection = Selection([LOOKOUT_METRICS.event_source])
    fate, names, kinds, errors = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    filtered, quarantined = Counter[str](), Counter[str]()
    corrections = 0
    seen: set[str] = set()
    for batch in source.read(Partition("samples", "files"), MemoryProgress()):
        filtered.update(batch.passed_over)
        for item in batch.items:
            record = parse(item, observed_ns=0) if isinstance(item, Document) else item
            if isinstance(record, Malformed):
                quarantined[record.reason] += 1
            elif reason := selection.refuses(record):
                filtered[reason] += 1
            elif record.identity.uid in seen:
                fate["duplicate"] += 1
            else:
                seen.add(record.identity.uid)
                fate["published"] += 1
                corrections += record.correction
                if not record.correction:
                    names[record.event_name] += 1
                    kinds[_label(record)] += 1
                    if record.error_code:
                        errors[record.error_code] += 1
    fate.update(filtered=filtered.total(), quarantined=quarantined.total())
    fate["read"] = fate.total()
    assert dict(fate) == {key: expected[key] for key in ("read", "published", "filtered", "duplicate", "quarantined")}
    assert dict(filtered) == expected["filtered_by_reason"]
    assert dict(quarantined) == expected["quarantined_by_reason"]
    assert corrections == expected["corrections"] == 1
    assert dict(names) == expected["by_event_name"]
    assert dict(kinds) == expected["by_principal_type"]
    assert dict(errors) == expected["errors_by_code"]


def _label(record: Record) -> str:
    if not record.principal_type:
        return "_MISSING"
    return record.principal_type if record.principal_type in PRINCIPAL_TYPES else OTHER


def test_everything_a_label_can_be_is_there(expected: dict[str, Any]):
    """All 30 operations and all 14 principal types occur."""
    assert set(expected["by_event_name"]) == set(LOOKOUT_METRICS.operations)
    assert set(expected["by_principal_type"]) == {*PRINCIPAL_TYPES, "_MISSING", OTHER}
