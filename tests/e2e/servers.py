"""The servers that stand for AWS: MinIO as S3, moto as SQS and CloudWatch Logs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.e2e.processes import TOOLS, Process, eventually, free_port, get

#: What every client says who it is; MinIO wants eight characters, moto takes anything.
KEY, SECRET = "end-to-end", "end-to-end-secret"
REGION = "us-east-1"


def client(service: str, url: str) -> Any:
    """A boto3 client for the test's own use."""
    import boto3

    session = boto3.session.Session(aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name=REGION)
    return session.client(service, endpoint_url=url)


class Minio(Process):
    """S3 with real listing order, StartAfter, ETags and ranges."""

    def __init__(self, *, folder: Path) -> None:
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        argv = [TOOLS / "minio", "server", folder / "minio", "--address", address]
        super().__init__(
            "minio",
            [*argv, "--console-address", f"127.0.0.1:{free_port()}"],
            folder=folder,
            env={"MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET},
        )

    def serve(self) -> None:
        self.start()
        eventually("MinIO to be up", lambda: get(f"{self.url}/minio/health/live")[0] == 200)


class Moto(Process):
    """SQS and CloudWatch Logs, in a process of its own."""

    def __init__(self, *, folder: Path) -> None:
        super().__init__("moto", [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], folder=folder)
        self.url = ""

    def serve(self) -> None:
        self.start()
        self.url = self.wait_for(r"http://127\.0\.0\.1:\d+")[0]
