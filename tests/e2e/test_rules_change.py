"""An upgrade that cleans differently reaches every row, even if the shop has nothing new."""

from dataclasses import replace
from pathlib import Path

from elt import rules
from elt.catalog import Table, rules_version
from elt.lakehouse.ports import Lakehouse
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.silver.clientes import CLIENTES
from elt.silver.pedidos import PEDIDOS
from elt.silver.produtos import PRODUTOS
from tests.shops import contents, write_shop

ALWAYS_ZERO = rules.Rule(lambda _: 0, rules.INTEGER.type)


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
    tomorrow = Runner(lakehouse, SilentReporter(), with_cities_as(rules.Rule(shouted, rules.TEXT.type)))
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


def test_a_row_that_the_new_rules_can_read_leaves_quarantine_without_a_new_snapshot(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    source = write_shop(tmp_path / "shop", produtos=[{"preco": "1.234"}], clientes=[{"idade": "1.000"}])
    Runner(lakehouse, SilentReporter()).run(source)
    assert [row[1] for row in contents(lakehouse)["silver.rejeitados"]] == ["pedidos", "produtos"]
    assert [row[3] for row in contents(lakehouse)["silver.valores_rejeitados"]] == ["idade"]
    lenient = (
        replace(CLIENTES, columns=(*CLIENTES.columns[:-1], replace(CLIENTES.columns[-1], rule=ALWAYS_ZERO))),
        replace(
            PRODUTOS, columns=tuple(replace(c, rule=ALWAYS_ZERO) if c.name == "preco" else c for c in PRODUTOS.columns)
        ),
        PEDIDOS,
    )
    assert [int(result.key) for result in Runner(lakehouse, SilentReporter(), lenient).run(source)] == [246, 468, 680]
    assert contents(lakehouse)["silver.rejeitados"] == []
    assert contents(lakehouse)["silver.valores_rejeitados"] == []
