"""What every ``Bucket`` does, whatever is behind it."""

from pathlib import Path

import pytest

from elt.errors import Missing, Rejected
from elt.lakehouse.ports import Bucket, Lakehouse
from tests.contract.conftest import HOSTED


@pytest.fixture
def bucket(any_lakehouse: Lakehouse) -> Bucket:
    return any_lakehouse.bucket


def test_an_object_comes_back_as_it_was_put(bucket: Bucket) -> None:
    content = bytes(range(256)) * 10
    bucket.put("2026/01/a/part-00000.parquet", content)
    assert bucket.get("2026/01/a/part-00000.parquet") == content


def test_a_file_can_be_put(bucket: Bucket, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    bucket.put("a/file", file)
    assert bucket.get("a/file") == b"content"


def test_an_empty_object_is_an_object(bucket: Bucket) -> None:
    bucket.put("empty", b"")
    assert bucket.get("empty") == b""


@pytest.mark.parametrize("size", [3, 7 * 2**20], ids=["small", "large"])
def test_an_object_is_never_overwritten(bucket: Bucket, size: int) -> None:
    bucket.put("a", b"x" * size)
    for content in (b"y" * size, b"x" * size):
        with pytest.raises(Rejected):
            bucket.put("a", content)
    assert bucket.get("a") == b"x" * size


def test_a_large_object_comes_back_as_it_was_put(bucket: Bucket) -> None:
    content = bytes(range(256)) * (13 * 2**20 // 256) + b"end"
    bucket.put("2026/01/large", content)
    assert bucket.get("2026/01/large") == content


def test_an_object_that_is_not_there_is_missing(bucket: Bucket) -> None:
    with pytest.raises(Missing):
        bucket.get("nothing/here")


def test_all_objects_of_every_folder_are_listed_sorted(bucket: Bucket) -> None:
    paths = sorted(f"2026/{month:02d}/{part}" for month in (1, 2) for part in range(60))
    for path in [*paths, "_x"]:
        bucket.put(path, b"1")
    assert bucket.list() == [*paths, "_x"]


def test_objects_are_listed_by_the_beginning_of_their_path(bucket: Bucket) -> None:
    for path in ("a/b/1", "a/b/2", "a/bc/3", "a/c/4", "d"):
        bucket.put(path, b"1")
    assert bucket.list("a/b") == ["a/b/1", "a/b/2", "a/bc/3"]
    assert bucket.list("a/b/") == ["a/b/1", "a/b/2"]
    assert bucket.list("x") == []


def test_more_than_a_hundred_objects_in_a_folder_are_listed(bucket: Bucket) -> None:
    paths = [f"a/{number:03d}" for number in range(105)]
    for path in paths:
        bucket.put(path, b"1")
    assert bucket.list() == paths


def test_deleted_objects_are_gone_and_may_be_gone_already(bucket: Bucket) -> None:
    for path in ("a/1", "a/2", "b/3"):
        bucket.put(path, b"1")
    bucket.delete(["a/1", "b/3", "never/there"])
    assert bucket.list() == ["a/2"]
    bucket.delete([])


def test_sizes_are_the_bytes_of_each_object(bucket: Bucket) -> None:
    bucket.put("2026/01/a/part-00000.parquet", b"x" * 1_234)
    bucket.put("2026/01/a/_manifest.json", b"{}")
    bucket.put("2026/02/b/_manifest.json", b"{ }")

    assert bucket.sizes() == {
        "2026/01/a/_manifest.json": 2,
        "2026/01/a/part-00000.parquet": 1_234,
        "2026/02/b/_manifest.json": 3,
    }
    assert list(bucket.sizes()) == bucket.list()
    assert bucket.sizes("2026/02") == {"2026/02/b/_manifest.json": 3}


def test_folders_come_the_last_name_first_without_objects(bucket: Bucket) -> None:
    for path in ("a/1/x", "a/2/x", "a/10/y/z", "a/x", "b/x"):
        bucket.put(path, b"1")
    assert list(bucket.folders("a")) == ["a/2", "a/10", "a/1"]
    assert list(bucket.folders()) == ["b", "a"]
    assert list(bucket.folders("nothing")) == []


@pytest.mark.parametrize("any_lakehouse", HOSTED, indirect=True)  # no disk has such
def test_a_file_and_a_folder_may_have_one_name(bucket: Bucket) -> None:
    for path in ("a", "a/1", "a/1/x", "a/2", "b"):
        bucket.put(path, b"1")
    assert bucket.list() == ["a", "a/1", "a/1/x", "a/2", "b"]
    assert list(bucket.folders()) == ["a"]
    assert list(bucket.folders("a")) == ["a/1"]
