"""What the Dockerfile says, without building it: `make image` builds it and sees the same on the image."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "Dockerfile"


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """(NAME, rest) of every instruction, continued lines joined, comments left out."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in kept.replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), " ".join(rest.split())


def stages(text: str) -> list[list[tuple[str, str]]]:
    """What stands before the first FROM, then each stage beginning with its FROM."""
    found: list[list[tuple[str, str]]] = [[]]
    for name, rest in instructions(text):
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found


HEAD, BUILD, FINAL = stages(DOCKERFILE.read_text())


def only(stage: list[tuple[str, str]], name: str) -> str:
    (value,) = [rest for found, rest in stage if found == name]
    return value


def module(name: str) -> ModuleType:
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / "tools" / name)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    # A class statement looks its module up.
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def test_hadolint_finds_nothing():
    """The linter's whole rule set, nothing switched off."""
    assert "hadolint ignore" not in DOCKERFILE.read_text()
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_both_stages_stand_on_the_base_of_the_build_argument():
    """The interpreter a package was installed for is the one that runs it."""
    assert HEAD == [("ARG", "PYTHON_IMAGE=python:3.13-slim")]
    assert only(BUILD, "FROM") == "${PYTHON_IMAGE} AS build"
    assert only(FINAL, "FROM") == "${PYTHON_IMAGE}"


def test_the_default_base_is_a_python_the_project_supports():
    """A minor version that pyproject.toml names, and not a moving `latest`."""
    minor = re.fullmatch(r"PYTHON_IMAGE=python:(3\.\d+)-slim", only(HEAD, "ARG"))
    assert minor is not None
    assert f'"Programming Language :: Python :: {minor[1]}"' in (ROOT / "pyproject.toml").read_text()


def test_every_download_is_held_to_hashes_and_needs_no_compiler():
    """Each `pip install` either checks hashes and takes wheels only, or reaches no index at all."""
    commands = [part.strip() for name, rest in BUILD if name == "RUN" for part in rest.split("&&")]
    installs = [command for command in commands if "pip" in command and " install " in command]
    assert len(installs) == 3
    for command in installs:
        locked = "--require-hashes" in command and "--only-binary=:all:" in command
        assert locked or "--no-index" in command, command
    wheels = [command for command in commands if " wheel " in command]
    assert wheels
    assert all("--no-deps" in command and "--no-build-isolation" in command for command in wheels)


def test_the_build_backend_is_the_one_of_the_development_lock():
    """tools/image/build-requirements.txt holds no line that requirements/dev.txt lacks: same versions, same hashes."""
    lock, development = (
        {
            line.strip(" \\")
            for line in path.read_text().splitlines()
            if line.strip() and not line.lstrip().startswith("#")
        }
        for path in (ROOT / "tools/image/build-requirements.txt", ROOT / "requirements/dev.txt")
    )
    assert any(line.startswith("hatchling==") for line in lock)
    assert lock <= development


def test_the_build_lock_carries_hashes_and_names_no_index():
    """The same rules as for requirements/."""
    problems = module("checks.py").lock_problems((ROOT / "tools/image/build-requirements.txt").read_text())
    assert list(problems) == []


def test_bytecode_is_valid_by_itself():
    """Bytecode that compares file times would be stale in a layer with times of its own."""
    compiles = [rest for stage in (BUILD, FINAL) for name, rest in stage if name == "RUN" and "compileall" in rest]
    assert len(compiles) == 2
    # What pip compiled would be kept, and it compares times.
    into_the_image = [rest for name, rest in BUILD if name == "RUN" for rest in rest.split("&&") if "--python" in rest]
    assert len(into_the_image) == 2
    assert all("--no-compile" in rest for rest in into_the_image)
    assert all("--invalidation-mode unchecked-hash" in rest for rest in compiles)


def test_secrets_are_mounted_for_one_step_and_never_in_the_final_stage():
    """Neither ENV nor ARG nor COPY carries how packages are reached."""
    assert any("--mount=type=secret,id=pip.conf" in rest for _, rest in BUILD)
    assert not any("secret" in rest for _, rest in FINAL)
    names = [rest for stage in (HEAD, BUILD, FINAL) for name, rest in stage if name in ("ARG", "ENV", "COPY")]
    assert not any(re.search(r"(?i)index|proxy|token|password|pip\.conf$", rest) for rest in names)


def test_nothing_is_added_from_an_address():
    """ADD fetches and unpacks; COPY does neither."""
    assert not any(name == "ADD" for stage in (BUILD, FINAL) for name, _ in stage)


def test_the_user_is_a_number():
    """The kubelet cannot see that a name is not root."""
    assert only(FINAL, "USER") == "65532:65532"


def test_nothing_runs_as_root_after_the_user_is_set():
    """USER stands behind every RUN and COPY of its stage."""
    names = [name for name, _ in FINAL]
    assert max(index for index, name in enumerate(names) if name in ("RUN", "COPY")) < names.index("USER")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ENTRYPOINT", ["cloudtrail-exporter"]),
        ("CMD", ["run", "--web.listen-address=:10042"]),
    ],
    ids=["ENTRYPOINT", "CMD"],
)
def test_the_process_is_pid_1_without_a_shell(name: str, words: list[str]):
    """The exec form; a shell as PID 1 would keep SIGTERM to itself."""
    assert json.loads(only(FINAL, name)) == words


def test_the_health_check_needs_no_shell_and_asks_the_port_of_the_command():
    """It asks where CMD listens, whatever the configuration file says."""
    words = json.loads(only(FINAL, "HEALTHCHECK").partition("CMD ")[2])
    assert words == ["cloudtrail-exporter", "healthcheck", "--web.listen-address=:10042"]
    assert only(FINAL, "EXPOSE") == "10042"


def test_the_environment_is_what_the_chart_relies_on():
    """The state directory, and Python as a service wants it."""
    pairs = dict(pair.split("=", 1) for pair in only(FINAL, "ENV").split())
    assert pairs == {
        "PATH": "/opt/cloudtrail-exporter/bin:/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",
        "MALLOC_ARENA_MAX": "2",
        "STATE_DIRECTORY": "/var/lib/cloudtrail-exporter",
        "CLOUDTRAIL_EXPORTER_REVISION": "${REVISION}",
    }


def test_the_labels_are_those_of_oci():
    """Every one a build can know, from build arguments."""
    keys = re.findall(r"org\.opencontainers\.image\.(\w+)=", only(FINAL, "LABEL"))
    assert keys == ["title", "description", "licenses", "version", "revision", "created", "source"]


def test_no_volume_is_declared():
    """A runtime would make an unnamed one, and the ledger would be gone after the next update."""
    assert not any(name == "VOLUME" for name, _ in FINAL)


def test_the_context_is_an_allow_list_of_what_is_copied():
    """What .dockerignore lets through is what COPY takes, no more and no less."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {source for name, rest in BUILD if name == "COPY" for source in rest.split()[:-1]}
    assert allowed == copied
    assert all((ROOT / path).exists() for path in allowed)
    assert [line for line in lines[1:] if not line.startswith("!")] == ["**/__pycache__", "**/*.pyc"]


@pytest.mark.parametrize(
    ("listed", "options", "certificate"),
    [
        ("", {}, ""),
        ("global.index-url='https://index.example/simple'", {"index-url": "https://index.example/simple"}, ""),
        (
            "global.index-url='https://file.example/simple'\n:env:.index-url='https://env.example/simple'",
            {"index-url": "https://env.example/simple"},
            "",
        ),
        (
            ":env:.index-url='https://env.example/simple'\nglobal.index-url='https://file.example/simple'",
            {"index-url": "https://env.example/simple"},
            "",
        ),
        ("global.cert='/etc/ca.crt'\n:env:.default-timeout='180'", {"timeout": "180"}, "/etc/ca.crt"),
        (":env:.find-links='/opt/wheels https://w.example/'", {"find-links": "https://w.example/"}, ""),
        ("global.user='yes'\nglobal.target='/x'\nlist.format='json'", {}, ""),
    ],
    ids=[
        "nothing",
        "a file",
        "the environment wins",
        "in any order",
        "a certificate",
        "local folders",
        "other options",
    ],
)
def test_the_build_gets_what_pip_was_told_about_reaching_packages(listed, options, certificate):
    """And nothing of what pip was told besides."""
    assert module("image/pipconf.py").settings(listed) == (options, certificate)


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)], ids=["here", "in CI"])
def test_a_missing_tool_skips_loudly_and_fails_in_ci(tmp_path: Path, ci: str, code: int):
    """Without buildah nothing is proved, and it says so."""
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(next(p for d in os.get_exec_path() if (p := Path(d, tool)).exists()))
    done = subprocess.run(
        ["bash", ROOT / "tools/image.sh"], env={"PATH": str(tmp_path), "CI": ci}, capture_output=True, text=True
    )
    assert done.returncode == code
    assert "SKIPPED" in done.stderr
    assert "buildah" in done.stderr
