"""A shop in PostgreSQL, by ``SOURCE_DB_URL``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pyarrow as pa
from psycopg import sql

from elt.catalog import EXTRACT_BYTES, Table
from elt.copying import copy_out
from elt.errors import NoSuchTable, SourceError
from elt.postgres import connect, database_of, print_alike, translated_errors
from elt.sources.identity import of_database
from elt.sources.port import ACCEPT

_COLUMNS = """
with recursive parts (number, type, whole) as (
  select a.attnum, a.atttypid, true
  from pg_catalog.pg_attribute a
  where a.attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) and a.attnum > 0 and not a.attisdropped
  union
  select parts.number, part.type, parts.whole and part.whole
  from parts
  join pg_catalog.pg_type t on t.oid = parts.type
  cross join lateral (
    select t.typbasetype, true where t.typtype = 'd'
    union all
    select t.typelem, false where t.typcategory = 'A'
    union all
    select r.rngsubtype, false from pg_catalog.pg_range r where r.rngtypid = t.oid
    union all
    select c.atttypid, false from pg_catalog.pg_attribute c
    where t.typtype = 'c' and c.attrelid = t.typrelid and c.attnum > 0 and not c.attisdropped
  ) as part (type, whole)
)
select
  a.attname,
  case when s.nspname = 'pg_catalog' then format_type(a.atttypid, null)
       else case when s.nspname in ('public', 'extensions') then '' else quote_ident(s.nspname) || '.' end
         || quote_ident(coalesce(e.typname, t.typname)) || case when e.oid is null then '' else '[]' end
  end,
  (select format_type(p.type, null) from parts p join pg_catalog.pg_type b on b.oid = p.type
   where p.number = a.attnum and p.whole and b.typtype <> 'd'),
  exists (select from parts p where p.number = a.attnum and format_type(p.type, null) in (
    'timestamp with time zone', 'tstzmultirange'))
from pg_catalog.pg_attribute a
join pg_catalog.pg_type t on t.oid = a.atttypid
left join pg_catalog.pg_type e on e.oid = t.typelem and t.typcategory = 'A'
join pg_catalog.pg_namespace s on s.oid = t.typnamespace
where a.attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""
"""Each column's name, the name of its type, the built-in type under its domains, and whether it holds instants.

Types are named as with the search path of a new database, whatever the role's is: a name is part of a fingerprint.
"""

_INSTANT, _MONEY = "timestamp with time zone", "money"

_TEXT = {
    # In UTC with its offset, as a session in UTC prints it, without setting the session's zone: views compute by that.
    _INSTANT: "replace(replace(({} at time zone 'UTC')::text || '+00', ' BC+00', '+00 BC'), 'infinity+00', 'infinity')",
    _MONEY: "{}::numeric::text",  # its own text is R$ 1.234,56 or $1,234.56, by the server's lc_monetary
}
"""How a value becomes text where ``::text`` depends on the database's settings, by built-in type."""

_GUARDED = """
with recursive reached (relation, reader, through) as (
  select to_regclass(format('%%I.%%I', %s::text, %s::text))::oid, me.oid, null::oid
  from pg_catalog.pg_roles me where me.rolname = current_user
  union
  select d.refobjid, case when o.invoker then me.oid else v.relowner end, case when o.invoker then null else v.oid end
  from reached
  join pg_catalog.pg_roles me on me.rolname = current_user
  join pg_catalog.pg_class v on v.oid = reached.relation and v.relkind in ('v', 'm')
  join pg_catalog.pg_rewrite w on w.ev_class = v.oid
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
    and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> v.oid
  cross join lateral (
    select coalesce(bool_or(option_value::boolean), false)
    from pg_options_to_table(v.reloptions) where option_name = 'security_invoker'
  ) as o (invoker)
)
select distinct
  format('%%I.%%I', n.nspname, c.relname),
  c.relkind = 'f',
  quote_ident(r.rolname),
  quote_ident(pg_get_userbyid(c.relowner)),
  c.relforcerowsecurity,
  (select format('%%s %%I.%%I', case v.relkind when 'm' then 'materialized view' else 'view' end, s.nspname, v.relname)
   from pg_catalog.pg_class v join pg_catalog.pg_namespace s on s.oid = v.relnamespace where v.oid = reached.through),
  coalesce((
    select bool_or(p.polpermissive and u.condition = 'true') and bool_and(p.polpermissive or u.condition = 'true')
    from pg_catalog.pg_policy p
    cross join lateral (select pg_get_expr(p.polqual, p.polrelid)) as u (condition)
    where p.polrelid = c.oid and p.polcmd in ('r', '*') and u.condition is not null
      and exists (select from unnest(p.polroles) as role
                  where case when role = 0 then true else pg_has_role(r.oid, role, 'usage') end)
  ), false)
from reached
join pg_catalog.pg_class c on c.oid = reached.relation
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_roles r on r.oid = reached.reader
where c.relkind = 'f'
  or c.relrowsecurity and not r.rolsuper and not r.rolbypassrls
  and (c.relforcerowsecurity or not pg_has_role(r.oid, c.relowner, 'usage'))
order by 1
"""
"""The relations behind a table whose rows somebody else decides about: tables under row-level security, foreign tables.

Views are looked through; what stands behind one is read as the view's owner, or as the session's role where the view
says ``security_invoker``. The last column: whether a policy is literally ``true`` and no restrictive one is anything
else. Sources: PostgreSQL's documentation, "Row Security Policies" and "CREATE VIEW", and ``check_enable_rls`` in rls.c.
"""


@dataclass(frozen=True)
class _Column:
    """A column: its type's name, the built-in type under its domains, and whether it holds instants somewhere."""

    name: str
    kind: str
    base: str | None
    instants: bool

    @property
    def text(self) -> sql.Composable:
        """Its value as text, the same under every setting of the database."""
        return sql.SQL(_TEXT.get(self.base or "", "{}::text")).format(sql.Identifier(self.name))

    @property
    def local(self) -> bool:
        """Whether its text holds instants in the session's time zone."""
        return self.instants and self.base != _INSTANT


@dataclass(frozen=True)
class _Guarded:
    """A relation behind a table: who reads it, whose it is, through which view, and whether that shows every row."""

    relation: str
    foreign: bool
    reader: str
    owner: str
    forced: bool
    through: str | None
    open: bool

    @property
    def hides(self) -> bool:
        """Whether row-level security may hide rows of it."""
        return not self.foreign and not self.open

    @property
    def ways_on(self) -> list[str]:
        """What makes every row visible; none of them is the owner where the policies are forced on that one too."""
        if self.through:
            as_owner = f"alter {self.through} owner to {self.owner}"
        else:
            as_owner = f"connect in SOURCE_DB_URL as {self.owner}, its owner"
        return [*([] if self.forced else [as_owner]), f"alter role {self.reader} bypassrls"]


@dataclass(frozen=True)
class _Looked:
    columns: tuple[_Column, ...]
    guarded: tuple[_Guarded, ...]

    @property
    def hiding(self) -> list[_Guarded]:
        return [one for one in self.guarded if one.hides]


class PostgresSource:
    """Tables of one schema, read in one read-only transaction that sees one moment of the shop.

    A table is streamed by one COPY in key order rather than by keyset pages: rows whose key repeats or is NULL, which
    pages would skip, come as well. The source's statement timeout is lifted for this session only.

    ``accept_filtered``: rows that row-level security hides count as rows that are not there; otherwise it is an error.
    ``tables``: those whose key is known; another one is read in the order of its first column.
    """

    def __init__(
        self, url: str, *, schema: str = "public", accept_filtered: bool = False, tables: tuple[Table, ...] = ()
    ) -> None:
        self._url = url
        self._schema = schema
        self._accept_filtered = accept_filtered
        self._tables = {table.name: table for table in tables}
        self.description = f"PostgreSQL (SOURCE_DB_URL), schema {schema}"

    @property
    def identity(self) -> str:
        """Which shop it is."""
        host, port, database, user = database_of(self._url, setting="SOURCE_DB_URL")
        return of_database(host, port, database, user, self._schema)

    @contextmanager
    def open(self) -> Iterator["PostgresExtract"]:
        """One repeatable-read transaction. Time zone and search path stay the source's: its views compute by them."""
        with translated_errors("closing the source"), connect(self._url, setting="SOURCE_DB_URL") as connection:
            with translated_errors("opening the source"):
                connection.execute("begin transaction isolation level repeatable read read only")
                connection.execute("set local statement_timeout = 0")
                print_alike(connection, until_the_end_of="transaction")
            yield PostgresExtract(connection, self._schema, self._tables, accept_filtered=self._accept_filtered)


class PostgresExtract:
    """The shop as it was when the transaction began."""

    in_flight = 1
    """One connection."""

    def __init__(
        self, connection: psycopg.Connection, schema: str, tables: dict[str, Table], *, accept_filtered: bool
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._tables = tables
        self._accept_filtered = accept_filtered
        self._looked: dict[str, _Looked] = {}

    def columns(self, table: str) -> dict[str, str]:  # noqa: D102 - see the port
        return {column.name: column.kind for column in self._look(table).columns}

    def warnings(self, tables: Sequence[str]) -> list[str]:  # noqa: D102
        looked = {table: self._look(table) for table in tables}
        self._refuse_hidden(tables)
        found = []
        if hiding := {table: one.hiding for table, one in looked.items() if one.hiding}:
            found.append(f"{ACCEPT}: {_said(hiding)}: rows that it hides count as rows that are not there")
        if foreign := [table for table, one in looked.items() if any(guarded.foreign for guarded in one.guarded)]:
            found.append(
                f"{', '.join(foreign)}: read from another server (foreign table); whether that one hides rows cannot "
                "be told from here"
            )
        if local := [f"{table}.{c.name} ({c.kind})" for table, one in looked.items() for c in one.columns if c.local]:
            found.append(
                f"{', '.join(local)}: printed in the time zone of the source's session; if that changes, the table "
                "counts as changed"
            )
        return found

    def count(self, table: str) -> int:  # noqa: D102
        with self._reading(table, f"counting {table}"):
            row = self._connection.execute(
                sql.SQL("select count(*) from {}").format(sql.Identifier(self._schema, table))
            ).fetchone()
        return int(row[0]) if row else 0

    def pages(self, table: str, rows: int, most_bytes: int = EXTRACT_BYTES) -> Iterator[pa.Table]:  # noqa: D102
        self._refuse_hidden([table])
        columns = self._look(table).columns
        names = [column.name for column in columns]
        known = self._tables.get(table)
        key = known.source_name(known.key.name, names) if known else None
        query = sql.SQL("select {} from {} order by {}").format(
            sql.SQL(", ").join(column.text for column in columns),
            sql.Identifier(self._schema, table),
            sql.Identifier(self._schema, table, key) if key else sql.SQL("1"),
        )
        with self._reading(table, f"reading {table}"):
            schema = pa.schema([(name, pa.string()) for name in names])
            yield from copy_out(self._connection, query, schema, rows, most_bytes)

    def _look(self, table: str) -> _Looked:
        """What the catalogs say of the table; asked once."""
        if table not in self._looked:
            name = (self._schema, table)
            with translated_errors(f"reading the columns of {table}"):
                columns = self._connection.execute(_COLUMNS, (*name, *name)).fetchall()
                guarded = self._connection.execute(_GUARDED, name).fetchall()
            if not columns:
                raise NoSuchTable(
                    f"SOURCE_DB_URL has no table {self._schema}.{table}",
                    next_step="correct SOURCE_DB_URL, set SOURCE_DB_SCHEMA, or give the role the right to see the "
                    "table",
                )
            self._looked[table] = _Looked(
                tuple(_Column(*column) for column in columns), tuple(_Guarded(*one) for one in guarded)
            )
        return self._looked[table]

    def _refuse_hidden(self, tables: Sequence[str]) -> None:
        """``SourceError`` if row-level security filters one of the tables, unless that was accepted."""
        if self._accept_filtered:
            return
        if hiding := {table: found for table in tables if (found := self._look(table).hiding)}:
            ways = dict.fromkeys(way for found in hiding.values() for one in found for way in one.ways_on)
            raise _refused(_said(hiding), list(ways))

    @contextmanager
    def _reading(self, table: str, doing: str) -> Iterator[None]:
        """A read of the table, which PostgreSQL refuses if row-level security would filter it after all.

        The catalogs do not show what a function in a view reads. Where they show a policy, they have decided:
        PostgreSQL would refuse one that is literally ``true`` as well.
        """
        decided = self._accept_filtered or any(not one.foreign for one in self._look(table).guarded)
        with translated_errors(doing):
            self._connection.execute("set local row_security = on" if decided else "set local row_security = off")
            try:
                yield
            except psycopg.errors.InsufficientPrivilege as error:
                if error.diag.source_function != "check_enable_rls":  # the words are in the server's language
                    raise
                said = f"{doing}, by way of a function: {error.diag.message_primary}"
                raise _refused(
                    said, ["make the tables' owner, or a role with bypassrls, the function's owner"]
                ) from None
            except psycopg.errors.CharacterNotInRepertoire as error:  # a database in SQL_ASCII takes any bytes
                raise SourceError(
                    f"{doing}: {error.diag.message_primary}: the database does not say in which encoding its text is",
                    kept="nothing was written",
                    next_step="write it anew in UTF-8, or read a view that has each such column, if it is Latin-1, as "
                    "convert_from(convert(convert_to(nome, 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'SQL_ASCII')",
                ) from None


def _refused(said: str, ways: Sequence[str]) -> SourceError:
    """The error for rows that may be hidden, with what makes every row visible."""
    return SourceError(
        said,
        kept="nothing was written",
        next_step=f"{'; or '.join(ways)}; or, if what is seen so is all that you want, set {ACCEPT}",
    )


def _said(hiding: dict[str, list[_Guarded]]) -> str:
    """Which tables row-level security filters, and for whom."""
    readers: dict[str, list[str]] = {}
    for one in (one for found in hiding.values() for one in found):
        readers.setdefault(one.reader, []).append(one.relation)
    filtered = "; ".join(
        f"what {reader} sees of {', '.join(dict.fromkeys(relations))}" for reader, relations in readers.items()
    )
    return f"{', '.join(hiding)}: row-level security filters {filtered}"
