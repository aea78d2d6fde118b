"""The port through which bronze reads a shop."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from elt.catalog import EXTRACT_BYTES

if TYPE_CHECKING:
    import pyarrow as pa


class Extract(Protocol):
    """One consistent look at a shop.

    ``in_flight``: how many requests it takes at a time, from as many threads; with 1, everything from one thread.
    """

    @property
    def in_flight(self) -> int:
        """How many requests at a time."""

    def columns(self, table: str) -> dict[str, str]:
        """The table's columns and the source's own name for their types. ``NoSuchTable`` if it does not have it.

        A type in ``NUMBERS`` says that the values are numbers in machine notation.
        """

    def warnings(self, tables: Sequence[str]) -> list[str]:
        """What may make these tables something else than what the shop has, one sentence each, for every run.

        ``SourceError`` if rights hide rows from whoever reads them, as far as that can be told, and nobody accepted it.
        """

    def count(self, table: str) -> int | None:
        """The exact number of rows, or None if only reading them all tells."""

    def pages(self, table: str, rows: int, most_bytes: int = EXTRACT_BYTES) -> "Iterator[pa.Table]":
        """Every row once, all columns as text exactly as the source prints them.

        At most ``rows`` at a time, and about ``most_bytes`` of text, unless one row alone is larger.

        One column more, ``catalog.BROKEN_LINE``, may hold lines that do not fit the table's header; two more,
        ``catalog.ORIGIN`` and ``POSITION``, say where each row stands, if that is not the order of the rows.
        """


class Source(Protocol):
    """A shop that can be looked at."""

    @property
    def description(self) -> str:
        """What it is and where, without secrets."""

    @property
    def identity(self) -> str:
        """Which shop it is, however it is reached: see ``elt.sources.identity``."""

    def open(self) -> AbstractContextManager[Extract]:
        """A consistent look at all tables; it ends with the context."""


ACCEPT = "SOURCE_FILTERED=accept"
"""The setting by which rows that rights hide count as rows that are not there."""

NUMBERS = frozenset(
    ("smallint", "integer", "bigint", "numeric", "real", "double precision", "int2", "int4", "int8", "float4", "float8")
)
"""Names of source types whose text is always machine notation (PostgreSQL's names; other adapters use them too)."""
