"""An object of bronze that is damaged or lost: the ways on that the error names, typed as they stand there."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elt.errors import SnapshotError
from elt.lakehouse import snapshots
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.sources.files import FilesSource
from tests.shops import contents, write_shop
from tests.snapshots import JANUARY, commit, part_path


def visit(shop: Path, number: int) -> FilesSource:
    """Only the orders change; the later snapshots point at the first one's other parts."""
    orders = [{"id_pedido": str(100 + order)} for order in range(number)]
    return write_shop(shop, clientes=[{}, {"id_cliente": "2", "idade": "?"}], pedidos=orders)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return tmp_path / "shop"


@pytest.fixture
def backup(tmp_path: Path) -> FolderBucket:
    return FolderBucket(tmp_path / "backup")


@pytest.fixture
def root(lakehouse: Lakehouse, runner: Runner, shop: Path, backup: FolderBucket) -> Path:
    """The bucket after two runs, a backup, and a third snapshot that silver has not applied."""
    for number in (1, 2):
        runner.run(visit(shop, number))
    runner.copy_snapshots(lakehouse.bucket, backup)
    runner.bronze(visit(shop, 3))
    assert isinstance(lakehouse.bucket, FolderBucket)
    return lakehouse.bucket.root


def restore(lakehouse: Lakehouse, backup: FolderBucket) -> list[str]:
    """``medallion restore FOLDER``."""
    return Runner(lakehouse, SilentReporter()).copy_snapshots(backup, lakehouse.bucket)


def untroubled(new_lakehouse: Callable[[], Lakehouse], shop: Path) -> dict[str, list[tuple[object, ...]]]:
    """What the same visits give where no object was ever damaged."""
    other = new_lakehouse()
    for number in (1, 2, 3):
        Runner(other, SilentReporter()).run(visit(shop, number))
    return contents(other)


def named(error: SnapshotError) -> list[str]:
    """The objects that the error says to delete where there is no backup."""
    (list_of_them,) = re.findall(r"without a backup .*: delete (.*) \(not its folder", error.next_step)
    return str(list_of_them).split(" and ")


def test_a_lost_part_comes_back_from_a_backup(
    lakehouse: Lakehouse,
    runner: Runner,
    root: Path,
    shop: Path,
    backup: FolderBucket,
    new_lakehouse: Callable[[], Lakehouse],
) -> None:
    (part,) = (
        snapshots.read_manifest(lakehouse.bucket, snapshots.committed(lakehouse.bucket)[0]).tables["clientes"].parts
    )
    (root / part.path).unlink()
    with pytest.raises(SnapshotError, match="it is not in the bucket") as error:
        runner.silver()
    assert "medallion restore FOLDER" in error.value.next_step

    assert len(restore(lakehouse, backup)) == 1
    runner.run(visit(shop, 3))

    assert contents(lakehouse) == untroubled(new_lakehouse, shop)
    assert restore(lakehouse, backup) == [], "nothing is lost any more"


def test_a_damaged_part_comes_back_from_a_backup_once_it_is_deleted(
    lakehouse: Lakehouse,
    runner: Runner,
    root: Path,
    shop: Path,
    backup: FolderBucket,
    new_lakehouse: Callable[[], Lakehouse],
) -> None:
    (part,) = (
        snapshots.read_manifest(lakehouse.bucket, snapshots.committed(lakehouse.bucket)[0]).tables["clientes"].parts
    )
    (root / part.path).write_bytes(b"?" * part.bytes)
    with pytest.raises(SnapshotError, match="its sha256 is") as error:
        runner.silver()
    assert "delete that object if it is there, then: medallion restore FOLDER" in error.value.next_step

    (root / part.path).unlink()
    restore(lakehouse, backup)
    runner.run(visit(shop, 3))

    assert contents(lakehouse) == untroubled(new_lakehouse, shop)


def test_without_a_backup_the_snapshots_that_hold_a_damaged_part_can_be_done_without(
    lakehouse: Lakehouse, runner: Runner, root: Path, shop: Path, new_lakehouse: Callable[[], Lakehouse]
) -> None:
    known = snapshots.committed(lakehouse.bucket)
    (part,) = snapshots.read_manifest(lakehouse.bucket, known[0]).tables["clientes"].parts
    (root / part.path).write_bytes(b"?")
    with pytest.raises(SnapshotError) as error:
        runner.silver()
    assert named(error.value) == [f"{snapshot}/_manifest.json" for snapshot in known]

    for snapshot in known:
        (root / snapshot / "_manifest.json").unlink()
    runner.run(visit(shop, 3))

    assert contents(lakehouse) == untroubled(new_lakehouse, shop)
    runner.sweep()
    assert part.path not in lakehouse.bucket.list()
    assert [int(result.key) for result in runner.run(visit(shop, 3))] == [135]


def test_only_the_snapshots_that_hold_the_damaged_part_are_named(
    lakehouse: Lakehouse, runner: Runner, root: Path, shop: Path, new_lakehouse: Callable[[], Lakehouse]
) -> None:
    newest = snapshots.committed(lakehouse.bucket)[-1]
    (root / newest / "pedidos" / "part-00000.parquet").write_bytes(b"?")
    with pytest.raises(SnapshotError) as error:
        runner.silver()
    assert named(error.value) == [f"{newest}/_manifest.json"]

    (root / newest / "_manifest.json").unlink()
    runner.run(visit(shop, 3))

    assert contents(lakehouse) == untroubled(new_lakehouse, shop)


@pytest.mark.parametrize("with_backup", [True, False])
def test_a_damaged_manifest_is_put_back_or_done_without_once_it_is_deleted(
    lakehouse: Lakehouse,
    runner: Runner,
    root: Path,
    shop: Path,
    backup: FolderBucket,
    new_lakehouse: Callable[[], Lakehouse],
    with_backup: bool,
) -> None:
    oldest = snapshots.committed(lakehouse.bucket)[0]
    (root / oldest / "_manifest.json").write_bytes(b"garbage")
    with pytest.raises(SnapshotError, match="is not readable") as error:
        runner.replay(oldest)
    assert "delete that object (not its folder" in error.value.next_step
    assert "medallion restore FOLDER" in error.value.next_step

    (root / oldest / "_manifest.json").unlink()
    if with_backup:
        assert restore(lakehouse, backup) == [oldest]
    runner.run(visit(shop, 3))

    assert contents(lakehouse) == untroubled(new_lakehouse, shop)
    for snapshot in snapshots.committed(lakehouse.bucket):
        snapshots.check_parts(lakehouse.bucket, snapshots.read_manifest(lakehouse.bucket, snapshot), SilentReporter())


def test_no_error_advises_to_remove_a_folder(lakehouse: Lakehouse, runner: Runner, root: Path) -> None:
    newest = snapshots.committed(lakehouse.bucket)[-1]
    for damage in (b"", b"garbage"):
        for file in (root / newest / "pedidos" / "part-00000.parquet", root / newest / "_manifest.json"):
            whole = file.read_bytes()
            file.write_bytes(damage)
            with pytest.raises(SnapshotError) as error:
                runner.silver()
            assert "remove" not in error.value.next_step
            assert "not its folder: other snapshots may point at its parts" in error.value.next_step
            file.write_bytes(whole)


def test_a_damaged_backup_is_named_as_the_place_of_the_damage(
    command: Callable[..., dict[str, Any]], backup: FolderBucket
) -> None:
    commit(backup, JANUARY)
    (backup.root / part_path(JANUARY)).write_bytes(b"?")

    with pytest.raises(SnapshotError, match=f"^in {re.escape(str(backup.root))}: the bronze object {JANUARY}"):
        command("restore", str(backup.root))


def test_many_snapshots_that_hold_a_damaged_part_are_named_by_the_first_and_the_last(tmp_path: Path) -> None:
    bucket = FolderBucket(tmp_path / "bucket")
    commit(bucket, JANUARY)
    later = [f"2026/{month:02d}/2026{month:02d}01T020000.000000Z" for month in (3, 5, 7, 9)]
    for snapshot in later:
        commit(bucket, snapshot, [part_path(JANUARY)])
    (part,) = snapshots.parts_of(snapshots.read_manifest(bucket, JANUARY))
    (bucket.root / part.path).unlink()

    with pytest.raises(SnapshotError) as error:
        snapshots.checked(bucket, part)

    assert named(error.value) == [f"the _manifest.json of the 5 snapshots from {JANUARY} to {later[-1]}"]
