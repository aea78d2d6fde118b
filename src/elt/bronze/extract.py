"""One source table into Parquet parts on the local disk, checked and fingerprinted, before anything is stored."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elt.bronze.fingerprint import Fingerprint
from elt.bronze.profiles import Profile
from elt.catalog import BROKEN_LINE, EXTRACT_BYTES, EXTRACT_ROWS, ORIGIN, POSITION, Table
from elt.errors import NoSuchTable, SourceError
from elt.lakehouse.snapshots import MAX_PART_BYTES, ColumnProfile
from elt.pages import cut
from elt.progress import Task
from elt.sources.port import Extract

PART_BYTES = 6 * 10**6
"""A part is closed after this many bytes: no more is recommended for one plain upload. Source: Supabase, "Standard
Uploads"."""

PART_TEXT_BYTES = 64 * 2**20
"""And after this much before compression, however well it compresses: who reads a part unpacks it."""

PART_ROWS = 1_000_000
"""And after this many rows."""

ROW_GROUP_BYTES = 16 * 2**20
"""A row group holds at most this much before compression, unless one row alone is larger."""


@dataclass(frozen=True)
class LocalPart:
    """One Parquet file that is not in the bucket yet."""

    file: Path
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Extracted:
    """One table as extracted: source columns with their types, rows, fingerprint, parts; what the columns show.

    ``places``: what the parts call ``ORIGIN`` and ``POSITION``.
    """

    columns: dict[str, str]
    rows: int
    fingerprint: str
    parts: tuple[LocalPart, ...]
    places: tuple[str, str]
    profile: dict[str, ColumnProfile]

    def pages(self, columns: list[str]) -> Iterator[pa.Table]:
        """The rows that were extracted, a group of rows at a time."""
        for part in self.parts:
            with pq.ParquetFile(part.file) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, columns)


def check_columns(extract: Extract, table: Table) -> dict[str, str]:
    """The source's columns and types, if all that may not be absent are among them.

    None at all: the source does not have the table, which may be absent.
    """
    try:
        found = extract.columns(table.name)
    except NoSuchTable:
        if not table.optional:
            raise
        return {}
    if missing := table.missing_from(list(found)):
        raise SourceError(
            f"{table.name} has no column {', '.join(missing)}; found: {', '.join(found)}",
            kept="nothing was written",
            next_step="rename the source's columns, or give them as a view with the expected names",
        )
    if BROKEN_LINE in found:
        raise SourceError(
            f"{table.name} has a column {BROKEN_LINE}, a name that bronze needs for lines that do not fit the header",
            kept="nothing was written",
            next_step="rename that column in the source, or leave it out by a view",
        )
    return found


def extract_table(
    extract: Extract,
    table: Table,
    folder: Path,
    task: Task,
    page_rows: int = EXTRACT_ROWS,
    page_bytes: int = EXTRACT_BYTES,
) -> Extracted:
    """Every row of the table into parts under ``folder``, ``page_rows`` or ``page_bytes`` in memory at a time.

    The rows read are counted against the source's exact count: a difference is an error, never a shorter table. A table
    that is absent, and may be, has no columns, no rows and no parts.
    """
    columns = check_columns(extract, table)
    fingerprint, profile = Fingerprint((*columns, BROKEN_LINE)), Profile(table, columns)
    schema = pa.schema([*((name, pa.string()) for name in (*columns, BROKEN_LINE, ORIGIN)), (POSITION, pa.int64())])
    places = (_free("_origem", columns), _free("_posicao", columns))
    parts = _Parts(folder / table.name, schema, places)
    rows = 0
    for page in extract.pages(table.name, page_rows, page_bytes) if columns else ():
        page = _with_all_columns(page, schema, rows)
        rows += len(page)
        fingerprint.update(page)
        profile.update(page)
        parts.write(page)
        task.advance(len(page))
    expected = extract.count(table.name) if columns else 0
    if expected is not None and expected != rows:
        raise SourceError(
            f"{table.name}: read {rows:,} rows, but the source counts {expected:,}",
            kept="nothing was written",
            next_step="run again when nobody writes to the source; if it stays, its key has blank or repeated values",
        )
    return Extracted(columns, rows, fingerprint.hexdigest(), parts.close(), places, profile.found())


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or one like it that no column of the shop has."""
    return name if name not in taken else _free(f"{name}_", taken)


def _with_all_columns(page: pa.Table, schema: pa.Schema, before: int) -> pa.Table:
    """The page in the order of the schema: with the column of broken lines, and a place for each row.

    ``before``: the rows of the pages before; a source that says no place has its rows counted.
    """
    nothing = pa.nulls(len(page), pa.string())
    others = {POSITION: pa.array(np.arange(before + 1, before + len(page) + 1))}
    arrays = [page.column(name) if name in page.column_names else others.get(name, nothing) for name in schema.names]
    return pa.table(arrays, schema=schema)


class _Parts:
    """Parquet files of about ``PART_BYTES``, zstd, one after the other."""

    def __init__(self, folder: Path, schema: pa.Schema, places: tuple[str, str]) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._names = [*schema.names[:-2], *places]
        self._schema = pa.schema(list(zip(self._names, schema.types, strict=True)))
        self._done: list[LocalPart] = []
        self._writer: pq.ParquetWriter | None = None
        self._file = folder
        self._rows = self._text = 0

    def write(self, page: pa.Table) -> None:
        for piece in cut(page.rename_columns(self._names), ROW_GROUP_BYTES):
            if self._writer is None:
                self._file = self._folder / f"part-{len(self._done):05d}.parquet"
                self._writer = pq.ParquetWriter(
                    self._file,
                    self._schema,
                    compression="zstd",
                    use_dictionary=self._names[:-1],
                    column_encoding={self._names[-1]: "DELTA_BINARY_PACKED"},  # one line after the other: no size
                )
                self._rows = self._text = 0
            self._writer.write_table(piece)
            self._rows += len(piece)
            self._text += piece.nbytes
            whole = self._rows >= PART_ROWS or self._text >= PART_TEXT_BYTES
            if whole or self._file.stat().st_size >= PART_BYTES:
                self._finish_part()

    def close(self) -> tuple[LocalPart, ...]:
        self._finish_part()
        return tuple(self._done)

    def _finish_part(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        size = self._file.stat().st_size
        if size > MAX_PART_BYTES:
            raise SourceError(
                f"{self._file.parent.name}: a group of {self._rows:,} rows takes {size:,} bytes, more than the "
                f"{MAX_PART_BYTES:,} that one object may have",
                kept="nothing was written",
                next_step="a column holds very large values (files, pictures?): leave it out of the source by a view",
            )
        with self._file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._done.append(LocalPart(self._file, self._rows, size, digest))
