"""``python -m deploy.dashboards [--check]``: write the dashboards, or say which files are stale and exit with 1."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.dashboards.render import FOLDER, dashboards
from exporter.generate import keep

ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str]) -> int:
    """Write or compare; returns the exit code."""
    return keep({f"{FOLDER}/{name}": text for name, text in dashboards().items()}, argv, root=ROOT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
