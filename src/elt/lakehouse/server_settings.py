"""Settings of the embedded PostgreSQL: for loads, on a machine that may be small. What is committed is on the disk."""

import os
from contextlib import suppress
from pathlib import Path

FIXED = {
    # Nobody but its own user and root reaches it, by a socket in a folder of its own.
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "log_destination": "stderr",
    "logging_collector": "off",
    # A locale that an old folder's configuration names need not exist on this machine.
    **dict.fromkeys(("lc_messages", "lc_monetary", "lc_numeric", "lc_time"), "C"),
    # A load writes more than the defaults expect, and its queries are short.
    "checkpoint_timeout": "15min",
    "max_wal_size": "2GB",
    "jit": "off",
}
MIB = 2**20


def for_memory(total: int) -> dict[str, str]:
    """Settings for a machine, or a container, with so many bytes of memory; at most a quarter of it is shared."""
    return {
        "shared_buffers": f"{_between(16, total // 8 // MIB, 256)}MB",
        "maintenance_work_mem": f"{_between(16, total // 16 // MIB, 256)}MB",
    }


def memory() -> int:
    """The bytes of memory that this program may have: the machine's, or less if a control group says so."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    groups = Path("/sys/fs/cgroup")
    files = [groups / "memory/memory.limit_in_bytes"]
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):  # version 2: a limit of any group around this one holds
                place = groups / line[4:]
                files += [folder / "memory.max" for folder in (place, *place.parents)]
    for file in files:
        with suppress(OSError, ValueError):  # not there, or "max"
            found.append(int(file.read_text()))
    return min(found)


def _between(least: int, wanted: int, most: int) -> int:
    return max(least, min(wanted, most))
