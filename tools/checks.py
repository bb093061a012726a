"""What no linter knows: lock files carry hashes and name no index; no file names the machine it was written on."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Folders that git ignores (.gitignore) or owns.
IGNORED = {".git", ".venv", ".tools", ".run", "__pycache__", "dist", "build", "node_modules", "tmp"}

#: A line of a requirements file that says where to download from: an option, a URL, or "name @ URL".
INDEX = re.compile(r"^\s*(-i\b|-f\b|--(extra-)?index-url|--find-links|--trusted-host)|://|^[A-Za-z0-9_.\[\]-]+ @ ")

#: The first line of one pinned requirement; its hashes follow on continued lines.
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)(\[[^]]*\])?==\S+")


def lock_problems(text: str) -> Iterator[str]:
    """What is wrong with one hash-locked requirements file, a line for people each."""
    for number, line in enumerate(text.splitlines(), start=1):
        if INDEX.search(line):
            yield f"line {number} names a place to download from: {line.strip()}"
    for requirement in text.replace("\\\n", " ").splitlines():
        stripped = requirement.strip()
        if not stripped or stripped.startswith(("#", "-")):
            continue
        if not PINNED.match(stripped):
            yield f"not pinned to one version: {stripped[:80]}"
        elif "--hash=sha256:" not in stripped:
            yield f"no hash: {stripped[:80]}"


def files(root: Path) -> Iterator[Path]:
    """Every file under the folder that could be committed."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name for name in folders if name not in IGNORED and not name.endswith(("_cache", ".egg-info"))
        )
        folders[:] = [name for name in folders if name != ".hypothesis"]
        yield from (Path(folder, name) for name in sorted(names))


def machine_paths(root: Path, home: Path) -> tuple[bytes, ...]:
    """Texts that occur only in a file written on this machine: where the clone lies, and the home folder of a person.

    The home folders of root and of a container's user are the same everywhere and say nothing.
    """
    paths = [root] if len(root.parts) > 2 else []
    if home.parts[:2] in ((os.sep, "home"), (os.sep, "Users")):
        paths.append(home)
    return tuple(str(path).encode() for path in paths)


def problems(root: Path, home: Path) -> Iterator[str]:
    """Everything found, a line for people each."""
    locks = sorted((root / "requirements").glob("*.txt"))
    if not locks:
        yield "requirements/: no lock file"
    for lock in locks:
        for problem in lock_problems(lock.read_text()):
            yield f"{lock.relative_to(root)}: {problem}; `make lock` writes it anew"
    needles = machine_paths(root, home)
    for path in files(root):
        data = path.read_bytes() if path.is_file() and path.stat().st_size < 4_000_000 else b""
        for needle in needles:
            if needle in data:
                yield f"{path.relative_to(root)}: names a path of this machine: {needle.decode()}"


if __name__ == "__main__":
    found = list(problems(ROOT, Path.home()))
    for line in found:
        print(line, file=sys.stderr)
    sys.exit(bool(found))
