"""From settings to things that are open: the lakehouse and the source."""

from collections.abc import Iterator
from contextlib import contextmanager

from elt import hosted
from elt.errors import ConfigurationError
from elt.lakehouse import migrations
from elt.lakehouse.embedded import open_embedded
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Bucket, Lakehouse, Tables
from elt.lakehouse.postgres import PostgresTables
from elt.lakehouse.supabase import SupabaseBucket, SupabaseTables
from elt.settings import Settings
from elt.sources.files import FilesSource
from elt.sources.port import Source
from elt.sources.postgres import PostgresSource
from elt.sources.sample import SampleShop
from elt.sources.supabase import SupabaseSource
from elt.supabase import Project


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
            hosted.require(project, settings.bucket_name)
        except BaseException:
            project.close()
            raise
    if settings.lakehouse_db_url is not None:
        tables: Tables = _direct_tables(settings.lakehouse_db_url.get_secret_value())
        tables_at = "PostgreSQL (LAKEHOUSE_DB_URL)"
    elif project is not None:
        tables = SupabaseTables(project, write_rows=settings.write_rows)
        tables_at = f"Supabase (LAKEHOUSE_URL, {project.host})"
    else:
        return open_embedded(settings.data_dir)
    if project is not None:
        bucket: Bucket = SupabaseBucket(project, settings.bucket_name)
        bucket_at = f"bucket {settings.bucket_name} of {project.host}"
    else:
        bucket, bucket_at = FolderBucket(settings.data_dir / "bucket"), f"bucket under {settings.data_dir}"
    return Lakehouse(tables=tables, bucket=bucket, description=f"{tables_at}, {bucket_at}")


def lakehouse_project(settings: Settings) -> Project | None:
    """The lakehouse's project, if the settings name one; nothing is asked of it yet."""
    if settings.lakehouse_url is None or settings.lakehouse_key is None:
        return None
    return Project(settings.lakehouse_url, settings.lakehouse_key.get_secret_value(), in_flight=settings.max_in_flight)


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
        key = settings.supabase_key.get_secret_value()
        return SupabaseSource(settings.supabase_url, key, in_flight=settings.max_in_flight)
    if settings.source_files is not None:
        return FilesSource(settings.source_files)
    if settings.source_db_url is not None:
        return PostgresSource(settings.source_db_url.get_secret_value(), schema=settings.source_db_schema)
    return SampleShop()
