"""Speed over HTTP: the whole pipeline against what a script would do, on the same stand-in server in the same run.

``python -m benchmarks.supabase_http [--orders N] [--latency MS] [--repeats N] [--in-flight N]`` prints a Markdown table
of the medians. Both visit a shop twice: the second time one row in fifty has changed and some are new. The script reads
each table in pages by offset and upserts page after page, as many rows as the server's max rows gives, at each visit;
it cleans nothing, checks nothing, keeps no history and computes no analysis. The pipeline does all of that (bronze,
silver, gold). The script's own work, done with the pipeline's adapters, is shown too. ``--latency`` adds a pause to
each answer, as the way to a hosted project does; the stand-in alone answers within milliseconds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pyarrow as pa
from supabase import Client, create_client

from elt.catalog import EXTRACT_ROWS, TABLES, WRITE_ROWS, Table
from elt.frames import to_frame
from elt.lakehouse import migrations
from elt.lakehouse.batches import upsert_all
from elt.lakehouse.embedded import start_postgres
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.supabase import SupabaseBucket, SupabaseTables
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.sources.supabase import SupabaseSource
from elt.supabase import IN_FLIGHT, Project

MAX_ROWS = 1_000
"""A hosted project's default: a page by offset never has more."""


@contextmanager
def stand_in(database_url: str, folder: Path, port: int, latency: float) -> Iterator[dict[str, str]]:
    """The stand-in as its own process; gives its URL and keys."""
    command = [sys.executable, "-m", "tests.gateway", "--port", str(port)]
    command += ["--schemas", "public,silver,gold,controle,copia"]
    command += ["--database-url", database_url, "--data-dir", str(folder), "--max-rows", str(MAX_ROWS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines: dict[str, str] = {}
        assert process.stdout is not None
        while "authenticated_token" not in lines:
            name, _, value = process.stdout.readline().strip().partition("=")
            lines[name] = value
        _wait(lines["url"])
        if latency:
            rule = {"kind": "slow", "seconds": latency}
            httpx.post(f"{lines['url']}/_faults", json={"max_rows": MAX_ROWS, "rules": [rule]})
        try:
            yield lines
        finally:
            process.terminate()


def _wait(url: str) -> None:
    for _ in range(200):
        try:
            httpx.get(f"{url}/_faults")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return


def fill(database_url: str, orders: int) -> None:
    """A shop of so many orders in the schema ``public``, and empty tables of the same shape in ``copia``."""
    customers, products = max(orders // 5, 1), max(orders // 50, 1)
    roles = migrations.FOLDER / f"{migrations.names()[0]}.sql"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(roles.read_bytes())
        connection.execute(
            f"""
            create table clientes as select n::bigint id_cliente, 'Cliente ' || n nome,
              'c' || n || '@exemplo.com.br' email, '(11) 98765-4321' telefone, 'São Paulo' cidade, (20 + n % 60) idade
              from generate_series(1, {customers}) n;
            create table produtos as select n::bigint id_produto, 'Produto ' || n nome_produto,
              'Categoria ' || n % 7 categoria, (n + 0.99)::numeric preco, n % 50 estoque
              from generate_series(1, {products}) n;
            create table pedidos as select n::bigint id_pedido, (1 + n % {customers})::bigint id_cliente,
              (1 + n % {products})::bigint id_produto, 1 + n % 3 quantidade, 'pago' status,
              ((n % 1000) + 0.05)::numeric valor_total, date '2024-01-01' + n % 300 data_pedido
              from generate_series(1, {orders}) n;
            alter table clientes add primary key (id_cliente);
            alter table produtos add primary key (id_produto);
            alter table pedidos add primary key (id_pedido);
            create schema copia;
            create table copia.clientes (like clientes including all);
            create table copia.produtos (like produtos including all);
            create table copia.pedidos (like pedidos including all);
            create schema copia_em_lotes;
            create table copia_em_lotes.clientes (like clientes including all);
            create table copia_em_lotes.produtos (like produtos including all);
            create table copia_em_lotes.pedidos (like pedidos including all);
            grant usage on schema public, copia, copia_em_lotes to anon, authenticated, service_role;
            grant all on all tables in schema public, copia, copia_em_lotes to anon, authenticated, service_role;
            analyze;
            """.encode()
        )


def change(database_url: str, orders: int) -> None:
    """What happens in the shop between the visits: one row in fifty changes, one order in a thousand is new."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            f"""
            update pedidos set status = 'enviado', valor_total = valor_total + 1 where id_pedido % 50 = 7;
            update clientes set cidade = 'Santos' where id_cliente % 50 = 7;
            insert into pedidos select {orders} + n, 1 + n, 1, 1, 'pago', 5.00, date '2024-12-01'
              from generate_series(1, {max(orders // 1_000, 1)}) n;
            """.encode()
        )


def script(client: Client) -> int:
    """What a script would do: pages by offset, one upsert after the other; answers the rows."""
    copied = 0
    for table in TABLES:
        offset = 0
        while True:
            batch = _page(client, table, offset)
            if not batch:
                break
            client.schema("copia").table(table.name).upsert(batch).execute()
            offset += len(batch)
        copied += offset
    return copied


def _page(client: Client, table: Table, offset: int) -> list[Any]:
    query = client.table(table.name).select("*").order(table.key.name).range(offset, offset + MAX_ROWS - 1)
    return list(query.execute().data)


def extract(source: SupabaseSource) -> int:
    """Read every table; answers the rows."""
    with source.open() as look:
        return sum(len(page) for table in TABLES for page in look.pages(table.name, EXTRACT_ROWS))


def copy(source: SupabaseSource, tables: SupabaseTables) -> int:
    """The script's work with the pipeline's adapters: ranges of the key, batches of 10,000, a few at once."""
    rows = 0
    with source.open() as look:
        for table in TABLES:
            waiting: list[pa.Table] = []
            for page in chain(look.pages(table.name, EXTRACT_ROWS), [None]):
                if page is not None:
                    waiting.append(page)
                held = sum(map(len, waiting))
                if waiting and (page is None or held >= IN_FLIGHT * WRITE_ROWS):
                    frame = to_frame(pa.concat_tables(waiting))
                    upsert_all(tables, f"copia_em_lotes.{table.name}", frame, key=table.key.name)
                    rows, waiting = rows + held, []
    return rows


def offsets(client: Client) -> int:
    """Read every table by offset, one page after the other; answers the rows."""
    rows = 0
    for table in TABLES:
        offset = 0
        while page := _page(client, table, offset):
            offset += len(page)
        rows += offset
    return rows


LABELS = (
    "script: read by offset",
    "pipeline: read, counted",
    "script: read and upsert, first visit",
    "script: read and upsert, second visit",
    "pipeline's adapters: read and upsert",
    "pipeline: bronze, silver, gold, first visit",
    "pipeline: bronze, silver, gold, second visit",
)


def main() -> None:
    """Run both and print the ratios."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.supabase_http", description="The pipeline over HTTP against a plain script."
    )
    parser.add_argument("--orders", type=int, default=50_000, help="orders in the shop (default: 50,000)")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds added to each answer (default: 0)")
    parser.add_argument("--repeats", type=int, default=1, help="the figures are the medians of so many (default: 1)")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="MAX_IN_FLIGHT of the pipeline")
    parser.add_argument("--port", type=int, default=54399)
    arguments = parser.parse_args()
    found = []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory(prefix="medallion-benchmark-") as name:
            folder = Path(name)
            url = start_postgres(folder)
            fill(url, arguments.orders)
            with stand_in(url, folder, arguments.port, arguments.latency / 1000) as lines:
                rows, seconds = measure(lines, url, arguments.orders, arguments.in_flight)
                found.append(seconds)
    medians = [statistics.median(each) for each in zip(*found, strict=True)]
    print(
        f"\n{rows:,} rows ({arguments.orders:,} orders), {arguments.latency:g} ms added to each answer, "
        f"{arguments.in_flight} requests in flight, medians of {arguments.repeats}\n"
    )
    print_medians(rows, medians)


def measure(lines: dict[str, str], url: str, orders: int, in_flight: int) -> tuple[int, list[float]]:
    """The rows of the first visit, and the seconds of each of ``LABELS``."""
    client = create_client(lines["url"], lines["secret_key"])
    source = SupabaseSource(lines["url"], lines["secret_key"], in_flight=in_flight)
    project = Project(lines["url"], lines["secret_key"], in_flight=in_flight)
    tables = SupabaseTables(project)
    lakehouse = Lakehouse(tables, SupabaseBucket(project, "bronze-bucket"), "benchmark")
    runner = Runner(lakehouse, SilentReporter())
    rows = extract(source)
    read_by_script, read = timed(lambda: offsets(client)), timed(lambda: extract(source))
    first_script, copied = timed(lambda: script(client)), timed(lambda: copy(source, tables))
    first = timed(lambda: runner.run(source))
    change(url, orders)
    second_script, second = timed(lambda: script(client)), timed(lambda: runner.run(source))
    lakehouse.close()
    return rows, [read_by_script, read, first_script, second_script, copied, first, second]


def print_medians(rows: int, seconds: Sequence[float]) -> None:
    """The table: each against the script's time for the same."""
    read_by_script, _, first_script, second_script, *_ = seconds
    compared = (read_by_script, read_by_script, first_script, second_script, first_script, first_script, second_script)
    measured = list(zip(LABELS, [rows] * len(LABELS), seconds, compared, strict=True))
    measured.append(("script: both visits", 2 * rows, sum(seconds[2:4]), sum(seconds[2:4])))
    measured.append(("pipeline: both visits", 2 * rows, sum(seconds[5:7]), sum(seconds[2:4])))
    print("| | seconds | rows/s | times the script's speed |\n|---|---:|---:|---:|")
    for label, handled, taken, base in measured:
        print(f"| {label} | {taken:.1f} | {handled / taken:,.0f} | {base / taken:.2f} |")


def timed(work: Callable[[], object]) -> float:
    """Seconds of wall time."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
