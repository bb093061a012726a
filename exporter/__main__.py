"""``python -m exporter`` and the console script: signal handlers first, then what is slow to import."""

from __future__ import annotations

import sys

from exporter.signals import ending

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave with its exit code."""
    ending.install()
    from exporter import cli

    sys.exit(cli.main())


if __name__ == "__main__":
    main()
