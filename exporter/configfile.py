"""A YAML file and the environment -> :class:`~exporter.config.Settings`, or every problem at once.

Each field is also an environment variable: ``CLOUDTRAIL_EXPORTER_`` and the keys joined by ``__``
(``CLOUDTRAIL_EXPORTER_STATE__PATH``, ``CLOUDTRAIL_EXPORTER_SOURCES__0__REGIONS='[us-east-1]'``). The value is YAML; the
environment wins over the file. A name that is no field is an error, in the file as in the environment.

This is our own code because pydantic-settings takes a misspelt variable in silence, cannot reach into lists, and costs
9 MB of resident memory (docs/adr/0003-configuration.md).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from exporter import strictyaml
from exporter.config import Settings
from exporter.errors import ConfigError, Problem, excerpt

__all__ = ["PREFIX", "environment_names", "load"]

PREFIX = "CLOUDTRAIL_EXPORTER_"

#: Names that are read elsewhere: the path of the file itself, and what an image was built from.
_OTHER_NAMES = {PREFIX + "CONFIG", PREFIX + "REVISION"}

#: Kubernetes puts these into every pod of the namespace when a Service is called cloudtrail-exporter
#: (kubernetes.io, "Accessing the Service", environment variables). They are nobody's typing error.
_SERVICE_LINK = re.compile(r"(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")

_SECRET_WORDS = re.compile(r"header|token|secret|password|authorization|api_?key", re.IGNORECASE)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of a file (none: the defaults) with the environment laid over it.

    Raises:
        ConfigError: with every problem found, each naming its key, the value and what is allowed.
    """
    problems: list[Problem] = []
    tree = _read(path, problems) if path else {}
    names = _lay_over(tree, environ, problems)
    problems += _same_names(tree)
    if isinstance(state := tree.get("state"), dict):
        state.setdefault("type", "sqlite")  # so that CLOUDTRAIL_EXPORTER_STATE__PATH alone is enough
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        problems += [_problem(details, tree, names) for details in error.errors(include_url=False)]
    if problems or settings is None:
        raise ConfigError(_merged(problems))
    return settings


def _merged(problems: Sequence[Problem]) -> list[Problem]:
    """One problem a key: the arms of a union each complain about the same value."""
    merged: dict[str, Problem] = {}
    for problem in problems:
        first = merged.setdefault(problem.key, problem)
        if first is not problem and problem.allowed not in first.allowed:
            merged[problem.key] = Problem(first.key, first.value, f"{first.allowed}, or {problem.allowed}")
    return list(merged.values())


# -- the file -------------------------------------------------------------------------------------------------------


def _read(path: Path, problems: list[Problem]) -> dict[str, Any]:
    try:
        tree = strictyaml.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(Problem("--config", str(path), f"a readable file ({error.strerror})"))
        return {}
    except UnicodeDecodeError:
        problems.append(Problem("--config", str(path), "a UTF-8 text file"))
        return {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        problems.append(Problem("--config", place, f"valid YAML ({getattr(error, 'problem', None) or error})"))
        return {}
    except (RecursionError, ValueError, TypeError):
        problems.append(Problem("--config", str(path), "valid YAML of plain keys and values"))
        return {}
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        problems.append(Problem("--config", str(path), f"keys and values, not a {type(tree).__name__}"))
        return {}
    return tree


# -- the environment ------------------------------------------------------------------------------------------------


def _lay_over(tree: dict[str, Any], environ: Mapping[str, str], problems: list[Problem]) -> dict[str, str]:
    """Put the variables into the tree; returns key -> variable for those that were taken."""
    names: dict[str, str] = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in _OTHER_NAMES:
            continue
        rest = name.removeprefix(PREFIX)
        if _SERVICE_LINK.fullmatch(rest):
            continue
        steps: list[str | int] = [int(step) if step.isdigit() else step.lower() for step in rest.split("__")]
        if not _is_field(steps):
            known = environment_names()
            problems.append(Problem(name, "", "no such setting" + _meant(name, known)))
            continue
        try:
            value = strictyaml.load(environ[name])
        except (yaml.YAMLError, RecursionError, ValueError, TypeError):
            value = environ[name]
        if not _put(tree, steps, value):
            problems.append(Problem(name, "", "does not fit what the file has there"))
            continue
        names[_key(steps)] = name
    return names


def _put(tree: Any, steps: Sequence[str | int], value: Any) -> bool:
    node = tree
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(step, int):
            if not isinstance(node, list) or step > len(node):
                return False
            if step == len(node):
                node.append(None)
        elif not isinstance(node, dict):
            return False
        if following is None:
            node[step] = value
        else:
            if (node.get(step) if isinstance(node, dict) else node[step]) is None:
                node[step] = [] if isinstance(following, int) else {}
            node = node[step]
    return True


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(get_origin(argument) is list for argument in get_args(annotation))


def _is_field(steps: Sequence[str | int]) -> bool:
    models: list[type[BaseModel]] = [Settings]
    annotation: Any = Settings
    for step in steps:
        if isinstance(step, int):
            if not _is_list(annotation):
                return False
            continue
        if not models:  # inside a free mapping such as sink.headers
            return get_origin(annotation) is dict
        fields = [model.model_fields[step] for model in models if step in model.model_fields]
        if not fields:
            return False
        annotation = fields[0].annotation
        models = [model for field in fields for model in _models(field.annotation)]
    return True


def environment_names() -> list[str]:
    """Every variable there is; the first element stands for any in a list."""

    def below(model: type[BaseModel], prefix: str) -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            variable = prefix + name.upper()
            found.append(variable)
            inner = "__0__" if _is_list(field.annotation) else "__"
            for child in _models(field.annotation):
                found += below(child, variable + inner)
        return found

    return list(dict.fromkeys(below(Settings, PREFIX)))


# -- problems -------------------------------------------------------------------------------------------------------


def _key(steps: Sequence[str | int]) -> str:
    parts = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return parts.removeprefix(".")


def _meant(given: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _same_names(tree: Mapping[str, Any]) -> list[Problem]:
    sources = tree.get("sources")
    if not isinstance(sources, list):
        return []
    names = [source.get("name") if isinstance(source, dict) else None for source in sources]
    return [
        Problem(f"sources[{index}].name", str(name), f"a name no other source has; sources[{names.index(name)}] has it")
        for index, name in enumerate(names)
        if name is not None and names.index(name) < index
    ]


def _walk(loc: Sequence[str | int], tree: Any) -> tuple[list[str | int], list[type[BaseModel]]]:
    """A pydantic location -> the steps a user would write, and the models at its parent.

    Pydantic puts the tag of a chosen variant into the location (``sources, 0, files, path``); users do not.
    """
    steps: list[str | int] = []
    models: list[type[BaseModel]] = [Settings]
    node = tree
    for index, step in enumerate(loc):
        last = index == len(loc) - 1
        if isinstance(step, int):
            steps.append(step)
            node = node[step] if isinstance(node, list) and step < len(node) else None
            continue
        chosen = [
            model
            for model in models
            if len(models) > 1
            and "type" in model.model_fields
            and step in get_args(model.model_fields["type"].annotation)
        ]
        if chosen and isinstance(node, dict) and node.get("type") == step:
            models = chosen
            continue
        if step in ("str", "list[str]") and not isinstance(node, dict):  # the arms of a plain union
            continue
        steps.append(step)
        if last:
            break
        models = [
            child
            for model in models
            if step in model.model_fields
            for child in _models(model.model_fields[step].annotation)
        ]
        node = node.get(step) if isinstance(node, dict) else None
    return steps, models


def _problem(details: ErrorDetails, tree: Any, names: Mapping[str, str]) -> Problem:
    steps, models = _walk(details["loc"], tree)
    key = _key(steps)
    kind, context = details["type"], details.get("ctx", {})
    value = "" if kind in ("missing", "extra_forbidden") else _shown(key, details.get("input"))
    if kind == "extra_forbidden":
        known = list(dict.fromkeys(name for model in models for name in model.model_fields))
        allowed = "no such key" + _meant(str(steps[-1]), known) + f"; allowed: {', '.join(known)}"
    elif kind == "missing":
        field = next((model.model_fields[str(steps[-1])] for model in models if steps[-1] in model.model_fields), None)
        allowed = "required" + (f": {field.description}" if field and field.description else "")
    elif kind == "union_tag_invalid":
        key, value = f"{key}.type", str(context.get("tag", ""))
        allowed = f"one of {context.get('expected_tags', '')}" + _meant(
            value, re.findall(r"'([^']+)'", str(context.get("expected_tags", "")))
        )
    elif kind == "union_tag_not_found":
        key, value, allowed = f"{key}.type", "", "required: says which kind it is"
    elif kind == "literal_error":
        allowed = f"one of {context.get('expected', '')}"
    elif kind == "too_short":
        allowed = f"at least {context.get('min_length', 1)}"
    elif kind == "string_type":
        allowed = "text; in quotes when it looks like a number"
    else:
        allowed = details["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    if (variable := names.get(key)) is not None:
        key = f"{key} (from {variable})"
    return Problem(key, value, allowed)


def _shown(key: str, value: object) -> str:
    """The value as given, short; never of a key that holds secrets."""
    if _SECRET_WORDS.search(key) or isinstance(value, SecretStr):
        return "(hidden)"
    if isinstance(value, str) and "@" in value and "://" in value:
        return re.sub(r"://[^@]*@", "://(hidden)@", value)
    shown = repr(value) if isinstance(value, str) else str(value)
    return excerpt(shown)
