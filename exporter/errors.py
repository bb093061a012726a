"""The error tree, named by what the loop does next.

::

    ExporterError
    |-- ConfigError    leave before anything starts; carries every problem at once          (exit 2)
    |   `-- Held       another process has it; `check` says so and goes on
    |-- Retryable      hold what is in flight, wait, try the same again
    |-- Blocked        hold, not ready, tell the operator what to fix: a permission never empties the line
    |-- Permanent      about this data only: halve until the bad record is alone, quarantine it, go on
    |   `-- TooLarge   the request, not the record, is too big: halve and try again
    |-- SwitchedOff    this partition cannot work here (a region without the API): stop its worker alone
    |-- Fenced         another process owns the state now: stop
    `-- Stopping       the process was asked to end: leave at once, nothing is marked as done

Anything else that reaches the loop is a bug: it is logged with its traceback, counted, and the worker starts again
after a back-off. Each error carries a ``reason``, a word from a bounded set that is fit for a metric label; the text
is for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "REASONS",
    "Blocked",
    "ConfigError",
    "ExporterError",
    "Fenced",
    "Held",
    "Permanent",
    "Problem",
    "Retryable",
    "Stopping",
    "SwitchedOff",
    "TooLarge",
    "excerpt",
]

#: Every ``reason`` an error may carry, with its meaning. The failure counters exist at 0 for each of them.
REASONS: dict[str, str] = {
    "throttled": "the service asked for fewer requests",
    "access_denied": "the credentials are good and lack a permission",
    "expired_credentials": "the credentials are missing, wrong or have expired",
    "timeout": "no complete answer in time",
    "connection": "no connection, or it broke",
    "server": "the other side failed (5xx and its kin)",
    "unavailable": "the receiver is there and takes nothing now",
    "invalid": "the other side says the request is wrong",
    "too_large": "the other side says the request is too large",
    "redirect": "the endpoint answers with a redirect",
    "not_otlp": "something answers that does not speak OTLP",
    "not_found": "the endpoint, queue, bucket or file is not there",
    "encode": "the record cannot be put into the wire format",
    "disk": "a local disk is full, read-only or failing",
    "state": "the state cannot be read or written",
    "unsupported": "not offered in this region or partition",
    "bug": "an error of the exporter itself",
    "other": "none of the above",
}


class ExporterError(Exception):
    """Root of the tree.

    Args:
        message: for people; says what was met and what to do.
        reason: a key of :data:`REASONS`.
    """

    def __init__(self, message: str, *, reason: str = "other") -> None:
        super().__init__(message)
        self.reason = reason if reason in REASONS else "other"


def excerpt(text: str, limit: int = 120) -> str:
    """The text, or its beginning and its end when it is longer than ``limit`` characters: a path ends in its name."""
    if len(text) <= limit:
        return text
    tail = (limit - 3) // 2
    return f"{text[: limit - 3 - tail]}...{text[-tail:]}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration: the key, what was given (never a secret), what is allowed."""

    key: str
    value: str
    allowed: str

    def __str__(self) -> str:
        given = f" = {self.value}" if self.value else ""
        return f"{self.key}{given}: {self.allowed}"


class ConfigError(ExporterError):
    """The configuration cannot work. Raised before anything starts, with all problems at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)), reason="invalid")
        self.problems = tuple(problems)


class Held(ConfigError):
    """Another process has what we need for ourselves. For ``check`` that is no fault: the exporter may be running.

    Args:
        holder: who, in words for people.
    """

    def __init__(self, problem: Problem, holder: str) -> None:
        super().__init__([problem])
        self.holder = holder


class Retryable(ExporterError):
    """It may work later: hold and try again.

    Args:
        after: seconds the other side asked us to wait (Retry-After, RetryInfo); None leaves it to our back-off.
    """

    def __init__(self, message: str, *, reason: str = "other", after: float | None = None) -> None:
        super().__init__(message, reason=reason)
        self.after = after


class Blocked(ExporterError):
    """It will not work until a person changes something; the message says what. Holds everything, drops nothing."""


class Permanent(ExporterError):
    """The other side will never take this data. On a single record: quarantine."""


class TooLarge(Permanent):
    """The request as a whole is too big. On a single record it is as permanent as any other refusal."""

    def __init__(self, message: str, *, reason: str = "too_large") -> None:
        super().__init__(message, reason=reason)


class SwitchedOff(ExporterError):
    """This partition is not to be had here. Its worker stops; the others and readiness are untouched."""

    def __init__(self, message: str, *, reason: str = "unsupported") -> None:
        super().__init__(message, reason=reason)


class Fenced(ExporterError):
    """Another owner has taken the state over. Nothing was written."""


class Stopping(ExporterError):
    """The process was asked to end while this was waiting."""

    def __init__(self, message: str = "asked to stop") -> None:
        super().__init__(message)
