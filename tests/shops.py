"""Small shops for tests, written as the files source reads them, and what a lakehouse holds after a run."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from elt import rules
from elt.catalog import ANALYSES, REJEITADOS, VALORES_REJEITADOS, Table
from elt.frames import arrow_schema
from elt.lakehouse.ports import Lakehouse
from elt.silver import TABLES
from elt.sources.files import FilesSource

Row = Mapping[str, str | None]

CLIENTE: Row = {
    "id_cliente": "1",
    "nome": "Ana Souza",
    "email": "ana@exemplo.com.br",
    "telefone": "(11) 98765-4321",
    "cidade": "São Paulo",
    "idade": "34",
}
PRODUTO: Row = {"id_produto": "10", "nome_produto": "Café", "categoria": "Mercearia", "preco": "12,50", "estoque": "7"}
PEDIDO: Row = {
    "id_pedido": "100",
    "id_cliente": "1",
    "id_produto": "10",
    "quantidade": "2",
    "status": "pago",
    "valor_total": "R$ 25,00",
    "data_pedido": "05/03/2024",
}


STANDARD = {"clientes": CLIENTE, "produtos": PRODUTO, "pedidos": PEDIDO}
"""The standard rows of tables that tests look into."""

MADE_UP: dict[rules.Type, str] = {"text": "1", "integer": "1", "money": "1,00", "date": "02/01/2024"}
"""What a standard row holds in any other column."""


def standard(table: Table) -> dict[str, str | None]:
    """A row of the table that silver takes, beside the standard rows of the tables it references."""
    known, keys = STANDARD.get(table.name, {}), {name: next(iter(row.values())) for name, row in STANDARD.items()}
    made_up = {column.name: keys.get(str(column.references), MADE_UP[column.rule.type]) for column in table.columns}
    return {name: known.get(name, made_up[name]) for name in table.column_names}


def write_shop(
    folder: Path,
    clientes: Sequence[Row] = ({},),
    produtos: Sequence[Row] = ({},),
    pedidos: Sequence[Row] = ({},),
    *,
    tables: Sequence[Table] = TABLES,
    **others: Sequence[Row],
) -> FilesSource:
    """The shop as a CSV file for each table in ``folder``; a row says what differs from the standard one."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"clientes": clientes, "produtos": produtos, "pedidos": pedidos, **others}
    for table in tables:
        rows = [{**standard(table), **row} for row in given.get(table.name, ({},))]
        write_table(folder, table.name, rows, table.column_names)
    return FilesSource(folder)


def write_table(folder: Path, name: str, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """One CSV file."""
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def contents(lakehouse: Lakehouse, tables: Sequence[Table] = TABLES) -> dict[str, list[tuple[object, ...]]]:
    """Every row of silver, gold and the quarantine, without what depends on the moment of the run."""
    read = {table.silver: (arrow_schema(table.silver_types), "id") for table in tables}
    read |= {a.gold: (arrow_schema(a.types), a.key) for a in ANALYSES}
    found = {name: rows_of(lakehouse, name, schema, key) for name, (schema, key) in read.items()}
    for name, types in (("silver.rejeitados", REJEITADOS), ("silver.valores_rejeitados", VALORES_REJEITADOS)):
        without_snapshot = arrow_schema({column: held for column, held in types.items() if column != "snapshot"})
        found[name] = rows_of(lakehouse, name, without_snapshot, "id")
    return found


def rows_of(lakehouse: Lakehouse, name: str, schema: pa.Schema, key: str) -> list[tuple[object, ...]]:
    """The rows of one table in key order, NULL as None."""
    pages = lakehouse.tables.pages(name, schema, key=key, size=10_000)
    return [
        row
        for page in pages
        for row in page.astype(object).where(page.notna(), None).itertuples(index=False, name=None)
    ]
