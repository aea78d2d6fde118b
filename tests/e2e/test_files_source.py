"""A shop in files: every way such files are written, and an error that names what is wrong with one."""

import datetime as dt
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elt.catalog import BROKEN_LINE, ORIGIN, POSITION
from elt.errors import SourceError
from elt.lakehouse.ports import Lakehouse
from elt.progress import PlainReporter
from elt.runner import Runner
from elt.silver.clientes import CLIENTES
from elt.silver.produtos import PRODUTOS
from elt.sources.files import FilesSource
from tests.shops import contents, write_shop

HEADER = "id_cliente,nome,email,telefone,cidade,idade"
PRODUCTS_HEADER = "id_produto,nome_produto,categoria,preco,estoque"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The folder of a shop with one client, one product, one order."""
    write_shop(tmp_path / "shop")
    return tmp_path / "shop"


def read(folder: Path, table: str, rows: int = 1_000) -> list[dict[str, str | None]]:
    with FilesSource(folder).open() as extract:
        pages = [page.drop_columns([ORIGIN, POSITION]) for page in extract.pages(table, rows)]
        return [row for page in pages for row in page.to_pylist()]


def clientes(folder: Path, content: bytes | str) -> list[dict[str, str | None]]:
    (folder / "clientes.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(folder, "clientes")


def error_of(folder: Path, content: bytes | str) -> SourceError:
    with pytest.raises(SourceError) as error:
        clientes(folder, content)
    assert str(folder / "clientes.csv") in error.value.what
    return error.value


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_usual_csv_reads_the_same(shop: Path, delimiter: str, encoding: str, newline: str) -> None:
    text = newline.join(
        [HEADER.replace(",", delimiter), delimiter.join(["1", "José Ação", "", "", "São Paulo", ""]), ""]
    )
    assert clientes(shop, text.encode(encoding)) == [
        {"id_cliente": "1", "nome": "José Ação", "cidade": "São Paulo", BROKEN_LINE: None}
        | dict.fromkeys(("email", "telefone", "idade"))
    ]


def test_windows_characters_beyond_latin_1_are_read(shop: Path) -> None:
    (row,) = clientes(shop, f"{HEADER}\n1,Zé – “Bar” €,,,,\n".encode("cp1252"))
    assert row["nome"] == "Zé – “Bar” €"


def test_an_accent_far_down_the_file_decides_the_encoding_too(shop: Path) -> None:
    lines = [HEADER, *(f"{number},Ana,,,," for number in range(120_000)), "last,São,,,,"]
    assert clientes(shop, "\n".join(lines).encode("latin-1"))[-1]["nome"] == "São"


def test_quoted_values_hold_delimiters_quotes_and_new_lines(shop: Path) -> None:
    content = f'{HEADER}\n1,"Ana ""da Loja"", Souza","a\nb\r\nc",,"Rio; RJ",\n'
    (row,) = clientes(shop, content)
    assert (row["nome"], row["email"], row["cidade"]) == ('Ana "da Loja", Souza', "a\nb\r\nc", "Rio; RJ")


def test_a_new_line_inside_quotes_reaches_silver_as_a_space(shop: Path, runner: Runner, lakehouse: Lakehouse) -> None:
    (shop / "clientes.csv").write_text(f'{HEADER}\n1,"Ana\nSouza",,,,\n')
    runner.run(FilesSource(shop))
    assert contents(lakehouse)["silver.clientes"][0][1] == "Ana Souza"


def test_the_columns_may_stand_in_any_order_with_spaces_around_their_names(shop: Path) -> None:
    (row,) = clientes(shop, "nome , idade,id_cliente,email,telefone,cidade\nAna,34,1,,,\n")
    assert (row["id_cliente"], row["nome"], row["idade"]) == ("1", "Ana", "34")


def test_empty_lines_are_no_rows(shop: Path) -> None:
    assert [row["id_cliente"] for row in clientes(shop, f"{HEADER}\n\n1,,,,,\n\n2,,,,,\n\n\n")] == ["1", "2"]


def test_null_characters_stay_in_bronze_as_they_are(shop: Path) -> None:
    (row,) = clientes(shop, f"{HEADER}\n1,A\0na,,,,\n")
    assert row["nome"] == "A\0na"


def test_null_characters_become_null_with_a_record_or_quarantine(
    shop: Path, runner: Runner, lakehouse: Lakehouse
) -> None:
    (shop / "clientes.csv").write_text(f"{HEADER}\n1,A\0na,,,,\n2\0,Bia,,,,\n")
    runner.run(FilesSource(shop))
    found = contents(lakehouse)
    assert [row[:2] for row in found["silver.clientes"]] == [("1", None)]
    (record,) = found["silver.valores_rejeitados"]
    assert record[1:5] == ("clientes", "1", "nome", "A␀na")
    (refused,) = found["silver.rejeitados"]
    assert json.loads(str(refused[4]))["id_cliente"] == "2␀"


def test_a_header_that_does_not_fit_lists_what_is_missing_and_what_was_found(
    shop: Path, runner: Runner, lakehouse: Lakehouse
) -> None:
    (shop / "clientes.csv").write_text("codigo,nome,email,fone,cidade,idade\n1,Ana,,,,\n")
    with pytest.raises(SourceError) as error:
        runner.run(FilesSource(shop))
    assert error.value.what == (
        "clientes has no column id_cliente, telefone; found: codigo, nome, email, fone, cidade, idade"
    )
    assert error.value.kept == "nothing was written"
    assert lakehouse.bucket.list() == []


def test_a_column_twice_in_the_header_is_refused_by_name(shop: Path) -> None:
    assert "the same column twice: nome" in error_of(shop, f"{HEADER},nome\n1,,,,,,\n").what


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n", b" , ,\n"])
def test_a_file_without_a_header_is_empty(shop: Path, content: bytes) -> None:
    error = error_of(shop, content)
    assert "is empty" in error.what
    assert error.next_step


def test_a_header_alone_is_a_table_without_rows(shop: Path, runner: Runner, lakehouse: Lakehouse) -> None:
    for table, header in (("clientes", HEADER), ("produtos", PRODUCTS_HEADER)):
        (shop / f"{table}.csv").write_text(header)
    pedidos = shop / "pedidos.csv"
    pedidos.write_text(pedidos.read_text().splitlines()[0] + "\n")
    assert [int(result.key) for result in runner.run(FilesSource(shop))] == [246, 357]
    assert [int(result.key) for result in runner.run(FilesSource(shop))] == [135]
    assert not any(contents(lakehouse).values())


def test_a_quote_that_never_closes_is_named_by_the_line_where_it_opens(shop: Path) -> None:
    lines = [HEADER, "1,Ana,,,,", '2,"Bia', *(f"{number},Caio,,,," for number in range(3, 50))]
    assert f"{shop / 'clientes.csv'}, line 3: a quote opens and never closes" in error_of(shop, "\n".join(lines)).what


def test_text_behind_a_closing_quote_is_named_by_its_line(shop: Path) -> None:
    assert "line 3: " in error_of(shop, f'{HEADER}\n1,"a\nb"c,,,,\n'.replace("1,", "0,,,,,\n1,", 1)).what


@pytest.mark.parametrize("line", ["2,Bia,,,", "2,Bia,,,,,", "2"])
def test_a_line_with_too_few_or_too_many_fields_goes_to_quarantine_as_it_is(
    shop: Path, runner: Runner, lakehouse: Lakehouse, line: str
) -> None:
    (shop / "clientes.csv").write_text(f"{HEADER}\n1,Ana,,,,\n{line}\n")
    _, silver, _ = runner.run(FilesSource(shop))
    assert silver.counts.quarantined == 1
    ((_, table, key, reason, content),) = contents(lakehouse)["silver.rejeitados"]
    assert (table, key) == ("clientes", None)
    assert f"{line.count(',') + 1} campos, o cabeçalho tem 6: {line}" in str(reason)
    assert json.loads(str(content))[BROKEN_LINE].endswith(line)


def test_a_number_of_200_digits_goes_to_quarantine_alone(shop: Path, runner: Runner, lakehouse: Lakehouse) -> None:
    (shop / "produtos.csv").write_text(f"{PRODUCTS_HEADER}\n10,Café,,1.50,{'9' * 200}\n11,Chá,,{'9' * 200},1\n")
    runner.run(FilesSource(shop))
    found = contents(lakehouse)
    assert found["silver.produtos"] == [("10", "Café", None, Decimal("1.5"), None)]
    assert [row[1:4] for row in found["silver.valores_rejeitados"]] == [("produtos", "10", "estoque")]
    assert [row[2] for row in found["silver.rejeitados"]] == ["11"]


def test_a_folder_that_is_not_there_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="SOURCE_FILES: there is no folder"), FilesSource(tmp_path / "no").open():
        pass


def test_a_file_that_is_not_there_is_named_beside_those_found(shop: Path) -> None:
    (shop / "clientes.csv").rename(shop / "Clientes.txt")
    with pytest.raises(SourceError) as error:
        read(shop, "clientes")
    assert (
        "neither clientes.csv nor clientes.parquet; found: Clientes.txt, pedidos.csv, produtos.csv" in error.value.what
    )


def test_a_table_in_both_forms_is_refused(shop: Path) -> None:
    pq.write_table(pa.table({"id_cliente": ["1"]}), shop / "clientes.parquet")
    with pytest.raises(SourceError, match=r"both clientes\.csv and clientes\.parquet"):
        read(shop, "clientes")


def test_a_file_that_changes_while_it_is_read_is_refused(shop: Path) -> None:
    with FilesSource(shop).open() as extract:
        extract.columns("clientes")
        with (shop / "clientes.csv").open("a") as file:
            file.write("2,Bia,,,,\n")
        with pytest.raises(SourceError, match="changed while it was read"):
            list(extract.pages("clientes", 10))


def write_parquet(folder: Path, name: str, columns: dict[str, pa.Array]) -> None:
    (folder / f"{name}.csv").unlink(missing_ok=True)
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")


def test_typed_parquet_reaches_silver_exactly(shop: Path, runner: Runner, lakehouse: Lakehouse) -> None:
    day = dt.datetime(2024, 3, 5, 1, 30, tzinfo=dt.UTC)
    write_parquet(
        shop,
        "clientes",
        {
            "id": pa.array([1, 2]),
            "nome": pa.array(["Ana", "Bia"]).dictionary_encode(),
            "email": pa.nulls(2),
            "telefone": pa.array([11987654321, None]),
            "cidade": pa.array(["São Paulo", ""], pa.large_string()),
            "idade": pa.array([34.0, float("nan")]),
        },
    )
    write_parquet(
        shop,
        "produtos",
        {
            "id_produto": pa.array([10.0, 11.0]),
            "nome_produto": pa.array(["Café", None]),
            "categoria": pa.array(["x", "x"]).dictionary_encode(),
            "preco": pa.array([Decimal("1.234"), Decimal("1E-20")], pa.decimal128(38, 20)),
            "estoque": pa.array([7, None], pa.int32()),
        },
    )
    write_parquet(
        shop,
        "pedidos",
        {
            "id_pedido": pa.array([100, 101, 102]),
            "id_cliente": pa.array([1, 1, 2], pa.int32()),
            "id_produto": pa.array([10.0, 11.0, 10.0]),
            "quantidade": pa.array([2.0, 1.0, 3.0]),
            "status": pa.array([None, "pago", None]),
            "valor_total": pa.array([0.1, 12.345, 1e11]),
            "data_pedido": pa.array([day, None, day], pa.timestamp("ns", "UTC")),
        },
    )
    _, silver, _ = runner.run(FilesSource(shop))
    found = contents(lakehouse)
    assert found["silver.clientes"] == [
        ("1", "Ana", None, "+5511987654321", "São Paulo", 34),
        ("2", "Bia", None, None, None, None),
    ]
    assert found["silver.produtos"] == [
        ("10", "Café", "x", Decimal("1.234"), 7),
        ("11", None, "x", Decimal("1E-20"), None),
    ]
    assert found["silver.pedidos"] == [
        ("100", "1", "10", 2, None, Decimal("0.1"), dt.date(2024, 3, 4)),
        ("102", "2", "10", 3, None, Decimal(100_000_000_000), dt.date(2024, 3, 4)),
    ]
    assert [row[1:4] for row in found["silver.rejeitados"]] == [("pedidos", "101", "data_pedido: em branco")]
    assert found["silver.valores_rejeitados"] == []
    assert (silver.counts.written, silver.counts.quarantined) == (6, 1)


@pytest.mark.parametrize(
    ("column", "printed"),
    [
        (pa.array([dt.date(2024, 3, 5), None]), ["2024-03-05", None]),
        (pa.array([dt.date(2024, 3, 5), None], pa.date64()), ["2024-03-05", None]),
        (pa.array([dt.datetime(2024, 3, 5, 10), None]), ["2024-03-05 10:00:00.000000", None]),  # noqa: DTZ001
        (pa.array([True, None]), ["true", None]),
        (pa.array([2**62, None]), [str(2**62), None]),
        (pa.array([0.1, None], pa.float32()), ["0.1", None]),
        (pa.array([b"abc", b"\xff\x00", None]), ["abc", "\\xff00", None]),
        (pa.array([[1, 2], [], None]), ["[1, 2]", "[]", None]),
        (pa.array([{"a": "é"}, None]), ['{"a": "é"}', None]),
    ],
    ids=str,
)
def test_every_parquet_type_is_printed(shop: Path, column: pa.Array, printed: Sequence[str | None]) -> None:
    write_parquet(shop, "clientes", {"valor": column})
    assert [row["valor"] for row in read(shop, "clientes")] == printed


def test_a_truncated_parquet_is_named_and_nothing_is_written(shop: Path, runner: Runner, lakehouse: Lakehouse) -> None:
    write_parquet(shop, "produtos", {name: pa.array(["1"]) for name in PRODUTOS.column_names})
    file = shop / "produtos.parquet"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(SourceError, match=r"produtos\.parquet is not a whole Parquet file"):
        runner.run(FilesSource(shop))
    assert lakehouse.bucket.list() == []


def test_damage_inside_a_parquet_is_named_and_nothing_is_written(
    shop: Path, runner: Runner, lakehouse: Lakehouse
) -> None:
    write_parquet(shop, "produtos", {name: pa.array([name * 50] * 100) for name in PRODUTOS.column_names})
    file = shop / "produtos.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:4] + b"\xff" * 200 + whole[204:])
    with pytest.raises(SourceError, match=r"produtos\.parquet is not a whole Parquet file"):
        runner.run(FilesSource(shop))
    assert lakehouse.bucket.list() == []


def test_an_empty_parquet_file_is_named(shop: Path) -> None:
    (shop / "clientes.csv").rename(shop / "clientes.parquet")
    (shop / "clientes.parquet").write_bytes(b"")
    with pytest.raises(SourceError, match="not a whole Parquet file"):
        read(shop, "clientes")


def test_extra_columns_stay_in_bronze_with_one_notice_and_are_ignored_in_silver(
    shop: Path, lakehouse: Lakehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "clientes.csv").write_text(f"{HEADER},vip,obs\n1,Ana,,,,,sim,x\n2,Bia,,,,,não,\n")
    runner = Runner(lakehouse, PlainReporter())
    assert [int(result.key) for result in runner.run(FilesSource(shop))] == [246, 468, 680]
    notices = [line for line in capsys.readouterr().err.splitlines() if "ignored in silver" in line]
    assert len(notices) == 1
    assert notices[0].endswith("clientes: kept in bronze, ignored in silver: vip, obs")
    part = next(path for path in lakehouse.bucket.list() if "/clientes/" in path)
    assert pq.read_table(pa.BufferReader(lakehouse.bucket.get(part)))["vip"].to_pylist() == ["sim", "não"]
    assert len(contents(lakehouse)["silver.clientes"]) == 2


def test_a_change_in_an_extra_column_is_a_new_snapshot_and_nothing_for_silver(shop: Path, runner: Runner) -> None:
    (shop / "clientes.csv").write_text(f"{HEADER},vip\n1,Ana,,,,,sim\n")
    runner.run(FilesSource(shop))
    (shop / "clientes.csv").write_text(f"{HEADER},vip\n1,Ana,,,,,não\n")
    assert [int(result.key) for result in runner.run(FilesSource(shop))] == [246, 357]


def test_a_key_may_be_called_id(shop: Path, runner: Runner, lakehouse: Lakehouse) -> None:
    for table in ("clientes", "produtos", "pedidos"):
        file = shop / f"{table}.csv"
        header, *lines = file.read_text().splitlines()
        file.write_text("\n".join([f"id,{header.split(',', 1)[1]}", *lines]))
    assert [int(result.key) for result in runner.run(FilesSource(shop))] == [246, 468, 680]
    assert contents(lakehouse)["silver.pedidos"][0][:3] == ("100", "1", "10")
    assert CLIENTES.key.name not in (shop / "clientes.csv").read_text()
