"""Alerts on the process: is it there, ready, alone, free of bugs."""

from __future__ import annotations

from deploy.rules.expressions import EACH, JOB, foreign, grown, metric, series
from deploy.rules.model import Alert, Case, Fired, Group

__all__ = ["GROUP"]

_SCRAPED = metric("up", own=False)
_UP = foreign("up")
_START = foreign("process_start_time_seconds")
_READY = series("ready")
_RELOADED = series("config_last_reload_successful")
_RESTARTED = series("worker_restarts_total", source="trail")
_FIRST = series("source_up", source="trail", partition="111122223333/us-east-1")
_SECOND = _FIRST.replace("exporter:10042", "exporter-2:10042")

GROUP = Group(
    "cloudtrail-exporter.process",
    "alerts",
    (
        Alert(
            name="Absent",
            severity="critical",
            expr=f"absent({_SCRAPED}) or max by ({JOB}) ({_SCRAPED}) == 0",
            minutes=5,
            summary="No cloudtrail-exporter is scraped.",
            description="Prometheus has had no answer from any cloudtrail-exporter for 5 minutes. Nothing says whether "
            "events are read; they stay at AWS until it is back.",
            action="Start the process, or mend the scrape.",
            cases=(
                Case(
                    "nothing is scraped at all",
                    {},
                    {4: (), 5: (Fired({"job": "cloudtrail-exporter"}, whole=True),)},
                ),
                Case(
                    "the process does not answer any more",
                    {_UP: "1+0x20 0+0x20"},
                    {25: (), 26: (Fired({"job": "cloudtrail-exporter"}, whole=True),)},
                ),
                Case("one of two processes answers", {_UP: "1+0x40", _SECOND: "0+0x40"}, {30: ()}),
                Case("a restart of three minutes", {_UP: "1+0x20 0+0x2 1+0x20"}, {22: (), 26: (), 30: ()}),
            ),
        ),
        Alert(
            name="NotReady",
            severity="critical",
            expr=f"max by ({EACH}) ({metric('ready')}) == 0",
            minutes=15,
            summary="cloudtrail-exporter is not ready.",
            description="{{ $labels.instance }} has not been ready for 15 minutes: something is blocked or stuck, "
            "and an operator may have to act. /-/ready says what, a line each.",
            action="Open /-/ready of the instance and do what it says.",
            cases=(
                Case("blocked for 16 minutes", {_READY: "1+0x10 0+0x30"}, {25: (), 26: (Fired(),)}),
                Case("ready again in time", {_READY: "1+0x10 0+0x13 1+0x30"}, {20: (), 26: (), 40: ()}),
                Case("right after the start", {_READY: "0+0x5 1+0x30"}, {3: (), 15: (), 30: ()}),
            ),
        ),
        Alert(
            name="Restarting",
            severity="warning",
            expr=f"max by ({EACH}) (changes({metric('process_start_time_seconds', own=False)}[1h])) > [[restarts]]",
            minutes=0,
            summary="cloudtrail-exporter starts again and again.",
            description='{{ $labels.instance }} was started {{ printf "%.0f" $value }} times within the last hour. '
            "Alerts that wait for an old enough process may be silent meanwhile.",
            action="Read the log of the previous container, and its exit code.",
            cases=(
                Case(
                    "four starts in an hour",
                    {_START: "0+0x5 360+0x5 720+0x5 1080+0x5 1440+0x30"},
                    {20: (), 25: (Fired(values=("4",)),), 85: ()},
                ),
                Case("a roll-out of three versions", {_START: "0+0x5 360+0x5 720+0x5 1080+0x60"}, {20: (), 40: ()}),
            ),
        ),
        Alert(
            name="WorkerRestarts",
            severity="warning",
            expr=f"{grown(metric('worker_restarts_total'), 60, f'{EACH}, source')} > 0",
            minutes=0,
            summary="A worker of cloudtrail-exporter met a bug.",
            description="The workers of source {{ $labels.source }} on {{ $labels.instance }} failed {{ printf "
            '"%.0f" $value }} times within the last hour and started again. This is an error of the exporter; '
            "nothing is lost, but the same batch may fail again.",
            action="Find the traceback in the log and report it.",
            cases=(
                Case(
                    "a bug in a process that ran for long",
                    {_START: "0+0x200", _RESTARTED: "0+0x100 2+0x100"},
                    {100: (), 101: (Fired({"source": "trail"}, ("2",)),), 165: ()},
                ),
                Case(
                    "a bug before the first scrape",
                    {_START: "600+0x200", _RESTARTED: "_x10 1+0x190"},
                    {
                        9: (),
                        11: (Fired({"source": "trail"}, ("1",)),),
                        65: (Fired({"source": "trail"}, ("1",)),),
                        75: (),
                    },
                ),
                Case(
                    "an old bug, and scrapes that fail for a while",
                    {_START: "0+0x100 _x20 0+0x100", _RESTARTED: "3+0x100 _x20 3+0x100"},
                    {70: (), 125: (), 181: ()},
                ),
                Case(
                    "a restart sets the counter back",
                    {_START: "0+0x100 6060+0x100", _RESTARTED: "3+0x100 0+0x100"},
                    {99: (), 102: (), 150: ()},
                ),
            ),
        ),
        Alert(
            name="ConfigReloadFailed",
            severity="warning",
            expr=f"max by ({EACH}) ({metric('config_last_reload_successful')}) == 0",
            minutes=10,
            summary="A changed web configuration is not in force.",
            description="{{ $labels.instance }} could not take over its changed web configuration file for 10 "
            "minutes. The last good one stays in force: an old certificate or password may still be served.",
            action="Read the warning in the log, correct the file.",
            cases=(
                Case("a broken file", {_RELOADED: "1+0x10 0+0x20"}, {20: (), 21: (Fired(),)}),
                Case("a file that is mended at once", {_RELOADED: "1+0x10 0+0x5 1+0x30"}, {13: (), 30: ()}),
            ),
        ),
        Alert(
            name="MoreThanOnePoller",
            severity="warning",
            expr=f"count by ({JOB}, source, partition) ({metric('source_up')}) > 1",
            minutes=15,
            summary="Several processes read the same source.",
            description='{{ printf "%.0f" $value }} processes of {{ $labels.job }} read {{ $labels.source }} ({{ '
            "$labels.partition }}). Each has a state of its own: every event is published and counted by each of "
            "them.",
            action="Run one replica, and one sidecar of a source.",
            cases=(
                Case(
                    "two replicas",
                    {_FIRST: "1+0x40", _SECOND: "_x10 1+0x40"},
                    {
                        24: (),
                        25: (
                            Fired(
                                {
                                    "job": "cloudtrail-exporter",
                                    "source": "trail",
                                    "partition": "111122223333/us-east-1",
                                },
                                ("2",),
                                whole=True,
                            ),
                        ),
                    },
                ),
                Case("one replica", {_FIRST: "1+0x40"}, {30: ()}),
                Case("a roll-out", {_FIRST: "1+0x20 stale", _SECOND: "_x15 1+0x40"}, {18: (), 25: (), 40: ()}),
                Case(
                    "two processes that read different regions",
                    {_FIRST: "1+0x40", _SECOND.replace("us-east-1", "eu-west-1"): "1+0x40"},
                    {30: ()},
                ),
            ),
        ),
    ),
)
