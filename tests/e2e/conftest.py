"""What every end-to-end test has: the tools or a loud skip, a place to say what was compared, time enough."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from itertools import zip_longest

import pytest

from tests.e2e.processes import ROOT, TOOLS

#: Title -> rows of every comparison, printed when all tests are over.
_compared: dict[str, list[list[str]]] = {}

Report = Callable[[str, Sequence[Sequence[object]]], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture
def need() -> Callable[[str], None]:
    """Say that a test needs one of the tools: it is skipped loudly without it, and fails where CI is set."""

    def check(tool: str) -> None:
        if os.access(TOOLS / tool, os.X_OK) or shutil.which(tool):
            return
        message = f"{tool} is neither in {TOOLS.relative_to(ROOT)} nor on the PATH: run `make tools`"
        if os.environ.get("CI"):
            pytest.fail(message)
        _compared[f"SKIPPED: {message}"] = []
        pytest.skip(message)

    return check


@pytest.fixture(scope="session")
def report() -> Report:
    """Keep rows of what was compared under a title; printed at the end of the run, those of one title together."""

    def keep(title: str, rows: Sequence[Sequence[object]]) -> None:
        _compared.setdefault(title, []).extend([str(cell) for cell in row] for row in rows)

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for title, rows in _compared.items():
        terminalreporter.write_line("")
        terminalreporter.write_line(title)
        widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
        for row in rows:
            cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
            terminalreporter.write_line(f"  {'  '.join(cells).rstrip()}")
