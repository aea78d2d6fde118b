"""The catalog declares tables that can be loaded in its order, and that migrations really make."""

from collections.abc import Mapping

import psycopg
import pyarrow as pa
import pytest

from elt.catalog import (
    ANALISE_CLIENTES_PEDIDOS,
    ANALISE_PRODUTOS,
    BROKEN_LINE,
    REJEITADOS,
    VALORES_REJEITADOS,
    Analysis,
    Column,
    Table,
    children_first,
)
from elt.frames import arrow_schema
from elt.rules import KEY, Type
from elt.silver import TABLES
from elt.silver.clientes import CLIENTES
from elt.silver.pedidos import PEDIDOS
from elt.silver.produtos import PRODUTOS

POSTGRES_TYPES = {"text": pa.string(), "integer": pa.int64(), "bigint": pa.int64(), "date": pa.date32()}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_stands_after_the_tables_it_references(table: Table) -> None:
    before = {other.name for other in TABLES[: TABLES.index(table)]}
    assert {column.references for column in table.foreign_keys} <= before


def test_children_come_before_all_their_parents() -> None:
    assert list(children_first(TABLES)) == [[PEDIDOS], [CLIENTES, PRODUTOS]]


def test_tables_that_reference_each_other_in_a_circle_are_refused() -> None:
    tables = [
        Table(
            name, (Column(f"id_{name}", KEY, required=True), Column("id_outro", KEY, required=True, references=other))
        )
        for name, other in (("a", "b"), ("b", "a"))
    ]
    with pytest.raises(ValueError, match="in a circle: a, b"):
        list(children_first(tables))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_keys_are_required_and_stand_first(table: Table) -> None:
    assert table.key.required
    assert table.key.name.startswith("id_")
    assert all(column.required for column in table.foreign_keys)
    assert table.silver_names[0] == "id"


def test_a_key_may_be_called_id_in_the_source_and_no_other_column_may() -> None:
    found = ["id", "nome", "email", "telefone", "cidade", "idade"]
    assert CLIENTES.missing_from(found) == []
    assert CLIENTES.extra_in(found) == []
    assert CLIENTES.source_name("id_cliente", found) == "id"
    assert CLIENTES.missing_from(["id", "cidade"]) == ["nome", "email", "telefone", "idade"]


def test_a_column_id_beside_the_key_is_an_extra_column() -> None:
    found = [*CLIENTES.column_names, "id", "vip", BROKEN_LINE]
    assert CLIENTES.extra_in(found) == ["id", "vip"]
    assert CLIENTES.source_name("id_cliente", found) == "id_cliente"


def columns_of(url: str, name: str) -> dict[str, pa.DataType]:
    schema, table = name.split(".")
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select column_name, data_type from information_schema.columns where table_schema = %s and table_name = %s"
            " order by ordinal_position",
            (schema, table),
        ).fetchall()
    return {str(column): POSTGRES_TYPES.get(str(kind), str(kind)) for column, kind in rows}


@pytest.fixture(scope="module")
def migrated_url(server_url: str) -> str:
    """A database with every migration."""
    return server_url.replace("/postgres?", "/migrated?")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_migrations_make_the_silver_tables_of_the_catalog(table: Table, migrated_url: str) -> None:
    found = columns_of(migrated_url, table.silver)
    assert found.pop("data_ingestao") == "timestamp with time zone"
    assert found == _expected(arrow_schema(table.silver_types))
    assert list(found) == list(table.silver_names)


@pytest.mark.parametrize("analysis", [ANALISE_CLIENTES_PEDIDOS, ANALISE_PRODUTOS], ids=lambda analysis: analysis.name)
def test_the_migrations_make_the_gold_tables_of_the_catalog(analysis: Analysis, migrated_url: str) -> None:
    found = columns_of(migrated_url, analysis.gold)
    assert found == _expected(arrow_schema(analysis.types))
    assert list(found) == list(analysis.types)


@pytest.mark.parametrize(
    ("name", "types"), [("silver.rejeitados", REJEITADOS), ("silver.valores_rejeitados", VALORES_REJEITADOS)]
)
def test_the_migrations_make_the_quarantine_of_the_catalog(
    name: str, types: Mapping[str, Type], migrated_url: str
) -> None:
    assert set(types) | {"desde"} == set(columns_of(migrated_url, name))


def test_every_reference_of_the_catalog_is_a_foreign_key_of_the_database(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as connection:
        rows = connection.execute(
            "select c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text from pg_constraint c"
            " join pg_attribute a on a.attrelid = c.conrelid and a.attnum = any (c.conkey) where c.contype = 'f'"
        ).fetchall()
    declared = {
        (table.silver, column.name, f"silver.{column.references}") for table in TABLES for column in table.foreign_keys
    }
    assert set(rows) == declared


def _expected(schema: pa.Schema) -> dict[str, object]:
    return {field.name: "numeric" if pa.types.is_decimal(field.type) else field.type for field in schema}
