"""Silver: apply to the clean tables what changed since the last snapshot; 357 if that is nothing, else 468.

By hand: ``python src/elt/silver/main.py``, ``python -m elt.silver`` or ``medallion silver [--full]``.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa

from elt.catalog import BROKEN_LINE, TABLES, WRITE_ROWS, Table, rules_version
from elt.concurrency import each
from elt.errors import SnapshotError
from elt.frames import to_frame
from elt.keys import StatusKey
from elt.lakehouse import snapshots
from elt.lakehouse.batches import upsert_all, upsert_in_batches
from elt.lakehouse.ports import Bucket, Lakehouse, Tables, Within
from elt.lakehouse.snapshots import Manifest, Part, TableSnapshot
from elt.ledger import Counts, LayerResult, Ledger
from elt.progress import Reporter, Task
from elt.silver.clean import clean, quarantine_rows, refusals, value_rows
from elt.silver.difference import Decision, Hashes, Index, among, decide, hash_texts, index_rows
from elt.sources.port import NUMBERS

BATCH_ROWS = 50_000
"""Raw rows in memory at a time."""

_ROWS, _VALUES = "silver.rejeitados", "silver.valores_rejeitados"
_KEY_ONLY = pa.schema([("id", pa.string())])
_HELD = pa.schema([("id", pa.string()), ("chave", pa.string())])


def run(
    lakehouse: Lakehouse, ledger: Ledger, reporter: Reporter, tables: tuple[Table, ...] = TABLES, *, full: bool = False
) -> LayerResult:
    """Apply every snapshot that silver has not applied yet, oldest first, so that no row of any of them is missed.

    ``full``: begin with a whole snapshot, not with what changed; silver also does so by itself when the cleaning rules
    are not those it last applied. The key is 468 as long as gold has something to do, even if an earlier run wrote the
    rows and died.
    """
    applied = ledger.last_applied()
    known = snapshots.committed_since(lakehouse.bucket, applied) if applied else []
    known = known or snapshots.committed(lakehouse.bucket)
    if known and applied is None and ledger.rebuild_unfinished():
        # A replay died: what it left is of no snapshot in this order.
        reporter.say("silver: a replay did not end; silver is built again from every snapshot in bronze")
        ledger.empty_silver([table.name for table in tables])
    if applied is not None and ledger.applied_rules() != rules_version(tables):
        reporter.say("silver: the cleaning rules have changed; every row is cleaned again")
        full = True
    waiting = [snapshot for snapshot in known if applied is None or snapshot > applied]
    if full and not waiting:
        waiting = known[-1:]
    base = applied if applied in known and not full else None
    counts, gone = Counts(), 0
    for snapshot in waiting:
        with ledger.execution("silver", snapshot) as execution:
            wanted = [snapshot, base] if base else [snapshot]
            manifest, *before = each(
                partial(snapshots.read_manifest, lakehouse.bucket), wanted, lakehouse.tables.in_flight
            )
            result, vanished = _apply(lakehouse, ledger, reporter, tables, manifest, before[0] if before else None)
            execution.close(result)
        counts += result.counts
        gone += vanished
        base = snapshot
    if gone:
        reporter.say(f"silver: {gone:,} rows are no longer in the source; silver keeps them")
    result = LayerResult("silver", _key(counts, ledger), counts, waiting[-1] if waiting else applied)
    if not waiting:
        with ledger.execution("silver") as execution:
            execution.close(result)
    return result


def replay(
    snapshot: str,
    lakehouse: Lakehouse,
    ledger: Ledger,
    reporter: Reporter,
    tables: tuple[Table, ...] = TABLES,
) -> LayerResult:
    """Make silver what this snapshot alone gives: empty it, then apply the snapshot whole.

    Every part is checked before anything is emptied. The snapshots after it wait for silver again. Gold keeps its rows
    until it recomputes them: emptying marks every one. If this dies on the way, ``run`` builds silver again from all
    snapshots, and another replay begins anew.
    """
    with ledger.execution("silver", snapshot) as execution:
        manifest = snapshots.read_manifest(lakehouse.bucket, snapshot)
        snapshots.check_parts(lakehouse.bucket, manifest, reporter)
        ledger.empty_silver([table.name for table in tables])
        result, _ = _apply(lakehouse, ledger, reporter, tables, manifest, None)
        execution.close(result)
        return result


def _apply(
    lakehouse: Lakehouse,
    ledger: Ledger,
    reporter: Reporter,
    tables: tuple[Table, ...],
    manifest: Manifest,
    before: Manifest | None,
) -> tuple[LayerResult, int]:
    """Apply one snapshot, table by table; answers the result and how many keys are gone from the source."""
    found_in: dict[str, object] = {}
    counts, gone = Counts(), 0
    for table in tables:
        found, vanished = _Application(lakehouse, reporter, table, manifest, before).run()
        found_in[table.name] = {**vars(found), "gone_from_source": vanished}
        counts += found
        gone += vanished
    details: dict[str, object] = {"rules": rules_version(tables), "tables": found_in}
    return LayerResult("silver", _key(counts, ledger), counts, manifest.snapshot, details), gone


def _key(counts: Counts, ledger: Ledger) -> StatusKey:
    return StatusKey.SILVER_WRITTEN if counts.written or ledger.gold_pending() else StatusKey.SILVER_NOTHING_NEW


class _Application:
    """One table of one snapshot, applied to silver."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        reporter: Reporter,
        table: Table,
        manifest: Manifest,
        before: Manifest | None,
    ) -> None:
        self.bucket: Bucket = lakehouse.bucket
        self.tables: Tables = lakehouse.tables
        self.reporter = reporter
        self.table = table
        self.snapshot = manifest.snapshot
        self.refused: dict[str, list[Hashes]] = {_ROWS: [], _VALUES: []}
        self.at_hand: dict[str, bytes] = {}
        self.new = _table_of(manifest, table)
        self.numbers = self._number_columns(self.new)
        self.before = before.tables.get(table.name) if before else None
        if self.before and self._number_columns(self.before) != self.numbers:
            self.before = None  # the same text now means something else: read it all again

    def run(self) -> tuple[Counts, int]:
        """Apply the table; answers its counts and how many keys are gone from the source."""
        found = sum(part.rows for part in self.new.parts)
        if found != self.new.rows:
            raise SnapshotError(
                f"{self.snapshot}: {self.table.name} has {found} rows, its manifest says {self.new.rows}",
                next_step="remove the snapshot's folder and run again",
            )
        held = self._begin()
        new = Index.joined(self._indexes(self.new), found)
        retry = np.unique(np.concatenate([np.empty(0, np.uint64), *held.values()]))
        decisions, gone = decide(new, self._indexes(self.before) if self.before else (), retry)
        in_source = new.key
        in_source.sort()  # in place: from here on only the keys are needed, and memory counts
        del new
        counts = Counts(
            read=len(decisions),
            unchanged=int((decisions == Decision.UNCHANGED).sum()),
            repeated=int((decisions == Decision.REPEATED).sum()),
        )
        first = 0
        with self.reporter.task(f"silver {self.table.name}", len(decisions)) as task:
            for batch in self._batches(self.new):
                here = decisions[first : first + len(batch)]
                first += len(batch)
                counts += self._apply(batch, here, task)
        counts = counts.check(f"silver {self.table.name}")
        # What came into an empty quarantine came from this snapshot: nothing of it is to be let go of.
        left = sum(each(lambda quarantine: self._settle(quarantine, in_source), held, self.tables.in_flight))
        if left:
            self.reporter.say(
                f"silver {self.table.name}: {left:,} rows left quarantine because the source has them no more"
            )
        return counts, gone

    def _indexes(self, snapshot: TableSnapshot) -> Iterator[Index]:
        return (index_rows(self.table, batch, self.numbers) for batch in self._batches(snapshot))

    def _batches(self, snapshot: TableSnapshot) -> Iterator[pa.Table]:
        """Raw rows with the catalog's names; a line that fits no header has its text in ``BROKEN_LINE``."""
        names = [*self.table.column_names, BROKEN_LINE]
        in_source = [self.table.source_name(name, list(snapshot.columns)) or name for name in names]
        for batch in snapshots.read_rows(self.bucket, snapshot, in_source, BATCH_ROWS, self.at_hand):
            yield batch.rename_columns(names)

    def _number_columns(self, snapshot: TableSnapshot) -> frozenset[str]:
        """The catalog's columns whose type in the source is a number."""
        in_source = {name: self.table.source_name(name, list(snapshot.columns)) for name in self.table.column_names}
        return frozenset(name for name, found in in_source.items() if found and snapshot.columns[found] in NUMBERS)

    def _held(self, quarantine: str) -> Iterator[pd.DataFrame]:
        """What a quarantine table holds of this table: id and chave."""
        yield from self.tables.pages(
            quarantine, _HELD, key="id", size=WRITE_ROWS, within=Within("tabela", [self.table.name])
        )

    def _begin(self) -> dict[str, Hashes]:
        """Ask at a time for what is needed first: a snapshot's only part, and fingerprints of what quarantine holds.

        Answers the fingerprints by quarantine table, without those that are empty. A table of several parts is read
        part by part when it is its turn, so that never more than one is in memory.
        """
        held: dict[str, Hashes] = {}

        def fetch(part: Part) -> None:
            self.at_hand[part.path] = snapshots.checked(self.bucket, part)

        def ask(quarantine: str) -> None:
            if (keys := self._hashes_held(quarantine)) is not None:
                held[quarantine] = keys

        wholes = [found.parts[0] for found in (self.new, self.before) if found and len(found.parts) == 1]
        parts = {part.path: part for part in wholes if self.tables.in_flight > 1}
        work: list[Callable[[], None]] = [*(partial(fetch, part) for part in parts.values())]
        work += [partial(ask, quarantine) for quarantine in (_ROWS, _VALUES)]
        for _ in each(lambda begin: begin(), work, self.tables.in_flight):
            pass
        return held

    def _hashes_held(self, quarantine: str) -> Hashes | None:
        """Fingerprints of the keys in a quarantine table, sorted; None if it holds no row of this table."""
        pages = [hash_texts(pa.array(page["chave"].dropna().drop_duplicates())) for page in self._held(quarantine)]
        return np.unique(np.concatenate(pages)) if pages else None

    def _settle(self, quarantine: str, in_source: Hashes) -> int:
        """Let go of what was not refused again; answers how many rows of those the source has no more.

        What is still refused was written again by this application, and is known by 8 bytes a row. The note on a value
        of a row that left the source stays, because the row stays in silver.
        """
        gone = 0
        again = np.sort(np.concatenate([np.empty(0, np.uint64), *self.refused[quarantine]]))
        for page in self._held(quarantine):
            stale = page[~among(again, hash_texts(pa.array(page["id"])))]
            known = among(in_source, hash_texts(pa.array(stale["chave"].fillna(""))))
            if quarantine == _ROWS:
                gone += int((~known).sum())
            else:
                stale = stale[known]
            if len(stale):
                self.tables.delete(quarantine, Within("id", stale["id"].to_list()))
        return gone

    def _apply(self, batch: pa.Table, decisions: "np.ndarray[tuple[int], np.dtype[np.uint8]]", task: Task) -> Counts:
        """Clean and write the rows of one batch that need it."""
        needed = (decisions == Decision.PROCESS) | (decisions == Decision.CONFLICT)
        task.advance(int((~needed).sum()))
        if not needed.any():
            return Counts()
        raw = to_frame(batch.filter(pa.array(needed)))
        twice = raw.index[decisions[needed] == Decision.CONFLICT]
        cleaned = clean(self.table, raw, self.numbers, dict.fromkeys(twice, "chave repetida com valores diferentes"))
        rows, rejected = cleaned.rows, [cleaned.rejected]
        keys = self.table.foreign_keys
        known = each(
            lambda column: self._existing(str(column.references), rows[column.name]), keys, self.tables.in_flight
        )
        for column, parents in zip(keys, list(known), strict=True):
            orphans = rows.loc[~rows[column.name].isin(parents), column.name]
            reasons = {
                row: f"{column.name}: '{key}' não existe em silver.{column.references}" for row, key in orphans.items()
            }
            rejected.append(refusals(rows["id"], reasons))
            rows = rows.drop(index=orphans.index)
        written, reasons = upsert_in_batches(self.tables, self.table.silver, rows.sort_values("id"), task)
        rejected.append(refusals(rows["id"], reasons))
        refused = pd.concat(rejected)
        task.advance(len(raw) - len(rows))
        self._quarantine(raw, refused, cleaned.values[~cleaned.values.index.isin(refused.index)])
        return Counts(written=written.inserted + written.updated, unchanged=written.unchanged, quarantined=len(refused))

    def _existing(self, parent: str, keys: pd.Series) -> set[str]:
        """Those of the keys that the parent's silver table has."""
        wanted = keys.drop_duplicates().to_list()
        found: set[str] = set()
        for start in range(0, len(wanted), WRITE_ROWS):
            within = Within("id", wanted[start : start + WRITE_ROWS])
            for page in self.tables.pages(f"silver.{parent}", _KEY_ONLY, key="id", size=WRITE_ROWS, within=within):
                found.update(page["id"])
        return found

    def _quarantine(self, raw: pd.DataFrame, rejected: pd.DataFrame, values: pd.DataFrame) -> None:
        """Keep what was refused, with the reason and the original."""
        entries = quarantine_rows(self.table, raw, rejected, self.snapshot)
        notes = value_rows(self.table, values, self.snapshot)
        for table, frame in ((_ROWS, entries), (_VALUES, notes)):
            upsert_all(self.tables, table, frame)
            self.refused[table].append(hash_texts(pa.array(frame["id"])))


def _table_of(manifest: Manifest, table: Table) -> TableSnapshot:
    """The table in the snapshot; a table the catalog has and an older snapshot has not is empty there."""
    return manifest.tables.get(table.name) or TableSnapshot(
        rows=0, columns=dict.fromkeys(table.column_names, "text"), fingerprint="", parts=()
    )


if __name__ == "__main__":
    import runpy

    runpy.run_module("elt.silver", run_name="__main__")
