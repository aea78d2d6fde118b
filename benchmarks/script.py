"""What a script would do with the official client: the peer that the pipeline is measured against.

``copy`` only copies. ``medallion`` does the pipeline's work as plainly: every table raw into a Parquet object, cleaned
into tables, summed up into the two analyses. Both read in pages by offset, as many rows as the server's max rows gives,
and wait for each answer before they ask for the next. Neither counts, quarantines, keeps a ledger or notices what is
new.
"""

import io
from datetime import UTC, datetime
from typing import Any

import orjson
import pandas as pd
from supabase import Client

from elt.catalog import WRITE_ROWS
from elt.silver import TABLES

PAGE_ROWS = 1_000
"""A hosted project's default for max rows: a page by offset never has more."""

BUCKET = "copia-bucket"


def page(client: Client, schema: str, table: str, key: str, offset: int) -> list[Any]:
    """One page of a table."""
    query = client.schema(schema).table(table).select("*").order(key).range(offset, offset + PAGE_ROWS - 1)
    return list(query.execute().data)


def read(client: Client, schema: str, table: str, key: str) -> list[Any]:
    """Every row of a table, one page after the other."""
    rows: list[Any] = []
    while found := page(client, schema, table, key, len(rows)):
        rows += found
    return rows


def read_all(client: Client) -> int:
    """Read the shop; answers the rows."""
    return sum(len(read(client, "public", table.name, table.key.name)) for table in TABLES)


def copy(client: Client, schema: str) -> int:
    """Upsert page after page into the tables of a schema; answers the rows."""
    copied = 0
    for table in TABLES:
        offset = 0
        while batch := page(client, "public", table.name, table.key.name, offset):
            client.schema(schema).table(table.name).upsert(batch).execute()
            offset += len(batch)
        copied += offset
    return copied


def medallion(client: Client) -> int:
    """Bronze, silver and gold, one request after the other; answers the rows read from the shop."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    rows = _bronze(client, moment)
    _silver(client, moment)
    _gold(client)
    return rows


def _bronze(client: Client, moment: str) -> int:
    rows = 0
    for table in TABLES:
        frame = pd.DataFrame(read(client, "public", table.name, table.key.name))
        client.storage.from_(BUCKET).upload(f"{moment}/{table.name}.parquet", frame.to_parquet())
        rows += len(frame)
    return rows


def _silver(client: Client, moment: str) -> None:
    frames = {}
    for table in TABLES:
        content = client.storage.from_(BUCKET).download(f"{moment}/{table.name}.parquet")
        frames[table.name] = pd.read_parquet(io.BytesIO(content)).drop_duplicates(table.key.name)
    customers, products, orders = frames.values()
    customers["email"] = customers["email"].str.strip().str.lower()
    customers["telefone"] = customers["telefone"].str.replace(r"\D", "", regex=True)
    products["preco"] = pd.to_numeric(products["preco"], errors="coerce")
    orders["data_pedido"] = pd.to_datetime(orders["data_pedido"]).dt.strftime("%Y-%m-%d")
    known = orders["id_cliente"].isin(customers["id_cliente"]) & orders["id_produto"].isin(products["id_produto"])
    for name, frame in (("clientes", customers), ("produtos", products), ("pedidos", orders[known])):
        _write(client, name, frame)


def _gold(client: Client) -> None:
    customers, products, orders = (pd.DataFrame(read(client, "copia", table.name, table.key.name)) for table in TABLES)
    by_customer = orders.groupby("id_cliente").agg(
        total_pedidos=("id_pedido", "count"),
        total_gasto=("valor_total", "sum"),
        data_primeiro_pedido=("data_pedido", "min"),
        data_ultimo_pedido=("data_pedido", "max"),
    )
    bought = orders.merge(products[["id_produto", "nome_produto", "categoria"]], on="id_produto")
    for column, listed in (("categoria", "categorias_compradas"), ("nome_produto", "produtos_comprados")):
        distinct = bought[["id_cliente", column]].drop_duplicates().sort_values(column)
        by_customer[listed] = distinct.groupby("id_cliente")[column].agg(", ".join)
    people = customers[["id_cliente", "nome", "cidade", "idade"]]
    _write(client, "analise_clientes_pedidos", people.merge(by_customer.reset_index(), on="id_cliente"))
    sold = orders.groupby("id_produto").agg(total_vendido=("quantidade", "sum"), total_receita=("valor_total", "sum"))
    stock = products[["id_produto", "nome_produto", "categoria", "estoque"]].rename(
        columns={"estoque": "estoque_atual"}
    )
    _write(client, "analise_produtos", stock.merge(sold.reset_index(), on="id_produto"))


def _write(client: Client, table: str, frame: pd.DataFrame) -> None:
    """Upsert batch after batch, each as large as the specification allows."""
    for start in range(0, len(frame), WRITE_ROWS):
        batch = orjson.loads(frame.iloc[start : start + WRITE_ROWS].to_json(orient="records"))
        client.schema("copia").table(table).upsert(batch).execute()
