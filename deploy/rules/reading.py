"""Alerts on reading: does each source get on, how far is it behind, what do AWS, S3 and SQS answer."""

from __future__ import annotations

from deploy.rules.expressions import EACH, foreign, grown, metric, series, since_last, started
from deploy.rules.model import Alert, Case, Fired, Group, Severity

__all__ = ["GROUP", "LAG", "MOVED"]

_BY = f"{EACH}, source"
_PART = f"{_BY}, partition"
_SUCCESS = metric("last_poll_success_timestamp_seconds")
_CHECKPOINT = metric("checkpoint_timestamp_seconds")
_FAILURES = metric("aws_api_request_failures_total")
_REQUESTS = metric("aws_api_requests_total")
_THROTTLED = metric("aws_api_request_failures_total", 'reason="throttled"')
_CREDENTIALS = "access_denied|expired_credentials"

#: Sources of which something came in within the last 15 minutes, or was found not to be there.
MOVED = (
    f"(sum by ({_BY}) (increase({metric('events_read_total')}[15m])) > 0"
    f" or max by ({_BY}) (changes({_CHECKPOINT}[15m])) > 0)"
)

# A partition whose polls work and whose checkpoint stands still has been read to its configured end, or (the re-listing
# of a queue) is not due yet. In one that goes on, a poll that works moves the checkpoint.
_AT_REST = f"(changes({_CHECKPOINT}[30m]) == 0 and time() - max_over_time({_SUCCESS}[5m]) < 900)"
_CATCHING_UP = f"deriv(({_CHECKPOINT} > 0)[1h:1m]) > [[catchUpSpeed]]"

#: Seconds each source is behind in its worst partition; a checkpoint of 0 is not known and says nothing.
LAG = (
    f"max by ({_BY}) (time() - (max_over_time({_CHECKPOINT}[5m]) > 0)"
    f" unless {_AT_REST}"
    f" unless on ({_PART}) {_CATCHING_UP})"
)
_OLD_ENOUGH = f"and on ({EACH}) time() - {started()} > 1800"

_START = foreign("process_start_time_seconds")
_TRAIL = {"source": "trail", "partition": "111122223333/us-east-1"}
_OTHER = {"source": "trail", "partition": "111122223333/eu-west-1"}
_UP, _UP_OTHER = series("source_up", **_TRAIL), series("source_up", **_OTHER)
_LAST, _LAST_OTHER = (series("last_poll_success_timestamp_seconds", **labels) for labels in (_TRAIL, _OTHER))
_THROUGH, _THROUGH_OTHER = (series("checkpoint_timestamp_seconds", **labels) for labels in (_TRAIL, _OTHER))
_READ = series("events_read_total", source="trail")
_GAPS = series("gaps_total", source="trail")


def _failed(api: str, reason: str) -> str:
    return series("aws_api_request_failures_total", api=api, reason=reason)


def _asked(api: str) -> str:
    return series("aws_api_requests_total", api=api)


def _behind(name: str, severity: Severity, threshold: str, summary: str, cases: tuple[Case, ...]) -> Alert:

    return Alert(
        name=name,
        severity=severity,
        expr=f"{LAG} > [[{threshold}]] {_OLD_ENOUGH}",
        minutes=15,
        summary=summary,
        description="Source {{ $labels.source }} on {{ $labels.instance }} is {{ $value | humanizeDuration }} behind "
        "and does not catch up. Later events are not published yet; none is lost while AWS keeps them.",
        action="Look at the partition on the landing page: what it waits for is written there.",
        dashboard="overview",
        cases=cases,
    )


_FIRED = {"source": "trail"}

GROUP = Group(
    "cloudtrail-exporter.reading",
    "alerts",
    (
        Alert(
            name="Stalled",
            severity="critical",
            expr=f"{since_last(_SUCCESS, _BY, metric('events_read_total'))} > [[stalledSeconds]]"
            f" unless on ({_BY}) {MOVED}",
            minutes=10,
            summary="A source of cloudtrail-exporter stands still.",
            description="Source {{ $labels.source }} on {{ $labels.instance }} has finished no poll for "
            "{{ $value | humanizeDuration }} and brings no records. Nothing of it is published or counted.",
            action="Open /-/ready of the instance and do what it says.",
            cases=(
                Case(
                    "no poll works any more",
                    {_START: "0+0x100", _LAST: "0+60x30 1800+0x60", _READ: "0+1x30 30+0x60"},
                    # 900 s after minute 30 the poll is too old, but a record still counts for 15 minutes.
                    {55: (), 56: (Fired(_FIRED, ("26m 0s",)),), 70: (Fired(_FIRED, ("40m 0s",)),)},
                ),
                Case(
                    "no poll has ever worked",
                    {_START: "0+0x100", _LAST: "0+0x100", _READ: "0+0x100"},
                    {25: (), 26: (Fired(_FIRED, ("26m 0s",)),)},
                ),
                Case(
                    "no partition could be listed",
                    {_START: "0+0x100", _READ: "0+0x100"},
                    {25: (), 26: (Fired(_FIRED, ("26m 0s",)),)},
                ),
                Case("quiet hours", {_START: "0+0x100", _LAST: "0+60x100", _READ: "7+0x100"}, {30: (), 90: ()}),
                Case(
                    "a first poll that takes hours and brings records",
                    {_START: "0+0x100", _LAST: "0+0x100", _READ: "0+100x100"},
                    {30: (), 90: ()},
                ),
                Case(
                    "a first poll that takes hours through empty days",
                    {_START: "0+0x100", _LAST: "0+0x100", _READ: "0+0x100", _THROUGH: "1000+86400x100"},
                    {30: (), 90: ()},
                ),
                Case(
                    "one partition of two still works",
                    {_START: "0+0x100", _LAST: "0+0x100", _LAST_OTHER: "0+60x100", _READ: "0+0x100"},
                    {30: (), 90: ()},
                ),
                Case(
                    "right after a restart",
                    {_START: "0+0x50 3060+0x50", _LAST: "0+60x50 0+0x5 3420+60x40", _READ: "9+0x50 0+0x50"},
                    {50: (), 53: (), 60: (), 90: ()},
                ),
                Case(
                    "scrapes that fail now and then",
                    {_START: "0+0x100", _LAST: "0+60x40 _x4 2700+60x50", _READ: "9+0x40 _x4 9+0x50"},
                    {42: (), 44: (), 60: ()},
                ),
                Case("drained files", {_START: "0+0x400", _LAST: "0+60x400", _READ: "9+0x400"}, {90: (), 390: ()}),
            ),
        ),
        Alert(
            name="SourceDown",
            severity="warning",
            expr=f"count by ({_BY}) (max_over_time({metric('source_up')}[5m]) == 0)"
            f" and on ({_BY}) sum by ({_BY}) (increase({metric('poll_failures_total')}[10m])) > 0",
            minutes=10,
            summary="Polls of a partition fail.",
            description='{{ printf "%.0f" $value }} partitions of source {{ $labels.source }} on {{ $labels.instance '
            "}} have been down for 15 minutes: their polls fail. Others of the source may work.",
            action="Look for the partition on the landing page; its last error is written there.",
            cases=(
                Case(
                    "one region of two is refused",
                    {
                        _UP: "1+0x20 0+0x40",
                        _UP_OTHER: "1+0x60",
                        series("poll_failures_total", source="trail", reason="access_denied"): "0+0x20 1+1x40",
                    },
                    {35: (), 36: (Fired(_FIRED, ("1",)),)},
                ),
                Case(
                    "a region that is switched off",
                    {
                        _UP: "0+0x60",
                        _UP_OTHER: "1+0x60",
                        series("poll_failures_total", source="trail", reason="server"): "0+0x60",
                    },
                    {30: (), 55: ()},
                ),
                Case(
                    "hiccups",
                    {
                        _UP: "1+0x5 0 1+0x5 0+0x2 1+0x5 0 1+0x30",
                        series("poll_failures_total", source="trail", reason="server"): "0+0x5 1+0x5 2+0x40",
                    },
                    {20: (), 40: ()},
                ),
                Case(
                    "the receiver is away",
                    {_UP: "0+0x60", series("poll_failures_total", source="trail", reason="server"): "5+0x60"},
                    {30: (), 55: ()},
                ),
            ),
        ),
        _behind(
            "Behind",
            "warning",
            "behindSeconds",
            "A source of cloudtrail-exporter is behind.",
            (
                Case(
                    "the checkpoint stands still",
                    {_START: "0+0x200", _THROUGH: "0+60x60 3600+0x140", _LAST: "0+60x60 3600+0x140"},
                    {105: (), 106: (Fired(_FIRED, ("46m 0s",)),)},
                ),
                Case(
                    "it moves, and too slowly",
                    {_START: "0+0x300", _THROUGH: "60+48x300", _LAST: "0+0x300"},
                    {160: (), 190: (Fired(_FIRED, ("37m 0s",)),)},
                ),
                Case(
                    "polls take longer than half an hour",
                    {
                        _START: "0+0x300",
                        _THROUGH: "60+0x50 300+0x50 3300+0x50 6300+0x50 9300+0x50",
                        _LAST: "0+0x50 3060+0x50 6120+0x50 9180+0x50 12240+0x50",
                    },
                    {
                        95: (Fired(_FIRED, ("1h 30m 0s",)),),
                        110: (Fired(_FIRED, ("55m 0s",)),),
                        150: (Fired(_FIRED, ("1h 35m 0s",)),),
                    },
                ),
                Case(
                    "the worst of two partitions counts",
                    {
                        _START: "0+0x200",
                        _THROUGH: "0+60x200",
                        _LAST: "0+60x200",
                        _THROUGH_OTHER: "0+60x60 3600+0x140",
                        _LAST_OTHER: "0+60x60 3600+0x140",
                    },
                    {106: (Fired(_FIRED, ("46m 0s",)),)},
                ),
                Case(
                    "quiet hours",
                    {_START: "0+0x200", _THROUGH: "0+60x200", _LAST: "0+60x200"},
                    {30: (), 60: (), 190: ()},
                ),
                Case(
                    "29 minutes behind",
                    {_START: "0+0x200", _THROUGH: "1+0x29 60+60x170", _LAST: "0+60x200"},
                    {60: (), 100: (), 190: ()},
                ),
                Case(
                    "an archive with an end, read long ago",
                    {_START: "0+0x300", _THROUGH: "1+0x300", _LAST: "0+60x300"},
                    {31: (), 46: (), 290: ()},
                ),
                Case(
                    "an archive with an end, after a restart",
                    {_START: "0+0x99 6000+0x200", _THROUGH: "1+0x99 0 1+0x200", _LAST: "0+60x99 0 6060+60x200"},
                    {99: (), 116: (), 131: (), 147: (), 250: ()},
                ),
                Case(
                    "the hourly re-listing behind a queue",
                    {_START: "0+0x300", _THROUGH: "60+0x60 3660+0x60 7320+0x60 10980+0x60", _LAST: "0+60x300"},
                    {55: (), 110: (), 170: (), 230: ()},
                ),
                Case(
                    "a backlog that shrinks",
                    {_START: "0+0x400", _THROUGH: "60+0x299 60+300x100", _LAST: "0+0x400"},
                    {299: (Fired(_FIRED, ("4h 58m 0s",)),), 340: (), 355: ()},
                ),
                Case(
                    "the first reading of an old archive",
                    {_START: "_x400 24000+0x300", _THROUGH: "_x400 60+180x300", _LAST: "_x400 0+0x300"},
                    {432: (), 450: (), 500: (), 560: ()},
                ),
                Case(
                    "files, and workers of a queue: the checkpoint is not known",
                    {_START: "0+0x200", _THROUGH: "0+0x200", _LAST: "0+0x200"},
                    {60: (), 190: ()},
                ),
                Case(
                    "scrapes that fail do not hide it",
                    {
                        _START: "0+0x95 _x3 0+0x100",
                        _THROUGH: "0+60x60 3600+0x34 _x3 3600+0x100",
                        _LAST: "0+60x60 3600+0x34 _x3 3600+0x100",
                    },
                    {106: (Fired(_FIRED, ("46m 0s",)),)},
                ),
                Case(
                    "right after a restart into old events",
                    {_START: "0+0x99 6000+0x100", _THROUGH: "0+60x99 0+0x2 5940+0x3 6000+60x100", _LAST: "0+60x200"},
                    {101: (), 110: (), 125: (), 140: ()},
                ),
            ),
        ),
        _behind(
            "BehindCritical",
            "critical",
            "behindCriticalSeconds",
            "A source of cloudtrail-exporter is hours behind.",
            (
                Case(
                    "more than four hours",
                    {_START: "0+0x500", _THROUGH: "0+60x60 3600+0x440", _LAST: "0+60x60 3600+0x440"},
                    {315: (), 316: (Fired(_FIRED, ("4h 16m 0s",)),)},
                ),
                Case(
                    "three hours, and then it catches up",
                    {_START: "0+0x500", _THROUGH: "0+60x60 3600+0x180 14400+60x200", _LAST: "0+60x60 3600+0x380"},
                    {239: (), 300: (), 430: ()},
                ),
                Case(
                    "an archive with an end, read long ago",
                    {_START: "0+0x500", _THROUGH: "1+0x500", _LAST: "0+60x500"},
                    {260: (), 490: ()},
                ),
                Case(
                    "the first reading of an old archive",
                    {_START: "_x400 24000+0x300", _THROUGH: "_x400 60+180x300", _LAST: "_x400 0+0x300"},
                    {432: (), 450: (), 475: ()},
                ),
                Case(
                    "it catches up at half as much again as time goes",
                    {_START: "_x400 24000+0x300", _THROUGH: "_x400 60+90x300", _LAST: "_x400 0+0x300"},
                    {445: (), 450: (Fired(_FIRED, ("6h 14m 0s",)),)},
                ),
                Case(
                    "a young process says nothing yet",
                    {_START: "28800+0x700", _THROUGH: "_x480 60+0x100", _LAST: "0+0x700"},
                    {500: (), 525: (), 526: (Fired(_FIRED, ("8h 45m 0s",)),)},
                ),
            ),
        ),
        Alert(
            name="Gap",
            severity="critical",
            expr=f"{grown(metric('gaps_total'), 60, _BY)} > 0",
            minutes=0,
            summary="A stretch of time was skipped.",
            description="Source {{ $labels.source }} on {{ $labels.instance }} went over a stretch of time that AWS "
            "does not keep any more. Its events are missing unless another source has them.",
            action="Read the stretch from an archive; the log names its beginning and end.",
            cases=(
                Case(
                    "a stretch was skipped",
                    {_START: "0+0x200", _GAPS: "0+0x100 1+0x100"},
                    {100: (), 101: (Fired(_FIRED),), 165: ()},
                ),
                Case(
                    "skipped at the start, before the first scrape",
                    {_START: "600+0x200", _GAPS: "_x10 1+0x200"},
                    {11: (Fired(_FIRED),), 75: ()},
                ),
                Case("none", {_START: "0+0x200", _GAPS: "0+0x200"}, {5: (), 100: ()}),
                Case(
                    "an old one, and a restart",
                    {_START: "0+0x100 6060+0x100", _GAPS: "1+0x100 0+0x100"},
                    {99: (), 105: ()},
                ),
                Case(
                    "an old one, and scrapes that fail for a while",
                    {_START: "0+0x100 _x20 0+0x100", _GAPS: "1+0x100 _x20 1+0x100"},
                    {99: (), 125: (), 181: ()},
                ),
            ),
        ),
        Alert(
            name="AccessDenied",
            severity="critical",
            expr=grown(
                metric("aws_api_request_failures_total", f'reason=~"{_CREDENTIALS}"'), 10, f"{EACH}, api, reason"
            )
            + " > 0",
            minutes=5,
            summary="AWS refuses cloudtrail-exporter.",
            description="AWS refuses {{ $labels.api }} to {{ $labels.instance }}: {{ $labels.reason }}. Whatever "
            "needs it is held until the permission or the credentials are mended; nothing is skipped.",
            action="Run `cloudtrail-exporter check`: it names the missing permission and prints the policy.",
            cases=(
                Case(
                    "a permission was taken away",
                    {
                        _START: "0+0x60",
                        _asked("LookupEvents"): "0+1x60",
                        _failed("LookupEvents", "access_denied"): "0+0x20 1+1x40",
                    },
                    {25: (), 26: (Fired({"api": "LookupEvents", "reason": "access_denied"}),)},
                ),
                Case(
                    "a token has expired, from the start on",
                    {_START: "0+0x60", _failed("AssumeRole", "expired_credentials"): "4+0x60"},
                    {4: (), 5: (Fired({"api": "AssumeRole", "reason": "expired_credentials"}),), 15: ()},
                ),
                Case(
                    "refused once in a long time",
                    {_START: "0+0x60", _failed("GetObject", "access_denied"): "0+0x20 1+0x3 _x20 1+0x10"},
                    {20: (), 24: (), 50: ()},
                ),
                Case(
                    "other failures",
                    {_START: "0+0x60", _failed("LookupEvents", "throttled"): "0+5x60"},
                    {30: (), 50: ()},
                ),
                Case(
                    "mended, and the process started anew",
                    {_START: "0+0x20 1260+0x60", _failed("LookupEvents", "access_denied"): "9+0x20 0+0x60"},
                    {19: (), 30: ()},
                ),
            ),
        ),
        Alert(
            name="AwsApiErrors",
            severity="warning",
            expr=f"sum by ({EACH}, api) (rate("
            + metric("aws_api_request_failures_total", f'reason!~"{_CREDENTIALS}|throttled|unsupported"')
            + f"[10m])) / sum by ({EACH}, api) (rate({_REQUESTS}[10m])) > [[awsApiErrorRatio]]",
            minutes=15,
            summary="Requests to AWS fail.",
            description="{{ $value | humanizePercentage }} of the requests {{ $labels.api }} of {{ $labels.instance "
            "}} fail. They are repeated; reading is slower or stands still.",
            action="See which reason it is on the Pipeline dashboard; ask the AWS Health Dashboard.",
            cases=(
                Case(
                    "one request of twelve fails",
                    {_asked("GetObject"): "0+12x60", _failed("GetObject", "server"): "0+0x20 1+1x40"},
                    {34: (), 45: (Fired({"api": "GetObject"}, ("8.333%",)),)},
                ),
                Case(
                    "four in a hundred fail",
                    {_asked("GetObject"): "0+100x60", _failed("GetObject", "server"): "0+4x60"},
                    {30: (), 50: ()},
                ),
                Case(
                    "one failure of a rare request",
                    {_asked("LookupEvents"): "0+1x60", _failed("LookupEvents", "timeout"): "0+0x20 1+0x40"},
                    {25: (), 30: (), 50: ()},
                ),
                Case(
                    "refused and throttled requests have alerts of their own",
                    {
                        _asked("LookupEvents"): "0+10x60",
                        _failed("LookupEvents", "throttled"): "0+5x60",
                        _failed("LookupEvents", "access_denied"): "0+5x60",
                        _failed("LookupEvents", "unsupported"): "0+5x60",
                    },
                    {30: (), 50: ()},
                ),
                Case(
                    "nothing is asked",
                    {_asked("GetObject"): "5+0x60", _failed("GetObject", "server"): "5+0x60"},
                    {30: (), 50: ()},
                ),
            ),
        ),
        Alert(
            name="Throttled",
            severity="warning",
            expr=f"sum by ({EACH}, api) (rate({_THROTTLED}[15m]))"
            f" / sum by ({EACH}, api) (rate({_REQUESTS}[15m])) > [[throttledRatio]]",
            minutes=30,
            summary="AWS asks for fewer requests.",
            description="{{ $value | humanizePercentage }} of the requests {{ $labels.api }} of {{ $labels.instance "
            "}} are throttled. Something else uses the same limit of the account, or several exporters do.",
            action="Find who else calls it: AWS counts LookupEvents per account and region.",
            cases=(
                Case(
                    "three of twenty are throttled",
                    {_asked("LookupEvents"): "0+20x90", _failed("LookupEvents", "throttled"): "0+0x20 3+3x70"},
                    {49: (), 65: (Fired({"api": "LookupEvents"}, ("15%",)),)},
                ),
                Case(
                    "two of 25 are throttled",
                    {_asked("LookupEvents"): "0+25x90", _failed("LookupEvents", "throttled"): "0+2x90"},
                    {60: (), 80: ()},
                ),
                Case(
                    "a first reading of twenty minutes",
                    {_asked("LookupEvents"): "0+10x90", _failed("LookupEvents", "throttled"): "0+5x15 75+0x75"},
                    {20: (), 40: (), 60: ()},
                ),
                Case(
                    "other failures",
                    {_asked("LookupEvents"): "0+10x90", _failed("LookupEvents", "server"): "0+5x90"},
                    {60: (), 80: ()},
                ),
            ),
        ),
        Alert(
            name="S3ObjectFailures",
            severity="warning",
            expr=f"{grown(metric('s3_object_failures_total'), 15, f'{_BY}, reason')} > 0",
            minutes=20,
            summary="Objects cannot be read.",
            description='Source {{ $labels.source }} on {{ $labels.instance }} failed {{ printf "%.0f" $value }} '
            "times within 15 minutes to read an object: {{ $labels.reason }}. It is tried again; none is skipped.",
            action="The log names the object; try it with the credentials of the exporter.",
            cases=(
                Case(
                    "one object fails at each try",
                    {
                        _START: "0+0x90",
                        series("s3_object_failures_total", source="trail", reason="access_denied"): "0+0x20 1+1x70",
                    },
                    {40: (), 41: (Fired({"source": "trail", "reason": "access_denied"}, ("15",)),)},
                ),
                Case(
                    "a connection broke once",
                    {
                        _START: "0+0x90",
                        series("s3_object_failures_total", source="trail", reason="connection"): "0+0x20 1+0x70",
                    },
                    {30: (), 34: (), 42: (), 60: ()},
                ),
                Case(
                    "a restart",
                    {
                        _START: "0+0x20 1260+0x60",
                        series("s3_object_failures_total", source="trail", reason="connection"): "7+0x20 0+0x60",
                    },
                    {25: (), 45: ()},
                ),
            ),
        ),
        Alert(
            name="SqsMessagesFailing",
            severity="warning",
            expr=f"{grown(metric('sqs_message_failures_total'), 15, f'{_BY}, reason')} > 0",
            minutes=20,
            summary="Messages of a queue fail.",
            description='{{ printf "%.0f" $value }} times within 15 minutes a message of source {{ $labels.source }} '
            "on {{ $labels.instance }} could not be worked on, deleted or extended: {{ $labels.reason }}. It is "
            "delivered again, and goes to the dead-letter queue in the end.",
            action="The log names the message and the object; look into the dead-letter queue.",
            cases=(
                Case(
                    "an object that cannot be read",
                    {
                        _START: "0+0x90",
                        series("sqs_message_failures_total", source="queue", reason="access_denied"): "0+0x20 1+1x70",
                    },
                    {40: (), 41: (Fired({"source": "queue", "reason": "access_denied"}, ("15",)),)},
                ),
                Case(
                    "one deletion failed",
                    {
                        _START: "0+0x90",
                        series("sqs_message_failures_total", source="queue", reason="server"): "0+0x20 1+0x70",
                    },
                    {30: (), 34: (), 42: (), 60: ()},
                ),
                Case(
                    "a restart",
                    {
                        _START: "0+0x20 1260+0x60",
                        series("sqs_message_failures_total", source="queue", reason="server"): "7+0x20 0+0x60",
                    },
                    {25: (), 45: ()},
                ),
            ),
        ),
        Alert(
            name="SqsMessagesOld",
            severity="warning",
            expr=f"histogram_quantile(0.9, sum by ({_BY}, le) (rate({metric('sqs_message_age_seconds_bucket')}[30m])))"
            " > [[messageAgeSeconds]]",
            minutes=15,
            summary="Messages of a queue are read late.",
            description="One in ten messages of source {{ $labels.source }} on {{ $labels.instance }} was older than "
            "{{ $value | humanizeDuration }} when it was deleted. The exporter is slower than the queue, or stood "
            "still.",
            action="Compare received and deleted messages on the Pipeline dashboard; raise sources[].workers.",
            cases=(
                Case(
                    "half of them are older than half an hour",
                    {
                        series("sqs_message_age_seconds_bucket", source="queue", le="1800.0"): "0+1x90",
                        series("sqs_message_age_seconds_bucket", source="queue", le="3600.0"): "0+2x90",
                        series("sqs_message_age_seconds_bucket", source="queue", le="+Inf"): "0+2x90",
                    },
                    {15: (), 17: (Fired({"source": "queue"}, ("54m 0s",)),)},
                ),
                Case(
                    "one in twenty is old",
                    {
                        series("sqs_message_age_seconds_bucket", source="queue", le="900.0"): "0+19x90",
                        series("sqs_message_age_seconds_bucket", source="queue", le="1800.0"): "0+19x90",
                        series("sqs_message_age_seconds_bucket", source="queue", le="+Inf"): "0+20x90",
                    },
                    {30: (), 80: ()},
                ),
                Case(
                    "twenty minutes old",
                    {
                        series("sqs_message_age_seconds_bucket", source="queue", le="900.0"): "0+0x90",
                        series("sqs_message_age_seconds_bucket", source="queue", le="1200.0"): "0+9x90",
                        series("sqs_message_age_seconds_bucket", source="queue", le="1800.0"): "0+10x90",
                        series("sqs_message_age_seconds_bucket", source="queue", le="+Inf"): "0+10x90",
                    },
                    {30: (), 80: ()},
                ),
                Case(
                    "an empty queue",
                    {
                        series("sqs_message_age_seconds_bucket", source="queue", le="1800.0"): "1+0x90",
                        series("sqs_message_age_seconds_bucket", source="queue", le="+Inf"): "9+0x90",
                    },
                    {60: (), 80: ()},
                ),
            ),
        ),
        Alert(
            name="SqsMessagesIgnored",
            severity="warning",
            expr=grown(
                metric("sqs_messages_ignored_total", 'reason=~"unknown_shape|foreign_bucket|not_json|confirmation"'),
                60,
                f"{_BY}, reason",
            )
            + " > 0",
            minutes=0,
            summary="A queue brings messages that name nothing to read.",
            description='{{ printf "%.0f" $value }} messages of source {{ $labels.source }} on {{ $labels.instance '
            "}} were not understood within the last hour: {{ $labels.reason }}. If they were to name trail files, "
            "those are not read.",
            action="Find the warning in the log; it has the message id and what the message holds.",
            cases=(
                Case(
                    "a message of another bucket",
                    {
                        _START: "0+0x200",
                        series("sqs_messages_ignored_total", source="queue", reason="foreign_bucket"): "0+0x90 1+0x100",
                    },
                    {90: (), 91: (Fired({"source": "queue", "reason": "foreign_bucket"}, ("1",)),), 155: ()},
                ),
                Case(
                    "what S3 sends when a notification is set up",
                    {
                        _START: "0+0x200",
                        series("sqs_messages_ignored_total", source="queue", reason="test_event"): "0+0x90 3+0x100",
                        series("sqs_messages_ignored_total", source="queue", reason="kind"): "0+9x190",
                    },
                    {100: (), 180: ()},
                ),
                Case(
                    "a restart",
                    {
                        _START: "0+0x100 6060+0x90",
                        series("sqs_messages_ignored_total", source="queue", reason="not_json"): "7+0x100 0+0x90",
                    },
                    {99: (), 110: ()},
                ),
            ),
        ),
    ),
)
