"""``python -m deploy.rules [--check]``: write the files, or say which are stale and exit with 1."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.rules.render import files
from exporter.generate import keep

ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str]) -> int:
    """Write or compare; returns the exit code."""
    return keep(files(), argv, root=ROOT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
