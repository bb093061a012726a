"""What the process says of itself: to the landing page, to ``/-/ready``, to whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["SourceStatus", "Status"]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One partition of a source.

    Attributes:
        name: the configured name of the source.
        type: ``files``, ``lookup`` ...
        partition: which part of it.
        state: a word or two for people: ``reading``, ``caught up``, ``blocked``, ``switched off``.
        last_success: when a poll last worked; None: not yet.
        through: event time up to which everything is committed; None: unknown.
        hint: what an operator has to do; empty: nothing.
    """

    name: str
    type: str
    partition: str
    state: str
    last_success: datetime | None = None
    through: datetime | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """The process at one moment.

    Attributes:
        ready: what ``/-/ready`` says.
        reasons: why not, one line each; empty when ready.
        version: of the exporter.
        started_at: when the process began.
        reading: in one line, what it reads.
        sending: in one line, where it sends.
        keeping: in one line, where it keeps its state.
        counted: in one line, how much was counted ever.
        notices: what people should know and nobody has to mend (a service that has ended).
    """

    ready: bool
    reasons: tuple[str, ...]
    version: str
    started_at: datetime
    sources: tuple[SourceStatus, ...] = ()
    reading: str = ""
    sending: str = ""
    keeping: str = ""
    counted: str = ""
    notices: tuple[str, ...] = ()
