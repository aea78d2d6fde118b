"""Setting up: what the lakehouse needs before the first run."""

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict, replace
from typing import cast

import click

from elt import access
from elt.access import Check
from elt.cli.context import json_option, print_json, reporter, sample_asked, say_settings
from elt.connections import data_folder, lakehouse_project
from elt.errors import ConfigurationError, LakehouseError
from elt.invocation import typed
from elt.lakehouse import migrations
from elt.lakehouse.embedded import start_postgres
from elt.lakehouse.ports import Tables
from elt.lakehouse.postgres import PostgresTables
from elt.postgres import EMBEDDED
from elt.redaction import redacted
from elt.settings import Settings, load_settings


@click.command()
@click.option("--check", is_flag=True, help="Only say what is missing; change nothing. Exit code 2 if something is.")
@click.option(
    "--sql", "as_sql", is_flag=True, help="Only print what is missing in the database, as one script to paste."
)
@json_option
def init(check: bool, as_sql: bool, as_json: bool) -> None:
    """Make the lakehouse ready, as far as the settings allow, and say what is left to do. Safe to run again.

    With LAKEHOUSE_DB_URL, or the embedded lakehouse, it applies the migrations; with LAKEHOUSE_URL it makes the bucket.
    """
    say_settings(reporter())
    settings = load_settings()
    if as_sql:
        if check or as_json:
            raise click.UsageError("--sql stands alone")
        click.echo(_script(settings), nl=False)
        return
    applied = [] if check else _set_up(settings)
    found = [
        replace(one, problem=redacted(one.problem), next_step=redacted(one.next_step))
        for one in dict.fromkeys(_checks(settings))
    ]
    missing = [one for one in found if one.problem]
    if as_json:
        print_json({"ready": not missing, "applied": applied, "checks": [asdict(one) for one in found]})
    else:
        for name in applied:
            click.echo(f"applied  {name}")
        for one in found:
            click.echo(f"✗ {one.problem}\n  → {typed(one.next_step)}" if one.problem else f"✓ {one.what}")
    if missing:
        raise ConfigurationError(
            f"{len(missing)} of {len(found)} things that the lakehouse needs are missing",
            kept="nothing was changed" if check else "what was set up stays",
            next_step=_in_order([one.next_step for one in missing]),
        )


def _in_order(steps: list[str]) -> str:
    """One step as it is; several as a list."""
    steps = list(dict.fromkeys(steps))
    if len(steps) == 1:
        return steps[0]
    return "in this order: " + "; ".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def _database(settings: Settings) -> tuple[str, str] | None:
    """The URL of the database to set up and the setting to name, if there is a direct way to it."""
    if settings.lakehouse_db_url is not None:
        return settings.lakehouse_db_url.get_secret_value(), "LAKEHOUSE_DB_URL"
    if settings.lakehouse_url is None:
        return start_postgres(data_folder(settings, sample=sample_asked(), loading=True)), EMBEDDED
    return None


def _set_up(settings: Settings) -> list[str]:
    """Do what can be done from here; answers what was done. What could not is found by the checks."""
    done = []
    database = _database(settings)
    if database:
        url, setting = database
        done += migrations.apply(url, setting=setting)
    if project := lakehouse_project(settings):
        from elt import hosted  # with a Supabase project's client, which nobody else should wait for
        from elt.supabase import OPEN_ROLES

        with project, suppress(LakehouseError):
            if project.role not in OPEN_ROLES and hosted.make_bucket(project, settings.bucket_name):
                done.append(f"bucket {settings.bucket_name}")
        if database:
            with suppress(LakehouseError), _tables(*database) as tables:
                removed = tables.call("controle.preparar_bucket", p_bucket=settings.bucket_name)
                done += [f'removal of the policy "{name}" on storage.objects' for name in cast(list[str], removed)]
    return done


def _checks(settings: Settings) -> Iterator[Check]:
    """Everything this lakehouse needs."""
    lacks = None
    if database := _database(settings):
        url, setting = database
        lacks = [file.stem for file in migrations.pending(url, setting=setting)]
        for name in lacks:
            yield Check(name, f"{setting} lacks the migration {name}", "run: medallion init")
        yield Check(f"{setting} answers")
        if not lacks:
            with _tables(url, setting) as tables:
                yield from _access(tables, settings)
    if project := lakehouse_project(settings):
        from elt import hosted
        from elt.lakehouse.supabase import SupabaseTables

        with project:
            found = list(hosted.checks(project, settings.bucket_name, direct=lacks))
            yield from found
            if not any(one.problem for one in found):
                yield from _access(SupabaseTables(project), settings)


def _access(tables: Tables, settings: Settings) -> Iterator[Check]:
    """Whether nobody else gets in; what the owner opened on purpose is told, and is not missing."""
    what = "nobody but the pipeline can read or write the lakehouse"
    found = access.look(tables, settings.bucket_in_storage)
    if not found:
        yield Check(what)
    for one in found:
        if one.on_purpose:
            yield Check(f"{one.what}; {one.next_step}")
        else:
            yield Check(what, one.what, one.next_step)


def _script(settings: Settings) -> str:
    """What is missing over what can be seen, as SQL."""
    names = None
    if database := _database(settings):
        url, setting = database
        names = [file.stem for file in migrations.pending(url, setting=setting)]
    if project := lakehouse_project(settings):
        from elt import hosted

        with project:
            names = hosted.missing_migrations(project, direct=names)
    if not names and not any(one.problem for one in _checks(settings)):
        return "-- Nothing is missing.\n"
    return migrations.script(names or (), settings.bucket_in_storage)


def _tables(url: str, setting: str) -> "closing[PostgresTables]":
    return closing(PostgresTables(url, setting=setting))
