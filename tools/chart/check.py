"""What `make chart` runs: lint, render, validate, test; prints a table of cases: ``python -m tools.chart``.

Each ci/*-values.yaml is linted, then rendered and validated for three versions of Kubernetes. With CI set a missing
tool is a failure; without, it is said and the rest goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import yaml

import exporter
from tools.chart import readme, schema, schemas
from tools.chart.values import CHART, ROOT

TOOLS = ROOT / ".tools/bin"


@dataclass(slots=True)
class Case:
    """One values file and what came of it: resources by version, and what is wrong."""

    name: str
    resources: dict[str, int] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def tool(name: str) -> Path | None:
    """Where a tool is: installed by `make tools`, else on the path."""
    if os.access(TOOLS / name, os.X_OK):
        return TOOLS / name
    found = shutil.which(name)
    return Path(found) if found else None


def run(*argv: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """A command with its output kept."""
    return subprocess.run(
        [str(part) for part in argv], input=text, capture_output=True, text=True, check=False, timeout=300, cwd=ROOT
    )


def validate(kubeconform: Path, manifests: str, version: str) -> list[str]:
    """What kubeconform finds wrong, a line each; a kind it has no schema of is wrong as well."""
    folder = schemas.FOLDER.relative_to(ROOT)
    name = "{{.ResourceKind}}{{.KindSuffix}}.json"
    done = run(
        *(kubeconform, "-strict", "-output", "json", "-kubernetes-version", version),
        *("-schema-location", f"{folder}/v{version}/{name}", "-schema-location", f"{folder}/crds/{name}"),
        text=manifests,
    )
    try:
        found = json.loads(done.stdout)["resources"]
    except (ValueError, KeyError):
        return [done.stderr.strip() or done.stdout.strip() or f"kubeconform ended with {done.returncode}"]
    lines = [f"{each['kind']}/{each['name']}: {each['msg']}" for each in found]
    return lines or ([f"kubeconform ended with {done.returncode}"] if done.returncode else [])


def check_case(values: Path, helm: Path, kubeconform: Path | None) -> Case:
    """Lint one values file, then render and validate it for each version."""
    case = Case(values.name.removesuffix("-values.yaml"))
    linted = run(helm, "lint", CHART, "--strict", "--values", values, "--kube-version", schemas.VERSIONS[0])
    if linted.returncode:
        case.problems.append("helm lint: " + linted.stdout.strip() + linted.stderr.strip())
    for version in schemas.VERSIONS:
        rendered = run(helm, "template", "ci", CHART, "--values", values, "--kube-version", version)
        if rendered.returncode:
            case.problems.append(f"{version}: {rendered.stderr.strip()}")
            continue
        documents = [document for document in yaml.safe_load_all(rendered.stdout) if document]
        case.resources[version] = len(documents)
        case.kinds.update(document["kind"] for document in documents)
        identities = Counter(
            (document["kind"], document["metadata"].get("namespace", ""), document["metadata"]["name"])
            for document in documents
        )
        case.problems += [f"{version}: twice: {identity}" for identity, times in identities.items() if times > 1]
        if kubeconform:
            case.problems += [f"{version}: {line}" for line in validate(kubeconform, rendered.stdout, version)]
    return case


def version_problems() -> list[str]:
    """The chart speaks of the exporter's own version."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    image = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])[0]["image"]
    problems = []
    if chart["appVersion"] != exporter.__version__:
        problems.append(f"Chart.yaml: appVersion is {chart['appVersion']}, the exporter is {exporter.__version__}")
    if image != f"cloudtrail-exporter:{chart['appVersion']}":
        problems.append(f"Chart.yaml: artifacthub.io/images says {image}, appVersion is {chart['appVersion']}")
    return problems


def main() -> int:
    """All of it; returns the exit code."""
    problems = version_problems()
    stale = [generator.main(["--check"]) for generator in (schema, readme)]
    helm, kubeconform = tool("helm"), tool("kubeconform")
    missing = [name for name, path in (("helm", helm), ("kubeconform", kubeconform)) if path is None]
    try:
        if kubeconform:
            schemas.prepare()
    except schemas.Unavailable as reason:
        missing.append(str(reason))
        kubeconform = None
    for name in missing:
        text = f"{name}: not here; run `make tools`"
        print(f"SKIPPED: {text}", file=sys.stderr)
        if os.environ.get("CI"):
            problems.append(text)
    cases: list[Case] = []
    if helm:
        with ThreadPoolExecutor(2) as pool:
            files = sorted((CHART / "ci").glob("*-values.yaml"))
            cases = list(pool.map(lambda path: check_case(path, helm, kubeconform), files))
    print_table(cases, validated=kubeconform is not None)
    for case in cases:
        problems += [f"{case.name}: {problem}" for problem in case.problems]
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.stdout.flush()
    tests = run_tests()
    return 1 if problems or any(stale) or tests else 0


def print_table(cases: list[Case], *, validated: bool) -> None:
    """Case by case: resources for each version, and whether all is well."""
    if not cases:
        return
    width = max(len(case.name) for case in cases)
    print(f"{'case'.ljust(width)}  lint  " + "  ".join(f"v{version}" for version in schemas.VERSIONS))
    for case in cases:
        lint = "FAIL" if any(problem.startswith("helm lint") for problem in case.problems) else "ok  "
        columns = []
        for version in schemas.VERSIONS:
            wrong = any(problem.startswith(version) for problem in case.problems)
            columns.append(f"{case.resources.get(version, 0):>3} {'FAIL' if wrong else 'ok'}".rjust(len(version) + 1))
        print(f"{case.name.ljust(width)}  {lint}  " + "  ".join(columns))
    total = sum(sum(case.resources.values()) for case in cases)
    kinds = sorted({kind for case in cases for kind in case.kinds})
    said = f"{'validated, strict, each with a schema' if validated else 'NOT VALIDATED'}"
    print(f"{len(cases)} cases x {len(schemas.VERSIONS)} versions, {total} resources {said}")
    print(f"{len(kinds)} kinds: {', '.join(kinds)}")


def run_tests() -> int:
    """The tests of the templates."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "chart or not chart", "-n", "2", str(ROOT / "tests/chart")]
    return subprocess.run(command, check=False, cwd=ROOT).returncode
