"""Pages and parts end at a number of bytes as well as of rows, and no row is lost or doubled by it."""

import random
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elt.bronze import extract as extraction
from elt.bronze.extract import extract_table
from elt.pages import cut, joined
from elt.progress import SilentReporter
from elt.silver import TABLES
from elt.silver.clientes import CLIENTES
from elt.silver.produtos import PRODUTOS
from elt.sources.files import FilesSource
from elt.sources.sample import SampleShop
from tests.shops import PRODUTO, write_shop, write_table

TEXTS = st.lists(st.none() | st.text(alphabet="ab", max_size=30), max_size=30)


@settings(max_examples=60)
@given(TEXTS, st.integers(1, 60), st.integers(1, 10))
def test_tables_are_cut_by_bytes_and_joined_again_without_losing_or_doubling_a_row(
    texts: list[str | None], most_bytes: int, rows: int
) -> None:
    table = pa.table({"a": pa.array(texts, pa.string())})

    pieces = list(cut(table, most_bytes))
    assert [value for piece in pieces for value in piece.column("a").to_pylist()] == texts
    for piece in pieces:
        assert len(piece) == 1 or sum(len(text or "") for text in piece.column("a").to_pylist()) <= most_bytes
    shorter = list(cut(table, most_bytes, rows))
    assert [value for piece in shorter for value in piece.column("a").to_pylist()] == texts
    assert all(len(piece) <= rows for piece in shorter)

    single = (table.slice(start, 1) for start in range(len(table)))
    found = list(joined(single, rows, most_bytes))
    assert [value for page in found for value in page.column("a").to_pylist()] == texts
    assert all(len(page) <= rows for page in found)


def test_a_row_has_the_bytes_of_its_texts_and_of_its_other_types() -> None:
    columns = {"money": pa.array([Decimal("1.5")] * 4), "day": pa.array([None] * 4, pa.date32()), "no": pa.nulls(4)}
    table = pa.table({**columns, "text": ["é" * 20, "", None, "four"]})
    assert [len(piece) for piece in cut(table, 60)] == [1, 2, 1]  # 60; 20, 20; 24


def _files(folder: Path, kind: str, value: str = "x" * 1_000) -> FilesSource:
    source = write_shop(folder)
    rows = [{**PRODUTO, "id_produto": str(number), "foto": value} for number in range(100)]
    if kind == "csv":
        write_table(folder, "produtos", rows, (*PRODUTOS.column_names, "foto"))
    else:
        (folder / "produtos.csv").unlink()
        pq.write_table(pa.Table.from_pylist(rows), folder / "produtos.parquet")
    return source


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_page_of_a_file_ends_at_its_bytes(tmp_path: Path, kind: str) -> None:
    with _files(tmp_path, kind).open() as extract:
        pages = list(extract.pages("produtos", 100_000, 10_000))
    assert sum(map(len, pages)) == 100
    assert max(page.nbytes for page in pages) < 15_000


def test_a_group_of_rows_of_a_parquet_file_is_not_read_whole(tmp_path: Path) -> None:
    photos = pa.array([random.Random(number).randbytes(10**6).hex() for number in range(20)])
    table = pa.table({"id_produto": [str(number) for number in range(20)], "foto": photos})
    pq.write_table(table, tmp_path / "produtos.parquet", write_batch_size=1, use_dictionary=False, compression="none")
    del table, photos
    before = pa.total_allocated_bytes()
    with FilesSource(tmp_path).open() as extract:
        most = max(pa.total_allocated_bytes() - before for _ in extract.pages("produtos", 100_000, 4 * 10**6))
    assert most < 20 * 10**6  # the file has 40 MB


def test_a_page_of_the_sample_shop_ends_at_its_bytes() -> None:
    pages = list(SampleShop(TABLES, clientes=500).pages("clientes", 100_000, 5_000))
    assert sum(map(len, pages)) == 500
    assert max(page.nbytes for page in pages) < 10_000


def test_a_part_ends_at_its_bytes_before_compression_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "PART_TEXT_BYTES", 30_000)
    monkeypatch.setattr(extraction, "ROW_GROUP_BYTES", 10_000)
    with _files(tmp_path / "shop", "csv").open() as extract, SilentReporter().task("", None) as task:
        found = extract_table(extract, PRODUTOS, tmp_path / "parts", task)
    assert found.rows == sum(part.rows for part in found.parts) == 100
    assert len(found.parts) >= 3
    groups = [pq.ParquetFile(part.file) for part in found.parts]
    assert max(file.metadata.row_group(n).num_rows for file in groups for n in range(file.num_row_groups)) <= 10


def test_a_part_ends_at_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "PART_ROWS", 20)
    with SilentReporter().task("", None) as task:
        found = extract_table(SampleShop(TABLES, clientes=100), CLIENTES, tmp_path, task, page_rows=10)
    assert [part.rows for part in found.parts] == [20] * 5
