"""The part of LogQL the Events dashboard uses, as a grammar; stricter than Loki's, and there without any tool.

tests/e2e/test_e2e_dashboards.py asks Loki's own parser.
"""

from __future__ import annotations

import re

_TEXT = r"(?:`[^`]*`|\"[^\"\\]*\")"
_MATCHER = rf"\w+(?:=~|!~|!=|=){_TEXT}"
STREAM = rf"\{{{_MATCHER}(?:, {_MATCHER})*\}}"
_STAGE = rf"(?: (?:\|=|!=|\|~|!~) {_TEXT}| \| {_MATCHER}| \| line_format {_TEXT})"
_LOGS = f"{STREAM}{_STAGE}*"
_COUNTED = rf"count_over_time\({_LOGS} \[\d+[smhd]\]\)"
_GROUPED = rf"(?:sum|count)(?: by \(\w+(?:, \w+)*\))? ?\({_COUNTED}\)"
_TWICE = rf"(?:sum|count)(?: by \(\w+(?:, \w+)*\))? ?\({_GROUPED}\)"

_QUERY = re.compile(f"{_LOGS}|{_GROUPED}|{_TWICE}")


def parses(query: str) -> bool:
    """Whether the whole of it is a query, and every regular expression and template in it can be read."""
    if not _QUERY.fullmatch(query):
        return False
    for operator, text in re.findall(rf"(=~|!~|\|~) ?({_TEXT})", query):
        assert operator
        re.compile(text[1:-1])
    return all(
        part.count("{{") == part.count("}}") and re.fullmatch(r"(?:[^{}]|\{\{(?:\.\w+|__line__)\}\})*", part)
        for part in re.findall(r"line_format `([^`]*)`", query)
    )


def labels(query: str) -> set[str]:
    """Every label it names: in matchers, in groupings, in templates."""
    bare = re.sub(r"line_format `[^`]*`", "", query)
    named = set(re.findall(rf"(\w+)(?:=~|!~|!=|=){_TEXT}", bare))
    for group in re.findall(r"by \(([\w, ]+)\)", bare):
        named |= set(group.split(", "))
    return named | set(re.findall(r"\{\{\.(\w+)\}\}", query))
