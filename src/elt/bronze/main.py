"""Bronze: copy the source's tables, raw, into a new snapshot in the bucket; 135 if they are as they were, else 246.

By hand: ``python src/elt/bronze/main.py``, ``python -m elt.bronze`` or ``medallion bronze``.
"""

if __name__ == "__main__":  # a script: Python then looks for modules in this folder, and not where elt is
    import runpy
    import sys
    from pathlib import Path

    folder = Path(__file__).resolve().parent
    sys.path = [str(folder.parents[1]), *(path for path in sys.path if Path(path).resolve() != folder)]
    runpy.run_module("elt.bronze", run_name="__main__")
    sys.exit()

import errno
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from elt.bronze.extract import Extracted, check_columns, extract_table
from elt.bronze.fingerprint import Fingerprint, same_in_any_order
from elt.catalog import BROKEN_LINE, EXTRACT_BYTES, EXTRACT_ROWS, Table, rules_version
from elt.concurrency import do_each, each
from elt.errors import ConfigurationError, Full, MedallionError, SnapshotError
from elt.keys import StatusKey
from elt.lakehouse import snapshots, space
from elt.lakehouse.ports import Bucket, Lakehouse
from elt.lakehouse.snapshots import NOTHING_KNOWN, Known, Manifest, Part, TableSnapshot
from elt.ledger import Counts, LayerResult, Ledger, Situation
from elt.progress import Reporter, about
from elt.sources.identity import Shop, judge
from elt.sources.port import NUMBERS, Extract, Source


@dataclass(frozen=True)
class BronzeResult(LayerResult):
    """What bronze did, and what it knows of the snapshots."""

    known: Known = NOTHING_KNOWN


def run(
    source: Source,
    lakehouse: Lakehouse,
    ledger: Ledger,
    reporter: Reporter,
    tables: tuple[Table, ...],
    *,
    new_source: bool = False,
) -> BronzeResult:
    """Extract every table to the local disk, and store a snapshot if any of them changed.

    Nothing goes into the bucket before every table is read and counted. The key is 246 as long as silver or gold have
    something to do, even if an earlier run wrote the snapshot and died. A source that is another shop than the
    lakehouse's is a ``ConfigurationError`` before anything is written; ``new_source``: it is the same shop.
    """
    last = snapshots.newest(lakehouse.bucket)
    situation = ledger.situation()
    shop = shop_of(source, last, situation, new_source=new_source)
    with ledger.execution("bronze") as execution, _temporary_folder() as folder:
        with source.open() as extract:
            there = _look_at_columns(extract, tables, reporter)
            extracted = _extract(extract, tables, there, folder, reporter)
        find = partial(_fingerprint_of_before, lakehouse.bucket, extracted, reporter)
        before = snapshots.fingerprints(lakehouse.bucket, last, find) if last else {}
        new = [name for name, found in extracted.items() if before.get(name) != found.fingerprint]
        changed = [name for name, found in extracted.items() if name in new or _says_more(found, last, name)]
        counts = Counts()
        for name, found in extracted.items():
            counts += Counts(found.rows, found.rows, 0) if name in changed else Counts(found.rows, 0, found.rows)
        known = Known((last,) if last else (), complete=last is None)
        if changed or (last and last.snapshot != situation.applied):
            rows = {name: found.rows for name, found in extracted.items()}
            space.require_room(lakehouse, tables, rows, situation.applied, last, reporter)
        if changed:
            snapshots.require_room(lakehouse, _size(extracted, new), reporter)
        if shop.said:
            reporter.say(shop.said)
        if shop.identities != situation.identities:
            ledger.name_shop(shop.identities)
        if changed:
            manifest = _store(lakehouse, extracted, changed, last, before, ledger.run, source, shop)
            known = Known((*known.manifests, manifest), known.complete)
            reporter.say(f"bronze: snapshot {manifest.snapshot}: {', '.join(changed)} changed")
        snapshot = known.manifests[-1].snapshot if known.manifests else None
        goes_on = changed or _waiting(ledger.situation(), snapshot, tables)
        key = StatusKey.BRONZE_WRITTEN if goes_on else StatusKey.BRONZE_NOTHING_NEW
        details: dict[str, object] = {
            "source": source.identity,
            "same_shop": [name for name in shop.identities if name != source.identity],
            "tables": {name: {"rows": found.rows, "changed": name in changed} for name, found in extracted.items()},
        }
        result = BronzeResult("bronze", key, counts.check("bronze"), snapshot, details, known=known)
        execution.close(result)
        return result


def shop_of(source: Source, last: Manifest | None, situation: Situation, *, new_source: bool = False) -> Shop:
    """The lakehouse's shop once this source is read into it; a ``ConfigurationError`` if the source is another shop.

    ``last``: the newest snapshot. A source that cannot even be opened is that error: a slip in its address is likelier
    than another shop.
    """
    try:
        return judge(
            source.identity,
            source.description,
            accepted=situation.identities,
            newest=last.identities if last else None,
            newest_description=last.source if last else "",
            filled=situation.applied is not None,
            new_source=new_source,
        )
    except ConfigurationError:
        with source.open():
            raise


def _look_at_columns(extract: Extract, tables: tuple[Table, ...], reporter: Reporter) -> list[str]:
    """Say which columns silver will ignore, what is absent and may be, and what else may be other than it looks.

    What is missing and may not be, and rows that are hidden, are an error before the first long read. Answers the names
    of the tables that the source has.
    """
    found = dict(zip(tables, each(partial(check_columns, extract), tables, extract.in_flight), strict=True))
    for table, columns in found.items():
        if not columns:
            reporter.say(f"{table.name}: not in the source, which may lack it: it counts as empty")
        elif absent := table.null_with(list(columns)):
            reporter.say(f"{table.name}: not in the source, which may lack it, NULL in silver: {', '.join(absent)}")
        if extra := table.extra_in(list(columns)):
            reporter.say(f"{table.name}: kept in bronze, ignored in silver: {', '.join(extra)}")
    there = [table.name for table, columns in found.items() if columns]
    with about(level="warning"):
        for warning in extract.warnings(there):
            reporter.say(f"warning: {warning}")
    return there


def _extract(
    extract: Extract, tables: tuple[Table, ...], there: Sequence[str], folder: Path, reporter: Reporter
) -> dict[str, Extracted]:
    """Every table to the local disk, as many at a time as the source takes; ``there``: those that it has."""
    at_once = min(len(tables), extract.in_flight)

    def read(table: Table) -> Extracted:
        rows = extract.count(table.name) if table.name in there else 0
        with reporter.task(f"bronze {table.name}", rows) as task:
            return extract_table(extract, table, folder, task, EXTRACT_ROWS // at_once, EXTRACT_BYTES // at_once)

    return {table.name: found for table, found in zip(tables, each(read, tables, at_once), strict=True)}


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder for the parts until they are stored. ``Full`` if its disk is."""
    try:
        with tempfile.TemporaryDirectory(prefix="medallion-") as folder:
            yield Path(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise Full(
            f"no space left for temporary files in {tempfile.gettempdir()}: {error}",
            kept="nothing was written",
            next_step="free some space there, or set TMPDIR to a folder of a larger disk; then run again",
        ) from error


def _waiting(situation: Situation, snapshot: str | None, tables: tuple[Table, ...]) -> bool:
    """Whether silver or gold have something to do that an earlier run left."""
    left = situation.applied != snapshot or situation.rules != rules_version(tables)
    return left or situation.gold_pending > 0


def _fingerprint_of_before(
    bucket: Bucket, extracted: Mapping[str, Extracted], reporter: Reporter, name: str, table: TableSnapshot
) -> str:
    """The fingerprint of a table that a program of before stored, found from its parts; that of now, for the same rows.

    Over HTTP it may have read them in another order. Of parts that are damaged there is none: the table is stored anew.
    """
    columns, now = [*table.columns, BROKEN_LINE], extracted.get(name)
    stored = partial(snapshots.read_rows, bucket, table, columns, EXTRACT_ROWS)
    found = Fingerprint(columns)
    try:
        for page in stored():
            found.update(page)
        before = found.hexdigest()
        alike = now is not None and now.rows == table.rows and set(now.columns) == set(table.columns)
        if now is None or not alike or now.fingerprint == before:
            return before
        return now.fingerprint if same_in_any_order(stored(), now.pages(columns), columns) else before
    except SnapshotError as error:
        reporter.say(f"bronze {name}: stored anew, because the last snapshot's parts cannot be read: {error.what}")
        return ""


def _says_more(found: Extracted, last: Manifest | None, name: str) -> bool:
    """Whether a column that was text is a number by its type now: silver then knows how its values are meant.

    The other way round the same rows say nothing new: they were known to be numbers.
    """
    known = last.tables[name].columns if last and name in last.tables else {}
    return any(kind in NUMBERS and known.get(column, kind) not in NUMBERS for column, kind in found.columns.items())


def _size(extracted: dict[str, Extracted], new: list[str]) -> int:
    """The bytes of the parts that are new."""
    return sum(part.bytes for name in new for part in extracted[name].parts)


def _store(
    lakehouse: Lakehouse,
    extracted: dict[str, Extracted],
    changed: list[str],
    last: Manifest | None,
    before: Mapping[str, str],
    run: str,
    source: Source,
    shop: Shop,
) -> Manifest:
    """Store the parts of the tables that changed, point at the old parts of the others, and commit by the manifest.

    ``before``: the fingerprints of ``last``. A table whose rows are as they were, and whose types say more now, points
    at its old parts too.
    """
    now = datetime.now(UTC)
    bucket = lakehouse.bucket
    snapshot = snapshots.new_snapshot_id(last.snapshot if last else snapshots.last_folder(bucket), now)
    tables, files = {}, dict[str, Path]()
    for name, found in extracted.items():
        if last is not None and before.get(name) == found.fingerprint:
            stored = last.tables[name]
            types = found.columns if name in changed else stored.columns
            shown = {"profile": found.profile | stored.profile, "columns": types, "fingerprint": before[name]}
            tables[name] = stored.model_copy(update=shown)
            continue
        parts = []
        for part in found.parts:
            path = f"{snapshot}/{name}/{part.file.name}"
            files[path] = part.file
            parts.append(Part(path=path, rows=part.rows, bytes=part.bytes, sha256=part.sha256))
        tables[name] = TableSnapshot(
            rows=found.rows,
            columns=found.columns,
            fingerprint=found.fingerprint,
            places=found.places,
            profile=found.profile | (last.tables[name].profile if last and name in last.tables else {}),
            parts=tuple(parts),
        )
    try:
        do_each(lambda path: bucket.put(path, files[path]), files, lakehouse.tables.in_flight)
    except MedallionError:
        with suppress(MedallionError):  # nothing is committed; many attempts that fail must not fill the bucket
            bucket.delete(list(files))
        raise
    manifest = Manifest(
        format=snapshots.FORMAT,
        snapshot=snapshot,
        run=run,
        created_at=now,
        source=source.description,
        identity=source.identity,
        same_shop=tuple(name for name in shop.identities if name != source.identity),
        tables=tables,
    )
    snapshots.write_manifest(bucket, manifest)
    return manifest
