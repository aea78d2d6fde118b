"""``Tables`` over a direct PostgreSQL connection: COPY into a staging table and one merge per batch; COPY out.

Arrow and pandas are loaded by the first frame: most commands see none.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg import sql

from elt.catalog import WRITE_ROWS
from elt.errors import Unreachable
from elt.lakehouse.ports import Within, Written
from elt.patience import patiently
from elt.postgres import connect, print_alike, translated_errors

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

T = TypeVar("T")

TRIES = 4
"""Tries of one operation when the server does not answer; every one of them can be repeated without harm."""


class PostgresTables:
    """One connection for each thread, opened at the first use and again after it breaks.

    A thread that renews the lease must not wait for one that is in the middle of a long statement.
    """

    in_flight = 1
    write_rows = WRITE_ROWS

    def __init__(self, url: str, *, setting: str = "LAKEHOUSE_DB_URL", wait_seconds: float = 1.0) -> None:
        self._url = url
        self._setting = setting
        self._wait_seconds = wait_seconds
        self._sessions: dict[int, _Session] = {}
        self._name = ""

    def pages(  # noqa: D102 - see the port
        self, table: str, schema: "pa.Schema", *, key: str, size: int, within: Within | None = None
    ) -> "Iterator[pd.DataFrame]":
        from elt.copying import copy_out
        from elt.frames import to_frame

        def page(connection: psycopg.Connection, query: sql.Composed) -> "pd.DataFrame | None":
            found = next(iter(copy_out(connection, query, schema, size)), None)
            return None if found is None else to_frame(found)

        last: str | None = None
        while True:
            query = _page(table, schema.names, key, last, size, within)
            frame = self._try(f"reading {table}", partial(page, query=query))
            if frame is None:
                return
            last = str(frame[key].iloc[-1])
            yield frame
            if len(frame) < size:
                return

    def rows(  # noqa: D102 - see the port
        self, table: str, columns: Sequence[str], *, key: str, size: int, within: Within | None = None
    ) -> Iterator[list[dict[str, str | None]]]:
        last: str | None = None
        while True:
            query = _page(table, columns, key, last, size, within, as_text=True)
            found = self._try(f"reading {table}", partial(_fetch, query=query))
            if not found:
                return
            page = [dict(zip(columns, row, strict=True)) for row in found]
            last = page[-1][key]
            yield page
            if len(page) < size:
                return

    def upsert(self, table: str, rows: "pd.DataFrame", *, key: str) -> Written:  # noqa: D102
        import pyarrow as pa

        if rows.empty:
            return Written()
        data = pa.Table.from_pandas(rows, preserve_index=False)
        inserted, updated = self._try(f"writing {table}", lambda c: self._merge(c, table, data, key))
        return Written(inserted, updated, len(rows) - inserted - updated)

    def _merge(self, connection: psycopg.Connection, table: str, data: "pa.Table", key: str) -> tuple[int, int]:
        """COPY into a staging table, then one merge; both in one transaction."""
        from elt.copying import copy_in

        columns = list(data.schema.names)
        staging = sql.Identifier(f"staging_{table.replace('.', '_')}")
        others = [name for name in columns if name != key]
        staged = self._sessions[threading.get_ident()].staged
        if staged.get(table) != columns:
            connection.execute(sql.SQL("drop table if exists {}").format(staging))
            connection.execute(
                sql.SQL("create temporary table {} on commit delete rows as select {} from {} with no data").format(
                    staging, _identifiers(columns), _name(table)
                )
            )
            staged[table] = columns
        merge = sql.SQL(
            """
            with merged as (
              insert into {table} as target ({columns}) select {columns} from {staging} order by {key}
              on conflict ({key}) do update set {assignments}
              where ({targets}) is distinct from ({excluded})
              returning (xmax = 0) as inserted
            )
            select count(*) filter (where inserted), count(*) filter (where not inserted) from merged
            """
        ).format(
            table=_name(table),
            columns=_identifiers(columns),
            staging=staging,
            key=sql.Identifier(key),
            assignments=sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in others
            ),
            targets=sql.SQL(", ").join(sql.Identifier("target", name) for name in others),
            excluded=sql.SQL(", ").join(sql.Identifier("excluded", name) for name in others),
        )
        with connection.transaction(), connection.cursor() as cursor:
            copy_in(cursor, staging, columns, data)
            row = cursor.execute(merge).fetchone()
        assert row is not None  # noqa: S101 - an aggregate always answers one row
        return int(row[0]), int(row[1])

    def delete(self, table: str, within: Within) -> int:  # noqa: D102
        statement = sql.SQL("delete from {} {}").format(_name(table), _where([_condition(within)]))
        return self._try(f"deleting from {table}", lambda c: c.execute(statement).rowcount)

    def count(self, table: str, within: Within | None = None) -> int:  # noqa: D102
        query = sql.SQL("select count(*) from {} {}").format(
            _name(table), _where([_condition(within)] if within else [])
        )
        row = self._try(f"counting {table}", lambda c: c.execute(query).fetchone())
        return int(row[0]) if row else 0

    def call(self, function: str, **arguments: object) -> object:  # noqa: D102
        named = sql.SQL(", ").join(
            sql.SQL("{} => {}").format(sql.Identifier(name), sql.Literal(_literal(value)))
            for name, value in arguments.items()
        )
        query = sql.SQL("select {}({})").format(_name(function), named)
        row = self._try(f"calling {function}", lambda c: c.execute(query).fetchone())
        return row[0] if row else None

    def name_sessions(self, name: str) -> None:  # noqa: D102 - see the port
        self._name = name
        self._try("naming the session", self._name_it)

    def _name_it(self, connection: psycopg.Connection) -> None:
        connection.execute("select set_config('application_name', %s, false)", (self._name,))

    def close(self) -> None:  # noqa: D102
        for thread in list(self._sessions):
            self._close(thread)

    def _close(self, thread: int) -> None:
        session = self._sessions.pop(thread, None)
        if session is not None:
            with suppress(psycopg.Error):
                session.connection.close()

    def _try(self, doing: str, operation: Callable[[psycopg.Connection], T]) -> T:
        """The operation's result; a server that does not answer is asked again, with growing pauses."""

        def once() -> T:
            connection = self._connected()
            try:
                with translated_errors(doing):
                    return operation(connection)
            except Unreachable:
                self._close(threading.get_ident())
                raise

        return patiently(once, tries=TRIES, wait_seconds=self._wait_seconds)

    def _connected(self) -> psycopg.Connection:
        thread = threading.get_ident()
        session = self._sessions.get(thread)
        if session is None or session.connection.closed:
            session = self._sessions[thread] = _Session(self._open())
        return session.connection

    def _open(self) -> psycopg.Connection:
        """A connection whose times are in UTC, whatever the server, the database or the role is set to."""
        connection = connect(self._url, setting=self._setting)
        try:
            with translated_errors(f"opening {self._setting}"):
                print_alike(connection, until_the_end_of="session", time_zone="UTC")
                if self._name:
                    self._name_it(connection)
        except BaseException:
            connection.close()
            raise
        return connection


@dataclass
class _Session:
    """One thread's connection, and the columns of each staging table it has."""

    connection: psycopg.Connection
    staged: dict[str, list[str]] = field(default_factory=dict)


def _fetch(connection: psycopg.Connection, query: sql.Composed) -> list[tuple[str | None, ...]]:
    return connection.execute(query).fetchall()


def _page(
    table: str,
    columns: Sequence[str],
    key: str,
    last: str | None,
    size: int,
    within: Within | None,
    *,
    as_text: bool = False,
) -> sql.Composed:
    """The query of at most ``size`` rows whose key comes after ``last``, in the order of the key."""
    conditions: list[sql.Composable] = [_condition(within)] if within else []
    if last is not None:
        conditions.append(sql.SQL("{} > {}").format(sql.Identifier(key), sql.Literal(last)))
    column = sql.SQL("{}::text" if as_text else "{}")
    return sql.SQL("select {} from {} {} order by {} limit {}").format(
        sql.SQL(", ").join(column.format(sql.Identifier(name)) for name in columns),
        _name(table),
        _where(conditions),
        sql.Identifier(*table.split("."), key),  # not the text of that name
        sql.Literal(size),
    )


def _name(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def _identifiers(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _condition(within: Within) -> sql.Composed:
    return sql.SQL("{} = any ({})").format(sql.Identifier(within.column), sql.Literal(list(within.values)))


def _where(conditions: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL("where ") + sql.SQL(" and ").join(conditions) if conditions else sql.SQL("")


def _literal(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
