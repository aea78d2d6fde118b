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

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

from elt.catalog import BROKEN_LINE, WRITE_ROWS, Table, rules_version
from elt.concurrency import each
from elt.errors import AccountingError, LakehouseError, MedallionError, SnapshotError
from elt.frames import to_frame
from elt.keys import StatusKey
from elt.lakehouse import snapshots
from elt.lakehouse.ports import Bucket, Lakehouse, Tables
from elt.lakehouse.snapshots import NOTHING_KNOWN, Known, Manifest, TableSnapshot
from elt.ledger import Counts, Execution, LayerResult, Ledger, Situation
from elt.progress import Reporter, Task
from elt.silver.clean import clean, lines, read_column, staged_refusals, staged_rows, staged_values
from elt.silver.difference import Difference, Hashes, Index, among, difference, hash_texts, index_rows
from elt.sources.port import NUMBERS

BATCH_ROWS = 50_000
"""Raw rows in memory at a time."""

TRIES = 3
"""How often a snapshot is staged: a crash of the server empties what is staged before it is applied."""

_STAGE_AGAIN, _NOT_THE_SUM = "PMD11", "PMD13"
"""Codes of the lakehouse's functions: see the migration ``estagio``."""

_QUARANTINES = ("silver.rejeitados", "silver.valores_rejeitados")
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
    anew = bool(there) and situation.rebuild_unfinished
    if anew:
        # A replay died: what it left is of no snapshot in this order.
        reporter.say("silver: a replay did not end; silver is built again from every snapshot in bronze")
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
    if not waiting:
        with ledger.execution("silver") as execution:
            ledger.empty_staging()  # what a killed replay left
            goes_on = ledger.situation().gold_pending
            key = StatusKey.SILVER_WRITTEN if goes_on else StatusKey.SILVER_NOTHING_NEW
            result = LayerResult("silver", key, Counts(), applied)
            execution.close(result)
            return result
    counts, gone = Counts(), 0
    for snapshot in waiting:
        manifest, before = read_manifest(snapshot), read_manifest(base) if base else None
        with ledger.execution("silver", snapshot) as execution:
            application = _Application(lakehouse, reporter, execution, tables, manifest, before, replay=anew)
            result, vanished = application.run()
        counts += result.counts
        gone += vanished
        base, anew, manifests = snapshot, False, {snapshot: manifest}
    if gone:
        reporter.say(f"silver: {gone:,} rows are no longer in the source; silver keeps them")
    return LayerResult("silver", result.key, counts, waiting[-1])


def replay(
    snapshot: str,
    lakehouse: Lakehouse,
    ledger: Ledger,
    reporter: Reporter,
    tables: tuple[Table, ...],
) -> LayerResult:
    """Make silver what this snapshot alone gives, as a difference: equal rows are not touched, others go.

    The snapshots after it wait for silver again. On a direct connection it is done whole or not at all. Over HTTP, if
    this dies on the way, ``run`` builds silver again from all snapshots, and another replay begins anew.
    """
    with ledger.execution("silver", snapshot) as execution:
        manifest = snapshots.read_manifest(lakehouse.bucket, snapshot)
        _check_shop([manifest], ledger.situation().identities)
        snapshots.check_parts(lakehouse.bucket, manifest, reporter)
        result, _ = _Application(lakehouse, reporter, execution, tables, manifest, None, replay=True).run()
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


@dataclass(frozen=True)
class _Sent:
    """One table of a snapshot as it was staged: ``counts``: as the server must find them; ``outside``: what was not."""

    source: "_Source"
    outside: dict[str, int]
    counts: dict[str, int]


class _Application:
    """One snapshot, staged, judged and applied to silver."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        reporter: Reporter,
        execution: Execution,
        tables: tuple[Table, ...],
        manifest: Manifest,
        before: Manifest | None,
        *,
        replay: bool,
    ) -> None:
        self.bucket: Bucket = lakehouse.bucket
        self.tables: Tables = lakehouse.tables
        self.reporter = reporter
        self.execution = execution
        self.catalog = tables
        self.manifest = manifest
        self.before = before
        self.replay = replay
        self.batches: list[int] = []
        self.staged: dict[str, _Sent] = {}

    def run(self) -> tuple[LayerResult, int]:
        """Do it; answers the result, and how many keys are gone from the source. Staging is empty afterwards."""
        try:
            return self._run()
        except Exception:
            with suppress(MedallionError):  # it is emptied by the next execution, too
                self._empty()
            raise

    def _run(self) -> tuple[LayerResult, int]:
        held = _held(self.tables) if self.before else {}
        for attempt in range(1, TRIES + 1):
            self._empty()
            self.batches = []
            self.staged = {table.name: self._stage(table, held.get(table.name)) for table in self.catalog}
            self._empty(but_what_is_staged=True)
            try:
                self._judge()
                answer = self._apply()
            except LakehouseError as error:
                if error.code == _NOT_THE_SUM:
                    raise AccountingError(
                        error.what,
                        kept="silver as it was: nothing of this was written",
                        next_step="run again with --full; if it happens again, report it with the run ledger's rows",
                    ) from error
                if error.code != _STAGE_AGAIN or attempt == TRIES:
                    raise
                self.reporter.say("silver: the lakehouse's server lost what was staged; it is staged again")
                continue
            result = self._result(answer)
            self._empty()
            return result
        raise AssertionError("unreachable")  # pragma: no cover - the last attempt returns or raises

    def _result(self, answer: Mapping[str, Any]) -> tuple[LayerResult, int]:
        self.execution.situation = Situation.of(answer["situacao"])
        found = answer["tabelas"]
        counts, left = Counts(), 0
        for table in found.values():
            gone = table.pop("gone_from_source")
            counts += Counts(**table)
            left += gone
        return LayerResult("silver", StatusKey(answer["chave"]), counts, self.manifest.snapshot), left

    def _empty(self, *, but_what_is_staged: bool = False) -> None:
        """Remove what is staged: everything, or what is not of this execution's batches."""
        mine = {"p_execucao": self.execution.identifier, "p_lotes": self.batches} if but_what_is_staged else {}
        self.tables.call("silver.esvaziar_estagio", p_dono=self.execution.owner, **mine)

    def _stage(self, table: Table, held: Hashes | None) -> _Sent:
        """Clean and stage what has to be sent of one table."""
        source = _Source(self.bucket, table, self.manifest)
        before = _Source(self.bucket, table, self.before) if self.before and table.name in self.before.tables else None
        if before is None or before.numbers != source.numbers:
            before = None  # the same text now means something else: it is all sent
        index = Index.joined(source.indexes(), source.stored.rows)
        nothing = np.empty(0, np.uint64)
        sent = difference(index, before.indexes() if before else (), nothing if held is None else held)
        counts = {"linhas": int(sent.sent.sum()), "valores": 0, "sumidas": 0}
        with self.reporter.task(f"silver {table.name}", len(sent.sent)) as task:
            task.advance(len(sent.sent) - counts["linhas"])
            self._send(self._pieces(source, sent, index.row, before, counts, task))
        outside = {"lidas": len(sent.sent), "inalteradas": sent.unchanged, "repetidas": sent.repeated}
        return _Sent(source, outside, counts)

    def _pieces(
        self,
        source: "_Source",
        sent: Difference,
        prints: Hashes,
        before: "_Source | None",
        counts: dict[str, int],
        task: Task,
    ) -> Iterator[tuple[str, pa.Table]]:
        """What is staged of a table, each with the name of its staging table; ``counts`` says in the end how much."""
        table = source.table
        for places, batch in source.rows_at(np.flatnonzero(sent.sent)):
            raw = to_frame(batch).set_axis(places)
            cleaned = clean(table, raw, source.numbers)
            fingerprints = prints.view(np.int64)
            yield table.name, staged_rows(cleaned.rows, fingerprints)
            yield "recusadas", staged_refusals(table, raw, cleaned.rejected, fingerprints)
            values = staged_values(table, cleaned.values)
            counts["valores"] += len(values)
            yield "valores", values
            task.advance(len(raw))
        for keys in before.keys_among(sent.gone) if before and len(sent.gone) else ():
            counts["sumidas"] += len(keys)
            yield "sumidas", pa.table({"tabela": pa.repeat(table.name, len(keys)), "chave": keys})

    def _send(self, pieces: Iterator[tuple[str, pa.Table]]) -> None:
        self.batches += self.tables.stage(self.execution.identifier, pieces)

    def _arguments(self) -> dict[str, object]:
        return {
            "p_dono": self.execution.owner,
            "p_execucao": self.execution.identifier,
            "p_encenadas": {name: sent.counts for name, sent in self.staged.items()},
            "p_repor": self.replay,
        }

    def _rows(self) -> dict[str, int]:
        return {name: sent.counts["linhas"] for name, sent in self.staged.items()}

    def _judge(self) -> None:
        """Ask what would become of the rows, and stage the text of those that will be refused."""
        for answer in self.tables.in_slices("silver.julgar", self._rows(), self._arguments):
            self._send_lines({name: counts["sem_linha"] for name, counts in answer.items()})

    def _apply(self) -> dict[str, Any]:
        """Apply; the last call's answer. What is refused only now has its text staged, and the call is made again."""

        def arguments() -> dict[str, object]:
            return {**self._arguments(), "p_id": str(uuid4()), "p_snapshot": self.manifest.snapshot}

        def again(answer: dict[str, Any]) -> bool:
            missing: dict[str, list[int]] = answer.get("sem_linha", {})
            self._send_lines(missing)
            return bool(missing)

        closing = {
            "regras": rules_version(self.catalog),
            "contas": {n: sent.outside for n, sent in self.staged.items()},
        }
        passes = ("gravar", "remover") if self.replay else ("gravar",)
        *_, answer = self.tables.in_slices(
            "silver.aplicar", self._rows(), arguments, last={"p_encerrar": closing}, passes=passes, again=again
        )
        return answer

    def _send_lines(self, missing: Mapping[str, Sequence[int]]) -> None:
        """Stage the text of the rows at these places of each table."""

        def pieces() -> Iterator[tuple[str, pa.Table]]:
            for name, places in missing.items():
                if places:
                    source = self.staged[name].source
                    for found, batch in source.rows_at(np.sort(np.array(places, np.int64))):
                        yield "linhas", lines(source.table, to_frame(batch).set_axis(found))

        self._send(pieces())


class _Source:
    """One table of a snapshot in bronze, read with the catalog's names; a row's place is its number in it."""

    def __init__(self, bucket: Bucket, table: Table, manifest: Manifest) -> None:
        self.bucket = bucket
        self.table = table
        self.stored = manifest.tables.get(table.name) or TableSnapshot(
            rows=0, columns=dict.fromkeys(table.column_names, "text"), fingerprint="", parts=()
        )  # a table that the catalog has and an older snapshot has not is empty there
        names = {name: table.source_name(name, list(self.stored.columns)) for name in table.column_names}
        self.numbers = frozenset(
            name for name, found in names.items() if found and self.stored.columns[found] in NUMBERS
        )

    def batches(self) -> Iterator[pa.Table]:
        """Raw rows; a line that fits no header has its text in ``BROKEN_LINE``."""
        names = [*self.table.column_names, BROKEN_LINE]
        in_source = [self.table.source_name(name, list(self.stored.columns)) or name for name in names]
        for batch in snapshots.read_rows(self.bucket, self.stored, in_source, BATCH_ROWS):
            yield batch.rename_columns(names)

    def indexes(self) -> Iterator[Index]:
        """The rows' fingerprints."""
        return (index_rows(self.table, batch, self.numbers) for batch in self.batches())

    def rows_at(self, places: np.ndarray[Any, np.dtype[np.int64]]) -> Iterator[tuple[Any, pa.Table]]:
        """The rows at these places, which are sorted, ``WRITE_ROWS`` at a time; each time with their places."""
        first = done = 0
        for batch in self.batches() if len(places) else ():
            end = int(np.searchsorted(places, first + len(batch)))
            for start in range(done, end, WRITE_ROWS):
                here = places[start : min(start + WRITE_ROWS, end)]
                yield here, batch.take(pa.array(here - first)).combine_chunks()
            first, done = first + len(batch), end
            if done == len(places):
                return

    def keys_among(self, hashes: Hashes) -> Iterator[pa.Array]:
        """The keys, as they are read, whose fingerprints are among these, which are sorted."""
        for batch in self.batches():
            keys, _ = read_column(
                self.table.key, batch[self.table.key.name].combine_chunks(), numeric=self.table.key.name in self.numbers
            )
            keys = keys.drop_null()
            yield keys.filter(pa.array(among(hashes, hash_texts(keys)))).unique()


def _held(tables: Tables) -> dict[str, Hashes]:
    """By table: fingerprints, sorted, of the keys of which quarantine holds something."""
    held: dict[str, list[Hashes]] = {}
    for quarantine in _QUARANTINES:
        for page in tables.pages(quarantine, _HELD, key="id", size=WRITE_ROWS):
            for table, found in page.groupby("tabela")["chave"]:
                held.setdefault(str(table), []).append(hash_texts(pa.array(found.dropna().drop_duplicates())))
    return {table: np.unique(np.concatenate(pieces)) for table, pieces in held.items()}
