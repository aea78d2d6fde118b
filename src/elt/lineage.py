"""From a silver row back to the run that wrote it and the bronze object it came from."""

from collections.abc import Mapping
from datetime import datetime

from elt.catalog import BROKEN_LINE, REJEITADOS, Table
from elt.errors import Missing
from elt.lakehouse import snapshots
from elt.lakehouse.ports import Bucket, Lakehouse, Within
from elt.lakehouse.snapshots import TableSnapshot
from elt.ledger import recent
from elt.notation import value_of
from elt.rules import Type
from elt.sources.port import NUMBERS


def trace_row(lakehouse: Lakehouse, table: Table, key: str) -> dict[str, object]:
    """The row, ``run``, ``snapshot``, ``object`` and ``source_row`` of a key; for a row in quarantine its ``motivo``.

    The run is the one whose time holds the row's ``data_ingestao``, by the database's clock. ``unexplained``: why no
    snapshot explains the row, in words; None if one does. ``Missing`` if neither silver nor the quarantine knows the
    key.
    """
    types: dict[str, Type] = {**table.silver_types, "data_ingestao": "text"}
    row = _first(lakehouse, table.silver, types, Within("id", [key]))
    if row is not None:
        run = _run_at(lakehouse, datetime.fromisoformat(str(row["data_ingestao"])))
        found: dict[str, object] = {"row": row, "run": run["execucao"] if run else None}
        snapshot = str(run["snapshot"]) if run else None
    else:
        refused = _first(lakehouse, "silver.rejeitados", REJEITADOS, Within("chave", [key]), table.name)
        if refused is None:
            raise Missing(
                f"neither {table.silver} nor the quarantine has the key '{key}'",
                next_step="look for it in the source, or in an older snapshot of the bucket",
            )
        snapshot = str(refused["snapshot"])
        found = {"row": None, "motivo": refused["motivo"]}
    if snapshot is None:
        by_hand = "no run of the pipeline wrote it as it is: it was made or changed by hand"
        return {**found, "snapshot": None, **_unexplained(by_hand)}
    return {**found, "snapshot": snapshot, **_in_bronze(lakehouse, table, key, snapshot)}


def _first(
    lakehouse: Lakehouse, name: str, types: Mapping[str, Type], within: Within, table: str | None = None
) -> dict[str, object] | None:
    for page in lakehouse.tables.rows(name, list(types), key="id", size=1_000, within=within):
        for row in page:
            if table is None or row["tabela"] == table:
                return {column: value_of(row[column], held) for column, held in types.items()}
    return None


def _run_at(lakehouse: Lakehouse, moment: datetime) -> dict[str, object] | None:
    """The silver run that was at work at that moment; one that was killed has no end."""
    for run in recent(lakehouse.tables, limit=None):  # newest first
        started, ended = run["iniciada_em"], run["terminada_em"]
        if run["camada"] == "silver" and datetime.fromisoformat(str(started)) <= moment:
            return run if ended is None or moment <= datetime.fromisoformat(str(ended)) else None
    return None


def _in_bronze(lakehouse: Lakehouse, table: Table, key: str, snapshot: str) -> dict[str, object]:
    """The object that holds the key, and the row as it stands there; or why there is none."""
    try:
        tables = snapshots.read_manifest(lakehouse.bucket, snapshot).tables
    except Missing:
        return _unexplained(f"the snapshot {snapshot}, which it came from, is no longer in bronze (pruned)")
    found = _in_parts(lakehouse.bucket, table, key, tables[table.name]) if table.name in tables else None
    return found or _unexplained(
        f"the snapshot {snapshot}, which silver applied when it was written, does not have its key: it was made by hand"
    )


def _in_parts(bucket: Bucket, table: Table, key: str, stored: TableSnapshot) -> dict[str, object] | None:
    from elt.silver.clean import read_column

    names = [table.source_name(name, list(stored.columns)) or name for name in (*table.column_names, BROKEN_LINE)]
    numeric = stored.columns.get(names[0]) in NUMBERS
    for part in stored.parts:
        single = stored.model_copy(update={"parts": (part,)})
        for batch in snapshots.read_rows(bucket, single, names, 50_000):
            keys, _ = read_column(table.key, batch.column(0).combine_chunks(), numeric=numeric)
            for position, found in enumerate(keys.to_pylist()):
                if found == key:
                    source_row = {name: batch.column(name)[position].as_py() for name in names[:-1]}
                    return {"object": part.path, "source_row": source_row, "unexplained": None}
    return None


def _unexplained(why: str) -> dict[str, object]:
    return {"object": None, "source_row": None, "unexplained": why}
