"""A shop in files: a folder with ``clientes``, ``produtos`` and ``pedidos``, each as ``.csv`` or ``.parquet``."""

import codecs
import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elt.catalog import BROKEN_LINE, EXTRACT_BYTES, ORIGIN, POSITION
from elt.copying import all_decimals
from elt.errors import NoSuchTable, SourceError
from elt.pages import joined
from elt.sources import identity

csv.field_size_limit(2**31 - 1)
_BLOCK_BYTES = 1 << 20
_PIECE_ROWS = 256
"""Rows of a Parquet file printed together: a value of 1 MB that each of them has stands in the file once."""


class FilesSource:
    """Files in one folder, as they are when the extraction reads them; one that changes meanwhile is an error."""

    def __init__(self, folder: Path, *, known_as: str | None = None) -> None:
        """``known_as``: the folder's absolute path on the host, where ``folder`` is only its place in a container."""
        self._folder = folder
        self.description = f"files in {known_as or folder}"
        # Links stay as they are: a link to the newest of several exports is one shop.
        self.identity = identity.of_folder(known_as or os.path.normpath(folder.absolute()))

    @contextmanager
    def open(self) -> Iterator["FilesExtract"]:
        """Look at the folder."""
        if not self._folder.is_dir():
            raise SourceError(
                f"SOURCE_FILES: there is no folder {self._folder}",
                kept="nothing was read or written",
                next_step="correct SOURCE_FILES, in .env or wherever it is set",
            )
        yield FilesExtract(self._folder)


class FilesExtract:
    """The folder's tables. A file is looked at once, and must stay as it was then."""

    in_flight = 1

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, _Csv | _Parquet] = {}

    def columns(self, table: str) -> dict[str, str]:  # noqa: D102 - see the port
        return self._file(table).columns()

    def warnings(self, tables: Sequence[str]) -> list[str]:  # noqa: D102 - nobody hides rows of these
        return []

    def count(self, table: str) -> int | None:  # noqa: D102
        return self._file(table).count()

    def pages(self, table: str, rows: int, most_bytes: int = EXTRACT_BYTES) -> Iterator[pa.Table]:  # noqa: D102
        file = self._file(table)
        yield from file.pages(rows, most_bytes)
        if _state(file.path) != file.state:
            raise SourceError(
                f"{file.path} changed while it was read", next_step="wait until it is whole, then run again"
            )

    def _file(self, table: str) -> "_Csv | _Parquet":
        if table not in self._seen:
            self._seen[table] = self._find(table)
        return self._seen[table]

    def _find(self, table: str) -> "_Csv | _Parquet":
        found = [file for kind in ("csv", "parquet") if (file := self._folder / f"{table}.{kind}").exists()]
        if len(found) > 1:
            raise SourceError(
                f"{self._folder} has both {found[0].name} and {found[1].name}",
                next_step="keep the one that is right, so that it is clear which is read",
            )
        if not found:
            there = ", ".join(sorted(file.name for file in self._folder.iterdir())) or "nothing"
            raise NoSuchTable(
                f"{self._folder} has neither {table}.csv nor {table}.parquet; found: {there}",
                next_step="put the file there, or correct SOURCE_FILES",
            )
        return _Csv(found[0]) if found[0].suffix == ".csv" else _Parquet(found[0])


class _Csv:
    """Comma or semicolon, UTF-8 or Windows-1252/Latin-1, quoted new lines; RFC 4180 quoting, checked strictly."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = _state(path)
        self._encoding = self._detect_encoding()

    def columns(self) -> dict[str, str]:
        return dict.fromkeys(self._header(), "text")

    def count(self) -> None:
        return None

    def pages(self, rows: int, most_bytes: int) -> Iterator[pa.Table]:
        header = self._header()
        names = [*header, BROKEN_LINE]
        page: list[list[str | None]] = []
        lines_of: list[int] = []
        size = 0

        def whole() -> pa.Table:
            return _placed(_text_table(names, page), self.path, lines_of)

        with self._open() as lines:
            reader = csv.reader(lines, delimiter=self._delimiter(), strict=True)
            records = self._records(reader)
            next(records, None)  # the header
            for line, record in records:
                if not record:
                    continue  # an empty line is no row
                if len(record) == len(header):
                    page.append([*(value or None for value in record), None])
                else:
                    broken = f"{len(record)} campos, o cabeçalho tem {len(header)}: {self._delimiter().join(record)}"
                    page.append([*[None] * len(header), broken])
                lines_of.append(line)
                size += sum(map(len, record))
                if len(page) == rows or size >= most_bytes:
                    yield whole()
                    page, lines_of, size = [], [], 0
        if page:
            yield whole()

    def _records(self, reader: "csv._reader") -> Iterator[tuple[int, list[str]]]:  # type: ignore[name-defined]
        """The records, each with its first line's number."""
        first = 1
        try:
            for record in reader:
                yield first, record
                first = reader.line_num + 1
        except csv.Error as error:
            why = "a quote opens and never closes" if "end of data" in str(error) else str(error)
            raise SourceError(
                f"{self.path}, line {first}: {why}",
                next_step="correct that line (a quote inside a quoted value is written twice), then run again",
            ) from None

    def _header(self) -> list[str]:
        with self._open() as lines:
            reader = csv.reader(lines, delimiter=self._delimiter(), strict=True)
            header = [name.strip() for _, names in islice(self._records(reader), 1) for name in names]
        if not any(header):
            raise SourceError(
                f"{self.path} is empty: it needs at least a header line", next_step="export the table again"
            )
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise SourceError(
                f"{self.path} has a header with the same column twice: {', '.join(twice)}",
                next_step="remove or rename one of them, so that it is clear which is read",
            )
        return header

    def _delimiter(self) -> str:
        with self._open() as lines:
            first = lines.readline()
        return ";" if first.count(";") > first.count(",") else ","

    def _open(self) -> TextIO:
        return self.path.open(encoding=self._encoding, newline="")

    def _detect_encoding(self) -> str:
        """UTF-8 if the whole file is; else Windows-1252, what Brazilian spreadsheets write, or Latin-1."""
        possible = {
            "utf-8-sig": codecs.getincrementaldecoder("utf-8-sig")(),
            "cp1252": codecs.getincrementaldecoder("cp1252")(),
        }
        with self.path.open("rb") as file:
            while possible:
                block = file.read(_BLOCK_BYTES)
                for name, decoder in list(possible.items()):
                    try:
                        decoder.decode(block, final=not block)
                    except UnicodeDecodeError:
                        del possible[name]
                if not block:
                    break
        return next(iter(possible), "latin-1")


class _Parquet:
    """A Parquet file of any column types; each value as Arrow prints it, lists and records as JSON."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = _state(path)
        try:
            # A page of the file at a time, not a whole column of a group of rows.
            self._parquet = pq.ParquetFile(path, buffer_size=_BLOCK_BYTES, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from None

    def columns(self) -> dict[str, str]:
        schema = self._parquet.schema_arrow
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        if twice:
            raise SourceError(f"{self.path} has the same column twice: {', '.join(twice)}")
        return {field.name: _type_name(field.type) for field in schema}

    def count(self) -> int:
        return int(self._parquet.metadata.num_rows)

    def pages(self, rows: int, most_bytes: int) -> Iterator[pa.Table]:
        first = 1
        for page in joined(self._pieces(min(rows, _PIECE_ROWS), most_bytes), rows, most_bytes):
            yield _placed(page, self.path, range(first, first + len(page)))
            first += len(page)

    def _pieces(self, rows: int, most_bytes: int) -> Iterator[pa.Table]:
        """The rows printed, a few at a time: as many as a group's size promises.

        A value that repeats stands there once.
        """
        try:
            for number in range(self._parquet.num_row_groups):
                group = self._parquet.metadata.row_group(number)
                fit = max(1, most_bytes * group.num_rows // max(group.total_byte_size, 1))
                for batch in self._parquet.iter_batches(batch_size=min(rows, fit), row_groups=[number]):
                    page = pa.Table.from_batches([batch])
                    yield pa.table({name: _printed(page[name].combine_chunks()) for name in page.column_names})
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> SourceError:
        return SourceError(
            f"{self.path} is not a whole Parquet file: {' '.join(str(error).split())}",
            next_step="copy or export the file again, then run again",
        )


def _type_name(kind: pa.DataType) -> str:
    """PostgreSQL's name for numbers, Arrow's for everything else."""
    if pa.types.is_dictionary(kind):
        return _type_name(kind.value_type)
    if pa.types.is_integer(kind):
        return "bigint"
    if pa.types.is_floating(kind):
        return "double precision"
    return "numeric" if pa.types.is_decimal(kind) else str(kind)


def _printed(column: pa.Array) -> pa.Array:
    """The column as text; NaN, which pandas writes for a missing number, is NULL."""
    if pa.types.is_floating(column.type):
        column = pa.array(column.to_pandas(), from_pandas=True)
    if pa.types.is_decimal(column.type):
        return all_decimals(column)
    if pa.types.is_nested(column.type):
        return _each(column, lambda value: json.dumps(value, default=str, ensure_ascii=False))
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:  # bytes that are no text
        return _each(column, _bytes_printed)


def _each(column: pa.Array, printed: Callable[[Any], str]) -> pa.Array:
    return pa.array([None if value is None else printed(value) for value in column.to_pylist()], pa.string())


def _bytes_printed(value: bytes) -> str:
    """Bytes that are text as that text, others as PostgreSQL prints them: a backslash, ``x``, and the digits."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"\\x{value.hex()}"


def _state(path: Path) -> tuple[int, int]:
    """What changes when a file does."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _placed(page: pa.Table, path: Path, positions: Sequence[int]) -> pa.Table:
    """The page with each row's place in the file."""
    origin = pa.array([path.name], pa.string()).take(pa.array(np.zeros(len(page), np.int8)))
    return page.append_column(ORIGIN, origin).append_column(POSITION, pa.array(positions, pa.int64()))


def _text_table(names: list[str], rows: list[list[str | None]]) -> pa.Table:
    return pa.table([pa.array(values, pa.string()) for values in zip(*rows, strict=True)], names=names)
