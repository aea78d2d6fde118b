"""Arrow tables of text cut and joined by their bytes as well as by their rows: pure functions."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def cut(table: pa.Table, most_bytes: int) -> Iterator[pa.Table]:
    """The rows in order, in slices of at most so many bytes of text; a row that is larger alone is a slice."""
    sizes = np.zeros(len(table), np.int64)
    for column in table.columns:
        if pa.types.is_string(column.type):
            sizes += pc.fill_null(pc.binary_length(column), 0).to_numpy()
    ends = np.cumsum(sizes)
    start, before = 0, 0
    while start < len(table):
        end = max(start + 1, int(np.searchsorted(ends, before + most_bytes, side="right")))
        yield table.slice(start, end - start)
        start, before = end, int(ends[end - 1])


def joined(pieces: Iterable[pa.Table], rows: int, most_bytes: int) -> Iterator[pa.Table]:
    """Small tables in larger ones, which end at so many rows or bytes; pieces have no more rows themselves."""
    waiting: list[pa.Table] = []
    count = size = 0
    for piece in (small for large in pieces for small in cut(large, most_bytes)):
        if waiting and (count + len(piece) > rows or size + piece.nbytes > most_bytes):
            yield pa.concat_tables(waiting)
            waiting, count, size = [], 0, 0
        waiting.append(piece)
        count += len(piece)
        size += piece.nbytes
    if waiting:
        yield pa.concat_tables(waiting)
