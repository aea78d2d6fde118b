"""Small shops for tests, written as the files source reads them, and what a lakehouse holds after a run."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from elt.catalog import ANALYSES, REJEITADOS, TABLES, VALORES_REJEITADOS, Table
from elt.frames import arrow_schema
from elt.lakehouse.ports import Lakehouse
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


def write_shop(
    folder: Path,
    clientes: Sequence[Row] = (CLIENTE,),
    produtos: Sequence[Row] = (PRODUTO,),
    pedidos: Sequence[Row] = (PEDIDO,),
) -> FilesSource:
    """The shop as three CSV files in ``folder``; a row says what differs from the standard one."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, standard, rows in zip(TABLES, (CLIENTE, PRODUTO, PEDIDO), (clientes, produtos, pedidos), strict=True):
        write_table(folder, table.name, [{**standard, **row} for row in rows], table.column_names)
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
