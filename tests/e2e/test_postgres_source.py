"""A shop in PostgreSQL: exact values, every row, one moment, and errors that keep the password."""

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

from elt.bronze.extract import check_columns
from elt.errors import Denied, MedallionError, SourceError, Unreachable
from elt.lakehouse.ports import Lakehouse
from elt.runner import Runner
from elt.silver import TABLES
from elt.silver.pedidos import PEDIDOS
from elt.sources.postgres import PostgresExtract, PostgresSource
from tests.shops import contents

SHOP = """
create table clientes (id integer primary key, nome text, email varchar(80), telefone char(20), cidade text,
  idade smallint, desde timestamptz, ativo boolean);
create table produtos (id_produto bigint, nome_produto text, categoria text, preco numeric(14, 4), estoque integer);
create table pedidos (id_pedido integer, id_cliente integer, id_produto bigint, quantidade integer, status text,
  valor_total numeric, data_pedido timestamptz);
insert into clientes values (7, 'Ana', 'ana@exemplo.com', '11987654321', 'São Paulo', 34, '2024-03-05 01:00Z', true);
insert into produtos values (10, 'Café', 'Mercearia', 1.2345, 7);
insert into pedidos values (100, 7, 10, 2, 'pago', 123456789.12345678901234567890, '2024-03-05 01:30:00+00');
"""


@pytest.fixture
def shop_url(new_empty_database: Callable[[], str]) -> str:
    """A shop with one client, one product, one order."""
    url = new_empty_database()
    execute(url, SHOP)
    return url


@pytest.fixture
def new_empty_database(server_url: str) -> Iterator[Callable[..., str]]:
    """Makes databases without migrations: somebody else's."""
    made: list[str] = []

    def make(options: str = "") -> str:
        name = f"shop_{len(made)}"
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"create database {name} template template0 {options}")
        made.append(name)
        return server_url.replace("/postgres?", f"/{name}?")

    yield make
    with psycopg.connect(server_url, autocommit=True) as connection:
        for name in made:
            connection.execute(f"drop database {name} with (force)")


def execute(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements)


def rows(extract: PostgresExtract, table: str) -> list[dict[str, str | None]]:
    return [row for page in extract.pages(table, 2) for row in page.to_pylist()]


def test_the_whole_chain_keeps_every_digit_and_the_day_of_the_shop(
    runner: Runner, lakehouse: Lakehouse, shop_url: str
) -> None:
    assert [int(result.key) for result in runner.run(PostgresSource(shop_url))] == [246, 468, 680]
    found = contents(lakehouse)
    assert found["silver.clientes"] == [("7", "Ana", "ana@exemplo.com", "+5511987654321", "São Paulo", 34)]
    assert found["silver.produtos"] == [("10", "Café", "Mercearia", Decimal("1.2345"), 7)]
    assert found["silver.pedidos"] == [
        ("100", "7", "10", 2, "Pago", Decimal("123456789.12345678901234567890"), date(2024, 3, 4))
    ]
    assert found["gold.analise_produtos"][0][4] == Decimal("123456789.12345678901234567890")


def test_columns_come_with_their_types_and_values_as_text(shop_url: str) -> None:
    with PostgresSource(shop_url).open() as extract:
        assert extract.columns("clientes")["id"] == "integer"
        assert extract.columns("produtos")["preco"] == "numeric"
        (row,) = rows(extract, "clientes")
    assert row["desde"] == "2024-03-05 01:00:00+00"
    assert row["ativo"] == "true"


def test_values_do_not_depend_on_the_time_zone_of_the_session(shop_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def extracted() -> list[dict[str, str | None]]:
        with PostgresSource(shop_url).open() as extract:
            return rows(extract, "clientes")

    before = extracted()
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    monkeypatch.setenv("PGDATESTYLE", "German")
    assert extracted() == before


def test_rows_whose_key_repeats_or_is_missing_are_not_lost(runner: Runner, shop_url: str) -> None:
    execute(shop_url, "insert into produtos select null, 'x' || n, null, n, n from generate_series(1, 5) as n")
    execute(shop_url, "insert into produtos select 11, 'y', null, 3, 3 from generate_series(1, 5)")
    _, silver, _ = runner.run(PostgresSource(shop_url))
    assert (silver.counts.read, silver.counts.written) == (13, 4)
    assert (silver.counts.repeated, silver.counts.quarantined) == (4, 5)


def test_every_table_is_seen_at_one_moment(shop_url: str) -> None:
    with PostgresSource(shop_url).open() as extract:
        assert extract.count("pedidos") == 1
        execute(
            shop_url,
            "insert into clientes (id) values (8); insert into pedidos (id_pedido, id_cliente) values (101, 8)",
        )
        execute(shop_url, "delete from produtos")
        assert [len(rows(extract, table.name)) for table in TABLES] == [1, 1, 1]
        assert [extract.count(table.name) for table in TABLES] == [1, 1, 1]
    with PostgresSource(shop_url).open() as extract:
        assert [extract.count(table.name) for table in TABLES] == [2, 0, 2]


def test_rows_come_in_the_order_of_their_key_a_page_at_a_time(shop_url: str) -> None:
    execute(shop_url, "insert into pedidos (id_pedido) select n from generate_series(109, 101, -1) as n")
    with PostgresSource(shop_url).open() as extract:
        pages = list(extract.pages("pedidos", 4))
    assert [len(page) for page in pages] == [4, 4, 2]
    assert [key for page in pages for key in page["id_pedido"].to_pylist()] == [str(key) for key in range(100, 110)]


def test_null_the_empty_text_and_every_odd_text_come_as_they_are(shop_url: str) -> None:
    texts = [None, "", '"', "a,b", "a\nb", "a\r\nb", "\\.", "\\N", "'", " x ", "é🙂", "x" * 3_000_000]
    with psycopg.connect(shop_url, autocommit=True) as connection:
        for number, text in enumerate(texts):
            connection.execute("insert into produtos (id_produto, nome_produto) values (%s, %s)", (number + 20, text))
    with PostgresSource(shop_url).open() as extract:
        assert [row["nome_produto"] for row in rows(extract, "produtos")][1:] == texts


def test_a_database_in_latin_1_is_read_as_well(new_empty_database: Callable[[str], str]) -> None:
    url = new_empty_database("encoding 'LATIN1' locale_provider libc lc_collate 'C' lc_ctype 'C'")
    execute(url, SHOP)
    with PostgresSource(url).open() as extract:
        assert rows(extract, "clientes")[0]["cidade"] == "São Paulo"


def test_a_missing_table_is_named_with_the_settings_to_change(shop_url: str) -> None:
    execute(shop_url, "drop table pedidos")
    with (
        PostgresSource(shop_url).open() as extract,
        pytest.raises(SourceError, match=r"no table public\.pedidos") as error,
    ):
        extract.columns("pedidos")
    assert "SOURCE_DB_SCHEMA" in error.value.next_step


def test_a_missing_column_is_named_beside_those_found(shop_url: str) -> None:
    execute(shop_url, "alter table pedidos rename valor_total to total")
    with PostgresSource(shop_url).open() as extract, pytest.raises(SourceError) as error:
        check_columns(extract, PEDIDOS)
    assert "has no column valor_total" in error.value.what
    assert "found: id_pedido, id_cliente, id_produto, quantidade, status, total, data_pedido" in error.value.what


def test_another_schema_may_hold_the_shop(shop_url: str) -> None:
    execute(shop_url, "create schema loja; create view loja.clientes as select * from public.clientes")
    with PostgresSource(shop_url, schema="loja").open() as extract:
        assert extract.count("clientes") == 1
        assert rows(extract, "clientes")[0]["nome"] == "Ana"


def test_a_table_that_the_role_may_not_read_is_an_error_that_says_so(shop_url: str) -> None:
    execute(shop_url, "do $$ begin create role leitora login; exception when duplicate_object then null; end $$")
    url = shop_url.replace("postgres:@", "leitora:@")
    assert url != shop_url
    with PostgresSource(url).open() as extract, pytest.raises(Denied, match="counting clientes: permission denied"):
        extract.count("clientes")


def test_a_server_that_does_not_answer_is_named_without_its_password(runner: Runner) -> None:
    secret = "s3nh4-secreta"
    with pytest.raises(Unreachable, match="SOURCE_DB_URL") as error:
        runner.bronze(PostgresSource(f"postgresql://dona:{secret}@127.0.0.1:9/loja"))
    said = f"{error.value!r} {error.value} {error.value.what} {error.value.next_step} {error.value.__cause__!r}"
    assert secret not in said
    assert secret not in repr(PostgresSource(f"postgresql://dona:{secret}@127.0.0.1:9/loja"))


@pytest.mark.parametrize(
    "url", ["postgresql://dona:s3nh4@[bad", "not a url s3nh4", "postgresql://x:s3nh4@h:porta/loja"]
)
def test_what_is_no_url_is_an_error_without_its_text(url: str) -> None:
    with pytest.raises(MedallionError, match="SOURCE_DB_URL") as error, PostgresSource(url).open():
        pass
    assert "s3nh4" not in f"{error.value!r} {error.value.next_step}"


def test_the_pages_are_text(shop_url: str) -> None:
    with PostgresSource(shop_url).open() as extract:
        for table in TABLES:
            for page in extract.pages(table.name, 10):
                assert set(page.schema.types) == {pa.string()}


def test_a_source_whose_connection_is_lost_when_it_is_closed_is_one_of_our_errors(shop_url: str) -> None:
    sessions = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    with pytest.raises(Unreachable, match="closing the source"), PostgresSource(shop_url).open():
        execute(shop_url, f"select pg_terminate_backend(pid, 10000) {sessions}")
