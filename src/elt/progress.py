"""What a person sees while a layer works: bars on a terminal, plain lines without one, JSON lines for machines."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from threading import Lock
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from elt.redaction import redacted

LINE_EVERY_SECONDS = 10.0

WORDS = frozenset(("kept", "next"))
"""Fields of ``about`` that are sentences; the others are for programs."""

_ABOUT: ContextVar[dict[str, object]] = ContextVar("about", default={})  # noqa: B039 - never changed in place


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """What is said inside is about this run, layer, count: fields of each JSON line, and nothing in the others."""
    token = _ABOUT.set({**_ABOUT.get(), **fields})
    try:
        yield
    finally:
        _ABOUT.reset(token)


class Task(Protocol):
    """One piece of work whose progress is counted in rows or keys."""

    def advance(self, amount: int) -> None:
        """So many more are done."""


class Reporter(Protocol):
    """Where layers say what they do."""

    def say(self, text: str) -> None:
        """One line for the person who reads along."""

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:
        """A piece of work of ``total`` rows or keys, if known."""
        yield  # type: ignore[misc]


class TerminalReporter:
    """Bars that stay while work goes on, several at a time, and lines above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True)
        self._lock = Lock()

    def say(self, text: str) -> None:  # noqa: D102
        self._console.print(redacted(text), highlight=False, markup=False, emoji=False)

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:  # noqa: D102
        with self._lock:
            identifier = self._progress.add_task(name, total=total)
            self._progress.start()
        try:
            yield _Bar(self._progress, identifier)
        finally:
            with self._lock:
                self._progress.remove_task(identifier)
                if not self._progress.tasks:
                    self._progress.stop()


class _Bar:
    def __init__(self, progress: Progress, identifier: int) -> None:
        self._progress = progress
        self._identifier = identifier

    def advance(self, amount: int) -> None:
        self._progress.advance(self._identifier, amount)  # type: ignore[arg-type]


class PlainReporter:
    """A line now and then, each with the time, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None, every_seconds: float = LINE_EVERY_SECONDS) -> None:
        self._stream = stream or sys.stderr
        self._every_seconds = every_seconds

    def say(self, text: str) -> None:  # noqa: D102
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {redacted(text)}", file=self._stream, flush=True)

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:  # noqa: D102
        yield _Lines(self, name, total, self._every_seconds)


class _Lines:
    def __init__(self, reporter: PlainReporter, name: str, total: int | None, every_seconds: float) -> None:
        self._reporter = reporter
        self._name = name
        self._total = total
        self._every_seconds = every_seconds
        self._done = 0
        self._said_at = time.monotonic()

    def advance(self, amount: int) -> None:
        self._done += amount
        if time.monotonic() - self._said_at >= self._every_seconds:
            self._said_at = time.monotonic()
            of = f" of {self._total:,}" if self._total is not None else ""
            with about(done=self._done, total=self._total):
                self._reporter.say(f"{self._name}: {self._done:,}{of}")


class JsonReporter(PlainReporter):
    """One JSON object a line: time (UTC), level, message, and what ``about`` says (run, layer, counts)."""

    def say(self, text: str) -> None:  # noqa: D102
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        known = {name: value for name, value in _ABOUT.get().items() if value not in ("", None)}
        known |= {name: redacted(value) for name, value in known.items() if name in WORDS and isinstance(value, str)}
        fields = {"time": now, "level": "info", **known, "message": redacted(text)}
        print(json.dumps(fields, ensure_ascii=False, default=str), file=self._stream, flush=True)


class SilentReporter:
    """Says nothing: for tests and for programs that only want the result."""

    def say(self, text: str) -> None:  # noqa: D102
        pass

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:  # noqa: D102
        yield self

    def advance(self, amount: int) -> None:
        """Nothing to show."""
