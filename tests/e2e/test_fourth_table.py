"""A fourth table is one file and one migration of ``create table`` and one call: every layer takes it as it comes."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from elt import rules
from elt.catalog import Column, Table, in_load_order
from elt.lakehouse import migrations
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.silver import TABLES
from elt.sources.files import FilesSource
from elt.sources.postgres import PostgresSource
from elt.sources.sample import SampleShop
from tests.conftest import database_url
from tests.shops import Row, contents, write_shop

LOJAS = Table(
    "lojas",
    (
        Column("id_loja", rules.KEY, required=True),
        Column("gerente", rules.KEY, required=True, references="clientes"),
        Column("cidade", rules.TEXT),
        Column("aberta_em", rules.DATE),
    ),
)
"""What the file holds."""

MIGRATION = """
create table if not exists silver.lojas (
  id text collate "C" primary key,
  gerente text collate "C" references silver.clientes (id),
  cidade text,
  aberta_em date
);
select controle.declarar_tabela('lojas');
"""

ALL = in_load_order((*TABLES, LOJAS))
FILIAL: Row = {"id_loja": "1", "gerente": "1", "cidade": " Recife ", "aberta_em": "01/02/2020"}


@pytest.fixture
def lakehouse(server_url: str, tmp_path: Path) -> Iterator[Lakehouse]:
    """A lakehouse with the migrations of the project and the new one."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrations.FOLDER, folder)
    (folder / "29990101000000_lojas.sql").write_text(MIGRATION)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("drop database if exists com_lojas with (force)")
        connection.execute("create database com_lojas template migrated")
    url = database_url(server_url, "com_lojas")
    assert migrations.apply(url, setting="the test's PostgreSQL", folder=folder) == ["29990101000000_lojas"]
    lakehouse = Lakehouse(PostgresTables(url), FolderBucket(tmp_path / "bucket"), "a test's lakehouse")
    yield lakehouse
    lakehouse.close()


@pytest.fixture
def runner(lakehouse: Lakehouse) -> Runner:
    """The layers with four tables."""
    return Runner(lakehouse, SilentReporter(), tables=ALL)


def with_lojas(shop: Path, *rows: Row) -> FilesSource:
    return write_shop(shop, tables=ALL, lojas=[{**FILIAL, **row} for row in rows])


def test_it_goes_through_bronze_and_silver_like_the_others(
    runner: Runner, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    source = with_lojas(
        tmp_path / "shop",
        {},
        {},
        {"id_loja": "2", "aberta_em": "ontem"},
        {"id_loja": "3", "gerente": "99"},
        {"id_loja": "4", "gerente": None},
    )
    results = runner.run(source)
    assert [int(result.key) for result in results] == [246, 468, 680]
    silver = results[1].counts
    assert (silver.read, silver.written, silver.repeated, silver.quarantined) == (8, 5, 1, 2)
    found = contents(lakehouse, ALL)
    assert [row[:3] for row in found["silver.lojas"]] == [("1", "1", "Recife"), ("2", "1", "Recife")]
    assert [row[1:4] for row in found["silver.valores_rejeitados"]] == [("lojas", "2", "aberta_em")]
    assert {(row[2], row[3]) for row in found["silver.rejeitados"]} == {
        ("3", "gerente: '99' não existe em silver.clientes"),
        ("4", "gerente: em branco"),
    }


def test_nothing_new_is_135_and_a_change_is_written(runner: Runner, lakehouse: Lakehouse, tmp_path: Path) -> None:
    runner.run(with_lojas(tmp_path / "shop", {}))
    assert [int(result.key) for result in runner.run(with_lojas(tmp_path / "shop", {}))] == [135]
    changed = with_lojas(tmp_path / "shop", {"cidade": "Olinda"})
    assert [int(result.key) for result in runner.run(changed)] == [246, 468, 579]
    assert contents(lakehouse, ALL)["silver.lojas"][0][2] == "Olinda"


def test_a_lakehouse_that_was_in_use_before_takes_it_up(runner: Runner, lakehouse: Lakehouse, tmp_path: Path) -> None:
    source = write_shop(tmp_path / "shop")
    Runner(lakehouse, SilentReporter()).run(source)
    results = runner.run(with_lojas(tmp_path / "shop", {}))
    assert [int(result.key) for result in results] == [246, 468, 579]
    assert (results[1].counts.written, results[1].counts.unchanged) == (1, 3)


def test_it_comes_from_postgresql_as_well(
    runner: Runner, lakehouse: Lakehouse, server_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("drop database if exists loja_de_origem with (force)")
        connection.execute("create database loja_de_origem template template0")
    url = database_url(server_url, "loja_de_origem")
    with psycopg.connect(url, autocommit=True) as connection:
        for table in ALL:
            names = ", ".join(f"{name} text" for name in table.column_names)
            connection.execute(f"create table {table.name} ({names})")
        connection.execute("insert into clientes values ('1')")
        connection.execute("insert into lojas values ('b', '1'), ('a', '1'), (null, '1')")
    runner.run(PostgresSource(url, tables=ALL))
    assert [row[0] for row in contents(lakehouse, ALL)["silver.lojas"]] == ["a", "b"]


def test_the_sample_shop_has_it_and_makes_up_rows_that_silver_takes(runner: Runner, lakehouse: Lakehouse) -> None:
    runner.run(SampleShop(ALL, clientes=30, produtos=5, pedidos=40, known=30, dirt=0))
    found = contents(lakehouse, ALL)
    assert {len(row) for row in found["silver.lojas"]} == {4}
    assert len(found["silver.lojas"]) > 1
    assert None not in {value for row in found["silver.lojas"] for value in row}
    assert found["silver.rejeitados"] == found["silver.valores_rejeitados"] == []


def test_a_reference_that_is_absent_and_may_be_makes_no_orphans(lakehouse: Lakehouse, tmp_path: Path) -> None:
    key, gerente, *others = LOJAS.columns
    lenient = replace(LOJAS, columns=(key, replace(gerente, required=False, optional=True), *others))
    without = replace(LOJAS, columns=(key, *others))
    source = write_shop(tmp_path / "shop", tables=(*TABLES, without))
    Runner(lakehouse, SilentReporter(), tables=(*TABLES, lenient)).run(source)
    found = contents(lakehouse, ALL)
    assert [row[:2] for row in found["silver.lojas"]] == [("1", None)]
    assert found["silver.rejeitados"] == []
