"""From settings to things that are open: the lakehouse and the source.

The client of a Supabase project is slow to import, so its adapters are imported only where the settings name a project.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from elt.errors import ConfigurationError
from elt.lakehouse import migrations
from elt.lakehouse.embedded import open_embedded
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse, Tables
from elt.lakehouse.postgres import PostgresTables
from elt.settings import Settings
from elt.sources.files import FilesSource
from elt.sources.port import Source
from elt.sources.postgres import PostgresSource
from elt.sources.sample import SampleShop

if TYPE_CHECKING:
    from elt.supabase import Project

_DIRECT = "PostgreSQL (LAKEHOUSE_DB_URL)"


@contextmanager
def lakehouse_of(settings: Settings) -> Iterator[Lakehouse]:
    """The lakehouse the settings name, checked before anything is written; embedded if they name none."""
    lakehouse = _open(settings)
    try:
        yield lakehouse
    finally:
        lakehouse.close()


def _open(settings: Settings) -> Lakehouse:
    project = lakehouse_project(settings)
    if project is not None:
        try:
            return _hosted(project, settings)
        except BaseException:
            project.close()
            raise
    if settings.lakehouse_db_url is None:
        return open_embedded(settings.data_dir)
    return Lakehouse(
        tables=_direct_tables(settings.lakehouse_db_url.get_secret_value()),
        bucket=FolderBucket(settings.data_dir / "bucket"),
        description=f"{_DIRECT}, bucket under {settings.data_dir}",
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
    return Lakehouse(tables, bucket, f"{tables_at}, bucket {settings.bucket_name} of {project.host}")


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


def source_of(settings: Settings) -> Source:
    """The source the settings name; the sample shop if they name none."""
    if settings.supabase_url is not None and settings.supabase_key is not None:
        from elt.sources.supabase import SupabaseSource

        key = settings.supabase_key.get_secret_value()
        return SupabaseSource(
            settings.supabase_url, key, in_flight=settings.max_in_flight, allow_http=settings.allow_http
        )
    if settings.source_files is not None:
        return FilesSource(settings.source_files)
    if settings.source_db_url is not None:
        return PostgresSource(settings.source_db_url.get_secret_value(), schema=settings.source_db_schema)
    return SampleShop()
