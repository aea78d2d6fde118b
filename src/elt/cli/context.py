"""What several commands need: settings, a reporter, a runner, and tables on the terminal."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.table import Table as RichTable

from elt.connections import lakehouse_of, source_of
from elt.lakehouse.ports import Lakehouse
from elt.progress import PlainReporter, Reporter, TerminalReporter
from elt.settings import Settings, load_settings

json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document to standard output, for scripts."
)


def reporter() -> Reporter:
    """Bars if a person looks at standard error, plain lines otherwise."""
    console = Console(stderr=True)
    return TerminalReporter(console) if console.is_terminal else PlainReporter(sys.stderr)


@contextmanager
def opened(say: Reporter, *, with_source: bool) -> Iterator[tuple[Settings, Lakehouse]]:
    """The settings and the open lakehouse, after saying what is used."""
    settings = load_settings()
    if with_source:
        say.say(f"source: {source_of(settings).description}")
    with lakehouse_of(settings) as lakehouse:
        say.say(f"lakehouse: {lakehouse.description}")
        yield settings, lakehouse


def print_json(document: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2, default=str))


def print_table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """A table on standard output, its cells as they are. ``columns``: heading and justification; NULL is empty."""
    table = RichTable(title=title, title_justify="left", title_style="bold")
    for heading, justify in columns:
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*("" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row))
    Console(highlight=False, markup=False, emoji=False).print(table)
