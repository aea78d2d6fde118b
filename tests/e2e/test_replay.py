"""Rebuilding silver and gold from one bronze snapshot, and what a run does afterwards."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from elt.errors import Missing, SnapshotError
from elt.lakehouse import snapshots
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.ledger import Ledger
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.settings import load_settings
from elt.sources.files import FilesSource
from elt.status import gather
from tests.commands import wait_until
from tests.gateway.fixtures import Gateway
from tests.hosted import lakehouse_of, project_of
from tests.shops import contents, write_shop

Contents = dict[str, list[tuple[object, ...]]]
NewLakehouse = Callable[[], Lakehouse]


def first(shop: Path) -> FilesSource:
    """Two customers and two orders; one more order is an orphan, and a customer's age is broken."""
    return write_shop(
        shop,
        clientes=[{}, {"id_cliente": "2", "nome": "Bia", "idade": "?"}],
        pedidos=[{}, {"id_pedido": "101", "id_cliente": "2"}, {"id_pedido": "102", "id_cliente": "3"}],
    )


def second(shop: Path) -> FilesSource:
    """Customer 2 and its order have left the shop, customer 3 has come, order 100 has changed."""
    return write_shop(
        shop,
        clientes=[{}, {"id_cliente": "3", "nome": "Caio"}],
        pedidos=[{"quantidade": "5"}, {"id_pedido": "102", "id_cliente": "3"}],
    )


def third(shop: Path) -> FilesSource:
    """The product has a new name and order 102 lost its value."""
    return write_shop(
        shop,
        clientes=[{}, {"id_cliente": "3", "nome": "Caio"}, {"id_cliente": "4", "nome": "Davi"}],
        produtos=[{"nome_produto": "Café forte"}],
        pedidos=[{"quantidade": "5"}, {"id_pedido": "102", "id_cliente": "3", "valor_total": "a combinar"}],
    )


def history(runner: Runner, lakehouse: Lakehouse, shop: Path) -> list[str]:
    """Three runs; answers the three snapshots."""
    for visit in (first, second, third):
        runner.run(visit(shop))
    return snapshots.committed(lakehouse.bucket)


def alone(snapshot: str, lakehouse: Lakehouse, new_lakehouse: NewLakehouse) -> Contents:
    """What an empty lakehouse holds after applying nothing but this snapshot."""
    return after([snapshot], lakehouse, new_lakehouse)


def after(kept: list[str], lakehouse: Lakehouse, new_lakehouse: NewLakehouse) -> Contents:
    """What an empty lakehouse holds after applying these snapshots in their order."""
    other = new_lakehouse()
    snapshots.copy(lakehouse.bucket, other.bucket, SilentReporter())
    dropped = [name for name in snapshots.committed(other.bucket) if name not in kept]
    other.bucket.delete([f"{name}/{snapshots.MANIFEST}" for name in dropped])
    runner = Runner(other, SilentReporter())
    runner.silver()
    runner.gold()
    return contents(other)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_replay_gives_exactly_what_the_snapshot_alone_gives(
    runner: Runner, lakehouse: Lakehouse, new_lakehouse: NewLakehouse, tmp_path: Path, position: int
) -> None:
    snapshot = history(runner, lakehouse, tmp_path / "shop")[position]

    results = runner.replay(snapshot)

    assert [int(result.key) for result in results] == [468, 680]
    assert contents(lakehouse) == alone(snapshot, lakehouse, new_lakehouse)


def test_a_run_after_a_replay_applies_the_newer_snapshots(
    runner: Runner, lakehouse: Lakehouse, new_lakehouse: NewLakehouse, tmp_path: Path
) -> None:
    known = history(runner, lakehouse, tmp_path / "shop")
    before = contents(lakehouse)
    runner.replay(known[1])
    assert Ledger(lakehouse.tables).situation().applied == known[1]

    results = runner.run(third(tmp_path / "shop"))

    assert [int(result.key) for result in results] == [246, 468, 680]
    assert contents(lakehouse) == after(known[1:], lakehouse, new_lakehouse)
    runner.replay(known[0])
    runner.run(third(tmp_path / "shop"))
    assert contents(lakehouse) == before, "from the oldest snapshot on, the whole history comes back"


def test_a_replay_of_the_newest_snapshot_leaves_nothing_to_do(
    runner: Runner, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    runner.replay(history(runner, lakehouse, tmp_path / "shop")[-1])

    assert [int(result.key) for result in runner.run(third(tmp_path / "shop"))] == [135]


def test_a_replay_of_an_empty_shop_empties_silver_and_gold(
    runner: Runner, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    runner.run(write_shop(tmp_path / "shop", [], [], []))
    runner.run(first(tmp_path / "shop"))

    runner.replay(snapshots.committed(lakehouse.bucket)[0])

    assert {name: len(rows) for name, rows in contents(lakehouse).items() if rows} == {}


def test_a_broken_part_is_found_before_silver_is_touched(runner: Runner, lakehouse: Lakehouse, tmp_path: Path) -> None:
    oldest = history(runner, lakehouse, tmp_path / "shop")[0]
    before = contents(lakehouse)
    part = snapshots.read_manifest(lakehouse.bucket, oldest).tables["pedidos"].parts[0].path
    lakehouse.bucket.delete([part])
    lakehouse.bucket.put(part, b"not what was stored")

    with pytest.raises(SnapshotError, match="is not what its manifest says"):
        runner.replay(oldest)

    assert contents(lakehouse) == before
    assert [int(result.key) for result in runner.run(third(tmp_path / "shop"))] == [135]


def test_replay_over_http_gives_the_same(gateway: Gateway, new_lakehouse: NewLakehouse, tmp_path: Path) -> None:
    with lakehouse_of(project_of(gateway)) as hosted:
        runner = Runner(hosted, SilentReporter())
        middle = history(runner, hosted, tmp_path / "shop")[1]

        runner.replay(middle)

        assert contents(hosted) == alone(middle, hosted, new_lakehouse)
        assert runner.prune(1).kept == snapshots.committed(hosted.bucket) == [middle, newest_of(hosted)]
        parts = {path: size for path, size in hosted.bucket.sizes().items() if path.endswith(".parquet")}
        assert gather(hosted, load_settings(), 1).storage.bucket_bytes == sum(parts.values()) > 0


def newest_of(lakehouse: Lakehouse) -> str:
    return snapshots.committed(lakehouse.bucket)[-1]


def killed_in_the_middle(url: str, data: Path, snapshot: str) -> None:
    """Start ``medallion replay`` and SIGKILL it while it writes orders: in its transaction customers are written."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """
            create function public.wait_for_the_test() returns trigger language plpgsql as
              'begin perform pg_advisory_xact_lock(4711); return null; end';
            create trigger wait_for_the_test before insert on silver.pedidos
              for each statement execute function public.wait_for_the_test();
            """
        )
        connection.execute("select pg_advisory_lock(4711)")
        replay = subprocess.Popen(
            [Path(sys.executable).with_name("medallion"), "replay", snapshot],
            env={**os.environ, "LAKEHOUSE_DB_URL": url, "DATA_DIR": str(data)},
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        while replay.poll() is None and connection.execute(waiting).fetchone() == (0,):
            time.sleep(0.05)
        replay.send_signal(signal.SIGKILL)
        assert replay.wait() == -signal.SIGKILL
        connection.execute("select pg_advisory_unlock(4711)")
        others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        wait_until(
            lambda: connection.execute(others).fetchone() == (0,), "the server to have done with the dead client"
        )
        connection.execute("drop function public.wait_for_the_test() cascade")


@pytest.mark.parametrize("then", ["replay", "run"])
def test_a_killed_replay_is_put_right_by(
    then: str,
    new_database: Callable[[], str],
    new_lakehouse: NewLakehouse,
    tmp_path: Path,
) -> None:
    url = new_database()
    bucket = FolderBucket(tmp_path / "data" / "bucket")
    with closing(Lakehouse(PostgresTables(url), bucket, "the lakehouse of the killed replay")) as lakehouse:
        runner = Runner(lakehouse, SilentReporter())
        known = history(runner, lakehouse, tmp_path / "shop")
        before = contents(lakehouse)
        lakehouse.tables.close()
        killed_in_the_middle(url, tmp_path / "data", known[1])
        # The server does not know of the kill: the transaction that had begun goes on, whole.
        gold = {name for name in before if name.startswith("gold.")}
        whole = alone(known[1], lakehouse, new_lakehouse)
        assert {name: rows for name, rows in contents(lakehouse).items() if name not in gold} == {
            name: rows for name, rows in whole.items() if name not in gold
        }

        if then == "replay":
            runner.replay(known[1])
            assert contents(lakehouse) == alone(known[1], lakehouse, new_lakehouse)
        else:
            runner.run(third(tmp_path / "shop"))
            assert contents(lakehouse) == after(known[1:], lakehouse, new_lakehouse)


def test_a_dry_run_says_what_a_replay_would_do_and_changes_nothing(
    command: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    first(tmp_path / "shop")
    command("run")
    second(tmp_path / "shop")
    command("run")
    listed = [one["snapshot"] for one in command("snapshots")["snapshots"]]

    plan = command("replay", listed[0].rsplit("/", 1)[-1], "--dry-run")

    assert plan == {
        "dry_run": True,
        "snapshot": listed[0],
        "rows_in_snapshot": {"clientes": 2, "produtos": 1, "pedidos": 3},
        "rows_in_silver": {"clientes": 3, "produtos": 1, "pedidos": 3},
        "waiting_after": [listed[1]],
        "layers": [],
    }
    assert [one["state"] for one in command("snapshots")["snapshots"]] == ["applied", "applied"]
    assert command("run")["layers"][0]["key"] == 135


def test_after_a_replay_the_newer_snapshots_are_listed_as_waiting(
    command: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    first(tmp_path / "shop")
    command("run")
    second(tmp_path / "shop")
    command("run")

    done = command("replay", command("snapshots")["snapshots"][0]["snapshot"])

    assert [layer["key"] for layer in done["layers"]] == [468, 680]
    assert [one["state"] for one in command("snapshots")["snapshots"]] == ["applied", "waiting"]


def test_an_unknown_snapshot_is_an_error_that_says_where_to_look(
    command: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    first(tmp_path / "shop")
    command("run")

    with pytest.raises(Missing, match="bronze has no snapshot 2020/01") as error:
        command("replay", "2020/01/20200101T000000.000000Z")

    assert error.value.next_step == "medallion snapshots lists them"
