"""A bucket that others keep things in, too: none of them is taken for a snapshot, and none is deleted."""

import pytest

from elt.errors import SnapshotError
from elt.lakehouse import snapshots
from elt.lakehouse.ports import Bucket, Lakehouse
from tests.snapshots import JANUARY, MARCH, MAY, commit, manifest, part, part_path

OTHERS = [
    "clientes.parquet",
    "2026/03/pedidos_2026_03.parquet",
    "2026/05/z.txt",
    "2027/relatorio.txt",
    "fotos/loja/1.jpg",
    "backup/_manifest.json",
    "backup/_reset.json",
    "2026/_manifest.json",
    "2026/12/natal/_manifest.json",
    "2026/12/natal/fotos/part-00000.parquet",
    f"{MARCH}/notes.txt",
    f"{MARCH}/_manifest.json.bak",
    "zz/2026/01/20260101T020000.000000Z/pedidos/part-00000.parquet",
]


@pytest.fixture
def bucket(any_lakehouse: Lakehouse) -> Bucket:
    """A snapshot in January, a second in May that needs only January's part, leftovers in March, and OTHERS."""
    bucket = any_lakehouse.bucket
    commit(bucket, JANUARY)
    bucket.put(part_path(MARCH), part())
    commit(bucket, MAY, [part_path(JANUARY)])
    for path in OTHERS:
        bucket.put(path, b"somebody's")
    return bucket


def test_only_the_pipelines_own_snapshots_are_found(bucket: Bucket) -> None:
    assert snapshots.committed(bucket) == [JANUARY, MAY]
    assert snapshots.committed_since(bucket, JANUARY, snapshots.NOTHING_KNOWN) == [JANUARY, MAY]
    found = snapshots.newest(bucket)
    assert found is not None
    assert found.snapshot == MAY


def test_a_folder_whose_manifest_was_renamed_is_not_committed(bucket: Bucket) -> None:
    found = snapshots.committed_since(bucket, JANUARY, snapshots.NOTHING_KNOWN)

    assert MARCH not in found


def test_only_parts_that_no_snapshot_needs_are_leftovers(bucket: Bucket) -> None:
    assert snapshots.leftovers(bucket) == [part_path(MARCH)]
    assert snapshots.leftovers(bucket, without=[MAY]) == [part_path(MARCH), f"{MAY}/_manifest.json"]


def test_what_is_not_the_pipelines_is_told_apart(bucket: Bucket) -> None:
    assert sorted(snapshots.of_others(bucket.list())) == sorted(OTHERS)


def test_a_newer_programs_mark_in_a_committed_snapshot_is_no_leftover(bucket: Bucket) -> None:
    bucket.put(f"{MAY}/_quality.json", b"{}")

    assert snapshots.leftovers(bucket) == [part_path(MARCH)]
    assert f"{MAY}/_quality.json" in snapshots.leftovers(bucket, without=[MAY]), "it goes with its snapshot"


def test_nothing_is_a_leftover_while_a_newer_program_may_need_it(bucket: Bucket) -> None:
    bucket.put(f"{MARCH}/_manifest.v2.json", b"{}")

    with pytest.raises(SnapshotError, match=r"does not know what .*_manifest\.v2\.json is for") as error:
        snapshots.leftovers(bucket)
    assert error.value.kept == "nothing was removed"


def test_a_manifest_under_another_snapshots_name_is_refused(bucket: Bucket) -> None:
    bucket.put(f"{MARCH}/_manifest.json", manifest(JANUARY, {part_path(MARCH): part()}))

    with pytest.raises(SnapshotError, match=f"{MARCH}/_manifest.json is not readable: .*the manifest of '{JANUARY}'"):
        snapshots.read_manifest(bucket, MARCH)
