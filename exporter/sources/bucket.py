"""A bucket's listing: pages of objects, and which trail folders there are (S3 API reference, "ListObjectsV2")."""

from __future__ import annotations

import json
import logging
import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from exporter.contract import Clock
from exporter.errors import Blocked, ExporterError, Retryable
from exporter.metrics import Metrics
from exporter.sources.aws import Clients
from exporter.sources.objects import patiently
from exporter.sources.trail_keys import KINDS, Listed, TrailFolder

__all__ = ["TrailBucket", "base_of", "iam_policy"]

_log = logging.getLogger("exporter.s3")

_API = "ListObjectsV2"
_ORG = re.compile(r"o-[a-z0-9]{10,32}", re.ASCII)
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{4,32}", re.ASCII)


def base_of(prefix: str) -> str:
    """What every key begins with: ``PREFIX/AWSLogs/``. A slash behind the prefix, and AWSLogs itself, may be given."""
    prefix = prefix.removesuffix("/")
    if prefix == "AWSLogs" or prefix.endswith("/AWSLogs"):
        return prefix + "/"
    return f"{prefix}/AWSLogs/" if prefix else "AWSLogs/"


def iam_policy(bucket: str, base: str, region: str) -> str:
    """Everything the source needs to be allowed, as JSON; the key of an encrypted trail has to be filled in."""
    kind = {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(
        next((head for head in ("cn", "us-gov") if region.startswith(head + "-")), ""), "aws"
    )
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "ListTrailBucket",
                    "Effect": "Allow",
                    "Action": "s3:ListBucket",
                    "Resource": f"arn:{kind}:s3:::{bucket}",
                    "Condition": {"StringLike": {"s3:prefix": f"{base}*"}},
                },
                {
                    "Sid": "ReadTrailFiles",
                    "Effect": "Allow",
                    "Action": "s3:GetObject",
                    "Resource": f"arn:{kind}:s3:::{bucket}/{base}*",
                },
                {
                    "Sid": "DecryptTrailFiles",
                    "Effect": "Allow",
                    "Action": "kms:Decrypt",
                    "Resource": f"arn:{kind}:kms:{region}:ACCOUNT:key/KEY-ID",
                },
            ],
        }
    )


class TrailBucket:
    """Lists one bucket. Safe to share between threads.

    Args:
        source: name of the source, as the label of its metrics.
        base: what every key begins with, see :func:`base_of`.
        region: where requests are sent first.
        lag: objects stored later than so long ago are not there yet: somebody else may still bring them.
    """

    def __init__(
        self,
        *,
        clients: Clients,
        clock: Clock,
        metrics: Metrics,
        rng: random.Random,
        source: str,
        bucket: str,
        base: str,
        region: str,
        lag: timedelta = timedelta(),
    ) -> None:
        self._lag = lag
        self._clients = clients
        self._clock = clock
        self._metrics = metrics
        self._rng = rng
        self._source = source
        self._bucket = bucket
        self._base = base
        self._region = region
        self._left_out: set[str] = set()
        metrics.preset(api=_API)

    def pages(self, folder: TrailFolder, after: str) -> Iterator[list[Listed]]:
        """The objects of the folder whose keys sort behind ``after``, up to a thousand at a time, in that order.

        Raises:
            Retryable, Blocked: see :mod:`exporter.sources.aws_errors`.
            Stopping: from the clock.
        """
        while True:
            answer = self._asked(Prefix=folder.path, StartAfter=after)
            fresh = [each for each in answer.get("Contents", ()) if str(each["Key"]) > after]
            if fresh:
                after = str(fresh[-1]["Key"])
                yield [
                    folder.listed(str(each["Key"]), str(each.get("ETag", "")), int(each.get("Size") or 0))
                    for each in fresh
                    if not self._young(each)
                ]
            elif answer.get("IsTruncated"):
                # Going on would go on for ever; going on by its token would read it all each round.
                text = f"{_API} of {self._bucket} gives keys it was not asked for: it does not know StartAfter"
                raise Blocked(f"{text}. Use a bucket of the general purpose kind.", reason="unsupported")
            if not answer.get("IsTruncated"):
                return

    def _young(self, listed: Mapping[str, Any]) -> bool:
        stored = listed.get("LastModified")
        return bool(self._lag) and isinstance(stored, datetime) and stored > self._clock.now() - self._lag

    def names(self, path: str) -> list[str]:
        """The folders directly below a path, without slashes; raises as :meth:`pages`."""
        found: list[str] = []
        token: dict[str, str] = {}
        while True:
            answer = self._asked(Prefix=path, Delimiter="/", **token)
            prefixes = [str(each.get("Prefix", "")) for each in answer.get("CommonPrefixes", ())]
            found += [each[len(path) : -1] for each in prefixes]
            following = answer.get("NextContinuationToken")
            if not answer.get("IsTruncated") or not following or token == {"ContinuationToken": following}:
                return found
            token = {"ContinuationToken": str(following)}

    def folders(
        self,
        *,
        organization: str | None,
        accounts: Collection[str],
        regions: Collection[str],
        kinds: Collection[str],
    ) -> list[TrailFolder]:
        """The trail folders there are. What is named is not looked for.

        Args:
            organization: the one to read; None: each that is there, and accounts that stand outside of any.
            accounts, regions: those to read; empty: each that is there.
        """
        found: list[TrailFolder] = []
        for org, account in self._accounts(organization, accounts):
            path = "".join(f"{part}/" for part in (org, account) if part)
            if accounts and regions:
                found += [TrailFolder(self._base, org, account, kind, region) for kind in kinds for region in regions]
                continue
            there = self.names(self._base + path)
            self._leave_out(path, [name for name in there if name in KINDS and name not in kinds])
            for kind in (name for name in there if name in kinds):
                below = self.names(f"{self._base}{path}{kind}/")
                found += [
                    TrailFolder(self._base, org, account, kind, name)
                    for name in below
                    if _REGION.fullmatch(name) and (not regions or name in regions)
                ]
        return sorted(set(found), key=lambda folder: folder.path)

    def _accounts(self, organization: str | None, accounts: Collection[str]) -> list[tuple[str, str]]:
        if organization and accounts:
            return [(organization, account) for account in accounts]
        orgs = [organization] if organization else []
        found: list[tuple[str, str]] = []
        if not organization:
            top = self.names(self._base)
            orgs = [name for name in top if _ORG.fullmatch(name)]
            found = [("", name) for name in top if _ACCOUNT.fullmatch(name)]
        for org in orgs:
            found += [(org, name) for name in self.names(f"{self._base}{org}/") if _ACCOUNT.fullmatch(name)]
        return [(org, account) for org, account in found if not accounts or account in accounts]

    def _leave_out(self, path: str, kinds: Sequence[str]) -> None:
        """Said and counted once for each folder: it is not listed, so nobody knows what is in it."""
        for kind in kinds:
            if path + kind not in self._left_out:
                self._left_out.add(path + kind)
                self._metrics.s3_objects_skipped.labels(self._source, "kind").inc()
                _log.info(
                    "folder left out", extra={"source": self._source, "folder": path + kind, "holds": KINDS[kind]}
                )

    def _asked(self, **parameters: Any) -> dict[str, Any]:
        def request() -> dict[str, Any]:
            self._metrics.s3_list_requests.labels(self._source).inc()
            answer = self._clients.call("s3", _API, region=self._region, Bucket=self._bucket, **parameters)
            # A proxy's page with status 200 reads as an answer without members: it must not pass for "no objects".
            if "KeyCount" not in answer and "Contents" not in answer and "Name" not in answer:
                raise Retryable(f"{_API} of {self._bucket}: an answer that is no listing", reason="server")
            return answer

        try:
            return patiently(self._clock, self._rng, request)
        except ExporterError as error:
            if isinstance(error, Blocked) and error.reason == "access_denied":
                policy = iam_policy(self._bucket, self._base, self._region)
                asked = f'The prefix asked for (condition key s3:prefix): "{parameters["Prefix"]}".'
                raise Blocked(f"{error} {asked} A policy that is enough: {policy}", reason=error.reason) from error
            raise
