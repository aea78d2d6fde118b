"""Which objects of a bucket are the pipeline's: the one rule by which anything is deleted or taken for a snapshot."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.lakehouse.snapshots import MANIFEST, is_half_written, is_ours, is_snapshot, new_snapshot_id
from elt.silver import TABLES
from tests.snapshots import JANUARY, part_path

HEX = "0123456789abcdef0123456789abcdef"


@given(
    now=st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(9990, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    table=st.sampled_from([table.name for table in TABLES] + ["itens_pedido", "Promoções", "lojas-2"]),
    number=st.integers(0, 200_000),
)
def test_what_bronze_writes_is_ours_whole_and_half_written(now: datetime, table: str, number: int) -> None:
    snapshot = new_snapshot_id(None, now)

    assert is_snapshot(snapshot)
    for folder, name in ((f"{snapshot}/{table}", f"part-{number:05d}.parquet"), (snapshot, MANIFEST)):
        assert is_ours(f"{folder}/{name}")
        assert is_half_written(f"{folder}/.{name}.{HEX}")


@pytest.mark.parametrize("name", ["_reset.json", "_manifest.v2.json", "_note-of-a-newer-program.json"])
def test_marks_and_newer_manifests_in_a_snapshots_folder_are_ours(name: str) -> None:
    assert is_ours(f"{JANUARY}/{name}")


OF_OTHERS = [
    "clientes.parquet",
    "bronze/clientes_2024.parquet",
    "2026/01/clientes.parquet",
    "part-00000.parquet",
    "pedidos/part-00000.parquet",
    "fotos/2026/01/20260101T020000.000000Z/pedidos/part-00000.parquet",
    "2026/01/20260101T020000Z/pedidos/part-00000.parquet",
    "2026/01/20261399T020000.000000Z/pedidos/part-00000.parquet",
    "2026/02/20260101T020000.000000Z/pedidos/part-00000.parquet",
    "2026/1/20260101T020000.000000Z/pedidos/part-00000.parquet",
    "2026/01/20260101T020000.000000z/pedidos/part-00000.parquet",
    "9999/12/99991231T235959.999999Z/_manifest.json",
    "_manifest.json",
    "backup/_manifest.json",
    "2026/01/_manifest.json",
    f"{JANUARY}/notes.txt",
    f"{JANUARY}/manifest.json",
    f"{JANUARY}/_manifest.json.bak",
    f"{JANUARY}/part-00000.parquet",
    f"{JANUARY}/pedidos/_manifest.json",
    f"{JANUARY}/pedidos/part-00000 (conflicted copy).parquet",
    f"{JANUARY}/pedidos/part-00000.parquet.old",
    f"{JANUARY}/pedidos/2025/part-00000.parquet",
    f"{JANUARY}/../part-00000.parquet",
    f"{JANUARY}//part-00000.parquet",
    f"/{part_path(JANUARY)}",
    f"../../{part_path(JANUARY)}",
    JANUARY,
    "",
]


@pytest.mark.parametrize("path", OF_OTHERS)
def test_anything_else_is_not(path: str) -> None:
    assert not is_ours(path)


@pytest.mark.parametrize(
    "path",
    [
        f".thumbnail.jpg.{HEX}",
        f"fotos/.part-00000.parquet.{HEX}",
        f"{JANUARY}/pedidos/.notes.txt.{HEX}",
        f"{JANUARY}/pedidos/.part-00000.parquet.{HEX[:-1]}",
        f"{JANUARY}/pedidos/.part-00000.parquet.{HEX.upper()}",
        part_path(JANUARY),
    ],
)
def test_only_objects_of_ours_are_ours_half_written(path: str) -> None:
    assert not is_half_written(path)


@given(st.text(max_size=60))
def test_a_path_of_ours_stays_below_the_bucket(text: str) -> None:
    for path in (text, f"{JANUARY}/{text}", f"{JANUARY}/{text}/part-00000.parquet"):
        if is_ours(path):
            assert not {"..", ".", ""} & set(path.split("/"))
            assert "\\" not in path.rsplit("/", 1)[0]
