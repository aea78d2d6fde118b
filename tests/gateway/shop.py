"""A shop's own project: the three tables in the schema ``public``, as a source to read from."""

import psycopg
from psycopg import sql

from elt.sources.sample import SampleShop

TABLES = b"""
create table if not exists clientes (
  id_cliente bigint primary key, nome text, email text, telefone text, cidade text, idade text);
create table if not exists produtos (
  id_produto bigint primary key, nome_produto text, categoria text, preco text, estoque text);
create table if not exists pedidos (
  id_pedido bigint primary key, id_cliente bigint, id_produto bigint, quantidade text, status text, valor_total text,
  data_pedido text);
grant usage on schema public to anon, authenticated, service_role;
grant all on clientes, produtos, pedidos to anon, authenticated, service_role;
"""
"""Keys are numbers, the rest is text as people typed it. Granted as a new project grants, all to the three roles
and without row-level security. Source: https://supabase.com/docs/guides/database/postgres/roles
"""


def make_tables(database_url: str) -> None:
    """The three tables, empty."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(TABLES)


def fill(database_url: str, shop: SampleShop) -> None:
    """The sample shop's rows; a line that repeats a key stays out, since a primary key would have refused it."""
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
