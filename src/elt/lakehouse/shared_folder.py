"""A data folder is for the programs of one machine, or of one container, at a time.

PostgreSQL knows a second server on its folder by process ids and shared memory. A container has its own of both, so a
server in another container on the same volume takes the first for dead, and the two destroy the data. File locks are
the one thing that containers on a machine share: every program holds the folder's lock together with those it sees.
"""

import os
import sys
from pathlib import Path

from elt.errors import LeaseError

LOCK = ".programs"
_held: dict[Path, int] = {}


def hold(folder: Path) -> None:
    """Hold ``folder`` until this process ends, together with the other programs of this machine or container.

    Raises ``LeaseError`` if a program of another container holds it. Where the file system has no locks, or the system
    no containers, this does nothing.
    """
    if sys.platform != "linux" or folder.resolve() in _held:
        return
    import fcntl

    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file, 0)
            os.pwrite(file, _here(), 0)
        except BlockingIOError:
            pass  # somebody holds it: whoever came first has written where
        fcntl.flock(file, fcntl.LOCK_SH)  # not in one step from the other: somebody else may have come between
    except OSError:
        os.close(file)
        return
    if os.pread(file, 200, 0) != _here():
        os.close(file)
        raise LeaseError(
            f"a program in another container, or outside of this one, uses the lakehouse in {folder}",
            kept="nothing was read or written",
            next_step="run the command where that one runs: docker compose exec medallion medallion ...",
        )
    _held[folder.resolve()] = file


def _here() -> bytes:
    """Which process ids this program sees: the machine, since it started, and the namespace on it."""
    return Path("/proc/sys/kernel/random/boot_id").read_bytes() + bytes(Path("/proc/self/ns/pid").readlink())
