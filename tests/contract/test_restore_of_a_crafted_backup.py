"""What a backup that somebody tampered with cannot do: reach out of the two buckets, or fill the memory."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from elt.errors import Denied, SnapshotError, TooLarge
from elt.lakehouse import snapshots
from elt.lakehouse.folder import FolderBucket
from elt.progress import SilentReporter
from tests.snapshots import JANUARY, MARCH, commit, manifest, part, part_path


@pytest.fixture
def backup(tmp_path: Path) -> FolderBucket:
    return FolderBucket(tmp_path / "deep" / "down" / "backup" / "of" / "march")


@pytest.fixture
def bucket(tmp_path: Path) -> FolderBucket:
    return FolderBucket(tmp_path / "deep" / "down" / "bucket")


def restore(backup: FolderBucket, bucket: FolderBucket) -> list[str]:
    return snapshots.copy(backup, bucket, SilentReporter())


def files_under(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir()}


ESCAPES = [
    "../../evil",
    "/tmp/evil",
    f"{JANUARY}/pedidos/../../../../../../evil",
    f"{JANUARY}/../../../../evil/part-00000.parquet",
    f"{JANUARY}/pedidos/..\\..\\evil",
    f"{JANUARY}/pedidos/part-..\\..\\evil.parquet",
    f"../{part_path(JANUARY)}",
    f"/{part_path(JANUARY)}",
    "fotos/1.jpg",
    f"{JANUARY}/_manifest.json",
    f"{MARCH}/_manifest.json",
    part_path(JANUARY, "clientes"),
    f"{JANUARY}/pedidos/part-\x1b[2J.parquet",
    "",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_a_path_that_is_none_of_a_part_of_its_table_is_refused_before_anything_is_copied(
    backup: FolderBucket, bucket: FolderBucket, tmp_path: Path, path: str
) -> None:
    evil = backup.root / path if path else backup.root / "nothing"
    if not evil.exists() and evil.is_relative_to(tmp_path):
        evil.parent.mkdir(parents=True, exist_ok=True)
        evil.write_bytes(part())
    (backup.root / JANUARY).mkdir(parents=True, exist_ok=True)
    (backup.root / f"{JANUARY}/_manifest.json").write_bytes(manifest(JANUARY, {path: part()}))
    before = files_under(tmp_path)

    with pytest.raises(
        SnapshotError, match=r"_manifest\.json is not readable: .* is no (path of a part|part of)"
    ) as error:
        restore(backup, bucket)

    assert files_under(tmp_path) == before
    assert error.value.what.isprintable(), "no control character of a manifest reaches a terminal"


def test_an_honest_backup_is_restored(backup: FolderBucket, bucket: FolderBucket) -> None:
    commit(backup, JANUARY)
    commit(backup, MARCH, [part_path(JANUARY)])

    assert restore(backup, bucket) == [JANUARY, MARCH]
    assert bucket.sizes() == backup.sizes()


@pytest.mark.parametrize("name", ["..", "a/b", "silver.clientes; drop table x", "", "a.b"])
def test_a_table_with_a_name_that_no_table_has_is_refused(
    backup: FolderBucket, bucket: FolderBucket, name: str
) -> None:
    table: dict[str, Any] = {"rows": 0, "columns": {}, "fingerprint": "", "parts": []}
    backup.put(f"{JANUARY}/_manifest.json", manifest(JANUARY, {}, tables={name: table}))

    with pytest.raises(SnapshotError, match="is no name of a table"):
        restore(backup, bucket)


def test_a_manifest_of_another_folder_is_refused(backup: FolderBucket, bucket: FolderBucket) -> None:
    backup.put(part_path(JANUARY), part())
    backup.put(f"{JANUARY}/_manifest.json", manifest(MARCH, {part_path(JANUARY): part()}))

    with pytest.raises(SnapshotError, match=f"it is the manifest of '{MARCH}'"):
        restore(backup, bucket)
    assert bucket.list() == []


def test_a_link_that_leads_out_of_the_backup_is_not_followed(
    backup: FolderBucket, bucket: FolderBucket, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(part())
    commit(backup, JANUARY)
    (backup.root / part_path(JANUARY)).unlink()
    (backup.root / part_path(JANUARY)).symlink_to(secret)

    with pytest.raises(Denied, match="leads out of the folder"):
        restore(backup, bucket)
    assert bucket.list() == []


def test_nothing_is_written_or_deleted_through_a_link_in_the_bucket(
    backup: FolderBucket, bucket: FolderBucket, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "01").mkdir(parents=True)
    (elsewhere / "01" / "kept").write_bytes(b"")
    bucket.root.mkdir(parents=True)
    (bucket.root / "2026").symlink_to(elsewhere)
    commit(backup, JANUARY)

    with pytest.raises(Denied, match="leads out of the folder"):
        restore(backup, bucket)
    with pytest.raises(Denied, match="leads out of the folder"):
        bucket.delete(["2026/01/kept"])
    assert files_under(elsewhere) == {"01/kept"}


@pytest.mark.parametrize("which", ["part", "manifest"])
def test_a_file_larger_than_it_may_be_is_refused_unread(backup: FolderBucket, bucket: FolderBucket, which: str) -> None:
    commit(backup, JANUARY)
    path = backup.root / (part_path(JANUARY) if which == "part" else f"{JANUARY}/_manifest.json")
    os.truncate(path, 2**40)  # with holes: it takes no space, but no machine's memory holds it

    with pytest.raises(TooLarge, match="has 1,099,511,627,776 bytes"):
        restore(backup, bucket)
    assert bucket.list() == []


def test_a_part_that_is_no_file_is_refused_unread(backup: FolderBucket, bucket: FolderBucket) -> None:
    commit(backup, JANUARY)
    (backup.root / part_path(JANUARY)).unlink()
    os.mkfifo(backup.root / part_path(JANUARY))  # to read it would be to wait for ever

    with pytest.raises(SnapshotError, match="it is not in the bucket"):
        restore(backup, bucket)


@pytest.mark.parametrize(("name", "value"), [("bytes", 10**15), ("bytes", -1), ("rows", -1), ("rows", 10**30)])
def test_sizes_that_no_part_has_are_refused(backup: FolderBucket, bucket: FolderBucket, name: str, value: int) -> None:
    document = json.loads(manifest(JANUARY, {part_path(JANUARY): part()}))
    document["tables"]["pedidos"]["parts"][0][name] = value
    backup.put(part_path(JANUARY), part())
    backup.put(f"{JANUARY}/_manifest.json", json.dumps(document).encode())

    with pytest.raises(SnapshotError, match="is not readable"):
        restore(backup, bucket)
    assert bucket.list() == []


def test_a_newer_format_is_named_as_such_however_different_it_is(backup: FolderBucket, bucket: FolderBucket) -> None:
    backup.put(f"{JANUARY}/_manifest.json", b'{"format": 7, "parts": ["somewhere/else"]}')

    with pytest.raises(SnapshotError, match="has format 7; this version reads 1"):
        restore(backup, bucket)


@pytest.mark.parametrize(("content", "said"), [(part(rows=2), "it has 2 rows"), (b"PAR1PAR1", "it is no Parquet file")])
def test_a_part_that_is_not_what_its_own_manifest_says_is_not_copied(
    backup: FolderBucket, bucket: FolderBucket, content: bytes, said: str
) -> None:
    backup.put(part_path(JANUARY), content)
    backup.put(f"{JANUARY}/_manifest.json", manifest(JANUARY, {part_path(JANUARY): content}))

    with pytest.raises(SnapshotError, match=said):
        restore(backup, bucket)
    assert bucket.list() == []
