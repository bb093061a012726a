"""Basic authentication against bcrypt hashes: results remembered, one check at a time, none in the event loop."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Literal

from exporter.errors import ConfigError, Problem

__all__ = ["BasicAuth", "require_bcrypt"]

#: Results remembered: of right passwords, and apart from them of wrong ones, so that guessing pushes no right one out.
_RIGHT = 4_096
_WRONG = 1_024
#: Checks that wait for their turn, in all and of one address.
_WAITING = 32
_WAITING_EACH = 4
#: bcrypt reads no further. Its Python package refuses longer passwords, Go's cuts them; the toolkit is Go.
_PASSWORD_BYTES = 72

Verdict = Literal["yes", "no", "busy"]


def require_bcrypt(key: str) -> None:
    """Import it, so that what is missing is told at start.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import bcrypt  # noqa: F401
    except ImportError:
        problem = Problem(key, "", "needs bcrypt: pip install 'cloudtrail-exporter[auth]'")
        raise ConfigError([problem]) from None


class BasicAuth:
    """Decides who may pass. Lives in one event loop."""

    def __init__(self) -> None:
        # What is remembered is a keyed hash: neither a password nor what one could be guessed with.
        self._key = os.urandom(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._turn = asyncio.Semaphore(1)
        self._waiting: Counter[str] = Counter()

    async def verdict(self, users: Mapping[str, str], header: str, address: str) -> Verdict:
        """Whether the request may pass.

        Args:
            users: name -> bcrypt hash, as configured now.
            header: the Authorization header; "": none.
            address: of the client, who gets no more than its share of the checks.

        Returns:
            ``busy``: too many checks wait already; nothing was checked.
        """
        given = _credentials(header)
        if given is None:
            return "no"
        user, password = given
        configured = users.get(user.decode("utf-8", errors="surrogateescape"))
        # A name that is not there is checked against the hash of one that is, always the same: it costs as much.
        hashed = self._stand_in(users, user) if configured is None else configured
        key = self._digest(user, hashed.encode(), password)
        if (remembered := self._remembered(key)) is not None:
            return remembered
        if self._waiting.total() >= _WAITING or self._waiting[address] >= _WAITING_EACH:
            return "busy"
        self._waiting[address] += 1
        try:
            async with self._turn:
                # While it waited, the same credentials may have been checked.
                if (remembered := self._remembered(key)) is not None:
                    return remembered
                right = await _in_thread(hashed, password) and configured is not None
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
        memory, most = (self._right, _RIGHT) if right else (self._wrong, _WRONG)
        memory[key] = None
        if len(memory) > most:
            memory.popitem(last=False)
        return "yes" if right else "no"

    def _remembered(self, key: bytes) -> Verdict | None:
        if key in self._right:
            self._right.move_to_end(key)
            return "yes"
        if key in self._wrong:
            self._wrong.move_to_end(key)
            return "no"
        return None

    def _stand_in(self, users: Mapping[str, str], user: bytes) -> str:
        hashes = sorted(users.values())
        return hashes[int.from_bytes(self._digest(user)[:8], "big") % len(hashes)]

    def _digest(self, *parts: bytes) -> bytes:
        state = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            state.update(len(part).to_bytes(8, "big") + part)
        return state.digest()


def _credentials(header: str) -> tuple[bytes, bytes] | None:
    """User and password of a Basic header (RFC 7617); None: it is none."""
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password[:_PASSWORD_BYTES]) if colon else None


async def _in_thread(hashed: str, password: bytes) -> bool:
    """One check in a thread of its own that does not keep the process when it ends; bcrypt frees the interpreter."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[bool] = loop.create_future()

    def tell(right: bool) -> None:
        if not result.done():
            result.set_result(right)

    def work() -> None:
        right = _check(hashed, password)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, right)

    threading.Thread(target=work, name="exporter-web-auth", daemon=True).start()
    return await result


def _check(hashed: str, password: bytes) -> bool:
    import bcrypt

    # Go takes every minor version for the same; the package does not know all of them.
    _, _, rest = hashed.removeprefix("$2").partition("$")
    try:
        return bcrypt.checkpw(password, b"$2b$" + rest.encode())
    except Exception:  # whatever it says of a password or a hash: nobody passes
        return False
