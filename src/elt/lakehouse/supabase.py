"""``Tables`` and ``Bucket`` over the HTTP API of a Supabase project: PostgREST and Storage.

Arrow and pandas are loaded by the first frame: most commands see none.
"""

import builtins
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from postgrest.types import CountMethod
from storage3.types import FileOptions, ListBucketFilesOptions

from elt.catalog import WRITE_ROWS
from elt.concurrency import each
from elt.errors import Denied, LakehouseError, Missing, Rejected, Timeout, TooLarge
from elt.lakehouse.ports import Within
from elt.supabase import Project

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FILTER_BYTES = 6_000
"""Values of one filter in a URL, at most: gateways refuse a request line over 8 KiB."""

READ_ROWS = 25_000
"""Rows read in one request, at most: it bounds the size of an answer."""

SLICE_ROWS = 20_000
"""Staged rows that the first call works on; the next are as large as their time allows."""

SLICE_SECONDS = 15
"""What one call may take, about: the API ends one after 60 seconds at the most."""

_ALL_KEYS = 2**31
"""The number of hashes of keys: slices are ranges of them (``controle.na_fatia``)."""

LIST_OBJECTS = 1_000
"""Objects asked for in one list request; the server's own default is 100."""

LISTINGS = 5
"""How often a folder is listed that others delete from meanwhile."""

REMOVE_OBJECTS = 1_000
"""Objects removed in one request. Source: Storage limits ``prefixes`` to 1,000."""

_EMPTY_FOLDER = ".emptyFolderPlaceholder"
"""What the dashboard puts into a folder made by hand."""


Entries = list[dict[str, Any]]
"""What Storage says of the objects and folders in one folder."""


class SupabaseTables:
    """Tables by PostgREST, through SQL functions: ``controle.ler``, ``silver.encenar``, and what is called by name.

    Why functions: a plain read is cut at the project's max rows, and its filter must fit into a URL; an upsert request
    cannot say which rows were inserted, updated or equal.
    """

    def __init__(self, project: Project, *, write_rows: int = WRITE_ROWS, slice_rows: int = SLICE_ROWS) -> None:
        self._project = project
        self._write_rows = min(write_rows, WRITE_ROWS)
        self._slice_rows = slice_rows
        self._batches = count(1)
        self.in_flight = project.in_flight

    def pages(  # noqa: D102 - see the port
        self, table: str, schema: "pa.Schema", *, key: str, size: int, within: Within | None = None
    ) -> "Iterator[pd.DataFrame]":
        for found in self._columns(table, schema.names, key, size, within):
            yield _typed(found, schema)

    def rows(  # noqa: D102 - see the port
        self, table: str, columns: Sequence[str], *, key: str, size: int, within: Within | None = None
    ) -> Iterator[list[dict[str, str | None]]]:
        for found in self._columns(table, columns, key, size, within):
            yield [dict(zip(columns, row, strict=True)) for row in zip(*(found[name] for name in columns), strict=True)]

    def _columns(
        self, table: str, columns: Sequence[str], key: str, size: int, within: Within | None
    ) -> Iterator[dict[str, list[str | None]]]:
        """Pages of one request each. A page with fewer rows than asked for is the last one: nothing cuts its answer."""
        rows = min(size, READ_ROWS)
        wanted: dict[str, object] = {"p_tabela": table, "p_colunas": list(columns), "p_chave": key}
        if within:
            wanted |= {"p_filtro": within.column, "p_valores": list(within.values)}
        last: str | None = None
        while True:
            try:
                found = self._project.call("controle.ler", {**wanted, "p_depois": last, "p_linhas": rows})
            except (Timeout, TooLarge):
                if rows == 1:
                    raise
                rows //= 2
                continue
            count = len(found[key])
            if not count:
                return
            last = found[key][-1]
            yield found
            if count < rows or (within and within.column == key and len(within.values) <= rows):
                return

    def stage(self, execution: str, pieces: "Iterable[tuple[str, pa.Table]]") -> list[int]:  # noqa: D102
        from elt.pages import requests

        def send(named: "tuple[str, pa.Table]") -> list[int]:
            return self._stage(execution, *named)

        return [batch for some in each(send, requests(pieces, self._write_rows), self.in_flight) for batch in some]

    def _stage(self, execution: str, table: str, rows: "pa.Table") -> list[int]:
        """One request, or two of half the size; the batches' numbers: each try has its own."""
        columns = _texts(rows)

        def once() -> int:
            batch = next(self._batches)
            wanted = {"p_execucao": execution, "p_lote": batch, "p_tabela": table, "p_colunas": columns}
            self._project.call("silver.encenar", wanted, tries=1)
            return batch

        try:
            return [self._project.patiently(once)]
        except (Timeout, TooLarge):
            if len(rows) == 1:
                raise
            middle = len(rows) // 2
            return [*self._stage(execution, table, rows[:middle]), *self._stage(execution, table, rows[middle:])]

    def in_slices(  # noqa: D102 - see the port
        self,
        function: str,
        staged: Mapping[str, int],
        arguments: Callable[[], Mapping[str, object]],
        *,
        last: Mapping[str, object] | None = None,
        passes: Sequence[str] = (),
        again: Callable[[dict[str, Any]], bool] = lambda _: False,
    ) -> Iterator[dict[str, Any]]:
        def call(**more: object) -> dict[str, Any]:
            while True:
                answer: dict[str, Any] = self._project.call(function, {**arguments(), **more})
                if not again(answer):
                    return answer

        if sum(staged.values()) <= self._slice_rows:
            try:
                yield call(p_tabelas=list(staged), **(last or {}))
                return
            except Timeout:  # nothing was done
                pass
        tables = list(staged)
        rounds = [{"p_passo": step} for step in passes] or [{}]
        order = [(more, table) for more in rounds for table in (tables if more is rounds[0] else reversed(tables))]
        for more, table in order:
            width = min(_ALL_KEYS, _ALL_KEYS * self._slice_rows // max(staged[table], 1))
            first = 0
            while first < _ALL_KEYS:
                end = min(first + width, _ALL_KEYS)
                closing = last or {} if end == _ALL_KEYS and (more, table) == order[-1] else {}
                began = time.monotonic()
                try:
                    answer = call(p_tabelas=[table], p_de=first, p_ate=end, **more, **closing)
                except Timeout:
                    if end - first == 1:
                        raise
                    width = (end - first) // 2
                    continue
                yield answer
                pace = SLICE_SECONDS / max(time.monotonic() - began, 0.001)
                width, first = max(1, int((end - first) * min(max(pace, 0.25), 4))), end

    def count(self, table: str, within: Within | None = None) -> int:  # noqa: D102
        total = 0
        for one in _chunks(within) if within else [None]:
            query = self._table(table).select("*", count=CountMethod.exact).limit(1)
            if one:
                query = query.in_(one.column, one.values)
            total += self._project.ask(f"counting {table}", query.execute).count or 0
        return total

    def call(self, function: str, **arguments: object) -> object:  # noqa: D102
        return self._project.call(function, arguments)

    def name_sessions(self, name: str) -> None:
        """Nothing: sessions are the API's, and none outlives its request."""

    def close(self) -> None:  # noqa: D102
        self._project.close()

    def _table(self, table: str) -> Any:  # noqa: ANN401 - the client's builders
        schema, name = table.split(".")
        return self._project.postgrest.schema(schema).from_(name)


def _chunks(within: Within) -> list[Within]:
    """The filter as several whose values fit a URL each; no value twice."""
    chunks: list[list[str]] = []
    room = 0
    for value in dict.fromkeys(within.values):
        size = len(quote(value)) + 9  # with its comma, and quotes if it needs them
        if size > room:
            chunks.append([])
            room = FILTER_BYTES
        chunks[-1].append(value)
        room -= size
    return [Within(within.column, values) for values in chunks]


def _typed(columns: dict[str, list[str | None]], schema: "pa.Schema") -> "pd.DataFrame":
    """Columns of text as a frame with the schema's types."""
    import pyarrow as pa

    from elt.frames import to_frame

    return to_frame(
        pa.table([pa.array(columns[name], pa.string()) for name in schema.names], schema.names).cast(schema)
    )


def _texts(data: "pa.Table") -> dict[str, list[str | None]]:
    """Each column's values as PostgreSQL reads them from text; NaN and every kind of missing value is None."""
    import pyarrow as pa

    from elt.copying import decimals_as_text

    data = decimals_as_text(data)
    return {name: data.column(name).cast(pa.string()).to_pylist() for name in data.schema.names}


class SupabaseBucket:
    """One bucket of Storage."""

    def __init__(self, project: Project, bucket: str) -> None:
        self._project = project
        self._bucket = bucket
        self.in_flight = project.in_flight
        self._files = project.storage.from_(bucket)

    def put(self, path: str, content: Path | bytes) -> None:  # noqa: D102 - see the port
        data = content if isinstance(content, bytes) else content.read_bytes()
        try:
            options: FileOptions = {"content-type": _media_type(path), "upsert": "false"}
            self._project.ask(f"storing {path}", partial(self._files.upload, path, data, options))
        except Rejected as error:
            # The first try may have landed and its answer been lost; any other object under this path is an error.
            if not error.repeated or not self._holds(path, data):
                raise

    def get(self, path: str) -> bytes:
        """The object's bytes. ``Missing`` if it is not there, ``Denied`` if the key is no good.

        Storage answers this request of a wrong, expired or missing key as if the bucket were not there.
        """
        try:
            return bytes(self._project.ask(f"reading the object {path}", partial(self._files.download, path)))
        except Missing as error:
            self._see()
            if "bucket not found" in error.what.lower():
                raise LakehouseError(f"{error.what}; but the bucket is there", next_step="run again") from error
            raise

    def list(self, prefix: str = "") -> "builtins.list[str]":  # noqa: D102
        return list(self.sizes(prefix))

    def folders(self, folder: str = "") -> Iterator[str]:  # noqa: D102
        names = (str(entry["name"]) for entry in self._folder(folder) if entry.get("id") is None)
        yield from (f"{folder}/{name}" if folder else name for name in sorted(names, reverse=True))

    def sizes(self, prefix: str = "") -> dict[str, int]:  # noqa: D102
        found: dict[str, int] = {}
        folders = [prefix.rpartition("/")[0]]
        while folders:
            deeper = []
            for folder, entries in zip(folders, each(self._folder, folders, self._project.in_flight), strict=True):
                for entry in entries:
                    path = f"{folder}/{entry['name']}" if folder else str(entry["name"])
                    if entry.get("id") is None:
                        deeper.append(path)
                    elif entry["name"] != _EMPTY_FOLDER and path.startswith(prefix):
                        found[path] = int((entry.get("metadata") or {}).get("size") or 0)
            folders = [path for path in deeper if f"{path}/".startswith(prefix) or prefix.startswith(f"{path}/")]
        return dict(sorted(found.items()))

    def delete(self, paths: Sequence[str]) -> None:  # noqa: D102
        for start in range(0, len(paths), REMOVE_OBJECTS):
            some = list(paths[start : start + REMOVE_OBJECTS])
            self._project.ask(f"deleting {len(some)} objects", partial(self._files.remove, some))

    def close(self) -> None:  # noqa: D102
        self._project.close()

    def _folder(self, folder: str) -> "Entries":
        """Everything directly in a folder, asked for in ascending order: in descending order Storage loses folders.

        A page's length says nothing; one without anything new is the end. Each begins with the last entry of the one
        before: if it does not, something was deleted meanwhile and others moved up, and all are asked for again.
        """
        for _ in range(LISTINGS):
            found = self._pages(folder)
            if found is not None:
                return found
        raise LakehouseError(
            f"listing {folder or 'the bucket'}: objects were deleted there each of the {LISTINGS} times",
            next_step="run again when whoever deletes them has done",
        )

    def _pages(self, folder: str) -> "Entries | None":
        """The same, page by page; None if one does not follow on the one before."""
        found: dict[tuple[str, bool], dict[str, Any]] = {}  # a file and a folder may have one name
        last, offset = None, 0
        while True:
            page = {(str(entry["name"]), entry.get("id") is None): entry for entry in self._page(folder, offset)}
            if last is not None and last not in page:
                return None
            if not page.keys() - found.keys():
                return list(found.values())
            found |= page
            overlap = len(page) > 1  # a server whose pages are of one entry would never get on
            last = list(page)[-1] if overlap else None
            offset += len(page) - overlap

    def _page(self, folder: str, offset: int) -> "Entries":
        options: ListBucketFilesOptions = {
            "limit": LIST_OBJECTS,
            "offset": offset,
            "sortBy": {"column": "name", "order": "asc"},
        }
        return self._project.ask(f"listing {folder or 'the bucket'}", partial(self._files.list, folder, options))

    def _see(self) -> None:
        """Nothing, if the key is accepted and shows the bucket; else ``Denied``."""
        try:
            self._project.ask(
                f"looking at the bucket {self._bucket}", partial(self._project.storage.get_bucket, self._bucket)
            )
        except Missing as error:
            raise Denied(
                f"{error.what}: it is not there, or {self._project.key_setting} may not see it",
                next_step="run: medallion init --check",
            ) from error

    def _holds(self, path: str, data: bytes) -> bool:
        try:
            return self.get(path) == data
        except LakehouseError:
            return False


def _media_type(path: str) -> str:
    return "application/json" if path.endswith(".json") else "application/vnd.apache.parquet"
