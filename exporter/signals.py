"""Signals, as a pipe: a handler interrupts any line of the main thread, so it takes no lock and writes one byte."""

from __future__ import annotations

import os
import signal
from types import FrameType

__all__ = ["Ending", "ending"]


class Ending:
    """Rings when the process is to end: by SIGTERM or SIGINT, or because its work is done."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._armed = False
        self.signalled = False

    def install(self) -> None:
        """Take SIGTERM and SIGINT. As PID 1 a process has no default handlers: call this before anything slow.

        SIGHUP means that the terminal is gone, and ends the process like SIGTERM. Where there is no terminal, operators
        send it for "read your files again": that happens without it, and it must not end anything.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            signal.signal(signal.SIGHUP, self._on_signal if os.isatty(0) else signal.SIG_IGN)

    def arm(self) -> None:
        """From here on the first signal rings; before, there is nothing to finish and it ends the process at once."""
        self._armed = True

    def ring(self) -> None:
        """Let :meth:`wait` return, now or when it is called."""
        os.write(self._write, b"\0")

    def wait(self) -> None:
        """Block until it rings."""
        os.read(self._read, 1)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signalled:
            os._exit(128 + number)
        self.signalled = True
        if not self._armed:
            os._exit(0)
        self.ring()


#: A process has one set of signals.
ending = Ending()
