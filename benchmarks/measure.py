"""One measurement, in a process of its own: ``python -m benchmarks.measure WHAT ORDERS FOLDER``; one JSON line.

Peak RSS is this process's own high-water mark: the pipeline with its pages, not the PostgreSQL server beside it.
"""

import csv
import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from elt.catalog import EXTRACT_BYTES
from elt.lakehouse.embedded import open_embedded, start_postgres
from elt.ledger import LayerResult
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.silver import TABLES
from elt.silver.pedidos import PEDIDOS
from elt.sources.sample import SampleShop

ROWS_AT_A_TIME = 100_000


@dataclass(frozen=True)
class ChangedShop(SampleShop):
    """The same shop with about one order in a hundred changed: another value, so that gold has work too."""

    def pages(self, table: str, rows: int, most_bytes: int = EXTRACT_BYTES) -> Iterator[pa.Table]:
        """The shop's pages, with every hundredth order changed."""
        for page in super().pages(table, rows, most_bytes):
            if table == "pedidos":
                place = page.column_names.index("valor_total")
                chosen = pa.array(np.arange(len(page)) % 100 == 0)
                page = page.set_column(place, "valor_total", pc.if_else(chosen, "R$ 1.234,56", page["valor_total"]))
            yield page


def first_run(orders: int, folder: Path) -> dict[str, object]:
    """The pipeline over a new shop."""
    return _run(SampleShop.of_size(TABLES, orders), folder)


def second_run(orders: int, folder: Path) -> dict[str, object]:
    """The pipeline over the same shop, in the same lakehouse, with ~1 % of the orders changed."""
    return _run(ChangedShop.of_size(TABLES, orders), folder)


def _run(shop: SampleShop, folder: Path) -> dict[str, object]:
    lakehouse = open_embedded(folder)
    started = time.perf_counter()
    results = Runner(lakehouse, SilentReporter()).run(shop)
    seconds = time.perf_counter() - started
    lakehouse.close()
    return {"seconds": seconds, "layers": [_layer(result) for result in results], "peak_mb": _peak_mb()}


def _layer(result: LayerResult) -> dict[str, object]:
    return {
        "layer": result.layer,
        "key": int(result.key),
        "seconds": result.seconds,
        "rows": result.counts.read,
        "written": result.counts.written,
    }


def copy_floor(orders: int, folder: Path) -> dict[str, object]:
    """The floor: plain COPY of the raw rows into tables without keys, indexes, types or cleaning."""
    shop = SampleShop.of_size(TABLES, orders)
    with psycopg.connect(start_postgres(folder), autocommit=True) as connection:
        _text_tables(connection)
        making = loading = 0.0
        for table in TABLES:
            mark = time.perf_counter()
            for page in shop.pages(table.name, ROWS_AT_A_TIME):
                rows = list(zip(*(column.to_pylist() for column in page.columns), strict=True))
                making += time.perf_counter() - mark
                mark = time.perf_counter()
                with connection.cursor().copy(f"copy plain_{table.name} from stdin") as copy:
                    for row in rows:
                        copy.write_row(row)
                loading += time.perf_counter() - mark
                mark = time.perf_counter()
    return {"seconds": loading, "making_seconds": making, "peak_mb": _peak_mb()}


def _text_tables(connection: psycopg.Connection) -> None:
    for table in TABLES:
        columns = ", ".join(f"{name} text" for name in table.column_names)
        connection.execute(f"drop table if exists plain_{table.name}")
        connection.execute(f"create table plain_{table.name} ({columns})")


def by_hand(orders: int, folder: Path) -> dict[str, object]:
    """The peer: what one writes by hand. pandas reads the CSV, ``executemany`` upserts the orders, one row a time.

    It cleans money and dates only, keeps no snapshot, no quarantine and no ledger, and loads orders alone.
    """
    file = folder / "pedidos.csv"
    _write_csv(SampleShop.of_size(TABLES, orders), file)
    columns = ", ".join(f"{name} text" for name in PEDIDOS.column_names[1:])
    names, marks = ", ".join(PEDIDOS.column_names), ", ".join(["%s"] * len(PEDIDOS.columns))
    updates = ", ".join(f"{name} = excluded.{name}" for name in PEDIDOS.column_names[1:])
    upsert = f"insert into por_mao ({names}) values ({marks}) on conflict (id_pedido) do update set {updates}"
    with psycopg.connect(start_postgres(folder), autocommit=True) as connection:
        connection.execute("drop table if exists por_mao")
        connection.execute(f"create table por_mao (id_pedido text primary key, {columns})")
        started = time.perf_counter()
        frame = pd.read_csv(file, dtype=str)
        frame["valor_total"] = frame["valor_total"].str.replace(r"[R$\s]", "", regex=True)
        frame["data_pedido"] = pd.to_datetime(frame["data_pedido"], errors="coerce", format="mixed").astype(str)
        rows = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
        for first in range(0, len(rows), 10_000):
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(upsert, rows[first : first + 10_000])
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "rows": orders, "peak_mb": _peak_mb()}


def _write_csv(shop: SampleShop, file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(PEDIDOS.column_names)
        for page in shop.pages("pedidos", ROWS_AT_A_TIME):
            writer.writerows(zip(*(column.to_pylist() for column in page.columns), strict=True))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


MEASUREMENTS = {
    "first run": first_run,
    "second run": second_run,
    "floor: plain COPY": copy_floor,
    "peer: by hand": by_hand,
}
"""In this order, over one lakehouse."""

if __name__ == "__main__":
    what, count, where = sys.argv[1:]
    print(json.dumps(MEASUREMENTS[what](int(count), Path(where))))
