"""docs/mapping.md names every attribute there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from exporter.mapping import Mapper, MappingOptions
from tests.fakes.events import FULL, IDENTITIES, record_of

PAGE = (Path(__file__).parent.parent / "docs" / "mapping.md").read_text()


def named() -> set[str]:
    """The names on the page; `.short` forms continue the name before them."""
    names: set[str] = set()
    base = ""
    for row in re.findall(r"^\|.*$", PAGE, re.MULTILINE):
        for name in re.findall(r"`([a-z0-9_.]+)`", row):
            if name.startswith("."):
                names.update({base.rpartition(".")[0] + name, ".".join(base.split(".")[:2]) + name})
            elif "." in name:
                base = name
                names.add(name)
    return names


def test_every_attribute_of_a_full_record_is_on_the_page():
    """Whoever sees an attribute finds it explained."""
    options = MappingOptions(credential_id=True, provenance=True, timestamp="observed")
    emitted: set[str] = set()
    for record in [
        record_of(FULL),
        *(record_of({**FULL, "userIdentity": identity}) for identity in IDENTITIES.values()),
    ]:
        mapped = Mapper(options)(record)
        emitted |= set(mapped.log_record.attributes or {}) | set(mapped.resource.attributes)
    missing = {name for name in emitted if name not in named()}
    assert missing == set()
