#!/usr/bin/env bash
# Re-resolves the hash-locked files from pyproject.toml: what runs, what develops, what builds the wheel in the image. No index address is written: whoever installs brings their own.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-find-links --custom-compile-command 'make lock' "$@"; }
compile pyproject.toml --extra grpc --extra auth -o requirements/runtime.txt
compile pyproject.toml --extra grpc --extra auth --group dev -c requirements/runtime.txt -o requirements/dev.txt
python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' |
    compile - -c requirements/dev.txt -o tools/image/build-requirements.txt
