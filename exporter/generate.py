"""The generated files of the repository: ``python -m exporter.generate [--check]``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer.main

from exporter import reference
from exporter.cli import app

__all__ = ["PAGES", "main"]


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


def main(argv: list[str]) -> int:
    """Write the pages below the current folder, or with ``--check`` say which are stale; returns the exit code."""
    stale = 0
    for name, page in PAGES.items():
        path, text = Path(name), page()
        if path.exists() and path.read_text() == text:
            continue
        stale += 1
        if "--check" in argv:
            sys.stderr.write(f"{name} is stale: run `make generate`\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if stale and "--check" in argv else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
