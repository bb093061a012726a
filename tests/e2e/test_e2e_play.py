"""The examples against local servers, as `make play-...` shows them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.processes import ROOT, Process, all_ended, eventually, free_port, get
from tests.e2e.servers import KEY

NAMES = ("s3", "sqs", "logs", "everything")
DONE = r"That was all\. (http://127\.0\.0\.1:\d+/)[^$]*It goes on reading"


@pytest.fixture(scope="module")
def plays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Process]]:
    """All four at once: most of the time they wait."""
    folder = tmp_path_factory.mktemp("plays")
    found = {}
    for name in NAMES:
        env = {
            "CLOUDTRAIL_EXPORTER_WEB__LISTEN_ADDRESS": f"127.0.0.1:{free_port()}",
            "PYTHONUNBUFFERED": "1",
            # Another account's credentials in the developer's shell are not to be used.
            "AWS_PROFILE": KEY,
        }
        argv = [sys.executable, ROOT / "tools" / "play.py", name, folder / name]
        found[name] = Process(f"play-{name}", argv, folder=folder, env=env)
        found[name].start()
    with all_ended(*found.values()):
        yield found
        for play in found.values():
            # Asked to end first: a play that is killed leaves its servers behind.
            with contextlib.suppress(AssertionError):
                play.terminate()


@pytest.mark.parametrize("name", NAMES)
def test_a_play_publishes_the_samples_and_ends_with_all_it_started(plays: dict[str, Process], name: str) -> None:
    """Every call of samples/ is counted once, whatever the way; Ctrl-C ends it with 0 and nothing is left running."""
    play = plays[name]
    url = play.wait_for(DONE, seconds=120)[1]
    said = play.said()
    counted = re.search(r"cloudtrail_events_total +(\d+)", said)
    assert counted is not None
    assert counted[1] == "314"
    assert "Traceback" not in said
    servers = set(re.findall(r"http://127\.0\.0\.1:\d+", said)) - {url.rstrip("/")}
    assert servers
    assert all(get(f"{server}/")[0] for server in servers)

    os.kill(play.pid, signal.SIGINT)
    assert play.finish() == 0
    eventually("its servers to be gone", lambda: not any(get(f"{server}/")[0] for server in (*servers, url)))
