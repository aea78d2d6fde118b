"""SIGTERM: end the current batch, record it, and leave within ten seconds.

In three steps, each for what the one before could not end:

1. At once: a process that is not in the middle of a run ends; a run stops before its next batch.
2. After ``BATCH_SECONDS`` the batch itself is broken off. Its transaction is rolled back, and the run recorded.
3. After ``LIMIT_SECONDS`` the process ends as it stands. The next run takes its lease, and goes on from there.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from elt.errors import Stopped

BATCH_SECONDS = 6.0
LIMIT_SECONDS = 9.0
EXIT_CODE = Stopped.exit_code
WORDS = "stopped: the process was asked to end (SIGTERM)"


class _Process:
    """What this process knows of its end. There is one of it, as there is one of the process."""

    def __init__(self) -> None:
        self.asked = False
        self.in_run = 0

    def on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        if self.asked:  # a service manager and our own scheduler may both ask
            return
        self.asked = True
        limit = threading.Timer(LIMIT_SECONDS, os._exit, (EXIT_CODE,))
        limit.daemon = True
        limit.start()
        if not self.in_run:
            self.break_off(signum, frame)
        signal.setitimer(signal.ITIMER_REAL, BATCH_SECONDS)

    def break_off(self, signum: int, frame: FrameType | None) -> None:
        """Like Ctrl-C, and not one of our errors: psycopg then cancels the statement, and nobody tries it again."""
        raise KeyboardInterrupt(WORDS)


_process = _Process()


@contextmanager
def on_sigterm() -> Iterator[None]:
    """Inside, SIGTERM ends the process as this module says. For the main thread of a command."""
    _process.asked = False
    handlers = {signal.SIGTERM: _process.on_sigterm, signal.SIGALRM: _process.break_off}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def between_batches() -> Iterator[None]:
    """Inside, the first SIGTERM waits for ``check``."""
    _process.in_run += 1
    try:
        yield
    finally:
        _process.in_run -= 1


def asked() -> bool:
    """Whether the process was asked to end."""
    return _process.asked


def check() -> None:
    """Nothing, unless the process was asked to end: then ``Stopped``."""
    if _process.asked:
        raise Stopped(
            WORDS,
            kept="what was written is complete, batch by batch",
            next_step="run again: it goes on from there",
        )
