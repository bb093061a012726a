"""Every source, sink and state that can be configured has a subclass of its public suite; fakes have one too."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from exporter import wiring
from exporter.errors import Retryable
from exporter.testing.scripted import ScriptedSink, ScriptedSource, event
from exporter.testing.sink import SinkContract
from exporter.testing.source import SourceContract
from exporter.testing.state import StateContract

TESTS = Path(__file__).parent
#: Suite -> (the table of wiring, fakes that must pass it too).
SUITES = {
    SourceContract: (wiring.SOURCES, ["ScriptedSource"]),
    SinkContract: (wiring.SINKS, ["ScriptedSink"]),
    StateContract: (wiring.STATES, []),
}


def subclasses(suite: type) -> Iterator[tuple[Path, ast.ClassDef]]:
    """The test classes that derive from the suite, by name, wherever they are."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any(
                isinstance(base, ast.Name) and base.id == suite.__name__ for base in node.bases
            ):
                yield path, node


def suites_of(suite: type) -> str:
    """The text of all files with a subclass, and of their fixtures: the class under test is made somewhere there."""
    paths = {path for path, _ in subclasses(suite)}
    paths |= {fixtures for path in paths if (fixtures := path.parent / "conftest.py").exists()}
    return "\n".join(path.read_text() for path in sorted(paths))


def built_by(constructor: object) -> str:
    """The concrete class that a constructor of wiring returns."""
    tree = ast.parse(inspect.getsource(constructor))  # type: ignore[arg-type]
    returned = [
        node.value.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name)
    ]
    assert returned, constructor
    return returned[-1]


CASES = [
    (suite, name)
    for suite, (table, fakes) in SUITES.items()
    for name in [*(built_by(constructor) for constructor in table.values()), *fakes]
]


@pytest.mark.parametrize(("suite", "name"), CASES, ids=[name for _, name in CASES])
def test_every_implementation_has_its_suite(suite: type, name: str):
    """A class that wiring builds, or a fake of the public kit, without a conformance test is a failure."""
    assert f"{name}(" in suites_of(suite), f"no subclass of {suite.__name__} makes a {name}"


class TestScriptedSink(SinkContract):
    """The fake sink keeps the law of the real ones."""

    @pytest.fixture
    def sink(self) -> ScriptedSink:
        return ScriptedSink()

    @pytest.fixture
    def accepted(self, sink: ScriptedSink) -> Callable[[], list[str]]:
        return lambda: list(sink.accepted)

    @pytest.fixture
    def fault(self, sink: ScriptedSink) -> AbstractContextManager[object]:
        @contextmanager
        def broken() -> Iterator[None]:
            sink.follow([Retryable("away")] * 100)
            yield
            sink.follow([])

        return broken()


class TestScriptedSource(SourceContract):
    """The fake source keeps the law of the real ones."""

    malformed = 1

    @pytest.fixture
    def open_source(self) -> Callable[[], ScriptedSource]:
        script = {"p": [[event(1), event(2)], [event(3), b"nonsense"]], "q": [[event(4)], [event(5), event(6)]]}
        return lambda: ScriptedSource(script)

    @pytest.fixture
    def expected(self) -> list[str]:
        return [f"111122223333/event-{number}" for number in range(1, 7)]
