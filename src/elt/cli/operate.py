"""Commands for the years between: the scheduler, its health, and a look at both ends before a run."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime

import click
from rich.filesize import decimal

from elt import health
from elt.cli.context import (
    counted,
    json_option,
    opened,
    print_json,
    reporter,
    sample_asked,
    say_hint,
    say_settings,
)
from elt.errors import Stopped
from elt.lakehouse import snapshots
from elt.ledger import Ledger
from elt.runner import Runner
from elt.settings import ENDS, load_settings
from elt.silver import TABLES


@click.command("schedule")
def schedule_command() -> None:
    """Run by SCHEDULE (every second month) until stopped: catch up, retry, check a day ahead, alert.

    SIGTERM ends the batch at work, records it, and leaves within ten seconds.
    """
    from elt import schedule  # APScheduler and httpx, which no other command needs

    say = reporter()
    say_settings(say)
    interrupted = schedule.serve(load_settings(), say)
    sys.exit(Stopped.exit_code if interrupted else 0)


@click.command("health")
@json_option
def health_command(as_json: bool) -> None:
    """Whether the scheduler is alive and its last run neither failed nor overdue. Exit code 1 if not."""
    view = health.read(health.file_in(load_settings().data_dir))
    problems = health.problems(view, datetime.now(UTC))
    if as_json:
        print_json({"healthy": not problems, "problems": problems, **(view.model_dump(mode="json") if view else {})})
    else:
        for problem in problems:
            click.echo(f"unhealthy: {problem}")
        if view is not None:
            click.echo(f"next fire: {view.next_fire:%Y-%m-%d %H:%M %Z}")
    sys.exit(1 if problems else 0)


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def reset(yes: bool, as_json: bool) -> None:
    """Give the lakehouse to another shop: empty silver, its quarantine and gold. It asks before.

    The snapshots stay in bronze, marked as another shop's: they are never applied, replayed or pruned any more.
    """
    say = reporter()
    with opened(say, with_source=False) as (_, lakehouse):
        names = Ledger(lakehouse.tables).situation().identities
        rows = {table.name: lakehouse.tables.count(table.silver) for table in TABLES}
        before = len(snapshots.committed(lakehouse.bucket))
        held = ", ".join(f"{count:,} {name}" for name, count in rows.items())
        shop = " and ".join(names) or "a shop without a name"
        question = f"Empty silver ({held}), its quarantine and gold, which are those of {shop}?"
        if not yes:
            click.confirm(question, abort=True, err=True)
        mark = Runner(lakehouse, say).reset()
    if as_json:
        print_json({"mark": mark, "shop": list(names), "rows": rows, "snapshots": before})
        return
    click.echo(f"silver and gold are empty; {counted(before, 'snapshot')} of {shop} stay in bronze, and are not read")
    click.echo("the next run makes the lakehouse that of the source it reads")


@click.command()
@click.option(
    "--awake", "ends", multiple=True, type=click.Choice(ENDS), help="Only one small query to this end (both: twice)."
)
@json_option
def check(ends: tuple[str, ...], as_json: bool) -> None:
    """Look whether a run would find what it needs: keys, tables, columns, migrations, space. Nothing stays written."""
    from elt import checks  # reads the source as bronze does, with what that needs

    say_settings(reporter())
    settings = load_settings()
    if ends:
        checks.touch(settings, ends)
        if as_json:
            print_json({"ready": True})
        else:
            click.echo(f"awake: {', '.join(ends)}")
        return
    found = checks.check_both(settings, sample=sample_asked())
    if as_json:
        bronze = {"snapshots": found.snapshots, "bytes": found.bronze_bytes}
        server = asdict(found.server)
        database = {"bytes": found.database_bytes, "more": found.database_more}
        parts = {"server": server, "bronze": bronze, "database": database}
        print_json({"ready": True, **parts, "warnings": found.warnings})
        return
    click.echo(f"ready: source and lakehouse (PostgreSQL {found.server.version}) have what a run needs")
    click.echo(f"bronze holds {decimal(found.bronze_bytes)} in {counted(found.snapshots, 'snapshot')}")
    more = f"; what is new may take about {decimal(found.database_more)}" if found.database_more else ""
    click.echo(f"the database holds {decimal(found.database_bytes)}{more}")
    for warning in found.warnings:
        say_hint(f"warning: {warning}")
