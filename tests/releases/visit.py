"""Looks at the sample shop whose rows are at hand: in a life that is being told, or in a bucket that was kept."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from elt.sources.identity import SAMPLE


@dataclass(frozen=True)
class Visit:
    """A source. ``tables``: all rows as the source prints them. ``types``: its own name for each column's type."""

    in_flight: ClassVar[int] = 1

    tables: Mapping[str, pa.Table]
    types: Mapping[str, Mapping[str, str]]
    identity: str = SAMPLE
    description: str = "the sample shop (made-up data, as a release kept it)"

    @classmethod
    def of_snapshot(cls, bucket: Path, snapshot: str) -> "Visit":
        """The visit that bronze stored, read without the program: by its manifest and with Parquet alone."""
        manifest = json.loads((bucket / snapshot / "_manifest.json").read_text(encoding="utf-8"))
        return cls(
            {
                name: pa.concat_tables(pq.read_table(bucket / part["path"]) for part in table["parts"])
                for name, table in manifest["tables"].items()
            },
            {name: table["columns"] for name, table in manifest["tables"].items()},
            manifest["identity"],
        )

    @contextmanager
    def open(self) -> Iterator["Visit"]:
        """Rows at hand are their own extract."""
        yield self

    def columns(self, table: str) -> dict[str, str]:
        return dict(self.types[table])

    def warnings(self, tables: Sequence[str]) -> list[str]:
        return []

    def count(self, table: str) -> int | None:
        return len(self.tables[table])

    def pages(self, table: str, rows: int, *most_bytes: int) -> Iterator[pa.Table]:
        found = self.tables[table]
        yield from (found.slice(start, rows) for start in range(0, len(found), rows))
