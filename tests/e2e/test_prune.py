"""Removing old snapshots: never what silver needs, never a part that a kept snapshot points at."""

from pathlib import Path

from elt.lakehouse import snapshots
from elt.lakehouse.ports import Lakehouse
from elt.runner import Runner
from tests.shops import write_shop


def three_snapshots(runner: Runner, shop: Path) -> None:
    """Three runs over a shop in which only the orders change: the later snapshots point at the first one's parts."""
    for quantity in ("2", "3", "4"):
        runner.run(write_shop(shop, pedidos=[{"quantidade": quantity}]))


def test_sweep_keeps_parts_that_a_committed_snapshot_points_at(
    runner: Runner, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    three_snapshots(runner, tmp_path / "shop")
    oldest, *_, newest = snapshots.committed(lakehouse.bucket)
    lakehouse.bucket.delete([f"{oldest}/{snapshots.MANIFEST}"])  # what a prune that was killed leaves

    removed = runner.sweep()

    assert [path.split("/")[-2] for path in removed] == ["pedidos"]
    for part in snapshots.parts_of(snapshots.read_manifest(lakehouse.bucket, newest)):
        snapshots.checked(lakehouse.bucket, part)
