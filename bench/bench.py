"""Measures this machine and prints a table; decides nothing. Each figure stands beside a reference of the same run.

``make bench``, or ``python -m bench.bench NAME ...`` for some: start, memory, throughput, scrape, sift, small, large,
objects.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import archives
from bench.objects import objects
from bench.rows import Row, memory, scrape, start, throughput

BENCHES: dict[str, Callable[[Path], Iterator[Row]]] = {
    "start": start,
    "memory": memory,
    "throughput": throughput,
    "scrape": scrape,
    "sift": archives.sift,
    "small": archives.small,
    "large": archives.large,
    "objects": objects,
}


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(BENCHES))
    if unknown:
        print(f"no such measurement: {', '.join(unknown)}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    rows = [Row("what", "measured", "reference, same run", "goal")]
    for name in names or list(BENCHES):
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows += BENCHES[name](Path(folder))
    print(f"\nPython {platform.python_version()}, {os.cpu_count()} cores")
    cells = [(row.what, row.measured, row.reference, row.goal) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
