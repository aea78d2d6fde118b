"""What bronze's bucket holds, by its manifests, what is warned of and refused, and how old snapshots go."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from elt.cli import medallion
from elt.errors import Full, LeaseError, MedallionError, TooLarge
from elt.lakehouse import snapshots
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Bucket, Lakehouse
from elt.lakehouse.quota import Quota
from elt.ledger import last_complete, recent
from elt.progress import JsonReporter, SilentReporter
from elt.runner import Runner
from elt.sources.files import FilesSource
from tests.commands import json_lines
from tests.gateway.faults import Rule
from tests.gateway.fixtures import Gateway
from tests.hosted import BUCKET, lakehouse_of, project_of
from tests.shops import write_shop

LISTED = f"/storage/v1/object/list/{BUCKET}"
STORED = f"/storage/v1/object/{BUCKET}/"


@pytest.fixture
def hosted(gateway: Gateway) -> Iterator[Lakehouse]:
    with lakehouse_of(project_of(gateway)) as lakehouse:
        yield lakehouse


def look(lakehouse: Lakehouse, shop: Path, quantity: int, *, keep: int | None = None) -> list[dict[str, Any]]:
    """A run over a shop in which one order changed; answers what it said."""
    log = io.StringIO()
    source = write_shop(shop, pedidos=[{"quantidade": str(quantity)}])
    Runner(lakehouse, JsonReporter(log)).run(source, keep_snapshots=keep)
    return json_lines(log.getvalue())


def warnings(said: list[dict[str, Any]]) -> list[str]:
    return [str(line["message"]) for line in said if line["level"] == "warning"]


def bytes_of_parts(bucket: Bucket) -> int:
    return sum(size for path, size in bucket.sizes().items() if path.endswith(".parquet"))


# What there is.


def test_the_bytes_are_those_of_every_part_once(lakehouse: Lakehouse, tmp_path: Path) -> None:
    for quantity in (1, 2, 3):  # clientes and produtos do not change, and are pointed at by all three
        look(lakehouse, tmp_path / "shop", quantity)
    lakehouse.bucket.put("2024/01/20240101T000000.000000Z/pedidos/part-00000.parquet", b"of a run that died")

    found = snapshots.contents(lakehouse.bucket)

    assert found.committed == snapshots.committed(lakehouse.bucket)
    assert len(found.parts) == 2 + 3
    assert found.bytes == bytes_of_parts(lakehouse.bucket) - len(b"of a run that died")


def test_no_object_is_listed_to_know_the_bytes_and_manifests_are_read_together(
    hosted: Lakehouse, gateway: Gateway, tmp_path: Path
) -> None:
    for quantity in range(6):
        look(hosted, tmp_path / "shop", quantity + 1)
    gateway.forget_requests()

    found = snapshots.contents(hosted.bucket)

    assert found.bytes == bytes_of_parts(hosted.bucket)
    folders = {r.path.removeprefix(STORED).rsplit("/", 1)[0] for r in gateway.requests(STORED, "GET")}
    assert folders == set(found.committed)
    assert max(request.beside for request in gateway.requests(STORED, "GET")) > 0


def test_what_a_shop_before_a_reset_left_takes_room_and_is_nobodys_to_prune(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    for quantity in (1, 2):
        look(lakehouse, tmp_path / "shop", quantity)
    Runner(lakehouse, SilentReporter()).reset()
    for quantity in (1, 2):
        look(lakehouse, tmp_path / "another", quantity, keep=1)

    found = snapshots.contents(lakehouse.bucket)

    assert (len(found.ever_committed), len(found.committed)) == (3, 1)
    assert found.bytes == bytes_of_parts(lakehouse.bucket)


def test_a_manifest_that_cannot_be_read_is_named_and_the_others_count(lakehouse: Lakehouse, tmp_path: Path) -> None:
    for quantity in (1, 2):
        look(lakehouse, tmp_path / "shop", quantity)
    older, newer = snapshots.committed(lakehouse.bucket)
    assert isinstance(lakehouse.bucket, FolderBucket)
    (lakehouse.bucket.root / older / snapshots.MANIFEST).write_text("{}")

    found = snapshots.contents(lakehouse.bucket)

    assert (found.unreadable, found.committed) == ((older,), [older, newer])
    assert 0 < found.bytes < bytes_of_parts(lakehouse.bucket)


def test_status_and_check_say_how_many_bytes_the_bucket_holds(
    command: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shop(tmp_path / "shop")
    command("run")
    held = bytes_of_parts(FolderBucket(tmp_path / "data" / "bucket"))

    assert command("status")["storage"]["bucket_bytes"] == held
    assert command("check")["bronze"] == {"snapshots": 1, "bytes": held}
    said = CliRunner().invoke(medallion, ["check"]).stdout
    assert f"bronze holds {held / 1000:.1f} kB in 1 snapshot" in said

    monkeypatch.setenv("STORAGE_QUOTA", str(held + 1))
    (warning,) = command("check")["warnings"]
    assert "of STORAGE_QUOTA" in warning
    assert command("status")["storage"]["warning"] == warning
    assert warning in " ".join(CliRunner().invoke(medallion, ["status"]).stdout.split())
    monkeypatch.setenv("STORAGE_QUOTA", str(held))
    full = CliRunner().invoke(medallion, ["check"])
    assert isinstance(full.exception, Full), "no snapshot would be taken"


# What is too much.


@pytest.mark.parametrize("enforced", [False, True], ids=["hosted", "STORAGE_QUOTA"])
def test_from_80_per_cent_on_a_run_that_stores_a_snapshot_warns(
    hosted: Lakehouse, tmp_path: Path, enforced: bool
) -> None:
    assert warnings(look(hosted, tmp_path / "shop", 1)) == []
    first = bytes_of_parts(hosted.bucket)

    roomy, nearly_full = (replace(hosted, quota=Quota(times * first, enforced)) for times in (10, 2))
    assert warnings(look(roomy, tmp_path / "shop", 2)) == []
    (warning,) = warnings(look(nearly_full, tmp_path / "shop", 3))
    assert ("STORAGE_QUOTA, and what would pass it is refused" in warning) == enforced
    assert warnings(look(nearly_full, tmp_path / "shop", 3)) == [], "nothing is stored"


def test_what_would_pass_a_quota_that_is_set_is_refused_before_the_first_write(
    hosted: Lakehouse, gateway: Gateway, tmp_path: Path
) -> None:
    look(hosted, tmp_path / "shop", 1)
    held = bytes_of_parts(hosted.bucket)
    before = hosted.bucket.list()
    gateway.forget_requests()

    with pytest.raises(Full, match="more than STORAGE_QUOTA") as caught:
        look(replace(hosted, quota=Quota(held, enforced=True)), tmp_path / "shop", 2)

    assert caught.value.kept == "nothing was written"
    assert "medallion prune --keep" in caught.value.next_step
    assert gateway.requests("/storage/v1/", "POST") == gateway.requests(LISTED, "POST")
    assert hosted.bucket.list() == before


def test_a_project_that_may_have_more_is_not_stopped(hosted: Lakehouse, tmp_path: Path) -> None:
    said = look(replace(hosted, quota=Quota(1, enforced=False)), tmp_path / "shop", 1)
    assert len(warnings(said)) == 1
    assert len(snapshots.committed(hosted.bucket)) == 1


def test_restoring_looks_before_it_writes_too(lakehouse: Lakehouse, hosted: Lakehouse, tmp_path: Path) -> None:
    for quantity in (1, 2):
        look(lakehouse, tmp_path / "shop", quantity)
    size = bytes_of_parts(lakehouse.bucket)
    for limit in (size - 1, size):
        runner = Runner(replace(hosted, quota=Quota(limit, enforced=True)), SilentReporter())
        if limit < size:
            with pytest.raises(Full):
                runner.copy_snapshots(lakehouse.bucket, hosted.bucket)
            assert hosted.bucket.list() == []
        else:
            assert len(runner.copy_snapshots(lakehouse.bucket, hosted.bucket)) == 2


def test_attempts_that_fail_one_after_the_other_leave_nothing_in_the_bucket(
    hosted: Lakehouse, gateway: Gateway, tmp_path: Path
) -> None:
    gateway.faults(Rule(kind="status", methods=("POST",), path=STORED, status=413, on=frozenset({2, 5})))
    for _ in range(2):
        with pytest.raises(TooLarge):
            look(hosted, tmp_path / "shop", 1)
        assert hosted.bucket.list() == []
    look(hosted, tmp_path / "shop", 1)
    assert len(hosted.bucket.list()) == 4


# Old snapshots.


def of_pruning(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in said if "KEEP_SNAPSHOTS" in str(line["message"])]


def test_a_successful_run_keeps_so_many_snapshots_whole(lakehouse: Lakehouse, tmp_path: Path) -> None:
    for quantity in (1, 2):
        assert of_pruning(look(lakehouse, tmp_path / "shop", quantity, keep=2)) == []
    before = snapshots.committed(lakehouse.bucket)

    (said,) = of_pruning(look(lakehouse, tmp_path / "shop", 3, keep=2))

    assert str(said["message"]).startswith("bronze: 1 old snapshots removed (KEEP_SNAPSHOTS=2): ")
    kept = snapshots.committed(lakehouse.bucket)
    assert (kept[0], len(kept)) == (before[1], 2)
    for snapshot in kept:
        snapshots.check_parts(lakehouse.bucket, snapshots.read_manifest(lakehouse.bucket, snapshot), SilentReporter())
    assert len(lakehouse.bucket.list()) == 2 + 2 + 2, "manifests, pedidos, and what did not change once"


def test_without_the_setting_all_are_kept(lakehouse: Lakehouse, tmp_path: Path) -> None:
    for quantity in (1, 2, 3):
        look(lakehouse, tmp_path / "shop", quantity)
    assert len(snapshots.committed(lakehouse.bucket)) == 3


def test_a_run_that_finds_nothing_new_removes_old_snapshots_as_well(lakehouse: Lakehouse, tmp_path: Path) -> None:
    for quantity in (1, 2, 3):
        look(lakehouse, tmp_path / "shop", quantity)
    look(lakehouse, tmp_path / "shop", 3, keep=1)
    assert len(snapshots.committed(lakehouse.bucket)) == 1


def test_what_silver_has_not_applied_yet_is_applied_before_it_goes(lakehouse: Lakehouse, tmp_path: Path) -> None:
    runner = Runner(lakehouse, SilentReporter())
    runner.bronze(write_shop(tmp_path / "shop", clientes=[{}, {"id_cliente": "2"}]))  # a customer who leaves the source
    runner.bronze(write_shop(tmp_path / "shop"))
    runner.run(FilesSource(tmp_path / "shop"), keep_snapshots=1)
    assert len(snapshots.committed(lakehouse.bucket)) == 1
    assert lakehouse.tables.count("silver.clientes") == 2


def test_a_run_that_fails_removes_nothing(lakehouse: Lakehouse, tmp_path: Path) -> None:
    for quantity in (1, 2):
        look(lakehouse, tmp_path / "shop", quantity)
    (tmp_path / "shop" / "pedidos.csv").unlink()
    with pytest.raises(MedallionError):
        Runner(lakehouse, SilentReporter()).run(FilesSource(tmp_path / "shop"), keep_snapshots=1)
    assert len(snapshots.committed(lakehouse.bucket)) == 2


def test_a_prune_that_fails_is_said_and_the_run_is_as_good_as_without_it(
    hosted: Lakehouse, gateway: Gateway, tmp_path: Path
) -> None:
    for quantity in (1, 2):
        look(hosted, tmp_path / "shop", quantity)
    gateway.faults(Rule(kind="status", methods=("DELETE",), path="/storage/v1/object", status=403))
    source = write_shop(tmp_path / "shop", pedidos=[{"quantidade": "3"}])
    log = io.StringIO()

    results = Runner(hosted, JsonReporter(log)).run(source, keep_snapshots=1)

    assert [int(result.key) for result in results] == [246, 468, 680]
    (warning,) = warnings(json_lines(log.getvalue()))
    assert "the run is complete, but old snapshots could not be removed (KEEP_SNAPSHOTS=1): deleting" in warning
    assert last_complete(recent(hosted.tables)) is not None
    gateway.faults()
    look(hosted, tmp_path / "shop", 3, keep=1)
    assert len(snapshots.committed(hosted.bucket)) == 1, "the next run tries again"


def test_nobody_else_is_at_work_while_old_snapshots_go(lakehouse: Lakehouse, tmp_path: Path) -> None:
    class Watched(FolderBucket):
        deleted = 0

        def delete(self, paths: Sequence[str]) -> None:
            with pytest.raises(LeaseError):
                Runner(lakehouse, SilentReporter()).gold()
            self.deleted += len(paths)
            super().delete(paths)

    for quantity in (1, 2):
        look(lakehouse, tmp_path / "shop", quantity)
    assert isinstance(lakehouse.bucket, FolderBucket)
    watched = Watched(lakehouse.bucket.root)
    look(replace(lakehouse, bucket=watched), tmp_path / "shop", 2, keep=1)
    assert watched.deleted == 2, "the manifest and pedidos"


def test_the_setting_reaches_the_run(
    command: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEP_SNAPSHOTS", "1")
    for quantity in ("1", "2"):
        write_shop(tmp_path / "shop", pedidos=[{"quantidade": quantity}])
        command("run")
    assert len(command("snapshots")["snapshots"]) == 1
