"""What a rule is, what a case that tests it is, and the numbers that may be set.

In expressions and texts ``[[name]]`` stands for a threshold and ``[[selector]]`` for the label matchers of the
exporter's targets: the plain rule files have the defaults there, the chart's have template expressions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["SLOT", "Alert", "Case", "Fired", "Group", "Query", "Recording", "Severity", "Threshold"]

Severity = Literal["critical", "warning", "info"]

#: A place in an expression or a text that is filled in.
SLOT = re.compile(r"\[\[(\w+)\]\]")


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number that users may set.

    Attributes:
        name: camelCase; the key in the chart's values.
        default: what the plain rule files have.
        unit: in words, for the documentation.
        meaning: what it decides.
    """

    name: str
    default: float
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert that is expected to fire.

    Attributes:
        labels: those of the expression; ``job`` and ``instance`` of the cases' process are added unless ``whole``.
        values: what each ``{{ $value ... }}`` of the annotations shows, in their order.
        whole: the labels are all there are.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    values: tuple[str, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One promtool unit test of an alert.

    Attributes:
        name: the behaviour, as a sentence.
        series: name and labels -> samples in promtool's notation, one each ``step`` from minute 0 on.
        checks: minute -> what fires then.
        recorded: the recording rules are loaded too.
        step: minutes between two samples and two evaluations.
    """

    name: str
    series: Mapping[str, str]
    checks: Mapping[int, Sequence[Fired]]
    recorded: bool = False
    step: int = 1

    @property
    def fires(self) -> bool:
        """Whether something is expected to fire at some minute."""
        return any(self.checks.values())


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        name: without the prefix; ``Behind`` is ``CloudTrailExporterBehind``.
        prefix: what it is about: the exporter, or for alerts on what the events say, CloudTrail.
        minutes: how long the expression has to hold before it fires (``for``).
        summary: one short line.
        description: what is wrong, with labels and value; a sentence to act on.
        action: the first thing to do.
        dashboard: ``overview``, ``pipeline`` or ``events``.
    """

    name: str
    severity: Severity
    expr: str
    minutes: int
    summary: str
    description: str
    action: str
    dashboard: str = "pipeline"
    cases: tuple[Case, ...] = ()
    prefix: Literal["CloudTrailExporter", "CloudTrail"] = "CloudTrailExporter"

    @property
    def title(self) -> str:
        """The name Prometheus knows it by."""
        return f"{self.prefix}{self.name}"

    @property
    def thresholds(self) -> tuple[str, ...]:
        """Names of the thresholds in the expression, in order, each once."""
        return tuple(dict.fromkeys(name for name in SLOT.findall(self.expr) if name != "selector"))


@dataclass(frozen=True, slots=True)
class Query:
    """A query of a recording rule's test: at this minute it gives these samples."""

    minute: int
    expr: str
    samples: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording rule: its name says level, metric and operation."""

    name: str
    expr: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together, in order.

    Attributes:
        file: the rule file it is in: ``alerts``, ``content-alerts`` or ``recording``.
        interval: seconds between two evaluations; None: as Prometheus is configured.
    """

    name: str
    file: str
    rules: tuple[Alert | Recording, ...]
    interval: int | None = None
