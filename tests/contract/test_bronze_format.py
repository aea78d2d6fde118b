"""Bronze's format: rows with their places, types and profile beside the fingerprint, manifests of before."""

import json
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elt.bronze import main as bronze
from elt.bronze.extract import Extracted, extract_table
from elt.catalog import ORIGIN, POSITION
from elt.errors import SourceError
from elt.lakehouse import snapshots
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.snapshots import MANIFEST, Part, TableSnapshot
from elt.progress import SilentReporter
from elt.silver import TABLES
from elt.silver.clientes import CLIENTES
from elt.silver.produtos import PRODUTOS
from elt.sources.files import FilesSource
from elt.sources.port import Extract
from elt.sources.sample import SampleShop
from tests.shops import write_shop, write_table
from tests.snapshots import JANUARY, commit, part_path


def extracted(extract: Extract, folder: Path, table: str = "clientes") -> Extracted:
    with SilentReporter().task("", None) as task:
        return extract_table(extract, {"clientes": CLIENTES, "produtos": PRODUTOS}[table], folder, task, page_rows=2)


def stored(found: Extracted, bucket: FolderBucket, table: str = "clientes") -> TableSnapshot:
    parts = []
    for number, part in enumerate(found.parts):
        path = f"{JANUARY}/{table}/part-{number:05d}.parquet"
        bucket.put(path, part.file)
        parts.append(Part(path=path, rows=part.rows, bytes=part.bytes, sha256=part.sha256))
    return TableSnapshot(
        rows=found.rows,
        columns=found.columns,
        fingerprint=found.fingerprint,
        places=found.places,
        profile=found.profile,
        parts=tuple(parts),
    )


def places(table: TableSnapshot, bucket: FolderBucket) -> list[tuple[str | None, int | None]]:
    pages = snapshots.read_rows(bucket, table, [ORIGIN, POSITION], 100)
    return [(row[ORIGIN], row[POSITION]) for page in pages for row in page.to_pylist()]


@pytest.fixture
def bucket(tmp_path: Path) -> FolderBucket:
    return FolderBucket(tmp_path / "bucket")


def test_a_row_of_a_csv_keeps_the_line_on_which_it_begins(tmp_path: Path, bucket: FolderBucket) -> None:
    write_shop(tmp_path / "shop")
    header = ",".join(CLIENTES.column_names)
    (tmp_path / "shop" / "clientes.csv").write_text(f'{header}\n1,"two\nlines",,,,\n\n2,Ana,,,,\n3,broken\n')
    with FilesSource(tmp_path / "shop").open() as extract:
        table = stored(extracted(extract, tmp_path / "parts"), bucket)
    assert places(table, bucket) == [("clientes.csv", 2), ("clientes.csv", 5), ("clientes.csv", 6)]


def test_a_row_of_a_parquet_file_keeps_its_number(tmp_path: Path, bucket: FolderBucket) -> None:
    rows = [dict.fromkeys(CLIENTES.column_names, str(number)) for number in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "clientes.parquet")
    with FilesSource(tmp_path).open() as extract:
        table = stored(extracted(extract, tmp_path / "parts"), bucket)
    assert places(table, bucket) == [("clientes.parquet", number) for number in range(1, 6)]


def test_a_row_of_another_source_keeps_the_ordinal_in_which_it_was_read(tmp_path: Path, bucket: FolderBucket) -> None:
    table = stored(extracted(SampleShop(TABLES, clientes=5), tmp_path), bucket)
    assert places(table, bucket) == [(None, number) for number in range(1, 6)]


def test_a_shops_own_columns_of_those_names_are_kept(tmp_path: Path, bucket: FolderBucket) -> None:
    own = {"_posicao": "mine", "_origem": "own", "_origem_": "too"}
    write_shop(tmp_path / "shop")
    write_table(tmp_path / "shop", "clientes", [{"id_cliente": "1", **own}], (*CLIENTES.column_names, *own))
    with FilesSource(tmp_path / "shop").open() as extract:
        table = stored(extracted(extract, tmp_path / "parts"), bucket)
    assert table.places == ("_origem__", "_posicao_")
    assert places(table, bucket) == [("clientes.csv", 2)]
    (page,) = snapshots.read_rows(bucket, table, list(own), 10)
    assert page.to_pylist() == [own]


def test_a_shops_own_column_of_broken_lines_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    write_shop(tmp_path / "shop")
    write_table(tmp_path / "shop", "clientes", [], (*CLIENTES.column_names, "_linha_ilegivel"))
    with (
        FilesSource(tmp_path / "shop").open() as extract,
        pytest.raises(SourceError, match="has a column _linha_ilegivel"),
    ):
        extracted(extract, tmp_path / "parts")


def test_parts_of_before_have_no_places(bucket: FolderBucket) -> None:
    commit(bucket, JANUARY)
    table = snapshots.read_manifest(bucket, JANUARY).tables["pedidos"]
    assert places(table, bucket) == [(None, None)]


def test_the_fingerprint_is_that_of_the_rows_wherever_they_stand_and_whatever_their_types(tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", clientes=[{"id_cliente": "1"}, {"id_cliente": "2"}])
    with FilesSource(tmp_path / "shop").open() as extract:
        csv = extracted(extract, tmp_path / "csv")
        rows = [
            {name: row[name] for name in CLIENTES.column_names}
            for page in extract.pages("clientes", 9)
            for row in page.to_pylist()
        ]
    (tmp_path / "shop" / "clientes.csv").unlink()
    table = pa.Table.from_pylist([{**row, "id_cliente": int(row["id_cliente"])} for row in rows])
    pq.write_table(table, tmp_path / "shop" / "clientes.parquet")
    with FilesSource(tmp_path / "shop").open() as extract:
        parquet = extracted(extract, tmp_path / "parquet")
    assert csv.columns != parquet.columns
    assert csv.fingerprint == parquet.fingerprint


def test_a_columns_notation_and_whole_keys_stand_beside_the_fingerprint_with_a_witness(tmp_path: Path) -> None:
    prices = [{"id_produto": "7", "preco": "1.234"}, {"id_produto": "A8", "preco": "12,50"}]
    write_shop(tmp_path / "shop", produtos=[*prices, {"id_produto": "9", "estoque": "1.5"}])
    with FilesSource(tmp_path / "shop").open() as extract:
        products = extracted(extract, tmp_path / "produtos", "produtos").profile
        clients = extracted(extract, tmp_path / "clientes").profile
    assert (products["preco"].shows, products["preco"].witness.position) == ("comma", 3)
    assert (products["id_produto"].shows, products["id_produto"].witness.position) == ("other", 3)
    assert (products["estoque"].shows, products["estoque"].witness.origin) == ("point", "produtos.csv")
    assert clients["id_cliente"].shows == "whole"


def test_a_column_that_shows_both_notations_shows_none(tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", produtos=[{"id_produto": "1", "preco": "1,50"}, {"id_produto": "2", "preco": "1.5"}])
    with FilesSource(tmp_path / "shop").open() as extract:
        assert "preco" not in extracted(extract, tmp_path / "parts", "produtos").profile


def test_the_fingerprint_of_a_manifest_of_before_is_found_from_its_parts_once(bucket: FolderBucket) -> None:
    commit(bucket, JANUARY)
    manifest = snapshots.read_manifest(bucket, JANUARY)
    assert manifest.format == 1
    find = partial(bronze._fingerprint_of_before, bucket, {}, SilentReporter())
    first = snapshots.fingerprints(bucket, manifest, find)
    assert len(first["pedidos"]) == 64

    def again(name: str, _: TableSnapshot) -> str:
        raise AssertionError(name)

    assert snapshots.fingerprints(bucket, manifest, again) == first
    assert snapshots.leftovers(bucket) == []
    assert snapshots.leftovers(bucket, without=[JANUARY]) == sorted(bucket.list())


def test_a_note_of_fingerprints_that_is_not_readable_is_none(bucket: FolderBucket) -> None:
    commit(bucket, JANUARY)
    bucket.put(f"{JANUARY}/_fingerprints.json", b"{")
    manifest = snapshots.read_manifest(bucket, JANUARY)
    assert snapshots.fingerprints(bucket, manifest, lambda *_: "found") == {"pedidos": "found"}


def test_a_manifest_without_a_format_is_one_of_before(bucket: FolderBucket) -> None:
    commit(bucket, JANUARY)
    document = json.loads(bucket.get(f"{JANUARY}/{MANIFEST}"))
    bucket.delete([f"{JANUARY}/{MANIFEST}"])
    del document["format"]
    bucket.put(f"{JANUARY}/{MANIFEST}", json.dumps(document).encode())
    manifest = snapshots.read_manifest(bucket, JANUARY)
    assert manifest.format == 1
    assert [part.path for part in snapshots.parts_of(manifest)] == [part_path(JANUARY)]
