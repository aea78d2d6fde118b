"""What silver does with a shop that changes: healing, conflicts, updates, vanished rows, snapshots that wait."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from elt.catalog import Table
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.ledger import LayerResult, recent
from elt.progress import PlainReporter
from elt.runner import Runner
from elt.silver import TABLES
from elt.sources.files import FilesSource
from tests.shops import CLIENTE, PEDIDO, PRODUTO, Row, contents, rows_of, write_shop

CLIENTE_2: Row = {"id_cliente": "2", "nome": "Bia Lima"}
PRODUTO_2: Row = {"id_produto": "11", "nome_produto": "Chá", "categoria": "Bebidas", "estoque": "3"}


@dataclass
class Shop:
    """A shop that is looked at, changed, and looked at again."""

    runner: Runner
    lakehouse: Lakehouse
    folder: Path

    def write(
        self,
        clientes: Sequence[Row] = (CLIENTE,),
        produtos: Sequence[Row] = (PRODUTO,),
        pedidos: Sequence[Row] = (PEDIDO,),
    ) -> FilesSource:
        return write_shop(self.folder, clientes, produtos, pedidos)

    def look(
        self,
        clientes: Sequence[Row] = (CLIENTE,),
        produtos: Sequence[Row] = (PRODUTO,),
        pedidos: Sequence[Row] = (PEDIDO,),
    ) -> list[LayerResult]:
        return self.runner.run(self.write(clientes, produtos, pedidos))

    def rows(self, table: str) -> list[tuple[object, ...]]:
        return contents(self.lakehouse)[table]

    def refused(self) -> list[tuple[object, ...]]:
        """Table, key and reason of what is in quarantine."""
        return sorted((row[1:4] for row in self.rows("silver.rejeitados")), key=str)


@pytest.fixture
def shop(runner: Runner, lakehouse: Lakehouse, tmp_path: Path) -> Shop:
    """One client, one product, one order: nothing looked at yet."""
    return Shop(runner, lakehouse, tmp_path / "shop")


def keys(results: Sequence[LayerResult]) -> list[int]:
    return [int(result.key) for result in results]


# Healing


def test_an_orphan_order_is_released_when_its_client_arrives(shop: Shop) -> None:
    orphan = {"id_pedido": "101", "id_cliente": "2"}
    shop.look(pedidos=[{}, orphan])
    assert shop.refused() == [("pedidos", "101", "id_cliente: '2' não existe em silver.clientes")]
    silver = shop.look(clientes=[{}, CLIENTE_2], pedidos=[{}, orphan])[1]
    assert shop.refused() == []
    assert (silver.counts.written, silver.counts.unchanged, silver.counts.quarantined) == (2, 3, 0)
    assert [row[0] for row in shop.rows("silver.pedidos")] == ["100", "101"]
    assert [row[:5] for row in shop.rows("gold.analise_clientes_pedidos")][1] == ("2", "Bia Lima", "São Paulo", 34, 1)


def test_an_order_waits_for_its_product_too(shop: Shop) -> None:
    shop.look(pedidos=[{"id_produto": "11"}])
    assert shop.refused() == [("pedidos", "100", "id_produto: '11' não existe em silver.produtos")]
    assert keys(shop.look(produtos=[{}, PRODUTO_2], pedidos=[{"id_produto": "11"}])) == [246, 468, 680]
    assert shop.refused() == []


def test_a_corrected_price_releases_the_product_and_the_orders_behind_it(shop: Shop) -> None:
    shop.look(produtos=[{"preco": "a consultar"}])
    assert [row[:2] for row in shop.refused()] == [("pedidos", "100"), ("produtos", "10")]
    shop.look(produtos=[{"preco": "R$ 9,90"}])
    assert shop.refused() == []
    assert shop.rows("silver.produtos") == [("10", "Café", "Mercearia", Decimal("9.9"), 7)]
    assert shop.rows("gold.analise_produtos") == [("10", "Café", "Mercearia", 2, Decimal(25), 7)]


def test_a_corrected_value_loses_its_record(shop: Shop) -> None:
    shop.look(clientes=[{"idade": "?", "email": "?"}])
    assert sorted(str(row[3]) for row in shop.rows("silver.valores_rejeitados")) == ["email", "idade"]
    shop.look(clientes=[{"email": "?"}])
    assert [row[3] for row in shop.rows("silver.valores_rejeitados")] == ["email"]
    assert shop.rows("silver.clientes")[0][5] == 34


def test_a_refused_row_that_leaves_the_source_leaves_quarantine(shop: Shop) -> None:
    shop.look(pedidos=[{}, {"id_pedido": "101", "quantidade": "0"}])
    assert len(shop.refused()) == 1
    shop.look()
    assert shop.refused() == []


def test_what_stays_wrong_stays_in_quarantine_once(shop: Shop) -> None:
    wrong: list[Row] = [{}, {"id_pedido": "101", "quantidade": "0"}, {"id_pedido": None}]
    for city in ("Recife", "Olinda", "Natal"):
        silver = shop.look(clientes=[{"cidade": city}], pedidos=wrong)[1]
        assert silver.counts.quarantined == 2
        assert shop.refused() == [
            ("pedidos", "101", "quantidade: quantidade deve ser maior que zero: '0'"),
            ("pedidos", None, "id_pedido: em branco"),
        ]


def test_quarantine_remembers_since_when_a_row_is_refused(shop: Shop, lakehouse: Lakehouse) -> None:
    def since() -> list[tuple[object, ...]]:
        return rows_of(lakehouse, "silver.rejeitados", pa.schema([("id", pa.string()), ("desde", pa.string())]), "id")

    shop.look(pedidos=[{"quantidade": "0"}])
    first = since()
    shop.look(clientes=[{"cidade": "Recife"}], pedidos=[{"quantidade": "0"}])
    assert since() == first


# Repeats and conflicts


def test_identical_repeats_are_merged_and_counted(shop: Shop) -> None:
    silver = shop.look(pedidos=[{}, {}, {"status": " pago "}])[1]
    assert (silver.counts.written, silver.counts.repeated, silver.counts.quarantined) == (3, 2, 0)


def test_a_key_that_repeats_with_other_values_goes_to_quarantine_whole(shop: Shop) -> None:
    silver = shop.look(pedidos=[{}, {"quantidade": "3"}, {}, {"id_pedido": "101"}])[1]
    assert (silver.counts.written, silver.counts.repeated, silver.counts.quarantined) == (3, 1, 2)
    assert shop.refused() == [("pedidos", "100", "chave repetida com valores diferentes")] * 2
    assert [row[0] for row in shop.rows("silver.pedidos")] == ["101"]


def test_a_conflict_ends_when_the_source_settles_it(shop: Shop) -> None:
    shop.look(pedidos=[{}, {"quantidade": "3"}])
    shop.look(pedidos=[{"quantidade": "3"}])
    assert shop.refused() == []
    assert shop.rows("silver.pedidos")[0][3] == 3


def test_a_conflict_in_a_known_key_leaves_silver_as_it_was(shop: Shop) -> None:
    shop.look()
    shop.look(pedidos=[{}, {"quantidade": "3"}])
    assert shop.rows("silver.pedidos")[0][3] == 2
    assert len(shop.refused()) == 2
    shop.look()
    assert shop.refused() == []


# Updates


@pytest.mark.parametrize(
    ("changed", "expected", "column", "value"),
    [
        ({"clientes": [{"telefone": "21 91234-5678"}]}, [246, 468, 579], ("silver.clientes", 3), "+5521912345678"),
        ({"clientes": [{"cidade": "Recife"}]}, [246, 468, 680], ("gold.analise_clientes_pedidos", 2), "Recife"),
        ({"produtos": [{"estoque": "99"}]}, [246, 468, 680], ("gold.analise_produtos", 5), 99),
        ({"produtos": [{"preco": "1,00"}]}, [246, 468, 579], ("silver.produtos", 3), Decimal(1)),
        ({"produtos": [{"categoria": "x"}]}, [246, 468, 680], ("gold.analise_clientes_pedidos", 8), "x"),
        ({"pedidos": [{"status": "entregue"}]}, [246, 468, 579], ("silver.pedidos", 4), "Entregue"),
        ({"pedidos": [{"valor_total": "30,00"}]}, [246, 468, 680], ("gold.analise_produtos", 4), Decimal(30)),
        (
            {"pedidos": [{"data_pedido": "2024-04-01"}]},
            [246, 468, 680],
            ("gold.analise_clientes_pedidos", 7),
            date(2024, 4, 1),
        ),
        ({"clientes": [{"telefone": None}]}, [246, 468, 579], ("silver.clientes", 3), None),
        ({"clientes": [{"nome": " Ana  Souza"}]}, [246, 357], ("silver.clientes", 1), "Ana Souza"),
    ],
)
def test_an_update_reaches_silver_and_gold(
    shop: Shop,
    changed: dict[str, Sequence[Row]],
    expected: list[int],
    column: tuple[str, int],
    value: object,
) -> None:
    shop.look()
    assert keys(shop.look(**changed)) == expected
    table, position = column
    assert [row[position] for row in shop.rows(table)] == [value]


def test_an_order_that_moves_to_another_customer_and_product_leaves_the_old_ones(shop: Shop) -> None:
    clientes, produtos = [{}, CLIENTE_2], [{}, PRODUTO_2]
    shop.look(clientes, produtos)
    assert [row[0] for row in shop.rows("gold.analise_clientes_pedidos")] == ["1"]
    shop.look(clientes, produtos, [{"id_cliente": "2", "id_produto": "11"}])
    assert [row[0] for row in shop.rows("gold.analise_clientes_pedidos")] == ["2"]
    assert [row[0] for row in shop.rows("gold.analise_produtos")] == ["11"]


def test_only_rows_that_changed_are_stamped_again(shop: Shop) -> None:
    def stamps() -> dict[object, object]:
        schema = pa.schema([("id", pa.string()), ("data_ingestao", pa.string())])
        return dict(rows_of(shop.lakehouse, "silver.pedidos", schema, "id"))  # type: ignore[arg-type]

    shop.look(pedidos=[{}, {"id_pedido": "101"}])
    before = stamps()
    shop.look(pedidos=[{}, {"id_pedido": "101", "status": "enviado"}])
    after = stamps()
    assert after["100"] == before["100"]
    assert after["101"] != before["101"]


# Blank columns, vanished rows, waiting snapshots


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_optional_column_may_be_blank_in_every_row(shop: Shop, table: Table) -> None:
    blank: Row = {column.name: None for column in table.columns if not column.required}
    assert keys(shop.look(**{table.name: [blank]})) == [246, 468, 680]
    assert shop.refused() == []
    assert shop.rows("silver.valores_rejeitados") == []


def test_rows_that_vanish_from_the_source_stay_and_are_counted(
    shop: Shop, lakehouse: Lakehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.runner = Runner(lakehouse, PlainReporter())
    shop.look(clientes=[{}, CLIENTE_2], pedidos=[{}, {"id_pedido": "101"}, {"id_pedido": None}])
    assert keys(shop.look()) == [246, 357]
    assert [row[0] for row in shop.rows("silver.pedidos")] == ["100", "101"]
    assert shop.rows("gold.analise_clientes_pedidos")[0][4] == 2
    assert "2 rows are no longer in the source; silver keeps them" in capsys.readouterr().err
    details = next(row["detalhes"] for row in recent(lakehouse.tables) if row["camada"] == "silver")
    assert isinstance(details, dict)
    assert {name: table["gone_from_source"] for name, table in details["tables"].items()} == {
        "clientes": 1,
        "produtos": 0,
        "pedidos": 1,
    }


def test_snapshots_that_wait_are_all_applied_oldest_first(shop: Shop, lakehouse: Lakehouse) -> None:
    shop.runner.bronze(shop.write(pedidos=[{}, {"id_pedido": "101", "status": "pendente"}]))
    shop.runner.bronze(shop.write(pedidos=[{"status": "entregue"}]))
    silver = shop.runner.silver()
    assert (silver.counts.read, silver.counts.written, silver.counts.unchanged) == (4 + 3, 4 + 1, 2)
    assert [(row[0], row[4]) for row in shop.rows("silver.pedidos")] == [("100", "Entregue"), ("101", "Pendente")]
    assert [row["camada"] for row in recent(lakehouse.tables)].count("silver") == 2
    assert int(shop.runner.gold().key) == 680


def test_full_applies_the_newest_snapshot_whole_and_repairs_what_was_changed_by_hand(
    shop: Shop, lakehouse: Lakehouse
) -> None:
    shop.look()
    assert isinstance(lakehouse.tables, PostgresTables)
    with psycopg.connect(lakehouse.tables._url) as connection:
        connection.execute("delete from silver.pedidos where id = '100'")
    assert keys(shop.look()) == [246, 468, 680]  # gold has to forget the order that was deleted by hand
    assert shop.rows("silver.pedidos") == []
    results = shop.runner.run(shop.write(), full=True)
    assert keys(results) == [135, 468, 680]
    assert (results[1].counts.read, results[1].counts.written, results[1].counts.unchanged) == (3, 1, 2)
    assert len(shop.rows("silver.pedidos")) == 1


def test_full_applies_the_snapshots_that_wait_before_the_newest_too(shop: Shop) -> None:
    shop.look()
    shop.runner.bronze(shop.write(pedidos=[{}, {"id_pedido": "101"}]))
    shop.runner.bronze(shop.write())
    silver = shop.runner.silver(full=True)
    assert (silver.counts.read, silver.counts.written, silver.counts.unchanged) == (4 + 3, 1, 3 + 3)
    assert [row[0] for row in shop.rows("silver.pedidos")] == ["100", "101"]


def test_full_finds_nothing_to_write_where_all_is_well(shop: Shop) -> None:
    shop.look()
    results = shop.runner.run(shop.write(), full=True)
    assert keys(results) == [135, 357]
    assert (results[1].counts.read, results[1].counts.unchanged) == (3, 3)


# What the database itself refuses


@pytest.fixture
def execute(lakehouse: Lakehouse) -> Callable[[str], None]:
    """Runs SQL in the database of the test's lakehouse."""

    def run(statement: str) -> None:
        assert isinstance(lakehouse.tables, PostgresTables)
        with psycopg.connect(lakehouse.tables._url, autocommit=True) as connection:
            connection.execute(statement)

    return run


def test_a_row_that_the_database_refuses_ends_in_quarantine_alone_with_the_servers_words(
    shop: Shop, execute: Callable[[str], None]
) -> None:
    execute("alter table silver.pedidos add constraint pouco check (quantidade < 50)")
    pedidos = [{"id_pedido": str(number), "quantidade": "99" if number == 137 else "1"} for number in range(100, 200)]
    silver = shop.look(pedidos=pedidos)[1]
    assert (silver.counts.written, silver.counts.quarantined) == (2 + 99, 1)
    ((table, key, reason),) = shop.refused()
    assert (table, key) == ("pedidos", "137")
    assert str(reason).startswith("o banco de dados recusou a linha: ")
    assert 'violates check constraint "pouco"' in str(reason)
    execute("alter table silver.pedidos drop constraint pouco")
    shop.look(clientes=[{"cidade": "Recife"}], pedidos=pedidos)
    assert shop.refused() == []
    assert len(shop.rows("silver.pedidos")) == 100
