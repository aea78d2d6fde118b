"""Eighteen months of a real shop's purchases through the whole chain: nothing lost, figures met to the cent."""

from collections import defaultdict
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from elt.lakehouse.ports import Lakehouse
from elt.ledger import LayerResult
from elt.runner import Runner
from elt.silver import TABLES
from elt.sources.files import FilesSource
from tests.shops import contents, write_table

DATA = Path(__file__).parents[1] / "data" / "cdnow" / "CDNOW_sample.txt"
Purchase = tuple[str, date, int, Decimal]


def purchases() -> list[Purchase]:
    """Customer, day, CDs and dollars, in the file's order."""
    lines = (line.split() for line in DATA.read_text().splitlines())
    return [
        (customer, date.fromisoformat(day), int(count), Decimal(dollars)) for _, customer, day, count, dollars in lines
    ]


@pytest.fixture
def shop(tmp_path: Path) -> FilesSource:
    """The purchases as a shop's three tables: customers without names, and one product."""
    bought = purchases()
    rows = {
        "clientes": [{"id_cliente": customer} for customer in sorted({customer for customer, *_ in bought})],
        "produtos": [{"id_produto": "CD", "nome_produto": "CD", "categoria": "Música", "preco": "15.00"}],
        "pedidos": [
            {
                "id_pedido": str(number),
                "id_cliente": customer,
                "id_produto": "CD",
                "quantidade": str(count),
                "valor_total": str(dollars),
                "data_pedido": f"{day:%d/%m/%Y}",
            }
            for number, (customer, day, count, dollars) in enumerate(bought)
        ],
    }
    for table in TABLES:
        write_table(tmp_path, table.name, rows[table.name], table.column_names)
    return FilesSource(tmp_path)


@pytest.fixture
def run(runner: Runner, shop: FilesSource) -> list[LayerResult]:
    return runner.run(shop)


def test_every_purchase_is_accounted_for(run: list[LayerResult], lakehouse: Lakehouse) -> None:
    _, silver, gold = run
    assert (silver.counts.read, silver.counts.written, silver.counts.quarantined) == (2357 + 1 + 6919,) * 2 + (0,)
    assert gold.counts.written == 2357 + 1
    found = contents(lakehouse)
    customers, [product] = found["gold.analise_clientes_pedidos"], found["gold.analise_produtos"]
    assert sum(int(str(row[4])) for row in customers) == 6919
    assert sum(Decimal(str(row[5])) for row in customers) == Decimal(str(product[4])) == Decimal("244091.94")
    assert product[3] == 16479


def test_each_customer_s_figures_are_those_of_a_plain_sum(run: list[LayerResult], lakehouse: Lakehouse) -> None:
    expected: dict[str, list[Purchase]] = defaultdict(list)
    for purchase in purchases():
        expected[purchase[0]].append(purchase)
    for row in contents(lakehouse)["gold.analise_clientes_pedidos"]:
        bought = expected.pop(str(row[0]))
        days = [day for _, day, *_ in bought]
        assert row[4] == len(bought)
        assert Decimal(str(row[5])) == sum(dollars for *_, dollars in bought)
        assert (row[6], row[7]) == (min(days), max(days))
    assert expected == {}


def test_a_second_look_at_the_same_purchases_finds_nothing_new(
    run: list[LayerResult], runner: Runner, shop: FilesSource
) -> None:
    assert [int(result.key) for result in run + runner.run(shop)] == [246, 468, 680, 135]
