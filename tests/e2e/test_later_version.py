"""A forgotten program over a lakehouse that a later version has prepared: every command keeps away from it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from elt.cli import _WITHOUT_LAKEHOUSE, COMMANDS, main
from elt.lakehouse import migrations
from elt.lakehouse.embedded import start_postgres
from tests.gateway.fixtures import Gateway

LATER = "29990101000000_de_amanha"

TYPED = (
    *("run", "bronze", "bronze --sweep", "silver", "silver --full", "gold", "init", "init --check", "init --sql"),
    *("check", "check --awake lakehouse", "status", "show clientes", "show analise_produtos", "trace clientes 1"),
    *("quarantine list", "quarantine show clientes", "quarantine export --output out.csv", "snapshots"),
    *("replay 20260101T000000Z", "prune --keep 1", "backup copy", "restore ."),
    "reset --yes",
)


@dataclass(frozen=True)
class Prepared:
    """A lakehouse that knows one migration more than this program: its database, and the folder of its objects."""

    url: str
    bucket: Path

    @classmethod
    def by_a_later_version(cls, url: str, bucket: Path) -> "Prepared":
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("insert into controle.migracoes (versao) values (%s)", (LATER,))
        return cls(url, bucket)

    def everything(self) -> tuple[dict[str, list[str]], list[str]]:
        """Every row of the lakehouse's schemas with its version, and every object."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            schemas = "('silver', 'gold', 'controle')"
            tables = connection.execute(
                f"select schemaname || '.' || tablename from pg_tables where schemaname in {schemas}".encode()
            ).fetchall()
            rows = {
                name: sorted(map(str, connection.execute(f"select t.*, t.xmin from {name} t".encode()).fetchall()))
                for (name,) in tables
            }
        return rows, sorted(str(path) for path in self.bucket.rglob("*"))


@pytest.fixture
def direct(new_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    url = new_database()
    monkeypatch.setenv("LAKEHOUSE_DB_URL", url)
    return Prepared.by_a_later_version(url, tmp_path / "data" / "bucket")


@pytest.fixture
def hosted(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    monkeypatch.setenv("LAKEHOUSE_URL", gateway.url)
    monkeypatch.setenv("LAKEHOUSE_KEY", gateway.secret_key)
    return Prepared.by_a_later_version(gateway.database_url, gateway.app.folder)


@pytest.fixture
def embedded(tmp_path: Path) -> Prepared:
    folder = tmp_path / "data" / "sample"
    url = start_postgres(folder)  # it stays for all commands of this process
    migrations.apply(url, setting="a test")
    return Prepared.by_a_later_version(url, folder / "bucket")


@pytest.fixture(params=["direct", "embedded", "hosted"])
def prepared(request: pytest.FixtureRequest) -> Prepared:
    found: Prepared = request.getfixturevalue(request.param)
    return found


def test_every_command_refuses_a_lakehouse_of_a_later_version_and_writes_nothing(
    prepared: Prepared, capsys: pytest.CaptureFixture[str]
) -> None:
    before = prepared.everything()
    for typed in TYPED:
        with pytest.raises(SystemExit) as ended:
            main([*typed.split(), "--sample"])
        out, said = capsys.readouterr()
        assert (typed, ended.value.code, out) == (typed, 2, "")
        happened, kept, next_step = said.splitlines()[-3:]
        assert f"a later version of this program has prepared the lakehouse ({LATER} is not known here)" in happened
        assert kept == " kept: nothing was written"
        assert next_step.startswith(" next: install that version here too")
    assert prepared.everything() == before


def test_status_says_so_to_scripts_in_three_parts(hosted: Prepared, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["status", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert ended.value.code == 2
    assert "later version" in document["error"]
    assert document["kept"] == "nothing was written"
    assert "install that version" in document["next"]


def test_every_command_that_opens_a_lakehouse_is_tried() -> None:
    assert {typed.split()[0] for typed in TYPED} == set(COMMANDS) - set(_WITHOUT_LAKEHOUSE)
