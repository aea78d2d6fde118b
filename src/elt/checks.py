"""Whether a run would find what it needs: both ends reachable, every table there, and space. Nothing stays written."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from elt import access
from elt.bronze.extract import check_columns
from elt.bronze.main import shop_of
from elt.catalog import ANALYSES, EXTRACT_BYTES, EXTRACT_ROWS
from elt.connections import database_quota_of, lakehouse_of, lakehouse_project, source_of
from elt.errors import Full, MedallionError
from elt.lakehouse import snapshots, space
from elt.lakehouse.ports import Lakehouse
from elt.ledger import Ledger
from elt.postgres_versions import Server, server_of
from elt.settings import Settings
from elt.silver import TABLES

PROBE_BYTES = 2**20
FREE_BYTES = 200 * 2**20
"""Free space that a run needs for itself, besides the data."""

COPIES = 3
"""A table is on a local disk up to so many times as large as its last snapshot: extracted, in the bucket, in silver."""


@dataclass(frozen=True)
class Readable:
    """A source that can be read: the rows of its tables, None where only reading them tells, and warnings."""

    rows: dict[str, int | None]
    warnings: list[str]


@dataclass(frozen=True)
class Ready:
    """What a check found where a run would go well: the snapshots in bronze, the bytes of their parts, and warnings.

    ``server``: the lakehouse's PostgreSQL. ``applied``: the rows of each table that silver was made of.
    ``database_more``: what the rows that are new would take beside ``database_bytes``; None if that is not known.
    """

    server: Server
    snapshots: int
    bronze_bytes: int
    database_bytes: int
    applied: dict[str, int]
    warnings: list[str]
    database_more: int | None = None


def check_both(settings: Settings, *, sample: bool = False) -> Ready:
    """Everything a run needs of source and lakehouse; one error that names all that is wrong."""
    of_source, of_lakehouse = list[Readable](), list[Ready]()
    _all(
        lambda: of_source.append(check_source(settings, sample=sample)),
        lambda: of_lakehouse.append(check_lakehouse(settings, sample=sample)),
    )
    [source], [ready] = of_source, of_lakehouse
    more = _database_more(source, ready)
    warnings = [*source.warnings, *ready.warnings]
    if more is not None and (quota := database_quota_of(settings)):
        quota.require(ready.database_bytes, more)
        warnings += [warning] if (warning := quota.warning(ready.database_bytes, more)) else []
    return replace(ready, warnings=warnings, database_more=more)


def _database_more(source: Readable, ready: Ready) -> int | None:
    rows = {name: rows for name, rows in source.rows.items() if rows is not None}
    return space.needed(TABLES, rows, ready.applied) if len(rows) == len(source.rows) else None


def touch(settings: Settings, ends: Sequence[str]) -> None:
    """One small query to each end (``source``, ``lakehouse``), so that a hosted project does not count as idle."""
    queries = {"source": _touch_source, "lakehouse": _touch_lakehouse}
    _all(*(lambda query=queries[end]: query(settings) for end in ends))


def check_source(settings: Settings, *, sample: bool = False) -> Readable:
    """Every table can be read whole and has its columns; answers how many rows, and what a run would warn of.

    A table that does not know how many rows it has is read to count them, where the database has a quota.
    """
    rows = dict[str, int | None]()
    with source_of(settings, sample=sample).open() as extract:
        there = [table.name for table in TABLES if check_columns(extract, table)]
        for name in there:
            rows[name] = extract.count(name)
            if rows[name] is None and database_quota_of(settings):
                rows[name] = sum(map(len, extract.pages(name, EXTRACT_ROWS, EXTRACT_BYTES)))
        return Readable(rows, extract.warnings(there))


def check_lakehouse(settings: Settings, *, sample: bool = False) -> Ready:
    """Everything that a run needs of the lakehouse is there, with room, it is the source's, and nobody else gets in.

    A warning says what is open because the owner opened it on purpose.
    """
    with lakehouse_of(settings, sample=sample, loading=True) as lakehouse:
        for table in TABLES:
            _look_at(lakehouse, table.silver, (*table.silver_names, "data_ingestao"), "id")
        for analysis in ANALYSES:
            _look_at(lakehouse, analysis.gold, tuple(analysis.types), analysis.key)
        lakehouse.tables.count("controle.execucoes")
        snapshot = snapshots.new_snapshot_id(None, datetime.now(UTC))  # what a killed check leaves is swept
        path, content = f"{snapshot}/check/part-{uuid.uuid4().hex}.parquet", bytes(PROBE_BYTES)
        lakehouse.bucket.put(path, content)
        try:
            if lakehouse.bucket.get(path) != content:
                raise MedallionError(f"the bucket gave back something else than was stored as {path}")
        finally:
            lakehouse.bucket.delete([path])
        bronze, last = snapshots.contents(lakehouse.bucket), snapshots.newest(lakehouse.bucket)
        situation = Ledger(lakehouse.tables).situation()
        shop_of(source_of(settings, sample=sample), last, situation)
        applied = space.rows_applied(lakehouse, TABLES, situation.applied, last)
        database_bytes = space.held_by(lakehouse)
        needed = FREE_BYTES + COPIES * sum(part.bytes for part in (snapshots.parts_of(last) if last else ()))
        if lakehouse.quota is not None:
            lakehouse.quota.require(bronze.bytes, 1)  # a bucket that is full takes no snapshot at all
        server = server_of(lakehouse.tables)
        warnings = [server.warning, *([lakehouse.quota.warning(bronze.bytes)] if lakehouse.quota else [])]
        warnings += [f"the manifest of {snapshot} in bronze cannot be read" for snapshot in bronze.unreadable]
        found = _openings(settings, lakehouse)
    for folder, setting in ((settings.data_dir, "DATA_DIR"), (Path(tempfile.gettempdir()), "TMPDIR")):
        check_space(folder, setting, needed)
    if unwanted := [one for one in found if not one.on_purpose]:
        raise MedallionError(
            "the lakehouse is open: " + "; ".join(one.what for one in unwanted),
            kept="everything: nothing was started, and a run would go well",
            next_step="; ".join(dict.fromkeys(one.next_step for one in unwanted)),
        )
    warnings += [f"{one.what}; {one.next_step}" for one in found]
    warnings = [warning for warning in warnings if warning]
    return Ready(server, len(bronze.ever_committed), bronze.bytes, database_bytes, applied, warnings)


def _look_at(lakehouse: Lakehouse, name: str, columns: Sequence[str], key: str) -> None:
    """An error unless the table is there with these columns: what a run would find out after its first write."""
    next(iter(lakehouse.tables.rows(name, columns, key=key, size=1)), None)


def _openings(settings: Settings, lakehouse: Lakehouse) -> list[access.Opening]:
    """Who else gets in; where tables are direct, also by the project's own database, whose Storage has the bucket."""
    found = access.look(lakehouse.tables, settings.bucket_in_storage)
    if settings.lakehouse_db_url is not None and (project := lakehouse_project(settings)):
        from elt.lakehouse.supabase import SupabaseTables

        with project:
            found += access.look(SupabaseTables(project), settings.bucket_in_storage)
    return list(dict.fromkeys(found))


def check_space(folder: Path, setting: str, needed: int) -> None:
    """``Full`` if the disk of the folder has fewer bytes free than needed; a folder that is not there needs none."""
    if folder.is_dir() and (free := shutil.disk_usage(folder).free) < needed:
        raise Full(
            f"{setting}: the disk of {folder} has {free / 2**20:,.0f} MiB free, a run may need {needed / 2**20:,.0f}",
            kept="everything: nothing was started",
            next_step="free some space on that disk before the next run",
        )


def _touch_source(settings: Settings) -> None:
    with source_of(settings).open() as extract:
        extract.count(min(TABLES, key=lambda table: table.optional).name)  # one that is there


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
            "; ".join(dict.fromkeys(error.what for error in errors)),
            kept="everything: nothing was started",
            next_step="; ".join(dict.fromkeys(error.next_step for error in errors if error.next_step)),
        )
