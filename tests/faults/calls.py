"""Counts this process's calls to files, databases and servers, and makes one of them fail.

It stands at the last place in Python that such calls pass, so that it holds whoever makes them: ``os`` and ``io.open``
for files below the given folders, ``psycopg.Connection.wait`` and the wait for a new connection for SQL (a statement, a
step of COPY, the end of a transaction is one call each), httpx's transport for HTTP.
"""

import builtins
import errno
import io
import os
import re
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg import pq, waiting

READS = "reads: "
"""What a call that changes nothing begins with: a kill after it is the same as one before it."""

_WRITES = re.compile(
    r'select "\w+"\."\w+"\(|insert|update|delete|merge|truncate|create|alter|drop|do |copy "|with merged'
)
"""How a statement begins that changes something; a call of a function may."""

_ENDS = ("_exit_gen", "_commit_gen", "_rollback_gen")
"""The steps that end a transaction."""

_WALK = f"{READS}a walk through folders"


class Fault(StrEnum):
    """What becomes of the call."""

    REFUSED = "refused"
    """It is not done: no space is left, or the project is over its quota. Nobody tries that again."""
    LOST = "answer lost"
    """It is done, and its answer does not come: the connection breaks, the disk reports an error."""
    SILENT = "silent"
    """It is not done, and from then on nothing of its kind (files, or servers) answers any more."""
    KILLED = "killed"
    """It is done, and the process ends (SIGKILL): after one call and before the next is the same moment."""
    SERVER_KILLED = "server killed"
    """It is done, and every process of the embedded server ends (SIGKILL)."""


@dataclass
class Calls:
    """The calls of this process. ``told``: an open file that is told the one that was made to fail, for the dead tell
    nothing; ``roots``: what the names of the files begin with that are counted; ``log``: all calls, in words.
    """

    told: int
    roots: tuple[str, ...]
    fault: Fault | None = None
    number: int = 0
    kill_server: Callable[[], None] = lambda: None
    log: list[str] = field(default_factory=list)
    _last: str = ""
    _silent: bool | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _files: set[int] = field(default_factory=set)

    def install(self) -> None:
        """Count from now on, until the process ends."""
        for name in ("fsync", "link", "unlink", "rename", "replace", "mkdir", "rmdir", "listdir", "scandir", "open"):
            setattr(os, name, self._on_files(name, getattr(os, name)))
        builtins.open = io.open = self._opening(io.open)
        os.fdopen = self._opening(os.fdopen)
        psycopg.Connection.wait = self._on_connection(psycopg.Connection.wait)  # type: ignore[method-assign]
        waiting.wait_conn = self._on_connecting(waiting.wait_conn)
        httpx.HTTPTransport.handle_request = self._on_http(httpx.HTTPTransport.handle_request)  # type: ignore[method-assign]

    # --- The one counter ----------------------------------------------------------------------------------------------

    def _begin(self, what: str) -> Fault | None:
        """Count one call; answers what is to become of it. ``SILENT`` for every call after a silent one."""
        with self._lock:
            silent = self._silent is not None and self._silent == is_of_a_server(what)
            if what == self._last == _WALK:
                return Fault.SILENT if silent else None  # one walk through folders is one call
            self._last = what
            self.log.append(what)
            if silent:
                return Fault.SILENT
            if len(self.log) != self.number or self.fault is None:
                return None
            if self.fault is Fault.SILENT:
                self._silent = is_of_a_server(what)
            os.write(self.told, what.encode())
        return self.fault

    def _end(self, fate: Fault | None) -> None:
        if fate is Fault.KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        if fate is Fault.SERVER_KILLED:
            self.kill_server()

    # --- Files --------------------------------------------------------------------------------------------------------

    def _is_ours(self, file: object) -> bool:
        if isinstance(file, int):
            return file in self._files
        if not isinstance(file, str | bytes | os.PathLike):
            return False
        return os.path.realpath(os.fsdecode(file)).startswith(self.roots)

    def _on_files(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            file = arguments[0] if arguments else "."
            if not self._is_ours(file):
                return real(*arguments, **options)
            what = _WALK if name in ("listdir", "scandir") else f"{name} {_short(file)}"
            found = self._done(what, lambda: real(*arguments, **options), os.close)
            if name == "open":
                self._files.add(found)
            return found

        return call

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """``open`` and ``os.fdopen``: what they answer counts what is read and written."""

        def call(file: Any, *arguments: Any, **options: Any) -> Any:
            if not self._is_ours(file):
                return real(file, *arguments, **options)
            if isinstance(file, int):
                return _File(real(file, *arguments, **options), self, "a file")
            name = _short(file)
            mode = arguments[0] if arguments else options.get("mode", "r")
            reads = READS if set(mode).isdisjoint("wax+") else ""
            opened = self._done(
                f"{reads}open {name} ({mode})", lambda: real(file, *arguments, **options), lambda f: f.close()
            )
            return _File(opened, self, name)

        return call

    def _done(self, what: str, act: Callable[[], Any], undo: Callable[[Any], object] | None = None) -> Any:
        """A call to a file; ``undo`` is for what an answer that is lost would leave open."""
        fate = self._begin(what)
        if fate in (Fault.REFUSED, Fault.SILENT):
            full = fate is Fault.REFUSED and not what.startswith(READS)
            raise _of_disk(errno.ENOSPC if full else errno.EIO, what)
        found = act()
        self._end(fate)
        if fate is Fault.LOST:
            if undo is not None and "open " in what:
                undo(found)
            raise _of_disk(errno.EIO, what)
        return found

    # --- SQL ----------------------------------------------------------------------------------------------------------

    def _on_connection(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def wait(connection: psycopg.Connection, waited: Any, *more: Any, **options: Any) -> Any:
            if connection.pgconn.transaction_status == pq.TransactionStatus.IDLE and waited.__name__ in _ENDS:
                return real(connection, waited, *more, **options)  # nothing has begun, so nothing is sent
            fate = self._begin(_statement(waited))
            if fate is Fault.REFUSED:
                waited.close()
                _fail(connection, waited.__name__)
                raise psycopg.errors.DiskFull("could not extend file: No space left on device")
            if fate is Fault.SILENT:
                waited.close()
                raise _lost(connection)
            found = real(connection, waited, *more, **options)
            self._end(fate)
            if fate is Fault.LOST:
                raise _lost(connection)
            return found

        return wait

    def _on_connecting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def wait_conn(waited: Any, *more: Any, **options: Any) -> Any:
            fate = self._begin(f"{READS}SQL: connect")
            if fate in (Fault.REFUSED, Fault.SILENT):
                waited.close()
                raise psycopg.OperationalError("connection failed: Connection refused")
            found = real(waited, *more, **options)
            self._end(fate)
            if fate is Fault.LOST:
                found.finish() if hasattr(found, "finish") else found.close()
                raise psycopg.OperationalError("connection failed: server closed the connection unexpectedly")
            return found

        return wait_conn

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def _on_http(self, real: Callable[..., httpx.Response]) -> Callable[..., httpx.Response]:
        def handle_request(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            reads = READS * (request.method in ("GET", "HEAD") or "/object/list/" in request.url.path)
            fate = self._begin(f"{reads}HTTP: {request.method} {request.url.path}")
            if fate is Fault.REFUSED:
                return httpx.Response(402, json={"message": "Service for this project is restricted"})
            if fate is Fault.SILENT:
                raise httpx.ConnectError("[Errno 111] Connection refused", request=request)
            answer = real(transport, request)
            if fate in (Fault.LOST, Fault.KILLED, Fault.SERVER_KILLED):
                answer.read()  # to its end: the request is done
                answer.close()
            self._end(fate)
            if fate is Fault.LOST:
                raise httpx.ReadError("[Errno 104] Connection reset by peer", request=request)
            return answer

        return handle_request


class _File:
    """An open file whose reads and writes are counted."""

    def __init__(self, file: Any, calls: Calls, name: str) -> None:
        self._file, self._calls, self._name = file, calls, name

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)
        if name not in ("read", "write", "readline"):
            return found
        reads = READS * name.startswith("read")
        return lambda *arguments: self._calls._done(f"{reads}{name} {self._name}", lambda: found(*arguments))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __next__(self) -> Any:
        return next(self._file)

    def __enter__(self) -> "_File":
        self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)


def _of_disk(number: int, what: str) -> OSError:
    return OSError(number, os.strerror(number), what.removeprefix(READS))


def is_of_a_server(what: str) -> bool:
    """Whether the call that is described so leaves this machine's files alone."""
    return what.removeprefix(READS).startswith(("SQL", "HTTP"))


def _short(file: Any) -> str:
    return "a file" if isinstance(file, int) else "/".join(Path(os.fsdecode(file)).parts[-2:])


def _statement(waited: Any) -> str:
    """What a call to a database is about, for whoever repeats a case."""
    name = waited.__name__.strip("_").removesuffix("_gen")
    held = waited.gi_frame.f_locals if getattr(waited, "gi_frame", None) else {}
    query = held.get("query") or held.get("statement")
    if query is None:
        return f"{READS * (name in ('read', 'enter'))}SQL: {name}"
    text = query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else query.as_string(None)
    text = " ".join(text.split())
    return f"{READS * (_WRITES.match(text) is None)}SQL: {name} {text[:90]}"


def _lost(connection: psycopg.Connection) -> psycopg.OperationalError:
    """The connection is broken, and the server knows it."""
    connection.pgconn.finish()
    return psycopg.OperationalError("server closed the connection unexpectedly")


def _fail(connection: psycopg.Connection, step: str) -> None:
    """Bring the session where a statement that the server refused leaves it."""
    status = connection.pgconn.transaction_status
    if status == pq.TransactionStatus.INTRANS and step not in _ENDS:
        connection.pgconn.exec_(b"select 1/0")
    elif status != pq.TransactionStatus.IDLE:
        connection.pgconn.finish()


def below(folders: Collection[Path]) -> tuple[str, ...]:
    """The names that every file below these folders begins with."""
    return tuple(f"{folder.resolve()}{os.sep}" for folder in folders)
