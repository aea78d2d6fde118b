"""The SQL of ``supabase/migrations``: from nothing, twice, from the specification's own schema, and by hand."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from elt.lakehouse import migrations
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.progress import SilentReporter
from elt.runner import Runner
from tests.shops import write_shop

ORIGINAL = """
create schema silver;
create schema gold;
create table silver.clientes (id text primary key, nome text, email text, telefone text, cidade text, idade int,
  data_ingestao timestamp default current_timestamp);
create table silver.produtos (id text primary key, nome_produto text, categoria text, preco numeric, estoque int,
  data_ingestao timestamp default current_timestamp);
create table silver.pedidos (id text primary key, id_cliente text references silver.clientes (id),
  id_produto text references silver.produtos (id), quantidade int, status text, valor_total numeric, data_pedido date,
  data_ingestao timestamp default current_timestamp);
create table gold.analise_clientes_pedidos (id_cliente text primary key, nome text, cidade text, idade int,
  total_pedidos int, total_gasto numeric, data_primeiro_pedido date, data_ultimo_pedido date,
  categorias_compradas text, produtos_comprados text);
create table gold.analise_produtos (id_produto text primary key, nome_produto text, categoria text, total_vendido int,
  total_receita numeric, estoque_atual int);
grant usage on schema silver, gold to anon;
grant select, insert, update, delete on all tables in schema silver, gold to anon;
"""
"""The schema of the specification, with its open grants."""

ROWS = """
insert into silver.clientes (id, nome, idade, data_ingestao) values ('1', 'Ana', 34, '2024-05-01 12:00:00');
insert into silver.clientes (id, nome, data_ingestao) values ('old', 'Rui', null);
insert into silver.produtos (id, nome_produto, preco) values ('10', 'Café', 12.50);
insert into silver.pedidos (id, id_cliente, id_produto, quantidade, valor_total) values ('99', 'old', '10', 1, 12.50);
insert into gold.analise_produtos (id_produto, total_vendido) values ('10', 1);
"""

NAMES = migrations.names()


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def shape(url: str) -> list[tuple[object, ...]]:
    """Every column, constraint, trigger, function, policy and grant of the lakehouse's schemas."""
    schemas = "('silver', 'gold', 'controle')"
    return [
        *rows(
            url,
            "select table_schema, table_name, column_name, data_type, is_nullable from information_schema.columns "
            f"where table_schema in {schemas} order by 1, 2, 3",
        ),
        *rows(
            url,
            "select n.nspname, c.conname from pg_constraint c join pg_namespace n on n.oid = c.connamespace "
            f"where n.nspname in {schemas} and c.contype in ('p', 'f') order by 1, 2",
        ),
        *rows(url, "select tgrelid::regclass::text, tgname from pg_trigger where not tgisinternal order by 1, 2"),
        *rows(url, "select schemaname, tablename, policyname, roles::text from pg_policies order by 1, 2, 3"),
        *rows(
            url,
            "select n.nspname, c.relname, c.relrowsecurity, c.relacl::text from pg_class c "
            f"join pg_namespace n on n.oid = c.relnamespace where n.nspname in {schemas} and c.relkind = 'r' "
            "order by 1, 2",
        ),
        *rows(
            url,
            "select n.nspname, p.proname, p.proacl::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
            f"where n.nspname in {schemas} order by 1, 2",
        ),
    ]


@pytest.fixture
def original(new_empty_database: Callable[[], str]) -> str:
    """A database as the specification's SQL leaves it, with rows."""
    url = new_empty_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ORIGINAL)
        connection.execute(ROWS)
    return url


def test_they_apply_from_nothing(new_empty_database: Callable[[], str]) -> None:
    url = new_empty_database()
    assert migrations.apply(url, setting="a test") == NAMES
    assert migrations.pending(url, setting="a test") == []


def test_each_is_applied_once(new_empty_database: Callable[[], str]) -> None:
    url = new_empty_database()
    migrations.apply(url, setting="a test")
    assert migrations.apply(url, setting="a test") == []


def test_each_can_be_run_twice_by_hand_and_records_itself(new_empty_database: Callable[[], str]) -> None:
    url = new_empty_database()
    shapes = []
    for _ in range(2):
        with psycopg.connect(url, autocommit=True) as connection:
            for file in sorted(migrations.FOLDER.glob("*.sql")):
                connection.execute(file.read_bytes())
        shapes.append(shape(url))
    assert shapes[0] == shapes[1]
    assert migrations.pending(url, setting="a test") == []


def test_they_keep_the_data_of_the_original_schema(original: str) -> None:
    migrations.apply(original, setting="a test")
    assert rows(original, "select id, nome, idade from silver.clientes order by id") == [
        ("1", "Ana", 34),
        ("old", "Rui", None),
    ]
    assert rows(original, "select id, valor_total::text from silver.pedidos") == [("99", "12.50")]
    assert rows(original, "select total_vendido from gold.analise_produtos") == [(1,)]
    assert rows(
        original, "select data_ingestao at time zone 'UTC' = '2024-05-01 12:00:00' from silver.clientes where id = '1'"
    ) == [(True,)]


def test_the_original_schema_becomes_the_same_as_a_new_one(
    original: str, new_empty_database: Callable[[], str]
) -> None:
    fresh = new_empty_database()
    for url in (original, fresh):
        migrations.apply(url, setting="a test")
    assert shape(original) == shape(fresh)


def test_they_take_the_open_grants_of_the_original_schema_back(original: str) -> None:
    migrations.apply(original, setting="a test")
    open_tables = rows(
        original,
        "select schemaname, tablename from pg_tables where schemaname in ('silver', 'gold', 'controle') and ("
        "has_table_privilege('anon', format('%I.%I', schemaname, tablename), 'select, insert, update, delete') or "
        "has_schema_privilege('anon', schemaname, 'usage'))",
    )
    assert open_tables == []


def test_a_run_goes_on_where_the_original_program_stopped(original: str, tmp_path: Path) -> None:
    migrations.apply(original, setting="a test")
    lakehouse = Lakehouse(PostgresTables(original), FolderBucket(tmp_path / "bucket"), "original")
    results = Runner(lakehouse, SilentReporter()).run(write_shop(tmp_path / "shop"))
    lakehouse.close()
    assert [int(result.key) for result in results] == [246, 468, 680]
    assert rows(original, "select count(*) from silver.clientes") == [(2,)]
    assert rows(original, "select total_vendido, total_receita::text from gold.analise_produtos") == [(3, "37.50")]
