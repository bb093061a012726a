"""The configuration, declared once.

From these classes come the validation, the environment variables, the JSON schema, the reference page
(docs/configuration.md) and the chart's values schema; the docstring under a field is its reference text. How a file and
the environment become a :class:`Settings` is told in :mod:`exporter.configfile`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from exporter.services import FAULT_CODES, LOOKOUT_METRICS

__all__ = [
    "ConsoleSink",
    "FileSink",
    "FilesSource",
    "Limits",
    "Log",
    "LogsSource",
    "LookupSource",
    "Mapping",
    "MemoryState",
    "Metrics",
    "OtlpSink",
    "Redact",
    "Relist",
    "S3Source",
    "Select",
    "Settings",
    "SinkSettings",
    "SourceSettings",
    "SqliteState",
    "SqsSource",
    "StateSettings",
    "Web",
    "start_of",
]


class _Settings(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True, defer_build=True
    )


_RELATIVE = re.compile(r"-(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def start_of(value: str) -> timedelta | datetime:
    """``-15m`` or ``-90d``: how far back from now; otherwise an ISO 8601 time, UTC unless it says another zone.

    Raises:
        ValueError: neither.
    """
    if match := _RELATIVE.fullmatch(value.strip()):
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        raise ValueError("a distance back from now (-15m, -12h, -90d) or a time (2026-02-01T08:00:00Z)") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _start(value: str) -> str:
    start_of(value)
    return value


def _no_credentials(value: str) -> str:
    if "@" in value.split("://", 1)[-1].split("/", 1)[0]:
        raise ValueError("an address without user and password; put credentials into `headers`")
    return value


def _matches(pattern: str, allowed: str) -> AfterValidator:
    """When the text does not match, people read what is allowed, not the pattern."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(allowed)
        return value

    return AfterValidator(check)


Name: TypeAlias = Annotated[
    str, _matches(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", "letters, digits, dot, dash, underscore; at most 63 characters")
]
Url: TypeAlias = Annotated[
    str,
    _matches(r"https?://[^\s/]+(/\S*)?", "an address such as http://collector:4318"),
    AfterValidator(_no_credentials),
]
Region: TypeAlias = Annotated[str, _matches(r"[a-z]{2,8}(-[a-z]+)+-\d{1,2}", "a region such as us-east-1")]
RoleArn: TypeAlias = Annotated[
    str, _matches(r"arn:aws[a-z-]*:iam::\d{12}:role/.+", "a role such as arn:aws:iam::111122223333:role/reader")
]
EventSource: TypeAlias = Annotated[
    str, _matches(r"[a-z0-9][a-z0-9.-]{2,254}", "an eventSource such as lookoutmetrics.amazonaws.com")
]
Bucket: TypeAlias = Annotated[str, _matches(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "a bucket's name")]
AccountId: TypeAlias = Annotated[str, _matches(r"\d{12}", "twelve digits, in quotes")]
OrganizationId: TypeAlias = Annotated[str, _matches(r"o-[a-z0-9]{10,32}", "an organization id such as o-abcdefghij")]
Start: TypeAlias = Annotated[str, AfterValidator(_start)]


def _telemetry_path(value: str) -> str:
    steps = value.split("/")
    if steps[0] or steps[1:2] in ([""], ["-"]) or {".", ".."} & set(steps):
        raise ValueError("a path of its own: it begins with /, and is neither / nor below /-/")
    return value


TelemetryPath: TypeAlias = Annotated[
    str,
    _matches(r"(/[A-Za-z0-9._~-]+)+", "a path such as /metrics, of letters, digits, dot, dash, underscore, tilde"),
    AfterValidator(_telemetry_path),
]
#: The flag's empty value means none, as in exporter-toolkit.
WebConfigFile: TypeAlias = Annotated[Path | None, BeforeValidator(lambda value: None if value == "" else value)]


class FilesSource(_Settings):
    """Trail files on a local disk: a file, or a folder with everything below it."""

    name: Name
    """Name of the source: a label of its metrics, and the key its progress is kept under."""
    type: Literal["files"]
    """Kind of source."""
    path: Path
    """A file or a folder. `.json` and `.jsonl`, each also gzipped; gzip is recognised by content."""
    poll_interval_seconds: float = Field(default=2.0, ge=0.1, le=86_400)
    """Pause between two looks into the folder."""
    settle_seconds: float = Field(default=1.0, ge=0, le=3_600)
    """`run` leaves a file alone until it has not changed for so long; it may still be being written."""


class LookupSource(_Settings):
    """CloudTrail's Event history by LookupEvents: management events of the last 90 days, without any trail."""

    name: Name
    """Name of the source: a label of its metrics, and the key its progress is kept under."""
    type: Literal["lookup"]
    """Kind of source."""
    regions: list[Region] = Field(default_factory=list, max_length=64)
    """Regions to poll. Empty: the region of the AWS environment (`AWS_REGION`, profile)."""
    start: Start = "-15m"
    """Where a first run begins: a distance back from now (`-15m`, `-90d`) or a time. Later runs go on where they were."""
    poll_interval_seconds: float = Field(default=60.0, ge=1, le=86_400)
    """Pause between two polls of a region. LookupEvents allows 2 requests per second, account and region."""
    overlap_seconds: float = Field(default=1_800, ge=60, le=86_400)
    """How far each poll looks back behind what is complete: CloudTrail delivers late."""
    sweep_interval_seconds: float = Field(default=3_600, ge=60, le=604_800)
    """How often a deeper look back is made."""
    sweep_depth_seconds: float = Field(default=86_400, ge=60, le=7_776_000)
    """How far the deeper look back reaches."""
    role_arn: RoleArn | None = None
    """Role to assume, for another account. Several accounts are several sources."""
    external_id: str | None = Field(default=None, min_length=2, max_length=1_224)
    """External id that the role's trust policy asks for."""
    endpoint_url: Url | None = None
    """Another address of the service: a VPC endpoint, or a test server."""


class S3Source(_Settings):
    """A bucket with CloudTrail's own layout, of one account or of an organization."""

    name: Name
    """Name of the source: a label of its metrics, and the key its progress is kept under."""
    type: Literal["s3"]
    """Kind of source."""
    bucket: Bucket
    """The bucket's name."""
    prefix: str = Field(default="", max_length=200)
    """What stands before `AWSLogs/` in the keys, as configured in the trail."""
    organization: OrganizationId | None = None
    """Id of the organization in the keys. Unset: found by listing."""
    accounts: list[AccountId] = Field(default_factory=list, max_length=10_000)
    """Accounts to read. Empty: all that are found by listing."""
    regions: list[Region] = Field(default_factory=list, max_length=64)
    """Regions to read. Empty: all that are found by listing."""
    start: Start | None = None
    """The first delivery day to read: a distance back from now or a time. Unset: everything that is there."""
    end: Start | None = None
    """Deliveries after this are not read. Unset: no end."""
    poll_interval_seconds: float = Field(default=60.0, ge=1, le=86_400)
    """Pause between two listings of an account and region."""
    overlap_seconds: float = Field(default=1_800, ge=600, le=86_400)
    """How far each listing looks back: keys do not appear in order."""
    sweep_interval_seconds: float = Field(default=86_400, ge=600, le=2_592_000)
    """How often the last days are listed as a whole."""
    sweep_depth_seconds: float = Field(default=172_800, ge=86_400, le=2_678_400)
    """How far that deeper look reaches. CloudTrail retries a delivery for 30 days."""
    discover_interval_seconds: float = Field(default=600, ge=60, le=86_400)
    """How often new accounts and regions are looked for."""
    downloads: int = Field(default=32, ge=1, le=64)
    """Objects downloaded at once."""
    region: Region | None = None
    """Region of the bucket. Unset: found out."""
    role_arn: RoleArn | None = None
    """Role to assume."""
    external_id: str | None = Field(default=None, min_length=2, max_length=1_224)
    """External id that the role's trust policy asks for."""
    endpoint_url: Url | None = None
    """Another address of S3: a VPC endpoint, MinIO."""


class Relist(_Settings):
    """Slow re-listing of the queue's bucket: finds objects whose notification was lost."""

    bucket: Bucket
    """The bucket; it has to be one of `buckets`."""
    prefix: str = Field(default="", max_length=200)
    """What stands before `AWSLogs/` in the keys."""
    start: Start = "-2d"
    """How far back a first listing goes."""
    lag_seconds: float = Field(default=900, ge=0, le=86_400)
    """Objects younger than this are left to the queue: a message may still be on its way."""
    poll_interval_seconds: float = Field(default=3_600.0, ge=60, le=86_400)
    """Pause between two listings."""


class SqsSource(_Settings):
    """A queue that names new objects, or carries the events themselves."""

    name: Name
    """Name of the source: a label of its metrics."""
    type: Literal["sqs"]
    """Kind of source."""
    queue_url: Url
    """Address of the queue."""
    buckets: list[Bucket] = Field(min_length=1, max_length=256)
    """Buckets that messages may name. A forged message cannot make us read another one."""
    visibility_seconds: float = Field(default=300, ge=10, le=43_200)
    """How long a received message is hidden from others; extended while it is worked on."""
    workers: int = Field(default=2, ge=1, le=32)
    """Messages are received by so many threads."""
    relist: Relist | None = None
    """Also list the bucket, slowly, to find what no message named."""
    role_arn: RoleArn | None = None
    """Role to assume."""
    external_id: str | None = Field(default=None, min_length=2, max_length=1_224)
    """External id that the role's trust policy asks for."""
    endpoint_url: Url | None = None
    """Another address of SQS."""
    s3_endpoint_url: Url | None = None
    """Another address of S3."""


class LogsSource(_Settings):
    """A log group of CloudWatch Logs that a trail delivers to."""

    name: Name
    """Name of the source: a label of its metrics, and the key its progress is kept under."""
    type: Literal["logs"]
    """Kind of source."""
    log_group: str = Field(min_length=1, max_length=512)
    """Name of the log group."""
    region: Region | None = None
    """Region of the log group. Unset: the region of the AWS environment."""
    filter_pattern: str | None = Field(default=None, max_length=1_024)
    """What CloudWatch Logs filters by. Unset: the services. Empty: nothing, so that records a forwarder has split are seen."""
    start: Start = "-15m"
    """Where a first run begins: a distance back from now or a time."""
    poll_interval_seconds: float = Field(default=60.0, ge=1, le=86_400)
    """Pause between two polls."""
    overlap_seconds: float = Field(default=1_800, ge=60, le=86_400)
    """How far each poll looks back: events arrive late."""
    sweep_interval_seconds: float = Field(default=3_600, ge=60, le=604_800)
    """How often a deeper look back is made."""
    sweep_depth_seconds: float = Field(default=86_400, ge=60, le=1_209_600)
    """How far the deeper look back reaches. CloudWatch Logs refuses events older than 14 days."""
    role_arn: RoleArn | None = None
    """Role to assume."""
    external_id: str | None = Field(default=None, min_length=2, max_length=1_224)
    """External id that the role's trust policy asks for."""
    endpoint_url: Url | None = None
    """Another address of CloudWatch Logs."""


SourceSettings: TypeAlias = Annotated[
    FilesSource | LookupSource | S3Source | SqsSource | LogsSource, Field(discriminator="type")
]


class OtlpSink(_Settings):
    """An OpenTelemetry receiver. What is not given here is taken from the `OTEL_EXPORTER_OTLP_*` variables."""

    type: Literal["otlp"]
    """Kind of sink."""
    protocol: Literal["http/protobuf", "grpc", "http/json"] | None = None
    """Transport and encoding; `http/protobuf` unless `OTEL_EXPORTER_OTLP_PROTOCOL` says another. `grpc` needs the extra `[grpc]`."""
    endpoint: Url | None = None
    """Base address, `/v1/logs` is added for HTTP unless it is there. Unset: `OTEL_EXPORTER_OTLP_ENDPOINT`, else localhost."""
    headers: dict[str, SecretStr] = Field(default_factory=dict, max_length=64)
    """Headers of each request, for example `authorization`. Never printed."""
    compression: Literal["gzip", "none"] | None = None
    """Compression of requests; `gzip` unless `OTEL_EXPORTER_OTLP_COMPRESSION` says another."""
    timeout_seconds: float | None = Field(default=None, gt=0, le=600)
    """Longest time one request may take in all; 10 unless `OTEL_EXPORTER_OTLP_TIMEOUT` (milliseconds) says another."""
    max_request_bytes: int = Field(default=3_500_000, ge=10_000, le=64_000_000)
    """Largest request before compression. Receivers refuse over 4 MiB (gRPC) or 20 MiB (HTTP) unless told otherwise."""
    ca_file: Path | None = None
    """Certificates to trust, PEM. Unset: those of the system."""
    client_cert_file: Path | None = None
    """Our certificate for mutual TLS, PEM."""
    client_key_file: Path | None = None
    """The key of our certificate, PEM."""
    insecure_skip_verify: bool = False
    """Do not verify the receiver's certificate. For tests."""


class ConsoleSink(_Settings):
    """Standard output."""

    type: Literal["console"]
    """Kind of sink."""
    format: Literal["text", "json"] = "text"
    """`text`: a readable line per event; `json`: one JSON object per line."""
    colour: Literal["auto", "always", "never"] = "auto"
    """Colours in `text`; `auto`: when standard output is a terminal and `NO_COLOR` is not set."""


class FileSink(_Settings):
    """A file of OTLP/JSON lines, one export request each, as the Collector's file exporter writes them."""

    type: Literal["file"]
    """Kind of sink."""
    path: Path
    """The file; it is appended to."""


SinkSettings: TypeAlias = Annotated[OtlpSink | ConsoleSink | FileSink, Field(discriminator="type")]


class SqliteState(_Settings):
    """A SQLite file on a local disk or volume; one process at a time."""

    type: Literal["sqlite"] = "sqlite"
    """Kind of state; `sqlite` when it is not given."""
    path: Path | None = None
    """The file. Unset: `state.db` in the platform's state folder (`$STATE_DIRECTORY`, `$XDG_STATE_HOME/cloudtrail-exporter`)."""
    horizon_days: float = Field(default=100, ge=2, le=3_660)
    """How long an event is remembered after it was read, so that a repeat is recognised; at least so long, about 1.5 times at most."""


class MemoryState(_Settings):
    """Nothing survives the process. For trying things out."""

    type: Literal["memory"]
    """Kind of state."""
    horizon_days: float = Field(default=100, ge=2, le=3_660)
    """How long an event is remembered."""


StateSettings: TypeAlias = Annotated[SqliteState | MemoryState, Field(discriminator="type")]


class Web(_Settings):
    """The web surface: metrics, health, landing page."""

    listen_address: str | list[str] = "127.0.0.1:10042"
    """Where to listen: `host:port`, `[::1]:port`, `:port` for all addresses; several in a list. Port 0 takes a free one."""
    idle_seconds: float = Field(default=30, ge=1, le=3_600)
    """A connection on which nothing complete arrives for so long is closed."""
    max_connections: int = Field(default=512, ge=8, le=100_000)
    """Connections at once, those in their TLS handshake too; further ones are refused."""
    config_file: WebConfigFile = None
    """Web configuration file in the format of Prometheus' exporter-toolkit: TLS, client certificates, basic authentication, headers, rate limit (docs/web.md). Unset or empty: none. Re-read when it changes."""
    telemetry_path: TelemetryPath = "/metrics"
    """Where the metrics are."""


class Metrics(_Settings):
    """How events are counted for Prometheus."""

    extra_labels: list[Literal["aws_region", "account_id"]] = Field(default_factory=list, max_length=2)
    """More labels on `cloudtrail_events_total`. The ledger keeps them anyway: they can be switched on later."""
    max_series: int = Field(default=5_000, ge=500, le=200_000)
    """Event series exposed at most; the rest is summed up under `_OTHER`."""
    max_event_names: int = Field(default=200, ge=1, le=10_000)
    """Event names counted by name beside those known of the service; further ones are `_OTHER`."""
    max_error_codes: int = Field(default=50, ge=1, le=10_000)
    """Error codes counted by name; further ones are `_OTHER`."""
    max_accounts: int = Field(default=200, ge=1, le=10_000)
    """Accounts counted by id; further ones are `_OTHER`."""
    zero_seconds: float = Field(default=70, ge=0, le=86_400)
    """A new event series is at 0 for so long first, for `increase()`: longer than any scrape interval. 0: one scrape."""
    created_series: bool = False
    """Also expose `_created` series of our own metrics."""


class Limits(_Settings):
    """What input may cost. Over a limit it lies in quarantine with its reason; its neighbours go on."""

    file_bytes: int = Field(default=256 * 1024**2, ge=1_024)
    """Compressed file, as it lies there. CloudTrail writes at most 50 MB."""
    plain_bytes: int = Field(default=4 * 1024**3, ge=1_024)
    """A file decompressed."""
    ratio: int = Field(default=1_000, ge=10)
    """How many times its size a file may decompress to. Trail files have 5 to 30."""
    file_records: int = Field(default=10_000_000, ge=1)
    """Records in a file."""
    record_bytes: int = Field(default=2 * 1024**2, ge=1_024, le=64 * 1024**2)
    """One record. CloudTrail writes at most 256 KB, 1 MB from event data stores."""
    json_depth: int = Field(default=64, ge=16, le=200)
    """Nesting of one record. Real ones have up to 11 levels."""


class Redact(_Settings):
    """What must not leave; applied to attributes and body alike."""

    access_key: Literal["keep", "hash", "drop"] = "keep"
    """`userIdentity.accessKeyId`."""
    source_address: Literal["keep", "drop"] = "keep"
    """`sourceIPAddress`."""
    user_names: Literal["keep", "hash", "drop"] = "keep"
    """User and session names, wherever an identity carries them."""
    credential_id: Literal["keep", "drop"] = "drop"
    """`userIdentity.credentialId`: identifies a bearer session."""


class Mapping(_Settings):
    """How a record becomes a log record; docs/mapping.md tells each attribute."""

    body: Literal["json", "map", "sentence", "none"] = "json"
    """Body of the log record: the record as compact JSON, as a map, as a sentence, or nothing."""
    original: bool = False
    """With body `sentence` or `none`: the record as JSON in `log.record.original`."""
    rpc: Literal["compat", "collector_v1", "v1_only", "off"] = "compat"
    """`rpc.*` attributes: as known dashboards expect them, or as newer Collectors write them."""
    user_identity_prefix: bool = False
    """Names of identity attributes as with the Collector's gate `enable.user.identity.prefix`."""
    emit_empty: bool = False
    """Emit some empty attributes, as the Collector does."""
    timestamp: Literal["event", "observed"] = "event"
    """`observed` for back ends that refuse old timestamps; the event's time is then an attribute."""
    parameters: Literal["map", "json", "off"] = "map"
    """Request parameters and response elements: as maps, as JSON text, or left to the body."""
    severity: Literal["outcome", "info"] = "outcome"
    """`outcome`: WARN for refused calls, ERROR for the service's own faults; `info`: all INFO."""
    fault_codes: list[str] = Field(default_factory=lambda: sorted(FAULT_CODES), max_length=256)
    """Values of `errorCode` that are the service's own fault and not the caller's."""
    service_name: str = Field(default="cloudtrail", max_length=128)
    """Resource attribute `service.name`; empty: none."""
    provenance: bool = False
    """Where a record was read, as an attribute."""
    recipient_account_id: bool = False
    """`recipientAccountId` verbatim, as an attribute of its own."""
    attribute_bytes: int = Field(default=65_536, ge=1_024, le=1_048_576)
    """Largest attribute; a larger one is cut and named in `aws.cloudtrail.truncated`."""
    resource_attributes: dict[str, dict[str, str]] = Field(default_factory=dict)
    """For services without a preset: event source -> request parameter -> attribute that gets its value."""


class Select(_Settings):
    """Which events of the services are wanted. What is not wanted is counted as filtered, and nothing else."""

    names: list[str] = Field(default_factory=list, max_length=10_000)
    """Only these values of `eventName`. Empty: all."""
    exclude_names: list[str] = Field(default_factory=list, max_length=10_000)
    """Not these values of `eventName`."""
    read_only: bool | None = None
    """`true`: only calls that read; `false`: only calls that change something. Unset: both. A record that does not say is wanted under each."""
    errors_only: bool = False
    """Only calls that failed."""
    accounts: list[AccountId] = Field(default_factory=list, max_length=10_000)
    """Only events of these accounts. Empty: all."""
    regions: list[Region] = Field(default_factory=list, max_length=64)
    """Only events of these regions. Empty: all."""


class Log(_Settings):
    """The exporter's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level written."""
    format: Literal["auto", "text", "json"] = "auto"
    """`auto`: text on a terminal, JSON otherwise."""


def _default_source() -> list[SourceSettings]:
    return [LookupSource(name="event-history", type="lookup")]


def _default_state() -> StateSettings:
    return SqliteState(type="sqlite")


class Settings(_Settings):
    """The whole configuration. An empty one polls the Event history of the AWS environment's region."""

    services: list[EventSource] = Field(default=[LOOKOUT_METRICS.event_source], min_length=1, max_length=64)
    """Services whose events are wanted: values of `eventSource`, compared exactly."""
    invoked_by_service: bool = False
    """Also take what these services did on the customer's behalf: records whose `userIdentity.invokedBy` is one of them."""
    select: Select = Field(default_factory=Select)
    """Which of their events are wanted."""
    sources: list[SourceSettings] = Field(default_factory=_default_source, min_length=1, max_length=256)
    """Where events are read. Unset: LookupEvents in the region of the AWS environment."""
    sink: SinkSettings | None = None
    """Where log records go. Unset: OTLP when `OTEL_EXPORTER_OTLP_ENDPOINT` is set, else the console."""
    state: StateSettings = Field(default_factory=_default_state)
    """Where identities, counts, positions and quarantine are kept."""
    web: Web = Field(default_factory=Web)
    """The web surface."""
    metrics: Metrics = Field(default_factory=Metrics)
    """How events are counted."""
    mapping: Mapping = Field(default_factory=Mapping)
    """How a record becomes a log record."""
    limits: Limits = Field(default_factory=Limits)
    """What input may cost."""
    redact: Redact = Field(default_factory=Redact)
    """What must not leave."""
    log: Log = Field(default_factory=Log)
    """The exporter's own log."""
    concurrency: int = Field(default=64, ge=1, le=1_024)
    """Partitions (folders, regions, queue workers) read at the same time, each in a thread."""
    shutdown_seconds: float = Field(default=20, ge=1, le=600)
    """After SIGTERM: how long the batch in flight may take to finish before it is abandoned."""

    def shown(self) -> dict[str, Any]:
        """As plain data, secrets masked, paths as text."""
        return self.model_dump(mode="json")
