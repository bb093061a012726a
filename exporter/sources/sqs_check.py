"""What ``check`` finds about a queue and the buckets it tells of, without receiving a single message."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from exporter.contract import Finding
from exporter.errors import Blocked, ExporterError, Stopping
from exporter.sources.aws import Clients
from exporter.sources.aws_errors import advice
from exporter.sources.sqs_api import Queue, queue_policy

__all__ = ["findings"]

#: A message is tried again after a restart, a time-out, a failing object: fewer tries than this are soon used up.
_TRIES = 3
_DAY = 86_400
#: Shorter than this, a slow moment costs a redelivery.
_VISIBLE = 30


def findings(
    queue: Queue, clients: Clients, *, region: str, name: str, visibility_seconds: float, buckets: Sequence[str]
) -> Iterator[Finding]:
    """One line per thing that was tried.

    Args:
        region: where the buckets are asked for first.
        name: of the source.
        visibility_seconds: for how long a message in hand is hidden.
    """
    subject = f"source {name}: {queue.name}"
    try:
        attributes = queue.attributes()
    except Stopping:
        raise
    except ExporterError as error:
        yield Finding("error", subject, str(error), advice(error, queue_policy(queue.arn)))
    else:
        yield from _attributes(subject, attributes, queue, visibility_seconds)
    for bucket in buckets:
        yield _bucket(f"source {name}: {bucket}", clients, region, bucket)


def _attributes(
    subject: str, attributes: Mapping[str, str], queue: Queue, visibility_seconds: float
) -> Iterator[Finding]:
    waiting = attributes.get("ApproximateNumberOfMessages", "?")
    in_flight = attributes.get("ApproximateNumberOfMessagesNotVisible", "?")
    text = (
        f"answers: {waiting} messages waiting, {in_flight} in flight; the form of their bodies is logged when they come"
    )
    yield Finding("ok", subject, text)
    yield _redrive(f"{subject}: redrive policy", attributes.get("RedrivePolicy", ""), queue)
    if visibility_seconds < _VISIBLE:
        yield Finding(
            "warning",
            f"{subject}: visibility",
            f"a message is hidden for {visibility_seconds:g} s, extended at half: a slow moment costs a redelivery",
            "set visibility_seconds to 300",
        )
    retention = attributes.get("MessageRetentionPeriod", "")
    if retention.isdigit() and int(retention) < 4 * _DAY:
        yield Finding(
            "warning",
            f"{subject}: retention",
            f"messages are kept for {int(retention) / 3_600:g} h: a longer outage loses them",
            f"aws sqs set-queue-attributes --queue-url {queue.url} --attributes MessageRetentionPeriod=1209600",
        )


def _redrive(subject: str, policy: str, queue: Queue) -> Finding:
    try:
        tries = int(json.loads(policy)["maxReceiveCount"]) if policy else 0
    except (ValueError, TypeError, KeyError):
        tries = 0
    if not tries:
        return Finding(
            "warning",
            subject,
            "there is none: a message that cannot be understood comes again until its retention is over",
            f"aws sqs set-queue-attributes --queue-url {queue.url} --attributes "
            """'{"RedrivePolicy":"{\\"deadLetterTargetArn\\":\\"ARN-OF-ANOTHER-QUEUE\\",\\"maxReceiveCount\\":\\"10\\"}"}'""",
        )
    if tries < _TRIES:
        text = f"maxReceiveCount is {tries}: a few restarts send good messages to the dead-letter queue"
        return Finding("warning", subject, text, "set maxReceiveCount to 10")
    return Finding("ok", subject, f"after {tries} tries a message goes to the dead-letter queue")


def _bucket(subject: str, clients: Clients, region: str, bucket: str) -> Finding:
    """HeadBucket needs s3:ListBucket, which reading does not: a refusal is no more than a warning."""
    try:
        clients.call("s3", "HeadBucket", region=region, Bucket=bucket)
    except Stopping:
        raise
    except ExporterError as error:
        policy = json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"},
                    {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"},
                ],
            }
        )
        if error.reason == "access_denied":
            text = (
                "HeadBucket is denied; s3:GetObject may be allowed all the same. Without s3:ListBucket an object that "
            )
            return Finding("warning", subject, text + "is gone looks like one that is forbidden", f"attach {policy}")
        level = "error" if isinstance(error, Blocked) else "warning"
        return Finding(level, subject, str(error), "fix `buckets` of the source")  # type: ignore[arg-type]
    return Finding("ok", subject, "the bucket is there")
