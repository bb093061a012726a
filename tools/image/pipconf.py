"""What pip was told on this machine, as two files that a build may mount: ``pip.conf`` and ``pip-ca.crt``.

``pip config list`` is asked, so that files, environment and their precedence are pip's own business. Paths of this
machine mean nothing inside: the certificate is copied and renamed, other local paths are left out.
"""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path

__all__ = ["CANARY", "settings"]

#: A value that pip does not look at. ``prove.py`` searches the image for it.
CANARY = "canary-of-the-image"

#: Options of pip that say how to reach packages. All others are the Dockerfile's to choose.
REACHING = {
    "index-url",
    "extra-index-url",
    "no-index",
    "find-links",
    "trusted-host",
    "proxy",
    "cert",
    "timeout",
    "default-timeout",
    "retries",
}

#: Where the Dockerfile has the certificate mounted.
CERTIFICATE = "/run/secrets/pip-ca.crt"


def settings(listed: str) -> tuple[dict[str, str], str]:
    """Read what ``pip config list`` printed: the options to hand on, and the path of the certificate or ``""``.

    A line is ``section.option='value'``; ``:env:`` comes from variables and outranks the files.
    """
    options: dict[str, str] = {}
    for wanted in (False, True):
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            section, _, option = name.rpartition(".")
            option = option.replace("_", "-")
            if option in REACHING and (section == ":env:") is wanted and section in ("global", "install", ":env:"):
                options[option.replace("default-timeout", "timeout")] = str(ast.literal_eval(value))
    if "find-links" in options:
        remote = [place for place in options.pop("find-links").split() if "://" in place and "file://" not in place]
        if remote:
            options["find-links"] = "\n".join(remote)
    certificate = options.pop("cert", "")
    return options, certificate


def main(folder: Path) -> None:
    """Write both files; without a certificate of this machine's own the second is empty."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    options, certificate = settings(listed)
    file = configparser.RawConfigParser()
    file["global"] = {**options, **({"cert": CERTIFICATE} if certificate else {})}
    file["canary"] = {"value": CANARY}
    for name, data in (("pip.conf", None), ("pip-ca.crt", Path(certificate).read_bytes() if certificate else b"")):
        path = folder / name
        path.touch(mode=0o600)
        if data is None:
            with path.open("w") as stream:
                file.write(stream)
        else:
            path.write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
