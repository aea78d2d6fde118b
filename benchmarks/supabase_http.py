"""Speed over HTTP: the whole pipeline against what a script would do, on the same stand-in server in the same run.

``python -m benchmarks.supabase_http [--orders N] [--latency MS] [--repeats N] [--in-flight N]`` prints a Markdown table
of the medians. Both visit a shop twice: before the second visit, one row in fifty changes and some are new. The script
(``benchmarks.script``) takes the same shop to the same end: raw Parquet, clean tables, two analyses, one request after
the other. The last line compares the pipeline's whole work with a script that only reads and upserts. ``--latency``
adds a pause to each answer, as the way to a hosted project does; the stand-in alone answers within milliseconds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
from supabase import create_client

from benchmarks import script
from elt.catalog import EXTRACT_ROWS
from elt.lakehouse import migrations
from elt.lakehouse.embedded import start_postgres
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.supabase import SupabaseBucket, SupabaseTables
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.silver import TABLES
from elt.sources.supabase import SupabaseSource
from elt.supabase import IN_FLIGHT, Project


@contextmanager
def stand_in(database_url: str, folder: Path, port: int, latency: float) -> Iterator[dict[str, str]]:
    """The stand-in as its own process; gives its URL and keys."""
    command = [sys.executable, "-m", "tests.gateway", "--port", str(port)]
    command += ["--schemas", "public,silver,gold,controle,copia,copia_simples"]
    command += ["--database-url", database_url, "--data-dir", str(folder), "--max-rows", str(script.PAGE_ROWS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines: dict[str, str] = {}
        assert process.stdout is not None
        while "authenticated_token" not in lines:
            name, _, value = process.stdout.readline().strip().partition("=")
            lines[name] = value
        _wait(lines["url"])
        if latency:
            rule = {"kind": "slow", "seconds": latency}
            httpx.post(f"{lines['url']}/_faults", json={"max_rows": script.PAGE_ROWS, "rules": [rule]})
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
            """.encode()
        )
        schemas = ("copia", "copia_simples")
        for schema in schemas:
            connection.execute(f"create schema {schema}".encode())
            for table in TABLES:
                connection.execute(f"create table {schema}.{table.name} (like {table.name} including all)".encode())
        names = ", ".join(("public", *schemas))
        connection.execute(
            f"""
            create table copia.analise_clientes_pedidos (
              id_cliente bigint primary key, nome text, cidade text, idade integer, total_pedidos bigint,
              total_gasto numeric, data_primeiro_pedido date, data_ultimo_pedido date,
              categorias_compradas text, produtos_comprados text);
            create table copia.analise_produtos (
              id_produto bigint primary key, nome_produto text, categoria text, total_vendido bigint,
              total_receita numeric, estoque_atual integer);
            grant usage on schema {names} to anon, authenticated, service_role;
            grant all on all tables in schema {names} to anon, authenticated, service_role;
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


def extract(source: SupabaseSource) -> int:
    """Read every table; answers the rows."""
    with source.open() as look:
        return sum(len(page) for table in TABLES for page in look.pages(table.name, EXTRACT_ROWS))


def main() -> None:
    """Run both and print the ratios."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.supabase_http", description="The pipeline over HTTP against a plain script."
    )
    parser.add_argument("--orders", type=int, default=50_000, help="orders in the shop (default: 50,000)")
    parser.add_argument("--latency", type=float, default=50.0, help="milliseconds added to each answer (default: 50)")
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
    medians = {task: statistics.median(seconds[task] for seconds in found) for task in found[0]}
    print(
        f"\n{rows:,} rows ({arguments.orders:,} orders), {arguments.latency:g} ms added to each answer, "
        f"{arguments.in_flight} requests in flight, medians of {arguments.repeats}\n"
    )
    print_medians(rows, medians)


READ, COPY, COPY_AGAIN, FIRST, SECOND = "read", "copy", "copy again", "first visit", "second visit"
SCRIPT, PIPELINE = "script", "pipeline"

Seconds = dict[tuple[str, str], float]
"""By who did it and what it was."""

LABELS = {
    READ: "read every row",
    FIRST: "bronze, silver, gold: first visit",
    SECOND: "bronze, silver, gold: second visit",
}


def measure(lines: dict[str, str], url: str, orders: int, in_flight: int) -> tuple[int, Seconds]:
    """The rows of the first visit, and the seconds of each task."""
    client = create_client(lines["url"], lines["secret_key"])
    client.storage.create_bucket(script.BUCKET)
    source = SupabaseSource(lines["url"], lines["secret_key"], tables=TABLES, in_flight=in_flight)
    project = Project(lines["url"], lines["secret_key"], in_flight=in_flight)
    lakehouse = Lakehouse(SupabaseTables(project), SupabaseBucket(project, "bronze-bucket"), "benchmark")
    runner = Runner(lakehouse, SilentReporter())
    rows = extract(source)
    tasks: dict[tuple[str, str], Callable[[], object]] = {
        (SCRIPT, READ): lambda: script.read_all(client),
        (PIPELINE, READ): lambda: extract(source),
        (SCRIPT, COPY): lambda: script.copy(client, "copia_simples"),
        (SCRIPT, FIRST): lambda: script.medallion(client),
        (PIPELINE, FIRST): lambda: runner.run(source),
        (SCRIPT, COPY_AGAIN): lambda: script.copy(client, "copia_simples"),
        (SCRIPT, SECOND): lambda: script.medallion(client),
        (PIPELINE, SECOND): lambda: runner.run(source),
    }
    seconds: Seconds = {}
    for (who, what), work in tasks.items():
        if what == COPY_AGAIN:
            change(url, orders)
        seconds[who, what] = timed(work)
    lakehouse.close()
    return rows, seconds


def print_medians(rows: int, seconds: Seconds) -> None:
    """The table: the pipeline against the script, for the same task; and against the script that only copies."""
    both = {who: seconds[who, FIRST] + seconds[who, SECOND] for who in (SCRIPT, PIPELINE)}
    only_copied = seconds[SCRIPT, COPY] + seconds[SCRIPT, COPY_AGAIN]
    measured = [(label, rows, seconds[SCRIPT, what], seconds[PIPELINE, what]) for what, label in LABELS.items()]
    measured.append(("bronze, silver, gold: both visits", 2 * rows, both[SCRIPT], both[PIPELINE]))
    measured.append(("the same, against a script that only reads and upserts", 2 * rows, only_copied, both[PIPELINE]))
    print("| | script, s | pipeline, s | pipeline, rows/s | times the script's speed |\n|---|---:|---:|---:|---:|")
    for label, handled, by_script, by_pipeline in measured:
        times = by_script / by_pipeline
        print(f"| {label} | {by_script:.1f} | {by_pipeline:.1f} | {handled / by_pipeline:,.0f} | {times:.2f} |")


def timed(work: Callable[[], object]) -> float:
    """Seconds of wall time."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
