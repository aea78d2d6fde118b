"""The quarantine: what is in it and why, the rows as the source had them, and everything as one file."""

import csv
import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TextIO

import click

from elt.cli.context import (
    json_option,
    one_line,
    opened,
    print_json,
    print_table,
    say_hint,
    short_time,
    shown_value,
)
from elt.lakehouse.ports import Tables, Within
from elt.progress import SilentReporter
from elt.quarantine import ROWS, VALUES, entries, summary
from elt.silver import TABLES

_KINDS = {ROWS: "linha", VALUES: "valor"}
EXPORTED = ("tipo", "tabela", "chave", "coluna", "valor", "motivo", "linha", "snapshot", "desde")
"""Columns of an export. ``tipo``: linha (a row that was refused) or valor (a value that became NULL)."""


@click.group()
def quarantine() -> None:
    """Rows that silver refused, and single values that it could not read and wrote as NULL.

    Both leave the quarantine by themselves when the source is corrected, or the missing parent arrives.
    """


@quarantine.command("list")
@json_option
def list_(as_json: bool) -> None:
    """How many rows and values are in quarantine, by table and reason, each with an example."""
    with opened(SilentReporter(), with_source=False) as (_, lakehouse):
        groups = summary(lakehouse.tables)
        totals = {name: lakehouse.tables.count(name) for name in (ROWS, VALUES)}
    if as_json:
        print_json({"rows": totals[ROWS], "values": totals[VALUES], "reasons": [vars(group) for group in groups]})
        return
    for name, what in ((ROWS, "rows refused"), (VALUES, "single values became NULL")):
        click.echo(f"{totals[name]:,} {what}" + (", by reason:" if totals[name] else ""))
        if totals[name]:
            columns = [("table", "left"), ("count", "right"), ("reason", "left"), ("for example", "left")]
            found = [group for group in groups if group.quarantine == name]
            print_table(columns, [(group.table, group.count, group.reason, group.example_key) for group in found])
            click.echo()
    if groups:
        key = "" if groups[0].example_key is None else f" {shlex.quote(groups[0].example_key)}"
        say_hint(f"one of them: medallion quarantine show {groups[0].table}{key}")


@quarantine.command()
@click.argument("table", type=click.Choice([table.name for table in TABLES]))
@click.argument("key", required=False)
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="How many rows, and values.")
@json_option
def show(table: str, key: str | None, limit: int, as_json: bool) -> None:
    """The quarantine of TABLE, or of one KEY of it: the reason, since when, and the row as the source had it."""
    known = next(found for found in TABLES if found.name == table)
    with opened(SilentReporter(), with_source=False) as (_, lakehouse):
        rows = list(islice(entries(lakehouse.tables, ROWS, known, key), limit))
        values = list(islice(entries(lakehouse.tables, VALUES, known, key), limit))
        totals = {name: lakehouse.tables.count(name, Within("tabela", [table])) for name in (ROWS, VALUES)}
    if as_json:
        print_json({"table": table, "key": key, "rows": rows, "values": values})
        return
    for entry in rows:
        click.echo(f"{table} {one_line(entry['chave'] or '(no key)')}: refused since {short_time(entry['desde'])}")
        click.echo(f"  reason        {one_line(entry['motivo'])}")
        click.echo(f"  snapshot      {entry['snapshot']}")
        line = entry["linha"]
        assert isinstance(line, dict)  # noqa: S101 - entries() reads it as JSON
        for name, value in line.items():
            click.echo(f"  {name:<12}  {shown_value(value)}")
        click.echo()
    for entry in values:
        column, value = entry["coluna"], one_line(entry["valor"])
        click.echo(f"{table} {one_line(entry['chave'])}: {column} is NULL since {short_time(entry['desde'])}")
        click.echo(f"  reason        {one_line(entry['motivo'])}")
        click.echo(f"  value         {value}")
        click.echo()
    if key is None:
        click.echo(f"{len(rows):,} of {totals[ROWS]:,} rows and {len(values):,} of {totals[VALUES]:,} values shown")
    elif not rows and not values:
        click.echo(f"nothing of {table} {key} is in quarantine")


@quarantine.command()
@click.option("--format", "kind", type=click.Choice(["csv", "json"]), default="csv", show_default=True, help="Of what.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="The file; else standard output.")
def export(kind: str, output: Path | None) -> None:
    """Everything in quarantine as one file: the rows refused, then the values that became NULL.

    JSON is one array with an object a line. Memory stays flat however much there is.
    """
    with opened(SilentReporter(), with_source=False) as (_, lakehouse), _target(output) as file:
        write = _write_csv if kind == "csv" else _write_json
        count = write(lakehouse.tables, file)
    if output is not None:
        click.echo(f"{count:,} entries written to {output}")


@contextmanager
def _target(output: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears under its name only once it is whole."""
    if output is None:
        yield sys.stdout
        return
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
        partial.replace(output)
    except OSError as error:
        raise click.FileError(str(output), error.strerror or "") from error
    finally:
        partial.unlink(missing_ok=True)


def _everything(tables: Tables) -> Iterator[dict[str, object]]:
    for name, kind in _KINDS.items():
        for entry in entries(tables, name):
            yield {"tipo": kind, **entry}


def _write_csv(tables: Tables, file: TextIO) -> int:
    writer = csv.DictWriter(file, EXPORTED, restval="", lineterminator="\n")
    writer.writeheader()
    count = 0
    for entry in _everything(tables):
        if "linha" in entry:
            entry["linha"] = json.dumps(entry["linha"], ensure_ascii=False)
        writer.writerow(entry)
        count += 1
    return count


def _write_json(tables: Tables, file: TextIO) -> int:
    file.write("[")
    count = 0
    for entry in _everything(tables):
        file.write(",\n" if count else "\n")
        file.write(json.dumps(entry, ensure_ascii=False))
        count += 1
    file.write("\n]\n")
    return count
