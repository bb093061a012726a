#!/usr/bin/env python3
"""Writes samples/: a synthetic trail of two accounts, two regions and three days, and what is to be counted in it.

Python's standard library only; nothing of the exporter is imported, so that what is expected is a second opinion.
Everything comes from one seed: the same script writes the same text. Nothing in it is real: the accounts are AWS's
documentation accounts, the addresses documentation addresses, the keys say EXAMPLE.

    python samples/make_samples.py [FOLDER]
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from trail_events import ACCOUNTS, ERRORS, OPERATIONS, REGIONS, Event, Trail

SEED = 20251009
DAYS = tuple(datetime(2025, 9, 29, tzinfo=UTC) + timedelta(days=day) for day in range(3))
FILES_A_DAY = 2
DUPLICATES = 7


# -- files -------------------------------------------------------------------------------------------------------


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def packed(text: str) -> bytes:
    """gzip without a name and a time: the same text gives the same bytes (of the same zlib)."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=out, mtime=0) as stream:
        stream.write(text.encode())
    return out.getvalue()


def slots() -> Iterator[tuple[str, str, datetime]]:
    for day in DAYS:
        for account in ACCOUNTS:
            for region in REGIONS:
                for number in range(FILES_A_DAY):
                    yield account, region, day + timedelta(hours=8 + 5 * number, minutes=25 + 10 * number)


def key(account: str, region: str, minute: datetime, unique: str) -> str:
    folder = f"AWSLogs/{account}/CloudTrail/{region}/{minute:%Y/%m/%d}"
    return f"{folder}/{account}_CloudTrail_{region}_{minute:%Y%m%dT%H%MZ}_{unique}.json.gz"


class Book:
    """What is to come of it all: the oracle. It is told of each record once, when it is made."""

    def __init__(self) -> None:
        self.fate: Counter[str] = Counter()
        self.filtered: Counter[str] = Counter()
        self.quarantined: Counter[str] = Counter()
        self.corrections = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[str] = Counter()

    def event(self, record: Event, label: str) -> None:
        self.fate.update(("read", "published"))
        if record.get("addendum", {}).get("reason") == "UPDATED_DATA":
            self.corrections += 1
            return
        self.counts[record["eventName"], label] += 1
        if "errorCode" in record:
            self.errors[record["errorCode"]] += 1

    def other(self, fate: str, reason: str) -> None:
        self.fate.update(("read", fate))
        if fate != "duplicate":
            {"filtered": self.filtered, "quarantined": self.quarantined}[fate][reason] += 1

    def expected(self) -> dict[str, Any]:
        names: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        for (name, kind), count in self.counts.items():
            names[name] += count
            kinds[kind] += count
        balance = {name: self.fate[name] for name in ("read", "published", "filtered", "duplicate", "quarantined")}
        assert balance["read"] == sum(balance.values()) - balance["read"], balance
        return {
            "about": "What samples/ holds; written by make_samples.py. Empty Records: a trail file without events.",
            "Records": [],
            **balance,
            "corrections": self.corrections,
            "filtered_by_reason": dict(sorted(self.filtered.items())),
            "quarantined_by_reason": dict(sorted(self.quarantined.items())),
            "by_event_name": dict(sorted(names.items())),
            "by_principal_type": dict(sorted(kinds.items())),
            "errors_by_code": dict(sorted(self.errors.items())),
            "events": [
                {"event_name": name, "principal_type": kind, "count": count}
                for (name, kind), count in sorted(self.counts.items())
            ],
        }


def trail_files(trail: Trail, book: Book) -> dict[str, str]:
    """Key -> text of every trail file, the duplicates, the correction and the broken record in place."""
    rng, identities = trail.rng, trail.identities()
    operations: list[str] = []
    kinds: list[str] = []
    errors = list(ERRORS)
    files: list[tuple[str, list[str]]] = []
    ours: list[Event] = []
    for account, region, minute in slots():
        texts: list[str] = []
        for _ in range(rng.randrange(10, 17)):
            operations = operations or rng.sample(OPERATIONS, len(OPERATIONS))
            # Mostly roles and users, as in life, and everybody else in turn.
            kinds = kinds or [*identities, *["AssumedRole"] * 12, *["IAMUser"] * 8]
            kind = kinds.pop(rng.randrange(len(kinds)))
            time = minute - timedelta(seconds=rng.randrange(20, 480))
            who = identities[kind](account)
            console = kind in ("IAMUser", "Root") and rng.random() < 0.3
            if console and kind == "IAMUser":
                who = {
                    **trail.user(account, "lee", key="ASIAEXAMPLEKEY000005"),
                    "sessionContext": trail.session(mfa="true"),
                }
            elif kind == "IAMUser" and rng.random() < 0.2:
                who = {
                    **who,
                    "accessKeyId": "ASIAEXAMPLEKEY000001",
                    "sessionContext": trail.session(),
                    "invokedBy": "cloudformation.amazonaws.com",
                }
            error = ""
            if rng.random() < 0.15:
                errors = errors or list(ERRORS)
                error = errors.pop(0)
            record = trail.event(operations.pop(), who, account, region, time, error=error, console=console)
            book.event(record, kind)
            ours.append(record)
            texts.append(compact(record))
        for _ in range(rng.randrange(4, 9)):
            time = minute - timedelta(seconds=rng.randrange(20, 480))
            book.other("filtered", "other_service")
            texts.append(compact(trail.foreign(account, region, time)))
        rng.shuffle(texts)
        unique = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", k=16))
        files.append((key(account, region, minute, unique), texts))

    for record in rng.sample(ours[: len(ours) // 2], DUPLICATES):
        # Delivered again later, in another file of the same account and region: at-least-once delivery.
        place = f"AWSLogs/{record['recipientAccountId']}/CloudTrail/{record['awsRegion']}/2025/10/01/"
        next(texts for name, texts in files if name.startswith(place)).append(compact(record))
        book.other("duplicate", "")

    late = dict(ours[3], eventID=trail.guid(), requestID=trail.guid(), addendum={"reason": "DELIVERY_DELAY"})
    book.event(late, label_of(late))
    files[-1][1].insert(2, compact(late))

    original = next(record for record in ours if record["eventName"] == "CreateAlert" and "errorCode" not in record)
    correction = dict(
        original,
        eventID=trail.guid(),
        addendum={
            "reason": "UPDATED_DATA",
            "updatedFields": "responseElements",
            "originalRequestID": original["requestID"],
            "originalEventID": original["eventID"],
        },
    )
    book.event(correction, label_of(correction))
    files[-2][1].insert(4, compact(correction))

    broken = compact(trail.event("ListAlerts", identities["IAMUser"](ACCOUNTS[1]), ACCOUNTS[1], REGIONS[1], DAYS[1]))
    good = '"eventTime":"2025-09-30T00:00:00Z"'
    assert good in broken
    book.other("quarantined", "not_json")
    middle = next(texts for name, texts in files if f"/{ACCOUNTS[1]}/CloudTrail/{REGIONS[1]}/2025/09/30/" in name)
    middle.insert(len(middle) // 2, broken.replace(good, '"eventTime":2025-09-30T00:00:00Z'))

    return {name: '{"Records":[' + ",".join(texts) + "]}" for name, texts in files}


def label_of(record: Event) -> str:
    kind = record["userIdentity"].get("type", "_MISSING")
    return "_OTHER" if kind == "ExternalWorkload" else kind


def digest(files: dict[str, str], account: str, region: str, day: datetime) -> tuple[str, str]:
    """The first digest of a trail: which files were delivered in an hour, with the hashes of their plain text."""
    start, end = day + timedelta(hours=8), day + timedelta(hours=9)
    folder = f"/{account}/CloudTrail/{region}/{day:%Y/%m/%d}/"
    inside = [name for name in files if folder in name and f"_{day:%Y%m%d}T08" in name]
    name = (
        f"AWSLogs/{account}/CloudTrail-Digest/{region}/{day:%Y/%m/%d}/"
        f"{account}_CloudTrail-Digest_{region}_example-trail_{region}_{end:%Y%m%dT%H%M%SZ}.json.gz"
    )
    times = sorted(record["eventTime"] for name in inside for record in json.loads(files[name])["Records"])
    content = {
        "awsAccountId": account,
        "digestStartTime": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "digestEndTime": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        "digestS3Bucket": "example-trail-archive",
        "digestS3Object": name,
        "digestPublicKeyFingerprint": "00000000000000000000000000000000",
        "digestSignatureAlgorithm": "SHA256withRSA",
        "newestEventTime": times[-1],
        "oldestEventTime": times[0],
        "previousDigestS3Bucket": None,
        "previousDigestS3Object": None,
        "previousDigestHashValue": None,
        "previousDigestHashAlgorithm": None,
        "previousDigestSignature": None,
        "logFiles": [
            {
                "s3Bucket": "example-trail-archive",
                "s3Object": one,
                "hashValue": hashlib.sha256(files[one].encode()).hexdigest(),
                "hashAlgorithm": "SHA-256",
                "newestEventTime": times[-1],
                "oldestEventTime": times[0],
            }
            for one in inside
        ],
    }
    return name, compact(content)


def readme(expected: dict[str, Any], files: int) -> str:
    def table(head: tuple[str, str], rows: dict[str, int]) -> str:
        lines = [
            f"| {head[0]} | {head[1]} |",
            "|---|---:|",
            *(f"| `{name}` | {count} |" for name, count in rows.items()),
        ]
        return "\n".join(lines)

    balance = {name: expected[name] for name in ("read", "published", "filtered", "duplicate", "quarantined")}
    return f"""# samples/

A synthetic CloudTrail trail in S3's key layout: {files} files of two accounts ({", ".join(ACCOUNTS)}), two regions
({", ".join(REGIONS)}) and three days before Amazon Lookout for Metrics ended. Written by `make_samples.py` from one
seed, together with this page and `expected.json`; no file here is edited by hand.

In it: all 30 operations, every principal type, calls made by AWS services, failed calls, console calls, records of
other services, {expected["duplicate"]} records delivered twice in different files, a late record, one correction
(`addendum.reason` is `UPDATED_DATA`), one broken record in the middle of a good file, and one digest file.

`expected.json` carries an empty `Records` list, so that the folder can be read as a whole: to the exporter it is a
trail file without events.

## The books

`read = published + filtered + duplicate + quarantined`, as `cloudtrail_exporter_events_*` show them after one pass:

{table(("fate", "records"), balance)}

- filtered: {", ".join(f"{count} `{reason}`" for reason, count in expected["filtered_by_reason"].items())}
- quarantined: {", ".join(f"{count} `{reason}`" for reason, count in expected["quarantined_by_reason"].items())}
- of the published, {expected["corrections"]} is a correction: it is published and not counted as a second call,
  so `cloudtrail_events_total` sums up to {sum(expected["by_event_name"].values())}

## `cloudtrail_events_total` by `event_name`

{table(("event_name", "events"), expected["by_event_name"])}

## `cloudtrail_events_total` by `principal_type`

{table(("principal_type", "events"), expected["by_principal_type"])}

## `cloudtrail_event_errors_total` by `error_code`

{table(("error_code", "events"), expected["errors_by_code"])}
"""


def write(folder: Path) -> None:
    """Write everything below the folder; what an earlier run left in ``AWSLogs`` goes."""
    trail, book = Trail(SEED), Book()
    files = trail_files(trail, book)
    name, text = digest(files, ACCOUNTS[0], REGIONS[0], DAYS[0])
    book.other("filtered", "digest")
    expected = book.expected()
    assert set(expected["by_event_name"]) == set(OPERATIONS)
    assert set(expected["by_principal_type"]) == set(trail.identities())
    assert set(expected["errors_by_code"]) == set(ERRORS)
    shutil.rmtree(folder / "AWSLogs", ignore_errors=True)
    for path, content in (*files.items(), (name, text)):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(packed(content))
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
    (folder / "README.md").write_text(readme(expected, len(files) + 1))


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
