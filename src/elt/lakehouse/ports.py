"""The two ports through which the layers reach the lakehouse: ``Tables`` (relational) and ``Bucket`` (objects).

Adapters raise ``elt.errors.LakehouseError`` and its kinds, with the server's words in them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from elt.lakehouse.quota import DatabaseQuota, Quota

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class Within:
    """A filter: rows whose ``column`` is one of ``values``."""

    column: str
    values: Sequence[str]


class Tables(Protocol):
    """Tables of the schemas ``silver``, ``gold`` and ``controle``, named with their schema: ``silver.pedidos``.

    They are read by pages. What is written is staged, and then SQL functions do the rest: nothing else writes.
    """

    @property
    def in_flight(self) -> int:
        """How many requests it takes at a time, from as many threads."""

    def pages(
        self, table: str, schema: "pa.Schema", *, key: str, size: int, within: Within | None = None
    ) -> "Iterator[pd.DataFrame]":
        """The rows, at most ``size`` in memory at a time, in the order of ``key`` (unique among them).

        The frames have the columns of ``schema``, as pandas ``ArrowDtype``. A row that changes while it is read comes
        once, in its old or its new state.
        """

    def rows(
        self, table: str, columns: Sequence[str], *, key: str, size: int, within: Within | None = None
    ) -> Iterator[list[dict[str, str | None]]]:
        """The same for people and for the ledger: without frames, each value as PostgreSQL prints it."""

    def stage(self, execution: str, pieces: "Iterable[tuple[str, pa.Table]]") -> list[int]:
        """Append rows to tables of ``estagio`` (named without it), in requests of at most ``catalog.WRITE_ROWS`` rows.

        Answers the numbers of the batches in which they are. A try whose answer was lost may leave its rows there under
        another number.
        """

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
        """Call an SQL function that works on what is staged, as few times as the server's time-out allows; its answers.

        ``staged``: the tables, parents first, with how many rows wait. ``arguments``: those of a call, asked for before
        each. ``last``: more of the last one. ``passes``: what it does one after the other where one call does not do
        all, the last with children first. ``again``: whether the same call is to be made once more, after its answer.
        """

    def count(self, table: str, within: Within | None = None) -> int:
        """The exact number of rows."""

    def call(self, function: str, **arguments: object) -> object:
        """Call an SQL function by name with named arguments; answers its scalar result. Safe from any thread."""

    def name_sessions(self, name: str) -> None:
        """Name this thread's session in the database, and those to come, in at most 63 bytes, if there are any.

        By it a run that takes over ends the sessions of the one before.
        """

    def close(self) -> None:
        """Give back the connection."""


class Bucket(Protocol):
    """Objects by path, written once and never changed.

    ``in_flight``: how many requests it takes at a time, from as many threads.
    """

    @property
    def in_flight(self) -> int:
        """How many requests at a time."""

    def put(self, path: str, content: Path | bytes) -> None:
        """Store an object, whole or not at all. ``Rejected`` if the path exists, ``Full`` if there is no space."""

    def get(self, path: str) -> bytes:
        """The object's bytes. ``Missing`` if it is not there."""

    def list(self, prefix: str = "") -> list[str]:
        """The paths of all objects that begin with ``prefix``, sorted."""

    def folders(self, folder: str = "") -> Iterator[str]:
        """The paths of the folders directly in a folder, the last in the order of names first; asked for as needed."""

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """The bytes of each object whose path begins with ``prefix``, in the order of ``list``."""

    def delete(self, paths: Sequence[str]) -> None:
        """Delete the objects; one that is gone already is no error."""

    def close(self) -> None:
        """Give back the connection."""


@dataclass(frozen=True)
class Lakehouse:
    """Where the data goes: tables, bucket, and how to say where that is (no secrets in it).

    ``quota``: what the bucket may hold, ``database_quota``: what the database may; None if only a disk limits it.
    """

    tables: Tables
    bucket: Bucket
    description: str
    quota: Quota | None = None
    database_quota: DatabaseQuota | None = None

    def close(self) -> None:
        """Give back what is open."""
        self.tables.close()
        self.bucket.close()
