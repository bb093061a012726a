"""The routes. Nothing here blocks the event loop: what takes time is done in a thread, a few at a time."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporter.contract import Clock
from exporter.exposition import EventSeries, Exposition, render
from exporter.metrics import Metrics
from exporter.status import Status
from exporter.web.landing import landing_page

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from exporter.web.live import LiveConfig

__all__ = ["create_app"]

#: Scrapes that are rendered at once, and that may wait for their turn. Two servers and a person fit; a storm does not.
_RENDERING = 2
_WAITING = 16

#: For bodies under this size compression costs more than it saves.
_WORTH_COMPRESSING = 1_000

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def create_app(
    *,
    metrics: Metrics,
    events: EventSeries | None = None,
    status: Callable[[], Status],
    clock: Clock,
    created_series: bool = False,
    telemetry_path: str = "/metrics",
    config: LiveConfig | None = None,
) -> ASGIApp:
    """The application: ``/``, the metrics, ``/-/healthy``, ``/-/ready``; 404 for everything else.

    Args:
        events: the event metrics; None: only our own.
        status: called in a thread for each page and each readiness probe.
        created_series: also expose ``_created`` series of our own metrics.
        telemetry_path: where the metrics are.
        config: the web configuration file: who may ask, how often, and further headers. None: everybody.
    """
    scrapes = _Scrapes(metrics, events, created_series=created_series)

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    async def ready(_: Request) -> Response:
        now = await asyncio.to_thread(status)
        if now.ready:
            return PlainTextResponse("ready\n")
        lines = now.reasons or ("not ready",)
        return PlainTextResponse("".join(f"{' '.join(line.split())}\n" for line in lines), status_code=503)

    async def landing(_: Request) -> Response:
        def page() -> str:
            return landing_page(status(), now=clock.now(), telemetry_path=telemetry_path)

        return HTMLResponse(await asyncio.to_thread(page))

    app = Starlette(
        routes=[
            Route("/", landing),
            Route(telemetry_path, scrapes.answer),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
        ]
    )
    app.router.redirect_slashes = False
    if config is None:
        return _with_headers(app, lambda: _HEADERS)
    from exporter.web.guard import guarded

    return _with_headers(
        guarded(app, config=lambda: config.config, clock=clock), lambda: _HEADERS | dict(config.config.headers)
    )


class _Scrapes:
    """``/metrics``: negotiation, compression, ``name[]``, and a bound on how many there are at once."""

    def __init__(self, metrics: Metrics, events: EventSeries | None, *, created_series: bool) -> None:
        self._metrics = metrics
        self._events = events
        self._created_series = created_series
        self._turn = asyncio.Semaphore(_RENDERING)
        self._pending = 0

    async def answer(self, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        zipped = _accepts_gzip(request.headers.get("accept-encoding", ""))
        names = frozenset(request.query_params.getlist("name[]"))
        if request.method == "HEAD":
            # Nobody sees the series: none is rendered, so that none has been shown at 0.
            return _Bodiless(choose_encoder(accept)[1])
        if self._pending >= _RENDERING + _WAITING:
            return PlainTextResponse("too many scrapes at once\n", status_code=503, headers={"Retry-After": "1"})
        self._pending += 1
        try:
            async with self._turn:
                exposition, encoding = await asyncio.to_thread(self._render, accept, names, zipped=zipped)
        finally:
            self._pending -= 1
        headers = {"Content-Type": exposition.content_type, "Vary": "Accept, Accept-Encoding"} | encoding
        return Response(exposition.body, headers=headers)

    def _render(self, accept: str, names: frozenset[str], *, zipped: bool) -> tuple[Exposition, dict[str, str]]:
        exposition = render(
            self._metrics.registry, self._events, accept=accept, names=names, created_series=self._created_series
        )
        if not zipped or len(exposition.body) < _WORTH_COMPRESSING:
            return exposition, {}
        # Level 1 is 5 % larger than level 9 here and takes a tenth of the time.
        body = gzip.compress(exposition.body, compresslevel=1, mtime=0)
        return Exposition(exposition.content_type, body), {"Content-Encoding": "gzip"}


class _Bodiless(Response):
    """The head of an answer whose length is not known without rendering it."""

    def __init__(self, content_type: str) -> None:
        super().__init__(headers={"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"})
        del self.headers["content-length"]


def _accepts_gzip(header: str) -> bool:
    """Whether gzip is among the accepted codings and not refused by ``q=0`` (RFC 9110, 12.5.3)."""
    for coding in header.split(","):
        name, _, weight = coding.partition(";")
        if name.strip().lower() == "gzip":
            return weight.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _with_headers(app: ASGIApp, wanted: Callable[[], Mapping[str, str]]) -> ASGIApp:
    """The same headers on every answer, errors included; those with an empty value are left out."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in wanted().items():
                    if value:
                        headers[name] = value
            await send(message)

        await app(scope, receive, sending)

    return wrapped
