"""What a source lacks: NULL or empty where the declaration says so, refused before anything is written where not."""

from dataclasses import replace
from pathlib import Path

import pytest

from elt import checks
from elt.catalog import Column, Table
from elt.errors import NoSuchTable, SourceError
from elt.lakehouse.ports import Lakehouse
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.settings import Settings
from elt.silver import TABLES
from elt.silver.clientes import CLIENTES
from elt.silver.pedidos import PEDIDOS
from elt.silver.produtos import PRODUTOS
from elt.sources.port import Source
from elt.sources.postgres import PostgresSource
from elt.sources.supabase import SupabaseSource
from tests.gateway.fixtures import Gateway
from tests.shops import contents, write_shop


def may_lack(table: Table, *columns: str) -> Table:
    """The table with columns that a source may lack."""

    def said(column: Column) -> Column:
        return replace(column, optional=True) if column.name in columns else column

    return replace(table, columns=tuple(map(said, table.columns)))


def without(table: Table, *columns: str) -> Table:
    return replace(table, columns=tuple(column for column in table.columns if column.name not in columns))


LENIENT = (may_lack(CLIENTES, "telefone", "idade"), PRODUTOS, replace(PEDIDOS, optional=True))
POOR = (without(CLIENTES, "telefone"), PRODUTOS)
"""A shop without telephones, and without orders."""


class Heard(SilentReporter):
    """What a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(params=["files", "postgres", "supabase"])
def poor(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """The poor shop in each kind of source that may lack something."""
    if request.param == "files":
        return write_shop(tmp_path / "shop", tables=POOR)
    gateway: Gateway = request.getfixturevalue("source_gateway")
    gateway.sql(
        "alter table clientes drop telefone; drop table pedidos; notify pgrst, 'reload schema';"
        "insert into clientes values (1, 'Ana Souza', 'ana@exemplo.com.br', 'São Paulo', 34);"
        "insert into produtos values (10, 'Café', 'Mercearia', 12.50, 7)"
    )
    if request.param == "postgres":
        return PostgresSource(gateway.database_url, tables=LENIENT)
    return SupabaseSource(gateway.url, gateway.secret_key, tables=LENIENT, wait_seconds=0.005)


def test_an_absent_column_is_null_and_an_absent_table_is_empty(poor: Source, lakehouse: Lakehouse) -> None:
    heard = Heard()
    results = Runner(lakehouse, heard, LENIENT).run(poor)
    found = contents(lakehouse)
    assert [int(result.key) for result in results[:2]] == [246, 468]
    assert found["silver.clientes"] == [("1", "Ana Souza", "ana@exemplo.com.br", None, "São Paulo", 34)]
    assert found["silver.pedidos"] == found["silver.rejeitados"] == found["silver.valores_rejeitados"] == []
    assert [words for words in heard.said if "may lack" in words] == [
        "clientes: not in the source, which may lack it, NULL in silver: telefone",
        "pedidos: not in the source, which may lack it: it counts as empty",
    ]


def test_the_same_shop_again_is_nothing_new(poor: Source, lakehouse: Lakehouse) -> None:
    runner = Runner(lakehouse, SilentReporter(), LENIENT)
    runner.run(poor)
    assert [int(result.key) for result in runner.run(poor)] == [135]


def test_what_is_not_declared_so_is_refused_before_anything_is_written(poor: Source, lakehouse: Lakehouse) -> None:
    strict = (LENIENT[0], PRODUTOS, PEDIDOS)
    with pytest.raises(NoSuchTable, match="pedidos"):
        Runner(lakehouse, SilentReporter(), strict).run(poor)
    strict = (CLIENTES, PRODUTOS, LENIENT[2])
    with pytest.raises(SourceError, match="clientes has no column telefone; found: ") as refused:
        Runner(lakehouse, SilentReporter(), strict).run(poor)
    assert refused.value.kept == "nothing was written"
    assert lakehouse.bucket.list() == []


def test_what_comes_later_is_taken_up_and_what_goes_again_is_null_and_its_rows_stay(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    runner = Runner(lakehouse, SilentReporter(), LENIENT)
    runner.run(write_shop(tmp_path / "shop", tables=POOR))
    assert [int(result.key) for result in runner.run(write_shop(tmp_path / "shop"))] == [246, 468, 680]
    found = contents(lakehouse)
    assert found["silver.clientes"][0][3] is not None
    assert [row[0] for row in found["silver.pedidos"]] == ["100"]
    (tmp_path / "shop" / "pedidos.csv").unlink()
    heard = Heard()
    runner = Runner(lakehouse, heard, LENIENT)
    assert [int(result.key) for result in runner.run(write_shop(tmp_path / "shop", tables=POOR))] == [246, 468, 579]
    found = contents(lakehouse)
    assert found["silver.clientes"][0][3] is None
    assert [row[0] for row in found["silver.pedidos"]] == ["100"]
    assert "silver: 1 rows are no longer in the source; silver keeps them" in heard.said


def test_a_table_that_is_there_and_not_readable_is_never_taken_for_absent(
    source_gateway: Gateway, lakehouse: Lakehouse
) -> None:
    source_gateway.sql("revoke all on pedidos from service_role")
    source = SupabaseSource(source_gateway.url, source_gateway.secret_key, tables=LENIENT, wait_seconds=0.005)
    with pytest.raises(Exception, match="may not read pedidos"):
        Runner(lakehouse, SilentReporter(), LENIENT).run(source)
    source_gateway.sql("do $$ begin create role leitora login; exception when duplicate_object then null; end $$")
    source_gateway.sql("grant select on clientes, produtos to leitora; grant usage on schema public to leitora")
    url = source_gateway.database_url.replace("user=postgres", "user=leitora").replace("postgres:@", "leitora:@")
    with pytest.raises(Exception, match="permission denied for table pedidos"):
        Runner(lakehouse, SilentReporter(), LENIENT).run(PostgresSource(url, tables=LENIENT))
    assert lakehouse.bucket.list() == []


def test_check_asks_for_nothing_that_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "TABLES", LENIENT)
    write_shop(tmp_path / "shop", tables=POOR)
    settings = Settings(source_files=tmp_path / "shop", data_dir=tmp_path / "data")
    assert checks.check_source(settings).warnings == []
    checks.touch(settings, ["source"])


def test_check_names_a_column_that_the_lakehouse_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lakehouse: Lakehouse
) -> None:
    more = replace(CLIENTES, columns=(*CLIENTES.columns, replace(CLIENTES.columns[1], name="bairro")))
    monkeypatch.setattr(checks, "TABLES", (more, PRODUTOS, PEDIDOS))
    write_shop(tmp_path / "shop", tables=TABLES)
    settings = Settings(source_files=tmp_path / "shop", data_dir=tmp_path / "data")
    with pytest.raises(Exception, match=r'column "bairro" does not exist'):
        checks.check_lakehouse(settings)
