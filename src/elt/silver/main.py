"""Silver: apply to the clean tables what changed since the last snapshot; 357 if that is nothing, else 468.

By hand: ``python src/elt/silver/main.py``, ``python -m elt.silver`` or ``medallion silver [--full]``.
"""

if __name__ == "__main__":  # a script: Python then looks for modules in this folder, and not where elt is
    import runpy
    import sys
    from pathlib import Path

    folder = Path(__file__).resolve().parent
    sys.path = [str(folder.parents[1]), *(path for path in sys.path if Path(path).resolve() != folder)]
    runpy.run_module("elt.silver", run_name="__main__")
    sys.exit()

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from elt.catalog import BROKEN_LINE, WRITE_ROWS, Table, rules_version
from elt.concurrency import ahead, do_each, each
from elt.errors import SnapshotError
from elt.frames import to_frame
from elt.keys import StatusKey
from elt.lakehouse import snapshots
from elt.lakehouse.batches import upsert_all, upsert_in_batches
from elt.lakehouse.ports import Bucket, Lakehouse, Tables, Within
from elt.lakehouse.snapshots import NOTHING_KNOWN, Known, Manifest, Part, TableSnapshot
from elt.ledger import Counts, LayerResult, Ledger
from elt.progress import Reporter, Task
from elt.silver.clean import clean, quarantine_rows, refusals, value_rows
from elt.silver.difference import Decision, Hashes, Index, among, decide, hash_texts, index_rows
from elt.sources.port import NUMBERS

BATCH_ROWS = 50_000
"""Raw rows in memory at a time."""

WORK_ROWS = 5_000
"""Raw rows cleaned and written together: while some are on their way, others are cleaned."""

_TWICE = "\x00twice"
"""A column of raw rows, beside the source's: whether the key stands twice with different values."""

_ROWS, _VALUES = "silver.rejeitados", "silver.valores_rejeitados"
_KEY_ONLY = pa.schema([("id", pa.string())])
_HELD = pa.schema([("id", pa.string()), ("tabela", pa.string()), ("chave", pa.string())])


def run(
    lakehouse: Lakehouse,
    ledger: Ledger,
    reporter: Reporter,
    tables: tuple[Table, ...],
    *,
    full: bool = False,
    known: Known = NOTHING_KNOWN,
) -> LayerResult:
    """Apply every snapshot that silver has not applied yet, oldest first, so that no row of any of them is missed.

    ``full``: begin with a whole snapshot, not with what changed; silver also does so by itself when the cleaning rules
    are not those it last applied. ``known``: what bronze of the same run knows of the snapshots. The key is 468 as long
    as gold has something to do, even if an earlier run wrote the rows and died.
    """
    situation = ledger.situation()
    applied = situation.applied
    there = snapshots.committed_since(lakehouse.bucket, applied, known)
    if there and situation.rebuild_unfinished:
        # A replay died: what it left is of no snapshot in this order.
        reporter.say("silver: a replay did not end; silver is built again from every snapshot in bronze")
        ledger.empty_silver([table.name for table in tables])
    if applied is not None and situation.rules != rules_version(tables):
        reporter.say("silver: the cleaning rules have changed; every row is cleaned again")
        full = True
    waiting = [snapshot for snapshot in there if applied is None or snapshot > applied]
    if full and not waiting:
        waiting = there[-1:]
    base = applied if applied in there and not full else None
    manifests = {manifest.snapshot: manifest for manifest in known.manifests}

    def read_manifest(snapshot: str) -> Manifest:
        return manifests.get(snapshot) or snapshots.read_manifest(lakehouse.bucket, snapshot)

    _check_shop(list(each(read_manifest, waiting, lakehouse.tables.in_flight)), situation.identities)
    counts, gone = Counts(), 0
    for snapshot in waiting:
        with ledger.execution("silver", snapshot) as execution:
            manifest, *before = each(
                read_manifest, [snapshot, base] if base else [snapshot], lakehouse.tables.in_flight
            )
            result, vanished = _apply(lakehouse, ledger, reporter, tables, manifest, before[0] if before else None)
            execution.close(result)
        counts += result.counts
        gone += vanished
        base, manifests = snapshot, {snapshot: manifest}
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
    tables: tuple[Table, ...],
) -> LayerResult:
    """Make silver what this snapshot alone gives: empty it, then apply the snapshot whole.

    Every part is checked before anything is emptied. The snapshots after it wait for silver again. Gold keeps its rows
    until it recomputes them: emptying marks every one. If this dies on the way, ``run`` builds silver again from all
    snapshots, and another replay begins anew.
    """
    with ledger.execution("silver", snapshot) as execution:
        manifest = snapshots.read_manifest(lakehouse.bucket, snapshot)
        _check_shop([manifest], ledger.situation().identities)
        snapshots.check_parts(lakehouse.bucket, manifest, reporter)
        ledger.empty_silver([table.name for table in tables])
        result, _ = _apply(lakehouse, ledger, reporter, tables, manifest, None)
        execution.close(result)
        return result


def _check_shop(waiting: Sequence[Manifest], identities: Sequence[str]) -> None:
    """Nothing, or a ``SnapshotError`` if one of the snapshots to be applied is another shop's.

    ``identities``: those of the lakehouse's shop; if it knows none yet, the newest of the snapshots says. One that does
    not say which shop it is of is taken for the lakehouse's.
    """
    known = identities or (waiting[-1].identities if waiting else ())
    for manifest in waiting:
        if known and manifest.identities and manifest.identities[0] not in known:
            raise SnapshotError(
                f"the snapshot {manifest.snapshot} is of another shop ({manifest.identities[0]}) than this lakehouse "
                f"({', '.join(known)})",
                kept="silver and gold are as they were: rows of two shops would be added up",
                next_step=f"medallion replay {waiting[-1].snapshot} builds silver and gold from that snapshot alone"
                if manifest is not waiting[-1]
                else "give that shop a lakehouse of its own: another DATA_DIR (or LAKEHOUSE_…)",
            )


def _apply(
    lakehouse: Lakehouse,
    ledger: Ledger,
    reporter: Reporter,
    tables: tuple[Table, ...],
    manifest: Manifest,
    before: Manifest | None,
) -> tuple[LayerResult, int]:
    """Apply one snapshot; answers the result and how many keys are gone from the source.

    Tables are worked on as many at a time as the lakehouse takes requests, but no row is written before the tables it
    references are done, so that foreign keys hold.
    """
    done = {table.name: Future[None]() for table in tables}

    def apply(table: Table) -> tuple[Counts, int]:
        parents = [done[name] for name in table.parents]
        try:
            found = _Application(lakehouse, reporter, table, manifest, before, held, parents).run()
        except BaseException as error:
            done[table.name].set_exception(error)
            raise
        done[table.name].set_result(None)
        return found

    found_in: dict[str, object] = {}
    counts, gone = Counts(), 0
    with ahead(partial(_held, lakehouse.tables)) as held:
        for table, (found, vanished) in zip(tables, each(apply, tables, lakehouse.tables.in_flight), strict=True):
            found_in[table.name] = {**vars(found), "gone_from_source": vanished}
            counts += found
            gone += vanished
    details: dict[str, object] = {"rules": rules_version(tables), "tables": found_in}
    return LayerResult("silver", _key(counts, ledger), counts, manifest.snapshot, details), gone


_Held = dict[str, dict[str, Hashes]]


def _held(tables: Tables) -> _Held:
    """By quarantine table, and by the table whose rows it holds: fingerprints of their keys, sorted."""
    held: _Held = {}
    for quarantine in (_ROWS, _VALUES):
        keys: dict[str, list[Hashes]] = {}
        for page in tables.pages(quarantine, _HELD, key="id", size=WRITE_ROWS):
            for table, found in page.groupby("tabela")["chave"]:
                keys.setdefault(str(table), []).append(hash_texts(pa.array(found.dropna().drop_duplicates())))
        held[quarantine] = {table: np.unique(np.concatenate(pieces)) for table, pieces in keys.items()}
    return held


def _key(counts: Counts, ledger: Ledger) -> StatusKey:
    goes_on = counts.written or ledger.situation().gold_pending
    return StatusKey.SILVER_WRITTEN if goes_on else StatusKey.SILVER_NOTHING_NEW


class _Application:
    """One table of one snapshot, applied to silver: made ready when it is made, written by ``run``."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        reporter: Reporter,
        table: Table,
        manifest: Manifest,
        before: Manifest | None,
        held: Future[_Held],
        parents: Sequence[Future[None]],
    ) -> None:
        self.parents = parents
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
        self._fetch()
        index = Index.joined(self._indexes(self.new), self.new.rows)
        quarantines = held.result().items()
        self.held = {quarantine: keys[table.name] for quarantine, keys in quarantines if table.name in keys}
        retry = np.unique(np.concatenate([np.empty(0, np.uint64), *self.held.values()]))
        self.decisions, self.gone = decide(index, self._indexes(self.before) if self.before else (), retry)
        self.in_source = index.key
        self.in_source.sort()  # in place: from here on only the keys are needed, and memory counts

    def run(self) -> tuple[Counts, int]:
        """Apply the table; answers its counts and how many keys are gone from the source."""
        counts = Counts(
            read=len(self.decisions),
            unchanged=int((self.decisions == Decision.UNCHANGED).sum()),
            repeated=int((self.decisions == Decision.REPEATED).sum()),
        )
        with self.reporter.task(f"silver {self.table.name}", len(self.decisions)) as task:
            for found in each(partial(self._apply, task=task), self._work(task), self.tables.in_flight):
                counts += found
        counts = counts.check(f"silver {self.table.name}")
        # What came into an empty quarantine came from this snapshot: nothing of it is to be let go of.
        left = sum(each(self._settle, self.held, self.tables.in_flight))
        if left:
            self.reporter.say(
                f"silver {self.table.name}: {left:,} rows left quarantine because the source has them no more"
            )
        return counts, self.gone

    def _work(self, task: Task) -> Iterator[pa.Table]:
        """The raw rows to be worked on, ``WORK_ROWS`` at a time; ``_TWICE`` marks conflicts."""
        first = 0
        waiting: list[pa.Table] = []
        for batch in self._batches(self.new):
            decisions = self.decisions[first : first + len(batch)]
            first += len(batch)
            twice = decisions == Decision.CONFLICT
            needed = twice | (decisions == Decision.PROCESS)
            task.advance(len(batch) - int(needed.sum()))
            waiting.append(batch.append_column(_TWICE, pa.array(twice)).filter(pa.array(needed)))
            if sum(map(len, waiting)) >= WORK_ROWS:
                rows = self._together(waiting)
                whole = len(rows) - len(rows) % WORK_ROWS
                yield from (rows.slice(start, WORK_ROWS) for start in range(0, whole, WORK_ROWS))
                waiting = [rows.slice(whole)]
        if any(map(len, waiting)):
            yield self._together(waiting)

    def _together(self, pieces: list[pa.Table]) -> pa.Table:
        """One table of them, in which the rows of one parent stand together: two requests then seldom lock the same."""
        rows = pa.concat_tables(pieces)
        keys = [(column.name, "ascending") for column in self.table.foreign_keys[:1]]
        return (rows.sort_by(keys) if keys else rows).combine_chunks()

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

    def _fetch(self) -> None:
        """Have a snapshot's only part at hand, if requests go together.

        A table of several parts is read part by part when it is its turn, so that never more than one is in memory.
        """
        parts = [found.parts[0] for found in (self.new, self.before) if found and len(found.parts) == 1]

        def fetch(part: Part) -> None:
            self.at_hand[part.path] = snapshots.checked(self.bucket, part)

        if self.tables.in_flight > 1:
            do_each(fetch, dict.fromkeys(parts), self.tables.in_flight)

    def _settle(self, quarantine: str) -> int:
        """Let go of what was not refused again; answers how many rows of those the source has no more.

        What is still refused was written again by this application, and is known by 8 bytes a row. The note on a value
        of a row that left the source stays, because the row stays in silver.
        """
        gone = 0
        again = np.sort(np.concatenate([np.empty(0, np.uint64), *self.refused[quarantine]]))
        mine = Within("tabela", [self.table.name])
        for page in self.tables.pages(quarantine, _HELD, key="id", size=WRITE_ROWS, within=mine):
            stale = page[~among(again, hash_texts(pa.array(page["id"])))]
            known = among(self.in_source, hash_texts(pa.array(stale["chave"].fillna(""))))
            if quarantine == _ROWS:
                gone += int((~known).sum())
            else:
                stale = stale[known]
            if len(stale):
                self.tables.delete(quarantine, Within("id", stale["id"].to_list()))
        return gone

    def _apply(self, batch: pa.Table, task: Task) -> Counts:
        """Clean and write raw rows."""
        raw = to_frame(batch.drop_columns(_TWICE))
        twice = raw.index[batch[_TWICE].to_numpy()]
        cleaned = clean(self.table, raw, self.numbers, dict.fromkeys(twice, "chave repetida com valores diferentes"))
        rows, rejected = cleaned.rows, [cleaned.rejected]
        for parent in self.parents:
            parent.result()  # foreign keys hold only when every parent is written
        keys = self.table.foreign_keys
        parents_of = each(
            lambda column: self._existing(str(column.references), rows[column.name].dropna()),
            keys,
            self.tables.in_flight,
        )
        for column, parents in zip(keys, list(parents_of), strict=True):
            known = pc.is_in(pa.array(rows[column.name]), parents).to_numpy(zero_copy_only=False)
            orphans = rows.loc[~known, column.name].dropna()
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

    def _existing(self, parent: str, keys: pd.Series) -> pa.ChunkedArray:
        """Those of the keys that the parent's silver table has."""
        wanted = keys.drop_duplicates().to_list()
        withins = (Within("id", wanted[start : start + WRITE_ROWS]) for start in range(0, len(wanted), WRITE_ROWS))
        return pa.chunked_array(
            [
                pa.array(page["id"])
                for within in withins
                for page in self.tables.pages(f"silver.{parent}", _KEY_ONLY, key="id", size=WRITE_ROWS, within=within)
            ],
            pa.string(),
        )

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
