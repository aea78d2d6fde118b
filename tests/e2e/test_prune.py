"""Removing old snapshots: never what silver needs, never a part that a kept snapshot points at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from elt.cli import medallion
from elt.errors import SnapshotError
from elt.lakehouse import snapshots
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Bucket, Lakehouse
from elt.progress import SilentReporter
from elt.runner import Runner
from tests.shops import contents, write_shop


def snapshots_of(runner: Runner, lakehouse: Lakehouse, shop: Path, looks: int = 3) -> list[str]:
    """Runs over a shop in which only the orders change: the later snapshots point at the first one's other parts."""
    for quantity in range(1, looks + 1):
        runner.run(write_shop(shop, pedidos=[{"quantidade": str(quantity)}]))
    return snapshots.committed(lakehouse.bucket)


def assert_whole(bucket: Bucket) -> None:
    """Every committed snapshot has every part, as its manifest says."""
    for snapshot in snapshots.committed(bucket):
        snapshots.check_parts(bucket, snapshots.read_manifest(bucket, snapshot), SilentReporter())


def test_prune_keeps_the_newest_snapshots_whole(runner: Runner, lakehouse: Lakehouse, tmp_path: Path) -> None:
    known = snapshots_of(runner, lakehouse, tmp_path / "shop")

    pruned = runner.prune(1)

    assert (pruned.removed, pruned.kept) == (known[:2], known[2:])
    assert snapshots.committed(lakehouse.bucket) == known[2:]
    assert_whole(lakehouse.bucket)
    assert snapshots.leftovers(lakehouse.bucket) == []
    assert {path.split("/")[-2] for path in pruned.objects if path.endswith(".parquet")} == {"pedidos"}


def test_prune_removes_shared_parts_with_the_last_snapshot_that_points_at_them(
    runner: Runner, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    known = snapshots_of(runner, lakehouse, tmp_path / "shop")
    runner.prune(1)
    runner.run(
        write_shop(
            tmp_path / "shop",
            clientes=[{"nome": "Bia"}],
            produtos=[{"estoque": "0"}],
            pedidos=[{"quantidade": "9"}],
        )
    )

    runner.prune(1)

    assert lakehouse.bucket.list(known[0]) == []
    assert_whole(lakehouse.bucket)


def test_prune_keeps_what_silver_has_not_applied(runner: Runner, lakehouse: Lakehouse, tmp_path: Path) -> None:
    for quantity in ("1", "2", "3"):
        runner.bronze(write_shop(tmp_path / "shop", pedidos=[{"quantidade": quantity}]))

    assert runner.prune(1).removed == []
    runner.silver()
    assert len(runner.prune(1).removed) == 2


def test_prune_keeps_the_snapshot_that_silver_applied_last(
    runner: Runner, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    known = snapshots_of(runner, lakehouse, tmp_path / "shop", looks=4)
    runner.replay(known[1])

    assert runner.prune(1).removed == known[:1]

    again = runner.run(write_shop(tmp_path / "shop", pedidos=[{"quantidade": "4"}]))
    assert [int(result.key) for result in again] == [246, 468, 680]


def test_a_run_after_prune_finds_only_what_changed(runner: Runner, lakehouse: Lakehouse, tmp_path: Path) -> None:
    snapshots_of(runner, lakehouse, tmp_path / "shop")
    runner.prune(1)
    before = contents(lakehouse)

    assert [int(r.key) for r in runner.run(write_shop(tmp_path / "shop", pedidos=[{"quantidade": "3"}]))] == [135]
    _, silver, _ = runner.run(write_shop(tmp_path / "shop", pedidos=[{"quantidade": "3"}, {"id_pedido": "101"}]))
    assert (silver.counts.written, silver.counts.unchanged) == (1, 3)
    assert contents(lakehouse)["silver.clientes"] == before["silver.clientes"]


def test_a_prune_that_died_leaves_only_what_sweep_removes(runner: Runner, lakehouse: Lakehouse, tmp_path: Path) -> None:
    oldest, *_, newest = snapshots_of(runner, lakehouse, tmp_path / "shop")
    lakehouse.bucket.delete([f"{oldest}/{snapshots.MANIFEST}"])  # the first thing that a prune does

    removed = runner.sweep().removed

    assert [path.split("/")[-2] for path in removed] == ["pedidos"], "the other parts belong to later snapshots too"
    assert_whole(lakehouse.bucket)
    assert newest in snapshots.committed(lakehouse.bucket)


@given(
    known=st.lists(st.integers(0, 99), unique=True).map(lambda numbers: [f"{n:02d}" for n in sorted(numbers)]),
    keep=st.integers(1, 10),
    applied=st.none() | st.integers(0, 99).map(lambda number: f"{number:02d}"),
)
def test_what_is_prunable_is_old_and_applied(known: list[str], keep: int, applied: str | None) -> None:
    removed = snapshots.prunable(known, keep, applied)

    assert removed == known[: len(removed)]
    assert len(known) - len(removed) >= min(keep, len(known))
    assert all(applied is not None and snapshot < applied for snapshot in removed)


@pytest.fixture
def three_looks(command: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """Three runs, the shop changed before each."""
    for quantity in ("1", "2", "3"):
        write_shop(tmp_path / "shop", pedidos=[{"quantidade": quantity}])
        command("run")


@pytest.mark.usefixtures("three_looks")
def test_a_dry_run_says_exactly_what_a_prune_then_does(command: Callable[..., dict[str, Any]]) -> None:
    before = command("snapshots")

    plan = command("prune", "--keep", "2", "--dry-run")
    assert command("snapshots") == before
    done = command("prune", "--keep", "2")

    assert plan.pop("dry_run") is True
    assert done.pop("dry_run") is False
    assert plan == done
    assert len(done["removed"]) == 1
    assert done["bytes"] > 0
    assert [one["snapshot"] for one in command("snapshots")["snapshots"]] == done["kept"]


@pytest.mark.usefixtures("three_looks")
def test_trace_of_a_row_whose_snapshot_was_pruned_still_names_the_run(command: Callable[..., dict[str, Any]]) -> None:
    before = command("trace", "clientes", "1")
    command("prune", "--keep", "1")

    after = command("trace", "clientes", "1")

    assert after["run"] == before["run"]
    assert after["snapshot"] == before["snapshot"]
    assert (after["object"], after["source_row"]) == (None, None)


OF_THE_SPECIFICATIONS_PROGRAM = [
    f"{table}/{table}_{when}.parquet"
    for table in ("clientes", "produtos", "pedidos")
    for when in ("2024_11", "2025_01")
]
OF_OTHERS = [*OF_THE_SPECIFICATIONS_PROGRAM, "fotos/loja.jpg", "leia-me.txt", "backup/_manifest.json"]


def with_objects_of_others(bucket: Bucket) -> Bucket:
    for path in OF_OTHERS:
        bucket.put(path, b"somebody's")
    return bucket


def test_a_sweep_removes_what_dead_runs_left_and_nothing_else(runner: Runner, lakehouse: Lakehouse) -> None:
    left = "2026/01/20260101T020000.000000Z/pedidos/part-00000.parquet"
    with_objects_of_others(lakehouse.bucket).put(left, b"a run was killed here")

    swept = runner.sweep()

    assert (swept.removed, swept.left_alone) == ([left], len(OF_OTHERS))
    assert lakehouse.bucket.list() == sorted(OF_OTHERS)


def test_a_prune_removes_snapshots_and_nothing_else(runner: Runner, lakehouse: Lakehouse, tmp_path: Path) -> None:
    with_objects_of_others(lakehouse.bucket)
    known = snapshots_of(runner, lakehouse, tmp_path / "shop")
    lakehouse.bucket.put(f"{known[0]}/notes.txt", b"somebody's, in a snapshot's folder")
    lakehouse.bucket.put(f"{known[0]}/_quality.json", b"a newer program's")

    pruned = runner.prune(1)

    assert pruned.removed == known[:2]
    assert pruned.left_alone == len(OF_OTHERS) + 1
    assert f"{known[0]}/_quality.json" in pruned.objects, "a mark goes with its snapshot"
    assert {*OF_OTHERS, f"{known[0]}/notes.txt"} <= set(lakehouse.bucket.list())
    assert_whole(lakehouse.bucket)


def test_a_newer_programs_mark_survives_a_sweep(runner: Runner, lakehouse: Lakehouse, tmp_path: Path) -> None:
    (known,) = snapshots_of(runner, lakehouse, tmp_path / "shop", looks=1)
    lakehouse.bucket.put(f"{known}/_quality.json", b"{}")

    assert runner.sweep().removed == []
    assert f"{known}/_quality.json" in lakehouse.bucket.list()


def test_nothing_is_swept_beside_what_a_newer_program_committed(
    runner: Runner, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    (known,) = snapshots_of(runner, lakehouse, tmp_path / "shop", looks=1)
    newer = snapshots.new_snapshot_id(known, snapshots.read_manifest(lakehouse.bucket, known).created_at)
    lakehouse.bucket.put(f"{newer}/_manifest.v2.json", b"{}")
    lakehouse.bucket.put(f"{newer}/pedidos/part-00000.parquet", b"of the newer program")
    before = lakehouse.bucket.list()

    for remove in (runner.sweep, lambda: runner.prune(1)):
        with pytest.raises(SnapshotError, match="does not know what"):
            remove()
    assert lakehouse.bucket.list() == before


@pytest.mark.usefixtures("three_looks")
def test_what_is_left_alone_is_counted_in_one_line_and_in_json(
    command: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    def said(*arguments: str) -> list[str]:
        return CliRunner().invoke(medallion, arguments, catch_exceptions=False).stdout.splitlines()

    assert not any("left alone" in line for line in said("bronze", "--sweep"))
    (tmp_path / "data" / "bucket" / "fotos").mkdir()
    (tmp_path / "data" / "bucket" / "fotos" / "1.jpg").write_bytes(b"")
    assert said("prune", "--keep", "9")[-1] == "1 object that is not the pipeline's was left alone"
    (tmp_path / "data" / "bucket" / "fotos" / "2.jpg").write_bytes(b"")
    assert said("bronze", "--sweep")[-1] == "2 objects that are not the pipeline's were left alone"
    assert command("bronze", "--sweep") == {"removed": [], "left_alone": 2}
    assert command("prune", "--keep", "1", "--dry-run")["left_alone"] == 2


def test_what_a_killed_check_leaves_is_swept(
    command: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shop(tmp_path / "shop")
    with monkeypatch.context() as killed:
        killed.setattr(FolderBucket, "delete", lambda *_: None)
        CliRunner().invoke(medallion, ["check"], catch_exceptions=False)
    assert [file.stat().st_size for file in (tmp_path / "data" / "bucket").rglob("*") if file.is_file()] == [2**20]

    swept = command("bronze", "--sweep")

    assert (len(swept["removed"]), swept["left_alone"]) == (1, 0)
