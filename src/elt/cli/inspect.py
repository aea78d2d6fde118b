"""Commands that only look: the run ledger, the tables, and where a row came from."""

import click
import pyarrow as pa

from elt.catalog import ANALISE_CLIENTES_PEDIDOS, ANALISE_PRODUTOS, REJEITADOS, TABLES, VALORES_REJEITADOS
from elt.cli.context import json_option, opened, print_json, print_table
from elt.keys import StatusKey
from elt.ledger import Ledger, recent
from elt.lineage import trace_row
from elt.progress import SilentReporter

_STAMPED = pa.field("data_ingestao", pa.string())
SHOWN: dict[str, tuple[str, pa.Schema, str]] = {
    **{table.name: (table.silver, table.silver_schema.append(_STAMPED), "id") for table in TABLES},
    **{a.name: (a.gold, a.schema, a.key) for a in (ANALISE_CLIENTES_PEDIDOS, ANALISE_PRODUTOS)},
    "rejeitados": ("silver.rejeitados", REJEITADOS, "id"),
    "valores_rejeitados": ("silver.valores_rejeitados", VALORES_REJEITADOS, "id"),
}
"""What ``show`` can show: the table, its columns, its key."""


@click.command()
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="How many runs, newest first.")
@json_option
def status(limit: int, as_json: bool) -> None:
    """What the last runs did, what is pending, and what is in quarantine."""
    with opened(SilentReporter(), with_source=False) as (_, lakehouse):
        rows = recent(lakehouse.tables, limit)
        pending = Ledger(lakehouse.tables).gold_pending()
        quarantine = {name: lakehouse.tables.count(SHOWN[name][0]) for name in ("rejeitados", "valores_rejeitados")}
        if as_json:
            print_json({"runs": rows, "gold_pending": pending, "quarantine": quarantine})
            return
        words = [(name, "left") for name in ("started", "layer", "key", "meaning")]
        numbers = [(name, "right") for name in ("read", "written", "unchanged", "repeated", "quarantined")]
        print_table([*words, *numbers], [_line(row) for row in rows])
        click.echo(f"{lakehouse.description}")
        click.echo(f"waiting for gold: {pending:,} customers and products")
        click.echo(
            f"in quarantine: {quarantine['rejeitados']:,} rows; "
            f"{quarantine['valores_rejeitados']:,} single values became NULL"
        )


def _line(row: dict[str, object]) -> tuple[object, ...]:
    """One run as the table shows it: a failure with its error, a killed run as what it is."""
    if row["erro"]:
        meaning = f"failed: {row['erro']}"
    elif row["chave"] is None:
        meaning = "not finished: running, or killed"
    else:
        meaning = StatusKey(int(str(row["chave"]))).meaning
    names = ("linhas_lidas", "linhas_gravadas", "linhas_inalteradas", "linhas_repetidas", "linhas_em_quarentena")
    key = None if row["chave"] is None else str(row["chave"])
    return (str(row["iniciada_em"])[:19], row["camada"], key, meaning, *(row[name] for name in names))


@click.command()
@click.argument("table", type=click.Choice(list(SHOWN)))
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="How many rows, in key order.")
@json_option
def show(table: str, limit: int, as_json: bool) -> None:
    """The first rows of a silver or gold table, or of the quarantine."""
    name, schema, key = SHOWN[table]
    with opened(SilentReporter(), with_source=False) as (_, lakehouse):
        page = next(iter(lakehouse.tables.pages(name, schema, key=key, size=limit)), None)
        rows = [] if page is None else page.astype(object).where(page.notna(), None).to_dict("records")
        total = lakehouse.tables.count(name)
    if as_json:
        print_json({"table": name, "rows": total, "shown": rows})
        return
    columns = [(field.name, "right" if pa.types.is_integer(field.type) else "left") for field in schema]
    shown = [[_plain(value) for value in row.values()] for row in rows]
    print_table(columns, shown, f"{name}: {total:,} rows")


def _plain(value: object) -> object:
    """Money without the zeros that only its type has; a number as text, so that keys and ages get no thousands mark."""
    text = str(value)
    if value is not None and hasattr(value, "as_tuple") and "." in text:
        whole, fraction = text.split(".")
        return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"
    return None if value is None else text


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
        click.echo(f"{name:>12}  {value}")
