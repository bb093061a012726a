"""Objects fetched ahead of their turn, handed over in the order they were asked for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from exporter.errors import Blocked, Retryable
from exporter.sources.objects import ObjectReader, OpenObject
from exporter.sources.trail_keys import Listed

__all__ = ["Downloads"]

#: A body up to this size is fetched ahead; a larger one is streamed when it is its turn.
LARGEST = 4 * 1024 * 1024
#: Bytes of bodies that wait for their turn, all partitions together. 32 trail files of the usual size are 1 MB.
HELD = 16 * 1024 * 1024


class Downloads:
    """Fetches objects of one bucket by a few threads, which all partitions share.

    Nobody waits for the bytes of another: what finds no room is streamed in its turn by the one who reads it.

    Args:
        ahead: requests at once; of one partition, twice as many objects may wait for their turn.
    """

    def __init__(self, *, objects: ObjectReader, bucket: str, ahead: int) -> None:
        self._objects = objects
        self._bucket = bucket
        self._ahead = ahead
        self._room = HELD
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def each(self, wanted: Iterable[Listed]) -> Iterator[tuple[Listed, Callable[[], OpenObject]]]:
        """Each object in order, with what opens it: at once if it has come meanwhile.

        Opening raises what :meth:`ObjectReader.open` raises. An object not named as a file of events is not fetched.
        """
        waiting: deque[tuple[Listed, Future[OpenObject] | None]] = deque()
        try:
            for listed in wanted:
                waiting.append((listed, self._begun(listed)))
                # Twice as many as threads: they have work while the first one is slow.
                if len(waiting) > 2 * self._ahead:
                    yield from self._turn(waiting)
            while waiting:
                yield from self._turn(waiting)
        except (Retryable, Blocked):
            # The listing broke off: what it gave before is handed over first.
            while waiting:
                yield from self._turn(waiting)
            raise
        finally:
            for listed, future in waiting:
                self._dropped(listed, future)

    def close(self) -> None:
        """Begin nothing more; what is under way ends by itself. Safe twice; a later use opens anew."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _begun(self, listed: Listed) -> Future[OpenObject] | None:
        if not listed.readable or listed.size > LARGEST:
            return None
        with self._lock:
            if listed.size > self._room:
                return None
            self._room -= listed.size
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._ahead, thread_name_prefix="download")
            return self._pool.submit(self._objects.fetch, self._bucket, listed.key, size=listed.size, hold=LARGEST)

    def _turn(
        self, waiting: deque[tuple[Listed, Future[OpenObject] | None]]
    ) -> Iterator[tuple[Listed, Callable[[], OpenObject]]]:
        listed, future = waiting[0]
        if future is None:
            waiting.popleft()
            yield listed, lambda: self._objects.open(self._bucket, listed.key, size=listed.size)
            return
        yield listed, future.result
        waiting.popleft()
        self._dropped(listed, future)

    def _dropped(self, listed: Listed, future: Future[OpenObject] | None) -> None:
        if future is None:
            return
        with self._lock:
            self._room += listed.size
        if not future.cancel():
            future.add_done_callback(_closed)


def _closed(future: Future[OpenObject]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()
