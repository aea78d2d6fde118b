"""Writing rows of a silver table by the ``Tables`` port alone, as a run does: staged, judged, applied."""

from collections.abc import Sequence
from uuid import uuid4

import pyarrow as pa

from elt.lakehouse.ports import Tables
from elt.ledger import Lease, Ledger


def write(tables: Tables, table: str, rows: pa.Table, *, seconds: int = 60) -> dict[str, int]:
    """Write rows with columns of ``silver.<table>``; answers their counts, as the ledger has them.

    Rows with one key and different contents are a conflict. The text of a refused row is its place.
    """
    with Lease(tables, seconds).held() as lease:
        ledger = Ledger(tables, lease)
        with ledger.execution("silver", "s") as execution:
            tables.call("silver.esvaziar_estagio", p_dono=ledger.owner)
            batches = tables.stage(execution.identifier, [(table, placed(rows))])
            mine = {"p_execucao": execution.identifier, "p_lotes": batches}
            tables.call("silver.esvaziar_estagio", p_dono=ledger.owner, **mine)
            staged = {table: {"linhas": len(rows), "valores": 0, "sumidas": 0}}

            def arguments() -> dict[str, object]:
                common = {"p_dono": ledger.owner, "p_execucao": execution.identifier, "p_repor": False}
                return {**common, "p_encenadas": staged}

            def apply_with() -> dict[str, object]:
                return {**arguments(), "p_id": str(uuid4()), "p_snapshot": "s"}

            def missing(places: Sequence[int]) -> None:
                texts = pa.array([f'{{"lugar": {place}}}' for place in places], pa.string())
                columns = {"tabela": pa.repeat(table, len(places)), "lugar": pa.array(places, pa.int64())}
                tables.stage(execution.identifier, [("linhas", pa.table({**columns, "linha": texts}))])

            def again(answer: dict[str, dict[str, list[int]]]) -> bool:
                for places in answer.get("sem_linha", {}).values():
                    missing(places)
                return "sem_linha" in answer

            counted = len(rows)
            for answer in tables.in_slices("silver.julgar", {table: counted}, arguments):
                missing(answer[table]["sem_linha"])
            closing = {"regras": "r", "contas": {table: {"lidas": counted, "inalteradas": 0, "repetidas": 0}}}
            *_, last = tables.in_slices(
                "silver.aplicar", {table: counted}, apply_with, last={"p_encerrar": closing}, again=again
            )
            counts: dict[str, int] = last["tabelas"][table]
            return counts


def placed(rows: pa.Table) -> pa.Table:
    """The rows with their places, and fingerprints that are alike for rows that are."""
    known: dict[str, int] = {}
    prints = [known.setdefault(repr(row), len(known)) for row in rows.to_pylist()]
    rows = rows.append_column("lugar", pa.array(range(len(rows)), pa.int64()))
    return rows.append_column("impressao", pa.array(prints, pa.int64()))
