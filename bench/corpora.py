"""Seeded trail archives to measure with, made in a folder when they are wanted. The same seed makes the same bytes."""

from __future__ import annotations

import gzip
import json
import random
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.e2e.trail import events

__all__ = ["Corpus", "dense", "one_large", "organization", "small_files"]

#: One record of so many is wanted in an organization's archive.
RARE = 1_000
_NEWEST = datetime(2025, 10, 9, tzinfo=UTC)
_POOL = 3_000


@dataclass(frozen=True, slots=True)
class Corpus:
    """An archive.

    Attributes:
        plain: bytes of JSON in it.
        wanted: records of the service among them; all different.
    """

    folder: Path
    files: int
    records: int
    wanted: int
    plain: int

    @property
    def paths(self) -> list[Path]:
        """Its files, in order."""
        return sorted(self.folder.rglob("*.json.gz"))


def organization(folder: Path, *, files: int = 100, each: int = 3_000, seed: int = 41) -> Corpus:
    """What an organization trail collects in busy accounts: large files."""
    return _archive(folder, [each] * files, seed=seed, level=6)


def small_files(folder: Path, *, files: int = 10_000, seed: int = 42) -> Corpus:
    """The sizes real trails have: a median of 20 records, some a few hundred."""
    rng = random.Random(seed)
    return _archive(folder, [max(1, round(rng.lognormvariate(3.0, 0.7))) for _ in range(files)], seed=seed, level=6)


def one_large(folder: Path, *, plain: int = 1_000_000_000, seed: int = 43) -> Corpus:
    """One file of so many bytes once unpacked."""
    return _archive(folder, [plain // 1_450], seed=seed, level=1)


def dense(folder: Path, *, files: int = 20, each: int = 3_000, seed: int = 22) -> Corpus:
    """Every record is wanted."""
    folder.mkdir(parents=True)
    records, plain = events(files * each, seed=seed, newest=_NEWEST), 0
    for number in range(files):
        text = _text({"Records": records[number * each : (number + 1) * each]})
        plain += len(text)
        (folder / f"{number:06}.json.gz").write_bytes(gzip.compress(text, 6, mtime=0))
    return Corpus(folder, files, len(records), len(records), plain)


def _archive(folder: Path, sizes: list[int], *, seed: int, level: int) -> Corpus:
    rng = random.Random(seed)
    others = [_text(_other(rng)) for _ in range(_POOL)]
    total = sum(sizes)
    places = set(rng.sample(range(total), total // RARE))
    wanted = iter(events(len(places), seed=seed, newest=_NEWEST))
    plain = begin = 0
    for number, size in enumerate(sizes):
        path = folder / f"{number // 1_000:03}" / f"{number:06}.json.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        packer = zlib.compressobj(level, wbits=31)
        with path.open("wb") as file:
            for piece in _pieces(
                _text(next(wanted)) if at in places else rng.choice(others) for at in _span(begin, size)
            ):
                plain += len(piece)
                file.write(packer.compress(piece))
            file.write(packer.flush())
        begin += size
    return Corpus(folder, len(sizes), total, len(places), plain)


def _span(begin: int, size: int) -> range:
    return range(begin, begin + size)


def _pieces(records: Iterator[bytes]) -> Iterator[bytes]:
    yield b'{"Records":['
    yield next(records)
    for record in records:
        yield b"," + record
    yield b"]}"


def _text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _guid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128)))


def _other(rng: random.Random) -> dict[str, Any]:
    """A record of another service: of the fields, the size (1.4 KB) and the entropy of real ones."""
    service, name = rng.choice(
        (
            ("ec2", "DescribeInstances"),
            ("s3", "GetBucketAcl"),
            ("sts", "AssumeRole"),
            ("kms", "Decrypt"),
            ("logs", "CreateLogStream"),
            ("monitoring", "GetMetricData"),
            ("lambda", "GetFunction20150331v2"),
        )
    )
    role, session = f"role-{rng.randrange(50)}", f"session-{rng.randrange(1_000)}"
    at = f"2025-09-{rng.randrange(1, 29):02}T{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}Z"
    host = f"{service}.us-east-1.amazonaws.com"
    return {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": f"AROA{rng.randrange(10**16):016}:{session}",
            "arn": f"arn:aws:sts::111122223333:assumed-role/{role}/{session}",
            "accountId": "111122223333",
            "accessKeyId": f"ASIA{rng.randrange(10**16):016}",
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": "AROAEXAMPLE",
                    "arn": f"arn:aws:iam::111122223333:role/{role}",
                    "accountId": "111122223333",
                    "userName": role,
                },
                "webIdFederationData": {},
                "attributes": {"creationDate": at, "mfaAuthenticated": "false"},
            },
        },
        "eventTime": at,
        "eventSource": f"{service}.amazonaws.com",
        "eventName": name,
        "awsRegion": "us-east-1",
        "sourceIPAddress": f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}",
        "userAgent": f'[aws-sdk-java/1.12.{rng.randrange(400)} Linux/5.10 OpenJDK_64-Bit "Server" VM/17.0.8]',
        "requestParameters": {"name": f"thing-{rng.randrange(100)}", "key": f"k/{_guid(rng)}", "Host": host},
        "responseElements": None,
        "additionalEventData": {
            "SignatureVersion": "SigV4",
            "CipherSuite": "ECDHE-RSA-AES128-GCM-SHA256",
            "bytesTransferredIn": 0,
            "x-amz-id-2": f"{rng.getrandbits(300):x}",
        },
        "requestID": _guid(rng),
        "eventID": _guid(rng),
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": "111122223333",
        "eventCategory": "Management",
        "tlsDetails": {
            "tlsVersion": "TLSv1.3",
            "cipherSuite": "TLS_AES_128_GCM_SHA256",
            "clientProvidedHostHeader": host,
        },
    }
