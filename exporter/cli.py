"""The commands; the only place that prints and decides the exit code: 0 done, 1 failed, 2 configuration or usage."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from exporter import __version__
from exporter.errors import ConfigError, ExporterError, Problem

if TYPE_CHECKING:
    from exporter.app import App
    from exporter.config import Settings, Web

__all__ = ["app", "main"]

app = typer.Typer(
    name="cloudtrail-exporter",
    help="AWS CloudTrail events of one service as OpenTelemetry logs and exact Prometheus counters.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="Look at the configuration.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config_app, name="config")

_log = logging.getLogger("exporter.cli")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", envvar="CLOUDTRAIL_EXPORTER_CONFIG", help="YAML configuration."),
]
FormatOption = Annotated[
    str | None,
    typer.Option("--format", metavar="text|json", help="Form of the console's lines; overrides sink.format."),
]
ListenOption = Annotated[
    list[str] | None,
    typer.Option("--web.listen-address", metavar="HOST:PORT", help="Overrides web.listen_address; may be repeated."),
]
WebConfigOption = Annotated[
    str | None,
    typer.Option("--web.config.file", metavar="FILE", help="Overrides web.config_file; empty: none."),
]
TelemetryPathOption = Annotated[
    str | None,
    typer.Option("--web.telemetry-path", metavar="PATH", help="Overrides web.telemetry_path."),
]

#: Flag -> the setting below ``web`` that it overrides.
_WEB_FLAGS = {
    "--web.listen-address": "listen_address",
    "--web.config.file": "config_file",
    "--web.telemetry-path": "telemetry_path",
}


def _settings(path: Path | None, *, format_: str | None = None, web: Mapping[str, object] | None = None) -> Settings:
    """Load, or print every problem and leave with 2.

    Args:
        web: what flags set below ``web``; None and an empty list: the flag was not given.
    """
    from exporter import config, configfile

    environ = dict(os.environ)
    try:
        settings = configfile.load(path, environ)
    except ConfigError as error:
        _refuse(error)
    given = {name: value for name, value in (web or {}).items() if value not in (None, [])}
    if given:
        settings = settings.model_copy(update={"web": _web(settings, given)})
    if format_ is not None:
        if format_ not in ("text", "json"):
            raise typer.BadParameter("text or json are allowed", param_hint="--format")
        sink = settings.sink
        if sink is None or isinstance(sink, config.ConsoleSink):
            chosen: Literal["text", "json"] = "text" if format_ == "text" else "json"
            console = sink or config.ConsoleSink(type="console")
            settings = settings.model_copy(update={"sink": console.model_copy(update={"format": chosen})})
        else:
            raise typer.BadParameter(f"is for the console; sink.type is {sink.type}", param_hint="--format")
    return settings


def _web(settings: Settings, given: Mapping[str, object]) -> Web:
    from pydantic import ValidationError

    from exporter.config import Web

    try:
        return Web.model_validate(settings.web.model_dump() | dict(given))
    except ValidationError as error:
        flags = {name: flag for flag, name in _WEB_FLAGS.items()}
        _refuse(
            ConfigError(
                [
                    Problem(flags[str(said["loc"][0])], str(said["input"]), said["msg"].removeprefix("Value error, "))
                    for said in error.errors(include_url=False)
                ]
            )
        )


def _refuse(error: ConfigError) -> NoReturn:
    count = len(error.problems)
    typer.echo(f"cloudtrail-exporter: {count} problem{'s' if count != 1 else ''} with the configuration:", err=True)
    for problem in error.problems:
        typer.echo(f"  {problem}", err=True)
    raise typer.Exit(2)


def _start_lines(app_: App) -> None:
    _log.info("cloudtrail-exporter %s", __version__)
    _log.info("reading %s", app_.reading)
    _log.info("sending to %s", app_.sending)
    _log.info("keeping state in %s", app_.keeping)
    for url in app_.web.urls if app_.web else ():
        _log.info("listening on %s", url)


def _work(settings: Settings, *, once: bool, give_up_seconds: float | None = None) -> int:
    """Run or drain; returns the exit code."""
    import threading

    from exporter import app as wired
    from exporter import logs
    from exporter.metrics import LogCounter
    from exporter.signals import ending

    ending.arm()
    logs.configure(level=settings.log.level, format=settings.log.format)
    try:
        app_ = wired.build(settings, once=once, give_up_seconds=give_up_seconds, serve=not once, on_end=ending.ring)
    except ConfigError as error:
        _refuse(error)
    logs.configure(level=settings.log.level, format=settings.log.format, counter=LogCounter(app_.metrics))
    # What was loaded stays; what a batch makes dies by its reference counts. Both need no walks of the collector: with
    # these settings a dense archive goes through a tenth faster, and idle memory is the same.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    _start_lines(app_)
    app_.runtime.start()
    if once:

        def watch() -> None:
            app_.runtime.join()
            ending.ring()

        threading.Thread(target=watch, name="watch", daemon=True).start()
    ending.wait()
    if not once:
        _log.info("stopping")
    app_.clock.stop()
    finished = app_.runtime.join(settings.shutdown_seconds)
    if not finished:
        _log.warning("the batch in flight was abandoned; it will be read again")
    if app_.web:
        app_.web.stop(2.0)
    if once:
        code = _say_drained(app_, interrupted=ending.signalled)
    else:
        code = 1 if app_.runtime.error is not None else 0
        _log.info("stopped")
    if finished:
        app_.close()
    sys.stdout.flush()
    if not finished:
        # A thread still hangs in a call that does not end; nothing it does from here on may count.
        os._exit(code)
    return code


def _say_drained(app_: App, *, interrupted: bool) -> int:
    from exporter.pipeline import Books

    total = Books()
    for worker in app_.runtime.workers:
        total.add(worker.books)
    typer.echo(
        f"read {total.read}, published {total.published}, filtered {total.filtered.total()}, "
        f"duplicate {total.duplicate}, quarantined {total.quarantined.total()}",
        err=True,
    )
    error = app_.runtime.error
    if error is not None:
        typer.echo(f"not caught up: {error}", err=True)
        return 1
    if interrupted:
        typer.echo("interrupted before every source was caught up; the next drain goes on from here", err=True)
        return 1
    return 0


@app.command()
def run(
    config: ConfigOption = None,
    format: FormatOption = None,  # noqa: A002
    listen: ListenOption = None,
    web_config: WebConfigOption = None,
    telemetry_path: TelemetryPathOption = None,
) -> None:
    """Read for ever: publish each event, count it, serve /metrics. SIGTERM or Ctrl-C ends it cleanly."""
    web = {"listen_address": listen, "config_file": web_config, "telemetry_path": telemetry_path}
    raise typer.Exit(_work(_settings(config, format_=format, web=web), once=False))


@app.command()
def drain(
    config: ConfigOption = None,
    format: FormatOption = None,  # noqa: A002
    give_up_after: Annotated[
        float, typer.Option(metavar="SECONDS", help="Fail when a receiver or source has been in trouble for so long.")
    ] = 300.0,
) -> None:
    """Read until every source is caught up, then exit 0. What needs an operator exits 1; nothing is lost by it."""
    raise typer.Exit(_work(_settings(config, format_=format), once=True, give_up_seconds=give_up_after))


@app.command()
def check(config: ConfigOption = None, web_config: WebConfigOption = None) -> None:
    """Try every source, the sink, the state and the web configuration, and say what to fix. Changes nothing."""
    from exporter import app as wired

    found = wired.findings(_settings(config, web={"config_file": web_config}))
    for finding in found:
        typer.echo(f"{finding.level:7} {finding.subject}: {finding.text}")
        for line in finding.fix.splitlines():
            typer.echo(f"        fix: {line}")
    raise typer.Exit(1 if any(finding.level == "error" for finding in found) else 0)


@config_app.command("show")
def config_show(config: ConfigOption = None) -> None:
    """The effective configuration: file, environment and defaults. Secrets are masked."""
    import yaml

    typer.echo(yaml.safe_dump(_settings(config).shown(), sort_keys=False, allow_unicode=True), nl=False)


@config_app.command("schema")
def config_schema() -> None:
    """The JSON schema of the configuration, for editors and charts."""
    from exporter.reference import config_schema as schema

    typer.echo(schema(), nl=False)


@config_app.command("example")
def config_example() -> None:
    """A configuration with every key, its default and what it means."""
    from exporter.reference import config_example as example

    typer.echo(example(), nl=False)


@app.command()
def quarantine(
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Items at most.")] = 100,
    after: Annotated[int, typer.Option(min=0, help="Only items with a greater number.")] = 0,
) -> None:
    """List what lies in quarantine, oldest first, one JSON object per line."""
    import base64
    import json

    from exporter import wiring
    from exporter.config import SqliteState

    settings = _settings(config)
    if not isinstance(settings.state, SqliteState):
        raise typer.BadParameter("a state in memory has no quarantine to look at", param_hint="state.type")
    from exporter.state.inspect import read_quarantine

    path = wiring.state_path(settings.state, os.environ)
    try:
        items = read_quarantine(path, limit=limit, after=after)
    except ConfigError as error:
        _refuse(error)
    for number, item in items:
        line = {
            "number": number,
            "at": item.at.isoformat(),
            "reason": item.reason,
            "detail": item.detail,
            "source": item.partition.source,
            "origin": item.origin,
            "size": item.size,
        }
        try:
            line["text"] = item.sample.decode()
        except UnicodeDecodeError:
            line["base64"] = base64.b64encode(item.sample).decode()
        typer.echo(json.dumps(line))


@app.command()
def healthcheck(
    config: ConfigOption = None,
    listen: ListenOption = None,
    ready: Annotated[bool, typer.Option("--ready", help="Ask /-/ready instead of /-/healthy.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds to wait.")] = 3.0,
) -> None:
    """Ask the running process whether it is well: exit 0 or 1. For container health checks.

    Finds out itself whether TLS is spoken; the certificate is not verified. Behind authentication, client certificates
    or a rate limit it sees that the process serves, which is what /-/healthy says; whether it is ready stays unknown.
    """
    settings = _settings(config, web={"listen_address": listen})
    addresses = settings.web.listen_address
    host, _, port = (addresses if isinstance(addresses, str) else addresses[0]).rpartition(":")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104 - compared
    if not port.isdigit():
        raise typer.BadParameter("has no port", param_hint="web.listen_address")
    status, text = _probe(host, int(port), "/-/ready" if ready else "/-/healthy", timeout)
    if status in (401, 403, 429) and not ready:
        typer.echo(f"serves; answered {status} {text}".strip())
        return
    if status in (401, 403, 429):
        text = f"not known: answered {status} {text}".strip()
    typer.echo(text, err=status != 200)
    raise typer.Exit(0 if status == 200 else 1)


def _probe(host: str, port: int, path: str, timeout: float) -> tuple[int, str]:
    """Status and text of a path, over TLS when plain HTTP is not spoken; status 0: no answer, the text says why.

    A server that ends a complete TLS handshake without an answer wants a client certificate: 403.
    """
    import http.client
    import ssl

    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    secure = http.client.HTTPSConnection(host, port, timeout=timeout, context=unverified)
    trouble: Exception = OSError("no answer")
    for connection in (http.client.HTTPConnection(host, port, timeout=timeout), secure):
        connected = False
        try:
            connection.connect()
            connected = True
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read(4096).decode(errors="replace").strip()
        except (TimeoutError, ConnectionRefusedError) as error:
            return 0, f"{host}:{port}: {error}"
        except (OSError, http.client.HTTPException) as error:
            alert = isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")
            if connection is secure and (connected or alert):
                return 403, "to a client without a certificate"
            trouble = error
        finally:
            connection.close()
    return 0, f"{host}:{port}: {trouble}"


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    started = time.monotonic()
    try:
        code = app(argv, standalone_mode=False)
    except typer.Exit as exit_:
        code = exit_.exit_code
    except typer.Abort:
        code = 1
    except ExporterError as error:
        typer.echo(f"cloudtrail-exporter: {error}", err=True)
        code = 1
    except BrokenPipeError:
        code = 1
    except Exception as error:
        show = getattr(error, "show", None)  # click's usage errors
        if show is None:
            raise
        show()
        code = getattr(error, "exit_code", 2)
    logging.getLogger("exporter.cli").debug("exit", extra={"code": code, "seconds": time.monotonic() - started})
    return int(code or 0)
