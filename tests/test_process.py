"""What only a real process shows: signals, exit codes, standard streams, refusals at start."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.testing.scripted import event
from tests.process import Exporter, write_config


def trail(folder: Path, *numbers: int, name: str = "a.json") -> None:
    (folder / "trail").mkdir(exist_ok=True)
    (folder / "trail" / name).write_bytes(b'{"Records":[' + b",".join(event(number) for number in numbers) + b"]}")


def uids(lines: list[str]) -> list[str]:
    return [json.loads(line)["uid"] for line in lines]


def test_run_publishes_counts_and_goes_on_after_a_restart(tmp_path: Path):
    """Two runs over one state: the second publishes nothing again and shows the same counts."""
    trail(tmp_path, 1, 2, 3)
    config = str(write_config(tmp_path))
    wanted = (
        'cloudtrail_events_total{event_source="lookoutmetrics.amazonaws.com",'
        'event_name="ListAnomalyDetectors",principal_type="IAMUser"} 3.0'
    )
    for expected in (3, 0):
        with Exporter("run", "--config", config) as run:
            run.until(run.ready)
            assert wanted in run.get("/metrics")[1]
            run.signal(signal.SIGTERM)
            assert run.wait() == 0
            assert len(run.out) == expected


def test_a_file_dropped_into_the_folder_appears(tmp_path: Path):
    """run watches."""
    with Exporter("run", "--config", str(write_config(tmp_path))) as run:
        run.until(run.ready)
        trail(tmp_path, 7)
        run.until(lambda: run.out)
        assert uids(run.out) == ["111122223333/event-7"]


def test_ctrl_c_exits_0(tmp_path: Path):
    """SIGINT is an ordinary end."""
    with Exporter("run", "--config", str(write_config(tmp_path))) as run:
        run.until(run.ready)
        run.signal(signal.SIGINT)
        assert run.wait() == 0


def hanging_receiver() -> socket.socket:
    """A listener that accepts connections and never answers."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(50)
    return listener


def test_the_batch_in_flight_is_abandoned_at_the_deadline_and_read_again(tmp_path: Path):
    """A receiver that hangs does not keep a stopped process; the exit code is still 0 and nothing is committed."""
    trail(tmp_path, 1)
    listener = hanging_receiver()
    config = write_config(
        tmp_path,
        sink={"type": "otlp", "endpoint": f"http://127.0.0.1:{listener.getsockname()[1]}", "timeout_seconds": 60},
        shutdown_seconds=1,
    )
    with Exporter("run", "--config", str(config)) as run:
        connection, _ = listener.accept()
        run.signal(signal.SIGTERM)
        assert run.wait() == 0
        assert any("abandoned" in str(message["message"]) for message in run.messages())
        connection.close()
    listener.close()
    with sqlite3.connect(tmp_path / "state.db") as database:
        assert database.execute("SELECT count(*) FROM totals").fetchone() == (0,)


def test_a_second_signal_leaves_at_once(tmp_path: Path):
    """Whoever insists is obeyed, with the signal's own exit code."""
    trail(tmp_path, 1)
    listener = hanging_receiver()
    config = write_config(
        tmp_path,
        sink={"type": "otlp", "endpoint": f"http://127.0.0.1:{listener.getsockname()[1]}", "timeout_seconds": 60},
        shutdown_seconds=600,
    )
    with Exporter("run", "--config", str(config)) as run:
        connection, _ = listener.accept()
        run.signal(signal.SIGTERM)
        run.until(lambda: not run.process.poll() and _stopping(run))
        run.signal(signal.SIGTERM)
        assert run.wait() == 128 + signal.SIGTERM
        connection.close()
    listener.close()


def test_a_hangup_without_a_terminal_ends_nothing(tmp_path: Path):
    """Operators send SIGHUP for "read your files again"; what changed is read without it."""
    trail(tmp_path, 1)
    with Exporter("run", "--config", str(write_config(tmp_path))) as run:
        run.until(run.ready)
        run.signal(signal.SIGHUP)
        trail(tmp_path, 2, name="b.json")
        run.until(lambda: len(run.out) == 2)
        run.signal(signal.SIGTERM)
        assert run.wait() == 0


def _stopping(run: Exporter) -> bool:
    return any("stopping" in str(message["message"]) for message in run.messages())


def test_a_receiver_that_is_away_makes_it_not_ready_and_loses_nothing(tmp_path: Path):
    """Nothing listens: not ready, the reason names the address; once it is there everything arrives."""
    trail(tmp_path, 1)
    config = write_config(tmp_path, sink={"type": "otlp", "endpoint": "http://127.0.0.1:9"})
    with Exporter("run", "--config", str(config)) as run:
        run.until(lambda: "127.0.0.1:9" in run.get("/-/ready")[1])
        assert run.get("/-/ready")[0] == 503
        assert run.get("/-/healthy")[0] == 200


def test_drain_exits_0_and_says_what_became_of_the_records(tmp_path: Path):
    """One line with the books."""
    trail(tmp_path, 1, 2, 2)
    with Exporter("drain", "--config", str(write_config(tmp_path))) as drain:
        assert drain.wait() == 0
        assert "read 3, published 2, filtered 0, duplicate 1, quarantined 0" in drain.err
        assert len(drain.out) == 2


def test_drain_exits_1_when_an_operator_has_to_act(tmp_path: Path):
    """A folder that is not there does not hang a Job."""
    config = write_config(tmp_path, sources=[{"name": "t", "type": "files", "path": str(tmp_path / "none")}])
    with Exporter("drain", "--config", str(config)) as drain:
        assert drain.wait() == 1
        assert any("not caught up" in line and str(tmp_path / "none") in line for line in drain.err)


def test_run_waits_for_a_missing_folder_and_says_so(tmp_path: Path):
    """The loop lives; readiness tells what is missing; the folder appears and its events come."""
    folder = tmp_path / "late"
    config = write_config(
        tmp_path,
        sources=[
            {"name": "t", "type": "files", "path": str(folder), "poll_interval_seconds": 0.1, "settle_seconds": 0}
        ],
    )
    with Exporter("run", "--config", str(config)) as run:
        run.until(lambda: str(folder) in run.get("/-/ready")[1])
        folder.mkdir()
        (folder / "a.json").write_bytes(event(1))
        run.until(lambda: run.out)


def test_a_bad_configuration_lists_every_problem_and_exits_2(tmp_path: Path):
    """run --config bad.yaml."""
    bad = Path(__file__).parent / "data" / "config" / "many.bad.yaml"
    with Exporter("run", "--config", str(bad)) as run:
        assert run.wait() == 2
        assert run.err[0] == "cloudtrail-exporter: 17 problems with the configuration:"
        assert len(run.err) == 18


def test_a_misspelt_variable_exits_2(tmp_path: Path):
    """CLOUDTRAIL_EXPORTER_SINC__TYPE is nobody's setting."""
    with Exporter("run", env={"CLOUDTRAIL_EXPORTER_SINC__TYPE": "console"}) as run:
        assert run.wait() == 2
        assert (
            "CLOUDTRAIL_EXPORTER_SINC__TYPE: no such setting; did you mean CLOUDTRAIL_EXPORTER_SINK__TYPE?"
            in run.err[1]
        )


@pytest.mark.parametrize("arguments", [["bogus"], ["run", "--bogus"], ["quarantine", "--limit", "x"]], ids=str)
def test_wrong_usage_exits_2(arguments: list[str]):
    """Typing errors on the command line."""
    with Exporter(*arguments) as process:
        assert process.wait() == 2


def test_no_region_anywhere_is_a_refusal_that_names_the_key(tmp_path: Path):
    """The default source needs a region."""
    with Exporter("run", env={"CLOUDTRAIL_EXPORTER_STATE__PATH": str(tmp_path / "s.db")}) as run:
        assert run.wait() == 2
        assert any("sources[0].regions" in line and "AWS_REGION" in line for line in run.err)


def test_a_port_in_use_is_a_refusal_that_names_the_key(tmp_path: Path):
    """Somebody else listens there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Exporter("run", "--config", str(write_config(tmp_path, web={"listen_address": address}))) as run:
            assert run.wait() == 2
            assert any("web.listen_address" in line and address in line for line in run.err)


def test_a_second_process_on_the_same_state_is_refused(tmp_path: Path):
    """The first one goes on; the second one names the file and the owner."""
    config = str(write_config(tmp_path))
    with Exporter("run", "--config", config) as first:
        first.until(first.ready)
        with Exporter("run", "--config", config) as second:
            assert second.wait() == 2
            assert any("state.path" in line and str(first.process.pid) in line for line in second.err)
        assert first.ready()


def test_several_parts_that_cannot_be_built_are_all_named(tmp_path: Path):
    """A state folder that is a file, and a source without region, in one go."""
    (tmp_path / "file").write_text("")
    config = write_config(
        tmp_path,
        state={"type": "sqlite", "path": str(tmp_path / "file" / "s.db")},
        sources=[{"name": "h", "type": "lookup"}],
    )
    with Exporter("run", "--config", str(config)) as run:
        assert run.wait() == 2
        assert [line.split(" ")[2].rstrip(":") for line in run.err[1:]] == ["sources[0].regions", "state.path"]


def test_quarantine_lists_what_was_set_aside_while_the_process_runs(tmp_path: Path):
    """One JSON object per line, with the reason and the text."""
    (tmp_path / "trail").mkdir()
    (tmp_path / "trail" / "a.jsonl").write_bytes(event(1) + b'\n{"eventID": broken}\n' + event(2) + b"\n")
    config = str(write_config(tmp_path))
    with Exporter("run", "--config", config) as run:
        run.until(lambda: len(run.out) == 2)
        run.until(run.ready)
        with Exporter("quarantine", "--config", config) as listing:
            assert listing.wait() == 0
            [item] = map(json.loads, listing.out)
            assert (item["reason"], item["text"]) == ("not_json", '{"eventID": broken}')
            assert "a.jsonl" in item["origin"]


def test_a_closed_standard_output_ends_nothing_but_holds(tmp_path: Path):
    """`run | head`: nobody reads any more, so nothing is marked as published."""
    trail(tmp_path, *range(5))
    config = write_config(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "exporter", "drain", "--config", str(config)],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        cwd=Path(__file__).parent.parent,
    )
    os.close(writing)
    assert process.returncode == 1
    with sqlite3.connect(tmp_path / "state.db") as database:
        assert database.execute("SELECT count(*) FROM totals").fetchone() == (0,)


def test_version_and_config_commands_answer(tmp_path: Path):
    """What scripts call."""
    from exporter import __version__

    with Exporter("version") as version:
        assert version.wait() == 0
        assert version.out == [__version__]
    with Exporter("config", "schema") as schema:
        assert schema.wait() == 0
        assert json.loads("\n".join(schema.out))["title"] == "cloudtrail-exporter configuration"
    with Exporter("config", "show", "--config", str(write_config(tmp_path))) as show:
        assert show.wait() == 0
        assert "horizon_days: 100.0" in "\n".join(show.out)


def test_the_example_configuration_is_valid(tmp_path: Path):
    """config example prints a file that run would take."""
    from exporter import configfile

    with Exporter("config", "example") as example:
        assert example.wait() == 0
        path = tmp_path / "example.yaml"
        path.write_text("\n".join(example.out))
    configfile.load(path, {})


def test_check_beside_the_running_process_is_no_error(tmp_path: Path):
    """`kubectl exec ... check` in the pod: that the state is in use is said, and is as it should be."""
    config = str(write_config(tmp_path))
    with Exporter("run", "--config", config) as run:
        run.until(run.ready)
        with Exporter("check", "--config", config) as check:
            assert check.wait() == 0
        said = "\n".join(check.out)
        assert f"held by pid {run.process.pid} on " in said
        run.signal(signal.SIGTERM)
        assert run.wait() == 0


def test_healthcheck_asks_the_running_process(tmp_path: Path):
    """0 while it serves, 1 when nothing is there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = str(write_config(tmp_path, web={"listen_address": f"127.0.0.1:{port}"}))
    with Exporter("healthcheck", "--config", config) as nobody:
        assert nobody.wait() == 1
    with Exporter("run", "--config", config) as run:
        run.until(run.ready)
        with Exporter("healthcheck", "--ready", "--config", config) as asked:
            assert asked.wait() == 0


def test_no_key_and_no_header_is_in_the_log(tmp_path: Path):
    """Secrets of the configuration and the environment stay out of every stream, at the most talkative level."""
    trail(tmp_path, 1)
    config = write_config(
        tmp_path,
        sink={"type": "otlp", "endpoint": "http://127.0.0.1:9", "headers": {"authorization": "Bearer hunter2"}},
        log={"level": "debug"},
    )
    with Exporter("run", "--config", str(config), env={"AWS_SECRET_ACCESS_KEY": "hunter3"}) as run:
        run.until(lambda: any("retrying" in line for line in run.err))
        run.get("/")
        run.get("/metrics")
        run.signal(signal.SIGTERM)
        run.wait()
        everything = "\n".join(run.out + run.err)
        assert "hunter" not in everything
