"""What a hosted project needs before the first write, checked one thing after the other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from elt.access import Check
from elt.catalog import ANALISE_CLIENTES_PEDIDOS
from elt.errors import ConfigurationError, Denied, LakehouseError, Missing, QuotaExceeded, Unreachable
from elt.lakehouse import migrations
from elt.patience import is_busy
from elt.silver import TABLES
from elt.sqlstates import NOT_GRANTED
from elt.supabase import EXPOSE, NOT_EXPOSED, OPEN_ROLES, SECRET, TRIES, Project

T = TypeVar("T")

_TRIES = 2
"""A person waits for these answers: a wrong host should not take a minute. One that is only busy has its time."""

_PROBES = ("controle.migracoes", TABLES[0].silver, ANALISE_CLIENTES_PEDIDOS.gold)
"""One table of each schema; ``controle`` first, because only the pipeline's own role may see it."""


def checks(project: Project, bucket: str | None, *, direct: Sequence[str] | None = None) -> Iterator[Check]:
    """Everything the lakehouse's project needs, in the order in which it is worth mending. Reads only.

    The key is looked at first; what follows cannot be known without it. What is missing in the database and in the
    API's settings is one script to paste and one list of schemas to expose, in this order, and then the checks end:
    a schema that does not exist cannot be exposed, and nothing else can be seen before. ``QuotaExceeded``, or
    what the server is busy with, if nothing can be known.
    ``bucket``: None if bronze is elsewhere. ``direct``: the migrations that a direct connection found missing; None if
    there is none.
    """
    answers, accepted = f"{project.url_setting} answers", f"{project.key_setting} is accepted"
    try:
        look = _look(project, direct)
    except QuotaExceeded:  # nothing of the configuration is wrong
        raise
    except Denied as error:
        yield Check(answers)
        yield Check(accepted, f"{project.key_setting}: {error.what}", error.next_step)
        return
    except LakehouseError as error:
        if is_busy(error):
            raise
        yield Check(answers, f"{project.url_setting}: {error.what}", error.next_step)
        return
    yield Check(answers)
    if look.control is not None and project.role in OPEN_ROLES:
        yield Check(
            accepted,
            f"{project.key_setting} is a key of the role {project.role}, which may not write to the lakehouse "
            f"({look.control.what})",
            f"use a secret key: {SECRET}. (Only for a demonstration with made-up data: run supabase/open-demo.sql, "
            "again after each upgrade)",
        )
        return
    yield Check(f"{accepted} ({project.role or 'a key of unknown role'})")
    steps = [*([] if direct else _script_to_paste(project, look)), *_schemas_to_expose(project, look)]
    if steps:
        yield from steps
        return
    for table in _PROBES:
        yield Check(f"schema {_schema(table)} exists, is exposed, and is granted")
    yield Check("every migration is applied")
    if bucket is not None:
        yield _bucket(project, bucket)


def missing_migrations(project: Project, *, direct: Sequence[str] | None = None) -> list[str]:
    """The names of the migrations to apply, in order; all of them where it cannot be seen what is there."""
    try:
        return _look(project, direct).pending
    except LakehouseError:
        return migrations.names()


def require(project: Project, bucket: str | None) -> None:
    """Nothing, if the project has all it needs; else a ``ConfigurationError`` with the first thing that is wrong."""
    nothing = "nothing was read or written"
    try:
        for check in checks(project, bucket):
            if check.problem:
                raise ConfigurationError(check.problem, kept=nothing, next_step=check.next_step)
    except LakehouseError as error:
        error.kept = error.kept or nothing
        raise


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


@dataclass(frozen=True)
class _Look:
    """What one look at the project's API found.

    ``control``: the error of reading the applied migrations; None if they could be read. ``denied``: the schemas whose
    tables are missing or not granted, with the error. ``hidden``: the schemas that the API does not show.
    ``pending``: the migrations to apply.
    """

    control: LakehouseError | None
    denied: dict[str, LakehouseError]
    hidden: list[str]
    pending: list[str]


def _look(project: Project, direct: Sequence[str] | None) -> _Look:
    """What the API shows of each schema. Any other error than that something is not there is raised."""
    errors: dict[str, LakehouseError] = {}
    applied: set[str] = set()
    for table in _PROBES:
        try:
            rows = _read(project, table)
        except LakehouseError as error:
            if not (error.code == NOT_GRANTED or (isinstance(error, Missing) and error.code)):
                raise
            errors[_schema(table)] = error
        else:
            applied.update(str(row["versao"]) for row in rows if table == _PROBES[0])
    migrations.refuse_newer(applied, project.url_setting)
    hidden = [schema for schema, error in errors.items() if error.code == NOT_EXPOSED]
    denied = {schema: error for schema, error in errors.items() if schema not in hidden}
    pending = [name for name in migrations.names() if name not in applied] if direct is None else list(direct)
    if denied:  # what is recorded and yet not there is made again by running everything again
        pending = migrations.names()
    return _Look(errors.get(_schema(_PROBES[0])), denied, hidden, pending)


def _script_to_paste(project: Project, look: _Look) -> Iterator[Check]:
    """The first step: what the database lacks, as far as it can be seen."""
    if not look.pending:
        return
    if look.denied:
        words = "; ".join(error.what for error in look.denied.values())
    elif look.control is not None:
        words = "what the database has cannot be seen before its schema controle is exposed"
    else:
        words = f"the database lacks {len(look.pending)} migrations ({look.pending[0]} is the first)"
    yield Check(
        "the database has everything that the lakehouse needs",
        f"{project.url_setting}: {words}",
        f"paste what this prints into {project.sql_editor} and run it there, as often as you like: "
        "medallion init --sql",
    )


def _schemas_to_expose(project: Project, look: _Look) -> Iterator[Check]:
    """The second step."""
    if look.hidden:
        *most, last = look.hidden
        listed = f"{', '.join(most)} and {last}" if most else last
        yield Check(
            f"the API exposes {listed}",
            f"{project.url_setting}: {listed}: not exposed by the API",
            f"{EXPOSE}{listed}; save, and run: medallion init",
        )


def _schema(table: str) -> str:
    return table.split(".")[0]


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


def _bucket(project: Project, bucket: str) -> Check:
    what = f"bucket {bucket} exists"
    try:
        _see_bucket(project, bucket)
    except LakehouseError as error:
        if isinstance(error, QuotaExceeded) or is_busy(error):
            raise
        return Check(what, f"{project.url_setting}: {error.what}", error.next_step)
    return Check(what)


def _see_bucket(project: Project, bucket: str) -> None:
    try:
        _ask(project, f"looking at the bucket {bucket}", lambda: project.storage.get_bucket(bucket))
    except Missing as error:
        raise Missing(
            f"BUCKET_NAME: {error.what}",
            next_step=f"in the dashboard: Storage → New bucket: {bucket}, private; or run: medallion init",
        ) from error
