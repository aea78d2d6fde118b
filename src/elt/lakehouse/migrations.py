"""The SQL of ``supabase/migrations``: which files there are, and applying those a database does not have yet."""

from pathlib import Path

import psycopg

from elt.errors import MedallionError
from elt.postgres import connect, translated_errors

_INSTALLED = Path(__file__).with_name("migrations")
_CHECKOUT = Path(__file__).parents[3] / "supabase" / "migrations"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
"""The migrations: beside this module in an installed wheel, under ``supabase/`` in a checkout."""


def names(folder: Path = FOLDER) -> list[str]:
    """The names of all migrations, in order."""
    return [_version(file) for file in _files(folder)]


def pending(url: str, *, setting: str, folder: Path = FOLDER) -> list[Path]:
    """The migration files, in order, that the database has not recorded as applied."""
    with connect(url, setting=setting) as connection, translated_errors("reading the applied migrations"):
        applied = _applied(connection)
    return [file for file in _files(folder) if _version(file) not in applied]


def apply(url: str, *, setting: str, folder: Path = FOLDER) -> list[str]:
    """Apply what is pending, each file in one transaction, with its record; answers the names applied.

    Safe when two programs do it at once: an advisory lock lets one through at a time.
    """
    done = []
    with connect(url, setting=setting) as connection:
        with translated_errors("waiting for another migration"):
            connection.execute("select pg_advisory_lock(hashtext('medallion migrations'))")
        applied = _applied(connection)
        for file in _files(folder):
            if _version(file) in applied:
                continue
            with translated_errors(f"applying the migration {file.name}"), connection.transaction():
                connection.execute(file.read_bytes())
                connection.execute(
                    "insert into controle.migracoes (versao) values (%s) on conflict do nothing", (_version(file),)
                )
            done.append(_version(file))
        if done:  # an API in front of the database has to look again; nobody else listens
            connection.execute("notify pgrst, 'reload schema'")
    return done


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
