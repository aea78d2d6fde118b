"""One row for each product with orders: how many sold, for how much, and the stock left."""

from collections.abc import Sequence

import pandas as pd

from elt.catalog import ANALISE_PRODUTOS
from elt.frames import arrow_schema
from elt.silver.pedidos import PEDIDOS

ANALYSIS = ANALISE_PRODUTOS
"""The gold table that this module makes."""

ORDERS = arrow_schema({name: PEDIDOS.silver_types[name] for name in ("id", "id_produto", "quantidade", "valor_total")})
"""The columns of ``silver.pedidos`` that this analysis reads."""


def partial(batch: pd.DataFrame) -> pd.DataFrame:
    """Orders (columns of ``ORDERS``) by product: id_produto, total_vendido (int64), total_receita (decimal)."""
    return batch.groupby("id_produto", as_index=False).agg(
        total_vendido=("quantidade", "sum"), total_receita=("valor_total", "sum")
    )


def combine(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Several partial frames as one, of the same shape."""
    return (
        pd.concat(frames)
        .groupby("id_produto", as_index=False)
        .agg(total_vendido=("total_vendido", "sum"), total_receita=("total_receita", "sum"))
    )


def finish(summary: pd.DataFrame, clientes: pd.DataFrame, produtos: pd.DataFrame) -> pd.DataFrame:
    """The analysis: columns of ``ANALYSIS.types``, one row for each product of the summary, in key order.

    ``produtos`` are rows of silver; they hold at least those that the summary names.
    """
    stock = produtos[["id", "nome_produto", "categoria", "estoque"]].rename(
        columns={"id": "id_produto", "estoque": "estoque_atual"}
    )
    frame = summary.merge(stock, on="id_produto", how="left")
    return frame[list(ANALYSIS.types)].sort_values("id_produto", ignore_index=True)
