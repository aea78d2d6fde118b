"""A shop in a Supabase project, by ``SUPABASE_URL`` and ``SUPABASE_KEY``, over PostgREST."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from postgrest.types import CountMethod

from elt.catalog import EXTRACT_BYTES, EXTRACT_ROWS, Table, children_first
from elt.concurrency import do_each, each, interleave
from elt.errors import (
    Denied,
    LakehouseError,
    Missing,
    NoSuchTable,
    Rejected,
    SourceError,
    Timeout,
    TooLarge,
    Unreachable,
)
from elt.sources.identity import of_project
from elt.sources.port import ACCEPT
from elt.sources.printed import KINDS, printed
from elt.sqlstates import NOT_GRANTED
from elt.supabase import IN_FLIGHT, NOT_EXPOSED, OPEN_ROLES, SECRET, Project, as_text, check_address, host_of, quoted

_NO_NUMBER = "~"
"""A value that only a text column can be compared with."""

_TYPE = re.compile(r"(?:for type|value for enum) (.+?): ")
"""PostgreSQL's words: ``invalid input syntax for type integer: "~"``."""

_LOOSE = frozenset(
    (
        *("real", "double precision", "float4", "float8", "interval", "money", "bytea"),
        *("daterange", "tsrange", "tstzrange", "datemultirange", "tsmultirange", "tstzmultirange"),
    )
)
"""Types whose text depends on settings that cannot be set over HTTP."""

_KEYS_AT_A_TIME = 100
"""Keys in one filter: they stand in the URL."""

_WORTH_CUTTING = 5_000
"""Rows of a range that are worth the request for its cut."""


_TURN_ROWS = 1_000
"""Rows of a range that come one after the other before those of the next: the order of a table's rows, which is part of
its fingerprint, then depends neither on the pages' sizes nor on what the server refused. A hosted project's «Max rows»
is as many, so this is the order in which earlier versions read it. Source: Supabase, "API settings"."""


class SupabaseSource:
    """Tables of the schema ``public``: those that are named to it, no others.

    The API has no transaction over several requests, so one look is made consistent in another way: when it is opened,
    the last key of each table is noted, children first, and nothing after it is read. Rows added meanwhile come with
    the next look, and every order read has its parents among the rows read.

    ``accept_filtered``: rows that row-level security hides from the key count as rows that are not there.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        tables: tuple[Table, ...],
        accept_filtered: bool = False,
        in_flight: int = IN_FLIGHT,
        wait_seconds: float = 1.0,
        allow_http: bool = False,
    ) -> None:
        settings = {"url_setting": "SUPABASE_URL", "key_setting": "SUPABASE_KEY"}
        check_address(url, key, **settings, allow_http=allow_http)

        def connect() -> Project:  # a closure, because a partial would show the key in its repr
            return Project(url, key, in_flight=in_flight, wait_seconds=wait_seconds, allow_http=allow_http, **settings)

        self._connect = connect
        self._tables = tables
        self._accept_filtered = accept_filtered
        self.description = f"Supabase (SUPABASE_URL, {host_of(url)}), schema public"
        self.identity = of_project(host_of(url))

    @contextmanager
    def open(self) -> Iterator["SupabaseExtract"]:
        """One look."""
        with self._connect() as project:
            found = _look(project, self._tables)
            yield SupabaseExtract(project, found, accept_filtered=self._accept_filtered)


@dataclass(frozen=True)
class _Looked:
    """A table as it was when the look began: columns with their types, its key's column, its last key, and its rows.

    ``last`` is None in a table without rows, and in one that has rows without a key. ``row_bytes``: the size of one
    row, by which the first page is asked for.
    """

    columns: dict[str, str]
    key: str
    last: str | None
    rows: int
    row_bytes: int = 0


_Found = dict[str, "_Looked | SourceError"]
"""What each table is like; an error waits until somebody asks for that table."""

_End = tuple[str, str | None, int]
"""The key's column, the last key, and how many rows there are."""


def _look(project: Project, tables: Sequence[Table]) -> _Found:
    """Look at every table: the columns of all, then all their types, while the last keys are noted, children first."""
    at_once = project.in_flight
    described: dict[str, dict[str, str]] = {}
    looked: _Found = {}
    rows: dict[str, dict[str, object]] = {}
    denied: dict[str, Denied] = {}

    def describe() -> None:
        described.update(_described(project))

    def look_at(table: Table) -> None:
        try:
            rows[table.name] = _first_row(project, table)
        except SourceError as error:
            looked[table.name] = error
        except Denied as error:
            if error.code != NOT_GRANTED:
                raise
            denied[table.name] = error

    looks: list[Callable[[], None]] = [describe, *(partial(look_at, table) for table in tables)]
    do_each(_begin, looks, at_once)
    if denied:
        raise _not_granted(project, [table.name for table in tables if table.name in denied], denied)
    there = [table for table in tables if table.name in rows]
    names = {table.name: _names(project, table, list(rows[table.name]), described) for table in there}
    types = {table: {name: described.get(table, {}).get(name, "") for name in found} for table, found in names.items()}
    ends: dict[str, _End] = {}

    def note_ends() -> None:
        for group in children_first(there):
            for table, end in zip(group, each(partial(_end, project, names), group, at_once), strict=True):
                ends[table.name] = end

    def ask_type(table: str, column: str) -> None:
        types[table][column] = _type(project, table, column)

    unknown = [(table, column) for table, found in types.items() for column, kind in found.items() if not kind]
    questions: list[Callable[[], None]] = [note_ends, *(partial(ask_type, *column) for column in unknown)]
    do_each(_begin, questions, at_once)
    sizes = {name: len(orjson.dumps(row)) for name, row in rows.items()}
    return looked | {name: _Looked(types[name], *end, sizes[name]) for name, end in ends.items()}


def _begin(work: Callable[[], None]) -> None:
    work()


def _described(project: Project) -> dict[str, dict[str, str]]:
    """Each table's columns and their types, as the API describes itself to secret keys; nothing if it does not.

    Source: PostgREST, "OpenAPI" (``format`` is PostgreSQL's name of a column's type); the role's own tables only.
    """
    if project.role != "service_role":
        return {}
    headers = {**project.headers, "Accept": "application/openapi+json"}
    try:
        answer = project.ask(
            "reading the API's description", lambda: project.http.get(f"{project.url}/rest/v1/", headers=headers)
        )
    except Unreachable:
        raise
    except LakehouseError:  # switched off, or not for this key
        return {}
    definitions = orjson.loads(answer.content).get("definitions", {})
    return {
        table: {column: str(found.get("format", "")) for column, found in definition.get("properties", {}).items()}
        for table, definition in definitions.items()
    }


def _end(project: Project, names: dict[str, list[str]], table: Table) -> _End:
    """The end of a table: at one moment, by one request."""
    columns = names[table.name]
    key = table.source_name(table.key.name, columns) or table.key.name
    if key not in columns:
        return key, None, 0
    query = _query(project, table.name, f"{quoted(key)}::text", CountMethod.exact)
    query = query.order(quoted(key), desc=True, nullsfirst=True).limit(1)
    found = project.ask(f"reading the last key of {table.name}", query.execute)
    return key, found.data[0][key] if found.data else None, int(found.count or 0)


def _first_row(project: Project, table: Table) -> dict[str, object]:
    """The first row; nothing in an empty table."""
    try:
        rows = project.ask(f"reading the columns of {table.name}", _query(project, table.name, "*").limit(1).execute)
    except Missing as error:
        if error.code == NOT_EXPOSED:
            raise
        raise NoSuchTable(
            f"{project.url_setting} has no table {table.name} in its schema public: {error.what}",
            next_step=f"correct {project.url_setting}, or expose the table in the schema public",
        ) from error
    return dict(rows.data[0]) if rows.data else {}


def _not_granted(project: Project, names: Sequence[str], denied: Mapping[str, Denied]) -> Denied:
    """The error for tables that the key's role may not read.

    Since 30 October 2026 a new table has no grant for the API. Source: https://supabase.com/changelog, 28 April 2026.
    """
    words = "; ".join(dict.fromkeys(error.what for error in denied.values()))
    usage = "grant usage on schema public to service_role; " if "for schema" in words else ""
    grant = f"{usage}grant select on {', '.join(f'public.{name}' for name in names)} to service_role;"
    paste = f"paste into {project.sql_editor}: {grant}"
    if project.role in OPEN_ROLES:  # a grant to such a role would show the shop's customers to everybody
        paste = f"use a secret key in {project.key_setting}: {SECRET}; if it is refused too, {paste}"
    error = Denied(
        f"{project.key_setting}: its role ({project.role or 'unknown'}) may not read {', '.join(names)}: {words}",
        next_step=paste,
    )
    error.code = NOT_GRANTED
    return error


def _names(project: Project, table: Table, first_row: list[str], described: dict[str, dict[str, str]]) -> list[str]:
    """The names of the columns; those of an empty table by its description, or by asking for each that we expect."""
    known = first_row or list(described.get(table.name, ()))
    return known or [name for name in _expected(table) if _exists(project, table, name)]


def _expected(table: Table) -> list[str]:
    """The names to ask an empty table for."""
    return ["id", *table.column_names]


def _exists(project: Project, table: Table, name: str) -> bool:
    try:
        project.ask(f"reading {table.name}", _query(project, table.name, quoted(name)).limit(0).execute)
    except Missing:
        return False
    return True


def _type(project: Project, table: str, column: str) -> str:
    """The column's type by PostgreSQL's name; ``text`` for whatever holds text or is not named.

    For keys that see no description of the API (Source: https://supabase.com/changelog/42949), types are asked for one
    by one: compared with a value that is no number, the server names the type that could not read it. A column that
    takes the value is text.
    A name with signs in it, which a filter might take for something else, is no column of the catalog: not asked for.
    """
    if not column.isidentifier():
        return "text"
    try:
        query = _query(project, table, quoted(column)).eq(column, _NO_NUMBER).limit(0)
        project.ask(f"reading the type of {table}.{column}", query.execute)
    except Rejected as error:
        found = _TYPE.search(error.what)
        return found[1] if found else "text"
    except Missing:  # json has no comparison
        return "json"
    return "text"


def _query(project: Project, table: str, columns: str, count: CountMethod | None = None) -> Any:  # noqa: ANN401
    return project.postgrest.from_(table).select(columns, count=count)


class SupabaseExtract:
    """The shop up to the keys that were the last when the look began."""

    def __init__(self, project: Project, looked: _Found, *, accept_filtered: bool) -> None:
        self._project = project
        self._looked = looked
        self._accept_filtered = accept_filtered

    def columns(self, table: str) -> dict[str, str]:  # noqa: D102 - see the port
        return dict(self._table(table).columns)

    def warnings(self, tables: Sequence[str]) -> list[str]:
        """Over HTTP nobody can tell which rows a key may not see, unless it sees none, or set how values print."""
        self._refuse_hidden(tables)
        found = []
        if self._accept_filtered and not self._sees_all:
            found.append(
                f"{ACCEPT}: rows that row-level security hides from {self._key} count as rows that are not there"
            )
        elif not self._sees_all:
            found.append(
                f"whether row-level security hides rows from {self._key} cannot be told over HTTP; hidden rows count "
                f"as rows that are not there. A secret key sees all ({SECRET}); if a part is all you want, set {ACCEPT}"
            )
        columns = [(table, name, kind) for table in tables for name, kind in self._table(table).columns.items()]
        if loose := [f"{t}.{name} ({kind})" for t, name, kind in columns if self._is_loose(t, name, kind)]:
            found.append(
                f"{', '.join(loose)}: over HTTP printed as the server is set to, maybe not to the last digit; if that "
                "setting changes, the table counts as changed. SOURCE_DB_URL reads them exactly"
            )
        return found

    def _is_loose(self, table: str, name: str, kind: str) -> bool:
        """Whether a column's text depends on the server's settings: only moments that are no key are read from JSON."""
        element = kind.removesuffix("[]")
        as_text = element != kind or name == self._table(table).key
        return element in _LOOSE or (as_text and element in KINDS)

    @property
    def _key(self) -> str:
        return f"the key in {self._project.key_setting} ({self._project.role or 'of an unknown role'})"

    @property
    def _sees_all(self) -> bool:
        """Whether row-level security does not apply to the key. Source: Supabase, "Understanding API keys"."""
        return self._project.role == "service_role"

    def _refuse_hidden(self, tables: Sequence[str]) -> None:
        """``SourceError`` for tables without rows, if the key may be one that sees none, and that was not accepted."""
        if self._sees_all or self._accept_filtered:
            return
        if empty := [table for table in tables if self._table(table).rows == 0]:
            raise SourceError(
                f"{', '.join(empty)}: {self._key} sees no rows; a table with row-level security looks empty to a key "
                "without the right to read it",
                kept="nothing was written",
                next_step=f"use a secret key: {SECRET}; or read the shop by SOURCE_DB_URL, as the tables' owner or a "
                f"role with bypassrls; or, if there is nothing to see, set {ACCEPT}",
            )

    @property
    def in_flight(self) -> int:  # noqa: D102 - see the port
        return self._project.in_flight

    def count(self, table: str) -> int:
        """The exact number of rows when the look began; ``pages`` refuses a difference."""
        return self._table(table).rows

    def pages(self, table: str, rows: int, most_bytes: int = EXTRACT_BYTES) -> Iterator[pa.Table]:
        """Keyset pages of several ranges of the key, each range to its empty page, a few at a time.

        ``SourceError`` if the rows read are not the rows counted, with the cause: rows without a key, a key that
        repeats, or a table that changed meanwhile.
        """
        looked = self._table(table)
        self._refuse_hidden([table])
        if looked.rows and looked.last is None:
            raise self._without_key(table, looked)
        read = 0
        at_once = self._project.in_flight
        size, share = max(1, min(rows, EXTRACT_ROWS) // at_once), max(1, most_bytes // at_once)
        ranges = self._ranges(table, looked)
        readers = (self._range(table, looked, low, high, size, share) for low, high in ranges)
        ends: list[str] = []
        for page, _ in interleave(readers, at_once, over=itemgetter(1)):
            read += len(page)
            ends.append(page.column(looked.key)[-1].as_py())
            yield page
        if read != looked.rows:
            raise self._difference(table, looked, read, ends)

    def _range(
        self, table: str, looked: _Looked, low: str | None, high: str, most_rows: int, most_bytes: int
    ) -> Iterator[tuple[pa.Table, bool]]:
        """The rows with ``low`` < key <= ``high``, to the row of ``high`` itself; with each page, whether a turn ends.

        However few rows a page has, only that row or an empty page is the end. How many are asked for goes by the size
        of those before; an answer that is twice too large all the same is given up, and asked for in smaller ones.
        """
        left = _TURN_ROWS
        size = min(most_rows, max(1, most_bytes // max(looked.row_bytes, 1)))
        names = list(looked.columns)
        moments = {name: KINDS[kind] for name, kind in looked.columns.items() if kind in KINDS and name != looked.key}
        columns = as_text(names, but=moments)
        values_of = itemgetter(*names, names[0])  # one more than wanted: a single one would come without its tuple
        while low != high:
            query = self._up_to(table, columns, looked, high).order(quoted(looked.key))
            if low is not None:
                query = query.gt(looked.key, low)
            try:
                found = self._project.rows(f"reading {table}", query.limit(size), 2 * most_bytes if size > 1 else None)
            except (Timeout, TooLarge):
                if size == 1:
                    raise
                most_rows = size = size // 2  # what the server did not take once, it is not asked for again
                continue
            if not found:
                return
            values = [pa.array(column, pa.string()) for column in zip(*map(values_of, found), strict=True)]
            page = pa.table(values[: len(names)], names)
            for name, kind in moments.items():
                page = page.set_column(names.index(name), name, printed(page.column(name), kind))
            keys = page.column(looked.key)
            if pc.count_distinct(keys).as_py() < len(keys):
                raise _repeats(table, looked.key)
            low = str(keys[-1].as_py())
            fit = max(1, most_bytes * len(page) // max(page.nbytes, 1))
            size = min(fit, most_rows, 2 * size)
            while len(page):
                piece, page = page.slice(0, left), page.slice(left)
                left = left - len(piece) or _TURN_ROWS
                yield piece, left == _TURN_ROWS

    def _ranges(self, table: str, looked: _Looked) -> list[tuple[str | None, str]]:
        """The table cut at a few keys into ranges of about the same length."""
        if looked.last is None:
            return []
        key, last, at_once = quoted(looked.key), looked.last, self._project.in_flight

        def cut(number: int) -> list[str]:
            query = self._up_to(table, f"{key}::text", looked, last).order(key)
            query = query.offset(looked.rows * number // ranges).limit(1)
            found = self._project.ask(f"reading {table}", query.execute).data
            return [str(row[looked.key]) for row in found]

        ranges = min(at_once, looked.rows // _WORTH_CUTTING)
        numbers = range(1, ranges)
        cuts = list(dict.fromkeys([*chain.from_iterable(each(cut, numbers, at_once)), last]))
        return list(zip([None, *cuts], cuts, strict=False))

    def _up_to(self, table: str, columns: str, looked: _Looked, high: str, count: CountMethod | None = None) -> Any:  # noqa: ANN401
        return _query(self._project, table, columns, count).lte(looked.key, high)

    def _count(self, table: str, looked: _Looked) -> int:
        if looked.last is None:
            return 0
        query = self._up_to(table, quoted(looked.key), looked, looked.last, CountMethod.exact).limit(1)
        return int(self._project.ask(f"counting {table}", query.execute).count or 0)

    def _without_key(self, table: str, looked: _Looked) -> SourceError:
        query = _query(self._project, table, quoted(looked.key), CountMethod.exact).is_(looked.key, None).limit(1)
        rows = int(self._project.ask(f"counting {table}", query.execute).count or 0)
        return SourceError(
            f"{table}: {rows:,} rows have no {looked.key}; over HTTP such rows cannot be read in pages",
            kept="nothing was written",
            next_step="give them a key, or read the shop with SOURCE_DB_URL, which takes such rows too",
        )

    def _difference(self, table: str, looked: _Looked, read: int, ends: list[str]) -> SourceError:
        """Why not as many rows were read as there were when the look began. ``ends``: the last key of each page."""
        counted = self._count(table, looked)
        if counted > read and self._stand_twice(table, looked, ends):
            return _repeats(table, looked.key)
        return SourceError(
            f"{table}: read {read:,} rows, but the source counted {looked.rows:,} at the beginning and counts "
            f"{counted:,} now: it changed while it was read",
            kept="nothing was written",
            next_step="run again when nobody writes to the source",
        )

    def _stand_twice(self, table: str, looked: _Looked, keys: list[str]) -> bool:
        """Whether one of the keys, on which a page ended, belongs to more than one row."""
        for start in range(0, len(keys), _KEYS_AT_A_TIME):
            some = keys[start : start + _KEYS_AT_A_TIME]
            query = _query(self._project, table, quoted(looked.key), CountMethod.exact).in_(looked.key, some).limit(1)
            if (self._project.ask(f"counting {table}", query.execute).count or 0) > len(some):
                return True
        return False

    def _table(self, table: str) -> _Looked:
        looked = self._looked.get(table)
        if looked is None:
            raise SourceError(f"{self._project.url_setting}: the table {table} is not in the catalog")
        if isinstance(looked, SourceError):
            raise looked
        return looked


def _repeats(table: str, key: str) -> SourceError:
    return SourceError(
        f"{table}: the key {key} repeats; over HTTP a table is read in pages by its key, which must be unique",
        kept="nothing was written",
        next_step=f"make {key} unique in {table}, or read the shop with SOURCE_DB_URL, which takes such rows too",
    )
