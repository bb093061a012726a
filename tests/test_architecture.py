"""The arrows of docs/architecture.md: who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "exporter"
MODULES = sorted(
    ".".join(("exporter", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
)

#: Only these know concrete sources, sinks and states, and only these may be at the top.
TOP = {
    "exporter.wiring",
    "exporter.app",
    "exporter.cli",
    "exporter.__main__",
    "exporter.generate",
    "exporter.reference",
}
#: What nobody but the top may import.
ENTRY = {
    "exporter.wiring",
    "exporter.app",
    "exporter.cli",
    "exporter.__main__",
    "exporter.generate",
    "exporter.config",
    "exporter.configfile",
}


def imports(module: str) -> set[str]:
    """The modules of ours that a module names anywhere, inside functions too, but not for type checking only."""
    path = ROOT.joinpath(*module.split(".")[1:])
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    tree = ast.parse(source)
    typing_only = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("exporter"):
            found |= {name for alias in node.names if (name := f"{node.module}.{alias.name}") in MODULES}
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("exporter")}
    return found - {"exporter"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str):
    """record <- mapping <- sinks; contract <- everything; wiring alone knows concrete classes."""
    found = imports(module)
    package = module.split(".")[1] if "." in module else ""
    if module == "exporter":
        assert found == set()
    if module in ("exporter.record", "exporter.errors", "exporter.services", "exporter.status", "exporter.signals"):
        assert found <= {"exporter.errors"}, "the roots import nothing of ours"
    if module == "exporter.contract":
        assert found <= {"exporter.record", "exporter.errors"}
    if module not in TOP and module != "exporter.configfile":
        assert not found & ENTRY, "configuration and wiring are known at the top only"
    for concrete in ("exporter.sources", "exporter.sinks", "exporter.state"):
        if module in TOP or package == "testing" or module.startswith(concrete):
            continue
        assert not {name for name in found if name.startswith(concrete)}, f"only wiring knows {concrete}"
    if package in ("sources", "sinks", "state", "web"):
        assert not found & {"exporter.pipeline", "exporter.runtime"}, "parts do not know what drives them"
    if package in ("sources", "state"):
        assert "exporter.mapping" not in found, "log records are the sinks' business"
    if not module.startswith("exporter.testing"):
        assert not {name for name in found if name.startswith("exporter.testing")}, "the test kit is for tests"


def test_nothing_imports_in_a_circle():
    """The graph of modules has no cycle."""
    graph = {module: imports(module) & set(MODULES) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for target in graph[module]:
                visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize(
    "module", [module for module in MODULES if not module.startswith(("exporter.testing", "exporter.clock"))]
)
def test_library_code_does_not_sleep_or_read_the_clock(module: str):
    """Time is injected: time.sleep, time.time and datetime.now stand in clock.py alone."""
    path = ROOT.joinpath(*module.split(".")[1:])
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    called = {
        f"{node.func.value.id}.{node.func.attr}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
    }
    assert not called & {
        "time.sleep",
        "time.time",
        "datetime.now",
        "datetime.utcnow",
        "random.random",
        "random.uniform",
    }
