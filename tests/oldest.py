"""A server of another PostgreSQL than the wheel's: Debian's, the oldest that hosted projects have."""

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.releases.kept import number


@contextmanager
def another_postgresql() -> Iterator[str]:
    """A server of the oldest PostgreSQL that Debian has installed here; the test is skipped if there is none."""
    there = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: number(folder.parent.name))
    if not there:
        pytest.skip("no Debian package of PostgreSQL is installed (postgresql-15)")
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(prefix="medallion-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        user = pwd.getpwnam("postgres" if root else pwd.getpwuid(os.geteuid()).pw_name)
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if root else {}
        quiet: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, **as_user}
        initdb: list[str | Path] = [
            there[0] / "initdb",
            "-D",
            folder / "data",
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "--locale=C.UTF-8",
        ]
        subprocess.run(initdb, check=True, **quiet)
        control: list[str | Path] = [there[0] / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log"]
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
        subprocess.run([*control, "-o", options, "start"], check=True, **quiet)
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, **quiet)
