"""What every shop on a server gives, by a direct connection or over HTTP."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal

import psycopg
import pytest

from elt.catalog import EXTRACT_ROWS
from elt.errors import SourceError
from elt.sources.port import NUMBERS, Extract, Source
from elt.sources.postgres import PostgresSource
from tests.gateway.fixtures import Gateway
from tests.hosted import fill_shop, shop_of

Row = dict[str, str | None]


@pytest.fixture(params=["postgres", "supabase"])
def shop(request: pytest.FixtureRequest, shop_gateway: Gateway) -> Source:
    if request.param == "postgres":
        return PostgresSource(shop_gateway.database_url)
    return shop_of(shop_gateway)


@pytest.fixture
def look(shop: Source) -> Iterator[Callable[[], Extract]]:
    """Looks at the shop; each look ends with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(shop.open())


def rows_of(extract: Extract, table: str) -> list[Row]:
    return [row for page in extract.pages(table, EXTRACT_ROWS) for row in page.to_pylist()]


def test_every_row_comes_once(shop_gateway: Gateway, look: Callable[[], Extract]) -> None:
    fill_shop(shop_gateway, clientes=2_300, produtos=3, pedidos=7)
    extract = look()
    keys = [int(str(row["id_cliente"])) for row in rows_of(extract, "clientes")]
    assert sorted(keys) == list(range(1, 2_301))
    assert extract.count("clientes") == 2_300


def test_a_page_ends_at_its_bytes_whatever_its_first_row_was_like(
    shop_gateway: Gateway, look: Callable[[], Extract]
) -> None:
    shop_gateway.sql(
        "insert into produtos (id_produto, nome_produto) "
        "select n, case when n > 1 then repeat('x', 10000) end from generate_series(1, 200) n"
    )
    pages = list(look().pages("produtos", EXTRACT_ROWS, 100_000))
    keys = [int(key) for page in pages for key in page.column("id_produto").to_pylist()]
    assert sorted(keys) == list(range(1, 201))
    assert max(page.nbytes for page in pages) <= 210_000


def test_values_are_text_exactly_as_the_source_has_them(shop_gateway: Gateway, look: Callable[[], Extract]) -> None:
    shop_gateway.sql(
        "insert into produtos values (9007199254740993, 'a \"b\" \\c' || chr(10) || 'ção', '', 0.10, null), "
        "(2, null, '{x},y', 1234567890123456789.123456789012345678, -1)"
    )
    found = {row["id_produto"]: row for row in rows_of(look(), "produtos")}
    assert found["9007199254740993"] == {
        "id_produto": "9007199254740993",
        "nome_produto": 'a "b" \\c\nção',
        "categoria": "",
        "preco": "0.10",
        "estoque": None,
    }
    assert found["2"]["preco"] == "1234567890123456789.123456789012345678"
    assert found["2"]["nome_produto"] is None


def test_dates_times_and_documents_come_as_the_source_prints_them(
    shop_gateway: Gateway, look: Callable[[], Extract]
) -> None:
    shop_gateway.sql("alter table pedidos add quando timestamp, add dados jsonb, add pago boolean")
    shop_gateway.sql(
        "insert into pedidos values (1, 1, 1, 1, 'x', 1.50, '2024-02-29', '2024-01-01 10:00:00', '{\"a\": 1.0}', true)"
    )
    (row,) = rows_of(look(), "pedidos")
    assert [row[name] for name in ("data_pedido", "quando", "dados")] == [
        *("2024-02-29", "2024-01-01 10:00:00", '{"a": 1.0}')
    ]
    assert row["pago"] == "true"


def test_types_say_which_columns_are_numbers(shop_gateway: Gateway, look: Callable[[], Extract]) -> None:
    shop_gateway.sql("alter table produtos add a real, add b double precision, add c smallint, add d boolean")
    shop_gateway.sql("alter table produtos add e jsonb, add f uuid, add g varchar(9), add h date, add i json")
    shop_gateway.sql("insert into produtos (id_produto, preco) values (1, 1.5)")
    types = look().columns("produtos")
    assert list(types)[:5] == ["id_produto", "nome_produto", "categoria", "preco", "estoque"]
    assert {name for name, kind in types.items() if kind in NUMBERS} == {
        "id_produto",
        "preco",
        "estoque",
        "a",
        "b",
        "c",
    }


def test_a_key_called_id_works(shop_gateway: Gateway, look: Callable[[], Extract]) -> None:
    shop_gateway.sql("alter table clientes rename id_cliente to id")
    shop_gateway.sql("insert into clientes (id, nome) values (2, 'Bia'), (1, 'Ana')")
    assert sorted(str(row["id"]) for row in rows_of(look(), "clientes")) == ["1", "2"]


def test_keys_may_be_text_of_any_characters(shop_gateway: Gateway, look: Callable[[], Extract]) -> None:
    keys = ["10248-11", "ALFKI", "a b", "a,b", "(x)", 'q"q', "ção", "%20", "null", "a.b", "b\\c", "'"]
    with psycopg.connect(shop_gateway.database_url, autocommit=True) as connection:
        connection.execute("alter table clientes alter id_cliente type text")
        connection.cursor().executemany("insert into clientes (id_cliente) values (%s)", [(key,) for key in keys])
    shop_gateway.sql("select 1")
    shop_gateway.faults(max_rows=2)
    assert sorted(str(row["id_cliente"]) for row in rows_of(look(), "clientes")) == sorted(keys)


def test_columns_may_have_any_name(shop_gateway: Gateway, look: Callable[[], Extract]) -> None:
    names = ["Observação interna", "a.b", 'com "aspas"', "Maiúscula", "x,y"]
    for name in names:
        shop_gateway.sql(f"alter table clientes add \"{name.replace(chr(34), chr(34) * 2)}\" text default 'v'")
    shop_gateway.sql("insert into clientes (id_cliente) values (1)")
    (row,) = rows_of(look(), "clientes")
    assert [row[name] for name in names] == ["v"] * 5


def test_a_table_that_is_not_there_is_named(shop_gateway: Gateway, look: Callable[[], Extract]) -> None:
    shop_gateway.sql("drop table pedidos")
    extract = look()
    with pytest.raises(SourceError, match="pedidos"):
        extract.columns("pedidos")
    assert extract.count("clientes") == 0


def test_rows_that_come_while_it_is_read_wait_for_the_next_look(
    shop_gateway: Gateway, look: Callable[[], Extract]
) -> None:
    fill_shop(shop_gateway, clientes=30, produtos=3, pedidos=9)
    extract = look()
    extract.columns("clientes")  # a transaction sees the moment of its first question
    shop_gateway.sql("insert into clientes (id_cliente) values (31), (32)")
    assert len(rows_of(extract, "clientes")) == 30
    assert extract.count("clientes") == 30


def test_decimals_are_exact_to_the_last_digit(shop_gateway: Gateway, look: Callable[[], Extract]) -> None:
    shop_gateway.sql("insert into produtos select n, 'p', 'c', n + 0.1, 1 from generate_series(1, 300) n")
    total = sum(Decimal(str(row["preco"])) for row in rows_of(look(), "produtos"))
    assert total == Decimal("45180.0")
