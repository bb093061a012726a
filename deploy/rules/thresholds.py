"""The numbers of the alerts that may be set: in the chart as ``prometheusRule.defaultRules.thresholds``."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.rules.model import Threshold

__all__ = ["THRESHOLDS"]

_ALL = (
    Threshold("restarts", 3, "starts in an hour", "More starts of the process than this are too many."),
    Threshold("stalledSeconds", 900, "seconds", "A source may bring nothing, and finish no poll, for so long."),
    Threshold("behindSeconds", 1800, "seconds", "A source may be this far behind before somebody should look."),
    Threshold("behindCriticalSeconds", 14400, "seconds", "A source this far behind is worth waking somebody."),
    Threshold(
        "catchUpSpeed",
        2,
        "seconds of events per second",
        "A source that reads old events faster than this is catching up, and not behind.",
    ),
    Threshold("awsApiErrorRatio", 0.05, "share of requests", "More requests to AWS than this may not fail."),
    Threshold("throttledRatio", 0.1, "share of requests", "AWS may turn away no more requests than this."),
    Threshold("messageAgeSeconds", 1800, "seconds", "Nine of ten messages are deleted within this time."),
    Threshold("exportFailureRatio", 0.1, "share of requests", "More OTLP requests than this may not fail."),
    Threshold("stateSavedSeconds", 900, "seconds", "Commits may go wrong for so long."),
    Threshold("quarantined", 0, "records in an hour", "More records than this may not go to quarantine."),
    Threshold("unbalanced", 0, "records", "Records that the books may be out by, for longer than a scrape."),
    Threshold("seriesRatio", 0.9, "share of metrics.max_series", "More event series than this are too many."),
    Threshold("freshnessSeconds", 1800, "seconds", "A source is fresh while it is no further behind than this."),
    Threshold("freshnessObjective", 0.99, "share of time", "Every source is fresh for at least this share."),
    Threshold("pageBurn", 14.4, "times the budget", "Burn over 1 h and 5 min that pages: 2 % of a month's in an hour."),
    Threshold("pageLongBurn", 6, "times the budget", "Burn over 6 h and 30 min that pages: 5 % of a month's in 6 h."),
    Threshold("ticketBurn", 1, "times the budget", "Burn over 3 d and 6 h that is worth a ticket."),
    Threshold("rootEvents", 0, "events in 15 min", "More calls by root than this are reported."),
    Threshold("deniedEvents", 5, "events in 15 min", "More refused calls than this are a burst."),
    Threshold("destructiveEvents", 0, "events in 15 min", "More calls of an operation Delete* than this are reported."),
)

#: Name -> threshold, in the order of the documentation.
THRESHOLDS: Mapping[str, Threshold] = {threshold.name: threshold for threshold in _ALL}
