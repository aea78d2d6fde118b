"""Owns one embedded PostgreSQL: starts it, and stops it when the last program that uses it has gone, however it went.

The launcher runs this file as a script, in a session of its own and without ``site`` (``python -I -S``), so that it
takes 10 MB and no kill of a program's process group reaches it. It inherits the server's lock, and so do all processes
of the server: the lock is free only when none of them is left. The server is its child, and stays one until it is
waited for, so its process id cannot be a stranger's.
"""

import ctypes
import fcntl
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

LOOK_SECONDS = 0.05
STOP_SECONDS = 60.0
"""How long a fast shutdown may take; then it is an immediate one, and the next start recovers."""

LOG_BYTES = 1_000_000
"""The server's log is cut when it is longer; its end stays."""

FOR_PYTHON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Variables that some Pythons need to start, and PostgreSQL, which has its libraries beside it, must not see."""

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(users: str, log: str, uid: int, gid: int, folder: str, command: Sequence[str]) -> None:
    """Start ``command`` as that user (0: as this one), and stop it when nobody holds the file ``users``.

    ``log``: where its output goes. ``folder``: of its socket, removed afterwards; empty if it stays.
    """
    if os.fork():
        os._exit(0)  # nobody waits for this process, so it is nobody's zombie either
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the programs, whose end is what this one waits for
    output = os.open(log, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
    os.dup2(output, 1)
    os.dup2(output, 2)
    server = _started(uid, gid, command)
    held = os.open(users, os.O_RDWR)
    while os.waitpid(server, os.WNOHANG)[0] == 0:
        if _nobody_holds(held):  # from here on this process holds it: who comes now waits until the server has stopped
            _stop(server)
            break
        shorten(output)
        time.sleep(LOOK_SECONDS)
    if folder:
        with suppress(OSError):  # a server that was killed leaves its socket; the next start removes both
            os.rmdir(folder)  # noqa: PTH106 - pathlib takes memory


def _started(uid: int, gid: int, command: Sequence[str]) -> int:
    """The server's process id."""
    keeper = os.getpid()
    server = os.fork()
    if server:
        return server
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o077)
        for variable in FOR_PYTHON:
            os.environ.pop(variable, None)
        if uid:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        if sys.platform == "linux":  # without its keeper nobody would stop the server
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
            if os.getppid() != keeper:
                os._exit(1)
        os.execv(command[0], list(command))  # noqa: S606 - PostgreSQL, by the launcher's word
    except BaseException as error:  # the child must not go on as a second keeper
        os.write(2, f"FATAL:  {command[0]}: {error}\n".encode(errors="replace"))
        os._exit(1)


def _nobody_holds(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stop(server: int) -> None:
    """A fast shutdown, which ends sessions and writes everything down; an immediate one if that takes too long."""
    began = asked = time.monotonic()
    os.kill(server, signal.SIGINT)
    while os.waitpid(server, os.WNOHANG)[0] == 0:
        now = time.monotonic()
        if now > began + STOP_SECONDS:
            os.kill(server, signal.SIGQUIT)
            os.waitpid(server, 0)
            return
        if now > asked + 1:  # one that was only just starting may not have heard
            os.kill(server, signal.SIGINT)
            asked = now
        time.sleep(LOOK_SECONDS / 5)


def shorten(log: int, most: int = LOG_BYTES) -> None:
    """Cut the file, open for reading and appending, to its last quarter of ``most`` bytes if it is longer."""
    size = os.fstat(log).st_size
    if size > most:
        end = os.pread(log, most // 4, size - most // 4)
        os.ftruncate(log, 0)
        os.write(log, end[end.find(b"\n") + 1 :])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], sys.argv[6:])
