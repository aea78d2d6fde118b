"""Setting up: what the lakehouse needs before the first run."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from elt.cli.context import json_option, print_json, reporter, sample_asked, say_settings
from elt.connections import data_folder, lakehouse_project
from elt.errors import ConfigurationError, LakehouseError
from elt.invocation import typed
from elt.lakehouse import migrations
from elt.lakehouse.embedded import start_postgres
from elt.redaction import redacted
from elt.settings import Settings, load_settings

if TYPE_CHECKING:
    from elt.hosted import Check


@click.command()
@click.option("--check", is_flag=True, help="Only say what is missing; change nothing. Exit code 2 if something is.")
@json_option
def init(check: bool, as_json: bool) -> None:
    """Make the lakehouse ready, as far as the settings allow, and say what is left to do. Safe to run again.

    With LAKEHOUSE_DB_URL, or the embedded lakehouse, it applies the migrations; with LAKEHOUSE_URL it makes the bucket.
    """
    say_settings(reporter())
    settings = load_settings()
    applied = [] if check else _set_up(settings)
    found = [
        replace(one, problem=redacted(one.problem), next_step=redacted(one.next_step)) for one in _checks(settings)
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
            next_step=missing[0].next_step,
        )


def _database(settings: Settings) -> tuple[str, str] | None:
    """The URL of the database to set up and the setting to name, if there is a direct way to it."""
    if settings.lakehouse_db_url is not None:
        return settings.lakehouse_db_url.get_secret_value(), "LAKEHOUSE_DB_URL"
    if settings.lakehouse_url is None:
        folder = data_folder(settings, sample=sample_asked(), loading=True)
        return start_postgres(folder), "the embedded PostgreSQL"
    return None


def _set_up(settings: Settings) -> list[str]:
    """Do what can be done from here; answers what was done. What could not is found by the checks."""
    from elt import hosted  # with a Supabase project's client, which no other command should wait for

    done = []
    if database := _database(settings):
        url, setting = database
        done += migrations.apply(url, setting=setting)
    if project := lakehouse_project(settings):
        with project, suppress(LakehouseError):
            if hosted.make_bucket(project, settings.bucket_name):
                done.append(f"bucket {settings.bucket_name}")
    return done


def _checks(settings: Settings) -> Iterator["Check"]:
    """Everything this lakehouse needs."""
    from elt import hosted

    if database := _database(settings):
        url, setting = database
        for file in migrations.pending(url, setting=setting):
            yield hosted.Check(file.stem, f"{setting} lacks the migration {file.stem}", "run: medallion init")
        yield hosted.Check(f"{setting} answers")
    if project := lakehouse_project(settings):
        with project:
            yield from hosted.checks(project, settings.bucket_name)
