"""From settings to things that are open: the lakehouse and the source."""

from collections.abc import Iterator
from contextlib import contextmanager

from elt.errors import ConfigurationError
from elt.lakehouse import migrations
from elt.lakehouse.embedded import open_embedded
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.settings import Settings
from elt.sources.files import FilesSource
from elt.sources.port import Source
from elt.sources.postgres import PostgresSource
from elt.sources.sample import SampleShop


@contextmanager
def lakehouse_of(settings: Settings) -> Iterator[Lakehouse]:
    """The lakehouse the settings name, checked before anything is written; embedded if they name none."""
    lakehouse = _open(settings)
    try:
        yield lakehouse
    finally:
        lakehouse.close()


def _open(settings: Settings) -> Lakehouse:
    if settings.lakehouse_db_url is None:
        return open_embedded(settings.data_dir)
    url = settings.lakehouse_db_url.get_secret_value()
    if missing := migrations.pending(url, setting="LAKEHOUSE_DB_URL"):
        raise ConfigurationError(
            f"LAKEHOUSE_DB_URL: the database lacks {len(missing)} migrations ({missing[0].stem} is the first)",
            kept="nothing was read or written",
            next_step="run: medallion init",
        )
    return Lakehouse(
        tables=PostgresTables(url),
        bucket=FolderBucket(settings.data_dir / "bucket"),
        description=f"PostgreSQL (LAKEHOUSE_DB_URL), bucket under {settings.data_dir}",
    )


def source_of(settings: Settings) -> Source:
    """The source the settings name; the sample shop if they name none."""
    if settings.source_files is not None:
        return FilesSource(settings.source_files)
    if settings.source_db_url is not None:
        return PostgresSource(settings.source_db_url.get_secret_value(), schema=settings.source_db_schema)
    return SampleShop()
