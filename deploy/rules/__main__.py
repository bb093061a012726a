"""``python -m deploy.rules [--check]``: write the files, or say which are stale and exit with 1."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.rules.render import files

ROOT = Path(__file__).resolve().parents[2]
#: Lines of a difference that are worth a look in a log.
SHOWN = 40


def main(argv: Sequence[str]) -> int:
    """Write or compare; returns the exit code."""
    check = "--check" in argv
    stale = 0
    for name, text in files().items():
        path = ROOT / name
        old = path.read_text() if path.exists() else ""
        if old == text:
            continue
        stale += 1
        if check:
            lines = difflib.unified_diff(old.splitlines(), text.splitlines(), name, "generated", lineterm="", n=1)
            sys.stderr.write(f"{name} is stale: run `python -m deploy.rules`\n")
            sys.stderr.write("".join(f"  {line}\n" for line in list(lines)[:SHOWN]))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
