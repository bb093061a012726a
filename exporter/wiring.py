"""Settings -> objects. The only module that knows concrete classes; heavy ones are imported when settings name them."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from exporter import config
from exporter.clock import SystemClock
from exporter.contract import Sink, Source, State
from exporter.errors import Blocked, ConfigError, Problem
from exporter.mapping import Mapper, MappingOptions
from exporter.metrics import Metrics
from exporter.reading import Limits
from exporter.record import Selection

if TYPE_CHECKING:
    pass

__all__ = [
    "SINKS",
    "SOURCES",
    "STATES",
    "Parts",
    "chosen_sink",
    "mapper_of",
    "otlp_settings_of",
    "selection_of",
    "state_path",
]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Parts:
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


def _files(key: str, source: config.FilesSource, parts: Parts) -> Source:
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


def _lookup(key: str, source: config.LookupSource, parts: Parts) -> Source:
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


def _s3(key: str, source: config.S3Source, parts: Parts, *, lag: timedelta = timedelta()) -> Source:
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


def _moment(value: str, parts: Parts) -> datetime:
    given = config.start_of(value)
    return given if isinstance(given, datetime) else parts.clock.now() - given


def _sqs(key: str, source: config.SqsSource, parts: Parts) -> Source:
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


def _logs(key: str, source: config.LogsSource, parts: Parts) -> Source:
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


def _otlp(key: str, sink: config.OtlpSink, parts: Parts, mapper: Mapper) -> Sink:
    from exporter.sinks.otlp import OtlpSink

    given = otlp_settings_of(sink, parts.environ)
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


def _console(key: str, sink: config.ConsoleSink, parts: Parts, mapper: Mapper) -> Sink:
    from exporter.sinks.console import ConsoleSink

    terminal = parts.stdout.isatty() and not parts.environ.get("NO_COLOR")
    return ConsoleSink(
        mapper,
        format=sink.format,
        stream=parts.stdout,
        colour=sink.colour == "always" or (sink.colour == "auto" and terminal),
    )


def _file(key: str, sink: config.FileSink, parts: Parts, mapper: Mapper) -> Sink:
    from exporter.sinks.file import FileSink

    return FileSink(mapper, path=sink.path)


# -- states ---------------------------------------------------------------------------------------------------------


def _sqlite(key: str, state: config.SqliteState, parts: Parts) -> State:
    from exporter.state.sqlite import SqliteState

    return SqliteState(path=state_path(state, parts.environ), horizon=timedelta(days=state.horizon_days))


def _memory(key: str, state: config.MemoryState, parts: Parts) -> State:
    from exporter.state.memory import MemoryState

    return MemoryState(horizon=timedelta(days=state.horizon_days))


#: Settings class -> constructor. A test walks these and fails when one has no conformance suite.
SOURCES: Mapping[type, Callable[[str, Any, Parts], Source]] = {
    config.FilesSource: _files,
    config.LookupSource: _lookup,
    config.S3Source: _s3,
    config.SqsSource: _sqs,
    config.LogsSource: _logs,
}
SINKS: Mapping[type, Callable[[str, Any, Parts, Mapper], Sink]] = {
    config.OtlpSink: _otlp,
    config.ConsoleSink: _console,
    config.FileSink: _file,
}
STATES: Mapping[type, Callable[[str, Any, Parts], State]] = {config.SqliteState: _sqlite, config.MemoryState: _memory}


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


def mapper_of(settings: config.Settings, metrics: Metrics) -> Mapper:
    """The mapper with the configured options and redaction."""
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


def selection_of(settings: config.Settings) -> Selection:
    """Which records are wanted."""
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


def chosen_sink(settings: config.Settings, environ: Mapping[str, str]) -> config.SinkSettings:
    """The configured sink; without one OTLP when the environment has an address for it, else the console."""
    if settings.sink is not None:
        return settings.sink
    if environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"):
        return config.OtlpSink(type="otlp")
    return config.ConsoleSink(type="console")


def otlp_settings_of(sink: config.OtlpSink, environ: Mapping[str, str]) -> dict[str, Any]:
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
