"""A shop's own project: the three tables in the schema ``public``, as a source to read from."""

import re

import psycopg
from psycopg import sql

from elt.sources.sample import SampleShop

TABLES = """
create table clientes (
  id_cliente bigint primary key, nome text, email text, telefone text, cidade text, idade integer);
create table produtos (
  id_produto bigint primary key, nome_produto text, categoria text, preco numeric, estoque integer);
create table pedidos (
  id_pedido bigint primary key, id_cliente bigint, id_produto bigint, quantidade integer, status text,
  valor_total numeric, data_pedido date);
grant usage on schema public to anon, authenticated, service_role;
grant all on clientes, produtos, pedidos to anon, authenticated, service_role;
"""
"""Granted as a new project grants, all to the three roles and without row-level security.

Source: https://supabase.com/docs/guides/database/postgres/roles
"""


def make_tables(database_url: str, *, as_typed: bool = False) -> None:
    """The three tables, empty. ``as_typed``: all but the keys are text, as people typed it."""
    text = re.sub(r"\b(integer|numeric|date)\b", "text", TABLES) if as_typed else TABLES
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(text.encode())


def fill(database_url: str, shop: SampleShop) -> None:
    """The sample shop's rows into tables ``as_typed``; of lines with the same key the first stays."""
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        for table in ("clientes", "produtos", "pedidos"):
            target, columns = sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, shop.columns(table)))
            cursor.execute(sql.SQL("create temp table lines (like {}) on commit drop").format(target))
            with cursor.copy(sql.SQL("copy lines ({}) from stdin").format(columns)) as copy:
                for page in shop.pages(table, 10_000):
                    for row in zip(*page.to_pydict().values(), strict=True):
                        copy.write_row(row)
            cursor.execute(sql.SQL("insert into {} select * from lines on conflict do nothing").format(target))
            cursor.execute("drop table lines")
