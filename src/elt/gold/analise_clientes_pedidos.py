"""One row for each customer with orders: how many, how much, since when, of what."""

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from elt.catalog import ANALISE_CLIENTES_PEDIDOS
from elt.frames import arrow_schema
from elt.silver.pedidos import PEDIDOS

ANALYSIS = ANALISE_CLIENTES_PEDIDOS
"""The gold table that this module makes."""

ORDERS = arrow_schema(
    {name: PEDIDOS.silver_types[name] for name in ("id", "id_cliente", "id_produto", "valor_total", "data_pedido")}
)
"""The columns of ``silver.pedidos`` that this analysis reads."""

_GRAIN = ["id_cliente", "id_produto"]


def partial(batch: pd.DataFrame) -> pd.DataFrame:
    """Orders (columns of ``ORDERS``) summed up by customer and product.

    Columns: id_cliente, id_produto, total_pedidos (int64), total_gasto (decimal), data_primeiro_pedido,
    data_ultimo_pedido (date).
    """
    return batch.groupby(_GRAIN, as_index=False).agg(
        total_pedidos=("id", "count"),
        total_gasto=("valor_total", "sum"),
        data_primeiro_pedido=("data_pedido", "min"),
        data_ultimo_pedido=("data_pedido", "max"),
    )


def combine(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Several partial frames as one, of the same shape."""
    return _summed(pd.concat(frames), _GRAIN)


def _summed(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return frame.groupby(by, as_index=False).agg(
        total_pedidos=("total_pedidos", "sum"),
        total_gasto=("total_gasto", "sum"),
        data_primeiro_pedido=("data_primeiro_pedido", "min"),
        data_ultimo_pedido=("data_ultimo_pedido", "max"),
    )


def finish(summary: pd.DataFrame, clientes: pd.DataFrame, produtos: pd.DataFrame) -> pd.DataFrame:
    """The analysis: columns of ``ANALYSIS.types``, one row for each customer of the summary, in key order.

    ``clientes`` and ``produtos`` are rows of silver; they hold at least those that the summary names.
    """
    totals = _summed(summary, ["id_cliente"])
    bought = summary[_GRAIN].merge(produtos, left_on="id_produto", right_on="id", how="left")
    people = clientes[["id", "nome", "cidade", "idade"]].rename(columns={"id": "id_cliente"})
    frame = totals.merge(people, on="id_cliente", how="left")
    frame["categorias_compradas"] = frame["id_cliente"].map(_listed(bought, "categoria"))
    frame["produtos_comprados"] = frame["id_cliente"].map(_listed(bought, "nome_produto"))
    return frame[list(ANALYSIS.types)].sort_values("id_cliente", ignore_index=True)


def _listed(bought: pd.DataFrame, column: str) -> pd.Series:
    """For each customer, the distinct values of the column, sorted by code point and joined by ``, ``."""
    distinct = bought[["id_cliente", column]].dropna().drop_duplicates().sort_values(column)
    table = pa.Table.from_pandas(distinct, preserve_index=False)
    lists = table.group_by("id_cliente", use_threads=False).aggregate([(column, "list")])  # one thread keeps the order
    joined = pc.binary_join(lists[f"{column}_list"].combine_chunks(), ", ")
    return pd.Series(joined, index=lists["id_cliente"].to_pylist(), dtype=pd.ArrowDtype(pa.string()))
