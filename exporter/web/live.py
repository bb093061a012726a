"""The web configuration in force: read at start, read again when it or a file it names has changed."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.contract import Clock
from exporter.errors import ConfigError, Problem
from exporter.metrics import Metrics
from exporter.web.configuration import WebConfig, load, read_file

if TYPE_CHECKING:
    from exporter.web.tls import ServerTls

__all__ = ["LiveConfig", "loaded"]

_LOG = logging.getLogger("exporter.web")

#: A file younger than this (seconds) may be written again without a change of its times.
_TICK = 2.0


def loaded(path: Path, *, read: Callable[[Path], bytes] = read_file) -> tuple[WebConfig, ServerTls | None]:
    """A web configuration file, tried as a whole; without TLS the second is None.

    Raises:
        ConfigError: with every problem.
    """
    config = load(path, read=read)
    problems: list[Problem] = []
    tls = None
    if config.users:
        from exporter.web.auth import require_bcrypt

        try:
            require_bcrypt(f"{path}: basic_auth_users")
        except ConfigError as error:
            problems += error.problems
    if config.tls is not None:
        from exporter.web.tls import server_tls

        try:
            tls = server_tls(config.tls)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return config, tls


class LiveConfig:
    """The last good configuration. :meth:`refresh` runs in one thread at a time; the rest may be asked from any.

    Args:
        metrics: the two ``config_last_reload_*`` gauges are kept.

    Raises:
        ConfigError: the file is wrong now.
    """

    def __init__(self, path: Path, *, clock: Clock, metrics: Metrics) -> None:
        self._path = path
        self._clock = clock
        self._metrics = metrics
        #: Of the last try, good or not: each file it read with its times, the content of all, and what was wrong.
        self._stamps: dict[Path, object] = {}
        self._content = b""
        self._trouble = ""
        try:
            self._take(self._read())
        except OSError as error:
            raise ConfigError([Problem("web.config_file", str(path), error.strerror or type(error).__name__)]) from None

    @property
    def config(self) -> WebConfig:
        """What is in force now."""
        return self._now[0]

    @property
    def tls(self) -> ServerTls | None:
        """What new connections are secured with; None: they are not. Which of the two it is never changes."""
        return self._now[1]

    def refresh(self) -> None:
        """Take over what has changed; what is wrong is told once and leaves the last good one in force."""
        if not self._young() and all(_stamp(file) == stamp for file, stamp in self._stamps.items()):
            return
        content = self._content
        try:
            found = self._read()
            if content == self._content:
                return
            if (found[1] is None) != (self.tls is None):
                word = "removed" if found[1] is None else "added"
                text = f"was {word}: whether TLS is spoken is decided at start, so this takes a restart"
                raise ConfigError([Problem(f"{self._path}: tls_server_config", "", text)])
        except ConfigError as error:
            if content != self._content:
                self._trouble = ""
                self._fail("; ".join(map(str, error.problems)))
        except OSError as error:
            # Not the files, but something they need: too many open files. The next look tries again.
            self._content = b""
            self._fail(error.strerror or type(error).__name__)
        else:
            self._take(found)
            _LOG.info("the web configuration was read again")

    def _read(self) -> tuple[WebConfig, ServerTls | None]:
        """Try the files as they lie there. Their times are taken before: a change while it reads is seen next time."""
        stamps: dict[Path, object] = {}
        contents = hashlib.blake2b()

        def read(file: Path) -> bytes:
            stamps[file] = _stamp(file)
            try:
                data = read_file(file)
            except ValueError as error:
                contents.update(f"{file}\0{error}\0".encode())
                raise
            contents.update(f"{file}\0{len(data)}\0".encode() + data)
            return data

        try:
            return loaded(self._path, read=read)
        finally:
            self._stamps = stamps
            self._content = contents.digest()

    def _young(self) -> bool:
        newest = max((stamp[0] for stamp in self._stamps.values() if isinstance(stamp, tuple)), default=0)
        return not self._content or abs(self._clock.now().timestamp() - newest / 1e9) < _TICK

    def _take(self, found: tuple[WebConfig, ServerTls | None]) -> None:
        self._now = found
        self._trouble = ""
        self._metrics.config_last_reload_successful.set(1)
        self._metrics.config_last_reload_success_timestamp.set(self._clock.now().timestamp())
        config, tls = found
        for warning in (*config.warnings, *(tls.warnings if tls else ())):
            _LOG.warning("web configuration: %s", warning)

    def _fail(self, trouble: str) -> None:
        self._metrics.config_last_reload_successful.set(0)
        if trouble != self._trouble:
            _LOG.warning(
                "the web configuration has changed and cannot be used; the last good one stays in force: %s", trouble
            )
        self._trouble = trouble


def _stamp(file: Path) -> object:
    """What changes when a file does; links are followed, as Kubernetes swaps them."""
    try:
        found = os.stat(file)
    except OSError as error:
        return error.errno
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_dev, found.st_ino)
