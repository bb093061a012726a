"""Rate limit and basic authentication in front of every route, the probes included, as in exporter-toolkit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from exporter.contract import Clock
from exporter.web.auth import BasicAuth
from exporter.web.configuration import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from exporter.web.configuration import WebConfig

__all__ = ["TokenBucket", "guarded"]

_REALM = 'Basic realm="cloudtrail-exporter", charset="UTF-8"'


class TokenBucket:
    """Holds ``burst`` tokens at first and at most; one more comes each interval."""

    def __init__(self, limit: RateLimit, clock: Clock) -> None:
        self.limit = limit
        self._clock = clock
        self._tokens = float(limit.burst)
        self._at = clock.monotonic()

    def take(self) -> bool:
        """Take one token; False: there is none."""
        now = self._clock.monotonic()
        self._tokens = min(self.limit.burst, self._tokens + (now - self._at) / self.limit.interval)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def guarded(app: ASGIApp, *, config: Callable[[], WebConfig], clock: Clock) -> ASGIApp:
    """The application behind what the configuration asks for at the moment of each request."""
    auth = BasicAuth()
    bucket: TokenBucket | None = None

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal bucket
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        now = config()
        if now.rate_limit is None:
            bucket = None
        else:
            if bucket is None or bucket.limit != now.rate_limit:
                bucket = TokenBucket(now.rate_limit, clock)
            if not bucket.take():
                await _refusal(429, "too many requests")(scope, receive, send)
                return
        if now.users:
            header = Headers(scope=scope).get("authorization", "")
            address = (scope.get("client") or ("",))[0]
            verdict = await auth.verdict(now.users, header, address)
            if verdict == "busy":
                await _refusal(429, "too many passwords to check at once")(scope, receive, send)
                return
            if verdict == "no":
                await _refusal(401, "unauthorized", authenticate=True)(scope, receive, send)
                return
        await app(scope, receive, send)

    return guard


def _refusal(status: int, text: str, *, authenticate: bool = False) -> PlainTextResponse:
    headers = {"WWW-Authenticate": _REALM} if authenticate else {"Retry-After": "1"}
    return PlainTextResponse(f"{text}\n", status_code=status, headers=headers)
