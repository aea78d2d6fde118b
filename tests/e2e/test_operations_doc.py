"""``docs/operations.md``, procedure by procedure: its commands run as they stand there, and do what the page says."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from elt.lakehouse import migrations, snapshots
from elt.lakehouse.embedded import open_embedded
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.ledger import Ledger
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.sources.files import FilesSource
from tests.conftest import database_url
from tests.gateway.fixtures import Gateway
from tests.hosted import lakehouse_of, project_of
from tests.loaded import folder_of_commands
from tests.shops import Row, contents, write_shop

DOC = Path(__file__).parents[2] / "docs" / "operations.md"
SAFE_PLACE = "/safe/place"
"""The only thing in the commands that a person puts in their own words."""

Contents = dict[str, list[tuple[object, ...]]]
_numbers = itertools.count(1)


def procedures() -> dict[str, str]:
    """The commands (```sh) of each section that has some."""
    found: dict[str, str] = {}
    for section in re.split(r"^## ", DOC.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        if blocks := re.findall(r"^```sh\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL):
            found[section.splitlines()[0]] = "".join(blocks)
    return found


PROCEDURES = procedures()


def visit(shop: Path, number: int) -> FilesSource:
    """A shop that grows by an order each time, loses its oldest customer at the third, and always has dirt."""
    clientes: list[Row] = [{"id_cliente": str(key)} for key in range(1 if number < 3 else 2, 5)]
    pedidos: list[Row] = [
        *(
            {"id_pedido": str(key), "id_cliente": str(2 + key % 3), "quantidade": "1"}
            for key in range(100, 101 + number)
        ),
        {"id_pedido": "200", "id_cliente": "1"},
        {"id_pedido": "201", "id_cliente": "99"},
        {"id_pedido": "202", "valor_total": "a combinar"},
    ]
    return write_shop(shop, clientes=[*clientes, {"id_cliente": "5", "idade": "?"}], pedidos=pedidos)


@dataclass
class Place:
    """A scratch folder as a person would have it: a shop, a ``.env``, and a lakehouse in PostgreSQL."""

    folder: Path
    url: str

    @property
    def shop(self) -> Path:
        return self.folder / "shop"

    @property
    def bucket(self) -> FolderBucket:
        return FolderBucket(self.folder / "data" / "bucket")

    def settings(self, **values: str) -> None:
        """Write ``.env``."""
        lines = [f"SOURCE_FILES={self.shop}", *(f"{name}={value}" for name, value in values.items())]
        (self.folder / ".env").write_text("\n".join(lines) + "\n")

    def lakehouse(self, url: str | None = None, bucket: FolderBucket | None = None) -> closing[Lakehouse]:
        return closing(Lakehouse(PostgresTables(url or self.url), bucket or self.bucket, "the test's look at it"))

    def contents(self, url: str | None = None) -> Contents:
        with self.lakehouse(url) as lakehouse:
            return contents(lakehouse)

    def visits(self, count: int) -> None:
        """Runs that have happened before."""
        with self.lakehouse() as lakehouse:
            for number in range(1, count + 1):
                Runner(lakehouse, SilentReporter()).run(visit(self.shop, number))

    def follow(self, procedure: str, **environment: str) -> None:
        """Type the procedure's commands."""
        script = PROCEDURES[procedure].replace(SAFE_PLACE, str(self.folder / "safe"))
        path = f"{folder_of_commands()}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env={**os.environ, "PATH": path, **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{procedure}:\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def place(new_database: Callable[[], str], tmp_path: Path) -> Place:
    """A lakehouse with every migration, and nothing in it."""
    found = Place(tmp_path, new_database())
    visit(found.shop, 1)
    found.settings(LAKEHOUSE_DB_URL=found.url)
    return found


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    """A database as a new project has it: without any migration."""
    name = f"new_project_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"create database {name} template template0")
    yield database_url(server_url, name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


def test_every_procedure_of_the_page_is_executed() -> None:
    source = Path(__file__).read_text(encoding="utf-8")

    assert [name for name in PROCEDURES if not re.search(rf'\.follow\(\s*"{re.escape(name)}"', source)] == []


@pytest.mark.slow
def test_set_up(tmp_path: Path) -> None:
    Place(tmp_path, "").follow("Set up")

    with closing(open_embedded(tmp_path / "data" / "sample")) as lakehouse:
        assert lakehouse.tables.count("gold.analise_clientes_pedidos") > 0


def test_how_it_is_going(place: Place) -> None:
    place.visits(1)

    place.follow("How it is going")

    assert json.loads((place.folder / "status.json").read_text())["runs"][0]["entries"][-1]["key"] == 680


def test_upgrade_from_a_version_with_fewer_migrations(place: Place, empty_database: str, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.mkdir()
    for file in sorted(migrations.FOLDER.glob("*.sql"))[:-1]:
        (older / file.name).write_bytes(file.read_bytes())
    migrations.apply(empty_database, setting="the older version's database", folder=older)
    place.settings(LAKEHOUSE_DB_URL=empty_database)

    place.follow("Upgrade")

    assert migrations.pending(empty_database, setting="the test") == []
    place.visits(1)
    assert place.contents(empty_database) == place.contents()


def test_upgrade_puts_changed_rules_on_the_newest_snapshot(place: Place) -> None:
    place.visits(1)
    right = place.contents()
    with psycopg.connect(place.url) as connection:  # what other rules would have made of the same snapshot
        connection.execute("update silver.clientes set nome = upper(nome)")
        connection.execute("""update controle.execucoes set detalhes = detalhes || '{"rules": "other"}'""")

    place.follow("Upgrade")

    assert place.contents() == right


def test_the_shop_has_moved(place: Place) -> None:
    place.visits(1)
    before = place.contents()
    place.shop.rename(place.folder / "moved")
    place.settings(LAKEHOUSE_DB_URL=place.url, SOURCE_FILES=str(place.folder / "moved"))

    place.follow("The shop has moved")

    assert place.contents() == before


def test_give_the_lakehouse_to_another_shop(place: Place) -> None:
    place.visits(2)
    write_shop(place.folder / "other", clientes=[{"nome": "Outra"}])
    place.settings(LAKEHOUSE_DB_URL=place.url, SOURCE_FILES=str(place.folder / "other"))

    place.follow("Give the lakehouse to another shop")

    assert [row[1] for row in place.contents()["silver.clientes"]] == ["Outra"]
    assert len(snapshots.committed(place.bucket)) == 1


def test_a_run_failed(place: Place) -> None:
    source = visit(place.shop, 1)
    with place.lakehouse() as lakehouse:
        with psycopg.connect(place.url, autocommit=True) as connection:
            connection.execute("alter table gold.analise_produtos rename to away")
            with pytest.raises(Exception, match="analise_produtos"):
                Runner(lakehouse, SilentReporter()).run(source)
            connection.execute("alter table gold.away rename to analise_produtos")
        assert lakehouse.tables.count("gold.analise_produtos") == 0

    place.follow("A run failed")

    with place.lakehouse() as lakehouse:
        assert lakehouse.tables.count("gold.analise_produtos") == 1
        assert Ledger(lakehouse.tables).situation().gold_pending == 0


def test_quarantine(place: Place) -> None:
    place.visits(1)

    place.follow("Quarantine")

    exported = json.loads((place.folder / "quarantine.json").read_text())
    assert {entry["chave"] for entry in exported} == {"201", "202", "5"}
    assert len((place.folder / "quarantine.csv").read_text().splitlines()) == 1 + len(exported)


def test_backup(place: Place) -> None:
    place.visits(2)

    place.follow("Backup")
    kept = FolderBucket(place.folder / "safe")
    assert kept.sizes() == place.bucket.sizes()

    place.visits(3)
    place.follow("Backup")
    assert kept.sizes() == place.bucket.sizes()


def test_restore_from_bronze_on_a_new_project(place: Place, gateway: Gateway) -> None:
    place.visits(3)
    with place.lakehouse() as lakehouse:
        snapshots.copy(lakehouse.bucket, FolderBucket(place.folder / "safe"), SilentReporter())
    place.settings(LAKEHOUSE_URL=gateway.url, LAKEHOUSE_KEY=gateway.secret_key)

    place.follow("Restore from bronze on a new project")

    with lakehouse_of(project_of(gateway)) as hosted:
        assert contents(hosted) == place.contents()
        assert hosted.bucket.sizes() == place.bucket.sizes()


def test_an_object_is_damaged_or_lost(place: Place) -> None:
    place.visits(2)
    before = place.contents()
    snapshots.copy(place.bucket, FolderBucket(place.folder / "safe"), SilentReporter())
    whole = place.bucket.sizes()
    oldest, newest = snapshots.committed(place.bucket)
    for path in (f"{oldest}/clientes/part-00000.parquet", f"{newest}/_manifest.json"):
        (place.bucket.root / path).unlink()

    place.follow("An object is damaged or lost")

    assert place.bucket.sizes() == whole
    assert place.contents() == before


@pytest.mark.slow
def test_from_embedded_to_supabase(place: Place, empty_database: str, new_gateway: Callable[..., Gateway]) -> None:
    place.settings()
    with closing(open_embedded(place.folder / "data")) as embedded:
        for number in (1, 2, 3):
            Runner(embedded, SilentReporter()).run(visit(place.shop, number))
        before = contents(embedded)
    project = new_gateway(empty_database)
    settings = {
        "LAKEHOUSE_URL": project.url,
        "LAKEHOUSE_KEY": project.secret_key,
        "LAKEHOUSE_DB_URL": empty_database,
    }

    place.follow(
        "From embedded to Supabase", NEW_SETTINGS="\n".join(f"{name}={value}" for name, value in settings.items())
    )

    with lakehouse_of(project_of(project)) as hosted:
        assert contents(hosted) == before
        assert len(snapshots.committed(hosted.bucket)) == 3


def test_replay_a_snapshot(place: Place) -> None:
    place.visits(3)
    before = place.contents()

    place.follow("Replay a snapshot")

    assert place.contents() == before
    with psycopg.connect(place.url) as connection:
        undone = "select count(*) from controle.execucoes where desfeita_em is not null"
        assert connection.execute(undone).fetchone() == (3,)


def test_prune(place: Place) -> None:
    place.visits(8)
    before = place.contents()
    known = snapshots.committed(place.bucket)

    place.follow("Prune")

    assert snapshots.committed(place.bucket) == known[2:]
    assert place.contents() == before


def test_a_free_projects_limits(place: Place) -> None:
    place.settings(LAKEHOUSE_DB_URL=place.url, STORAGE_QUOTA="1GB", DATABASE_QUOTA="500MB", KEEP_SNAPSHOTS="6")
    place.visits(1)

    place.follow("A free project's limits")


def test_what_a_killed_run_leaves(place: Place) -> None:
    place.visits(1)
    place.bucket.put("2026/01/20260101T000000.000000Z/pedidos/part-00000.parquet", b"a run was killed here")
    visit(place.shop, 2)

    place.follow("What a killed run leaves")

    assert snapshots.leftovers(place.bucket) == []
    assert len(snapshots.committed(place.bucket)) == 2
