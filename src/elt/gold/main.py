"""Gold: recompute the analyses of the customers and products that silver marked; 579 if nothing differs, else 680.

By hand: ``python src/elt/gold/main.py``, ``python -m elt.gold`` or ``medallion gold``.
"""

if __name__ == "__main__":  # a script: Python then looks for modules in this folder, and not where elt is
    import runpy
    import sys
    from pathlib import Path

    folder = Path(__file__).resolve().parent
    sys.path = [str(folder.parents[1]), *(path for path in sys.path if Path(path).resolve() != folder)]
    runpy.run_module("elt.gold", run_name="__main__")
    sys.exit()

from collections.abc import Iterator, Sequence
from typing import Protocol, cast

import pandas as pd
import pyarrow as pa

from elt.catalog import Analysis, Table
from elt.concurrency import each
from elt.frames import arrow_schema, empty_frame
from elt.gold import analise_clientes_pedidos, analise_produtos
from elt.keys import StatusKey
from elt.lakehouse.batches import upsert_all
from elt.lakehouse.ports import Lakehouse, Tables, Within
from elt.ledger import Counts, LayerResult, Ledger
from elt.progress import Reporter, Task
from elt.silver.clientes import CLIENTES
from elt.silver.produtos import PRODUTOS

KEYS_AT_A_TIME = 2_000
"""Customers or products recomputed together: with all their orders in pages, this bounds the memory."""

READ_ROWS = 50_000
"""Orders in memory at a time."""


class Transform(Protocol):
    """What a module of this package has: the analysis, the orders' columns it reads, and three pure functions."""

    ANALYSIS: Analysis
    ORDERS: pa.Schema

    def partial(self, batch: pd.DataFrame) -> pd.DataFrame:
        """Sum up a batch of orders."""

    def combine(self, frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
        """Join sums."""

    def finish(self, summary: pd.DataFrame, clientes: pd.DataFrame, produtos: pd.DataFrame) -> pd.DataFrame:
        """Make the analysis of the sums."""


_CUSTOMERS: Transform = analise_clientes_pedidos
_PRODUCTS: Transform = analise_produtos
TRANSFORMS = (_CUSTOMERS, _PRODUCTS)


def run(lakehouse: Lakehouse, ledger: Ledger, reporter: Reporter) -> LayerResult:
    """Recompute what is pending. Rows read are the customers and products recomputed; written are those that differ."""
    tables = lakehouse.tables
    with ledger.execution("gold") as execution:
        counts, details = Counts(), dict[str, object]()
        situation = ledger.situation()
        with reporter.task("gold", situation.gold_pending) as task:
            recomputed = each(lambda transform: _recompute(transform, tables, task), TRANSFORMS, tables.in_flight)
            for transform, found in zip(TRANSFORMS, recomputed, strict=True):
                details[transform.ANALYSIS.name] = vars(found)
                counts += found
        key = StatusKey.GOLD_WRITTEN if counts.written else StatusKey.GOLD_NOTHING_NEW
        result = LayerResult("gold", key, counts.check("gold"), situation.applied, details)
        execution.close(result)
        return result


def _recompute(transform: Transform, tables: Tables, task: Task) -> Counts:
    """Recompute the pending keys of one analysis: write what differs, remove what has no orders any more.

    A key stays pending until its row is written, so a killed run is taken up where it stopped. A key that changes while
    it is computed stays pending too.
    """
    analysis = transform.ANALYSIS

    def recompute(keys: list[str]) -> Counts:
        rows = _compute(transform, tables, keys)
        written = upsert_all(tables, analysis.gold, rows, key=analysis.key)
        without_orders = sorted(set(keys).difference(rows[analysis.key]))
        removed = tables.delete(analysis.gold, Within(analysis.key, without_orders)) if without_orders else 0
        tables.call("controle.concluir", p_analise=analysis.name, p_chaves=keys)
        changed = written.inserted + written.updated + removed
        task.advance(len(keys))
        return Counts(read=len(keys), written=changed, unchanged=len(keys) - changed)

    return sum(each(recompute, _reserved(analysis, tables), tables.in_flight), Counts())


def _reserved(analysis: Analysis, tables: Tables) -> Iterator[list[str]]:
    """The pending keys of an analysis, marked as being computed, in order, ``KEYS_AT_A_TIME``."""
    last = ""
    while reserved := tables.call("controle.reservar", p_analise=analysis.name, p_depois=last, p_linhas=KEYS_AT_A_TIME):
        keys = cast("list[str]", reserved)
        yield keys
        last = keys[-1]


def _compute(transform: Transform, tables: Tables, keys: list[str]) -> pd.DataFrame:
    """The analysis' rows of these keys, from all their orders."""
    summary: pd.DataFrame | None = None
    orders = Within(transform.ANALYSIS.key, keys)
    for page in tables.pages("silver.pedidos", transform.ORDERS, key="id", size=READ_ROWS, within=orders):
        part = transform.partial(page)
        summary = part if summary is None else transform.combine([summary, part])
    if summary is None:
        return empty_frame(arrow_schema(transform.ANALYSIS.types))
    named = each(lambda parent: _named(tables, parent, summary), (CLIENTES, PRODUTOS), tables.in_flight)
    return transform.finish(summary, *named)


def _named(tables: Tables, parent: Table, summary: pd.DataFrame) -> pd.DataFrame:
    """The silver rows of the parent that the summary names."""
    schema = arrow_schema(parent.silver_types)
    keys = summary[parent.key.name].drop_duplicates().to_list() if parent.key.name in summary else []
    pages = [
        page
        for start in range(0, len(keys), KEYS_AT_A_TIME)
        for page in tables.pages(
            parent.silver,
            schema,
            key="id",
            size=KEYS_AT_A_TIME,
            within=Within("id", keys[start : start + KEYS_AT_A_TIME]),
        )
    ]
    return pd.concat([empty_frame(schema), *pages])
