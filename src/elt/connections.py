"""From settings to things that are open: the lakehouse and the source.

Adapters are loaded where the settings name them: the client of a Supabase project and what reads sources are slow to.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from elt import private
from elt.errors import ConfigurationError
from elt.lakehouse import migrations, snapshots
from elt.lakehouse.embedded import open_embedded
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse, Tables
from elt.lakehouse.postgres import PostgresTables
from elt.lakehouse.quota import FREE_BYTES, FREE_DATABASE_BYTES, DatabaseQuota, Quota
from elt.settings import Settings
from elt.silver import TABLES
from elt.sources.identity import SAMPLE
from elt.sources.port import Source

if TYPE_CHECKING:
    from elt.sources.files import FilesSource
    from elt.supabase import Project

_DIRECT = "PostgreSQL (LAKEHOUSE_DB_URL)"


@contextmanager
def lakehouse_of(settings: Settings, *, sample: bool = False, loading: bool = False) -> Iterator[Lakehouse]:
    """The lakehouse the settings name, checked before anything is written; embedded if they name none.

    ``sample``: that of the sample shop was asked for. ``loading``: a source will be read into it.
    """
    lakehouse = replace(
        _open(settings, data_folder(settings, sample=sample, loading=loading)),
        database_quota=database_quota_of(settings),
    )
    try:
        yield lakehouse
    finally:
        lakehouse.close()


def data_folder(settings: Settings, *, sample: bool = False, loading: bool = False) -> Path:
    """The folder of the embedded lakehouse, and of the bucket beside ``LAKEHOUSE_DB_URL``.

    The sample shop has one of its own beside the shop's, unless one made before that is its own already. Whoever only
    looks, with no source set, sees the shop's if there is one: its source may have been set for its run only.
    """
    if settings.lakehouse_is_set or (settings.source_is_set and not sample):
        return settings.data_dir
    shops, samples = settings.data_dir, settings.data_dir / SAMPLE
    if not os.access(shops, os.R_OK | os.X_OK):  # it is not there, or not ours, which whoever opens it says
        return samples
    if not sample and not loading:
        return shops if any((shops / part).exists() for part in ("postgres", "bucket")) else samples
    last = snapshots.newest(FolderBucket(shops / "bucket"))
    return shops if last is not None and SAMPLE in last.identities else samples


def _open(settings: Settings, folder: Path) -> Lakehouse:
    project = lakehouse_project(settings)
    if project is not None:
        try:
            return _hosted(project, settings)
        except BaseException:
            project.close()
            raise
    if settings.lakehouse_db_url is None:
        return replace(open_embedded(folder), quota=quota_of(settings))
    bucket = settings.data_dir / "bucket"
    private.close(bucket)
    return Lakehouse(
        tables=_direct_tables(settings.lakehouse_db_url.get_secret_value()),
        bucket=FolderBucket(bucket),
        description=f"{_DIRECT}, bucket under {settings.data_dir}",
        quota=quota_of(settings),
    )


def _hosted(project: "Project", settings: Settings) -> Lakehouse:
    """The project's bucket, with its tables or those of ``LAKEHOUSE_DB_URL``."""
    from elt import hosted
    from elt.lakehouse.supabase import SupabaseBucket, SupabaseTables

    hosted.require(project, settings.bucket_name)
    if settings.lakehouse_db_url is not None:
        tables: Tables = _direct_tables(settings.lakehouse_db_url.get_secret_value())
        tables_at = _DIRECT
    else:
        tables = SupabaseTables(project, write_rows=settings.write_rows)
        tables_at = f"Supabase (LAKEHOUSE_URL, {project.host})"
    bucket = SupabaseBucket(project, settings.bucket_name)
    where = f"{tables_at}, bucket {settings.bucket_name} of {project.host}"
    return Lakehouse(tables, bucket, where, quota_of(settings))


def quota_of(settings: Settings) -> Quota | None:
    """What bronze's bucket may hold: as set; else, in a hosted project, what a free one has."""
    if settings.storage_quota is not None:
        return Quota(settings.storage_quota, enforced=True)
    return Quota(FREE_BYTES, enforced=False) if settings.storage_is_hosted else None


def database_quota_of(settings: Settings) -> DatabaseQuota | None:
    """What the lakehouse's database may hold: as set; else, in a hosted project, what a free one has."""
    if settings.database_quota is not None:
        return DatabaseQuota(settings.database_quota, enforced=True)
    return DatabaseQuota(FREE_DATABASE_BYTES, enforced=False) if settings.database_is_hosted else None


def lakehouse_project(settings: Settings) -> "Project | None":
    """The lakehouse's project, if the settings name one; nothing is asked of it yet."""
    if settings.lakehouse_url is None or settings.lakehouse_key is None:
        return None
    from elt.supabase import Project

    key = settings.lakehouse_key.get_secret_value()
    return Project(settings.lakehouse_url, key, in_flight=settings.max_in_flight, allow_http=settings.allow_http)


def _direct_tables(url: str) -> PostgresTables:
    if missing := migrations.pending(url, setting="LAKEHOUSE_DB_URL"):
        raise ConfigurationError(
            f"LAKEHOUSE_DB_URL: the database lacks {len(missing)} migrations ({missing[0].stem} is the first)",
            kept="nothing was read or written",
            next_step="run: medallion init",
        )
    return PostgresTables(url)


def source_of(settings: Settings, *, sample: bool = False) -> Source:
    """The source the settings name; the sample shop if they name none.

    Into a lakehouse that the settings name it does not go unless it was asked for (``sample``).
    """
    if sample and settings.source_is_set:
        raise ConfigurationError(
            "--sample is the made-up sample shop, but a source is set",
            kept="nothing was read or written",
            next_step="leave out --sample, or take the source out of the settings",
        )
    accept_filtered = settings.source_filtered == "accept"
    if settings.supabase_url is not None and settings.supabase_key is not None:
        from elt.sources.supabase import SupabaseSource

        key = settings.supabase_key.get_secret_value()
        return SupabaseSource(
            settings.supabase_url,
            key,
            tables=TABLES,
            accept_filtered=accept_filtered,
            in_flight=settings.max_in_flight,
            allow_http=settings.allow_http,
        )
    if settings.source_files is not None:
        return _files_of(settings.source_files, settings)
    if settings.source_db_url is not None:
        from elt.sources.postgres import PostgresSource

        url, schema = settings.source_db_url.get_secret_value(), settings.source_db_schema
        return PostgresSource(url, schema=schema, accept_filtered=accept_filtered, tables=TABLES)
    if settings.lakehouse_is_set and not sample:
        raise ConfigurationError(
            "no source is set, and the made-up sample shop does not go into a lakehouse of your own by itself",
            kept="nothing was read or written",
            next_step="set SUPABASE_URL and SUPABASE_KEY (or SOURCE_DB_URL, or SOURCE_FILES); or, to try this "
            "lakehouse with made-up data: medallion run --sample",
        )
    from elt.sources.sample import SampleShop

    return SampleShop(TABLES)


def _files_of(folder: Path, settings: Settings) -> "FilesSource":
    """The folder; in a container the one that Compose mounts, known by its path on the host."""
    from elt.sources.files import FilesSource

    if settings.source_files_mount is None:
        return FilesSource(folder)
    path = PureWindowsPath(folder) if PureWindowsPath(folder).drive else PurePosixPath(folder)
    if not path.is_absolute() and settings.compose_folder is not None and path.parts[:1] != ("~",):
        path = PurePosixPath(os.path.normpath(settings.compose_folder / path))
    if not path.is_absolute():
        raise ConfigurationError(
            f"SOURCE_FILES ({folder}) is not a whole path, and from inside the container it cannot be made one",
            kept="nothing was read or written",
            next_step="write the folder's whole path in .env, such as SOURCE_FILES=/home/ana/my-shop",
        )
    return FilesSource(settings.source_files_mount, known_as=str(path))
