"""Who holds the lease: the name that a run has in the database, and what that name tells about its process."""

import hashlib
import os
import socket
import uuid
from pathlib import Path

_THIS_PROCESS = uuid.uuid4().hex
"""Tells this process from an earlier one with the same number."""


def new_owner() -> str:
    """A name for one run of this process: host, number, place, process and run, with colons between them."""
    return f"{socket.gethostname()}:{os.getpid()}:{this_place()}:{_THIS_PROCESS}:{uuid.uuid4().hex}"


def session_name(owner: str) -> str:
    """The ``application_name`` of an owner's sessions, by which ``controle.arrendar`` finds them; below 63 bytes."""
    return f"medallion {owner[-32:]}"


def words_of(owner: str) -> str:
    """An owner for people."""
    host, pid = owner.split(":")[:2] if ":" in owner else (owner, "?")
    return f"process {pid} on {host}"


def this_place() -> str:
    """Where process numbers mean the same as here: this boot of this kernel, and this container of it.

    Source: proc(5). Empty where there is no /proc; then the host's name alone has to tell.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return hashlib.sha256(f"{boot} {Path('/proc/self/ns/pid').readlink()}".encode()).hexdigest()[:12]
    except OSError:
        return ""


def died(owner: str) -> bool:
    """Whether a lease's owner is a process of this very place that is no more.

    A number that is in use again counts as alive: that lease ends by itself a little later.
    """
    host, pid, place, process = [*owner.split(":"), "", "", ""][:4]
    if host != socket.gethostname() or place != this_place() or not pid.isdigit():
        return False
    if int(pid) == os.getpid():
        return process != _THIS_PROCESS
    import psutil  # slow to import, and seldom needed

    try:
        return str(psutil.Process(int(pid)).status()) == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
