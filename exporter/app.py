"""A whole process: built from settings, or every problem at once; what ``check`` tries; what it says of itself."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TextIO, TypeVar
from urllib.parse import urlsplit

from exporter import __version__, config
from exporter.clock import SystemClock
from exporter.contract import Finding, Sink, Source, State
from exporter.errors import Blocked, ConfigError, Held, Problem, Retryable
from exporter.exposition import EventSeries
from exporter.labels import LabelFolder
from exporter.metrics import Metrics
from exporter.pipeline import Pipeline
from exporter.runtime import Runtime
from exporter.services import SERVICES
from exporter.status import Status
from exporter.wiring import (
    SINKS,
    SOURCES,
    STATES,
    Parts,
    chosen_sink,
    mapper_of,
    otlp_settings_of,
    selection_of,
    state_path,
)

if TYPE_CHECKING:
    from exporter.web.live import LiveConfig
    from exporter.web.server import WebServer

__all__ = ["App", "build", "findings"]

_T = TypeVar("_T")

_HELD = "nothing if that is the exporter at work; else stop it, or give this one another state.path"


@dataclass(slots=True)
class App:
    """A wired process, not started."""

    settings: config.Settings
    clock: SystemClock
    metrics: Metrics
    sources: Sequence[Source]
    sink: Sink
    state: State
    runtime: Runtime
    started_at: datetime
    reading: str
    sending: str
    keeping: str
    web: WebServer | None = None

    def status(self) -> Status:
        """What /-/ready and the landing page show."""
        reasons = tuple(self.runtime.complaints())
        return Status(
            ready=not reasons,
            reasons=reasons,
            version=__version__,
            started_at=self.started_at,
            sources=self.runtime.statuses(),
            reading=self.reading,
            sending=self.sending,
            keeping=self.keeping,
            counted=_counted(self.state),
            notices=tuple(notice for source in self.sources for notice in getattr(source, "notices", ())),
        )

    def close(self) -> None:
        """Free everything; safe twice."""
        parts: tuple[Source | Sink | State, ...] = (*self.sources, self.sink, self.state)
        for part in parts:
            part.close()


def build(
    settings: config.Settings,
    *,
    environ: Mapping[str, str] = os.environ,
    once: bool = False,
    give_up_seconds: float | None = None,
    serve: bool = True,
    stdout: TextIO = sys.stdout,
    on_end: Callable[[], None] = lambda: None,
    clock: SystemClock | None = None,
) -> App:
    """Wire a process. Nothing is read or sent yet; sockets are bound and the state is claimed.

    Args:
        once: for ``drain``: read until caught up.
        serve: with the web surface.

    Raises:
        ConfigError: with all problems the parts found.
    """
    clock = clock or SystemClock()
    metrics = Metrics(revision=environ.get("CLOUDTRAIL_EXPORTER_REVISION", ""))
    parts = Parts(settings, environ, clock, metrics, random.Random(), stdout, not once, {})  # noqa: S311 - jitter
    problems: list[Problem] = []

    def attempt(make: Callable[[], _T]) -> _T | None:
        try:
            return make()
        except ConfigError as error:
            problems.extend(error.problems)
            return None
        except (Blocked, Retryable) as error:  # a full disk at start: there is nothing to hold yet
            problems.append(Problem("state", "", str(error)))
            return None

    chosen = chosen_sink(settings, environ)
    mapper = mapper_of(settings, metrics)
    sources = [
        attempt(lambda i=i, s=source: SOURCES[type(s)](f"sources[{i}]", s, parts))  # type: ignore[misc]
        for i, source in enumerate(settings.sources)
    ]
    sink = attempt(lambda: SINKS[type(chosen)]("sink", chosen, parts, mapper))
    state = attempt(lambda: STATES[type(settings.state)]("state", settings.state, parts))
    epoch = attempt(lambda: state.claim(f"{socket.gethostname()}:{os.getpid()}")) if state else None
    problems.extend(_web_problems(settings))
    web_config = attempt(lambda: _web_config(settings, clock, metrics)) if serve else None
    built = [source for source in sources if source is not None]
    if problems or sink is None or state is None or epoch is None:
        made: tuple[Source | Sink | State | None, ...] = (*built, sink, state)
        for part in made:
            if part is not None:
                part.close()
        raise ConfigError(problems)

    _expose(settings, chosen, state, metrics)
    events = EventSeries(
        totals=state.totals,
        known={name: SERVICES[name].operations for name in settings.services if name in SERVICES},
        extra_labels=tuple(settings.metrics.extra_labels),
        max_series=settings.metrics.max_series,
        zero_seconds=settings.metrics.zero_seconds,
        metrics=metrics,
        clock=clock,
    )
    pipeline = Pipeline(
        sink=sink,
        state=state,
        selection=selection_of(settings),
        fold=LabelFolder(
            known={name: tuple(service.operations) for name, service in SERVICES.items()},
            services=settings.services,
            max_event_names=settings.metrics.max_event_names,
            max_error_codes=settings.metrics.max_error_codes,
            max_accounts=settings.metrics.max_accounts,
            seen=state.totals(),
            metrics=metrics,
        ).fold,
        clock=clock,
        metrics=metrics,
        epoch=epoch,
        depth=settings.limits.json_depth,
        size=settings.limits.record_bytes,
        backend=settings.state.type,
        counted=events.counted,
    )
    runtime = Runtime(
        sources=built,
        pipeline=pipeline,
        state=state,
        clock=clock,
        metrics=metrics,
        rng=parts.rng,
        types={source.name: source.type for source in settings.sources},
        horizon=timedelta(days=settings.state.horizon_days),
        concurrency=settings.concurrency,
        discover_seconds=min(
            [source.discover_interval_seconds for source in settings.sources if isinstance(source, config.S3Source)],
            default=300.0,
        ),
        once=once,
        give_up_seconds=give_up_seconds,
        on_end=on_end,
    )
    app = App(
        settings=settings,
        clock=clock,
        metrics=metrics,
        sources=built,
        sink=sink,
        state=state,
        runtime=runtime,
        started_at=clock.now(),
        reading=_reading(settings),
        sending=_sending(chosen, environ),
        keeping=_keeping(settings.state, environ),
    )
    if serve:
        from exporter.web.app import create_app
        from exporter.web.server import WebServer

        app.web = WebServer(
            create_app(
                metrics=metrics,
                events=events,
                status=app.status,
                clock=clock,
                created_series=settings.metrics.created_series,
                telemetry_path=settings.web.telemetry_path,
                config=web_config,
            ),
            listen=_listen(settings),
            idle_seconds=settings.web.idle_seconds,
            max_connections=settings.web.max_connections,
            config=web_config,
        )
        try:
            app.web.start()
        except ConfigError:
            app.close()
            raise
    metrics.ready.set_function(lambda: float(not runtime.complaints()))
    return app


def _expose(settings: config.Settings, sink: config.SinkSettings, state: State, metrics: Metrics) -> None:
    """Hang the ledger's figures onto the metrics."""
    backend = settings.state.type
    metrics.preset(backend=backend)
    for source in settings.sources:
        metrics.preset(source=source.name, source_type=source.type)
        if isinstance(source, config.SqsSource) and source.relist:
            metrics.preset(source=f"{source.name}-relist", source_type="s3", only_own=True)
    metrics.dedupe_entries.set_function(lambda: state.size().identities)
    metrics.quarantine_items.set_function(lambda: state.size().quarantined)
    metrics.state_size_bytes.labels(backend).set_function(lambda: state.size().bytes)
    shown = json.dumps(settings.shown(), sort_keys=True, default=str)
    metrics.config_info.info(
        {
            "sink": sink.type,
            "otlp_protocol": (sink.protocol or "http/protobuf") if isinstance(sink, config.OtlpSink) else "",
            "state": backend,
            "config_hash": hashlib.sha256(shown.encode()).hexdigest()[:12],
        }
    )


def findings(settings: config.Settings, *, environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """What ``check`` says: every part tried, one after the other; nothing is sent, claimed or changed."""
    clock = SystemClock()
    metrics = Metrics(platform_collectors=False)
    parts = Parts(settings, environ, clock, metrics, random.Random(), sys.stdout, False, {})  # noqa: S311 - jitter
    found: list[Finding] = []
    chosen = chosen_sink(settings, environ)
    makers: list[tuple[str, Callable[[], Source | Sink | State]]] = [
        *(
            (f"sources[{i}] {source.name}", lambda i=i, s=source: SOURCES[type(s)](f"sources[{i}]", s, parts))
            for i, source in enumerate(settings.sources)
        ),
        (f"sink {chosen.type}", lambda: SINKS[type(chosen)]("sink", chosen, parts, mapper_of(settings, metrics))),
        (f"state {settings.state.type}", lambda: STATES[type(settings.state)]("state", settings.state, parts)),
    ]
    for subject, make in makers:
        try:
            part = make()
        except Held as error:
            found.append(Finding("warning", subject, f"held by {error.holder}", _HELD))
            continue
        except ConfigError as error:
            found += [Finding("error", problem.key, str(problem)) for problem in error.problems]
            continue
        try:
            check = getattr(part, "check", None)
            results = list(check()) if check else []
            found += results or [Finding("ok", subject, "can be opened")]
        finally:
            part.close()
    return found + _web_findings(settings)


def _web_findings(settings: config.Settings) -> list[Finding]:
    path = settings.web.config_file
    if path is None:
        return []
    from exporter.web.live import loaded

    try:
        web, tls = loaded(path)
    except ConfigError as error:
        return [Finding("error", problem.key, str(problem)) for problem in error.problems]
    said = [f"{'https' if tls else 'http'}", f"{len(web.users)} users" if web.users else "no basic authentication"]
    warnings = (*web.warnings, *(tls.warnings if tls else ()))
    return [Finding("ok", f"web {path}", ", ".join(said)), *(Finding("warning", f"web {path}", w) for w in warnings)]


# -- words for people -----------------------------------------------------------------------------------------------


def _listen(settings: config.Settings) -> list[str]:
    listen = settings.web.listen_address
    return [listen] if isinstance(listen, str) else list(listen)


def _web_config(settings: config.Settings, clock: SystemClock, metrics: Metrics) -> LiveConfig | None:
    if settings.web.config_file is None:
        metrics.config_last_reload_successful.set(1)
        metrics.config_last_reload_success_timestamp.set(clock.now().timestamp())
        return None
    from exporter.web.live import LiveConfig

    return LiveConfig(settings.web.config_file, clock=clock, metrics=metrics)


def _web_problems(settings: config.Settings) -> list[Problem]:
    if _listen(settings):
        return []
    return [Problem("web.listen_address", "[]", "at least one address such as 127.0.0.1:10042")]


def _reading(settings: config.Settings) -> str:
    def words(source: config.SourceSettings) -> str:
        match source:
            case config.FilesSource():
                return f"{source.name}: files in {source.path}"
            case config.LookupSource():
                where = ", ".join(source.regions) or "the region of the environment"
                return f"{source.name}: LookupEvents in {where}"
            case config.S3Source():
                return f"{source.name}: trail files in s3://{source.bucket}/{source.prefix}"
            case config.SqsSource():
                return f"{source.name}: queue {source.queue_url}"
            case config.LogsSource():
                return f"{source.name}: log group {source.log_group}"

    return f"{', '.join(settings.services)} from {'; '.join(map(words, settings.sources))}"


def _sending(sink: config.SinkSettings, environ: Mapping[str, str]) -> str:
    match sink:
        case config.OtlpSink():
            given = otlp_settings_of(sink, environ)
            address = urlsplit(given["endpoint"])._replace(query="", fragment="").geturl()  # a query may hold a token
            return f"OTLP over {given['protocol']} to {address}"
        case config.ConsoleSink():
            return f"the console, as {sink.format}"
        case config.FileSink():
            return f"OTLP/JSON lines in {sink.path}"


def _counted(state: State) -> str:
    totals = state.totals()
    corrections = sum(count for labels, count in totals.items() if labels.correction)
    parts = [(sum(totals.values()) - corrections, "event"), (corrections, "correction")]
    words = [f"{count:,} {what}{'' if count == 1 else 's'}" for count, what in parts if count or what == "event"]
    quarantined = state.size().quarantined
    return ", ".join([*words, *([f"{quarantined:,} in quarantine"] if quarantined else [])])


def _keeping(state: config.StateSettings, environ: Mapping[str, str]) -> str:
    match state:
        case config.SqliteState():
            return f"SQLite in {state_path(state, environ)}"
        case config.MemoryState():
            return "memory only; a restart begins anew"
