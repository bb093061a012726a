"""``python -m tools.chart`` checks everything; ``--check`` only the generated files; ``--generate`` writes them."""

from __future__ import annotations

import sys

from tools.chart import check, readme, schema


def main(argv: list[str]) -> int:
    """Returns the exit code."""
    if argv in (["--check"], ["--generate"]):
        return max(schema.main(argv), readme.main(argv))
    if argv:
        sys.stderr.write("usage: python -m tools.chart [--check | --generate]\n")
        return 2
    return check.main()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
