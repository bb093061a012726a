"""AWS as the sources see it: one identity, clients by service and region, each request counted, timed and translated.

A bare botocore session does all of that; boto3 would add 3 MB and its own import to it. Measured (resident memory above
the interpreter with ssl, urllib3 and msgspec, first CloudTrail client): boto3 20 MB, botocore 18 MB, this module 11 MB:
most of the rest is botocore's list of the endpoints of all 300 services, of which :class:`_Loader` keeps ours.

botocore is imported when the first client is made, never before.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from exporter import __version__
from exporter.contract import Clock
from exporter.errors import Blocked, ExporterError, SwitchedOff
from exporter.metrics import Metrics
from exporter.sources.aws_errors import host_unknown, translated

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.config import Config
    from botocore.credentials import Credentials
    from botocore.loaders import Loader
    from botocore.session import Session

__all__ = ["Clients", "account_of", "default_region"]

#: Operations whose IAM action has another name (Service Authorization Reference, "Amazon S3").
_ACTIONS = {"ListObjectsV2": "ListBucket"}

_ASSUME = "AssumeRole"
#: Whose endpoints are kept of botocore's list.
_SERVICES = frozenset({"athena", "cloudtrail", "dynamodb", "logs", "s3", "sqs", "sts"})


def account_of(role_arn: str | None) -> str:
    """The account a role belongs to (``arn:aws:iam::111122223333:role/reader``); "default" when there is no role."""
    parts = (role_arn or "").split(":")
    return parts[4] if len(parts) > 5 and parts[4] else "default"


def default_region() -> str | None:
    """The region of the AWS environment: ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the profile; None: it names none.

    Raises:
        Blocked: the profile or its file cannot be read.
    """
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return region
    import botocore.session
    from botocore.exceptions import BotoCoreError

    try:
        region = botocore.session.Session().get_config_variable("region")
    except BotoCoreError as error:
        raise Blocked(f"the AWS profile cannot be read: {error}", reason="expired_credentials") from error
    return str(region) if region else None


@dataclass(slots=True)
class _Built:
    """What hangs on one set of credentials, and is thrown away with it."""

    session: Session
    clients: dict[tuple[str, str], BaseClient] = field(default_factory=dict)


class Clients:
    """AWS under one identity: the default credential chain, or a role assumed from there. Threads may share it.

    When AWS refuses the credentials, everything built on them is dropped, so that the next try reads them anew: a
    long-running process must pick up rotated files and roles.

    Args:
        role_arn: role to assume; its credentials are refreshed before they expire.
        external_id: what the trust policy of the role asks for.
        endpoints: address by service name (``{"cloudtrail": "http://127.0.0.1:4566"}``) instead of AWS's own. STS is
            not in it as a rule: ``AWS_ENDPOINT_URL_STS`` redirects it.
        connect_timeout: seconds.
        read_timeout: seconds without a byte. LookupEvents was seen to take 35.
        connections: how many are kept open to one service and region; as many as threads that call at once.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        metrics: Metrics,
        role_arn: str | None = None,
        external_id: str | None = None,
        endpoints: Mapping[str, str] | None = None,
        connect_timeout: float = 10,
        read_timeout: float = 60,
        connections: int = 10,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._role_arn = role_arn
        self._external_id = external_id
        self._endpoints = dict(endpoints or {})
        self._timeouts = (connect_timeout, read_timeout)
        self._connections = connections
        self._lock = threading.RLock()
        self._built: _Built | None = None
        if role_arn:
            metrics.preset(api=_ASSUME)

    @property
    def who(self) -> str:
        """The identity in words, without asking AWS."""
        if self._role_arn:
            return f"role {self._role_arn}"
        built = self._built
        # What the session has found, if anything: get_credentials() would go and look again.
        credentials = getattr(built.session, "_credentials", None) if built else None
        method = getattr(credentials, "method", None)
        return f"the default credentials ({method})" if method else "the default credentials"

    def call(self, service: str, operation: str, *, region: str, **parameters: Any) -> dict[str, Any]:
        """One request and its answer; never repeated by botocore, so that each one is counted and paced.

        One exception: S3 names the region of a bucket that lies elsewhere, and botocore asks there, once, and from
        then on. A body that streams (GetObject) is read after this returned: see :meth:`broken`.

        Args:
            operation: as the API calls it: ``LookupEvents``; the ``api`` label of the metrics.

        Raises:
            Retryable, Blocked, SwitchedOff: see :mod:`exporter.sources.aws_errors`; the cause is botocore's own error.
        """
        self._metrics.aws_api_requests.labels(operation).inc()
        began = self._clock.monotonic()
        built: _Built | None = None
        try:
            built = self._current()
            client = self._client(built, service, region)
            answer = _method(client, operation)(**parameters)
        except Exception as error:
            found = translated(error, action=_action(service, operation), region=region, who=self.who)
            if found is None:
                self._metrics.aws_api_request_failures.labels(operation, "bug").inc()
                raise
            if service not in self._endpoints and host_unknown(error) and not self._known(built, service, region):
                found = SwitchedOff(f"{service} has no address in a region named {region}: {error}")
            self._metrics.aws_api_request_failures.labels(operation, found.reason).inc()
            if found.reason == "expired_credentials":
                self._forget(built)
            if found is error:
                raise
            raise found from error
        finally:
            self._metrics.aws_api_request_duration.labels(operation).observe(self._clock.monotonic() - began)
        return answer

    def broken(self, error: Exception, service: str, operation: str, *, region: str) -> ExporterError | None:
        """What an error means that came while an answer's body was read, counted; None: not AWS's, a bug of ours."""
        found = translated(error, action=_action(service, operation), region=region, who=self.who)
        self._metrics.aws_api_request_failures.labels(operation, found.reason if found else "bug").inc()
        return found

    def identity(self, region: str) -> tuple[str, str]:
        """Account and ARN of who asks, from STS; no permission is needed for that.

        Raises:
            Retryable, Blocked, SwitchedOff: as for :meth:`call`.
        """
        answer = self.call("sts", "GetCallerIdentity", region=region)
        return str(answer.get("Account", "")), str(answer.get("Arn", ""))

    def close(self) -> None:
        """Close all connections. Safe twice; a later call builds what it needs."""
        with self._lock:
            built, self._built = self._built, None
        for client in built.clients.values() if built else ():
            client.close()

    # -- building --

    def _current(self) -> _Built:
        with self._lock:
            if self._built is None:
                session = self._session()
                if self._role_arn:
                    base, session = session, self._session()
                    session.register_component("credential_provider", _Chain(self._role_credentials(base)))
                self._built = _Built(session)
            return self._built

    def _forget(self, built: _Built | None) -> None:
        """Drop what was built on dead credentials, unless another thread did so already."""
        with self._lock:
            if built is not None and self._built is built:
                self._built = None

    def _session(self) -> Session:
        import botocore.session

        session = botocore.session.Session()
        session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
        return session

    def _client(self, built: _Built, service: str, region: str) -> BaseClient:
        with self._lock:
            if (service, region) not in built.clients:
                built.clients[service, region] = built.session.create_client(
                    service,
                    region_name=region,
                    endpoint_url=self._endpoints.get(service),
                    config=self._config(),
                )
            return built.clients[service, region]

    def _config(self) -> Config:
        from botocore.config import Config

        connect, read = self._timeouts
        return Config(
            connect_timeout=connect,
            read_timeout=read,
            retries={"total_max_attempts": 1, "mode": "standard"},
            tcp_keepalive=True,
            max_pool_connections=self._connections,
            user_agent_extra=f"cloudtrail-exporter/{__version__}",
        )

    def _known(self, built: _Built | None, service: str, region: str) -> bool:
        """Whether botocore's list has the service in the region; a newer region may be missing from it."""
        if built is None:
            return True
        partitions = built.session.get_available_partitions()
        return any(region in built.session.get_available_regions(service, name) for name in partitions)

    # -- the role --

    def _role_credentials(self, base: Session) -> Credentials:
        from botocore.credentials import DeferredRefreshableCredentials

        region = default_region() or "us-east-1"
        return DeferredRefreshableCredentials(
            refresh_using=lambda: self._assume(base, region),
            method="sts-assume-role",
            time_fetcher=self._clock.now,
        )

    def _assume(self, base: Session, region: str) -> dict[str, str]:
        """Fresh credentials of the role. Called while a request of another service is being signed."""
        api, who = _ASSUME, "the default credentials"
        parameters = {"RoleArn": self._role_arn, "RoleSessionName": "cloudtrail-exporter"}
        if self._external_id:
            parameters["ExternalId"] = self._external_id
        self._metrics.aws_api_requests.labels(api).inc()
        began = self._clock.monotonic()
        try:
            # Its own client, closed at once: it is needed once an hour.
            client = base.create_client("sts", region_name=region, config=self._config())
            try:
                credentials = _method(client, api)(**parameters)["Credentials"]
            finally:
                client.close()
        except Exception as error:
            action = f"sts:AssumeRole of {self._role_arn}"
            found = translated(error, action=action, region=region, who=who)
            self._metrics.aws_api_request_failures.labels(api, found.reason if found else "bug").inc()
            if found is None:
                raise
            raise found from error
        finally:
            self._metrics.aws_api_request_duration.labels(api).observe(self._clock.monotonic() - began)
        expires = credentials["Expiration"]
        return {
            "access_key": credentials["AccessKeyId"],
            "secret_key": credentials["SecretAccessKey"],
            "token": credentials["SessionToken"],
            "expiry_time": expires.isoformat() if isinstance(expires, datetime) else str(expires),
        }


class _Chain:
    """A credential chain of one link."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def load_credentials(self) -> Credentials:
        return self._credentials


def _action(service: str, operation: str) -> str:
    """The IAM action that allows the operation."""
    return f"{service}:{_ACTIONS.get(operation, operation)}"


def _method(client: BaseClient, operation: str) -> Callable[..., dict[str, Any]]:
    from botocore import xform_name

    method: Callable[..., dict[str, Any]] = getattr(client, xform_name(operation))
    return method


def _timestamp(value: Any) -> Any:
    """A timestamp in a reply. One that cannot be read costs that value; botocore alone would refuse the whole page."""
    from botocore.utils import parse_timestamp

    try:
        return parse_timestamp(value)
    except (ValueError, TypeError, OverflowError, RuntimeError):
        return None


def _endpoints(path: Path, services: frozenset[str]) -> dict[str, Any]:
    """endpoints.json with no more than these services, without ever holding the others decoded."""
    top = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
    partitions = []
    for raw in msgspec.json.decode(top.pop("partitions"), type=list[dict[str, msgspec.Raw]]):
        every = msgspec.json.decode(raw.pop("services"), type=dict[str, msgspec.Raw])
        kept = {name: msgspec.json.decode(value) for name, value in every.items() if name in services}
        partitions.append({name: msgspec.json.decode(value) for name, value in raw.items()} | {"services": kept})
    return {name: msgspec.json.decode(value) for name, value in top.items()} | {"partitions": partitions}


@cache
def _loader(data_path: str | None) -> Loader:
    """botocore's own loader of service models, with a lean list of endpoints when it lies where it is expected.

    One for the process: it keeps what it has read, and several accounts are several sources.
    """
    import botocore
    from botocore.loaders import Loader

    builtin = Path(botocore.__file__).parent / "data" / "endpoints.json"

    class _Lean(Loader):
        def load_data_with_path(self, name: str) -> Any:
            if name == "endpoints" and not data_path and builtin.exists():
                return _endpoints(builtin, _SERVICES), str(builtin.with_suffix(""))
            return super().load_data_with_path(name)

    paths = [os.path.expanduser(os.path.expandvars(path)) for path in (data_path or "").split(os.pathsep) if path]
    return _Lean(extra_search_paths=paths)
