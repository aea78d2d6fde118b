"""A number reaches a person as people write it: never as Python, Arrow or a machine does."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from elt.cli import medallion
from tests.shops import write_shop

Invoke = Callable[..., str]
OF_A_MACHINE = re.compile(r"Decimal\(|datetime\.|None|\d[eE][+-]\d|\b\d\.\d*[1-9]0{4}")
COMMANDS = (
    *("show produtos", "show pedidos", "show analise_produtos", "show analise_clientes_pedidos", "show rejeitados"),
    *("trace produtos 10", "trace produtos 11", "trace pedidos 100", "trace pedidos 101"),
    *("quarantine show pedidos", "quarantine list", "status"),
)


@pytest.fixture
def invoke(lakehouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs ``medallion`` over a shop with zeros, tiny prices and round thousands, in text and in exact types."""
    monkeypatch.setenv("LAKEHOUSE_DB_URL", lakehouse_url)
    monkeypatch.setenv("SOURCE_FILES", str(tmp_path / "shop"))
    prices = ("0", "0,0000001", "1e+3", "12,50")
    write_shop(tmp_path / "shop", produtos=[{"id_produto": str(10 + n), "preco": p} for n, p in enumerate(prices)])
    (tmp_path / "shop" / "pedidos.csv").unlink()
    texts = {"id_pedido": ["100", "101", "102"], "id_cliente": ["1"] * 3, "id_produto": ["10"] * 3}
    numbers = {"quantidade": [1, 0, 2], "valor_total": [0, 1, 10**13], "status": [0, 0, 0]}
    exact = {name: pa.array(map(Decimal, values), pa.decimal128(38, 20)) for name, values in numbers.items()}
    pq.write_table(pa.table({**texts, **exact, "data_pedido": ["2024-03-05"] * 3}), tmp_path / "shop/pedidos.parquet")

    def run(*arguments: str) -> str:
        answer = CliRunner().invoke(medallion, arguments, catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    run("run")
    return run


def test_no_command_shows_a_machines_notation(invoke: Invoke) -> None:
    said = {command: invoke(*command.split()) for command in COMMANDS}
    said |= {f"{command} --json": invoke(*command.split(), "--json") for command in COMMANDS}
    said |= {kind: invoke("quarantine", "export", "--format", kind) for kind in ("csv", "json")}

    for command, text in said.items():
        assert not OF_A_MACHINE.search(text.replace("1e+3", "")), f"{command}: {text}"  # as the source has it


def test_amounts_are_shown_exactly_with_two_decimals_or_more(invoke: Invoke) -> None:
    shown = {row["id"]: row["preco"] for row in json.loads(invoke("show", "produtos", "--json"))["shown"]}

    assert shown == {"10": "0.00", "11": "0.0000001", "12": "1000.00", "13": "12.50"}


def test_the_quarantine_names_a_number_as_the_source_has_it(invoke: Invoke) -> None:
    found = json.loads(invoke("quarantine", "show", "pedidos", "--json"))["rows"]

    zero = f"0.{'0' * 20}"
    assert {row["chave"]: row["motivo"] for row in found} == {
        "101": f"quantidade: quantidade deve ser maior que zero: '{zero}'",
        "102": f"valor_total: valor de R$ 1 trilhão ou mais: '{10**13}.{'0' * 20}'",
    }
    assert {row["linha"]["quantidade"] for row in found} == {zero, f"2.{'0' * 20}"}


@pytest.mark.usefixtures("invoke")
def test_the_tables_themselves_hold_what_people_write(lakehouse_url: str) -> None:
    with psycopg.connect(lakehouse_url) as connection:
        held = connection.execute("select preco::text from silver.produtos order by id").fetchall()
        status = connection.execute("select distinct status from silver.pedidos").fetchall()

    assert [text for (text,) in held] == ["0.00", "0.0000001", "1000.00", "12.50"]
    assert status == [(f"0.{'0' * 20}",)], "a text column of numbers, as the source has them"
