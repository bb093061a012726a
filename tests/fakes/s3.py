"""S3 as far as it is read from: ListObjectsV2 and GetObject over HTTP, with every fault scripted as data."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

__all__ = ["FakeS3", "Fault", "Request", "Stored"]

_REGION = re.compile(r"Credential=[^/]+/\d+/([^/]+)/")


@dataclass(frozen=True)
class Fault:
    """An answer other than the right one.

    Attributes:
        cut: send so many bytes of the body, under its full Content-Length, and close the connection.
        body: send this instead, with status 200.
        region: what ``x-amz-bucket-region`` says.
    """

    status: int = 0
    code: str = ""
    message: str = "no"
    cut: int | None = None
    body: bytes | None = None
    region: str = ""

    ok = None


@dataclass(frozen=True)
class Stored:
    data: bytes
    etag: str
    modified: str = "2026-02-01T08:00:00.000Z"


@dataclass(frozen=True)
class Request:
    """What was asked, and from where the signature says it was."""

    operation: str
    target: str
    after: str
    delimiter: str
    region: str


@dataclass
class FakeS3:
    """A server with one bucket. ``faults`` are answers by operation, or by key, each used once, in order.

    Attributes:
        page: keys on a page of a listing.
        region: requests signed for another one are refused as S3 does; "": any will do.
        delay: seconds each answer takes longer.
        before: called with each request before it is answered.
    """

    bucket: str = "trail"
    page: int = 1_000
    region: str = ""
    delay: float = 0.0
    objects: dict[str, Stored] = field(default_factory=dict)
    faults: dict[str, list[Fault | None]] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    before: Callable[[Request], None] = lambda request: None
    most_at_once: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, key: str, data: bytes, *, modified: str = "2026-02-01T08:00:00.000Z") -> None:
        self.objects[key] = Stored(data, hashlib.md5(data, usedforsecurity=False).hexdigest(), modified)

    def asked(self, operation: str = "") -> list[Request]:
        return [request for request in self.requests if operation in ("", request.operation)]

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def fault(self, request: Request) -> Fault | None:
        with self._lock:
            for name in (request.target, request.operation):
                if self.faults.get(name):
                    return self.faults[name].pop(0)
                if name in self.always:
                    return self.always[name]
        if self.region and request.region != self.region:
            return Fault(400, "AuthorizationHeaderMalformed", "the region is wrong", region=self.region)
        return None

    def enter(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)

    def leave(self) -> None:
        with self._lock:
            self._at_once -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A body that is left off resets its connection: nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    fake: FakeS3

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        bucket, _, key = unquote(url.path.lstrip("/")).partition("/")
        signed = _REGION.search(self.headers.get("Authorization", ""))
        listing = query.get("list-type") == "2"
        request = Request(
            operation="ListObjectsV2" if listing else "GetObject",
            target=query.get("prefix", "") if listing else key,
            after=query.get("start-after", ""),
            delimiter=query.get("delimiter", ""),
            region=signed[1] if signed else "",
        )
        fake = self.fake
        fake.before(request)
        fake.enter(request)
        try:
            if fake.delay:
                time.sleep(fake.delay)
            self.answer(request, bucket, key, query, fake.fault(request))
            self.wfile.flush()
        except OSError:
            self.close_connection = True
        finally:
            fake.leave()

    do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

    def answer(self, request: Request, bucket: str, key: str, query: dict[str, str], fault: Fault | None) -> None:
        fake = self.fake
        if fault and fault.body is not None:
            self.send(200, fault.body, {"Content-Type": "text/html"})
        elif fault and fault.status:
            self.refuse(fault)
        elif bucket != fake.bucket:
            self.refuse(Fault(404, "NoSuchBucket", "The specified bucket does not exist"))
        elif request.operation == "ListObjectsV2":
            self.send(200, self.listing(query), {"Content-Type": "application/xml"})
        elif (stored := fake.objects.get(key)) is None:
            self.refuse(Fault(404, "NoSuchKey", "The specified key does not exist."))
        else:
            cut = fault.cut if fault else None
            self.send(200, stored.data, {"ETag": f'"{stored.etag}"'}, cut)

    def refuse(self, fault: Fault) -> None:
        region = f"<Region>{fault.region}</Region>" if fault.region else ""
        body = f"<Error><Code>{fault.code}</Code><Message>{escape(fault.message)}</Message>{region}</Error>"
        headers = {"x-amz-bucket-region": fault.region} if fault.region else {}
        self.send(fault.status, body.encode(), {"Content-Type": "application/xml", **headers})

    def send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True

    def listing(self, query: dict[str, str]) -> bytes:
        fake = self.fake
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        lines: list[str] = []
        folders: set[str] = set()
        truncated = ""
        last = after
        for key in sorted(fake.objects, key=str.encode):
            if not key.startswith(prefix) or key.encode() <= after.encode():
                continue
            rest = key[len(prefix) :]
            folder = prefix + rest.split(delimiter)[0] + delimiter if delimiter and delimiter in rest else ""
            if folder and (folder in folders or after.startswith(folder)):
                last = key
                continue
            if len(lines) == min(fake.page, int(query.get("max-keys", 1_000))):
                truncated = last
                break
            last = key
            if folder:
                folders.add(folder)
                lines.append(f"<CommonPrefixes><Prefix>{quote(folder)}</Prefix></CommonPrefixes>")
            else:
                stored = fake.objects[key]
                lines.append(
                    f"<Contents><Key>{quote(key)}</Key><ETag>&quot;{stored.etag}&quot;</ETag>"
                    f"<Size>{len(stored.data)}</Size><LastModified>{stored.modified}</LastModified></Contents>"
                )
        more = f"<NextContinuationToken>{escape(truncated)}</NextContinuationToken>" if truncated else ""
        return (
            f"<ListBucketResult><Name>{fake.bucket}</Name><Prefix>{quote(prefix)}</Prefix>"
            f"<KeyCount>{len(lines)}</KeyCount><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(bool(truncated)).lower()}</IsTruncated>{more}{''.join(lines)}</ListBucketResult>"
        ).encode()
