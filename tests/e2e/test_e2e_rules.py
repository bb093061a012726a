"""The rules with the real promtool: they are valid, their cases hold, and a case notices every change of a rule."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.rules.catalogue import FILES, alerts
from deploy.rules.expressions import foreign
from deploy.rules.model import Alert, Case, Fired, Group
from deploy.rules.render import cases, cases_file, number, rule_file
from deploy.rules.thresholds import THRESHOLDS
from exporter.metrics import PREFIX
from tests.e2e.conftest import Report
from tests.e2e.processes import ROOT, TOOLS, Exporter, all_ended, eventually, get
from tests.e2e.trail import SAMPLES

PROMETHEUS = ROOT / "deploy" / "prometheus"
CASES = sorted((PROMETHEUS / "tests").glob("*.yaml"))
ALERTS = list(alerts())

_COMPARISON = re.compile(r" (>|<|==) ")
_OPPOSITE = {">": "<", "<": ">", "==": "!="}


def promtool(*arguments: str | Path, cwd: Path = PROMETHEUS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOLS / "promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=280
    )


def test_rule_files_are_valid(need: Callable[[str], None]) -> None:
    """promtool finds nothing wrong with them, and no rule twice."""
    need("promtool")
    done = promtool("check", "rules", "--lint-fatal", *(f"{file}.yaml" for file in FILES))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_cases_hold(path: Path, need: Callable[[str], None], report: Report) -> None:
    """Every alert fires in the cases in which it should, and does not in the others."""
    need("promtool")
    done = promtool("test", "rules", path.name, cwd=path.parent)
    assert done.returncode == 0, done.stdout[:20_000] + done.stderr
    checks = path.read_text().count("eval_time:")
    report("Checks of the rules by promtool", [(path.name, checks)])


# -- the books of the samples ----------------------------------------------------------------------------------------


def held(page: str, minutes: int, **changes: float) -> dict[str, str]:
    """Every series of a page as it stays for so many minutes; ``changes`` are added to the first series of a name."""
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if not sample.name.startswith(PREFIX):
                continue
            name = foreign(sample.name, **sample.labels)
            value = sample.value + changes.pop(sample.name.removeprefix(PREFIX), 0.0)
            found[name] = f"{value!r}+0x{minutes}"
    assert not changes
    return found


def test_the_books_of_the_samples_balance(tmp_path: Path, need: Callable[[str], None], report: Report) -> None:
    """On the page of a real process that has read samples/ the alert is silent; a record less, and it fires."""
    need("promtool")
    config = {
        "sources": [{"name": "samples", "type": "files", "path": str(SAMPLES)}],
        "sink": {"type": "file", "path": str(tmp_path / "out.jsonl")},
        "state": {"type": "sqlite", "path": str(tmp_path / "state.db")},
        "web": {"listen_address": "127.0.0.1:0"},
    }
    exporter = Exporter(config, folder=tmp_path)
    with all_ended(exporter):
        exporter.serve()
        eventually("everything read", exporter.ready)
        _, page = get(f"{exporter.url}metrics")
    (alert,) = (each for each in ALERTS if each.name == "BooksDoNotBalance")
    missing = Fired({"source": "samples"}, ("1",))
    balance = (
        Case("the samples", held(page, 60), {1: (), 60: ()}),
        Case("a record less", held(page, 60, events_exported_total=-1), {14: (), 15: (missing,)}),
        Case("a record more", held(page, 60, events_quarantined_total=1), {14: (), 15: (missing,)}),
    )
    assert survives(dataclasses.replace(alert, cases=balance), tmp_path / "books")
    read = next(value for name, value in balance[0].series.items() if "events_read_total" in name)
    assert int(float(read.partition("+")[0])) > 400
    report("Books of samples/ by the alert", [("records read", read.partition(".")[0])])


# -- mutants ------------------------------------------------------------------------------------------------------


def mutants(alert: Alert) -> Iterator[tuple[str, Alert]]:
    """The alert with one thing changed: a threshold, a comparison, how long it waits."""
    for name in alert.thresholds:
        default = THRESHOLDS[name].default
        for value in (default * 2, default / 2) if default else (1.0, -1.0):
            expr = alert.expr.replace(f"[[{name}]]", number(value))
            yield f"{name} {number(value)}", dataclasses.replace(alert, expr=expr)
    for minutes in (0, alert.minutes * 2) if alert.minutes else (5,):
        yield f"for {minutes}m", dataclasses.replace(alert, minutes=minutes)
    for found in _COMPARISON.finditer(alert.expr):
        at, end = found.span(1)
        expr = alert.expr[:at] + _OPPOSITE[found[1]] + alert.expr[end:]
        yield f"{found[1]} at {at} turned", dataclasses.replace(alert, expr=expr)


def survives(alert: Alert, folder: Path) -> bool:
    """Whether all cases of the alert hold. It is alone in its rule file: other rules would only take time."""
    folder.mkdir()
    (folder / "rule.yaml").write_text(rule_file([Group("one", "rule", (alert,))]))
    for step in sorted({case.step for case in alert.cases}):
        (folder / "test.yaml").write_text(cases_file(["rule.yaml"], cases([alert], step=step), step=step))
        if promtool("test", "rules", "test.yaml", cwd=folder).returncode:
            return False
    return True


@pytest.fixture(scope="module")
def noticed(report: Report) -> Iterator[list[int]]:
    """How many changes of each alert were noticed; reported as one line."""
    counts: list[int] = []
    yield counts
    if counts:
        report("Rules changed on purpose", [("alerts", len(counts)), ("changes noticed", sum(counts))])


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_change_of_an_alert_is_noticed(
    alert: Alert, tmp_path: Path, need: Callable[[str], None], noticed: list[int]
) -> None:
    """Half and double thresholds, turned comparisons and other waits each make a case fail."""
    need("promtool")
    changed = list(mutants(alert))
    with ThreadPoolExecutor(2) as pool:
        survived = list(pool.map(lambda each: survives(each[1][1], tmp_path / str(each[0])), enumerate(changed)))
    assert survives(alert, tmp_path / "unchanged")
    assert [name for (name, _), alive in zip(changed, survived, strict=True) if alive] == []
    noticed.append(len(changed))
