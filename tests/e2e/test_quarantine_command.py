"""``medallion quarantine``: what is refused and why, the rows as the source had them, and all of it as a file."""

import csv
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from elt.cli import medallion
from elt.quarantine import reasons_of
from tests.shops import Row, write_shop

Invoke = Callable[..., str]

CLIENTES: list[Row] = [
    {},
    {"id_cliente": "2", "idade": "trinta"},
    {"id_cliente": "3", "idade": "quarenta", "email": "D'Ávila"},
]
PEDIDOS: list[Row] = [
    {},
    {"id_pedido": "101", "valor_total": "a; combinar", "data_pedido": None},
    {"id_pedido": "102", "valor_total": "1.500"},
    {"id_pedido": "103", "valor_total": None},
    {"id_pedido": "104", "id_cliente": "77"},
    {"id_pedido": "105", "id_cliente": "88"},
]


@pytest.fixture
def invoke(new_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs ``medallion`` over a lakehouse that has looked at a dirty shop; answers standard output."""
    monkeypatch.setenv("LAKEHOUSE_DB_URL", new_database())
    monkeypatch.setenv("SOURCE_FILES", str(tmp_path / "shop"))
    write_shop(tmp_path / "shop", clientes=CLIENTES, pedidos=PEDIDOS)

    def run(*arguments: str) -> str:
        answer = CliRunner().invoke(medallion, arguments, catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    run("run")
    return run


def document(text: str) -> Any:
    return json.loads(text)


def test_list_counts_by_table_and_reason_and_not_by_value(invoke: Invoke) -> None:
    found = document(invoke("quarantine", "list", "--json"))

    assert (found["rows"], found["values"]) == (5, 3)
    counted = {(group["table"], group["reason"]): group["count"] for group in found["reasons"]}
    assert counted == {
        ("pedidos", "id_cliente: não existe em silver.clientes"): 2,
        ("pedidos", "valor_total: não é um número"): 1,
        ("pedidos", "valor_total: número ambíguo"): 1,
        ("pedidos", "valor_total: em branco"): 1,
        ("pedidos", "data_pedido: em branco"): 1,
        ("clientes", "idade: não é um número"): 2,
        ("clientes", "email: não é um e-mail"): 1,
    }


def test_list_gives_an_example_of_each_reason(invoke: Invoke) -> None:
    groups = document(invoke("quarantine", "list", "--json"))["reasons"]

    ambiguous = next(group for group in groups if group["reason"] == "valor_total: número ambíguo")
    assert ambiguous["example_key"] == "102"
    assert "'1.500'" in ambiguous["example"]


def test_list_for_people_names_a_row_to_look_at(invoke: Invoke) -> None:
    text = invoke("quarantine", "list")

    assert "5 rows refused, by reason:" in text
    assert "id_cliente: não existe em silver.clientes" in text
    assert "one of them: medallion quarantine show pedidos 10" in text


@pytest.mark.parametrize(
    ("motivo", "reasons"),
    [
        ("idade: idade fora de 0 a 130: '200'", ["idade: idade fora de 0 a 130"]),
        ("email: não é um e-mail: 'a; nome b'", ["email: não é um e-mail"]),
        ("nome: texto com caracteres de controle (arquivo corrompido?)",) * 2,
        ("chave repetida com valores diferentes", ["chave repetida com valores diferentes"]),
        ("linha que não cabe no cabeçalho: 1;2; nome: x", ["linha que não cabe no cabeçalho"]),
        ("o banco de dados recusou a linha: writing: value 'x'", ["o banco de dados recusou a linha"]),
        ("preco: em branco; estoque: não é um número: ''", ["preco: em branco", "estoque: não é um número"]),
    ],
)
def test_a_reason_is_its_column_and_kind(motivo: str, reasons: list[str] | str) -> None:
    assert reasons_of(motivo) == ([reasons] if isinstance(reasons, str) else reasons)


def test_show_gives_the_row_as_the_source_had_it(invoke: Invoke) -> None:
    (row,) = document(invoke("quarantine", "show", "pedidos", "101", "--json"))["rows"]

    assert row["motivo"] == "valor_total: não é um número: 'a; combinar'; data_pedido: em branco"
    assert list(row["linha"].items()) == [
        ("id_pedido", "101"),
        ("id_cliente", "1"),
        ("id_produto", "10"),
        ("quantidade", "2"),
        ("status", "pago"),
        ("valor_total", "a; combinar"),
        ("data_pedido", None),
    ]


def test_show_says_since_when_even_after_another_run_refused_the_row_again(invoke: Invoke, tmp_path: Path) -> None:
    before = document(invoke("quarantine", "show", "pedidos", "103", "--json"))["rows"][0]
    write_shop(tmp_path / "shop", clientes=CLIENTES, pedidos=[*PEDIDOS, {"id_pedido": "106"}])
    invoke("run")

    after = document(invoke("quarantine", "show", "pedidos", "103", "--json"))["rows"][0]

    assert after["desde"] == before["desde"]
    assert after["snapshot"] > before["snapshot"]


def test_show_gives_the_values_that_became_null(invoke: Invoke) -> None:
    found = document(invoke("quarantine", "show", "clientes", "3", "--json"))

    assert found["rows"] == []
    assert {(value["coluna"], value["valor"]) for value in found["values"]} == {
        ("idade", "quarenta"),
        ("email", "D'Ávila"),
    }


def test_show_of_a_whole_table_says_how_much_it_left_out(invoke: Invoke) -> None:
    assert "2 of 5 rows and 0 of 0 values shown" in invoke("quarantine", "show", "pedidos", "--limit", "2")


def test_show_of_a_key_that_is_not_there_says_so(invoke: Invoke) -> None:
    assert invoke("quarantine", "show", "pedidos", "100") == "nothing of pedidos 100 is in quarantine\n"


def test_show_never_lets_a_value_steer_the_terminal(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", pedidos=[{"valor_total": "\x1b[2J[bold]"}])
    invoke("run")

    for text in (invoke("quarantine", "show", "pedidos"), invoke("show", "rejeitados")):
        assert "\x1b" not in text
        assert "␛[2J[bold]" in text


def test_export_writes_rows_and_values_as_csv(invoke: Invoke, tmp_path: Path) -> None:
    output = tmp_path / "quarantine.csv"

    assert invoke("quarantine", "export", "--output", str(output)) == f"8 entries written to {output}\n"

    with output.open(encoding="utf-8", newline="") as file:
        entries = list(csv.DictReader(file))
    assert [entry["tipo"] for entry in entries] == ["linha"] * 5 + ["valor"] * 3
    rows = {entry["chave"]: json.loads(entry["linha"]) for entry in entries if entry["tipo"] == "linha"}
    assert rows["101"]["valor_total"] == "a; combinar"
    assert {entry["valor"] for entry in entries if entry["tipo"] == "valor"} == {"trinta", "quarenta", "D'Ávila"}
    assert list(tmp_path.glob(".quarantine*")) == []


def test_export_writes_the_same_as_json(invoke: Invoke) -> None:
    entries = document(invoke("quarantine", "export", "--format", "json"))

    assert [entry["tipo"] for entry in entries] == ["linha"] * 5 + ["valor"] * 3
    assert next(entry for entry in entries if entry["chave"] == "103")["linha"]["valor_total"] is None


def test_an_export_of_nothing_is_a_whole_file(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", clientes=[{"id_cliente": key} for key in "123"])
    invoke("run")

    assert invoke("quarantine", "export").startswith("tipo,tabela,chave,")
    assert document(invoke("quarantine", "export", "--format", "json")) == []


def test_an_export_takes_the_memory_of_a_page(new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    url = new_database()
    monkeypatch.setenv("LAKEHOUSE_DB_URL", url)
    rows, bytes_each = 12_000, 1_000
    with psycopg.connect(url) as connection:
        connection.execute(
            """
            insert into silver.rejeitados (id, tabela, chave, motivo, linha, snapshot)
            select md5(n::text), 'pedidos', n::text, 'm', jsonb_build_object('id_pedido', repeat('x', %s)), 's'
            from generate_series(1, %s) as n
            """,
            (bytes_each, rows),
        )
    tracemalloc.start()
    try:
        CliRunner().invoke(medallion, ["quarantine", "export", "--output", "all.csv"], catch_exceptions=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = Path("all.csv").stat().st_size

    assert size > rows * bytes_each
    assert peak < size / 2
