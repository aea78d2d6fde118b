"""Arrow tables cut and joined by their bytes as well as by their rows: pure functions."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def cut(table: pa.Table, most_bytes: int, rows: int | None = None) -> Iterator[pa.Table]:
    """The rows in order, in slices of at most so many bytes and ``rows``; a row that is larger alone is a slice.

    The bytes are those of the values: of texts their own, of others what their type takes.
    """
    ends = np.cumsum(_sizes(table))
    start, before = 0, 0
    while start < len(table):
        end = max(start + 1, int(np.searchsorted(ends, before + most_bytes, side="right")))
        end = min(end, start + rows) if rows else end
        yield table.slice(start, end - start)
        start, before = end, int(ends[end - 1])


def _sizes(table: pa.Table) -> npt.NDArray[np.int64]:
    """Each row's bytes."""
    sizes = np.zeros(len(table), np.int64)
    for column in table.columns:
        if pa.types.is_null(column.type):
            continue
        try:
            sizes += column.type.bit_width // 8
        except ValueError:  # no fixed width: texts and bytes
            sizes += pc.fill_null(pc.binary_length(column), 0).to_numpy()
    return sizes


def joined(pieces: Iterable[pa.Table], rows: int, most_bytes: int) -> Iterator[pa.Table]:
    """Small tables in larger ones, which end at so many rows or bytes; a larger one is cut."""
    waiting: list[pa.Table] = []
    count = size = 0
    for piece in (small for large in pieces for small in cut(large, most_bytes, rows)):
        if waiting and (count + len(piece) > rows or size + piece.nbytes > most_bytes):
            yield pa.concat_tables(waiting)
            waiting, count, size = [], 0, 0
        waiting.append(piece)
        count += len(piece)
        size += piece.nbytes
    if waiting:
        yield pa.concat_tables(waiting)


REQUEST_BYTES = 8 * 2**20
"""Bytes of rows in one request to a lakehouse, about: it bounds the memory that both ends need for one."""


def requests(pieces: Iterable[tuple[str, pa.Table]], rows: int) -> Iterator[tuple[str, pa.Table]]:
    """Named tables as others of at most so many rows and ``REQUEST_BYTES``; those without rows are left out."""
    return ((name, part) for name, table in pieces for part in cut(table, REQUEST_BYTES, rows))
