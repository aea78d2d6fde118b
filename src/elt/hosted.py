"""What a hosted project needs before the first write, checked one thing after the other."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from elt.catalog import ANALISE_CLIENTES_PEDIDOS, TABLES
from elt.errors import ConfigurationError, Denied, LakehouseError, Missing, QuotaExceeded, Unreachable
from elt.lakehouse import migrations
from elt.patience import is_busy
from elt.supabase import SECRET, TRIES, Project

T = TypeVar("T")

_TRIES = 2
"""A person waits for these answers: a wrong host should not take a minute. One that is only busy has its time."""

_PROBES = ("controle.migracoes", TABLES[0].silver, ANALISE_CLIENTES_PEDIDOS.gold)
"""One table of each schema; ``controle`` first, because only the pipeline's own role may see it."""


@dataclass(frozen=True)
class Check:
    """One thing that is needed: what it is, what is wrong with it (empty: nothing), and the click or SQL to do next."""

    what: str
    problem: str = ""
    next_step: str = ""


def checks(project: Project, bucket: str | None) -> Iterator[Check]:
    """Everything the lakehouse's project needs, in the order in which it is worth mending. Reads only.

    Ends early where what follows cannot be known; ``QuotaExceeded``, or what the server is busy with, if nothing can.
    ``bucket``: None if bronze is elsewhere.
    """
    reachable = _check(f"{project.url_setting} answers", lambda: _read(project, _PROBES[0]), project, only=Unreachable)
    yield reachable
    if reachable.problem:
        return
    accepted = _check(_key_named(project), lambda: _read(project, _PROBES[0]), project, only=Denied)
    yield accepted
    if accepted.problem:
        return
    missing = False
    for table in _PROBES:
        schema = table.split(".")[0]
        what = f"schema {schema} exists, is exposed, and is granted"
        found = _check(what, partial(_read, project, table), project)
        missing = missing or bool(found.problem)
        yield found
    if not missing:
        yield _migrations(project)
    if bucket is not None:
        yield _check(f"bucket {bucket} exists", lambda: _see_bucket(project, bucket), project)


def require(project: Project, bucket: str | None) -> None:
    """Nothing, if the project has all it needs; else a ``ConfigurationError`` with the first thing that is wrong."""
    for check in checks(project, bucket):
        if check.problem:
            raise ConfigurationError(check.problem, kept="nothing was read or written", next_step=check.next_step)


def make_bucket(project: Project, bucket: str) -> bool:
    """Make the bucket, private; answers whether it was missing."""
    try:
        _see_bucket(project, bucket)
    except Missing:
        project.ask(
            f"making the bucket {bucket}",
            lambda: project.storage.create_bucket(bucket, options={"public": False}),
            tries=_TRIES,
        )
        return True
    return False


def _key_named(project: Project) -> str:
    return f"{project.key_setting} may write ({project.role or 'a key of unknown role'})"


def _check(
    what: str, look: Callable[[], object], project: Project, only: type[LakehouseError] = LakehouseError
) -> Check:
    """``what`` with its problem, if ``look`` raises an error of the kind ``only``."""
    try:
        look()
    except LakehouseError as error:
        if isinstance(error, QuotaExceeded) or is_busy(error):
            raise  # nothing else can be known, and nothing of the configuration is wrong
        if not isinstance(error, only):
            return Check(what)
        return _explained(what, error, project)
    return Check(what)


def _explained(what: str, error: LakehouseError, project: Project) -> Check:
    if isinstance(error, Denied) and project.role in ("anon", "authenticated"):
        return Check(
            what,
            f"{project.key_setting} is a key of the role {project.role}, which may not write to the lakehouse "
            f"({error.what})",
            f"use a secret key: {SECRET}. (Only for a demonstration with made-up data: supabase/open-demo.sql)",
        )
    if isinstance(error, Denied):
        return Check(what, f"{project.key_setting}: {error.what}", error.next_step)
    setting = project.url_setting
    return Check(what, f"{setting}: {error.what}", error.next_step)


def _read(project: Project, table: str) -> list[Any]:
    schema, name = table.split(".")
    query = project.postgrest.schema(schema).from_(name).select("*").limit(1000)
    return list(_ask(project, f"looking at {table}", query.execute).data)


def _ask(project: Project, doing: str, request: Callable[[], T]) -> T:
    """The request's result; a server that answers "not now" is asked as often as in a run."""
    try:
        return project.ask(doing, request, tries=_TRIES)
    except Unreachable as error:
        if not is_busy(error):
            raise
        return project.ask(doing, request, tries=TRIES - _TRIES)


def _migrations(project: Project) -> Check:
    """Whether the database has every migration of this version."""
    applied = {str(row["versao"]) for row in _read(project, _PROBES[0])}
    pending = [name for name in migrations.names() if name not in applied]
    what = "every migration is applied"
    if not pending:
        return Check(what)
    return Check(
        what,
        f"{project.url_setting}: the database lacks {len(pending)} migrations ({pending[0]} is the first)",
        f"in the dashboard: SQL Editor: run supabase/migrations/{pending[0]}.sql and those after it; "
        "or set LAKEHOUSE_DB_URL and run: medallion init",
    )


def _see_bucket(project: Project, bucket: str) -> None:
    try:
        _ask(project, f"looking at the bucket {bucket}", lambda: project.storage.get_bucket(bucket))
    except Missing as error:
        raise Missing(
            f"BUCKET_NAME: {error.what}",
            next_step=f"in the dashboard: Storage → New bucket: {bucket}, private; or run: medallion init",
        ) from error
