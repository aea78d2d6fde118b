"""Ports that ask before each batch whether the run may go on, so that no layer can forget to.

``may_go_on`` raises what ends the run: its lease is gone, or the process was asked to stop.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elt.catalog import EXTRACT_BYTES
from elt.lakehouse.ports import Bucket, Lakehouse, Tables, Within
from elt.sources.port import Extract, Source

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Question = Callable[[], None]


def guarded(lakehouse: Lakehouse, may_go_on: Question) -> Lakehouse:
    """The lakehouse, asking before each write, each page and each object."""
    tables = _Tables(lakehouse.tables, may_go_on)
    return replace(lakehouse, tables=tables, bucket=guarded_bucket(lakehouse.bucket, may_go_on))


def guarded_bucket(bucket: Bucket, may_go_on: Question) -> Bucket:
    """The bucket, asking before each object."""
    return _Bucket(bucket, may_go_on)


def guarded_source(source: Source, may_go_on: Question) -> Source:
    """The source, asking before each page."""
    return _Source(source, may_go_on)


@dataclass(frozen=True)
class _Tables:
    tables: Tables
    may_go_on: Question

    @property
    def in_flight(self) -> int:
        return self.tables.in_flight

    def pages(
        self, table: str, schema: "pa.Schema", *, key: str, size: int, within: Within | None = None
    ) -> "Iterator[pd.DataFrame]":
        for page in self.tables.pages(table, schema, key=key, size=size, within=within):
            self.may_go_on()
            yield page

    def rows(
        self, table: str, columns: Sequence[str], *, key: str, size: int, within: Within | None = None
    ) -> Iterator[list[dict[str, str | None]]]:
        for page in self.tables.rows(table, columns, key=key, size=size, within=within):
            self.may_go_on()
            yield page

    def stage(self, execution: str, pieces: "Iterable[tuple[str, pa.Table]]") -> list[int]:
        def asked() -> "Iterator[tuple[str, pa.Table]]":
            for piece in pieces:
                self.may_go_on()
                yield piece

        return self.tables.stage(execution, asked())

    def in_slices(
        self,
        function: str,
        staged: Mapping[str, int],
        arguments: Callable[[], Mapping[str, object]],
        *,
        last: Mapping[str, object] | None = None,
        passes: Sequence[str] = (),
        again: Callable[[dict[str, Any]], bool] = lambda _: False,
    ) -> Iterator[dict[str, Any]]:
        def asked() -> Mapping[str, object]:
            self.may_go_on()
            return arguments()

        return self.tables.in_slices(function, staged, asked, last=last, passes=passes, again=again)

    def count(self, table: str, within: Within | None = None) -> int:
        return self.tables.count(table, within)

    def call(self, function: str, **arguments: object) -> object:
        self.may_go_on()
        return self.tables.call(function, **arguments)

    def name_sessions(self, name: str) -> None:
        self.tables.name_sessions(name)

    def close(self) -> None:
        self.tables.close()


@dataclass(frozen=True)
class _Bucket:
    bucket: Bucket
    may_go_on: Question

    @property
    def in_flight(self) -> int:
        return self.bucket.in_flight

    def put(self, path: str, content: Path | bytes) -> None:
        self.may_go_on()
        self.bucket.put(path, content)

    def get(self, path: str) -> bytes:
        self.may_go_on()
        return self.bucket.get(path)

    def list(self, prefix: str = "") -> list[str]:
        return self.bucket.list(prefix)

    def folders(self, folder: str = "") -> Iterator[str]:
        return self.bucket.folders(folder)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        return self.bucket.sizes(prefix)

    def delete(self, paths: Sequence[str]) -> None:
        self.may_go_on()
        self.bucket.delete(paths)

    def close(self) -> None:
        self.bucket.close()


@dataclass(frozen=True)
class _Source:
    source: Source
    may_go_on: Question

    @property
    def description(self) -> str:
        return self.source.description

    @property
    def identity(self) -> str:
        return self.source.identity

    @contextmanager
    def open(self) -> Iterator[Extract]:
        with self.source.open() as extract:
            yield _Extract(extract, self.may_go_on)


@dataclass(frozen=True)
class _Extract:
    extract: Extract
    may_go_on: Question

    @property
    def in_flight(self) -> int:
        return self.extract.in_flight

    def columns(self, table: str) -> dict[str, str]:
        return self.extract.columns(table)

    def warnings(self, tables: Sequence[str]) -> list[str]:
        return self.extract.warnings(tables)

    def count(self, table: str) -> int | None:
        return self.extract.count(table)

    def pages(self, table: str, rows: int, most_bytes: int = EXTRACT_BYTES) -> "Iterator[pa.Table]":
        for page in self.extract.pages(table, rows, most_bytes):
            self.may_go_on()
            yield page
