"""A content fingerprint of a table: the same for the same values in the same order, however they were cut in pages.

Types and places are no part of it: the same rows read in another way are the same rows.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc


class Fingerprint:
    """SHA-256 over every column's lengths and bytes, fed page by page. NULL and the empty text differ."""

    def __init__(self, columns: Iterable[str]) -> None:
        """``columns``: the names of the source's columns."""
        self._columns = sorted(columns)
        self._lengths = {name: hashlib.sha256() for name in self._columns}
        self._bytes = {name: hashlib.sha256() for name in self._columns}
        self._rows = 0

    def update(self, page: pa.Table) -> None:
        """Add a page; its columns are text."""
        self._rows += len(page)
        for name in self._columns:
            for chunk in page.column(name).chunks:
                lengths = pc.fill_null(pc.binary_length(chunk), -1)
                self._lengths[name].update(memoryview(lengths.to_numpy(zero_copy_only=False)))
                present = chunk.drop_null()
                offsets = pa.Array.from_buffers(
                    pa.int32(), len(present) + 1, [None, present.buffers()[1]], offset=present.offset
                )
                if len(present):
                    start, end = offsets[0].as_py(), offsets[len(present)].as_py()
                    self._bytes[name].update(memoryview(present.buffers()[2])[start:end] if end > start else b"")

    def hexdigest(self) -> str:
        """The fingerprint: of the values, the columns' names, and the number of rows."""
        columns = {name: (self._lengths[name].hexdigest(), self._bytes[name].hexdigest()) for name in self._columns}
        return hashlib.sha256(json.dumps([self._rows, columns]).encode()).hexdigest()


def same_in_any_order(one: Iterable[pa.Table], other: Iterable[pa.Table], columns: Sequence[str]) -> bool:
    """Whether the pages of both hold the same rows, each as often: the sums of the rows' hashes are equal."""
    return _sum(one, columns) == _sum(other, columns)


def _sum(pages: Iterable[pa.Table], columns: Sequence[str]) -> int:
    total = 0
    for page in pages:
        for row in zip(*(page.column(name).to_pylist() for name in columns), strict=True):
            total += int.from_bytes(hashlib.sha256(json.dumps(row).encode()).digest())
    return total
