"""The three lakehouses of the cases, each on one server that stays: kept once, and put back between two cases."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from elt.lakehouse import migrations
from tests import embedded
from tests.shops import CLIENTE, PEDIDO, PRODUTO, Row, write_shop

Shop = tuple[list[Row], list[Row], list[Row]]

FIRST_VISIT: Shop = (
    [{"id_cliente": "1"}, {"id_cliente": "2", "idade": "?"}, {"id_cliente": "3"}],
    [{"id_produto": "10"}, {"id_produto": "11", "preco": "a consultar"}, {"id_produto": "12"}],
    [
        {"id_pedido": "100", "id_cliente": "1"},
        {"id_pedido": "101", "id_cliente": "2", "id_produto": "12"},
        {"id_pedido": "101", "id_cliente": "2", "id_produto": "12"},  # the same line twice
        {"id_pedido": "102", "id_cliente": "9"},  # of nobody yet
        {"id_pedido": "103", "quantidade": "0"},
        {"id_pedido": "104", "id_cliente": "3"},
    ],
)
"""A value that cannot be read, a product and an order that are refused, a repeat, an orphan."""

SECOND_VISIT: Shop = (
    [{"id_cliente": "1"}, {"id_cliente": "2", "nome": "Bia", "idade": "28"}, {"id_cliente": "9"}],
    [{"id_produto": "10", "nome_produto": "Chá"}, {"id_produto": "11"}, {"id_produto": "12"}],
    [
        {"id_pedido": "100", "id_cliente": "1"},
        {"id_pedido": "101", "id_cliente": "2", "id_produto": "11"},
        {"id_pedido": "102", "id_cliente": "9"},
        {"id_pedido": "103", "quantidade": "1"},
        {"id_pedido": "105", "id_cliente": "8"},
        {"id_pedido": "106", "valor_total": "1.000,00"},
        {"id_pedido": "106", "valor_total": "2.000,00"},
    ],
)
"""Corrections, new rows, an orphan that finds its client and a new one, a conflict, a client and an order gone."""

_SCHEMAS = ("silver", "gold", "controle", "estagio", "storage")
_SNAPSHOT = re.compile(r"\d{4}/\d{2}/\d{8}T\d{6}\.\d{6}Z")
_WORK_DONE = (468, 680)
"""The keys of the ledger's rows that are compared, if they wrote a row."""


@dataclass(frozen=True)
class Kept:
    """A lakehouse at one moment: the lines of every table, and its folders."""

    tables: dict[str, bytes]
    folders: Path


@dataclass
class World:
    """One lakehouse and its shop. ``env``: what commands get; ``folders``: what belongs to it beside the database."""

    name: str
    folder: Path
    url: str
    env: dict[str, str]
    folders: tuple[str, ...]
    shop_url: str | None = None
    server: "embedded.Program | None" = None
    _connection: psycopg.Connection | None = field(default=None, repr=False)
    _shop: Shop | None = field(default=None, repr=False)
    _times: dict[str, list[str]] = field(default_factory=dict, repr=False)

    @property
    def watched(self) -> list[Path]:
        """The folders whose files are counted."""
        return [self.folder / name for name in ("data", "shop", "temporary")]

    @property
    def connection(self) -> psycopg.Connection:
        """To its database, past the program."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.url, autocommit=True)
        return self._connection

    def forget_connection(self) -> None:
        """Its server may have gone."""
        if self._connection is not None:
            self._connection.close()

    def write(self, shop: Shop) -> None:
        """The shop as it is from now on."""
        if shop is self._shop:
            return
        self._shop = shop
        write_shop(self.folder / "shop", *shop)
        if self.shop_url is not None:
            _copy_into(self.shop_url, shop)

    # --- Keeping and putting back -------------------------------------------------------------------------------------

    def keep(self, name: str) -> Kept:
        """It, as it is now."""
        folders = self.folder / "kept" / name
        for part in self.folders:
            if (self.folder / part).exists():
                shutil.copytree(self.folder / part, folders / part)
        tables = {}
        for table in self._tables():
            with self.connection.cursor().copy(sql.SQL("copy {} to stdout").format(_name(table))) as lines:
                tables[table] = b"".join(map(bytes, lines))
        return Kept(tables, folders)

    def put_back(self, kept: Kept) -> None:
        """Make it again what it was then."""
        for part in (*self.folders, "temporary"):
            shutil.rmtree(self.folder / part, ignore_errors=True)
            if (kept.folders / part).exists():
                shutil.copytree(kept.folders / part, self.folder / part)
        (self.folder / "temporary").mkdir()
        connection = self.connection
        with connection.transaction():
            connection.execute("set local session_replication_role = replica")  # no triggers, no keys of others
            connection.execute(
                sql.SQL("; ").join(sql.SQL("delete from {}").format(_name(table)) for table in kept.tables)
            )
            for table, lines in kept.tables.items():
                if lines:
                    with connection.cursor().copy(sql.SQL("copy {} from stdin").format(_name(table))) as copy:
                        copy.write(lines)

    def _tables(self) -> list[str]:
        found = self.connection.execute(
            "select schemaname || '.' || tablename from pg_tables where schemaname = any (%s) order by 1",
            (list(_SCHEMAS),),
        ).fetchall()
        return [name for (name,) in found if name != "controle.migracoes"]

    # --- What is compared ---------------------------------------------------------------------------------------------

    def state(self) -> dict[str, list[str]]:
        """Manifests, silver, gold, quarantine and the ledger's rows of what was done to silver and gold.

        Without times and identifiers of runs, snapshots by their order. What bronze did its manifests say: they are
        committed in the bucket before the ledger is told, which a kill in between prevents for good.
        """
        found: dict[str, list[dict[str, Any]]] = {}
        for table in self._tables():
            if table.startswith(("silver.", "gold.")):
                found[table] = self._rows(table)
        found["controle.execucoes"] = [
            {name: value for name, value in row.items() if name not in ("id", "execucao")}
            for row in self._rows("controle.execucoes")
            if row["erro"] is None and row["chave"] in _WORK_DONE and row["linhas_gravadas"] > 0
        ]
        found["bronze"] = [
            {name: value for name, value in manifest.items() if name not in ("run", "created_at")}
            for manifest in map(json.loads, self._manifests())
        ]
        text = json.dumps(found, ensure_ascii=False)
        for order, snapshot in enumerate(sorted(set(_SNAPSHOT.findall(text))), start=1):
            text = text.replace(snapshot, f"snapshot {order}")
        return {
            table: sorted(json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows)
            for table, rows in json.loads(text).items()
        }

    def _manifests(self) -> list[bytes]:
        name = "_manifest.json"
        if self.name != "supabase":
            return [file.read_bytes() for file in (self.folder / "data/bucket").rglob(name)]
        files = self.connection.execute("select version from storage.objects where name ~ %s", (name,))
        return [(self.folder / "objects" / version).read_bytes() for (version,) in files]

    def _rows(self, table: str) -> list[dict[str, Any]]:
        if table not in self._times:
            times = self.connection.execute(
                "select attname::text from pg_attribute where attrelid = %s::regclass and not attisdropped "
                "and atttypid = any ('{timestamptz,timestamp}'::regtype[])",
                (table,),
            )
            self._times[table] = [column for (column,) in times]
        rows = sql.SQL("select to_jsonb(t) - %s::text[] from {} t").format(_name(table))
        return [row for (row,) in self.connection.execute(rows, (self._times[table],))]

    def oldest_snapshot(self) -> str:
        """Its name."""
        row = self.connection.execute("select min(snapshot) from controle.execucoes").fetchone()
        assert row is not None
        return str(row[0])

    # --- Its server ---------------------------------------------------------------------------------------------------

    def kill_server(self) -> None:
        """SIGKILL to every process of the embedded server."""
        postmaster = psutil.Process(int((self.folder / "data/postgres/postmaster.pid").read_bytes().split(b"\n")[0]))
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


def _name(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def _copy_into(url: str, shop: Shop) -> None:
    """The shop's rows into its own database, all of them text."""
    with psycopg.connect(url) as connection:
        for name, standard, rows in zip(
            ("clientes", "produtos", "pedidos"), (CLIENTE, PRODUTO, PEDIDO), shop, strict=True
        ):
            table = sql.Identifier(name)
            columns = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(column)) for column in standard)
            connection.execute(sql.SQL("drop table if exists {0}; create table {0} ({1})").format(table, columns))
            with connection.cursor().copy(sql.SQL("copy {} from stdin").format(table)) as copy:
                for row in rows:
                    copy.write_row([{**standard, **row}[column] for column in standard])


@contextmanager
def world(name: str, folder: Path) -> Iterator[World]:
    """One of ``NAMES``, empty but made ready, in a folder of its own with a server of its own."""
    folder.mkdir(mode=0o711)
    for part in ("data", "shop", "temporary", "kept"):
        (folder / part).mkdir()
    (folder / "data").chmod(0o700)
    server_folder = folder / ("data" if name == "embedded" else "server")
    with embedded.program(server_folder) as server:
        url = server.wait_for_url()
        with psycopg.connect(url, autocommit=True) as connection:
            for setting in ("fsync", "full_page_writes"):  # what is committed outlives processes, though no power cut
                connection.execute(f"alter system set {setting} = off".encode())
            connection.execute("select pg_reload_conf()")
            if name == "direct":
                connection.execute("create database loja")
        migrations.apply(url, setting="the server of the cases")
        base = {"MEDALLION_HOME": str(folder), "TMPDIR": str(folder / "temporary"), "DATA_DIR": str(folder / "data")}
        files = {"SOURCE_FILES": str(folder / "shop")}
        if name == "embedded":
            yield World(name, folder, url, base | files, ("data/bucket",), server=server)
        elif name == "direct":
            shop = url.replace("/postgres?", "/loja?")
            env = {"LAKEHOUSE_DB_URL": url, "SOURCE_DB_URL": shop}
            yield World(name, folder, url, base | env, ("data/bucket",), shop_url=shop)
        else:
            with _gateway(url, folder) as (address, key):
                env = {"LAKEHOUSE_URL": address, "LAKEHOUSE_KEY": key, "MAX_IN_FLIGHT": "1"}
                yield World(name, folder, url, base | files | env, ("objects",))


@contextmanager
def _gateway(url: str, folder: Path) -> Iterator[tuple[str, str]]:
    """The stand-in for a project, in a process of its own; its address and secret key."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*(sys.executable, "-m", "tests.gateway", "--port", str(port)), *("--database-url", url)]
    process = subprocess.Popen([*command, "--data-dir", folder], cwd=embedded.ROOT, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            said = dict(line.strip().split("=", 1) for line in iter(process.stdout.readline, "\n"))  # type: ignore[union-attr]
            yield said["url"], said["secret_key"]
        finally:
            process.terminate()


NAMES: Sequence[str] = ("direct", "supabase", "embedded")
