"""The lakehouse of every release that is kept (``tests/releases``) goes on with this version, with the same figures."""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import psycopg
import pytest
from click.testing import CliRunner

from elt import environment
from elt.catalog import rules_version
from elt.cli import medallion
from elt.connections import lakehouse_of
from elt.errors import LeaseError
from elt.lakehouse import migrations
from elt.ledger import LayerResult, Ledger
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.settings import found, load_settings
from elt.silver import TABLES
from tests.commands import is_waiting_for_a_lock, wait_until
from tests.gateway.fixtures import Gateway
from tests.oldest import another_postgresql
from tests.releases.kept import (
    Figures,
    Kept,
    Program,
    figures_of,
    figures_of_status,
    of_tables,
    releases,
    restore,
    snapshots_in,
)
from tests.releases.visit import Visit


@dataclass(frozen=True)
class Restored:
    """A kept lakehouse, restored: its database, and the folder that is MEDALLION_HOME with its ``.env`` and bucket."""

    kept: Kept
    url: str
    home: Path

    @property
    def bucket(self) -> Path:
        return self.home / "data" / "bucket"

    @property
    def other_rules(self) -> bool:
        """Whether rows were cleaned by other rules than this version's: its first run then looks at all of them."""
        with lakehouse_of(load_settings(), sample=True) as lakehouse:
            return Ledger(lakehouse.tables).situation().rules != rules_version(TABLES)

    def medallion(self, *arguments: str) -> Any:
        """A command of this version, in this process; what it printed as JSON."""
        answer = CliRunner().invoke(medallion, [*arguments, "--json"], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        return json.loads(answer.stdout)

    def visit(self, snapshot: str, layers: Callable[[Runner, Visit], list[LayerResult]] = Runner.run) -> list[int]:
        """Look at the shop as it was in that snapshot; the keys of the layers."""
        with lakehouse_of(load_settings(), sample=True, loading=True) as lakehouse:
            results = layers(Runner(lakehouse, SilentReporter()), Visit.of_snapshot(self.bucket, snapshot))
        return [int(result.key) for result in results]

    def tables(self, moment: str) -> Figures:
        """The figures of the tables that the release had at that moment, as they are now."""
        kept = of_tables(self.kept.document["figures"][moment])
        return figures_of(self.url, {name: figure["columns"] for name, figure in kept.items()})

    def everything(self) -> tuple[dict[str, list[str]], dict[Path, bytes]]:
        """Every row of silver and gold with its moments, and every object."""
        with psycopg.connect(self.url) as connection:
            rows = {
                name: sorted(map(repr, connection.execute(f"select * from {name}".encode()).fetchall()))
                for name in of_tables(self.kept.document["figures"]["settled"])
            }
        return rows, {path: path.read_bytes() for path in self.bucket.rglob("*") if path.is_file()}


def same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """What is expected is found; what a later version says beside it does not matter."""
    for subject, value in expected.items():
        assert _without_news(found[subject], value) == value, subject


def _without_news(found: Any, like: Any) -> Any:
    """What was found without names that the other does not have."""
    if isinstance(found, dict) and isinstance(like, dict):
        return {name: _without_news(found[name], like[name]) for name in found if name in like}
    if isinstance(found, list) and isinstance(like, list) and len(found) == len(like):
        return [_without_news(*pair) for pair in zip(found, like, strict=True)]
    return found


@pytest.fixture(params=releases(), ids=lambda kept: kept.release)
def kept(request: pytest.FixtureRequest) -> Kept:
    found: Kept = request.param
    return found


@pytest.fixture
def restored(
    kept: Kept, new_empty_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Restored:
    """The lakehouse in which nothing waits, after this version's ``medallion init``."""
    return _restore(kept, "lakehouse", new_empty_database(), tmp_path / "home", monkeypatch)


@pytest.fixture
def waiting(
    kept: Kept, new_empty_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Restored:
    """The lakehouse in which silver has applied a visit and gold has not, after ``medallion init``."""
    there = _restore(kept, "waiting", new_empty_database(), tmp_path / "home", monkeypatch)
    kept.add_next_visit(there.home)
    return there


def _restore(kept: Kept, dump: str, url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Restored:
    restore(url, kept.unpack(home)[dump])
    monkeypatch.setenv(environment.HOME, str(home))
    monkeypatch.setenv("LAKEHOUSE_DB_URL", url)
    answer = CliRunner().invoke(medallion, ["init"], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return Restored(kept, url, home)


def test_it_shows_what_it_showed_then(restored: Restored) -> None:
    shown = figures_of_status(restored.medallion("status"))
    same({**shown, **restored.tables("settled")}, restored.kept.figures("settled"))


def test_the_same_rows_are_nothing_new_and_change_nothing(restored: Restored) -> None:
    before, newest = restored.everything(), snapshots_in(restored.bucket)[-1]
    if restored.other_rules:
        assert restored.visit(newest) == [246, 357]  # silver cleans every row again, and finds none different
    same({"keys": restored.visit(newest)}, restored.kept.figures("same rows"))
    rows, objects = restored.everything()
    noted = [file for file in objects if file.name == "_fingerprints.json"]  # of a manifest of before, found once
    assert (rows, {file: content for file, content in objects.items() if file not in noted}) == before


def test_a_layer_by_hand_has_nothing_to_do(restored: Restored) -> None:
    def by_hand(runner: Runner, visit: Visit) -> list[LayerResult]:
        return [runner.bronze(visit), runner.silver(), runner.gold()]

    bronze = 246 if restored.other_rules else 135
    assert restored.visit(snapshots_in(restored.bucket)[-1], by_hand) == [bronze, 357, 579]


def test_the_next_visit_gives_what_it_gave_then(restored: Restored, tmp_path: Path) -> None:
    shutil.copytree(restored.home / "data" / "next", tmp_path / "next")
    [snapshot] = [path.parent for path in (tmp_path / "next").rglob("_manifest.json")]
    with lakehouse_of(load_settings(), sample=True, loading=True) as lakehouse:
        visit = Visit.of_snapshot(tmp_path / "next", snapshot.relative_to(tmp_path / "next").as_posix())
        keys = [int(result.key) for result in Runner(lakehouse, SilentReporter()).run(visit)]
    same({"keys": keys, **restored.tables("next")}, restored.kept.figures("next"))


def test_what_waited_for_gold_is_finished(waiting: Restored) -> None:
    same(figures_of_status(waiting.medallion("status")), waiting.kept.figures("waiting"))
    keys = waiting.visit(snapshots_in(waiting.bucket)[-1])
    same({"keys": keys, **waiting.tables("what waited")}, waiting.kept.figures("what waited"))


def test_every_snapshot_replayed_gives_what_it_gave_then(restored: Restored) -> None:
    assert sorted(restored.kept.replays) == snapshots_in(restored.bucket)
    for snapshot, moment in restored.kept.replays.items():
        keys = [layer["key"] for layer in restored.medallion("replay", snapshot)["layers"]]
        # Gold's own key depends on what was there before; what it holds does not.
        expected = {name: value for name, value in restored.kept.figures(moment).items() if name != "keys"}
        same(restored.tables(moment), expected)
        assert keys[0] == restored.kept.figures(moment)["keys"][0]


def test_what_was_before_its_reset_stays_another_shops(restored: Restored) -> None:
    listed = {one["snapshot"]: one["state"] for one in restored.medallion("snapshots")["snapshots"]}
    own = snapshots_in(restored.bucket)
    assert {snapshot for snapshot, state in listed.items() if state == "applied"} == set(own)
    assert [state for snapshot, state in listed.items() if snapshot not in own] == ["another shop's"]


def test_what_its_killed_run_left_is_swept_and_nothing_that_a_snapshot_points_at(restored: Restored) -> None:
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in restored.bucket.rglob("_manifest.json")]
    needed = {part["path"] for one in manifests for table in one["tables"].values() for part in table["parts"]}
    there = {path.relative_to(restored.bucket).as_posix() for path in restored.bucket.rglob("*.parquet")}
    assert there - needed
    assert set(restored.medallion("bronze", "--sweep")["removed"]) == there - needed


def test_its_env_is_understood_whole(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.unpack(tmp_path / "home")
    monkeypatch.setenv(environment.HOME, str(tmp_path / "home"))
    assert found().warnings == []
    understood = json.loads(load_settings().model_dump_json().replace(str(tmp_path / "home"), "."))
    assert kept.document["settings"].items() <= understood.items()


@pytest.fixture
def program(kept: Kept, tmp_path: Path) -> Program:
    """The release's own program."""
    try:
        return kept.program(tmp_path / "kept")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the packages of {kept.release} are not installed, and there is no package index: {error.stderr}")


@pytest.fixture
def knows_less(kept: Kept) -> None:
    """The test is for a release that has not every migration of this version."""
    with ZipFile(kept.wheel) as wheel:
        known = {Path(name).stem for name in wheel.namelist() if name.endswith(".sql")}
    if known >= set(migrations.names()):
        pytest.skip(f"{kept.release} knows every migration")


@pytest.mark.usefixtures("knows_less")
@pytest.mark.parametrize("over_http", [False, True], ids=["directly", "over HTTP"])
def test_its_own_program_writes_nothing_into_a_lakehouse_of_this_version(
    program: Program, over_http: bool, restored: Restored, new_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    folder, settings = restored.bucket, {"LAKEHOUSE_DB_URL": restored.url}
    if over_http:
        gateway = new_gateway(restored.url)
        gateway.app.storage.migrate_buckets()
        folder = gateway.app.folder
        settings = {"LAKEHOUSE_URL": gateway.url, "LAKEHOUSE_KEY": gateway.secret_key}
    before = _rows_and_objects(restored.url, folder)
    for typed in (("run",), ("reset", "--yes")):
        code, _, said = program.run("-m", "elt", *typed, "--sample", home=restored.home, also=None, **settings)
        assert code != 0
        assert "later version" in said
        assert "nothing was written" in said
        assert "nstall that version here too" in said
    assert _rows_and_objects(restored.url, folder) == before


@pytest.mark.usefixtures("knows_less")
def test_while_its_own_program_is_at_work_this_version_migrates_nothing(
    kept: Kept, program: Program, new_empty_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, home = new_empty_database(), tmp_path / "home"
    restore(url, kept.unpack(home)["lakehouse"])
    monkeypatch.setenv(environment.HOME, str(home))
    monkeypatch.setenv("LAKEHOUSE_DB_URL", url)
    typed = ("-m", "elt", "silver", "--full", "--sample")
    with ThreadPoolExecutor() as other, psycopg.connect(url) as blocker:
        blocker.execute("lock table silver.clientes in exclusive mode")
        run = other.submit(program.run, *typed, home=home, LAKEHOUSE_DB_URL=url)
        try:
            wait_until(lambda: is_waiting_for_a_lock(url) or run.done(), "the release's run to write")
            pending = migrations.pending(url, setting="a test")
            with pytest.raises(LeaseError, match=r"a run is at work: process [0-9]+ on ") as refused:
                CliRunner().invoke(medallion, ["init"], catch_exceptions=False, standalone_mode=False)
            assert "no migration was applied" in refused.value.kept
            assert "wait for that run to end" in refused.value.next_step
            assert migrations.pending(url, setting="a test") == pending
        finally:
            blocker.rollback()
        code, _, said = run.result()
    assert code == 0, said
    assert CliRunner().invoke(medallion, ["init"]).exit_code == 0


def _rows_and_objects(url: str, bucket: Path) -> tuple[object, object]:
    """Every row of the lakehouse's schemas with the transaction that wrote it, and every object."""
    with psycopg.connect(url) as connection:
        schemas = "('silver', 'gold', 'controle')"
        names = connection.execute(
            f"select schemaname || '.' || tablename from pg_tables where schemaname in {schemas}".encode()
        ).fetchall()
        rows = {
            name: sorted(map(repr, connection.execute(f"select t.*, t.xmin from {name} t".encode()).fetchall()))
            for (name,) in names
        }
    return rows, {path: path.read_bytes() for path in bucket.rglob("*") if path.is_file()}


def test_its_own_program_opens_it(
    kept: Kept, program: Program, new_empty_database: Callable[[], str], tmp_path: Path
) -> None:
    url, home = new_empty_database(), tmp_path / "home"
    restore(url, kept.unpack(home)["lakehouse"])
    code, out, said = program.run("-c", "import elt; print(elt.__version__, elt.__file__)", home=home)
    assert (code, out) == (0, f"{kept.release} {tmp_path}/kept/program/elt/__init__.py\n"), said
    code, out, said = program.run("-m", "elt", "status", "--json", home=home, LAKEHOUSE_DB_URL=url)
    assert code == 0, said
    kept_then = kept.document["figures"]["settled"]
    same(
        figures_of_status(json.loads(out)), {name: kept_then[name] for name in kept_then if name.startswith("status.")}
    )


def test_it_can_be_restored_by_another_postgresql(kept: Kept, tmp_path: Path) -> None:
    with another_postgresql() as url:
        restore(url, kept.unpack(tmp_path)["lakehouse"])
        then = of_tables(kept.document["figures"]["settled"])
        assert figures_of(url, {name: figure["columns"] for name, figure in then.items()}) == then
        with psycopg.connect(url) as connection:
            owner = "select distinct tableowner from pg_tables where schemaname = 'silver'"
            assert connection.execute(owner.encode()).fetchall() == [("postgres",)]
            reads = "select rolname from pg_roles where has_table_privilege(oid, 'silver.pedidos', 'select')"
            roles = "and rolname in ('anon', 'authenticated', 'service_role')"
            assert connection.execute(f"{reads} {roles}".encode()).fetchall() == [("service_role",)]
