"""The generated files of the repository: ``python -m exporter.generate [--check]``."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer.main

from exporter import reference
from exporter.cli import app

__all__ = ["PAGES", "keep", "main"]

#: Lines of a difference that are worth a look in a log.
_SHOWN = 40


def cli_page() -> str:
    """docs/cli.md."""

    def pages(command: Any, path: str) -> Iterator[str]:
        context = command.context_class(command, info_name=path, terminal_width=100, max_content_width=100)
        yield f"## {path}\n\n```\n{command.get_help(context).strip()}\n```\n"
        for name, child in getattr(command, "commands", {}).items():
            yield from pages(child, f"{path} {name}")

    return (
        "# Commands\n\n"
        + reference.NOTE.format(source="exporter/cli.py")
        + "Exit codes: 0 done, 1 failed while running, 2 bad configuration or usage.\n\n"
        + "\n".join(pages(typer.main.get_command(app), "cloudtrail-exporter"))
    )


#: File -> what belongs into it.
PAGES: dict[str, Callable[[], str]] = {
    "docs/configuration.md": reference.configuration,
    "docs/config.schema.json": reference.config_schema,
    "docs/metrics.md": reference.metrics_page,
    "docs/errors.md": reference.errors_page,
    "docs/cli.md": cli_page,
    "examples/full.yaml": reference.config_example,
}


def keep(files: Mapping[str, str], argv: Sequence[str], *, root: Path) -> int:
    """Write what is generated, or with ``--check`` show how it differs from what is there; returns the exit code.

    Args:
        files: path below the root -> what belongs there.
    """
    check = "--check" in argv
    stale = 0
    for name, text in files.items():
        path = root / name
        old = path.read_text() if path.exists() else ""
        if old == text:
            continue
        stale += 1
        if check:
            lines = difflib.unified_diff(old.splitlines(), text.splitlines(), name, "generated", lineterm="", n=1)
            sys.stderr.write(f"{name} is stale: run `make generate`\n")
            sys.stderr.write("".join(f"  {line}\n" for line in list(lines)[:_SHOWN]))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if stale and check else 0


def main(argv: Sequence[str]) -> int:
    """Keep the pages below the current folder; returns the exit code."""
    return keep({name: page() for name, page in PAGES.items()}, argv, root=Path())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
