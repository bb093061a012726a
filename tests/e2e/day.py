"""A scripted day of two accounts and three regions: what is written when, who is told of it, what goes wrong.

Everything follows from one seed. The day is the last 24 hours, so that what looks back finds it; a driver plays it in
a minute.
"""

from __future__ import annotations

import gzip
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

from tests.e2e.processes import eventually
from tests.e2e.trail import SERVICE, Event, Oracle, events, uid_of

BUCKET, QUEUE, GROUP = "trail-archive", "trail-events", "aws-cloudtrail-logs"
ACCOUNTS = ("111122223333", "444455556666")
REGIONS = ("us-east-1", "us-east-2", "eu-west-1")
OTHERS = ("s3.amazonaws.com", "ec2.amazonaws.com", "kms.amazonaws.com", "sts.amazonaws.com")

#: What is not a gzip file, and what begins as one.
NOISE = random.Random(8).randbytes(700)
BROKEN = gzip.compress(b'{"Records":[', mtime=0)[:10] + NOISE


@dataclass(frozen=True, slots=True)
class File:
    """A trail file.

    Attributes:
        minute: of its name.
        written: when it appears in the bucket.
        messages: how many notifications of it arrive.
        logged: its records are in the log group too.
    """

    key: str
    minute: datetime
    written: datetime
    records: tuple[Event, ...]
    messages: int = 1
    logged: bool = False
    body: bytes = b""

    @property
    def bytes(self) -> bytes:
        return self.body or gzip.compress(json.dumps({"Records": self.records}).encode(), compresslevel=1)

    @property
    def wanted(self) -> list[Event]:
        return [record for record in self.records if record["eventSource"] == SERVICE]


@dataclass(frozen=True, slots=True)
class Day:
    """The script.

    Attributes:
        files: in the order they are written; the one that is garbage from the start among them.
        garbage: the key of that one.
        replaced: is overwritten by garbage later in the day, once its events have arrived.
    """

    files: tuple[File, ...]
    garbage: str
    replaced: File

    @property
    def oracle(self) -> Oracle:
        oracle = Oracle()
        for file in self.files:
            oracle.add(file.records)
        return oracle

    def rows(self) -> list[list[object]]:
        """What is in it, for people."""
        newest: dict[str, datetime] = {}
        disordered = 0
        for file in self.files:
            folder = file.key.rsplit("/", 4)[0]
            disordered += file.minute < newest.get(folder, file.minute)
            newest[folder] = max(file.minute, newest.get(folder, file.minute))
        return [
            ["trail files", len(self.files)],
            ["written after a later one of their folder", disordered],
            ["written more than 20 hours late", sum(late(file) > timedelta(hours=20) for file in self.files)],
            ["notifications lost", sum(file.messages == 0 for file in self.files)],
            ["notifications doubled", sum(file.messages == 2 for file in self.files)],
            ["also in CloudWatch Logs", sum(file.logged for file in self.files)],
            ["records", sum(len(file.records) for file in self.files)],
        ]


def late(file: File) -> timedelta:
    return file.written - file.minute


def scripted_day(*, seed: int, files: int, now: datetime) -> Day:
    """Files of the 24 hours before ``now``, by the time they are written: up to 30 minutes late, 2 % nearly a day."""
    rng = random.Random(seed)
    begin = (now - timedelta(hours=24)).replace(second=0, microsecond=0)
    minutes = sorted(begin + timedelta(minutes=rng.randrange(5, 24 * 60 - 35)) for _ in range(files))
    pool = iter(events(12 * files, seed=seed, newest=now))
    made = []
    for index, minute in enumerate(minutes):
        # Each account and region has a file in the first minutes: the day begins with an archive that exists.
        account, region = (ACCOUNTS[index % 2], REGIONS[index % 3]) if index < 12 else place(rng)
        delay = timedelta(minutes=rng.uniform(0, 30))
        if 30 < index < files // 8 and rng.random() < 0.16:
            delay = timedelta(hours=24) - (minute - begin) - timedelta(minutes=rng.uniform(0, 30))
        fortune = rng.random()
        made.append(
            File(
                key=key(account, region, minute, rng),
                minute=minute,
                written=minute + delay,
                records=tuple(shaped(pool, account, region, minute, rng)),
                messages=0 if fortune < 0.03 else 2 if fortune < 0.06 else 1,
                logged=rng.random() < 0.3,
            )
        )
    made.sort(key=lambda file: file.written)
    spoilt = files // 3
    made[spoilt] = replace(made[spoilt], records=(), body=NOISE, messages=1, logged=False)
    replaced = next(file for file in made[files // 4 :] if file.wanted and file.messages == 1)
    return Day(tuple(made), made[spoilt].key, replaced)


def place(rng: random.Random) -> tuple[str, str]:
    return rng.choice(ACCOUNTS), rng.choice(REGIONS)


def key(account: str, region: str, minute: datetime, rng: random.Random) -> str:
    name = f"{account}_CloudTrail_{region}_{minute:%Y%m%dT%H%MZ}_{rng.getrandbits(64):016x}.json.gz"
    return f"AWSLogs/{account}/CloudTrail/{region}/{minute:%Y/%m/%d}/{name}"


def shaped(pool: Iterator[Event], account: str, region: str, minute: datetime, rng: random.Random) -> Iterator[Event]:
    """Some records of the account, most of them of other services."""
    for _ in range(rng.randint(2, 12)):
        event = next(pool)
        identity = {**event["userIdentity"], "accountId": account}
        moment = minute - timedelta(minutes=rng.uniform(1, 12))
        event |= {"userIdentity": identity, "recipientAccountId": account, "awsRegion": region}
        event["eventTime"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        if rng.random() < 0.85:
            event |= {"eventSource": rng.choice(OTHERS), "eventName": "DescribeThings"}
        yield event


# -- notifications ----------------------------------------------------------------------------------------------------


def s3_notification(name: str, size: int) -> Mapping[str, Any]:
    s3 = {"bucket": {"name": BUCKET}, "object": {"key": quote_plus(name, safe="/"), "size": size}}
    return {
        "Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3}],
    }


def wrapped(name: str, size: int) -> Mapping[str, Any]:
    topic = f"arn:aws:sns:us-east-1:{ACCOUNTS[0]}:trail"
    return {"Type": "Notification", "TopicArn": topic, "Message": json.dumps(s3_notification(name, size))}


def from_trail(name: str, _size: int) -> Mapping[str, Any]:
    return {"s3Bucket": BUCKET, "s3ObjectKey": [name]}


def bridged(name: str, size: int) -> Mapping[str, Any]:
    detail = {"bucket": {"name": BUCKET}, "object": {"key": name, "size": size}, "reason": "PutObject"}
    return {"version": "0", "detail-type": "Object Created", "source": "aws.s3", "detail": detail}


SHAPES = (s3_notification, wrapped, from_trail, bridged)


# -- the driver -------------------------------------------------------------------------------------------------------


@dataclass
class Driver:
    """Plays the day against real servers, in a thread: each file when it is its turn, then whatever follows from it.

    Attributes:
        arrived: the uids the receiver has; a file is overwritten only after its events are there.
        seconds: how long the day takes.
        delivered: how many files are written.
    """

    day: Day
    s3: Any
    sqs: Any
    logs: Any
    arrived: Callable[[], Sequence[str]]
    seconds: float
    rng: random.Random
    delivered: int = 0
    queue_url: str = ""
    overwritten: bool = False
    _thread: threading.Thread | None = field(default=None, repr=False)
    _error: BaseException | None = None

    def open(self) -> None:
        """Make the bucket, the queue and the log group."""
        self.s3.create_bucket(Bucket=BUCKET)
        self.queue_url = self.sqs.create_queue(QueueName=QUEUE, Attributes={"VisibilityTimeout": "30"})["QueueUrl"]
        self.logs.create_log_group(logGroupName=GROUP)
        self.logs.create_log_stream(logGroupName=GROUP, logStreamName="trail")

    def deliver(self, files: int) -> None:
        """Write so many files at once: what lies there before the exporter starts."""
        for file in self.day.files[self.delivered : self.delivered + files]:
            self._write(file)

    def start(self) -> None:
        """Play the rest."""
        self._thread = threading.Thread(target=self._play, name="driver", daemon=True)
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for the end of the day; raises what went wrong with it."""
        assert self._thread is not None
        self._thread.join(seconds)
        self.check()
        assert not self._thread.is_alive(), f"the day is not over: {self.delivered} files of {len(self.day.files)}"

    def check(self) -> None:
        """Raise what went wrong so far."""
        if self._error is not None:
            raise self._error

    def waiting(self) -> int:
        """Messages in the queue, those in hand included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def _play(self) -> None:
        try:
            began, first = time.monotonic(), self.delivered
            rest = self.day.files[first:]
            for number, file in enumerate(rest):
                ahead = began + self.seconds * number / len(rest) - time.monotonic()
                if ahead > 0:
                    time.sleep(ahead)
                self._write(file)
                if not self.overwritten and number > len(rest) * 2 // 3:
                    self._overwrite()
        except BaseException as error:
            self._error = error

    def _write(self, file: File) -> None:
        body = file.bytes
        self.s3.put_object(Bucket=BUCKET, Key=file.key, Body=body)
        for _ in range(file.messages):
            self._notify(file.key, len(body))
        if file.logged and file.wanted:
            # The time of a log event is not that of its record; a tenth comes twenty minutes late.
            moment = datetime.now(UTC) - timedelta(minutes=20 if self.rng.random() < 0.1 else 0)
            rows = [
                {"timestamp": int(moment.timestamp() * 1_000), "message": json.dumps(record)}
                for record in [*file.wanted, *file.records[:1]]
            ]
            self.logs.put_log_events(logGroupName=GROUP, logStreamName="trail", logEvents=rows)
        self.delivered += 1

    def _overwrite(self) -> None:
        victim = self.day.replaced
        wanted = {uid_of(event) for event in victim.wanted}
        eventually("the events of the file to be overwritten", lambda: wanted <= set(self.arrived()), every=0.5)
        self.s3.put_object(Bucket=BUCKET, Key=victim.key, Body=BROKEN)
        self._notify(victim.key, len(BROKEN))
        self.overwritten = True

    def _notify(self, name: str, size: int) -> None:
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=json.dumps(self.rng.choice(SHAPES)(name, size)))
