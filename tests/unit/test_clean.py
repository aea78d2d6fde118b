"""Cleaning a batch: every row is clean or refused, never both and never neither, and nothing is lost on the way."""

import json
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elt.catalog import BROKEN_LINE, Table
from elt.frames import arrow_schema, to_frame
from elt.silver import TABLES
from elt.silver.clean import Cleaned, clean, lines, refusals, staged_refusals, staged_rows, staged_values, visible
from elt.silver.clientes import CLIENTES
from elt.silver.pedidos import PEDIDOS
from elt.silver.produtos import PRODUTOS
from tests.shops import CLIENTE, PEDIDO, PRODUTO, Row

STANDARD = {"clientes": CLIENTE, "produtos": PRODUTO, "pedidos": PEDIDO}


def batch(table: Table, *rows: Row, labels: Sequence[int] | None = None) -> pd.DataFrame:
    """Raw rows; a row says what differs from the standard one."""
    full = [{BROKEN_LINE: None, **STANDARD[table.name], **row} for row in rows]
    columns = {name: pa.array([row[name] for row in full], pa.string()) for name in (*table.column_names, BROKEN_LINE)}
    frame = to_frame(pa.table(columns))
    return frame if labels is None else frame.set_axis(list(labels))


def records(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {str(name): value for name, value in row.items()}
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records")
    ]


def reasons(cleaned: Cleaned) -> list[str]:
    return [str(reason) for reason in cleaned.rejected["motivo"]]


def test_a_good_row_comes_out_typed() -> None:
    cleaned = clean(PEDIDOS, batch(PEDIDOS, {}))
    assert records(cleaned.rows) == [
        {
            "id": "100",
            "id_cliente": "1",
            "id_produto": "10",
            "quantidade": 2,
            "status": "Pago",
            "valor_total": Decimal(25),
            "data_pedido": date(2024, 3, 5),
        }
    ]
    assert cleaned.rejected.empty
    assert cleaned.values.empty


def test_columns_have_the_types_of_the_catalog_even_without_rows() -> None:
    for table in TABLES:
        for rows in (batch(table), batch(table, {})):
            cleaned = clean(table, rows)
            assert pa.Schema.from_pandas(cleaned.rows, preserve_index=False).equals(arrow_schema(table.silver_types))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_required_column_that_is_blank_or_unreadable_refuses_the_row(table: Table) -> None:
    for column in table.columns:
        for raw, reason in ((None, "em branco"), ("  ", "em branco"), ("\x00?", None)):
            cleaned = clean(table, batch(table, {column.name: raw}))
            assert len(cleaned.rows) == (0 if column.required else 1)
            if column.required:
                (found,) = reasons(cleaned)
                assert found.startswith(f"{column.name}: {reason or ''}")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_an_optional_column_that_is_blank_is_null_and_unreadable_is_null_with_a_record(table: Table) -> None:
    optional = [
        (column, name) for column, name in zip(table.columns, table.silver_names, strict=True) if not column.required
    ]
    assert optional
    for column, name in optional:
        blank = clean(table, batch(table, {column.name: " "}))
        assert records(blank.rows)[0][name] is None
        assert blank.values.empty
        unreadable = clean(table, batch(table, {column.name: "\x00?"}))
        assert records(unreadable.rows)[0][name] is None
        (record,) = records(unreadable.values)
        assert record["chave"] == records(unreadable.rows)[0]["id"]
        assert record["coluna"] == column.name
        assert record["valor"] == "␀?"
        assert str(record["motivo"]).startswith(f"{column.name}: ")


def test_several_values_of_one_row_may_be_unreadable() -> None:
    cleaned = clean(CLIENTES, batch(CLIENTES, {"email": "não tem", "idade": "?", "telefone": "ramal 9"}, {}))
    assert len(cleaned.rows) == 2
    assert sorted(cleaned.values["coluna"]) == ["email", "idade", "telefone"]
    assert set(cleaned.values["chave"]) == {"1"}


def test_a_refused_row_tells_every_reason_and_leaves_no_record_of_single_values() -> None:
    cleaned = clean(PEDIDOS, batch(PEDIDOS, {"quantidade": "0", "valor_total": "grátis", "status": "\x07"}))
    (reason,) = reasons(cleaned)
    assert reason == "quantidade: quantidade deve ser maior que zero: '0'; valor_total: não é um número: 'grátis'"
    assert cleaned.values.empty


def test_a_line_that_fits_no_header_is_refused_with_its_text_and_nothing_else() -> None:
    blank = dict.fromkeys(PRODUTOS.column_names)
    cleaned = clean(PRODUTOS, batch(PRODUTOS, {**blank, BROKEN_LINE: "6 campos: 1,2,3,4,5,6"}))
    assert reasons(cleaned) == ["linha que não cabe no cabeçalho: 6 campos: 1,2,3,4,5,6"]
    assert records(cleaned.rejected)[0]["chave"] is None


def test_text_of_a_numeric_column_is_in_machine_notation() -> None:
    raw = batch(PRODUTOS, {"preco": "1.234"})
    assert reasons(clean(PRODUTOS, raw)) != []
    cleaned = clean(PRODUTOS, raw, frozenset(["preco"]))
    assert records(cleaned.rows)[0]["preco"] == Decimal("1.234")


def test_text_of_a_numeric_column_that_is_no_number_is_refused() -> None:
    cleaned = clean(PRODUTOS, batch(PRODUTOS, {"preco": "R$ 1,00"}, {"preco": "NaN"}), frozenset(["preco"]))
    assert [reason.startswith("preco: não é um número") for reason in reasons(cleaned)] == [True, True]


RAW = (
    st.none() | st.sampled_from(["", " ", "1", "2", "12,50", "1.234", "31/02/2025", "2024-03-05", "x\x00"]) | st.text()
)


@settings(max_examples=40)
@given(st.data())
def test_every_row_is_clean_or_refused_and_keeps_its_label(data: st.DataObject) -> None:
    table = data.draw(st.sampled_from(TABLES))
    row = st.fixed_dictionaries({}, optional=dict.fromkeys((*table.column_names, BROKEN_LINE), RAW))
    rows = data.draw(st.lists(row, max_size=6))
    labels = data.draw(st.permutations(range(len(rows))))
    cleaned = clean(
        table,
        batch(table, *rows, labels=labels),
        data.draw(st.sampled_from([frozenset(), frozenset(table.column_names)])),
    )
    assert sorted([*cleaned.rows.index, *cleaned.rejected.index]) == sorted(labels)
    assert set(cleaned.values.index) <= set(cleaned.rows.index)
    required = [name for name, column in zip(table.silver_names, table.columns, strict=True) if column.required]
    assert not cleaned.rows[required].isna().any(axis=None)
    assert all(reason for reason in reasons(cleaned))


@settings(max_examples=40)
@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(CLIENTES.column_names, RAW)), max_size=5))
def test_the_quarantine_holds_each_refused_row_as_the_source_had_it(rows: list[Row]) -> None:
    raw = batch(CLIENTES, *rows)
    cleaned = clean(CLIENTES, raw)
    entries = staged_refusals(CLIENTES, raw, cleaned.rejected, np.arange(len(raw))).to_pylist()
    assert len(entries) == len(cleaned.rejected)
    for entry, label in zip(entries, cleaned.rejected.index, strict=True):
        line = json.loads(str(entry["linha"]))
        assert line == {
            name: value and visible(str(value)) for name, value in records(raw)[label].items() if name in line
        }
        assert set(line) == set(CLIENTES.column_names)
        assert "\x00" not in "".join(map(str, entry.values()))


def test_a_null_character_is_shown_as_a_symbol() -> None:
    raw = batch(PRODUTOS, {"preco": "\x00", "nome_produto": "a\x00b"})
    (entry,) = staged_refusals(PRODUTOS, raw, clean(PRODUTOS, raw).rejected, np.arange(1)).to_pylist()
    assert json.loads(str(entry["linha"]))["nome_produto"] == "a␀b"
    assert entry["motivo"] == "preco: não é um número: '␀'"


def test_what_is_staged_has_its_place_and_the_fingerprint_of_that_place() -> None:
    raw = batch(CLIENTES, {}, {"id_cliente": None}, {"id_cliente": "3", "idade": "?"}, labels=[4, 7, 9])
    cleaned, prints = clean(CLIENTES, raw), np.arange(100, 110)
    rows = staged_rows(cleaned.rows, prints)
    assert rows.schema.names == [*CLIENTES.silver_names, "lugar", "impressao"]
    assert rows.select(["lugar", "impressao"]).to_pylist() == [
        {"lugar": 4, "impressao": 104},
        {"lugar": 9, "impressao": 109},
    ]
    (refused,) = staged_refusals(CLIENTES, raw, cleaned.rejected, prints).to_pylist()
    assert (refused["tabela"], refused["lugar"], refused["impressao"], refused["chave"]) == ("clientes", 7, 107, None)
    (value,) = staged_values(CLIENTES, cleaned.values).to_pylist()
    assert (value["tabela"], value["lugar"], value["chave"], value["coluna"]) == ("clientes", 9, "3", "idade")


def test_the_text_of_a_row_is_the_same_whoever_refuses_it() -> None:
    raw = batch(PRODUTOS, {"preco": "?"}, labels=[3])
    refused = staged_refusals(PRODUTOS, raw, clean(PRODUTOS, raw).rejected, np.arange(4))
    assert lines(PRODUTOS, raw).to_pylist() == refused.select(["tabela", "lugar", "linha"]).to_pylist()


def test_refusals_name_the_key_of_each_row() -> None:
    keys = pd.Series(["a", None], index=[5, 6], dtype=pd.ArrowDtype(pa.string()))
    assert records(refusals(keys, {6: "sem chave", 5: "outra"})) == [
        {"chave": None, "motivo": "sem chave"},
        {"chave": "a", "motivo": "outra"},
    ]
