"""What several commands need: settings, a reporter, a runner, and tables on the terminal."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from elt.invocation import typed
from elt.notation import decimal_text
from elt.progress import JsonReporter, PlainReporter, Reporter, TerminalReporter, about
from elt.settings import Settings, found, load_settings

if TYPE_CHECKING:
    from elt.lakehouse.ports import Lakehouse

json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document to standard output, for scripts."
)

GAP = 2
"""Cells between two columns."""

SHORTEST_TEXT = 12
"""A column of text is not made narrower than this: the last columns are left out instead."""

_CONTROL_PICTURES = (
    {code: chr(0x2400 + code) for code in range(32)} | {0x7F: "␡"} | dict.fromkeys(range(0x80, 0xA0), "�")
)


def reporter() -> Reporter:
    """Bars if a person looks at standard error, plain lines otherwise; JSON lines if LOG_FORMAT says so."""
    if load_settings().log_format == "json":
        return JsonReporter(sys.stderr)
    console = Console(stderr=True)
    return TerminalReporter(console) if console.is_terminal else PlainReporter(sys.stderr)


def _ask_for_sample(context: click.Context, _: click.Parameter, asked: bool) -> None:
    context.find_root().meta[_SAMPLE] = asked


_SAMPLE = "elt.sample"

SAMPLE_OPTION = click.Option(
    ["--sample"],
    is_flag=True,
    expose_value=False,
    callback=_ask_for_sample,
    help="The made-up sample shop: into (or from) a lakehouse of its own, or the one that LAKEHOUSE_… names.",
)
"""Of every command that opens a lakehouse."""


def sample_asked() -> bool:
    """Whether this command was given ``--sample``."""
    return bool(click.get_current_context().find_root().meta.get(_SAMPLE))


def say_settings(say: Reporter) -> None:
    """The first line of a command: which ``.env`` was read, or that none was; then what people should know of it."""
    read = found()
    say.say(f"settings: {read.place.words}")
    with about(level="warning"):
        for words in read.warnings:
            say.say(f"warning: {words}")


@contextmanager
def opened(say: Reporter, *, with_source: bool) -> "Iterator[tuple[Settings, Lakehouse]]":
    """The settings and the open lakehouse, after saying what is used."""
    from elt.connections import lakehouse_of, source_of

    say_settings(say)
    settings, sample = load_settings(), sample_asked()
    if with_source:
        say.say(f"source: {source_of(settings, sample=sample).description}")
    with lakehouse_of(settings, sample=sample, loading=with_source) as lakehouse:
        say.say(f"lakehouse: {lakehouse.description}")
        yield settings, lakehouse


def as_text(value: object) -> str:
    """A value as a person reads it, and JSON holds it: the one place where what Python calls a value becomes text."""
    if isinstance(value, Decimal):
        return decimal_text(value)
    return value.isoformat() if isinstance(value, date) else str(value)


def json_text(document: object, indent: int | None = None) -> str:
    """A JSON document for scripts: amounts and times as text, exactly."""
    return json.dumps(document, ensure_ascii=False, indent=indent, default=as_text)


def print_json(document: object) -> None:
    """One JSON document on standard output."""
    click.echo(json_text(document, indent=2))


def say_hint(text: str) -> None:
    """A line on standard output in which each ``medallion COMMAND`` stands as it has to be typed here."""
    click.echo(typed(text))


def print_table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """A table on standard output, one line a row. ``columns``: heading and justification; NULL is shown empty.

    A terminal gets what fits it: long texts end with an ellipsis, and the last columns are left out (and named) if even
    so there is no room. A pipe or a file gets everything, at full width.
    """
    console = Console(highlight=False)
    cells = [[_cell(cell) for cell in row] for row in rows]
    natural = [
        max(map(cell_len, (heading, *(row[position] for row in cells))))
        for position, (heading, _) in enumerate(columns)
    ]
    if console.is_terminal:
        shortest = [
            width if justify == "right" else min(width, SHORTEST_TEXT)
            for width, (_, justify) in zip(natural, columns, strict=True)
        ]
        widths = column_widths(natural, shortest, console.width)
    else:
        widths = natural
        console.width = sum(widths) + GAP * len(widths)
    table = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for (heading, justify), width in zip(columns, widths, strict=False):
        table.add_column(Text(heading), justify=justify, width=width, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
    for row in cells:
        table.add_row(*map(Text, row[: len(widths)]))
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)
    if left_out := [heading for heading, _ in columns[len(widths) :]]:
        console.print(Text(f"not shown here: {', '.join(left_out)} (a wider terminal, a pipe or --json shows all)"))


def column_widths(natural: Sequence[int], shortest: Sequence[int], available: int) -> list[int]:
    """Widths of as many leading columns as fit in ``available`` cells, the widest ones shortened first.

    ``natural``: what each column would take. ``shortest``: what it takes at least, unless it is the only one.
    """
    shown = len(natural)
    while shown > 1 and sum(shortest[:shown]) + GAP * (shown - 1) > available:
        shown -= 1
    room = available - GAP * (shown - 1)
    widths = [min(width, available) for width in natural[:shown]]
    while sum(widths) > room:
        widest = max(range(shown), key=lambda column: (widths[column] > shortest[column], widths[column]))
        widths[widest] -= 1
    return widths


def _cell(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else one_line(value)


def one_line(value: object) -> str:
    """A value on one line, without what could steer the terminal: a shop's text may hold anything."""
    return as_text(value).translate(_CONTROL_PICTURES)


def shown_value(value: object) -> str:
    """A column's value in a row shown by itself: what is not there, and what is there and empty, told apart."""
    return "(NULL)" if value is None else one_line(value) or "(empty)"


def short_time(moment: object) -> str:
    """A moment as the database prints it, to the minute; ``-`` for none."""
    return "-" if moment is None else str(moment).replace("T", " ")[:16]


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 snapshot``, ``2,000 snapshots``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def say_left_alone(number: int) -> None:
    """One line about the objects of the bucket that are somebody else's, if there are any."""
    if number:
        verb, was = ("is", "was") if number == 1 else ("are", "were")
        click.echo(f"{counted(number, 'object')} that {verb} not the pipeline's {was} left alone")
