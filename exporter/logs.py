"""The exporter's own log: structured, on standard error, one line an event, safe against what callers wrote."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

__all__ = ["configure"]

_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        pairs = " ".join(f"{key}={value}" for key, value in _extra(record).items() if value not in ("", None, {}))
        line = f"{time} {record.levelname.lower():7} {record.getMessage()}" + (f"  {pairs}" if pairs else "")
        # What a caller wrote may hold line ends and terminal escapes; neither may reach the terminal.
        line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure(
    *,
    level: Literal["debug", "info", "warning", "error"],
    format: Literal["auto", "text", "json"],  # noqa: A002 - the key users write
    stream: TextIO | None = None,
    counter: logging.Handler | None = None,
) -> None:
    """Send the log of this package to the stream (standard error). Libraries speak from warning on.

    Args:
        format: ``auto`` is text on a terminal and JSON elsewhere.
        counter: a second handler, which counts the lines.
    """
    stream = stream or sys.stderr
    text = format == "text" or (format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Text() if text else _Json())
    root = logging.getLogger()
    root.handlers[:] = [handler, *([counter] if counter else [])]
    root.setLevel(logging.WARNING)
    logging.getLogger("exporter").setLevel(_LEVELS[level])
    # A failed refresh of a role is told by us, in one line; botocore adds a traceback to each.
    logging.getLogger("botocore.credentials").setLevel(logging.ERROR)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
