"""YAML as every file of ours is read: safe, a key given twice is an error, times stay text."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["load"]


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice instead of taking the last one."""


def _no_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is there twice", node.value[index][0].start_mark
            )
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _no_duplicates)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))


def load(text: str) -> Any:
    """What the text says, as plain Python values; None for an empty one.

    Raises:
        yaml.YAMLError: it is no YAML, or says a key twice.
        RecursionError, ValueError, TypeError: nested too deep; a value of an impossible kind; a list as a key.
    """
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
