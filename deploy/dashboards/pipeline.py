"""Pipeline: does everything arrive, how late, and what holds it up."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.dashboards.parts import (
    BEHIND,
    PIPELINE,
    Query,
    board,
    delay_heatmap,
    increase,
    number,
    own,
    quantile,
    rate,
    rows,
    series,
    total,
)

__all__ = ["dashboard"]

_FATES = {"exported": "green", "filtered": "#808080", "duplicate": "blue", "quarantined": "red"}
_QUIET = "Nothing was read in this time range. CloudTrail is rare: widen the range, and see that polls go on."
_NEVER = "None in this time range, as it should be."
_NO_OTLP = "No OTLP request in this time range: nothing to send, or the sink is the console or a file."
_NO_AWS = "No AWS request in this time range: files need none."
_NO_S3 = "No source of type s3 or sqs."
_NO_SQS = "No source of type sqs."


def _per(selector_of: str, *by: str) -> str:
    """Growth of one of our counters per step, by labels."""
    return f"sum by ({', '.join(by)}) ({increase(own(selector_of))})"


def _quantiles(name: str, *by: str) -> tuple[Query, ...]:
    return tuple(Query(quantile(share / 100, name, *by), f"p{share}") for share in (50, 95, 99))


def _age(name: str, *by: str) -> str:
    """Seconds since an instant that is not 0."""
    return f"max by ({', '.join(by)}) (time() - ({own(name)} > 0))"


def dashboard() -> Dashboard:
    """The dashboard, to be rendered by :mod:`deploy.dashboards.render`."""
    page = board(
        "CloudTrail exporter / Pipeline",
        PIPELINE,
        "How events travel through the exporter: read, sifted, sent, committed. Begin at the top when an alert points "
        "here; docs/runbooks has a page for each alert.",
        since="now-6h",
    )
    for add in (_balance, _delay, _polls, _otlp, _state, _process, _s3, _sqs):
        add(page)
    return page


def _balance(page: Dashboard) -> None:
    read, *accounted = (f"sum by (source) ({own(f'events_{fate}_total')})" for fate in ("read", *_FATES))
    rows(
        page,
        "The books",
        series(
            "Records by what became of them",
            "The line is what was read, the stack what became of it; both are counted at the commit, so they meet. "
            "Filtered: other services, as a rule most. Duplicate: delivered before. Quarantined: set aside with a "
            "reason; `cloudtrail-exporter quarantine` lists them.",
            "none",
            *(Query(f"sum({increase(own(f'events_{fate}_total'))})", fate) for fate in _FATES),
            Query(f"sum({increase(own('events_read_total'))})", "read"),
            size=(12, 9),
            empty=_QUIET,
            bars=True,
            colours={**_FATES, "read": "text"},
            lines=("read",),
        ),
        series(
            "Out of balance",
            "Read, less exported, filtered, duplicate and quarantined; all five are counted when a batch is committed. "
            "0, but for a scrape that comes in the middle of that. Staying away from 0 is a bug of the exporter: keep "
            "its log and report it.",
            "none",
            Query(" - ".join((read, *accounted)), "{{source}}"),
            size=(6, 9),
            floor=None,
        ),
        series(
            "In flight",
            "Records read and not yet committed. Going up and down is normal; a flat line above 0 means that the "
            "receiver does not answer: see OTLP failures.",
            "none",
            Query(f"sum by (source) ({own('inflight_records')})", "{{source}}"),
            size=(6, 9),
        ),
        series(
            "Filtered, by reason",
            "Records that are not wanted, by why. other_service is what a trail of the whole account consists of.",
            "none",
            Query(f"{_per('events_filtered_total', 'reason')} > 0", "{{reason}}"),
            empty="Nothing was filtered in this time range.",
            bars=True,
        ),
        series(
            "Quarantined, by reason",
            "Records or files set aside. They are kept: `cloudtrail-exporter quarantine` lists them with their origin. "
            "docs/errors.md explains each reason.",
            "none",
            Query(f"{_per('events_quarantined_total', 'reason')} > 0", "{{reason}}"),
            empty=_NEVER,
            bars=True,
        ),
        series(
            "Odd records",
            "Records with oddities that were mapped all the same, events whose label value was counted as _OTHER, and "
            "corrections by AWS of events delivered before. A rise after an AWS change: look for a new version.",
            "none",
            Query(f"{_per('record_anomalies_total', 'kind')} > 0", "{{kind}}"),
            Query(f"{_per('label_values_collapsed_total', 'label')} > 0", "{{label}} counted as _OTHER"),
            Query(f"sum({increase(total('cloudtrail_event_corrections_total'))}) > 0", "corrections by AWS"),
            empty="None in this time range.",
            bars=True,
        ),
    )


def _delay(page: Dashboard) -> None:
    rows(
        page,
        "Delay and lag",
        series(
            "Delay of events",
            "From eventTime until the receiver accepted the event, of those that arrived. AWS itself takes 5 to 15 "
            "minutes. High while old events are read is normal. The highest bucket ends at one day.",
            "s",
            *_quantiles("event_delay_seconds"),
            size=(12, 9),
            empty=_QUIET,
        ),
        delay_heatmap(
            "Delay, all events",
            "The same as a heat map: darker is more events. A second band far up is a source that catches up.",
            Query(f"sum by (le) ({increase(own('event_delay_seconds_bucket'))})", "{{le}}"),
            size=(12, 9),
            empty=_QUIET,
        ),
        series(
            "Lag of every partition",
            "Age of the moment up to which all is read, accepted and committed. It stays low when nothing happens. One "
            "line rising by itself: that region or folder is refused or throttled; all together: the receiver.",
            "s",
            Query(_age("checkpoint_timestamp_seconds", "source", "partition"), "{{source}} {{partition}}"),
            size=(12, 9),
            empty="Unknown: plain files have no end, other sources have none before their first poll is over.",
            limits=BEHIND,
        ),
        series(
            "Since the last good poll",
            "Time since a poll of each partition worked, with or without news. Above 15 minutes: see Poll failures.",
            "s",
            Query(_age("last_poll_success_timestamp_seconds", "source", "partition"), "{{source}} {{partition}}"),
            size=(12, 9),
            empty="No poll has worked yet: see Poll failures.",
            limits=(900, 3600),
        ),
        series(
            "Newest event",
            "Age of the newest event accepted. For people: an account without calls makes it rise, and nothing is "
            "wrong.",
            "s",
            Query(_age("last_event_timestamp_seconds", "source"), "{{source}}"),
            empty="No event accepted yet by this process.",
        ),
        series(
            "Gaps",
            "Seconds of time that are known to be skipped, such as what is older than Event history keeps. The bucket "
            "of a trail has them: add it as a source of type s3.",
            "s",
            Query(f"{_per('gap_seconds_total', 'source')} > 0", "{{source}}"),
            empty=_NEVER,
            bars=True,
        ),
        series(
            "Gaps, how many",
            "Ranges of time that are known to be skipped.",
            "none",
            Query(f"{_per('gaps_total', 'source')} > 0", "{{source}}"),
            empty=_NEVER,
            bars=True,
        ),
    )


def _polls(page: Dashboard) -> None:
    requests, failures = own("aws_api_requests_total"), own("aws_api_request_failures_total")
    rows(
        page,
        "Polls and AWS",
        series(
            "Polls",
            "Polls begun per second. Flat is good; 0 is a worker that hangs or is gone.",
            "ops",
            Query(f"sum by (source) ({rate(own('polls_total'))})", "{{source}}"),
            empty="No source is polled.",
        ),
        series(
            "Poll failures",
            "Polls that ended with an error, by reason: docs/errors.md has a line for each. access_denied and "
            "expired_credentials do not heal by themselves.",
            "none",
            Query(f"{_per('poll_failures_total', 'source', 'reason')} > 0", "{{source}} {{reason}}"),
            empty=_NEVER,
            bars=True,
        ),
        series(
            "Poll duration, p95",
            "How long polls took, sending included. Longer than the poll interval: the source falls behind.",
            "s",
            Query(quantile(0.95, "poll_duration_seconds", "source"), "{{source}}"),
            empty="No poll ended in this time range.",
        ),
        series(
            "AWS requests",
            "Requests per second by API call, retries included. LookupEvents: AWS allows 2 a second for an account and "
            "region, everybody together.",
            "reqps",
            Query(f"sum by (api) ({rate(requests)})", "{{api}}"),
            empty=_NO_AWS,
        ),
        series(
            "AWS failures",
            "Requests that failed, by reason. throttled: others ask the same API in this account and region. "
            "access_denied: compare the policy with docs/sources.",
            "none",
            Query(f"{_per('aws_api_request_failures_total', 'api', 'reason')} > 0", "{{api}} {{reason}}"),
            empty=_NEVER,
            bars=True,
        ),
        series(
            "AWS failure share",
            "Failed share of the requests. Above 5 % for a while is an alert.",
            "percentunit",
            Query(f"sum by (api) ({rate(failures)}) / (sum by (api) ({rate(requests)}) > 0)", "{{api}}"),
            empty=_NO_AWS,
            limits=(0.05, 0.5),
            top=1,
        ),
        series(
            "AWS request duration, p95",
            "How long requests took. Seconds: a proxy or an endpoint far away.",
            "s",
            Query(quantile(0.95, "aws_api_request_duration_seconds", "api"), "{{api}}"),
            empty=_NO_AWS,
        ),
        series(
            "Waiting for our own budget",
            "Share of the time that requests waited for the budget we set ourselves. Near 100 % while catching up is "
            "normal; all day long it says that one region has more events than LookupEvents can give: use the trail's "
            "bucket.",
            "percentunit",
            Query(f"sum by (api) ({rate(own('aws_api_throttle_wait_seconds_total'))})", "{{api}}"),
            empty=_NO_AWS,
        ),
        series(
            "Sources up",
            "1 while the last poll of a partition worked.",
            "bool",
            Query(f"min by (source, partition) ({own('source_up')})", "{{source}} {{partition}}"),
            empty="No poll yet.",
            top=1,
        ),
    )


def _otlp(page: Dashboard) -> None:
    rows(
        page,
        "OTLP",
        series(
            "Requests",
            "OTLP requests per second, and those of them that were sent again. Retries that never end: the receiver is "
            "down or refuses; nothing is lost, and the source waits.",
            "reqps",
            Query(f"sum({rate(own('otlp_exports_total'))})", "requests"),
            Query(f"sum({rate(own('otlp_retries_total'))})", "retries"),
            empty=_NO_OTLP,
        ),
        series(
            "OTLP failures",
            "Requests that were not accepted, by reason. access_denied: a wrong token stops the line on purpose. "
            "not_otlp: something else answers at that address.",
            "none",
            Query(f"{_per('otlp_export_failures_total', 'reason')} > 0", "{{reason}}"),
            empty=_NEVER,
            bars=True,
        ),
        series(
            "Rejected records",
            "Records the receiver refused for good (partial success). OTLP forbids sending them again: look into the "
            "receiver's log now. `cloudtrail-exporter quarantine` lists what may have been refused; Loki, for one, "
            "refuses what is older than a week.",
            "none",
            Query(f"sum({increase(own('otlp_records_rejected_total'))}) > 0", "rejected"),
            Query(f"sum({increase(own('otlp_batches_split_total'))}) > 0", "batches cut in two"),
            empty=_NEVER,
            bars=True,
        ),
        series(
            "Duration of requests",
            "How long the receiver took to answer. It bounds how fast a backlog can be sent.",
            "s",
            *_quantiles("otlp_export_duration_seconds"),
            empty=_NO_OTLP,
        ),
        series(
            "Sent",
            "Bytes of request bodies per second, as sent; over gRPC before compression.",
            "Bps",
            Query(f"sum({rate(own('otlp_sent_bytes_total'))})", "sent"),
            empty=_NO_OTLP,
        ),
        series(
            "Since the last accepted request",
            "It rises while there is nothing to send, too: worry when In flight is above 0 at the same time.",
            "s",
            Query(_age("otlp_last_success_timestamp_seconds", "instance"), "{{instance}}"),
            empty=_NO_OTLP,
        ),
    )


def _state(page: Dashboard) -> None:
    hits, lookups = increase(own("dedupe_hits_total")), increase(own("dedupe_lookups_total"))
    rows(
        page,
        "Ledger",
        series(
            "Seen before",
            "Share of the identities looked up that were there already. High is normal where sources overlap or a "
            "window is read again; it is what keeps the counters exact.",
            "percentunit",
            Query(f"sum({hits}) / (sum({lookups}) > 0)", "seen before"),
            empty=_QUIET,
            top=1,
        ),
        series(
            "Identities remembered",
            "Entries of the ledger. It grows with the number of events in `state.horizon_days` and then levels off: "
            "what is older is forgotten.",
            "none",
            Query(f"sum by (instance) ({own('dedupe_entries')})", "{{instance}}"),
            Query(f"sum({increase(own('dedupe_evictions_total'))})", "forgotten"),
        ),
        series(
            "Size on disk",
            "Bytes of the state. Compare with the size of its volume.",
            "bytes",
            Query(f"sum by (instance, backend) ({own('state_size_bytes')})", "{{instance}} {{backend}}"),
        ),
        series(
            "Since the last commit",
            "Time since something was committed; a poll that moves a position commits too. Above 15 minutes while "
            "polls work: the disk is full or read-only.",
            "s",
            Query(_age("state_last_save_timestamp_seconds", "instance", "backend"), "{{instance}} {{backend}}"),
            empty="Nothing was committed yet.",
        ),
        series(
            "Commits",
            "Commits per second, and those that failed; of a failed one nothing is kept, and it is tried again.",
            "ops",
            Query(f"sum({rate(own('state_saves_total'))})", "commits"),
            Query(f"sum({rate(own('state_save_failures_total'))})", "failed"),
            colours={"failed": "red"},
        ),
        series(
            "Event series",
            "Series of the event counters and their limit. At the limit new label sets are summed in _OTHER and "
            "nothing is dropped: raise `metrics.max_series` or leave a label out.",
            "none",
            Query(f"max by (instance) ({own('event_series')})", "{{instance}} series"),
            Query(f"max by (instance) ({own('event_series_limit')})", "{{instance}} limit"),
        ),
    )


def _process(page: Dashboard) -> None:
    fds = total("process_open_fds"), total("process_max_fds")
    rows(
        page,
        "Process",
        series(
            "Memory",
            "Resident memory. Flat: it does not depend on how much is read. A line that rises for days is a bug.",
            "bytes",
            Query(total("process_resident_memory_bytes"), "{{instance}} resident"),
            size=(6, 8),
        ),
        series(
            "CPU",
            "Cores used. One core is all that Python uses: near 1 for long, it is busy catching up.",
            "none",
            Query(rate(total("process_cpu_seconds_total")), "{{instance}}"),
            size=(6, 8),
        ),
        series(
            "Open files",
            "Open file descriptors as a share of what is allowed. A line that rises for days is a bug.",
            "percentunit",
            Query(f"{fds[0]} / {fds[1]}", "{{instance}}"),
            size=(6, 8),
            limits=(0.7, 0.9),
            top=1,
        ),
        series(
            "Garbage collection",
            "Collections of Python's garbage collector per second, by generation.",
            "ops",
            Query(f"sum by (generation) ({rate(total('python_gc_collections_total'))})", "generation {{generation}}"),
            size=(6, 8),
        ),
        series(
            "Log lines",
            "Lines of our own log, by level. Errors: read them, they name the key or the permission to change.",
            "none",
            Query(f"{_per('log_messages_total', 'level')} > 0", "{{level}}"),
            empty="Nothing was logged in this time range.",
            bars=True,
            colours={"warning": "orange", "error": "red", "critical": "dark-red", "info": "blue", "debug": "#808080"},
            size=(6, 8),
        ),
        series(
            "Worker restarts",
            "Workers started again after a bug. Nothing is lost; the log has what happened: please report it.",
            "none",
            Query(f"{_per('worker_restarts_total', 'source')} > 0", "{{source}}"),
            empty=_NEVER,
            bars=True,
            size=(6, 8),
        ),
        number(
            "Ready",
            "Share of the instances whose /-/ready says 200. Below 100 % for long: /-/ready and the log say why.",
            "percentunit",
            Query(f"avg({own('ready')})"),
            empty="Not scraped",
            limits=(1, 1),
            low_is_bad=True,
            size=(4, 8),
        ),
        number(
            "In quarantine",
            "What lies in quarantine. `cloudtrail-exporter quarantine` lists it with reason and origin.",
            "none",
            Query(f"sum({own('quarantine_items')})"),
            empty="Not scraped",
            limits=(1, 100),
            size=(4, 8),
        ),
        number(
            "Web configuration",
            "Whether the web configuration file was read without an error the last time it changed. If not, the one "
            "before is still in force; the log names the mistake.",
            "bool",
            Query(f"min({own('config_last_reload_successful')})"),
            empty="No web configuration file",
            limits=(1, 1),
            low_is_bad=True,
            size=(4, 8),
        ),
    )


def _s3(page: Dashboard) -> None:
    rows(
        page,
        "S3 objects",
        series(
            "Objects read",
            "Objects read to their end.",
            "none",
            Query(f"{_per('s3_objects_processed_total', 'source')} > 0", "{{source}}"),
            empty=_NO_S3,
            bars=True,
        ),
        series(
            "Object failures",
            "Objects that could not be read, each try, by reason. One object over and over: it ends in quarantine.",
            "none",
            Query(f"{_per('s3_object_failures_total', 'source', 'reason')} > 0", "{{source}} {{reason}}"),
            empty=_NEVER,
            bars=True,
        ),
        series(
            "Objects left out",
            "Objects of a kind that is not read (whole folders once each), or gone before they were read. vanished: a "
            "life-cycle rule deletes faster than we read.",
            "none",
            Query(f"{_per('s3_objects_skipped_total', 'source', 'reason')} > 0", "{{source}} {{reason}}"),
            empty="None in this time range.",
            bars=True,
        ),
        series(
            "Objects waiting",
            "Objects listed and not yet read. A rising line: more arrives than is read.",
            "none",
            Query(f"sum by (source) ({own('s3_objects_pending')})", "{{source}}"),
            empty=_NO_S3,
        ),
        series(
            "Bytes read",
            "Bytes of object bodies per second, as they lie there.",
            "Bps",
            Query(f"sum by (source) ({rate(own('s3_bytes_read_total'))})", "{{source}}"),
            empty=_NO_S3,
        ),
        series(
            "List requests",
            "ListObjectsV2 requests per second: what polling a bucket costs. Too many: fewer accounts or regions, a "
            "longer poll interval, or a queue.",
            "reqps",
            Query(f"sum by (source) ({rate(own('s3_list_requests_total'))})", "{{source}}"),
            empty=_NO_S3,
        ),
        folded=True,
    )


def _sqs(page: Dashboard) -> None:
    rows(
        page,
        "SQS messages",
        series(
            "Messages",
            "Messages received and deleted. Received without deleted: the work fails and the queue redelivers.",
            "none",
            Query(f"{_per('sqs_messages_received_total', 'source')} > 0", "{{source}} received"),
            Query(f"{_per('sqs_messages_deleted_total', 'source')} > 0", "{{source}} deleted"),
            size=(12, 8),
            empty=_NO_SQS,
        ),
        series(
            "Age of messages, p95",
            "From sending to deletion. Rising: more workers, or see what fails.",
            "s",
            Query(quantile(0.95, "sqs_message_age_seconds", "source"), "{{source}}"),
            size=(12, 8),
            empty=_NO_SQS,
            limits=BEHIND,
        ),
        series(
            "Message failures",
            "Messages that could not be worked on, deleted or extended, by reason.",
            "none",
            Query(f"{_per('sqs_message_failures_total', 'source', 'reason')} > 0", "{{source}} {{reason}}"),
            empty=_NEVER,
            bars=True,
        ),
        series(
            "Messages that name nothing to read",
            "By reason. foreign_bucket: a bucket that is not in `buckets`; unknown_shape: somebody else's messages.",
            "none",
            Query(f"{_per('sqs_messages_ignored_total', 'source', 'reason')} > 0", "{{source}} {{reason}}"),
            empty="None in this time range.",
            bars=True,
        ),
        series(
            "Found by listing only",
            "Events no message told of. Above 0: notifications get lost; compare the bucket's notification rules.",
            "none",
            Query(f"{_per('found_by_listing_total', 'source')} > 0", "{{source}}"),
            empty=_NEVER,
            bars=True,
        ),
        folded=True,
    )
