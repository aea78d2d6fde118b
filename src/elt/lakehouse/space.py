"""Whether the database has room for what a load brings: a guess from its rows alone, before the first is written.

Measured on the embedded PostgreSQL 18 with two generated shops (``SampleShop``) of 100,000 orders: one with 5,000
customers and 500 products, one with 50,000 of each. Bytes a row, and what is guessed here:

    =========  ==========  =====  ============  =====
    table      in silver,  guess  in its        guess
               indexes in         staging twin
    =========  ==========  =====  ============  =====
    clientes   174 to 179    168  201             188
    produtos   125           136  155             156
    pedidos    138 to 168    184  141 to 145      156
    =========  ==========  =====  ============  =====

Gold had 130 bytes for each customer and each product with orders, and 24 more for each order (the names in its lists).
The whole load took 35 and 70 MB at its highest, the guess says 39 and 82. What cannot be known before is not in it:
rows that only changed (each takes its bytes once more until PostgreSQL has cleaned up), the quarantine (450 bytes a
row), and texts that are much longer than the sample shop's.
"""

from collections.abc import Mapping, Sequence

from elt.catalog import Table
from elt.errors import Missing, SnapshotError
from elt.invocation import typed
from elt.lakehouse import snapshots
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.snapshots import Manifest
from elt.progress import Reporter, about
from elt.rules import Type

ROW = 36
"""Of a row itself: its header, its place in the page, and ``data_ingestao``."""

VALUE: dict[Type, int] = {"text": 20, "money": 8, "integer": 4, "date": 4}
KEY = 8
"""A key's value; other text is longer."""

KEY_INDEX, REFERENCE_INDEX = 40, 24
"""A row's share of the primary key's index, and of that of a column that references another table."""

STAGED = 60
"""What a row in staging has more than in silver: its execution, its batch, its place, its fingerprint; no stamp."""

GOLD_ROW, GOLD_SHARE = 130, 24
"""Of a row that others reference, its row in gold; of a row that references others, what it adds there."""


def needed(tables: Sequence[Table], rows: Mapping[str, int], applied: Mapping[str, int]) -> int:
    """The bytes that a load takes at its highest, if tables go from ``applied`` rows to ``rows``; 0 if none grows."""
    parents = frozenset[str]().union(*(table.parents for table in tables))
    return sum(
        max(0, rows.get(table.name, 0) - applied.get(table.name, 0)) * _of_a_row(table, table.name in parents)
        for table in tables
    )


def _of_a_row(table: Table, is_referenced: bool) -> int:
    """The bytes of one row more: in silver, in its indexes, in gold, and in staging."""
    references = len(table.foreign_keys)
    others = [kind for name, kind in table.silver_types.items() if name not in _keys(table)]
    heap = ROW + KEY * (1 + references) + sum(VALUE[kind] for kind in others)
    indexes = KEY_INDEX + REFERENCE_INDEX * references
    gold = GOLD_ROW * is_referenced + GOLD_SHARE * bool(references)
    return heap + indexes + gold + heap + STAGED


def _keys(table: Table) -> set[str]:
    return {"id", *(column.name for column in table.foreign_keys)}


def rows_of(manifest: Manifest) -> dict[str, int]:
    """The rows of a snapshot's tables."""
    return {name: table.rows for name, table in manifest.tables.items()}


def rows_applied(
    lakehouse: Lakehouse, tables: Sequence[Table], applied: str | None, newest: Manifest | None
) -> dict[str, int]:
    """The rows that silver was made of: those of the snapshot ``applied``, or, if it is lost, silver's own."""
    if applied is None:
        return {}
    if newest is not None and newest.snapshot == applied:
        return rows_of(newest)
    try:
        return rows_of(snapshots.read_manifest(lakehouse.bucket, applied))
    except (Missing, SnapshotError):
        return {table.name: lakehouse.tables.count(table.silver) for table in tables}


def held_by(lakehouse: Lakehouse) -> int:
    """The bytes of the whole database."""
    return int(str(lakehouse.tables.call("controle.tamanho_do_banco")))


def require_room(
    lakehouse: Lakehouse,
    tables: Sequence[Table],
    rows: Mapping[str, int],
    applied: str | None,
    newest: Manifest | None,
    reporter: Reporter,
) -> None:
    """Nothing, if the database may hold so many rows; else ``Full``. Says so where a free project may not.

    ``rows``: of each table to load. ``applied``: the snapshot that silver has; ``newest``: the newest in bronze.
    """
    if lakehouse.database_quota is None:
        return
    held = held_by(lakehouse)
    more = needed(tables, rows, rows_applied(lakehouse, tables, applied, newest))
    lakehouse.database_quota.require(held, more)
    if warning := lakehouse.database_quota.warning(held, more):
        with about(level="warning"):
            reporter.say(typed(f"warning: {warning}"))
