"""The project's PostgreSQL: a few connections, and transactions that have the caller's role."""

import json
import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from tests.gateway.answers import PostgrestError
from tests.gateway.keys import Caller


@dataclass(frozen=True)
class Column:
    """One column of the schema cache. ``default``: the SQL of its default, or None."""

    name: str
    type: str
    default: str | None


@dataclass(frozen=True)
class Relation:
    """One table or view of the schema cache."""

    schema: str
    name: str
    columns: dict[str, Column]
    primary_key: tuple[str, ...]

    @property
    def identifier(self) -> sql.Composable:
        """Its name in SQL."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True)
class Routine:
    """One function of the schema cache. ``result``: scalar, composite (one row) or void; ``set``: returns many."""

    schema: str
    name: str
    arguments: dict[str, str]
    required: frozenset[str]
    result: str
    set: bool
    volatile: bool


@dataclass
class Database:
    """The connections to one database, of a superuser: like PostgREST's ``authenticator`` it may take any role."""

    url: str
    size: int = 10
    _idle: "queue.LifoQueue[psycopg.Connection]" = field(default_factory=queue.LifoQueue)
    _places: "queue.Queue[None]" = field(default_factory=queue.Queue)
    _relations: dict[tuple[str, str], Relation] = field(default_factory=dict)
    _routines: dict[tuple[str, str], list[Routine]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for _ in range(self.size):
            self._places.put(None)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """A connection in autocommit mode, given back afterwards."""
        try:
            self._places.get(timeout=10)
        except queue.Empty:
            # https://docs.postgrest.org/en/v14/references/connection_pool.html#pool-acquisition-timeout
            raise PostgrestError(504, "PGRST003", "Timed out acquiring connection from connection pool.") from None
        try:
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                connection = psycopg.connect(self.url, autocommit=True)
            try:
                yield connection
            finally:
                if connection.broken or connection.closed:
                    connection.close()
                else:
                    self._idle.put(connection)
        finally:
            self._places.put(None)

    @contextmanager
    def transaction(
        self, caller: Caller, *, read_only: bool, timeout: float, schema: str, method: str, path: str
    ) -> Iterator[psycopg.Connection]:
        """A transaction with the caller's role, claims and statement timeout (seconds).

        Source: https://docs.postgrest.org/en/v14/references/transactions.html
        """
        settings = {
            "search_path": f'"{schema}", "public", "extensions"',
            "role": caller.role,
            "request.jwt.claims": json.dumps(caller.claims),
            "request.method": method,
            "request.path": path,
            "statement_timeout": str(int(timeout * 1000)),
        }
        begin = sql.SQL("begin isolation level read committed {}; select {}").format(
            sql.SQL("read only" if read_only else "read write"),
            sql.SQL(", ").join(
                sql.SQL("set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value))
                for name, value in settings.items()
            ),
        )
        with self.connection() as connection:
            try:
                connection.execute(begin)
                yield connection
                connection.execute("commit")
            except BaseException:
                if not connection.closed:
                    connection.execute("rollback")
                raise

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query of our own, outside of any caller's role."""
        with self.connection() as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def relation(self, schema: str, name: str) -> Relation | None:
        """A table or view, from the schema cache."""
        key = (schema, name)
        found = self._relations.get(key) or self._read_relation(schema, name)
        if found:
            self._relations[key] = found
        return found

    def routines(self, schema: str, name: str) -> list[Routine]:
        """The functions of one name, from the schema cache."""
        key = (schema, name)
        found = self._routines.get(key) or self._read_routines(schema, name)
        if found:
            self._routines[key] = found
        return found

    def forget(self) -> None:
        """Empty the schema cache. Hosted projects reload it by an event trigger after each DDL statement.

        Source: https://docs.postgrest.org/en/v14/references/schema_cache.html#automatic-schema-cache-reloading
        """
        self._relations.clear()
        self._routines.clear()

    def close(self) -> None:
        """Close the idle connections."""
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def _read_relation(self, schema: str, name: str) -> Relation | None:
        columns = self.rows(_COLUMNS, (schema, name))
        if not columns:
            return None
        return Relation(
            schema,
            name,
            {row[0]: Column(row[0], row[1], row[2]) for row in columns},
            tuple(row[0] for row in columns if row[3]),
        )

    def _read_routines(self, schema: str, name: str) -> list[Routine]:
        found = []
        for names, types, defaults, result, many, volatile in self.rows(_ROUTINES, (schema, name)):
            arguments = dict(zip(names, types, strict=True))
            required = frozenset(list(arguments)[: len(arguments) - defaults])
            found.append(Routine(schema, name, arguments, required, result, many, volatile))
        return found


_COLUMNS = """
  select a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid),
         coalesce(a.attnum = any (i.indkey), false)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum and a.attgenerated = ''
  left join pg_index i on i.indrelid = c.oid and i.indisprimary
  where n.nspname = %s and c.relname = %s and c.relkind in ('r', 'v', 'm', 'f', 'p')
  order by a.attnum
"""

_ROUTINES = """
  select coalesce(p.proargnames[:p.pronargs], '{}'),
         (select coalesce(array_agg(format_type(t, null) order by o), '{}')
            from unnest(p.proargtypes::oid[]) with ordinality as u (t, o)),
         p.pronargdefaults,
         case when t.typname = 'void' then 'void'
              when t.typtype = 'c' or t.typname = 'record' then 'composite'
              else 'scalar' end,
         p.proretset, p.provolatile = 'v'
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
  join pg_type t on t.oid = p.prorettype
  where n.nspname = %s and p.proname = %s and p.prokind = 'f'
"""
