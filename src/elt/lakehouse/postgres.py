"""``Tables`` over a direct PostgreSQL connection: COPY into the staging tables, and COPY out.

Arrow and pandas are loaded by the first frame: most commands see none.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import sql

from elt.catalog import WRITE_ROWS
from elt.errors import Unreachable
from elt.lakehouse.ports import Within
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

    def __init__(self, url: str, *, setting: str = "LAKEHOUSE_DB_URL", wait_seconds: float = 1.0) -> None:
        self._url = url
        self._setting = setting
        self._wait_seconds = wait_seconds
        self._sessions: dict[int, psycopg.Connection] = {}
        self._batches = count(1)
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

    def stage(self, execution: str, pieces: "Iterable[tuple[str, pa.Table]]") -> list[int]:  # noqa: D102
        from elt.pages import requests

        return [
            self._try(f"staging {table}", partial(self._copy, execution=execution, table=table, rows=rows))
            for table, rows in requests(pieces, WRITE_ROWS)
        ]

    def _copy(self, connection: psycopg.Connection, execution: str, table: str, rows: "pa.Table") -> int:
        """One COPY; answers its batch's number: each try has its own."""
        import pyarrow as pa

        from elt.copying import copy_in

        batch = next(self._batches)
        for name, value in (("execucao", pa.scalar(execution)), ("lote", pa.scalar(batch))):
            rows = rows.append_column(name, pa.repeat(value, len(rows)))
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(_STAGING)
            copy_in(cursor, sql.Identifier("estagio", table), rows.schema.names, rows)
        return batch

    def in_slices(  # noqa: D102 - see the port
        self,
        function: str,
        staged: Mapping[str, int],
        arguments: Callable[[], Mapping[str, object]],
        *,
        last: Mapping[str, object] | None = None,
        passes: Sequence[str] = (),
        again: Callable[[dict[str, Any]], bool] = lambda _: False,
    ) -> Iterator[dict[str, Any]]:
        while True:
            answer: dict[str, Any] = self.call(function, **arguments(), p_tabelas=list(staged), **(last or {}))  # type: ignore[assignment]
            if not again(answer):
                yield answer
                return

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
        connection = self._sessions.pop(thread, None)
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

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
        connection = self._sessions.get(thread)
        if connection is None or connection.closed:
            connection = self._sessions[thread] = self._open()
        return connection

    def _open(self) -> psycopg.Connection:
        """A connection whose times are in UTC, whatever the server, the database or the role is set to.

        Nor does a time-out of theirs end a statement: a hosted project has one of two minutes.
        """
        connection = connect(self._url, setting=self._setting)
        try:
            with translated_errors(f"opening {self._setting}"):
                print_alike(connection, until_the_end_of="session", time_zone="UTC")
                connection.execute("set statement_timeout = 0")
                if self._name:
                    self._name_it(connection)
        except BaseException:
            connection.close()
            raise
        return connection


_STAGING = sql.SQL("set local statement_timeout = '45s'")
"""No COPY of one batch goes on for longer than a lease."""


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


def _condition(within: Within) -> sql.Composed:
    return sql.SQL("{} = any ({})").format(sql.Identifier(within.column), sql.Literal(list(within.values)))


def _where(conditions: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL("where ") + sql.SQL(" and ").join(conditions) if conditions else sql.SQL("")


def _literal(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
