"""One SQS queue: receive, delete, extend, in the words of the API reference; refusals named by what is to be done."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from exporter.errors import Blocked, ExporterError, Retryable
from exporter.metrics import Metrics
from exporter.sources.aws import Clients
from exporter.sources.aws_errors import code_of

__all__ = ["MOST", "Message", "Queue", "endpoint_of", "queue_policy", "region_of"]

_log = logging.getLogger("exporter.sqs")

#: Messages one request may receive, delete or extend.
MOST = 10

_HOST = re.compile(
    r"(?:sqs(?:-fips)?\.(?P<region>[a-z0-9-]+)|(?P<legacy>[a-z0-9-]+)\.queue|vpce-[a-z0-9-]+\.sqs\.(?P<vpc>[a-z0-9-]+)\.vpce"
    r"|(?P<oldest>queue))\.(?:amazonaws\.com(?:\.cn)?|api\.aws)"
)


@dataclass(frozen=True, slots=True)
class Message:
    """A message in hand.

    Attributes:
        receipt: proves that it is; good for this receive only.
        receives: ``ApproximateReceiveCount``; 0 when it was not told.
        sent: ``SentTimestamp``, seconds since 1970; None when it was not told.
    """

    id: str
    receipt: str
    body: str
    receives: int = 0
    sent: float | None = None


def region_of(queue_url: str) -> str | None:
    """The region in a queue's address; None: it is none of AWS's."""
    match = _HOST.fullmatch(urlsplit(queue_url).hostname or "")
    if match is None:
        return None
    return match["region"] or match["legacy"] or match["vpc"] or "us-east-1"


def endpoint_of(queue_url: str) -> str | None:
    """Where to send requests if not to AWS's own endpoints: the address is of a VPC endpoint or a local server."""
    parts = urlsplit(queue_url)
    match = _HOST.fullmatch(parts.hostname or "")
    if match is not None and match["vpc"] is None:
        return None
    return f"{parts.scheme}://{parts.netloc}"


def queue_policy(arn: str) -> str:
    """The least IAM policy the source needs on the queue."""
    actions = ["ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes"]
    statement = {"Effect": "Allow", "Action": [f"sqs:{action}" for action in actions], "Resource": arn}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


class Queue:
    """Requests to one queue; several threads may share it.

    Args:
        url: ``https://sqs.REGION.amazonaws.com/ACCOUNT/NAME``.
        visibility_seconds: for how long nobody else gets a message after it was received.
        source: the label of the metrics.
    """

    def __init__(
        self, *, clients: Clients, url: str, region: str, visibility_seconds: float, metrics: Metrics, source: str
    ) -> None:
        self.url = url
        self._clients = clients
        self._region = region
        self._visibility = max(1, round(visibility_seconds))
        self._metrics = metrics
        self._source = source
        for api in ("ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"):
            metrics.preset(api=api)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return urlsplit(self.url).path.rsplit("/", 1)[-1]

    @property
    def arn(self) -> str:
        """As far as the address tells."""
        account, name = ("", *urlsplit(self.url).path.strip("/").split("/"))[-2:]
        partition = "aws-cn" if self._region.startswith("cn-") else "aws"
        if self._region.startswith("us-gov-"):
            partition = "aws-us-gov"
        return f"arn:{partition}:sqs:{self._region}:{account}:{name}"

    def receive(self, most: int, wait: float) -> list[Message]:
        """Up to ``most`` (10) messages; waits up to ``wait`` seconds (20) for the first one.

        Raises:
            Retryable, Blocked: see :mod:`exporter.sources.aws_errors`; a queue that is not there is Blocked.
        """
        answer = self._call(
            "ReceiveMessage",
            MaxNumberOfMessages=most,
            WaitTimeSeconds=round(wait),
            VisibilityTimeout=self._visibility,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        )
        messages = [_message(each) for each in answer.get("Messages") or ()]
        self._metrics.sqs_messages_received.labels(self._source).inc(len(messages))
        return messages

    def delete(self, messages: Sequence[Message]) -> list[Message]:
        """Delete them; returns those that are. A failure is logged and counted: the message comes again."""
        deleted, _ = self._each("DeleteMessageBatch", messages, {})
        self._metrics.sqs_messages_deleted.labels(self._source).inc(len(deleted))
        return deleted

    def extend(self, messages: Sequence[Message]) -> list[Message]:
        """Keep them for as long as at first, from now on; returns those that are lost to us.

        Lost is what SQS refuses for good: the receipt is too old, or the message was held for 12 hours.
        """
        return self._each("ChangeMessageVisibilityBatch", messages, {"VisibilityTimeout": self._visibility})[1]

    def give_back(self, messages: Sequence[Message]) -> None:
        """Let anybody have them now."""
        self._each("ChangeMessageVisibilityBatch", messages, {"VisibilityTimeout": 0})

    def attributes(self) -> Mapping[str, str]:
        """``GetQueueAttributes``, all of them.

        Raises:
            Retryable, Blocked: as for :meth:`receive`.
        """
        answer = self._call("GetQueueAttributes", AttributeNames=["All"])
        return {str(name): str(value) for name, value in (answer.get("Attributes") or {}).items()}

    def _each(
        self, operation: str, messages: Sequence[Message], more: Mapping[str, Any]
    ) -> tuple[list[Message], list[Message]]:
        """One of the batch requests over any number of messages: those it worked for, those refused for good."""
        done: list[Message] = []
        refused: list[Message] = []
        for portion in _portions(messages):
            entries = [{"Id": str(i), "ReceiptHandle": message.receipt, **more} for i, message in enumerate(portion)]
            try:
                answer = self._call(operation, Entries=entries)
            except ExporterError as error:
                # The permission for a batch of them is that of a single one.
                said = str(error).replace(f"sqs:{operation}", f"sqs:{operation.removesuffix('Batch')}")
                self._failed(operation, error.reason, len(portion), said)
                continue
            failures = {str(each.get("Id")): each for each in answer.get("Failed") or ()}
            for i, message in enumerate(portion):
                failure = failures.get(str(i))
                if failure is None:
                    done.append(message)
                    continue
                theirs = failure.get("SenderFault") is False
                if not theirs:
                    refused.append(message)
                self._failed(operation, "server" if theirs else "invalid", 1, f"{message.id}: {failure.get('Code')}")
        return done, refused

    def _failed(self, operation: str, reason: str, count: int, text: str) -> None:
        self._metrics.sqs_message_failures.labels(self._source, reason).inc(count)
        _log.warning(
            "%s failed, the messages will come again: %s",
            operation,
            text,
            extra={"source": self._source, "queue": self.name, "reason": reason, "messages": count},
        )

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return self._clients.call("sqs", operation, region=self._region, QueueUrl=self.url, **parameters)
        except (Retryable, Blocked) as error:
            named = self._named(error, code_of(error))
            if named is None:
                raise
            raise named from error

    def _named(self, error: ExporterError, code: str) -> ExporterError | None:
        """SQS's own refusals, which the table of all services does not know; None: it does."""
        code = code.removeprefix("AWS.SimpleQueueService.")
        if code in ("QueueDoesNotExist", "NonExistentQueue", "QueueDeletedRecently", "InvalidAddress"):
            return Blocked(
                f"the queue {self.url} is not there in {self._region}: create it, or fix queue_url; once it is there, "
                "reading goes on by itself",
                reason="not_found",
            )
        if code in ("OverLimit", "KmsThrottled", "KMS.ThrottlingException"):
            return Retryable(str(error), reason="throttled")
        if code.lower().startswith("kms"):
            return Blocked(
                f"{error} -- the queue {self.name} is encrypted: allow kms:Decrypt on its key, and enable the key",
                reason="access_denied",
            )
        return None


def _message(found: Mapping[str, Any]) -> Message:
    attributes = found.get("Attributes") or {}
    sent = str(attributes.get("SentTimestamp") or "")
    receives = str(attributes.get("ApproximateReceiveCount") or "")
    return Message(
        id=str(found.get("MessageId") or ""),
        receipt=str(found.get("ReceiptHandle") or ""),
        body=str(found.get("Body") or ""),
        receives=int(receives) if receives.isascii() and receives.isdigit() else 0,
        sent=int(sent) / 1_000 if sent.isascii() and sent.isdigit() and len(sent) < 16 else None,
    )


def _portions(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    for start in range(0, len(messages), MOST):
        yield messages[start : start + MOST]
