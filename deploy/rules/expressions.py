"""Pieces of PromQL that several rules share, and the process that their cases look at."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.metrics import PREFIX

__all__ = [
    "EACH",
    "JOB",
    "TARGET",
    "foreign",
    "grown",
    "increased",
    "metric",
    "series",
    "since_last",
    "started",
]

#: Labels of one deployment; cluster and namespace are empty where nobody sets them, and harmless then.
JOB = "cluster, namespace, job"
#: Labels of one process.
EACH = f"{JOB}, instance"

#: The process of the cases.
TARGET: Mapping[str, str] = {"job": "cloudtrail-exporter", "instance": "exporter:10042"}


def metric(name: str, *matchers: str, own: bool = True) -> str:
    """The selector of a metric; ``own``: the exporter's prefix goes before the name."""
    return f"{PREFIX if own else ''}{name}{{{','.join(('[[selector]]', *matchers))}}}"


def started() -> str:
    """When the process began, also while a scrape fails."""
    return f"max by ({EACH}) (max_over_time({metric('process_start_time_seconds', own=False)}[5m]))"


def grown(counter: str, minutes: int, by: str) -> str:
    """By how much a counter of the process has grown in so many minutes, summed.

    ``increase()`` alone does not see what was counted before the first scrape: in a process that is younger than the
    window everything on the counter is growth.
    """
    young = f"on ({EACH}) time() - {metric('process_start_time_seconds', own=False)} < {minutes * 60}"
    return f"sum by ({by}) (({counter} and {young}) or increase({counter}[{minutes}m]))"


def increased(counter: str, minutes: int, by: str) -> str:
    """By how much a counter that outlives the process has grown in so many minutes, summed."""
    return f"sum by ({by}) (increase({counter}[{minutes}m]))"


def since_last(timestamp: str, by: str, presence: str) -> str:
    """Seconds since an instant that is 0 as long as it has not come; then, since the process began.

    Args:
        timestamp: the gauge; the newest of those with the same ``by`` counts.
        presence: any metric that is there from the start with the labels ``by``.
    """
    return (
        f"((time() - max by ({by}) (max_over_time({timestamp}[5m]) > 0))"
        f" or (time() - (0 * max by ({by}) ({presence}) + on ({EACH}) group_left () {started()})))"
    )


def series(name: str, **labels: str) -> str:
    """A series of the cases' process under the exporter's prefix, as promtool wants it."""
    return foreign(PREFIX + name, **labels)


def foreign(name: str, **labels: str) -> str:
    """The same for a name that is not the exporter's own, or is whole already."""
    inside = ",".join(f'{key}="{value}"' for key, value in {**TARGET, **labels}.items())
    return f"{name}{{{inside}}}"
