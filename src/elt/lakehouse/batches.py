"""Writing many rows through ``Tables``: in batches that shrink where the server cannot take them."""

from collections.abc import Hashable

import pandas as pd

from elt.concurrency import each
from elt.errors import Kind, LakehouseError, Rejected
from elt.lakehouse.ports import Tables, Written
from elt.progress import SilentReporter, Task

Outcome = tuple[Written, dict[Hashable, LakehouseError]]
"""What was done, and the index of each row that the server refused with its error."""


def upsert_in_batches(
    tables: Tables, table: str, rows: pd.DataFrame, task: Task | None = None, *, key: str = "id"
) -> tuple[Written, dict[Hashable, str]]:
    """Upsert the rows; answers what was done, and the index of each row that the server refused with the reason.

    The reason is data, for quarantine beside the row itself: it has the server's words about that row.
    """
    written, refused = _upsert(tables, table, rows, task or SilentReporter(), key)
    return written, {row: _reason(error) for row, error in refused.items()}


def _reason(error: LakehouseError) -> str:
    detail = f" ({error.detail})" if error.detail else ""
    return f"o banco de dados recusou a linha: {error.what}{detail}"


def _upsert(tables: Tables, table: str, rows: pd.DataFrame, task: Task, key: str) -> Outcome:
    """Upsert the rows, as many in a request and as many requests at a time as ``tables`` takes.

    A batch that times out, is too large, or breaks a rule of the server is halved and tried again, down to the single
    row. A single row that breaks a rule is refused. A single row that times out is an error.
    """
    batches = [rows.iloc[start : start + tables.write_rows] for start in range(0, len(rows), tables.write_rows)]
    total, refused = Written(), dict[Hashable, LakehouseError]()
    outcomes = each(lambda batch: _upsert_or_halve(tables, table, batch, key), batches, tables.in_flight)
    for batch, (written, errors) in zip(batches, outcomes, strict=True):
        total += written
        refused |= errors
        task.advance(len(batch))
    return total, refused


def upsert_all(tables: Tables, table: str, rows: pd.DataFrame, *, key: str = "id") -> Written:
    """The same for rows that the pipeline made itself: one that is refused is an error, not data to set aside."""
    written, refused = _upsert(tables, table, rows, SilentReporter(), key)
    if refused:
        reason = next(iter(refused.values())).what
        raise Rejected(
            f"{table} refused {len(refused)} rows of the pipeline's own: {reason}",
            next_step="apply the migrations (medallion init); if it stays, report it with this message",
        )
    return written


def _upsert_or_halve(tables: Tables, table: str, batch: pd.DataFrame, key: str) -> Outcome:
    try:
        return tables.upsert(table, batch, key=key), {}
    except LakehouseError as error:
        if not error.halved:
            raise
        if len(batch) == 1:
            if error.kind is not Kind.DATA:
                raise
            return Written(), {batch.index[0]: error}
        middle = len(batch) // 2
        first, refused = _upsert_or_halve(tables, table, batch.iloc[:middle], key)
        second, others = _upsert_or_halve(tables, table, batch.iloc[middle:], key)
        return first + second, refused | others
