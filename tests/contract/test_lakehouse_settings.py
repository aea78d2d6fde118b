"""How the lakehouse's own database is set to print and count time changes nothing of what is read of it."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.ledger import recent
from elt.lineage import trace_row
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.silver.pedidos import PEDIDOS
from tests.gateway.fixtures import Gateway
from tests.hosted import lakehouse_of, project_of
from tests.shops import rows_of, write_shop

SETTINGS = ["timezone = 'America/Sao_Paulo'", "datestyle = 'SQL, DMY'", "datestyle = 'German'"]
STAMPED = pa.schema([("id", pa.string()), ("data_pedido", pa.date32()), ("data_ingestao", pa.string())])


def set_database(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in SETTINGS:
            connection.execute(f"alter database {connection.info.dbname} set {setting}".encode())


@pytest.fixture(params=["direct", "over HTTP"])
def unlike(
    request: pytest.FixtureRequest, new_database: Callable[[], str], gateway: Gateway, tmp_path: Path
) -> Iterator[Lakehouse]:
    """A lakehouse whose database prints as Germans write, and is in São Paulo."""
    if request.param == "direct":
        url = new_database()
        set_database(url)
        tables = PostgresTables(url)
        yield Lakehouse(tables, FolderBucket(tmp_path / "bucket"), "direct")
        tables.close()
        return
    set_database(gateway.database_url)
    gateway.app.database.close()
    with lakehouse_of(project_of(gateway)) as hosted:
        yield hosted


def test_instants_are_read_in_utc_with_their_offset_and_days_as_days(unlike: Lakehouse, tmp_path: Path) -> None:
    Runner(unlike, SilentReporter()).run(write_shop(tmp_path / "shop"))
    ((key, day, stamp),) = rows_of(unlike, "silver.pedidos", STAMPED, "id")
    assert (key, day) == ("100", date(2024, 3, 5))
    assert str(stamp).endswith("+00")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(str(stamp))) < timedelta(minutes=10)
    for row in recent(unlike.tables):
        assert str(row["iniciada_em"]).endswith("+00")
        assert str(row["terminada_em"]).endswith("+00")


def test_what_reads_times_of_the_ledger_goes_on(unlike: Lakehouse, tmp_path: Path) -> None:
    runner = Runner(unlike, SilentReporter())
    began = datetime.now(UTC)
    assert [int(result.key) for result in runner.run(write_shop(tmp_path / "shop"))] == [246, 468, 680]
    assert runner.run(write_shop(tmp_path / "shop"), unless_since=began) == []
    assert trace_row(unlike, PEDIDOS, "100")["run"] == recent(unlike.tables)[0]["execucao"]
