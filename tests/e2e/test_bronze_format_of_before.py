"""A bucket whose newest snapshot a program of before wrote: the same rows are nothing new, and nothing is rewritten."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elt.bronze import main as bronze
from elt.keys import StatusKey
from elt.lakehouse import snapshots
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.snapshots import FORMAT, MANIFEST
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.sources.files import FilesSource
from tests.shops import CLIENTE, write_shop


def as_before(bucket: FolderBucket) -> dict[str, bytes]:
    """The newest manifest as format 1 had it, with fingerprints of another kind; answers every object."""
    newest = snapshots.newest(bucket)
    assert newest
    path = f"{newest.snapshot}/{MANIFEST}"
    document = json.loads(bucket.get(path)) | {"format": 1}
    for table in document["tables"].values():
        table["fingerprint"] = "of before"
        del table["places"], table["profile"]
    bucket.delete([path])
    bucket.put(path, json.dumps(document).encode())
    return {name: bucket.get(name) for name in bucket.list()}


def test_the_same_rows_are_135_and_their_fingerprint_is_found_once(
    lakehouse: Lakehouse, runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_shop(tmp_path / "shop")
    runner.run(source)
    bucket = lakehouse.bucket
    assert isinstance(bucket, FolderBucket)
    before = as_before(bucket)

    assert runner.bronze(source).key == StatusKey.BRONZE_NOTHING_NEW
    after = {name: bucket.get(name) for name in bucket.list()}
    assert {name: content for name, content in after.items() if name in before} == before
    assert [name.rpartition("/")[2] for name in after if name not in before] == ["_fingerprints.json"]

    def never(*_: object) -> str:
        raise AssertionError

    monkeypatch.setattr(bronze, "_fingerprint_of_before", never)
    assert runner.bronze(source).key == StatusKey.BRONZE_NOTHING_NEW


def test_the_same_rows_are_135_though_they_were_read_in_another_order(
    lakehouse: Lakehouse, runner: Runner, tmp_path: Path
) -> None:
    rows = [{"id_cliente": str(number)} for number in range(1, 6)]
    runner.run(write_shop(tmp_path / "shop", clientes=rows))
    assert isinstance(lakehouse.bucket, FolderBucket)
    as_before(lakehouse.bucket)
    assert runner.bronze(write_shop(tmp_path / "shop", clientes=rows[::-1])).key == StatusKey.BRONZE_NOTHING_NEW
    other = [*rows[1:], {"id_cliente": "1", "nome": "Outra"}]
    assert runner.bronze(write_shop(tmp_path / "shop", clientes=other)).key == StatusKey.BRONZE_WRITTEN


def test_a_table_whose_parts_of_before_are_damaged_is_stored_anew(
    lakehouse: Lakehouse, runner: Runner, tmp_path: Path
) -> None:
    source = write_shop(tmp_path / "shop")
    runner.run(source)
    bucket = lakehouse.bucket
    assert isinstance(bucket, FolderBucket)
    as_before(bucket)
    (part,) = [path for path in bucket.list() if "/pedidos/" in path]
    bucket.delete([part])

    assert runner.bronze(source).key == StatusKey.BRONZE_WRITTEN
    new = snapshots.newest(bucket)
    assert new
    assert [found.path for found in snapshots.parts_of(new) if "/pedidos/" in found.path] != [part]
    snapshots.check_parts(bucket, new, SilentReporter())


def test_what_columns_show_is_noted_of_a_table_of_before_that_did_not_change_too(
    lakehouse: Lakehouse, runner: Runner, tmp_path: Path
) -> None:
    runner.run(write_shop(tmp_path / "shop"))
    assert isinstance(lakehouse.bucket, FolderBucket)
    as_before(lakehouse.bucket)
    runner.bronze(write_shop(tmp_path / "shop", clientes=[{}, {"id_cliente": "2"}]))
    new = snapshots.newest(lakehouse.bucket)
    assert new
    assert new.tables["produtos"].profile["preco"].shows == "comma"


def test_a_table_that_did_not_change_goes_on_with_its_parts_of_before(
    lakehouse: Lakehouse, runner: Runner, tmp_path: Path
) -> None:
    runner.run(write_shop(tmp_path / "shop"))
    assert isinstance(lakehouse.bucket, FolderBucket)
    as_before(lakehouse.bucket)
    old = snapshots.newest(lakehouse.bucket)
    changed = write_shop(tmp_path / "shop", clientes=[{}, {"id_cliente": "2"}])

    assert runner.bronze(changed).key == StatusKey.BRONZE_WRITTEN
    new = snapshots.newest(lakehouse.bucket)
    assert old
    assert new
    assert new.format == FORMAT
    assert new.tables["produtos"].parts == old.tables["produtos"].parts
    assert new.tables["produtos"].places == ()
    assert new.tables["clientes"].places
    assert runner.bronze(changed).snapshot == new.snapshot


def test_types_that_say_more_are_a_snapshot_without_parts_and_types_that_say_less_are_nothing_new(
    lakehouse: Lakehouse, runner: Runner, tmp_path: Path
) -> None:
    shop = tmp_path / "shop"
    runner.run(write_shop(shop, pedidos=[]))
    old = snapshots.newest(lakehouse.bucket)
    text = (shop / "clientes.csv").read_text()
    (shop / "clientes.csv").unlink()
    pq.write_table(pa.Table.from_pylist([{**CLIENTE, "id_cliente": 1}]), shop / "clientes.parquet")

    assert runner.bronze(FilesSource(shop)).key == StatusKey.BRONZE_WRITTEN
    new = snapshots.newest(lakehouse.bucket)
    assert old
    assert new
    assert new.tables["clientes"].columns["id_cliente"] == "bigint"
    assert new.tables["clientes"].parts == old.tables["clientes"].parts
    runner.run(FilesSource(shop))
    (shop / "clientes.parquet").unlink()
    (shop / "clientes.csv").write_text(text)
    assert runner.bronze(FilesSource(shop)).key == StatusKey.BRONZE_NOTHING_NEW
