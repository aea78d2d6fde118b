"""Whether a run would find what it needs: both ends reachable, every table there, and space. Nothing stays written."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from elt.bronze.extract import check_columns
from elt.bronze.main import shop_of
from elt.catalog import ANALISE_CLIENTES_PEDIDOS, ANALISE_PRODUTOS, TABLES
from elt.connections import lakehouse_of, source_of
from elt.errors import Full, MedallionError
from elt.lakehouse import snapshots
from elt.lakehouse.ports import Lakehouse
from elt.ledger import Ledger
from elt.settings import Settings

PROBE_BYTES = 2**20
FREE_BYTES = 200 * 2**20
"""Free space that a run needs for itself, besides the data."""

COPIES = 3
"""A table is on a local disk up to so many times as large as its last snapshot: extracted, in the bucket, in silver."""


def check_both(settings: Settings, *, sample: bool = False) -> list[str]:
    """Everything a run needs of source and lakehouse; one error that names all that is wrong. Answers the warnings."""
    warnings: list[str] = []
    _all(
        lambda: warnings.extend(check_source(settings, sample=sample)),
        lambda: check_lakehouse(settings, sample=sample),
    )
    return warnings


def touch(settings: Settings, ends: Sequence[str]) -> None:
    """One small query to each end (``source``, ``lakehouse``), so that a hosted project does not count as idle."""
    queries = {"source": _touch_source, "lakehouse": _touch_lakehouse}
    _all(*(lambda query=queries[end]: query(settings) for end in ends))


def check_source(settings: Settings, *, sample: bool = False) -> list[str]:
    """Every table can be read whole and has its columns; answers what a run would warn of."""
    with source_of(settings, sample=sample).open() as extract:
        for table in TABLES:
            check_columns(extract, table)
            extract.count(table.name)
        return extract.warnings([table.name for table in TABLES])


def check_lakehouse(settings: Settings, *, sample: bool = False) -> None:
    """Schema and migrations are there, it is the source's, the bucket can be written and read, and disks have room."""
    with lakehouse_of(settings, sample=sample, loading=True) as lakehouse:
        analyses = (ANALISE_CLIENTES_PEDIDOS.gold, ANALISE_PRODUTOS.gold)
        for name in (*(table.silver for table in TABLES), *analyses, "controle.execucoes"):
            lakehouse.tables.count(name)
        path, content = f"check/{uuid.uuid4().hex}", bytes(PROBE_BYTES)
        lakehouse.bucket.put(path, content)
        try:
            if lakehouse.bucket.get(path) != content:
                raise MedallionError(f"the bucket gave back something else than was stored as {path}")
        finally:
            lakehouse.bucket.delete([path])
        shop_of(
            source_of(settings, sample=sample), snapshots.newest(lakehouse.bucket), Ledger(lakehouse.tables).situation()
        )
        needed = FREE_BYTES + COPIES * _size_of_last_snapshot(lakehouse)
    for folder, setting in ((settings.data_dir, "DATA_DIR"), (Path(tempfile.gettempdir()), "TMPDIR")):
        check_space(folder, setting, needed)


def check_space(folder: Path, setting: str, needed: int) -> None:
    """``Full`` if the disk of the folder has fewer bytes free than needed; a folder that is not there needs none."""
    if folder.is_dir() and (free := shutil.disk_usage(folder).free) < needed:
        raise Full(
            f"{setting}: the disk of {folder} has {free / 2**20:,.0f} MiB free, a run may need {needed / 2**20:,.0f}",
            kept="everything: nothing was started",
            next_step="free some space on that disk before the next run",
        )


def _size_of_last_snapshot(lakehouse: Lakehouse) -> int:
    known = snapshots.committed(lakehouse.bucket)
    if not known:
        return 0
    tables = snapshots.read_manifest(lakehouse.bucket, known[-1]).tables.values()
    return sum(part.bytes for table in tables for part in table.parts)


def _touch_source(settings: Settings) -> None:
    with source_of(settings).open() as extract:
        extract.count(TABLES[0].name)


def _touch_lakehouse(settings: Settings) -> None:
    with lakehouse_of(settings) as lakehouse:
        lakehouse.tables.count("controle.execucoes")


def _all(*checks: Callable[[], None]) -> None:
    """Run them all; the errors of several as one."""
    errors = []
    for check in checks:
        try:
            check()
        except MedallionError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise MedallionError(
            "; ".join(error.what for error in errors),
            kept="everything: nothing was started",
            next_step="; ".join(error.next_step for error in errors if error.next_step),
        )
