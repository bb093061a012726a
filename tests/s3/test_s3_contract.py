"""The laws of every source, over our fake and over moto: so the one is measured by the other."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import pytest
from moto.server import ThreadedMotoServer

from exporter.contract import Source
from exporter.testing.source import SourceContract
from tests.fakes.s3 import FakeS3
from tests.s3.trail import FOLDER, Make, ago, key, packed

FILES = {
    key(ago(days=3)): packed(*range(1_500)),
    key(ago(days=3), "b"): packed(1, 2, 3),
    key(ago(hours=1)): b"no trail",
    key(ago(hours=1), "plain"): gzip.decompress(packed(2_000, 2_001)),
    key(ago(hours=1), "two"): packed(3_000) + packed(3_001),
    f"{FOLDER}2026/02/10/": b"",
    key(ago(minutes=5), folder="AWSLogs/444455556666/CloudTrail/us-east-1/"): packed(*range(4_000, 4_010)),
    key(ago(minutes=5), folder="AWSLogs/111122223333/CloudTrail-Digest/us-east-1/"): packed(9_000),
}
EVENTS = [*range(1_500), 2_000, 2_001, *range(3_000, 3_002), *range(4_000, 4_010)]


class _Laws(SourceContract):
    malformed = 1

    @pytest.fixture
    def expected(self) -> set[str]:
        return {f"111122223333/event-{number}" for number in EVENTS}


class TestOverTheFake(_Laws):
    """Our fake server."""

    @pytest.fixture
    def open_source(self, fake: FakeS3, make: Make) -> Callable[[], Source]:
        for name, data in FILES.items():
            fake.put(name, data)
        return make


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class TestOverMoto(_Laws):
    """moto's server, which we did not write."""

    @pytest.fixture
    def open_source(self, moto: str, make: Make) -> Callable[[], Source]:
        headers = {"Content-Type": "application/x-gzip"}
        urlopen(HttpRequest(f"{moto}/moto-api/reset", method="POST")).read()
        urlopen(HttpRequest(f"{moto}/trail", method="PUT")).read()
        for name, data in FILES.items():
            urlopen(HttpRequest(f"{moto}/trail/{name}", data=data, headers=headers, method="PUT")).read()
        return lambda: make(endpoint_url=moto)
