"""Small trail files in a bucket, near and far: the same local server with nothing and with 50 ms added to each request.

The server is the tests' fake, in this process; the exporter has the other core. MinIO would be faster near and the same
far away, so what is compared is how well the delay is hidden, not how fast a bucket can be.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.corpora import small_files
from bench.rows import Row, peak, settings
from tests.e2e.processes import Exporter, all_ended, free_port
from tests.fakes.s3 import FakeS3

__all__ = ["objects"]

_FILES = 1_500
_DELAY = 0.05


def objects(folder: Path) -> Iterator[Row]:
    """1,500 objects of 20 records in the median, 32 downloads at once."""
    corpus = small_files(folder / "objects", files=_FILES)
    with FakeS3() as server:
        moment = datetime.now(UTC) - timedelta(hours=6)
        for number, path in enumerate(corpus.paths):
            minute = moment + timedelta(minutes=5 * (number // 25))
            name = f"111122223333_CloudTrail_us-east-1_{minute:%Y%m%dT%H%MZ}_{number:016}.json.gz"
            server.put(f"AWSLogs/111122223333/CloudTrail/us-east-1/{minute:%Y/%m/%d}/{name}", path.read_bytes())
        near, most_near = _rate(folder, server, corpus.records)
        server.delay = _DELAY
        far, most_far = _rate(folder, server, corpus.records)
    yield Row(
        f"drain a bucket, {_FILES:,} objects, 50 ms added to each request",
        f"{far:,.0f} objects/s, peak {most_far:.0f} MB",
        f"without the delay {near:,.0f} objects/s ({far / near:.2f} of it), peak {most_near:.0f} MB",
        ">= 0.8 of it",
    )


def _rate(folder: Path, server: FakeS3, records: int) -> tuple[float, float]:
    here = folder / f"bucket{time.monotonic_ns()}"
    here.mkdir()
    source = {
        "name": "bucket",
        "type": "s3",
        "bucket": server.bucket,
        "region": "eu-west-1",
        "accounts": ["111122223333"],
        "regions": ["us-east-1"],
        "endpoint_url": server.url,
    }
    config = settings(here, source, {"type": "file", "path": str(here / "out.jsonl")}, free_port())
    drain = Exporter(config, folder=here, command="drain", name="bucket")
    most = 0.0
    with all_ended(drain):
        began = time.monotonic()
        drain.start()
        while drain.exit_code() is None:
            most = max(most, peak(drain.pid))
            time.sleep(0.01)
        seconds = time.monotonic() - began
        assert drain.finish() == 0, drain.said()
    assert f"read {records}, " in drain.said(), drain.said()
    return _FILES / seconds, most
