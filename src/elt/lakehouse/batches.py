"""Writing many rows through ``Tables``: in batches that shrink where the server cannot take them."""

from collections.abc import Hashable

import pandas as pd

from elt.concurrency import each
from elt.errors import Rejected, Timeout, TooLarge
from elt.lakehouse.ports import Tables, Written
from elt.progress import SilentReporter, Task

Outcome = tuple[Written, dict[Hashable, str]]
"""What was done, and the index of each row that the server refused with the reason."""


def upsert_in_batches(
    tables: Tables, table: str, rows: pd.DataFrame, task: Task | None = None, *, key: str = "id"
) -> Outcome:
    """Upsert the rows, as many in a request and as many requests at a time as ``tables`` takes.

    A batch that times out, is too large, or breaks a rule of the server is halved and tried again, down to the single
    row. A single row that breaks a rule is refused. A single row that times out is an error.
    """
    task = task or SilentReporter()
    batches = [rows.iloc[start : start + tables.write_rows] for start in range(0, len(rows), tables.write_rows)]
    total, refused = Written(), dict[Hashable, str]()
    outcomes = each(lambda batch: _upsert_or_halve(tables, table, batch, key), batches, tables.in_flight)
    for batch, (written, reasons) in zip(batches, outcomes, strict=True):
        total += written
        refused |= reasons
        task.advance(len(batch))
    return total, refused


def upsert_all(tables: Tables, table: str, rows: pd.DataFrame, *, key: str = "id") -> Written:
    """The same for rows that the pipeline made itself: one that is refused is an error, not data to set aside."""
    written, refused = upsert_in_batches(tables, table, rows, key=key)
    if refused:
        reason = next(iter(refused.values()))
        raise Rejected(
            f"{table} refused {len(refused)} rows of the pipeline's own: {reason}",
            next_step="apply the migrations (medallion init); if it stays, report it with this message",
        )
    return written


def _upsert_or_halve(tables: Tables, table: str, batch: pd.DataFrame, key: str) -> Outcome:
    try:
        return tables.upsert(table, batch, key=key), {}
    except (Timeout, TooLarge, Rejected) as error:
        if len(batch) == 1:
            if not isinstance(error, Rejected):
                raise
            return Written(), {batch.index[0]: f"o banco de dados recusou a linha: {error.what}"}
        middle = len(batch) // 2
        first, refused = _upsert_or_halve(tables, table, batch.iloc[:middle], key)
        second, others = _upsert_or_halve(tables, table, batch.iloc[middle:], key)
        return first + second, refused | others
