"""Starts the embedded PostgreSQL on a data folder, or joins the programs that use it already.

Two locks (flock) in the data folder say who is there; a process id in a file never does.

- ``.programs`` is held by every program that uses the server, together, until it ends, however it ends. When nobody
  holds it any more, the server's keeper (``keeper.py``) stops the server.
- ``.server`` is held by the keeper and by every process of the server. Who can take it knows that none of them is left,
  and may start one. The file says in which folder the server's socket is.
"""

import atexit
import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg

from elt import private
from elt.errors import ConfigurationError, Full, LeaseError, Unreachable
from elt.lakehouse import keeper, server_settings
from elt.lakehouse.server_folder import NAME, did_not_start, environment, make_ready, programs, words
from elt.lakehouse.server_user import Account, name_of, server_account
from elt.postgres import CONNECT_SECONDS, EMBEDDED, forget_environment, own_parameters

if TYPE_CHECKING:
    import psutil

START_SECONDS = 300.0
"""How long a server may take to answer: killed in a large load, it reads its log again first."""

_PROGRAMS = ".programs"
_SERVER = ".server"
_PAUSE_SECONDS = 0.02
_SOCKET = ".s.PGSQL.5432"
_SOCKET_BYTES = 100
"""A socket's path; Linux takes 107 bytes, macOS 103."""

_PASSING = (
    *("No such file", "refused", "reset by peer", "Broken pipe", "closed the connection", "timeout"),
    *("starting up", "shutting down", "recovery", "not yet accepting", "administrator command"),
)
"""What libpq and the server say while a server starts or stops."""

_UNKEPT = "set DATA_DIR to a folder on a disk of this machine (under WSL: one of Linux, not one below /mnt)"

_held: dict[Path, int] = {}
"""The data folders that this process uses, with the open file whose lock it holds."""


def start(data: Path) -> str:
    """The URL of the server of a data folder.

    Raises ``ConfigurationError`` if it cannot start as things are set, ``LeaseError`` if programs use the folder that
    cannot be joined, ``Unreachable`` with PostgreSQL's words if it does not start.
    """
    data = Path(os.path.abspath(data))  # noqa: PTH100 - links in it stay: the name is the person's
    account = server_account(data / NAME)
    try:
        private.make_folder(data, account.ids)
        _hold(data, account)
    except PermissionError as error:
        place = next(path for path in (data, *data.parents) if os.path.exists(path))  # noqa: PTH110 - Path raises again
        raise ConfigurationError(
            f"no permission for the data folder {data}: {place} belongs to {name_of(place.stat().st_uid)}, and you are "
            f"{account.name}",
            kept="nothing was read or written",
            next_step="set DATA_DIR to a folder of yours, or run the command as its owner",
        ) from error
    except OSError as error:
        raise Full(
            f"cannot create the data folder {data}: {error.strerror}",
            next_step="set DATA_DIR to a folder where you may write",
        ) from error
    try:
        return _running(data, account)
    except (OSError, subprocess.SubprocessError) as error:
        raise did_not_start(data / NAME, str(error)) from error


def _running(data: Path, account: Account) -> str:
    """Start the server if there is none, and wait until it answers."""
    patience = time.monotonic() + START_SECONDS
    started_at: int | None = None
    while time.monotonic() < patience:
        with _locked(data / _SERVER, account) as lock:
            if lock is not None and started_at is not None:
                raise did_not_start(data / NAME, _log_since(data, started_at))
            if lock is not None:
                started_at = _start(data, account, lock)
        if (url := _url(data)) and _answers(url):
            return url
        time.sleep(_PAUSE_SECONDS)
    said = _log_since(data, started_at or 0)
    raise did_not_start(data / NAME, f"it does not answer after {START_SECONDS:.0f} s. {said}")


def _url(data: Path) -> str | None:
    if not (folder := (data / _SERVER).read_bytes()):
        return None
    parameters = [f"host={quote(folder, safe='')}", own_parameters()]
    return f"postgresql://postgres:@/postgres?{'&'.join(filter(None, parameters))}"


def _answers(url: str) -> bool:
    """Whether the server takes connections; False while it starts or stops."""
    forget_environment()
    try:
        psycopg.connect(url, connect_timeout=CONNECT_SECONDS).close()
    except psycopg.OperationalError as error:
        said = " ".join(str(error).split())
        if any(words in said for words in _PASSING):
            return False
        raise Unreachable(f"cannot connect to {EMBEDDED}: {said}", next_step="run the same command again") from error
    return True


def _log_since(data: Path, length: int) -> str:
    """PostgreSQL's words since its log had that length."""
    try:
        with (data / NAME / "log").open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(length if length <= size else 0)
            return words(log.read(100_000).decode(errors="replace")) or "it said nothing"
    except OSError as error:
        return f"its log cannot be read ({error.strerror})"


# --- Who is there -----------------------------------------------------------------------------------------------------


def _hold(data: Path, account: Account) -> None:
    """Hold the data folder until this process ends, together with the other programs of this machine or container.

    A container has process ids and shared memory of its own, so PostgreSQL cannot know of a server in another one on
    the same volume; file locks are what containers on a machine share.
    """
    path = data / _PROGRAMS
    if data in _held:
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(_held[data]), path.stat()):
                return
        os.close(_held.pop(data))  # somebody has removed the data folder
    file = _open(path, account)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(file, 0)
        os.pwrite(file, _here(), 0)
    except BlockingIOError:
        pass  # somebody holds it: whoever came first has written where
    except OSError as error:
        os.close(file)
        if error.errno == errno.ENOSPC:
            raise
        raise ConfigurationError(
            f"the file system of {data} has no file locks ({error.strerror}), and {EMBEDDED} needs them",
            kept="nothing was read or written",
            next_step=_UNKEPT,
        ) from error
    fcntl.flock(file, fcntl.LOCK_SH)  # waits for a keeper that stops its server
    if os.pread(file, 200, 0) != _here():
        os.close(file)
        raise LeaseError(
            f"a program in another container, or outside of this one, uses the lakehouse in {data}",
            kept="nothing was read or written",
            next_step="run the command where that one runs: docker compose exec medallion medallion ...",
        )
    _held[data] = file


def _here() -> bytes:
    """Which process ids this program sees: the machine, since it started, and the namespace on it."""
    if sys.platform != "linux":
        return b"here"
    return Path("/proc/sys/kernel/random/boot_id").read_bytes() + bytes(Path("/proc/self/ns/pid").readlink())


@atexit.register
def leave(*folders: Path) -> None:
    """Let go of data folders (of all), and wait for servers that nobody else uses.

    In a container the end of its first process is the end of all of them.
    """
    left = [data for data in folders or tuple(_held) if data in _held]
    for data in left:
        os.close(_held.pop(data))
    patience = time.monotonic() + keeper.STOP_SECONDS
    for data in left:
        with suppress(OSError):  # somebody has removed it
            while time.monotonic() < patience and not _could_lock(data / _SERVER, fcntl.LOCK_SH):
                others = not _could_lock(data / _PROGRAMS, fcntl.LOCK_EX)
                if others and _could_lock(data / _PROGRAMS, fcntl.LOCK_SH):
                    break  # programs, together; a keeper that stops its server holds it alone
                time.sleep(_PAUSE_SECONDS)


def _could_lock(file: Path, how: int) -> bool:
    descriptor = os.open(file, os.O_RDWR)
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextmanager
def _locked(file: Path, account: Account) -> Iterator[int | None]:
    """The open file, held alone; None if somebody holds it. A process that inherits it goes on holding it."""
    descriptor = _open(file, account)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def _open(file: Path, account: Account) -> int:
    """The file, open for reading and writing, made if it is missing; for its owner alone."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        os.fchown(descriptor, *account.ids)
    with suppress(PermissionError):
        os.fchmod(descriptor, 0o600)
    if os.fstat(descriptor).st_mode & 0o077:
        os.close(descriptor)
        raise ConfigurationError(
            f"the file system of {file.parent} keeps no permissions, and {EMBEDDED} needs them",
            kept="nothing was read or written",
            next_step=_UNKEPT,
        )
    return descriptor


# --- Starting, by whoever holds .server -------------------------------------------------------------------------------


def _start(data: Path, account: Account, lock: int) -> int:
    """Hand a new server to a keeper; answers how long its log was before."""
    _remove_socket_folder(data, account)
    cluster = make_ready(data, account, lock)
    with _alone(cluster, data) as cluster_lock:
        _forget_dead_server(cluster, data)
        log = _open(cluster / "log", account)
        keeper.shorten(log)
        length = os.fstat(log).st_size
        os.close(log)
        sockets = _socket_folder(cluster, account)
        os.ftruncate(lock, 0)
        os.pwrite(lock, os.fsencode(sockets), 0)
        own = sockets == cluster
        settings = {**server_settings.FIXED, **server_settings.for_memory(server_settings.memory())}
        settings["unix_socket_directories"] = "." if own else str(sockets)  # the dot: no path is too long for it
        subprocess.run(  # noqa: S603 - our own program
            [
                *(sys.executable, "-I", "-S", keeper.__file__, data / _PROGRAMS, cluster / "log"),
                *(str(account.uid if os.geteuid() == 0 else 0), str(account.gid), "" if own else sockets),
                *(programs(account) / "postgres", "-D", cluster),
                *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment() | {name: os.environ[name] for name in keeper.FOR_PYTHON if name in os.environ},
            pass_fds=(lock, cluster_lock),
            start_new_session=True,
        )
    return length


@contextmanager
def _alone(cluster: Path, data: Path) -> Iterator[int]:
    """The server's folder, held alone: two data folders may have links to the same one."""
    descriptor = os.open(cluster, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        raise LeaseError(
            f"another data folder uses the server in {cluster}; {data} seems to be a copy of it",
            kept="nothing was read or written",
            next_step=f"use the other one; or remove the link {data / NAME}, and build silver and gold from bronze",
        ) from None
    finally:
        os.close(descriptor)


def _forget_dead_server(cluster: Path, data: Path) -> None:
    """Remove what says that a server runs: ``.server`` is ours, so none that we started does.

    PostgreSQL would refuse to start while a stranger has the process id that a killed server left behind. A server that
    an earlier release left running is known by the folder it works in, and is stopped.
    """
    pid = 0
    with suppress(FileNotFoundError, ValueError):
        pid = int((cluster / "postmaster.pid").read_bytes().partition(b"\n")[0])
    if pid > 0:
        import psutil  # slow to import, and seldom needed

        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.name() == "postgres" and Path(process.cwd()) == cluster:
                _stop_left_behind(process, data)
    for name in ("postmaster.pid", _SOCKET, f"{_SOCKET}.lock"):
        (cluster / name).unlink(missing_ok=True)


def _stop_left_behind(server: "psutil.Process", data: Path) -> None:
    try:
        fcntl.flock(_held[data], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LeaseError(
            f"a program of an earlier release uses the server in {data}",
            kept="nothing was read or written",
            next_step="let it end, then run the same command again",
        ) from None
    finally:
        fcntl.flock(_held[data], fcntl.LOCK_SH)
    server.send_signal(signal.SIGINT)
    server.wait(keeper.STOP_SECONDS)


# --- Its socket -------------------------------------------------------------------------------------------------------


def _socket_folder(cluster: Path, account: Account) -> Path:
    """The server's own folder if a socket can be there; else a new one for its user alone, in the temporary folder."""
    if _takes_sockets(cluster):
        return cluster
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - the folder in it is new and private
        if re.fullmatch(r"[\w/.-]{1,60}", str(parent), re.ASCII) and account.reaches(parent / "medallion-"):
            folder = Path(tempfile.mkdtemp(prefix="medallion-", dir=parent))
            private.give(folder, account.ids)
            return folder
    raise ConfigurationError(
        f"there can be no socket in {cluster}, nor in the temporary folder",
        kept="nothing was read or written",
        next_step="set DATA_DIR to a folder with a shorter path",
    )


def _takes_sockets(cluster: Path) -> bool:
    """Whether programs reach a socket there: by a short path that is one host to libpq, on a fitting file system."""
    path = cluster / _SOCKET
    try:
        if len(str(path).encode()) > _SOCKET_BYTES or "," in str(path):
            return False
        with socket.socket(socket.AF_UNIX) as tried:
            tried.bind(str(path))
        path.unlink()
    except (OSError, UnicodeEncodeError):
        return False
    return True


def _remove_socket_folder(data: Path, account: Account) -> None:
    """Remove the folder that a killed server's socket had in the temporary folder."""
    folder = Path(os.fsdecode((data / _SERVER).read_bytes()))
    with suppress(OSError):
        if folder.name.startswith("medallion-") and folder.lstat().st_uid == account.uid:
            for name in (_SOCKET, f"{_SOCKET}.lock"):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()
