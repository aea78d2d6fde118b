"""The embedded lakehouse: PostgreSQL from a wheel and a folder as bucket, both under one data folder."""

import os
import sys
from pathlib import Path

from elt import private
from elt.errors import ConfigurationError
from elt.lakehouse import migrations
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.postgres import EMBEDDED


def start_postgres(folder: Path) -> str:
    """The URL of the PostgreSQL on ``folder``/postgres, started if it does not run, made if it is not there.

    It stops when the last program that uses it has ended. It listens on a Unix socket only.
    """
    if sys.platform == "win32":
        raise ConfigurationError(
            f"{EMBEDDED} runs on Linux and macOS",
            kept="nothing was read or written",
            next_step="use WSL, or set LAKEHOUSE_DB_URL or LAKEHOUSE_URL",
        )
    from elt.lakehouse import launcher

    return launcher.start(folder)


def open_embedded(folder: Path) -> Lakehouse:
    """The embedded lakehouse under ``folder``, with every migration applied."""
    server = folder / "postgres"
    was_here = os.path.isdir(server) and not os.path.islink(server)  # noqa: PTH112, PTH114 - not for us: False
    url = start_postgres(folder)
    migrations.apply(url, setting=EMBEDDED)
    private.close(folder / "bucket")
    where = f"PostgreSQL and bucket under {folder}"
    if server.is_symlink():
        moved = f" (moved there from {server}, which its user cannot reach)" if was_here else ""
        where = f"PostgreSQL in {server.resolve()}{moved}, bucket under {folder}"
    return Lakehouse(PostgresTables(url, setting=EMBEDDED), FolderBucket(folder / "bucket"), f"embedded: {where}")
