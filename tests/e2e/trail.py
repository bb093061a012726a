"""Events made for a test, and the oracle: what ought to come out, worked out apart from the exporter's code."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

SERVICE = "lookoutmetrics.amazonaws.com"
NAMES = (
    "ListAnomalyDetectors",
    "DescribeAnomalyDetector",
    "CreateAlert",
    "PutFeedback",
    "GetAnomalyGroup",
    "DeleteAlert",
)
PRINCIPALS = ("AssumedRole", "IAMUser", "Root", "AWSService", "FederatedUser")

#: What AWS documents for ``userIdentity.type``; anything else is counted as ``_OTHER``.
DOCUMENTED = set(
    "Root IAMUser AssumedRole Role FederatedUser Directory AWSAccount AWSService IdentityCenterUser SAMLUser "
    "WebIdentityUser Unknown".split()
)
SAMPLES = Path(__file__).resolve().parents[2] / "samples"

Event = dict[str, Any]


def events(count: int, *, seed: int, newest: datetime | None = None, region: str = "us-east-1") -> list[Event]:
    """So many different records, one every two seconds back from ``newest`` (default: a minute ago)."""
    rng = random.Random(seed)
    end = newest or datetime.now(UTC) - timedelta(minutes=1)
    return [
        {
            "eventVersion": "1.08",
            "userIdentity": {
                "type": rng.choice(PRINCIPALS),
                "principalId": "AIDAEXAMPLE",
                "arn": "arn:aws:iam::111122223333:user/alice",
                "accountId": "111122223333",
                "userName": "alice",
            },
            "eventTime": (end - timedelta(seconds=2 * index)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "eventSource": SERVICE,
            "eventName": rng.choice(NAMES),
            "awsRegion": region,
            "sourceIPAddress": "192.0.2.7",
            "userAgent": "aws-cli/2.15.0",
            "requestParameters": {"MaxResults": index},
            "responseElements": None,
            "requestID": str(uuid.UUID(int=rng.getrandbits(128))),
            "eventID": str(uuid.UUID(int=rng.getrandbits(128))),
            "readOnly": True,
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "eventCategory": "Management",
            "recipientAccountId": "111122223333",
        }
        for index in range(count)
    ]


def visible_after(seconds: float, late: Sequence[Event]) -> list[Event]:
    """The same events, which Event history shows only so many seconds from now."""
    at = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [{**event, "_visible_at": at} for event in late]


def drop(folder: Path, name: str, records: Sequence[Event]) -> None:
    """Put a trail file into the folder as a copying tool does: under another name first."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(gzip.compress(json.dumps({"Records": records}).encode()))
    os.replace(partial, path)


@dataclass(slots=True)
class Oracle:
    """What the exporter ought to have published and counted.

    Attributes:
        counts: (event name, principal type) -> calls.
        uids: every ``log.record.uid``; corrections are published, and not counted as calls.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    uids: set[str] = field(default_factory=set)

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take in well-formed records of the service, each with an ``eventID``."""
        for record in records:
            if record.get("eventSource") != SERVICE:
                continue
            uid = uid_of(record)
            if uid in self.uids:
                continue
            self.uids.add(uid)
            if not uid.endswith("/UPDATED_DATA"):
                kind = record["userIdentity"].get("type") or "_MISSING"
                self.counts[record["eventName"], kind if kind in DOCUMENTED or kind == "_MISSING" else "_OTHER"] += 1


def uid_of(record: Mapping[str, Any]) -> str:
    """The ``log.record.uid`` a record with an ``eventID`` ought to get."""
    correction = record.get("addendum", {}).get("reason") == "UPDATED_DATA"
    return f"{record['recipientAccountId']}/{record['eventID']}" + ("/UPDATED_DATA" if correction else "")


def sample_records() -> Iterator[Event]:
    """Every record of samples/ that can be read; of a damaged file those around the damage."""
    for path in sorted(SAMPLES.rglob("*.json.gz")):
        text = gzip.decompress(path.read_bytes()).decode()
        try:
            yield from json.loads(text).get("Records", [])
        except ValueError:
            for start in re.finditer(r'\{"eventVersion"', text):
                with contextlib.suppress(ValueError):
                    yield json.JSONDecoder().raw_decode(text, start.start())[0]
