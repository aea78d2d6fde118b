"""A shop's own project: its tables in the schema ``public``, as a source to read from."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from elt.catalog import Column, Table
from elt.rules import KEY, Type
from elt.silver import TABLES
from elt.sources.sample import SampleShop

_TYPES: dict[Type, str] = {"text": "text", "integer": "integer", "money": "numeric", "date": "date"}
_GRANTED = """
grant usage on schema public to anon, authenticated, service_role;
grant all on {tables} to anon, authenticated, service_role;
"""
"""As a new project grants, all to the three roles and without row-level security.

Source: https://supabase.com/docs/guides/database/postgres/roles
"""


def make_tables(database_url: str, tables: Sequence[Table] = TABLES, *, as_typed: bool = False) -> None:
    """The declared tables, empty. ``as_typed``: all but the keys are text, as people typed it."""

    def of(column: Column) -> str:
        if column.rule is KEY:
            return "bigint"
        return "text" if as_typed else _TYPES[column.rule.type]

    with psycopg.connect(database_url, autocommit=True) as connection:
        for table in tables:
            columns = ", ".join(f"{column.name} {of(column)}" for column in table.columns)
            connection.execute(f"create table {table.name} ({columns}, primary key ({table.key.name}))".encode())
        connection.execute(_GRANTED.format(tables=", ".join(table.name for table in tables)).encode())


def fill(database_url: str, shop: SampleShop) -> None:
    """The sample shop's rows into tables ``as_typed``; of lines with the same key the first stays."""
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        for table in (declared.name for declared in shop.tables):
            target, columns = sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, shop.columns(table)))
            cursor.execute(sql.SQL("create temp table lines (like {}) on commit drop").format(target))
            with cursor.copy(sql.SQL("copy lines ({}) from stdin").format(columns)) as copy:
                for page in shop.pages(table, 10_000):
                    for row in zip(*page.to_pydict().values(), strict=True):
                        copy.write_row(row)
            cursor.execute(sql.SQL("insert into {} select * from lines on conflict do nothing").format(target))
            cursor.execute("drop table lines")
