"""What every ``Tables`` does, whatever is behind it."""

from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa
import pytest

from elt.errors import Missing
from elt.frames import arrow_schema
from elt.lakehouse.ports import Lakehouse, Tables, Within
from elt.silver.clientes import CLIENTES
from elt.silver.pedidos import PEDIDOS
from elt.silver.produtos import PRODUTOS
from tests.contract.conftest import HOSTED, lakehouse_over
from tests.shops import rows_of
from tests.staging import write

KEY = pa.schema([("id", pa.string())])


@pytest.fixture(params=["embedded", "oldest", *HOSTED])
def any_lakehouse(request: pytest.FixtureRequest) -> Iterator[Lakehouse]:
    yield from lakehouse_over(request)


@pytest.fixture
def tables(any_lakehouse: Lakehouse) -> Tables:
    return any_lakehouse.tables


def clientes(*keys: str, **columns: object) -> pa.Table:
    """Rows of ``silver.clientes`` with these keys; a column is one value for all of them, or a list."""
    values = {"nome": "Ana", "email": None, "telefone": None, "cidade": "São Paulo", "idade": 34, **columns}
    lists = {name: value if isinstance(value, list) else [value] * len(keys) for name, value in values.items()}
    return pa.table({"id": list(keys), **lists}, schema=arrow_schema(CLIENTES.silver_types))


def many(count: int, prefix: str = "k") -> list[str]:
    return [f"{prefix}{number:06d}" for number in range(count)]


def stamps(tables: Tables) -> dict[str, str]:
    """When each row of ``silver.clientes`` was last written."""
    schema = pa.schema([("id", pa.string()), ("data_ingestao", pa.string())])
    return dict(rows_of(Lakehouse(tables, None, ""), "silver.clientes", schema, "id"))  # type: ignore[arg-type]


def read(tables: Tables, name: str, schema: pa.Schema, within: Within | None = None) -> list[tuple[object, ...]]:
    pages = tables.pages(name, schema, key=str(schema.names[0]), size=500, within=within)
    frames = [page.astype(object).where(page.notna(), None) for page in pages]
    return [row for frame in frames for row in frame.itertuples(index=False, name=None)]


def test_pages_give_every_row_once_in_key_order(tables: Tables) -> None:
    keys = many(2_350)
    write(tables, "clientes", clientes(*reversed(keys)))
    assert [key for (key,) in read(tables, "silver.clientes", KEY)] == keys


def test_a_page_is_at_most_as_long_as_asked(tables: Tables) -> None:
    write(tables, "clientes", clientes(*many(25)))
    assert max(len(page) for page in tables.pages("silver.clientes", KEY, key="id", size=7)) == 7


def test_an_empty_table_has_no_pages(tables: Tables) -> None:
    assert list(tables.pages("silver.clientes", KEY, key="id", size=10)) == []


def test_values_come_back_as_they_were_written(tables: Tables) -> None:
    texts = ["", "a,b", 'aspas "duplas"', "barra \\ e \\n", "linha\nnova", "São João ☕", "null", "{}", "'", " a "]
    rows = clientes(*many(len(texts)), nome=texts, idade=[0, None, *range(len(texts) - 2)])
    write(tables, "clientes", rows)
    found = read(tables, "silver.clientes", arrow_schema(CLIENTES.silver_types))
    assert [row[1] for row in found] == texts
    assert [row[5] for row in found] == [0, None, *range(len(texts) - 2)]


def test_money_and_dates_are_exact(tables: Tables) -> None:
    amounts = ["0.10", "1234567890.12345678901234567890", "-5.899", "168"]
    product = [["p"], ["Café"], [None], pa.array([Decimal("1.10")], pa.decimal128(38, 20)), [1]]
    write(tables, "produtos", pa.table(product, schema=arrow_schema(PRODUTOS.silver_types)))
    write(tables, "clientes", clientes("c"))
    money = pa.array([Decimal(amount) for amount in amounts], pa.decimal128(38, 20))
    dates = pa.array(["2024-02-29", "1999-12-31", "2026-01-01", None]).cast(pa.date32())
    orders = [many(4), ["c"] * 4, ["p"] * 4, [1] * 4, ["Pago"] * 4, money, dates]
    write(tables, "pedidos", pa.table(orders, schema=arrow_schema(PEDIDOS.silver_types)))
    found = read(tables, "silver.pedidos", arrow_schema(PEDIDOS.silver_types))
    assert [row[5] for row in found] == [Decimal(amount) for amount in amounts]
    assert [str(row[6]) for row in found] == ["2024-02-29", "1999-12-31", "2026-01-01", "None"]


def test_new_changed_and_equal_rows_are_counted(tables: Tables) -> None:
    assert write(tables, "clientes", clientes("1", "2", "3"))["written"] == 3
    counts = write(tables, "clientes", clientes("2", "3", "4", "5", nome=["Ana", "Bia", "Ana", "Ana"]))
    assert (counts["written"], counts["unchanged"]) == (3, 1)


def test_an_equal_row_is_not_written_again(tables: Tables) -> None:
    write(tables, "clientes", clientes("1", "2"))
    before = stamps(tables)
    write(tables, "clientes", clientes("1", "2", nome=["Ana", "Bia"]))
    after = stamps(tables)
    assert after["1"] == before["1"]
    assert after["2"] > before["2"]


def test_rows_are_staged_in_requests_of_at_most_so_many_rows_and_bytes(tables: Tables) -> None:
    counts = write(tables, "clientes", clientes(*many(23_000)))
    assert counts["written"] == 23_000
    large = clientes(*many(30, prefix="g"), nome=["x" * 2**20] * 30)
    assert write(tables, "clientes", large)["written"] == 30
    assert tables.count("silver.clientes") == 23_030


def test_a_row_that_the_server_refuses_has_its_words_about_it_as_its_reason(tables: Tables) -> None:
    orphan = pa.table({"id": ["1"], "id_cliente": ["Ana"]})
    assert write(tables, "pedidos", orphan)["quarantined"] == 1
    (row,) = read(tables, "silver.rejeitados", pa.schema([(name, pa.string()) for name in ("id", "chave", "motivo")]))
    assert row[1:] == ("1", "id_cliente: 'Ana' não existe em silver.clientes")


def test_the_same_key_twice_with_different_contents_is_a_conflict(tables: Tables) -> None:
    counts = write(tables, "clientes", clientes("1", "1", "2", "2", nome=["Ana", "Bia", "Caio", "Caio"]))
    assert (counts["quarantined"], counts["repeated"], counts["written"]) == (2, 1, 1)


def test_a_filter_takes_values_of_any_characters(tables: Tables) -> None:
    keys = ["a,b", "a(b)", 'a"b', "a\\b", "a b", "a'b", "á&=?#%", "a.b:c", "null", "{x}"]
    write(tables, "clientes", clientes(*keys, "other"))
    found = read(tables, "silver.clientes", KEY, Within("id", keys))
    assert sorted(str(key) for (key,) in found) == sorted(keys)


def test_a_filter_takes_many_values_once_each(tables: Tables) -> None:
    keys = many(1_500, prefix="00000000-0000-4000-8000-")
    write(tables, "clientes", clientes(*keys))
    found = read(tables, "silver.clientes", KEY, Within("id", [*keys[10:], *keys[10:20], "absent"]))
    assert sorted(str(key) for (key,) in found) == keys[10:]


def test_counts_are_exact(tables: Tables) -> None:
    write(tables, "clientes", clientes(*many(1_200)))
    assert tables.count("silver.clientes") == 1_200
    assert tables.count("silver.clientes", Within("id", ["k000001", "k000002", "absent"])) == 2


def test_functions_are_called_with_named_arguments(tables: Tables) -> None:
    assert tables.call("controle.arrendar", p_dono="eu", p_segundos=60, p_programa="0") == "eu"
    assert tables.call("controle.arrendar", p_dono="outro", p_segundos=60, p_programa="0") == "eu"
    assert tables.call("controle.devolver", p_dono="eu") in (None, "")


def test_functions_take_lists_documents_and_nulls(tables: Tables) -> None:
    counted = {"controle.versoes": {"p_tabelas": ["clientes", "a,b", '"c"']}}
    for function, arguments in counted.items():
        assert tables.call(function, **arguments) == {"clientes": 0, "a,b": 0, '"c"': 0}
    assert tables.call("controle.comecar_escrita", p_id="7a7c4a3e-5a56-4a35-9e0c-8b3f8d3a0c11") is None


def test_a_missing_table_is_missing(tables: Tables) -> None:
    with pytest.raises(Missing):
        tables.count("silver.nada")


def test_a_missing_column_is_missing(tables: Tables) -> None:
    with pytest.raises(Missing, match="nada"):
        list(tables.pages("silver.clientes", pa.schema([("nada", pa.string())]), key="nada", size=1))
    with pytest.raises(Missing, match="nada"):
        tables.stage("x", [("clientes", pa.table({"id": ["1"], "nada": ["x"]}))])
