#!/usr/bin/env python3
"""`make play-s3`, `play-sqs`, `play-logs`, `play-everything`: an example's configuration against local servers.

Starts what stands for AWS (MinIO from `make tools` as S3 if it is there, else moto; moto as SQS and CloudWatch Logs;
the tests' fake as LookupEvents), loads samples/ into them, moved to the last three days, runs the exporter with
examples/NAME.yaml to this terminal and lets four more files come. Ctrl-C ends all of it, with exit code 0.

    tools/play.py s3|sqs|logs|everything [FOLDER]

FOLDER takes the state and what the servers keep and say; it is emptied first. Unless given: .run/play-NAME.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
MINIO = ROOT / ".tools" / "bin" / "minio"
KEY, SECRET, REGION = "playground", "playground-secret", "us-east-2"
BUCKET, QUEUE, GROUP = "trail-archive", "trail-events", "aws-cloudtrail-logs"
#: Files that come while the exporter runs, and seconds between them.
LATER, PAUSE = 4, 3.0
#: Of the files there are at the start: whose notification is lost, and whose comes twice.
LOST, DOUBLED = (-1, -2), (0, 1)


class Look(NamedTuple):
    """What is worth a look: on the terminal, on the page, and in /metrics, metric by metric."""

    here: str
    page: str
    metrics: dict[str, str]


COUNTED = {"cloudtrail_events_total": "calls; the 315th published event is a correction, which is no second call"}
LOOK = {
    "s3": Look(
        "a line per event of the archive, then four files that come one after the other",
        "the source once per account and region",
        COUNTED
        | {
            "cloudtrail_exporter_events_duplicate_total": "records that lie there twice",
            "cloudtrail_exporter_events_quarantined_total": "a broken record; its neighbours are published",
            "cloudtrail_exporter_s3_objects_processed_total": "files",
            "cloudtrail_exporter_s3_list_requests_total": "what listing costs: every 5 seconds here, else every minute",
        },
    ),
    "sqs": Look(
        "a line per event; two notifications are lost and two come twice",
        "two workers on the queue, and `relist/...` for what no message told of",
        COUNTED
        | {
            "cloudtrail_exporter_found_by_listing_total": "found first by the listing, the lost ones among them",
            "cloudtrail_exporter_events_duplicate_total": "read again: doubled messages, and what the listing saw too",
            "cloudtrail_exporter_sqs_messages_received_total": "messages",
            "cloudtrail_exporter_sqs_messages_deleted_total": "each only after its events were committed",
        },
    ),
    "logs": Look(
        "a line per event of the log group, then four deliveries more",
        "one partition, and up to when it has been read",
        COUNTED
        | {
            "cloudtrail_exporter_events_duplicate_total": "read again, because each poll looks back 30 minutes",
            "cloudtrail_exporter_events_filtered_total": "of other services; AWS would filter them before they travel",
        },
    ),
    "everything": Look(
        "a line per event, although each comes by up to four ways",
        "how each of the four sources stands",
        COUNTED
        | {
            "cloudtrail_exporter_events_exported_total": "published, by whichever way they came first",
            "cloudtrail_exporter_events_duplicate_total": "came again by another way, or by looking back",
        },
    ),
}


class File(NamedTuple):
    """A trail file: where it lies in the bucket, its bytes, the records in it that can be read."""

    key: str
    body: bytes
    records: list[dict[str, Any]]


def trail(now: datetime) -> list[File]:
    """samples/ moved by whole days to end before now, oldest file first; digest files first of all."""
    paths = sorted((ROOT / "samples").rglob("*.json.gz"), key=lambda path: stamp(path.name))
    days = now - datetime.strptime(stamp(paths[-1].name), "%Y%m%dT%H%M").replace(tzinfo=UTC)

    def moved(match: re.Match[str], form: str) -> str:
        return match[0].replace(match[1], f"{datetime.strptime(match[1], form) + timedelta(days.days):{form}}")  # noqa: DTZ007

    files = []
    for path in paths:
        key = re.sub(
            r"/(\d{4}/\d\d/\d\d)/",
            lambda match: moved(match, "%Y/%m/%d"),
            path.relative_to(ROOT / "samples").as_posix(),
        )
        key = re.sub(r"_(\d{8})T\d{4}", lambda match: moved(match, "%Y%m%d"), key)
        text = gzip.decompress(path.read_bytes()).decode()
        text = re.sub(r'"eventTime": ?"(\d{4}-\d\d-\d\d)T', lambda match: moved(match, "%Y-%m-%d"), text)
        files.append(File(key, gzip.compress(text.encode()), list(records(text))))
    return files


def stamp(name: str) -> str:
    found = re.search(r"_(\d{8}T\d{4})", name)
    return "" if found is None or "Digest" in name else found[1]


def records(text: str) -> Iterator[dict[str, Any]]:
    """Every record of a trail file; of a damaged one those around the damage."""
    for start in re.finditer(r'\{"eventVersion"', text):
        with contextlib.suppress(ValueError):
            yield json.JSONDecoder().raw_decode(text, start.start())[0]


# -- the servers ----------------------------------------------------------------------------------------------------


class Servers(contextlib.ExitStack):
    """Processes that end with this; what they say is in the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def start(self, name: str, argv: Sequence[str | Path], **env: str) -> Callable[[], str]:
        """Start one, out of reach of this terminal's Ctrl-C; returns how to ask what it has said."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env=os.environ | env,
                start_new_session=True,
            )
        self.callback(ended, process)

        def said() -> str:
            if process.poll() is not None:
                raise SystemExit(f"{name} ended with {process.returncode}; it said:\n{log.read_text()[-2000:]}")
            return log.read_text(errors="replace")

        return said

    def aws(self) -> str:
        """moto: an address of SQS, CloudWatch Logs and S3."""
        return told(self.start("moto", [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]))

    def minio(self) -> str:
        """MinIO: an address of S3."""
        with socket.socket() as one, socket.socket() as two:
            ports = []
            for probe in (one, two):
                probe.bind(("127.0.0.1", 0))
                ports.append(f"127.0.0.1:{probe.getsockname()[1]}")
        argv = [MINIO, "server", self.folder / "minio", "--address", ports[0], "--console-address", ports[1]]
        said = self.start("minio", argv, MINIO_ROOT_USER=KEY, MINIO_ROOT_PASSWORD=SECRET)
        url = f"http://{ports[0]}"
        wait_for("MinIO", lambda: said() is not None and answers(f"{url}/minio/health/live"))
        return url

    def lookup(self, files: Sequence[File]) -> str:
        """The tests' fake of LookupEvents with the Event history of the first account."""
        history = self.folder / "history.jsonl"
        own = [json.dumps(record) for file in files for record in file.records if "/111122223333/" in file.key]
        history.write_text("\n".join(dict.fromkeys(own)) + "\n")
        argv = [sys.executable, "-m", "tests.fakes.lookup_events", "--port", "0", "--rate", "0", "--events", history]
        return told(self.start("lookup", argv, PYTHONUNBUFFERED="1"))


def ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def told(said: Callable[[], str]) -> str:
    """The address a server says it listens on."""
    return wait_for("a server", lambda: re.search(r"http://127\.0\.0\.1:\d+", said()))[0]


def answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as reply:
        return bool(reply.status == 200)
    return False


def wait_for(what: str, attempt: Callable[[], Any], *, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := attempt():
            return result
        time.sleep(0.1)
    raise SystemExit(f"{what} was not there after {seconds:.0f} s")


class Delivery:
    """What CloudTrail and S3 do: a file into the bucket, a message into the queue, its records into the log group."""

    def __init__(self, ways: set[str], *, aws: str, s3: str) -> None:
        import boto3

        session = boto3.session.Session(aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name=REGION)
        self._s3 = session.client("s3", endpoint_url=s3) if {"s3", "sqs"} & ways else None
        self._sqs = session.client("sqs", endpoint_url=aws) if "sqs" in ways else None
        self._logs = session.client("logs", endpoint_url=aws) if "logs" in ways else None
        self._queue_url = ""
        if self._s3:
            self._s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        if self._sqs:
            self._queue_url = self._sqs.create_queue(QueueName=QUEUE, Attributes={"VisibilityTimeout": "300"})[
                "QueueUrl"
            ]
        if self._logs:
            self._logs.create_log_group(logGroupName=GROUP)
            self._logs.create_log_stream(logGroupName=GROUP, logStreamName="trail")

    def deliver(self, file: File, *, messages: int = 1, at: datetime | None = None) -> None:
        """One file by all ways there are.

        Args:
            messages: how many the queue gets of it.
            at: the time of its log events; None: when each call was made.
        """
        if self._s3:
            self._s3.put_object(Bucket=BUCKET, Key=file.key, Body=file.body)
        if self._sqs:
            s3 = {"bucket": {"name": BUCKET}, "object": {"key": file.key, "size": len(file.body)}}
            record = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3}
            for _ in range(messages):
                self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=json.dumps({"Records": [record]}))
        if self._logs and file.records:
            rows = [(at or datetime.fromisoformat(record["eventTime"]), record) for record in file.records]
            events = [
                {"timestamp": int(moment.timestamp() * 1000), "message": json.dumps(record)}
                for moment, record in sorted(rows, key=lambda row: row[0])
            ]
            self._logs.put_log_events(logGroupName=GROUP, logStreamName="trail", logEvents=events)


# -- the exporter ---------------------------------------------------------------------------------------------------


def overrides(sources: Sequence[Mapping[str, Any]], addresses: Mapping[str, str]) -> dict[str, str]:
    """Variables that send the example's sources to this machine, and poll quicker than anybody would pay for."""
    found = {"SINK__TYPE": "console"}
    for number, source in enumerate(sources):
        given = {"endpoint_url": addresses[source["type"]]}
        if source["type"] == "sqs":
            given["s3_endpoint_url"] = addresses["s3"]
            given["relist__lag_seconds"] = "0"  # nobody wants to wait a quarter of an hour here
        else:
            given["poll_interval_seconds"] = "5"
        found |= {f"SOURCES__{number}__{name.upper()}": value for name, value in given.items()}
    return {f"CLOUDTRAIL_EXPORTER_{name}": value for name, value in found.items()}


def play(name: str, servers: Servers) -> int:
    example = ROOT / "examples" / f"{name}.yaml"
    sources = yaml.safe_load(example.read_text())["sources"]
    ways = {source["type"] for source in sources}
    files = trail(datetime.now(UTC))
    first, later = files[:-LATER], files[-LATER:]

    s3 = servers.minio() if {"s3", "sqs"} & ways and os.access(MINIO, os.X_OK) else ""
    aws = servers.aws() if not s3 or ways != {"s3"} else ""
    at = " and ".join(f"{server} at {address}" for server, address in (("MinIO", s3), ("moto", aws)) if address)
    s3 = s3 or aws
    delivery = Delivery(ways, aws=aws, s3=s3)
    addresses = {"s3": s3, "sqs": aws, "logs": aws}
    if "lookup" in ways:
        addresses["lookup"] = servers.lookup(first)
    lost = {id(first[index]) for index in LOST}
    doubled = {id(first[index]) for index in DOUBLED}
    for file in first:
        delivery.deliver(file, messages=0 if id(file) in lost else 2 if id(file) in doubled else 1)

    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
        **overrides(sources, addresses),
        "CLOUDTRAIL_EXPORTER_STATE__PATH": str(servers.folder / "state.db"),
    }
    address = environment.setdefault("CLOUDTRAIL_EXPORTER_WEB__LISTEN_ADDRESS", "127.0.0.1:10042")
    url = f"http://{address}/"
    print(f"\n{example.relative_to(ROOT)} against {at}: {LOOK[name].here}.\nIt ends with Ctrl-C.\n", flush=True)

    exporter = subprocess.Popen(
        [Path(sys.executable).with_name("cloudtrail-exporter"), "run", "--config", example],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    servers.callback(ended, exporter)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: exporter.terminate())
    over = threading.Event()

    def feed() -> None:
        while not over.wait(PAUSE) and not answers(f"{url}-/healthy"):
            pass
        for file in later:
            if over.wait(PAUSE):
                return
            delivery.deliver(file, at=datetime.now(UTC))
        if not over.wait(2 * PAUSE):
            show(LOOK[name], url)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    code = exporter.wait()
    over.set()
    feeder.join(10)
    return code


def show(look: Look, url: str) -> None:
    """Say what to look at, when all is there."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}metrics", timeout=5) as reply:
        lines = reply.read().decode().splitlines()
        print(f"\nThat was all. {url} shows {look.page}; {url}metrics says:")
        for name, text in look.metrics.items():
            values = Counter[str]()
            for line in lines:
                if re.match(rf"{name}[{{ ]", line):
                    source = re.search(r'[{,]source="([^"]+)"', line)
                    values[source[1] if source else ""] += int(float(line.rsplit(" ", 1)[1]))
            print(f"  {name:<47} {values.total():>5}  {text}")
            if len(values) > 1 and "" not in values:
                print(" " * 56 + ", ".join(f"{source} {value}" for source, value in values.items()))
        print("It goes on reading until Ctrl-C. More in docs/play.md.\n", flush=True)


def main(arguments: Sequence[str]) -> int:
    if len(arguments) not in (1, 2) or arguments[0] not in LOOK:
        print(__doc__, file=sys.stderr)
        return 2
    name = arguments[0]
    folder = Path(arguments[1]).resolve() if len(arguments) == 2 else ROOT / ".run" / f"play-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # What this shell says of an account, or of a receiver, is not meant here.
    for variable in [variable for variable in os.environ if variable.startswith(("AWS_", "OTEL_"))]:
        del os.environ[variable]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Servers(folder) as servers:
            return play(name, servers)
    except KeyboardInterrupt:  # before the exporter ran
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
