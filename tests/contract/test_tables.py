"""What every ``Tables`` does, whatever is behind it."""

import traceback
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from elt.catalog import ANALISE_PRODUTOS, REJEITADOS
from elt.errors import Missing, Rejected
from elt.frames import arrow_schema, to_frame
from elt.lakehouse.batches import upsert_all, upsert_in_batches
from elt.lakehouse.ports import Lakehouse, Tables, Within, Written
from elt.silver.clientes import CLIENTES
from elt.silver.pedidos import PEDIDOS
from elt.silver.produtos import PRODUTOS
from tests.shops import rows_of

KEY = pa.schema([("id", pa.string())])
REFUSED = arrow_schema(REJEITADOS)


@pytest.fixture
def tables(any_lakehouse: Lakehouse) -> Tables:
    return any_lakehouse.tables


def clientes(*keys: str, **columns: object) -> pd.DataFrame:
    """Rows of ``silver.clientes`` with these keys; a column is one value for all of them, or a list."""
    values = {"nome": "Ana", "email": None, "telefone": None, "cidade": "São Paulo", "idade": 34, **columns}
    return pd.DataFrame({"id": list(keys), **values}).convert_dtypes(dtype_backend="pyarrow")


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
    tables.upsert("silver.clientes", clientes(*reversed(keys)), key="id")
    assert [key for (key,) in read(tables, "silver.clientes", KEY)] == keys


def test_a_page_is_at_most_as_long_as_asked(tables: Tables) -> None:
    tables.upsert("silver.clientes", clientes(*many(25)), key="id")
    assert max(len(page) for page in tables.pages("silver.clientes", KEY, key="id", size=7)) == 7


def test_an_empty_table_has_no_pages(tables: Tables) -> None:
    assert list(tables.pages("silver.clientes", KEY, key="id", size=10)) == []


def test_values_come_back_as_they_were_written(tables: Tables) -> None:
    texts = ["", "a,b", 'aspas "duplas"', "barra \\ e \\n", "linha\nnova", "São João ☕", "null", "{}", "'", " a "]
    rows = clientes(*many(len(texts)), nome=texts, idade=[0, None, *range(len(texts) - 2)])
    tables.upsert("silver.clientes", rows, key="id")
    found = read(tables, "silver.clientes", arrow_schema(CLIENTES.silver_types))
    assert [row[1] for row in found] == texts
    assert [row[5] for row in found] == [0, None, *range(len(texts) - 2)]


def test_money_and_dates_are_exact(tables: Tables) -> None:
    amounts = ["0.10", "1234567890.12345678901234567890", "-5.899", "168"]
    product = to_frame(
        pa.table(
            [["p"], ["Café"], [None], pa.array([Decimal("1.10")], pa.decimal128(38, 20)), [1]],
            schema=arrow_schema(PRODUTOS.silver_types),
        )
    )
    tables.upsert("silver.produtos", product, key="id")
    tables.upsert("silver.clientes", clientes("c"), key="id")
    orders = pa.table(
        [
            many(4),
            ["c"] * 4,
            ["p"] * 4,
            [1] * 4,
            ["Pago"] * 4,
            pa.array([Decimal(amount) for amount in amounts], pa.decimal128(38, 20)),
            pa.array(["2024-02-29", "1999-12-31", "2026-01-01", None]).cast(pa.date32()),
        ],
        schema=arrow_schema(PEDIDOS.silver_types),
    )
    tables.upsert("silver.pedidos", to_frame(orders), key="id")
    found = read(tables, "silver.pedidos", arrow_schema(PEDIDOS.silver_types))
    assert [row[5] for row in found] == [Decimal(amount) for amount in amounts]
    assert [str(row[6]) for row in found] == ["2024-02-29", "1999-12-31", "2026-01-01", "None"]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_every_missing_value_becomes_null(tables: Tables, missing: object) -> None:
    rows = pd.DataFrame({"id": ["1", "2"], "nome": [missing, "Ana"], "idade": [missing, 3]}, dtype=object)
    tables.upsert("silver.clientes", rows, key="id")
    schema = pa.schema([("id", pa.string()), ("nome", pa.string()), ("idade", pa.int64())])
    assert read(tables, "silver.clientes", schema) == [("1", None, None), ("2", "Ana", 3)]


def test_numbers_with_gaps_are_written_as_numbers(tables: Tables) -> None:
    rows = pd.DataFrame({"id": ["1", "2"], "idade": [3.0, np.nan]})  # what pandas makes of integers with a gap
    tables.upsert("silver.clientes", rows, key="id")
    assert read(tables, "silver.clientes", pa.schema([("id", pa.string()), ("idade", pa.int64())])) == [
        ("1", 3),
        ("2", None),
    ]


def test_an_upsert_counts_new_changed_and_equal_rows(tables: Tables) -> None:
    assert tables.upsert("silver.clientes", clientes("1", "2", "3"), key="id") == Written(inserted=3)
    second = clientes("2", "3", "4", "5", nome=["Ana", "Bia", "Ana", "Ana"])
    assert tables.upsert("silver.clientes", second, key="id") == Written(inserted=2, updated=1, unchanged=1)


def test_an_equal_row_is_not_written_again(tables: Tables) -> None:
    tables.upsert("silver.clientes", clientes("1", "2"), key="id")
    before = stamps(tables)
    tables.upsert("silver.clientes", clientes("1", "2", nome=["Ana", "Bia"]), key="id")
    after = stamps(tables)
    assert after["1"] == before["1"]
    assert after["2"] > before["2"]


def test_an_analysis_that_did_not_change_is_unchanged(tables: Tables) -> None:
    row = pa.table(
        [["p"], ["Café"], [None], [3], pa.array([Decimal("7.50")], pa.decimal128(38, 20)), [1]],
        schema=arrow_schema(ANALISE_PRODUTOS.types),
    )
    tables.upsert(ANALISE_PRODUTOS.gold, to_frame(row), key="id_produto")
    assert tables.upsert(ANALISE_PRODUTOS.gold, to_frame(row), key="id_produto") == Written(unchanged=1)


def test_a_quarantined_row_that_did_not_change_is_unchanged(tables: Tables) -> None:
    row = pa.table(
        [["a"], ["pedidos"], [None], ["id: em branco"], ['{"id": null, "n": 1.50}'], ["s"]],
        schema=REFUSED,
    )
    tables.upsert("silver.rejeitados", to_frame(row), key="id")
    assert tables.upsert("silver.rejeitados", to_frame(row), key="id") == Written(unchanged=1)


def test_json_is_stored_as_json(tables: Tables) -> None:
    row = pa.table(
        [["a"], ["pedidos"], [None], ["id: em branco"], ['{"a": null, "b": "x"}'], ["s"]],
        schema=REFUSED,
    )
    tables.upsert("silver.rejeitados", to_frame(row), key="id")
    assert read(tables, "silver.rejeitados", REFUSED)[0][4] == '{"a": null, "b": "x"}'


def test_columns_that_are_not_given_keep_their_value(tables: Tables) -> None:
    tables.upsert("silver.clientes", clientes("1", email="ana@exemplo.com.br"), key="id")
    tables.upsert("silver.clientes", pd.DataFrame({"id": ["1", "2"], "nome": ["Bia", "Rui"]}), key="id")
    found = read(tables, "silver.clientes", arrow_schema(CLIENTES.silver_types))
    assert found[0][:3] == ("1", "Bia", "ana@exemplo.com.br")
    assert found[1][:3] == ("2", "Rui", None)


def test_an_upsert_of_nothing_does_nothing(tables: Tables) -> None:
    assert tables.upsert("silver.clientes", clientes(), key="id") == Written()


def test_what_the_server_says_of_a_row_it_refuses_is_no_part_of_the_message(tables: Tables) -> None:
    orphan = pd.DataFrame({"id": ["1"], "id_cliente": ["Ana"], "id_produto": ["10"]})
    with pytest.raises(Rejected, match="violates foreign key constraint") as caught:
        tables.upsert("silver.pedidos", orphan, key="id")
    assert "Ana" not in caught.value.what
    assert "Ana" not in "".join(traceback.format_exception(caught.value))
    assert "(id_cliente)=(Ana)" in caught.value.detail


def test_a_refused_row_of_the_pipelines_own_is_an_error_without_the_row(tables: Tables) -> None:
    orphan = pd.DataFrame({"id": ["1"], "id_cliente": ["Ana"], "id_produto": ["10"]})
    with pytest.raises(Rejected, match="violates foreign key constraint") as caught:
        upsert_all(tables, "silver.pedidos", orphan)
    assert "Ana" not in caught.value.what


def test_a_refused_row_of_the_shop_has_the_servers_words_about_it_as_its_reason(tables: Tables) -> None:
    orphan = pd.DataFrame({"id": ["1"], "id_cliente": ["Ana"], "id_produto": ["10"]})
    _, refused = upsert_in_batches(tables, "silver.pedidos", orphan)
    (reason,) = refused.values()
    assert reason.startswith("o banco de dados recusou a linha: ")
    assert "(id_cliente)=(Ana)" in reason


def test_a_batch_with_one_bad_row_leaves_nothing_behind(tables: Tables) -> None:
    orders = pd.DataFrame({"id": ["1", "2"], "id_cliente": [None, "ninguém"]})
    with pytest.raises(Rejected, match="foreign key"):
        tables.upsert("silver.pedidos", orders, key="id")
    assert tables.count("silver.pedidos") == 0


def test_the_same_key_twice_in_a_batch_is_refused(tables: Tables) -> None:
    with pytest.raises(Rejected, match="second time"):
        tables.upsert("silver.clientes", clientes("1", "1"), key="id")


def test_a_filter_takes_values_of_any_characters(tables: Tables) -> None:
    keys = ["a,b", "a(b)", 'a"b', "a\\b", "a b", "a'b", "á&=?#%", "a.b:c", "null", "{x}"]
    tables.upsert("silver.clientes", clientes(*keys, "other"), key="id")
    found = read(tables, "silver.clientes", KEY, Within("id", keys))
    assert sorted(str(key) for (key,) in found) == sorted(keys)


def test_a_filter_takes_many_values_once_each(tables: Tables) -> None:
    keys = many(1_500, prefix="00000000-0000-4000-8000-")
    tables.upsert("silver.clientes", clientes(*keys), key="id")
    found = read(tables, "silver.clientes", KEY, Within("id", [*keys[10:], *keys[10:20], "absent"]))
    assert sorted(str(key) for (key,) in found) == keys[10:]


def test_counts_are_exact(tables: Tables) -> None:
    tables.upsert("silver.clientes", clientes(*many(1_200)), key="id")
    assert tables.count("silver.clientes") == 1_200
    assert tables.count("silver.clientes", Within("id", ["k000001", "k000002", "absent"])) == 2


def test_delete_removes_what_matches_and_says_how_much(tables: Tables) -> None:
    tables.upsert("silver.clientes", clientes(*many(6), cidade=["A", "A", "A", "B", "B", "B"]), key="id")
    assert tables.delete("silver.clientes", Within("cidade", ["A", "C"])) == 3
    assert [key for (key,) in read(tables, "silver.clientes", KEY)] == ["k000003", "k000004", "k000005"]
    assert tables.delete("silver.clientes", Within("id", [])) == 0


def test_delete_takes_many_values(tables: Tables) -> None:
    keys = many(1_500, prefix="00000000-0000-4000-8000-")
    tables.upsert("silver.clientes", clientes(*keys, "stays"), key="id")
    assert tables.delete("silver.clientes", Within("id", keys)) == 1_500
    assert tables.count("silver.clientes") == 1


def test_functions_are_called_with_named_arguments(tables: Tables) -> None:
    assert tables.call("controle.arrendar", p_dono="eu", p_segundos=60, p_programa="0") == "eu"
    assert tables.call("controle.arrendar", p_dono="outro", p_segundos=60, p_programa="0") == "eu"
    assert tables.call("controle.devolver", p_dono="eu") in (None, "")


def test_functions_take_lists_documents_and_nulls(tables: Tables) -> None:
    tables.call("controle.marcar", p_analise="a", p_chaves=["1", "2,3", '"4"'])
    assert tables.count("controle.pendencias", Within("chave", ["1", "2,3", '"4"'])) == 3
    tables.call("controle.abrir_execucao", p_id="x", p_execucao="r", p_camada="gold", p_snapshot=None)
    assert tables.call("controle.comecar_escrita", p_id="7a7c4a3e-5a56-4a35-9e0c-8b3f8d3a0c11") is None


def test_a_missing_table_is_missing(tables: Tables) -> None:
    with pytest.raises(Missing):
        tables.count("silver.nada")


def test_a_missing_column_is_missing(tables: Tables) -> None:
    with pytest.raises(Missing, match="nada"):
        list(tables.pages("silver.clientes", pa.schema([("nada", pa.string())]), key="nada", size=1))
    with pytest.raises(Missing, match="nada"):
        tables.upsert("silver.clientes", pd.DataFrame({"id": ["1"], "nada": ["x"]}), key="id")
