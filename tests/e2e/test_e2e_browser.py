"""The landing page in a real browser: what a person sees, and a picture of it for docs/kubernetes.md."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Report
from tests.e2e.processes import ROOT, Exporter, all_ended, eventually

#: The picture in the documentation; `pytest -m e2e tests/e2e/test_e2e_browser.py --update-golden` takes it anew.
PICTURE = ROOT / "docs" / "images" / "landing.png"
WIDTH, HEIGHT = 1200, 560


def chromium(folder: Path, *arguments: str) -> str:
    """Run Chromium on a page without a window; its output and what the page's console said."""
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr"]
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", *quiet, f"--user-data-dir={folder / 'profile'}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HOME": str(folder), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout + "\n".join(re.findall(r".*CONSOLE.*", done.stderr))


def scanlines(png: bytes) -> tuple[int, int, bytes]:
    """Width, height and decompressed lines of a PNG (ISO/IEC 15948, chunks IHDR and IDAT)."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    place, data, size = 8, b"", (0, 0)
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        body = png[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
        elif kind == b"IDAT":
            data += body
        place += length + 12
    return *size, zlib.decompress(data)


def test_the_landing_page_looks_as_it_should_in_a_browser(
    tmp_path: Path, need: Callable[[str], None], report: Report, request: pytest.FixtureRequest
) -> None:
    """Chromium shows the state, the sources and the links, refuses nothing of the page's own, and takes a picture."""
    need("chromium")
    exporter = Exporter(
        {
            "sources": [{"name": "samples", "type": "files", "path": "samples"}],
            "sink": {"type": "console"},
            "state": {"type": "memory"},
            "web": {"listen_address": "127.0.0.1:0"},
        },
        folder=tmp_path,
    )
    with all_ended(exporter):
        exporter.serve()
        eventually("everything published", lambda: exporter.value("cloudtrail_exporter_events_exported_total") == 315)
        eventually("the exporter to be ready", exporter.ready)

        page = chromium(tmp_path, "--dump-dom", exporter.url)
        assert "Ready" in page
        assert "314 events, 1 correction, 1 in quarantine" in page
        assert re.search(r"<td>samples</td><td>files</td>", page)
        assert "lookoutmetrics.amazonaws.com from samples: files in samples" in page
        # A refused style or picture (Content-Security-Policy) is said on the console.
        assert "CONSOLE" not in page, page

        picture = tmp_path / "landing.png"
        chromium(tmp_path, f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={picture}", exporter.url)
    width, height, lines = scanlines(picture.read_bytes())
    assert (width, height) == (WIDTH, HEIGHT)
    shades = len(set(lines))
    assert shades > 100, f"an empty page: {shades} different bytes"
    if request.config.getoption("--update-golden"):
        PICTURE.parent.mkdir(exist_ok=True)
        shutil.copy(picture, PICTURE)
    assert PICTURE.exists(), "docs/images/landing.png is missing: run with --update-golden"
    assert scanlines(PICTURE.read_bytes())[:2] == (WIDTH, HEIGHT)
    report(
        "Landing page in Chromium",
        [
            ["", "here"],
            ["picture", f"{width} x {height}"],
            ["bytes", picture.stat().st_size],
            ["said on its console", page.count("CONSOLE")],
        ],
    )
