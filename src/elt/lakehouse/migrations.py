"""The SQL of ``supabase/migrations``: which files there are, applying those a database lacks, and printing them."""

import re
from collections.abc import Iterable
from pathlib import Path

import psycopg

from elt.errors import ConfigurationError, LakehouseError, LeaseError, MedallionError, Timeout, Unreachable
from elt.holder import died
from elt.postgres import connect, translated_errors
from elt.sqlstates import NOT_GRANTED

_INSTALLED = Path(__file__).with_name("migrations")
_CHECKOUT = Path(__file__).parents[3] / "supabase" / "migrations"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
"""The migrations: beside this module in an installed wheel, under ``supabase/`` in a checkout."""

_NOBODY_AT_WORK = """
do $$
declare
  v_dono text;
begin
  if to_regclass('controle.arrendamento') is null then
    return;
  end if;
  lock table controle.arrendamento in share row exclusive mode;
  select dono into v_dono from controle.arrendamento as a
  where expira_em between clock_timestamp()
    and clock_timestamp() + coalesce((to_jsonb(a) ->> 'prazo')::interval, interval '60 seconds');
  if found then
    raise exception using errcode = 'PMD02', message = format(
      'a run is at work: process %s on %s', split_part(v_dono, ':', 2), split_part(v_dono, ':', 1));
  end if;
end
$$;
"""
"""Ends a transaction of migrations while a run holds the lease, and keeps it from being taken until they are applied.

A run that knows nothing of them would go on writing as before. Releases up to 0.2.0 keep no term: theirs is a minute.
"""

_IN_USE = "0A000"
"""The code, among others, of a column that a view depends on; its DETAIL ends with the column's name."""

RELOAD = "notify pgrst, 'reload schema';"
"""Tells the API to look at the schemas anew. Source: PostgREST, "Schema cache reloading"."""

_VIEWS = """
  with recursive views as (
    select distinct w.ev_class as oid, 1 as depth
    from pg_depend d join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
    join pg_attribute a on d.refclassid = 'pg_class'::regclass and a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('silver', 'gold') and c.relkind = 'r' and a.attname = %s
    union
    select w.ev_class, v.depth + 1
    from views v join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = v.oid
    join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and w.ev_class <> v.oid
  )
  select name, kind, format('create %%s %%s%%s as %%s', kind, name, ' with (' || options || ')', definition)
  from (
    select format('%%I.%%I', n.nspname, c.relname) as name,
           case c.relkind when 'm' then 'materialized view' else 'view' end as kind,
           array_to_string(c.reloptions, ', ') as options, pg_get_viewdef(c.oid) as definition, max(v.depth) as depth
    from views v join pg_class c on c.oid = v.oid join pg_namespace n on n.oid = c.relnamespace
    group by n.nspname, c.relname, c.relkind, c.reloptions, c.oid
  ) found
  order by depth desc, name
"""


def names(folder: Path = FOLDER) -> list[str]:
    """The names of all migrations, in order."""
    return [_version(file) for file in _files(folder)]


def pending(url: str, *, setting: str, folder: Path = FOLDER) -> list[Path]:
    """The migration files, in order, that the database has not recorded as applied."""
    with connect(url, setting=setting) as connection, translated_errors("reading the applied migrations"):
        applied = _applied(connection)
    refuse_newer(applied, setting, folder)
    return [file for file in _files(folder) if _version(file) not in applied]


def refuse_newer(applied: Iterable[str], setting: str, folder: Path = FOLDER) -> None:
    """Nothing, or a ``ConfigurationError`` if the database has migrations that this program does not know.

    A later version made them (and this is a container that was forgotten): what its tables mean is not known here.
    """
    if unknown := sorted(set(applied) - {_version(file) for file in _files(folder)}):
        raise ConfigurationError(
            f"{setting}: a later version of this program has prepared the lakehouse ({unknown[-1]} is not known here)",
            kept="nothing was written",
            next_step="install that version here too, or a later one (medallion --version tells which this is)",
        )


def apply(url: str, *, setting: str, folder: Path = FOLDER) -> list[str]:
    """Apply what is pending, all of it in one transaction or nothing; answers the names applied.

    Safe when two programs do it at once: an advisory lock lets one through at a time.
    """
    with translated_errors("applying the migrations"), connect(url, setting=setting) as connection:
        with translated_errors("waiting for another migration"):
            connection.execute("select pg_advisory_lock(hashtext('medallion migrations'))")
        applied = _applied(connection)
        refuse_newer(applied, setting, folder)
        due = [file for file in _files(folder) if _version(file) not in applied]
        try:
            with connection.transaction():
                if due:
                    _nobody_at_work(connection)
                for file in due:
                    with translated_errors(f"applying the migration {file.name}"):
                        connection.execute(file.read_bytes())
                        connection.execute(
                            "insert into controle.migracoes (versao) values (%s) on conflict do nothing",
                            (_version(file),),
                        )
        except LakehouseError as error:
            raise _explained(error, connection, setting) from error
        if due:  # an API in front of the database has to look again; nobody else listens
            connection.execute(RELOAD.encode())
    return [_version(file) for file in due]


def _nobody_at_work(connection: psycopg.Connection) -> None:
    """Nothing, or a ``LeaseError`` while a run is at work. One whose process died here is none."""
    with translated_errors("looking for a run at work"):
        row = connection.execute("select to_regclass('controle.arrendamento') is not null").fetchone()
        if row and row[0]:
            for (owner,) in connection.execute("select dono from controle.arrendamento").fetchall():
                if died(owner):
                    connection.execute("delete from controle.arrendamento where dono = %s", (owner,))
    with translated_errors("the migrations were not applied"):
        connection.execute(_NOBODY_AT_WORK.encode())


def script(names: Iterable[str], bucket: str | None, *, folder: Path = FOLDER) -> str:
    """What is missing, from the first of ``names`` on, and what bronze's bucket needs, as one script for an SQL editor.

    All of it is applied or nothing, and nothing while a run is at work; it can be run again; the API looks at the
    schemas anew when it is through.
    """
    first = min(names, default=None)
    parts = [] if first is None else [f"-- Nothing of this while a run is at work\n{_NOBODY_AT_WORK.rstrip()}"]
    parts += [
        f"-- {_version(file)}\n\n{file.read_text(encoding='utf-8').strip()}"
        for file in _files(folder)
        if first is not None and _version(file) >= first
    ]
    if bucket is not None:
        literal = bucket.replace("'", "''")
        parts.append(f"-- Bronze's bucket, and who gets into it\n\nselect controle.preparar_bucket('{literal}');")
    return "\n\n".join(["begin;", *parts, "commit;", RELOAD]) + "\n"


def _explained(error: LakehouseError, connection: psycopg.Connection, setting: str) -> LakehouseError:
    """The same error, with what of the owner's own is in the way, and the way on."""
    error.kept = "everything: no migration was applied, the database is as it was before"
    if isinstance(error, Unreachable | Timeout | LeaseError):
        return error
    again = "run the same command again"
    column = re.search(r'"(.+)"$', error.detail) if error.code == _IN_USE else None
    views = _views_on(connection, column[1]) if column else []
    if column:
        error.what = f"{error.what} ({error.detail})"
    if views:
        names = ", ".join(name for name, _, _ in views)
        error.what = f"{error.what}; in the way: {names}"
        drop = " ".join(f"drop {kind} {name};" for name, kind, _ in views)
        create = "\n".join(statement for _, _, statement in reversed(views))
        error.next_step = (
            f"run in the database of {setting}: {drop} Then {again}, and make them anew (with their grants, if they "
            f"had any):\n{create}"
        )
    elif error.code == NOT_GRANTED:
        owner = "the role that owns the schemas silver and gold (in a Supabase project: postgres)"
        error.next_step = f"{again} with a {setting} of {owner}"
    else:
        error.next_step = f"what the server names is none of the pipeline's: move it out of the way, then {again}"
    return error


def _views_on(connection: psycopg.Connection, column: str) -> list[tuple[str, str, str]]:
    """The views on a column of that name in silver or gold and the views on them, the last first.

    Each with its name, its kind, and the statement that makes it.
    """
    with translated_errors("looking for views"):
        found = connection.execute(_VIEWS, (column,)).fetchall()
    return [(name, kind, statement) for name, kind, statement in found]


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.sql"))
    if not files:
        raise MedallionError(f"there are no migrations in {folder}", next_step="install the project again")
    return files


def _version(file: Path) -> str:
    return file.stem


def _applied(connection: psycopg.Connection) -> set[str]:
    row = connection.execute("select to_regclass('controle.migracoes') is not null").fetchone()
    if not row or not row[0]:
        return set()
    return {row[0] for row in connection.execute("select versao from controle.migracoes")}
