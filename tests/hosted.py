"""Lakehouses and shops over HTTP, for tests: on the stand-in, or on a real project."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.supabase import SupabaseBucket, SupabaseTables
from elt.silver import TABLES
from elt.sources.supabase import SupabaseSource
from elt.supabase import Project
from tests.gateway.fixtures import Gateway

BUCKET = "bronze-bucket"


def project_of(gateway: Gateway, key: str | None = None, *, in_flight: int = 4) -> Project:
    """The stand-in's project; pauses between tries are short."""
    return Project(gateway.url, key or gateway.secret_key, in_flight=in_flight, wait_seconds=0.005)


@contextmanager
def lakehouse_of(project: Project, *, write_rows: int = 10_000) -> Iterator[Lakehouse]:
    """A lakehouse that is reached by HTTP only."""
    tables = SupabaseTables(project, write_rows=write_rows)
    lakehouse = Lakehouse(tables, SupabaseBucket(project, BUCKET), f"hosted at {project.host}")
    try:
        yield lakehouse
    finally:
        lakehouse.close()


def shop_of(
    gateway: Gateway, key: str | None = None, *, in_flight: int = 4, accept_filtered: bool = False
) -> SupabaseSource:
    """The shop in the stand-in's schema ``public``."""
    return SupabaseSource(
        gateway.url,
        key or gateway.publishable_key,
        tables=TABLES,
        accept_filtered=accept_filtered,
        in_flight=in_flight,
        wait_seconds=0.005,
    )


@pytest.fixture
def shop_gateway(source_gateway: Gateway) -> Gateway:
    """A shop's project whose columns have the types of what they hold; empty."""
    return source_gateway


def fill_shop(gateway: Gateway, *, clientes: int, produtos: int, pedidos: int) -> None:
    """So many rows in each table of the shop, all of them clean, every order with its parents."""
    gateway.sql(
        "insert into clientes select n, 'Cliente ' || n, 'c' || n || '@exemplo.com.br', '(11) 98765-4321', "
        f"'São Paulo', 20 + n % 60 from generate_series(1, {clientes}) n"
    )
    gateway.sql(
        "insert into produtos select n, 'Produto ' || n, 'Categoria ' || n % 7, n + 0.99, n % 50 "
        f"from generate_series(1, {produtos}) n"
    )
    gateway.sql(
        f"insert into pedidos select n, 1 + n % {clientes}, 1 + n % {produtos}, 1 + n % 3, 'pago', (n % 1000) + 0.05, "
        f"date '2024-01-01' + n % 300 from generate_series(1, {pedidos}) n"
    )
