"""Writing many rows through ``Tables``: in batches that shrink where the server cannot take them."""

from collections.abc import Hashable

import pandas as pd

from elt.catalog import WRITE_ROWS
from elt.errors import Rejected, Timeout, TooLarge
from elt.lakehouse.ports import Tables, Written
from elt.progress import Task


def upsert_in_batches(
    tables: Tables, table: str, rows: pd.DataFrame, task: Task, size: int = WRITE_ROWS
) -> tuple[Written, dict[Hashable, str]]:
    """Upsert the rows (key ``id``), at most ``size`` in a request; answers what was done and what the server refused.

    A batch that times out, is too large, or breaks a rule of the server is halved and tried again, down to the single
    row. A single row that breaks a rule is refused: its index with the reason. A single row that times out is an error.
    """
    total, refused = Written(), dict[Hashable, str]()
    for start in range(0, len(rows), size):
        batch = rows.iloc[start : start + size]
        written, reasons = _upsert_or_halve(tables, table, batch)
        total += written
        refused |= reasons
        task.advance(len(batch))
    return total, refused


def _upsert_or_halve(tables: Tables, table: str, batch: pd.DataFrame) -> tuple[Written, dict[Hashable, str]]:
    try:
        return tables.upsert(table, batch, key="id"), {}
    except (Timeout, TooLarge, Rejected) as error:
        if len(batch) == 1:
            if not isinstance(error, Rejected):
                raise
            return Written(), {batch.index[0]: f"o banco de dados recusou a linha: {error.what}"}
        middle = len(batch) // 2
        first, refused = _upsert_or_halve(tables, table, batch.iloc[:middle])
        second, others = _upsert_or_halve(tables, table, batch.iloc[middle:])
        return first + second, refused | others
