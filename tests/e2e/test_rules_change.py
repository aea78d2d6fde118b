"""An upgrade that cleans differently reaches every row, even if the shop has nothing new."""

from dataclasses import replace
from pathlib import Path

from elt import rules
from elt.catalog import CLIENTES, PEDIDOS, PRODUTOS, Table, rules_version
from elt.lakehouse.ports import Lakehouse
from elt.progress import SilentReporter
from elt.runner import Runner
from tests.shops import contents, write_shop


def with_cities_as(rule: rules.Rule) -> tuple[Table, ...]:
    """The catalog with another rule for ``cidade``."""
    columns = tuple(replace(column, rule=rule) if column.name == "cidade" else column for column in CLIENTES.columns)
    return (replace(CLIENTES, columns=columns), PRODUTOS, PEDIDOS)


def shouted(raw: rules.RawValue) -> str:
    """A rule of tomorrow's version."""
    return rules.read_text(raw).upper()


def test_rows_cleaned_under_other_rules_are_cleaned_again(lakehouse: Lakehouse, tmp_path: Path) -> None:
    source = write_shop(tmp_path / "shop")
    Runner(lakehouse, SilentReporter()).run(source)
    assert contents(lakehouse)["silver.clientes"][0][4] == "São Paulo"
    tomorrow = Runner(lakehouse, SilentReporter(), with_cities_as(rules.Rule(shouted, rules.TEXT.arrow_type)))
    assert [int(result.key) for result in tomorrow.run(source)] == [246, 468, 680]
    assert contents(lakehouse)["silver.clientes"][0][4] == "SÃO PAULO"
    assert [int(result.key) for result in tomorrow.run(source)] == [135]


def test_the_version_changes_with_a_rule_and_not_by_itself() -> None:
    today = (CLIENTES, PRODUTOS, PEDIDOS)
    assert rules_version(today) == rules_version(today)
    assert rules_version(today) != rules_version(with_cities_as(rules.EMAIL))


def test_full_applies_every_waiting_snapshot_as_well(runner: Runner, lakehouse: Lakehouse, tmp_path: Path) -> None:
    for pedido in ("100", "101", "102"):
        runner.bronze(write_shop(tmp_path / "shop", pedidos=[{"id_pedido": pedido}]))
    runner.silver(full=True)
    assert [row[0] for row in contents(lakehouse)["silver.pedidos"]] == ["100", "101", "102"]
