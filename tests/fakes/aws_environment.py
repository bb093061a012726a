"""An AWS environment that knows one key pair and nothing of the machine it runs on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["aws_environment"]


def aws_environment(monkeypatch: pytest.MonkeyPatch, folder: Path, *, sts: str | None = None) -> Path:
    """Set the environment up; returns the (absent) shared credentials file.

    Args:
        folder: where profile files would be.
        sts: address of the STS server.
    """
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    credentials = folder / "credentials"
    settings = {
        "AWS_ACCESS_KEY_ID": "AKIAFAKE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        "AWS_EC2_METADATA_DISABLED": "true",
        # Nothing in a test may look for a proxy.
        "NO_PROXY": "127.0.0.1,localhost",
    }
    if sts:
        settings["AWS_ENDPOINT_URL_STS"] = sts
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return credentials
