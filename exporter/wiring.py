"""Settings -> objects. The only module that knows concrete classes; heavy ones are imported when settings name them."""

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
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar
from urllib.parse import urlsplit

from exporter import __version__, config
from exporter.clock import SystemClock
from exporter.contract import Finding, Sink, Source, State
from exporter.errors import Blocked, ConfigError, Problem, Retryable
from exporter.exposition import EventSeries
from exporter.labels import LabelFolder
from exporter.mapping import Mapper, MappingOptions
from exporter.metrics import Metrics
from exporter.pipeline import Pipeline
from exporter.reading import Limits
from exporter.record import Selection
from exporter.runtime import Runtime
from exporter.services import SERVICES
from exporter.status import Status

if TYPE_CHECKING:
    from exporter.web.server import WebServer

__all__ = ["SINKS", "SOURCES", "STATES", "App", "build", "findings", "state_path"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Parts:
    """What constructors may need beside their own settings."""

    settings: config.Settings
    environ: Mapping[str, str]
    clock: SystemClock
    metrics: Metrics
    rng: random.Random
    stdout: TextIO
    watch: bool
    shared: dict[str, Any]


# -- sources --------------------------------------------------------------------------------------------------------


def _limits(limits: config.Limits) -> Limits:
    return Limits(**limits.model_dump())


def _wanted(settings: config.Settings) -> frozenset[bytes]:
    """What a record of the services cannot do without; files are searched for it before anything is parsed."""
    return frozenset(name.encode() for name in settings.services)


def _files(key: str, source: config.FilesSource, parts: _Parts) -> Source:
    from exporter.sources.files import FilesSource

    return FilesSource(
        name=source.name,
        path=source.path,
        limits=_limits(parts.settings.limits),
        clock=parts.clock,
        interval=source.poll_interval_seconds,
        settle_seconds=source.settle_seconds,
        watch=parts.watch,
        wanted=_wanted(parts.settings),
    )


def _lookup(key: str, source: config.LookupSource, parts: _Parts) -> Source:
    from exporter.sources.lookup import LookupSource
    from exporter.sources.ratelimit import RateLimits

    regions: Sequence[str] = source.regions or [_environment_region(f"{key}.regions")]
    if "rate" not in parts.shared:
        parts.shared["rate"] = RateLimits(clock=parts.clock)
    return LookupSource(
        name=source.name,
        regions=regions,
        services=parts.settings.services,
        start=config.start_of(source.start),
        interval=source.poll_interval_seconds,
        overlap=timedelta(seconds=source.overlap_seconds),
        sweep_interval=timedelta(seconds=source.sweep_interval_seconds),
        sweep_depth=timedelta(seconds=source.sweep_depth_seconds),
        role_arn=source.role_arn,
        external_id=source.external_id,
        endpoint_url=source.endpoint_url,
        limits=parts.shared["rate"],
        clock=parts.clock,
        metrics=parts.metrics,
        rng=parts.rng,
    )


def _s3(key: str, source: config.S3Source, parts: _Parts, *, lag: timedelta = timedelta()) -> Source:
    from exporter.sources.s3 import S3Source

    return S3Source(
        name=source.name,
        bucket=source.bucket,
        prefix=source.prefix,
        organization=source.organization,
        accounts=source.accounts,
        regions=source.regions,
        start=config.start_of(source.start) if source.start else None,
        end=_moment(source.end, parts) if source.end else None,
        interval=source.poll_interval_seconds,
        overlap=timedelta(seconds=source.overlap_seconds),
        sweep_interval=timedelta(seconds=source.sweep_interval_seconds),
        sweep_depth=timedelta(seconds=source.sweep_depth_seconds),
        discover_interval=source.discover_interval_seconds,
        downloads=source.downloads,
        region=source.region,
        role_arn=source.role_arn,
        external_id=source.external_id,
        endpoint_url=source.endpoint_url,
        lag=lag,
        wanted=_wanted(parts.settings),
        limits=_limits(parts.settings.limits),
        clock=parts.clock,
        metrics=parts.metrics,
    )


def _moment(value: str, parts: _Parts) -> datetime:
    given = config.start_of(value)
    return given if isinstance(given, datetime) else parts.clock.now() - given


def _sqs(key: str, source: config.SqsSource, parts: _Parts) -> Source:
    from exporter.sources.sqs import SqsSource

    relist: Source | None = None
    if source.relist is not None:
        if source.relist.bucket not in source.buckets:
            allowed = f"one of {key}.buckets: {', '.join(source.buckets)}"
            raise ConfigError([Problem(f"{key}.relist.bucket", source.relist.bucket, allowed)])
        relist = _s3(
            f"{key}.relist",
            config.S3Source(
                name=f"{source.name}-relist",
                type="s3",
                bucket=source.relist.bucket,
                prefix=source.relist.prefix,
                start=source.relist.start,
                poll_interval_seconds=source.relist.poll_interval_seconds,
                role_arn=source.role_arn,
                external_id=source.external_id,
                endpoint_url=source.s3_endpoint_url,
            ),
            parts,
            lag=timedelta(seconds=source.relist.lag_seconds),
        )
    return SqsSource(
        name=source.name,
        queue_url=source.queue_url,
        buckets=source.buckets,
        visibility_seconds=source.visibility_seconds,
        workers=source.workers,
        role_arn=source.role_arn,
        external_id=source.external_id,
        endpoint_url=source.endpoint_url,
        s3_endpoint_url=source.s3_endpoint_url,
        relist=relist,
        wanted=_wanted(parts.settings),
        limits=_limits(parts.settings.limits),
        clock=parts.clock,
        metrics=parts.metrics,
        rng=parts.rng,
    )


def _logs(key: str, source: config.LogsSource, parts: _Parts) -> Source:
    from exporter.sources.logs import LogsSource
    from exporter.sources.ratelimit import RateLimits

    if "logs_rate" not in parts.shared:
        parts.shared["logs_rate"] = RateLimits(clock=parts.clock, rate=4.5, burst=5)
    return LogsSource(
        name=source.name,
        log_group=source.log_group,
        region=source.region or _environment_region(f"{key}.region"),
        services=parts.settings.services,
        invoked_by_service=parts.settings.invoked_by_service,
        filter_pattern=source.filter_pattern,
        limits=parts.shared["logs_rate"],
        start=config.start_of(source.start),
        interval=source.poll_interval_seconds,
        overlap=timedelta(seconds=source.overlap_seconds),
        sweep_interval=timedelta(seconds=source.sweep_interval_seconds),
        sweep_depth=timedelta(seconds=source.sweep_depth_seconds),
        role_arn=source.role_arn,
        external_id=source.external_id,
        endpoint_url=source.endpoint_url,
        clock=parts.clock,
        metrics=parts.metrics,
        rng=parts.rng,
    )


def _environment_region(key: str) -> str:
    from exporter.sources.aws import default_region

    try:
        region = default_region()
    except Blocked as error:
        raise ConfigError([Problem(key, "", str(error))]) from error
    if not region:
        raise ConfigError([Problem(key, "", "required, because the environment has no region: set it or AWS_REGION")])
    return region


# -- sinks ----------------------------------------------------------------------------------------------------------


def _otlp(key: str, sink: config.OtlpSink, parts: _Parts, mapper: Mapper) -> Sink:
    from exporter.sinks.otlp import OtlpSink

    given = _otlp_settings(sink, parts.environ)
    return OtlpSink(
        mapper,
        protocol=given["protocol"],
        endpoint=given["endpoint"],
        headers=given["headers"],
        compression=given["compression"],
        timeout_seconds=given["timeout_seconds"],
        ca_file=given["ca_file"],
        client_cert_file=given["client_cert_file"],
        client_key_file=given["client_key_file"],
        insecure_skip_verify=sink.insecure_skip_verify,
        max_request_bytes=sink.max_request_bytes,
        clock=parts.clock,
        metrics=parts.metrics,
    )


def _console(key: str, sink: config.ConsoleSink, parts: _Parts, mapper: Mapper) -> Sink:
    from exporter.sinks.console import ConsoleSink

    terminal = parts.stdout.isatty() and not parts.environ.get("NO_COLOR")
    return ConsoleSink(
        mapper,
        format=sink.format,
        stream=parts.stdout,
        colour=sink.colour == "always" or (sink.colour == "auto" and terminal),
    )


def _file(key: str, sink: config.FileSink, parts: _Parts, mapper: Mapper) -> Sink:
    from exporter.sinks.file import FileSink

    return FileSink(mapper, path=sink.path)


# -- states ---------------------------------------------------------------------------------------------------------


def _sqlite(key: str, state: config.SqliteState, parts: _Parts) -> State:
    from exporter.state.sqlite import SqliteState

    return SqliteState(path=state_path(state, parts.environ), horizon=timedelta(days=state.horizon_days))


def _memory(key: str, state: config.MemoryState, parts: _Parts) -> State:
    from exporter.state.memory import MemoryState

    return MemoryState(horizon=timedelta(days=state.horizon_days))


#: Settings class -> constructor. A test walks these and fails when one has no conformance suite.
SOURCES: Mapping[type, Callable[[str, Any, _Parts], Source]] = {
    config.FilesSource: _files,
    config.LookupSource: _lookup,
    config.S3Source: _s3,
    config.SqsSource: _sqs,
    config.LogsSource: _logs,
}
SINKS: Mapping[type, Callable[[str, Any, _Parts, Mapper], Sink]] = {
    config.OtlpSink: _otlp,
    config.ConsoleSink: _console,
    config.FileSink: _file,
}
STATES: Mapping[type, Callable[[str, Any, _Parts], State]] = {config.SqliteState: _sqlite, config.MemoryState: _memory}


def state_path(state: config.SqliteState, environ: Mapping[str, str]) -> Path:
    """Where the SQLite file lies: as configured, else in the platform's state folder."""
    if state.path is not None:
        return state.path
    if folder := environ.get("STATE_DIRECTORY"):  # systemd, may name several
        return Path(folder.split(":")[0]) / "state.db"
    home = Path(environ.get("HOME") or "~").expanduser()
    if sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state")
    return base / "cloudtrail-exporter" / "state.db"


def _mapper(settings: config.Settings, metrics: Metrics) -> Mapper:
    given = settings.mapping.model_dump()
    redact = settings.redact
    options = MappingOptions(
        **{**given, "fault_codes": frozenset(settings.mapping.fault_codes)},
        access_key=redact.access_key,
        source_address=redact.source_address,
        user_names=redact.user_names,
        credential_id=redact.credential_id == "keep",
    )
    return Mapper(options, on_anomaly=lambda kind: metrics.record_anomalies.labels(kind).inc())


def _selection(settings: config.Settings) -> Selection:
    select = settings.select
    return Selection(
        services=frozenset(settings.services),
        invoked_by_service=settings.invoked_by_service,
        names=frozenset(select.names),
        exclude_names=frozenset(select.exclude_names),
        read_only=select.read_only,
        errors_only=select.errors_only,
        accounts=frozenset(select.accounts),
        regions=frozenset(select.regions),
    )


def _chosen_sink(settings: config.Settings, environ: Mapping[str, str]) -> config.SinkSettings:
    if settings.sink is not None:
        return settings.sink
    if environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"):
        return config.OtlpSink(type="otlp")
    return config.ConsoleSink(type="console")


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
    parts = _Parts(settings, environ, clock, metrics, random.Random(), stdout, not once, {})  # noqa: S311 - jitter
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

    chosen = _chosen_sink(settings, environ)
    mapper = _mapper(settings, metrics)
    sources = [
        attempt(lambda i=i, s=source: SOURCES[type(s)](f"sources[{i}]", s, parts))  # type: ignore[misc]
        for i, source in enumerate(settings.sources)
    ]
    sink = attempt(lambda: SINKS[type(chosen)]("sink", chosen, parts, mapper))
    state = attempt(lambda: STATES[type(settings.state)]("state", settings.state, parts))
    epoch = attempt(lambda: state.claim(f"{socket.gethostname()}:{os.getpid()}")) if state else None
    web_problems = _web_problems(settings)
    problems.extend(web_problems)
    built = [source for source in sources if source is not None]
    if problems or sink is None or state is None or epoch is None:
        made: tuple[Source | Sink | State | None, ...] = (*built, sink, state)
        for part in made:
            if part is not None:
                part.close()
        raise ConfigError(problems)

    _expose(settings, chosen, state, metrics)
    pipeline = Pipeline(
        sink=sink,
        state=state,
        selection=_selection(settings),
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
                events=EventSeries(
                    totals=state.totals,
                    known={name: SERVICES[name].operations for name in settings.services if name in SERVICES},
                    extra_labels=tuple(settings.metrics.extra_labels),
                    max_series=settings.metrics.max_series,
                    metrics=metrics,
                ),
                status=app.status,
                clock=clock,
                created_series=settings.metrics.created_series,
            ),
            listen=_listen(settings),
            idle_seconds=settings.web.idle_seconds,
            max_connections=settings.web.max_connections,
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
    parts = _Parts(settings, environ, clock, metrics, random.Random(), sys.stdout, False, {})  # noqa: S311 - jitter
    found: list[Finding] = []
    chosen = _chosen_sink(settings, environ)
    makers: list[tuple[str, Callable[[], Source | Sink | State]]] = [
        *(
            (f"sources[{i}] {source.name}", lambda i=i, s=source: SOURCES[type(s)](f"sources[{i}]", s, parts))
            for i, source in enumerate(settings.sources)
        ),
        (f"sink {chosen.type}", lambda: SINKS[type(chosen)]("sink", chosen, parts, _mapper(settings, metrics))),
        (f"state {settings.state.type}", lambda: STATES[type(settings.state)]("state", settings.state, parts)),
    ]
    for subject, make in makers:
        try:
            part = make()
        except ConfigError as error:
            found += [Finding("error", problem.key, str(problem)) for problem in error.problems]
            continue
        try:
            check = getattr(part, "check", None)
            results = list(check()) if check else []
            found += results or [Finding("ok", subject, "can be opened")]
        finally:
            part.close()
    return found


# -- words for people -----------------------------------------------------------------------------------------------


def _listen(settings: config.Settings) -> list[str]:
    listen = settings.web.listen_address
    return [listen] if isinstance(listen, str) else list(listen)


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


def _otlp_settings(sink: config.OtlpSink, environ: Mapping[str, str]) -> dict[str, Any]:
    """The sink's settings over the standard variables over the defaults.

    Raises:
        ConfigError: a standard variable cannot be understood.
    """
    from exporter.sinks.environment import otlp_settings

    return otlp_settings(
        environ,
        protocol=sink.protocol,
        endpoint=sink.endpoint,
        headers={name: value.get_secret_value() for name, value in sink.headers.items()},
        compression=sink.compression,
        timeout_seconds=sink.timeout_seconds,
        ca_file=sink.ca_file,
        client_cert_file=sink.client_cert_file,
        client_key_file=sink.client_key_file,
    )


def _sending(sink: config.SinkSettings, environ: Mapping[str, str]) -> str:
    match sink:
        case config.OtlpSink():
            given = _otlp_settings(sink, environ)
            address = urlsplit(given["endpoint"])._replace(query="", fragment="").geturl()  # a query may hold a token
            return f"OTLP over {given['protocol']} to {address}"
        case config.ConsoleSink():
            return f"the console, as {sink.format}"
        case config.FileSink():
            return f"OTLP/JSON lines in {sink.path}"


def _keeping(state: config.StateSettings, environ: Mapping[str, str]) -> str:
    match state:
        case config.SqliteState():
            return f"SQLite in {state_path(state, environ)}"
        case config.MemoryState():
            return "memory only; a restart begins anew"
