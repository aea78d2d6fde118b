"""Commands that only look: the run ledger, the tables, and where a row came from."""

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.filesize import decimal
from rich.padding import Padding
from rich.text import Text

from elt.catalog import ANALYSES, REJEITADOS, VALORES_REJEITADOS
from elt.cli.context import (
    as_text,
    counted,
    json_option,
    json_text,
    one_line,
    opened,
    print_json,
    print_table,
    say_hint,
    shown_value,
)
from elt.invocation import typed
from elt.lineage import trace_row
from elt.notation import value_of
from elt.progress import SilentReporter
from elt.rules import Type
from elt.silver import TABLES
from elt.status import Run, Status, gather

SHOWN: dict[str, tuple[str, Mapping[str, Type], str]] = {
    **{table.name: (table.silver, {**table.silver_types, "data_ingestao": "text"}, "id") for table in TABLES},
    **{analysis.name: (analysis.gold, analysis.types, analysis.key) for analysis in ANALYSES},
    "rejeitados": ("silver.rejeitados", REJEITADOS, "id"),
    "valores_rejeitados": ("silver.valores_rejeitados", VALORES_REJEITADOS, "id"),
}
"""What ``show`` can show: the table, its columns, its key."""

SHOWN_REASONS = 8
"""Reasons of quarantine in ``status``; ``medallion quarantine list`` has them all."""


@click.command()
@click.option("--limit", type=click.IntRange(1), default=5, show_default=True, help="How many runs, newest first.")
@click.option(
    "--watch",
    is_flag=False,
    flag_value="5",
    type=click.FloatRange(min=0, min_open=True),
    metavar="[SECONDS]",
    help="Show it again every so many seconds (5 if not given) until Ctrl-C.",
)
@json_option
def status(limit: int, watch: float | None, as_json: bool) -> None:
    """What the last runs did, what is pending and in quarantine, the space used, and when the next run is.

    With --watch and --json: one document a line.
    """
    console = Console(highlight=False)
    with opened(SilentReporter(), with_source=False) as (settings, lakehouse), _until_interrupted(watch is not None):
        while True:
            found = gather(lakehouse, settings, limit)
            if as_json and watch:
                click.echo(json_text(found.document()))
            elif as_json:
                print_json(found.document())
            else:
                if watch:
                    console.clear()  # nothing where it is no terminal
                _print_status(found, console)
            if not watch:
                return
            time.sleep(watch)


@contextmanager
def _until_interrupted(expected: bool) -> Iterator[None]:
    """Where Ctrl-C is how a person ends the command, it is no error, and no second one is either while it closes."""
    try:
        yield
    except KeyboardInterrupt:
        if not expected:
            raise
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _print_status(status: Status, console: Console) -> None:
    """The status for a person: short lines that fit 80 columns, whole ones in a pipe."""

    def say(text: str, style: str = "", indent: int = 0) -> None:
        line = Text(text, style=style)
        if console.is_terminal:
            console.print(Padding(line, (0, 0, 0, indent), expand=False))
        else:
            console.print(" " * indent, line, sep="", soft_wrap=True)

    say(f"lakehouse  {status.lakehouse}")
    if status.shop:
        say(f"shop       {' = '.join(status.shop)}")
    say(f"server     PostgreSQL {status.server.version}")
    if status.server.warning:
        say(status.server.warning, "yellow", indent=11)
    if status.next_run is not None:
        say(f"next run   {status.next_run:%Y-%m-%d %H:%M %Z}")
    for problem in status.scheduler_problems:
        say(problem, "yellow", indent=11)
    if not status.last:
        say(typed("\nno run yet: medallion run"))
    for entry in status.last:
        key = "---" if entry.key is None else str(entry.key)
        say(f"\n{entry.layer:<9}  {key}  {entry.words}", "bold red" if entry.error else "bold")
        if entry.undone:
            say("silver has been emptied since (by a replay or a reset)", indent=11)
        took = "" if entry.seconds is None else f", {entry.seconds:.1f} s"
        rows = ", ".join(f"{count:,} {name}" for name, count in entry.rows.items() if count or name == "read")
        say(f"{_utc(entry.started)} UTC{took}" + (f": {rows}" if rows else ""), indent=11)
    if status.runs:
        click.echo()
        numbers = [(name, "right") for name in ("keys", "read", "written", "quarantined")]
        print_table([("run (UTC)", "left"), *numbers, ("how it ended", "left")], [_line(run) for run in status.runs])
    say("\npending", "bold")
    say(f"  snapshots that wait for silver: {status.waiting_for_silver:,}")
    say(f"  analyses that wait for gold: {status.waiting_for_gold:,}")
    say("quarantine", "bold")
    refused, nulled = status.rows_in_quarantine, status.values_in_quarantine
    say(f"  rows refused: {refused:,}; single values that became NULL: {nulled:,}")
    for group in status.quarantine[:SHOWN_REASONS]:
        say(f"  {group.count:>9,}  {group.table}  {one_line(group.reason)}")
    if len(status.quarantine) > SHOWN_REASONS:
        say(typed(f"  {len(status.quarantine) - SHOWN_REASONS} more reasons: medallion quarantine list"))
    say("storage", "bold")
    used = status.storage
    objects, kept = counted(used.objects, "object"), counted(used.snapshots, "snapshot")
    say(f"  bronze    {decimal(used.bucket_bytes)} ({objects}, {kept})")
    if used.warning:
        say(typed(used.warning), "yellow", indent=12)
    if used.unreadable:
        say(f"not counted: {', '.join(used.unreadable)}, whose manifest cannot be read", "yellow", indent=12)
    say(f"  database  {decimal(used.database_bytes)}")


def _line(run: Run) -> tuple[object, ...]:
    """One run as the table shows it."""
    keys = " ".join("---" if entry.key is None else str(entry.key) for entry in run.entries)
    return (
        _utc(run.started),
        keys,
        run.rows("bronze", "read"),
        run.rows("silver", "written"),
        run.rows("silver", "quarantined"),
        run.words,
    )


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


@click.command()
@click.argument("table", type=click.Choice(list(SHOWN)))
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="How many rows, in key order.")
@json_option
def show(table: str, limit: int, as_json: bool) -> None:
    """The first rows of a silver or gold table, or of the quarantine."""
    name, types, key = SHOWN[table]
    with opened(SilentReporter(), with_source=False) as (_, lakehouse):
        page = next(iter(lakehouse.tables.rows(name, list(types), key=key, size=limit)), [])
        rows = [{column: value_of(row[column], held) for column, held in types.items()} for row in page]
        total = lakehouse.tables.count(name)
    if as_json:
        print_json({"table": name, "rows": total, "shown": rows})
        return
    columns = [
        (column, "left" if held == "text" else "right")
        for column, held in types.items()
        if column != "id" or "tabela" not in types  # a hash says nothing
    ]
    # Numbers as text, so that keys and ages get no thousands mark.
    shown = [[None if row[column] is None else as_text(row[column]) for column, _ in columns] for row in rows]
    print_table(columns, shown, f"{name}: {counted(total, 'row')}")


@click.command()
@click.argument("table", type=click.Choice([table.name for table in TABLES]))
@click.argument("key")
@json_option
def trace(table: str, key: str, as_json: bool) -> None:
    """Where a silver row came from: the run that wrote it, the bronze object, and the row as the source had it."""
    with opened(SilentReporter(), with_source=False) as (_, lakehouse):
        found = trace_row(lakehouse, next(known for known in TABLES if known.name == table), key)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if isinstance(value, dict):
            click.echo(name)
            for column, held in value.items():
                click.echo(f"  {column:<14}  {shown_value(held)}")
        elif name != "unexplained":
            click.echo(f"{name:<14}  {'-' if value is None else one_line(value)}")
    if found["unexplained"] is not None:
        say_hint(f"no snapshot explains this row: {found['unexplained']}")
