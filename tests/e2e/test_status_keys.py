"""The status keys, each where the specification says it comes out."""

from pathlib import Path

import psycopg
import pytest

from elt.keys import StatusKey
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.ledger import LayerResult
from elt.progress import SilentReporter
from elt.runner import Runner
from tests.shops import PEDIDO, contents, write_shop


def keys_of(results: list[LayerResult]) -> list[int]:
    """The keys as numbers."""
    return [int(result.key) for result in results]


def every_byte(lakehouse: Lakehouse, url: str) -> dict[str, object]:
    """Bucket (names, bytes, times of change), silver and gold, down to PostgreSQL's own row versions."""
    assert isinstance(lakehouse.bucket, FolderBucket)
    files = {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in lakehouse.bucket.root.rglob("*")
        if path.is_file()
    }
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('silver', 'gold')"
        ).fetchall()
        rows = {
            name: connection.execute(f"select xmin::text, ctid::text, t.* from {name} t order by ctid").fetchall()
            for (name,) in tables
        }
    assert len(rows) == 7
    return {"files": files, "rows": rows}


@pytest.fixture
def url(lakehouse: Lakehouse) -> str:
    """The URL of the test's database."""
    return lakehouse.tables._url  # type: ignore[attr-defined,no-any-return]


def test_the_first_run_goes_all_the_way(runner: Runner, tmp_path: Path) -> None:
    assert keys_of(runner.run(write_shop(tmp_path / "shop"))) == [246, 468, 680]


def test_a_run_with_nothing_new_ends_at_bronze(runner: Runner, tmp_path: Path) -> None:
    source = write_shop(tmp_path / "shop")
    runner.run(source)
    assert keys_of(runner.run(source)) == [135]


def test_a_run_with_nothing_new_touches_no_byte_but_the_ledger(
    runner: Runner, lakehouse: Lakehouse, url: str, tmp_path: Path
) -> None:
    source = write_shop(tmp_path / "shop", pedidos=[{}, {"id_pedido": "101", "id_cliente": "nobody"}])
    runner.run(source)
    before = every_byte(lakehouse, url)
    noted = lakehouse.tables.count("controle.execucoes")
    runner.run(source)
    assert every_byte(lakehouse, url) == before
    assert lakehouse.tables.count("controle.execucoes") == noted + 1


@pytest.mark.parametrize(
    ("what", "second"),
    [
        ("the same rows in another order", [{"id_pedido": "101"}, {}]),
        ("another spelling of the same amount", [{"valor_total": "25.00"}, {"id_pedido": "101"}]),
        ("a line that repeats", [{}, {"id_pedido": "101"}, {"id_pedido": "101"}]),
        ("one more row that cannot be read", [{}, {"id_pedido": "101"}, {"id_pedido": "102", "quantidade": "?"}]),
        ("a row that is gone", [{}]),
    ],
)
def test_a_new_snapshot_that_changes_nothing_in_silver_ends_there(
    runner: Runner, tmp_path: Path, what: str, second: list[dict[str, str]]
) -> None:
    runner.run(write_shop(tmp_path / "shop", pedidos=[{}, {"id_pedido": "101"}]))
    assert keys_of(runner.run(write_shop(tmp_path / "shop", pedidos=second))) == [246, 357], what


def test_a_change_that_no_analysis_shows_ends_at_gold(runner: Runner, tmp_path: Path) -> None:
    runner.run(write_shop(tmp_path / "shop"))
    changed = write_shop(tmp_path / "shop", clientes=[{"telefone": "(21) 91234-5678"}], pedidos=[{"status": "enviado"}])
    assert keys_of(runner.run(changed)) == [246, 468, 579]


def test_a_change_that_gold_recomputes_to_the_same_ends_at_gold(runner: Runner, tmp_path: Path) -> None:
    pedidos = [{"valor_total": "10"}, {"id_pedido": "101", "valor_total": "20"}]
    runner.run(write_shop(tmp_path / "shop", pedidos=pedidos))
    swapped = [{"valor_total": "20"}, {"id_pedido": "101", "valor_total": "10"}]
    assert keys_of(runner.run(write_shop(tmp_path / "shop", pedidos=swapped))) == [246, 468, 579]


def test_a_change_that_an_analysis_shows_goes_all_the_way(runner: Runner, tmp_path: Path) -> None:
    runner.run(write_shop(tmp_path / "shop"))
    assert keys_of(runner.run(write_shop(tmp_path / "shop", produtos=[{"estoque": "6"}]))) == [246, 468, 680]


def test_a_correction_made_by_hand_in_silver_reaches_gold_with_the_next_run(
    runner: Runner, lakehouse: Lakehouse, url: str, tmp_path: Path
) -> None:
    source = write_shop(tmp_path / "shop")
    runner.run(source)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update silver.pedidos set valor_total = 30")
    assert keys_of(runner.run(source)) == [246, 468, 680]
    assert contents(lakehouse)["gold.analise_produtos"][0][4] == 30


def test_bronze_says_246_while_its_snapshot_waits_for_silver(runner: Runner, tmp_path: Path) -> None:
    source = write_shop(tmp_path / "shop")
    assert [runner.bronze(source).key, runner.bronze(source).key] == [246, 246]
    runner.silver()
    assert runner.bronze(source).key == 246, "gold has not run yet"
    runner.gold()
    assert runner.bronze(source).key == 135


def test_silver_says_468_while_gold_has_something_to_do(runner: Runner, tmp_path: Path) -> None:
    runner.bronze(write_shop(tmp_path / "shop"))
    assert [runner.silver().key, runner.silver().key] == [468, 468]
    runner.gold()
    assert runner.silver().key == 357


def test_layers_by_hand_with_nothing_to_do(runner: Runner) -> None:
    assert [runner.silver().key, runner.gold().key] == [357, 579]


def test_a_shop_without_orders_is_a_shop(runner: Runner, tmp_path: Path) -> None:
    assert keys_of(runner.run(write_shop(tmp_path / "shop", pedidos=[]))) == [246, 468, 579]


def test_gold_removes_a_customer_without_orders(runner: Runner, lakehouse: Lakehouse, url: str, tmp_path: Path) -> None:
    runner.run(write_shop(tmp_path / "shop", clientes=[{}, {"id_cliente": "2"}]))
    moved = write_shop(tmp_path / "shop", clientes=[{}, {"id_cliente": "2"}], pedidos=[{**PEDIDO, "id_cliente": "2"}])
    assert keys_of(runner.run(moved)) == [246, 468, 680]
    assert [row[0] for row in contents(lakehouse)["gold.analise_clientes_pedidos"]] == ["2"]


def test_every_key_has_a_meaning_and_only_two_go_on() -> None:
    assert {int(key): key.goes_on for key in StatusKey} == {
        135: False,
        246: True,
        357: False,
        468: True,
        579: False,
        680: False,
    }
    assert all(key.meaning for key in StatusKey)


def test_the_reporter_hears_every_key(lakehouse: Lakehouse, tmp_path: Path) -> None:
    said: list[str] = []

    class Listener(SilentReporter):
        def say(self, text: str) -> None:
            said.append(text)

    Runner(lakehouse, Listener()).run(write_shop(tmp_path / "shop"))
    assert [line for line in said if " - " in line] == [
        "bronze: 246 - a snapshot waits for silver: go on",
        "silver: 468 - new or changed rows wait for gold: go on",
        "gold: 680 - analysis tables updated",
    ]
