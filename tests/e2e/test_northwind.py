"""A real shop's data through the whole chain: every row accounted for, and figures known from elsewhere met.

An extra, collected (``tests/e2e/conftest.py``) only where its files lie beside the checkout.
"""

import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from elt.lakehouse.ports import Lakehouse
from elt.ledger import LayerResult
from elt.runner import Runner
from elt.sources.files import FilesSource
from tests.shops import contents

NORTHWIND = Path(__file__).parents[3] / "shared" / "data" / "northwind"


@pytest.fixture
def run(runner: Runner) -> list[LayerResult]:
    """One run over the real shop."""
    return runner.run(FilesSource(NORTHWIND))


@pytest.fixture
def found(run: list[LayerResult], lakehouse: Lakehouse) -> dict[str, list[tuple[object, ...]]]:
    """What the lakehouse holds after it."""
    return contents(lakehouse)


def test_every_row_is_accounted_for(run: list[LayerResult]) -> None:
    bronze, silver, gold = run
    assert [int(result.key) for result in run] == [246, 468, 680]
    assert (bronze.counts.read, bronze.counts.written) == (91 + 77 + 2155, 91 + 77 + 2155)
    assert (silver.counts.read, silver.counts.written, silver.counts.quarantined) == (2323, 2323, 0)
    assert gold.counts.read == gold.counts.written == 89 + 77


def test_the_control_figures_are_met(found: dict[str, list[tuple[object, ...]]]) -> None:
    orders = found["silver.pedidos"]
    assert len(orders) == 2155
    assert sum(Decimal(str(order[5])) for order in orders) == Decimal("1265793.02")
    quantities = [int(str(order[3])) for order in orders]
    assert (sum(quantities), max(quantities)) == (51_317, 130)
    assert {order[4] for order in orders} == {None}
    customers, products = found["gold.analise_clientes_pedidos"], found["gold.analise_produtos"]
    assert sum(Decimal(str(row[5])) for row in customers) == Decimal("1265793.02")
    assert sum(Decimal(str(row[4])) for row in products) == Decimal("1265793.02")
    assert sum(int(str(row[4])) for row in customers) == 2155
    assert sum(int(str(row[3])) for row in products) == 51_317
    assert sum(row[5] == 0 for row in products) == 5


def test_customers_without_orders_are_in_silver_and_not_in_gold(found: dict[str, list[tuple[object, ...]]]) -> None:
    silver = {row[0] for row in found["silver.clientes"]}
    gold = {row[0] for row in found["gold.analise_clientes_pedidos"]}
    assert silver - gold == {"FISSA", "PARIS"}


def test_columns_that_are_empty_throughout_are_null_and_no_quarantine(
    found: dict[str, list[tuple[object, ...]]],
) -> None:
    assert {(row[2], row[5]) for row in found["silver.clientes"]} == {(None, None)}
    assert found["silver.rejeitados"] == []


def test_telephones_from_abroad_without_their_plus_are_null_each_with_a_record(
    found: dict[str, list[tuple[object, ...]]],
) -> None:
    records = found["silver.valores_rejeitados"]
    assert {(row[1], row[3]) for row in records} == {("clientes", "telefone")}
    without = {row[0] for row in found["silver.clientes"] if row[3] is None}
    assert {row[2] for row in records} == without


def test_the_second_look_finds_nothing_new(run: list[LayerResult], runner: Runner) -> None:
    assert [int(result.key) for result in runner.run(FilesSource(NORTHWIND))] == [135]


def test_lines_shifted_by_a_comma_lose_their_telephone_with_a_record_and_no_order(
    runner: Runner, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(NORTHWIND, shop)
    shutil.copy(NORTHWIND / "sem_reparo" / "clientes.csv", shop / "clientes.csv")
    _, silver, gold = runner.run(FilesSource(shop))
    assert (silver.counts.read, silver.counts.written, silver.counts.quarantined) == (2323, 2323, 0)
    assert gold.counts.written == 89 + 77
    found = contents(lakehouse)
    countries = {row[2]: row[4] for row in found["silver.valores_rejeitados"] if str(row[4]).isalpha()}
    assert len(countries) == 24
    assert countries["BLONP"] == "France"
    assert {row[3] for row in found["silver.clientes"] if row[0] in countries} == {None}


def test_the_next_export_heals_the_shifted_lines(runner: Runner, lakehouse: Lakehouse, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(NORTHWIND, shop)
    shutil.copy(NORTHWIND / "sem_reparo" / "clientes.csv", shop / "clientes.csv")
    runner.run(FilesSource(shop))
    shutil.copy(NORTHWIND / "clientes.csv", shop / "clientes.csv")
    silver = runner.run(FilesSource(shop))[1]
    assert silver.counts.written == 24
    cities = {row[0]: row[4] for row in contents(lakehouse)["silver.clientes"]}
    assert cities["BLONP"] == "Strasbourg"
