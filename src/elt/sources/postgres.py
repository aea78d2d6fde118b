"""A shop in PostgreSQL, by ``SOURCE_DB_URL``."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pyarrow as pa
from psycopg import sql

from elt.catalog import TABLES, Table
from elt.errors import SourceError
from elt.postgres import connect, copy_out, database_of, translated_errors
from elt.sources.identity import of_database

_COLUMNS = """
select a.attname, format_type(a.atttypid, null)
from pg_attribute a
where a.attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""


class PostgresSource:
    """Tables of one schema, read in one read-only transaction that sees one moment of the shop.

    A table is streamed by one COPY in key order rather than by keyset pages: rows whose key repeats or is NULL, which
    pages would skip, come as well. The source's statement timeout is lifted for this session only.
    """

    def __init__(self, url: str, *, schema: str = "public", tables: tuple[Table, ...] = TABLES) -> None:
        self._url = url
        self._schema = schema
        self._tables = {table.name: table for table in tables}
        self.description = f"PostgreSQL (SOURCE_DB_URL), schema {schema}"

    @property
    def identity(self) -> str:
        """Which shop it is."""
        host, port, database, user = database_of(self._url, setting="SOURCE_DB_URL")
        return of_database(host, port, database, user, self._schema)

    @contextmanager
    def open(self) -> Iterator["PostgresExtract"]:
        """One repeatable-read transaction."""
        with connect(self._url, setting="SOURCE_DB_URL") as connection:
            with translated_errors("opening the source"):
                connection.execute("begin transaction isolation level repeatable read read only")
                connection.execute("set local statement_timeout = 0")
                # Values are printed the same whatever the server, the role or this machine is set to.
                connection.execute("set local datestyle = 'ISO'")
                connection.execute("set local timezone = 'UTC'")
            yield PostgresExtract(connection, self._schema, self._tables)


class PostgresExtract:
    """The shop as it was when the transaction began."""

    in_flight = 1
    """One connection."""

    def __init__(self, connection: psycopg.Connection, schema: str, tables: dict[str, Table]) -> None:
        self._connection = connection
        self._schema = schema
        self._tables = tables

    def columns(self, table: str) -> dict[str, str]:  # noqa: D102 - see the port
        with translated_errors(f"reading the columns of {table}"):
            found = {row[0]: row[1] for row in self._connection.execute(_COLUMNS, (self._schema, table))}
        if not found:
            raise SourceError(
                f"SOURCE_DB_URL has no table {self._schema}.{table}",
                next_step="correct SOURCE_DB_URL, set SOURCE_DB_SCHEMA, or give the role the right to see the table",
            )
        return found

    def count(self, table: str) -> int:  # noqa: D102
        with translated_errors(f"counting {table}"):
            row = self._connection.execute(
                sql.SQL("select count(*) from {}").format(sql.Identifier(self._schema, table))
            ).fetchone()
        return int(row[0]) if row else 0

    def pages(self, table: str, rows: int) -> Iterator[pa.Table]:  # noqa: D102
        names = list(self.columns(table))
        known = self._tables.get(table)
        key = known.source_name(known.key.name, names) if known else None
        query = sql.SQL("select {} from {} order by {}").format(
            sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in names),
            sql.Identifier(self._schema, table),
            sql.Identifier(self._schema, table, key) if key else sql.SQL("1"),
        )
        with translated_errors(f"reading {table}"):
            yield from copy_out(self._connection, query, pa.schema([(name, pa.string()) for name in names]), rows)
