"""A drain that kills itself with -9 at a chosen step, in a process forked from one that has done the imports."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

#: The numbered steps of the straight path.
STEPS = ("read", "parse", "select", "unseen", "send", "commit", "settle")

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "exporter.app",
        "exporter.configfile",
        "exporter.sources.files",
        "exporter.sources.lookup",
        "exporter.sources.ratelimit",
        "exporter.sources.s3",
        "exporter.sources.sqs",
        "exporter.sources.logs",
        "exporter.sinks.file",
        "exporter.state.sqlite",
        "exporter.state.memory",
    ]
)


class Killer:
    """Dies at the n-th time a step is reached, before or after it is done."""

    def __init__(self, when: str, step: str, number: int) -> None:
        self.when, self.step, self.left = when, step, number

    def at(self, when: str, step: str) -> None:
        if (when, step) == (self.when, self.step):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.at("before", step)
            result = function(*args, **kwargs)
            self.at("after", step)
            return result

        return wrapped


class Proxy:
    """An object with some of its methods replaced."""

    def __init__(self, target: Any, **methods: Callable[..., Any]) -> None:
        self.__dict__.update(_target=target, **methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


def _arm(app: Any, killer: Killer) -> None:
    from exporter import pipeline as module

    pipeline = app.runtime.pipeline
    module.parse = killer.around("parse", module.parse)  # type: ignore[attr-defined]
    pipeline._selection = Proxy(pipeline._selection, refuses=killer.around("select", pipeline._selection.refuses))
    pipeline._sink = Proxy(pipeline._sink, send=killer.around("send", pipeline._sink.send))
    state = pipeline._state
    pipeline._state = Proxy(
        state, unseen=killer.around("unseen", state.unseen), commit=killer.around("commit", state.commit)
    )

    def reading(read: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def wrapped(*args: Any) -> Iterator[Any]:
            batches = iter(read(*args))
            while True:
                killer.at("before", "read")
                batch = next(batches, None)
                if batch is None:
                    return
                killer.at("after", "read")
                yield batch

        return wrapped

    app.runtime.sources = [
        Proxy(source, read=reading(source.read), settle=killer.around("settle", source.settle))
        for source in app.runtime.sources
    ]


def _run(config: str, kill: tuple[str, str, int] | None, totals: Any) -> None:
    from exporter import app as wired
    from exporter import configfile
    from exporter.sources import ratelimit, sqs

    limits = ratelimit.RateLimits
    ratelimit.RateLimits = lambda *, clock, **_: limits(clock=clock, rate=10_000.0, burst=10_000)  # type: ignore
    sqs.SqsSource = functools.partial(sqs.SqsSource, wait_seconds=0)  # type: ignore
    app = wired.build(configfile.load(Path(config), {}), environ=dict(os.environ), once=True, serve=False)
    if kill is not None:
        _arm(app, Killer(*kill))
    app.runtime.start()
    app.runtime.join()
    error = app.runtime.error
    if totals is not None:
        totals.send({tuple(labels): count for labels, count in app.state.totals().items()})
    app.close()
    os._exit(1 if error else 0)


def drain(config: Path, kill: tuple[str, str, int] | None = None) -> tuple[int, dict[tuple[Any, ...], int]]:
    """Drain in a process of its own; returns its exit code (-9: killed) and, when it lived, the counters."""
    receive, send = _context.Pipe(duplex=False)
    process = _context.Process(target=_run, args=(str(config), kill, send))
    process.start()
    send.close()
    totals: dict[tuple[Any, ...], int] = {}
    with contextlib.suppress(EOFError):  # it was killed
        totals = receive.recv()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode, totals


def drain_killed_after(config: Path, seconds: float, rng: random.Random) -> int:
    """Drain, killed from outside at a random instant within so many seconds; returns the exit code."""
    process = _context.Process(target=_run, args=(str(config), None, None))
    process.start()
    process.join(rng.uniform(0, seconds))
    process.kill()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode
