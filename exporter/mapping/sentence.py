"""One event as one line for people."""

from __future__ import annotations

from exporter.principal import display_name
from exporter.record import Record, text

__all__ = ["failed", "sentence"]


def failed(record: Record) -> bool:
    """Whether a record without a readable errorCode tells of a failure; sign-ins say it in their response."""
    if record.fields.get("errorMessage") or record.fields.get("errorCode"):
        return True
    response = record.fields.get("responseElements")
    return isinstance(response, dict) and response.get("ConsoleLogin") == "Failure"


def sentence(record: Record) -> str:
    """One line for people: ``IAMUser fred called X on SERVICE in REGION from ADDRESS: ok``.

    Callers write parts of it, so what is not printable becomes ``?`` and each part has at most 200 characters.
    """
    outcome = record.error_code or ("failed" if failed(record) else "ok")
    parts = [
        _plain(record.principal_type),
        _plain(display_name(record)),
        "called",
        _plain(record.event_name) or "-",
        "on",
        _plain(record.event_source) or "-",
    ]
    for word, value in (("in", record.aws_region), ("from", text(record.fields.get("sourceIPAddress")))):
        if value:
            parts += [word, _plain(value)]
    return " ".join(part for part in parts if part) + ": " + _plain(outcome)


def _plain(value: str) -> str:
    if len(value) > 200:
        value = value[:199] + "…"
    return value if value.isprintable() else "".join(char if char.isprintable() else "?" for char in value)
