"""One lakehouse is one shop's: another is refused, the sample never mixes, and a reset gives it away whole."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from elt.cli import medallion
from elt.errors import ConfigurationError, SnapshotError
from elt.lakehouse import snapshots
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.ledger import Lease, Ledger
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.silver import TABLES
from elt.sources.sample import SampleShop
from tests.commands import run_command
from tests.shops import contents, write_shop

SMALL = SampleShop(TABLES, clientes=20, produtos=5, pedidos=60, known=20)


def objects(lakehouse: Lakehouse) -> dict[str, int]:
    return lakehouse.bucket.sizes()


def all_of(lakehouse: Lakehouse) -> tuple[object, object]:
    return contents(lakehouse), objects(lakehouse)


def test_another_shop_is_refused_before_anything_is_written(lakehouse: Lakehouse, tmp_path: Path) -> None:
    runner = Runner(lakehouse, SilentReporter())
    runner.run(SMALL)
    before, ledger = all_of(lakehouse), lakehouse.tables.count("controle.execucoes")
    with pytest.raises(ConfigurationError, match="another shop"):
        runner.run(write_shop(tmp_path / "shop"))
    assert all_of(lakehouse) == before
    assert lakehouse.tables.count("controle.execucoes") == ledger


def test_keys_in_common_prove_nothing(lakehouse: Lakehouse, tmp_path: Path) -> None:
    runner = Runner(lakehouse, SilentReporter())
    runner.run(write_shop(tmp_path / "one"))
    with pytest.raises(ConfigurationError, match="another shop"):
        runner.run(write_shop(tmp_path / "other"))


def test_a_shop_under_a_new_address_goes_on_and_both_addresses_are_kept(lakehouse: Lakehouse, tmp_path: Path) -> None:
    runner = Runner(lakehouse, SilentReporter())
    old = write_shop(tmp_path / "old")
    runner.run(old)
    new = write_shop(tmp_path / "new", pedidos=[{}, {"id_pedido": "101"}])
    assert [int(result.key) for result in runner.run(new, new_source=True)] == [246, 468, 680]
    manifest = snapshots.newest(lakehouse.bucket)
    assert manifest is not None
    assert manifest.identities == (new.identity, old.identity)
    assert Ledger(lakehouse.tables).situation().identities == (old.identity, new.identity)
    assert [int(result.key) for result in runner.run(new)] == [135]


def test_a_new_address_with_the_same_rows_is_still_nothing_new(lakehouse: Lakehouse, tmp_path: Path) -> None:
    runner = Runner(lakehouse, SilentReporter())
    runner.run(write_shop(tmp_path / "old"))
    new = write_shop(tmp_path / "new")
    assert [int(result.key) for result in runner.run(new, new_source=True)] == [135]
    assert [int(result.key) for result in runner.run(new)] == [135]


def test_a_new_address_that_cannot_be_read_changes_nothing(lakehouse: Lakehouse, tmp_path: Path) -> None:
    runner = Runner(lakehouse, SilentReporter())
    old = write_shop(tmp_path / "old")
    runner.run(old)
    new = write_shop(tmp_path / "new")
    (tmp_path / "new" / "pedidos.csv").unlink()
    with pytest.raises(Exception, match="pedidos"):
        runner.run(new, new_source=True)
    assert [int(result.key) for result in runner.run(old)] == [135]


def test_a_wrong_folder_at_the_very_first_run_ties_the_lakehouse_to_nothing(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    runner = Runner(lakehouse, SilentReporter())
    typo = write_shop(tmp_path / "typo")
    (tmp_path / "typo" / "pedidos.csv").unlink()
    with pytest.raises(Exception, match="pedidos"):
        runner.run(typo)
    assert [int(result.key) for result in runner.run(write_shop(tmp_path / "shop"))] == [246, 468, 680]


def test_tables_whose_bucket_is_lost_know_their_shop(new_lakehouse: Callable[[], Lakehouse], tmp_path: Path) -> None:
    lakehouse, other = new_lakehouse(), new_lakehouse()
    Runner(lakehouse, SilentReporter()).run(write_shop(tmp_path / "one"))
    without = Lakehouse(lakehouse.tables, other.bucket, "its bucket is new")
    with pytest.raises(ConfigurationError, match="another shop"):
        Runner(without, SilentReporter()).run(write_shop(tmp_path / "other"))


def test_a_bucket_whose_tables_are_lost_knows_its_shop(new_lakehouse: Callable[[], Lakehouse], tmp_path: Path) -> None:
    lakehouse, other = new_lakehouse(), new_lakehouse()
    old, new = write_shop(tmp_path / "old"), write_shop(tmp_path / "new", pedidos=[{"quantidade": "3"}])
    runner = Runner(lakehouse, SilentReporter())
    runner.run(old)
    runner.run(new, new_source=True)
    restored = Runner(Lakehouse(other.tables, lakehouse.bucket, "its tables are new"), SilentReporter())
    with pytest.raises(ConfigurationError, match="another shop"):
        restored.run(write_shop(tmp_path / "other"))
    assert [int(result.key) for result in restored.run(old)][:2] == [246, 468]


def test_a_restored_backup_of_another_shop_is_not_applied(
    new_lakehouse: Callable[[], Lakehouse], tmp_path: Path
) -> None:
    lakehouse, other = new_lakehouse(), new_lakehouse()
    runner = Runner(lakehouse, SilentReporter())
    runner.run(write_shop(tmp_path / "one"))
    Runner(other, SilentReporter()).run(write_shop(tmp_path / "other", clientes=[{"nome": "Outra"}]))
    runner.copy_snapshots(other.bucket, lakehouse.bucket)
    before = contents(lakehouse)
    with pytest.raises(SnapshotError, match="another shop"):
        runner.silver()
    with pytest.raises(SnapshotError, match="another shop"):
        runner.replay(snapshots.committed(lakehouse.bucket)[-1])
    assert contents(lakehouse) == before


def old_manifest(lakehouse: Lakehouse, description: str) -> None:
    """Make the newest manifest, and the ledger, those of a program that named no shop."""
    assert isinstance(lakehouse.bucket, FolderBucket)
    manifest = snapshots.newest(lakehouse.bucket)
    assert manifest is not None
    path = lakehouse.bucket.root / manifest.snapshot / snapshots.MANIFEST
    document = json.loads(path.read_text())
    del document["identity"], document["same_shop"]
    path.write_text(json.dumps({**document, "source": description}))
    with Lease(lakehouse.tables, 60).held() as lease:
        Ledger(lakehouse.tables, lease).name_shop([])


def test_a_lakehouse_of_before_that_names_its_shop_keeps_it(lakehouse: Lakehouse, tmp_path: Path) -> None:
    runner = Runner(lakehouse, SilentReporter())
    shop = write_shop(tmp_path / "shop")
    runner.run(shop)
    old_manifest(lakehouse, f"files in {tmp_path / 'shop'}")
    with pytest.raises(ConfigurationError, match="another shop"):
        runner.run(write_shop(tmp_path / "other"))
    assert [int(result.key) for result in runner.run(shop)] == [135]


@pytest.mark.parametrize("description", ["files in shop", "files in /source"])
def test_a_lakehouse_of_before_that_names_none_takes_that_of_its_first_run(
    lakehouse: Lakehouse, tmp_path: Path, description: str
) -> None:
    runner = Runner(lakehouse, SilentReporter())
    shop = write_shop(tmp_path / "shop")
    runner.run(shop)
    old_manifest(lakehouse, description)
    with pytest.raises(ConfigurationError, match="another shop"):
        runner.run(SMALL)
    assert [int(result.key) for result in runner.run(shop)] == [135]
    with pytest.raises(ConfigurationError, match="another shop"):
        runner.run(write_shop(tmp_path / "other"))


def test_a_reset_gives_the_lakehouse_to_another_shop_as_if_it_were_new(
    new_lakehouse: Callable[[], Lakehouse], tmp_path: Path
) -> None:
    lakehouse, fresh = new_lakehouse(), new_lakehouse()
    runner = Runner(lakehouse, SilentReporter())
    runner.run(SMALL)
    stored = objects(lakehouse)
    runner.reset()
    assert set(contents(lakehouse)["silver.pedidos"] + contents(lakehouse)["gold.analise_produtos"]) == set()
    shop = write_shop(tmp_path / "shop")
    assert [int(result.key) for result in runner.run(shop)] == [246, 468, 680]
    Runner(fresh, SilentReporter()).run(shop)
    assert contents(lakehouse) == contents(fresh)
    assert stored.items() <= objects(lakehouse).items()


def test_what_is_before_a_reset_stays_and_is_never_applied_replayed_or_pruned(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    runner = Runner(lakehouse, SilentReporter())
    runner.run(SMALL)
    [old] = snapshots.committed(lakehouse.bucket)
    stored = objects(lakehouse)
    runner.reset()
    assert snapshots.newest(lakehouse.bucket) is None
    assert int(runner.silver().key) == 357
    runner.run(write_shop(tmp_path / "shop"))
    runner.run(write_shop(tmp_path / "shop", pedidos=[{"quantidade": "9"}]))
    runner.silver(full=True)
    runner.prune(1)
    assert runner.sweep().removed == []
    assert snapshots.newest(lakehouse.bucket) is not None
    assert stored.items() <= objects(lakehouse).items()
    with pytest.raises(SnapshotError, match="another shop's"):
        snapshots.find(lakehouse.bucket, old)
    assert {row[1] for row in contents(lakehouse)["silver.clientes"]} == {"Ana Souza"}


def test_the_same_shop_after_a_reset_is_read_whole(lakehouse: Lakehouse) -> None:
    runner = Runner(lakehouse, SilentReporter())
    runner.run(SMALL)
    before = contents(lakehouse)
    runner.reset()
    assert [int(result.key) for result in runner.run(SMALL)] == [246, 468, 680]
    assert contents(lakehouse) == before


def test_a_reset_that_was_killed_after_its_mark_mixes_nothing(lakehouse: Lakehouse, tmp_path: Path) -> None:
    runner = Runner(lakehouse, SilentReporter())
    runner.run(SMALL)
    snapshots.write_reset(lakehouse.bucket, "killed", datetime.now(UTC))
    with pytest.raises(ConfigurationError, match="another shop"):
        runner.run(write_shop(tmp_path / "shop"))
    runner.reset()
    runner.run(write_shop(tmp_path / "shop"))
    assert len(contents(lakehouse)["silver.clientes"]) == 1


def test_a_backup_carries_the_mark_of_a_reset(new_lakehouse: Callable[[], Lakehouse], tmp_path: Path) -> None:
    lakehouse, restored = new_lakehouse(), new_lakehouse()
    runner = Runner(lakehouse, SilentReporter())
    runner.run(SMALL)
    runner.reset()
    shop = write_shop(tmp_path / "shop")
    runner.run(shop)
    backup = FolderBucket(tmp_path / "backup")
    runner.copy_snapshots(lakehouse.bucket, backup)
    again = Runner(restored, SilentReporter())
    again.copy_snapshots(backup, restored.bucket)
    again.silver()
    again.gold()
    assert contents(restored) == contents(lakehouse)


# --- the commands ---


@pytest.fixture
def medallion_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """``medallion ...`` in a folder of its own, with settings only for this command."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str, **settings: str) -> Result:
        return CliRunner().invoke(medallion, arguments, env=settings, catch_exceptions=True)

    return invoke


def revenue(answer: Result) -> object:
    return json.loads(answer.stdout)["rows"]


@pytest.mark.slow
def test_the_readme_s_own_order_sample_first_then_the_shop_never_mixes(tmp_path: Path) -> None:
    write_shop(tmp_path / "my-shop")
    env = {"DATA_DIR": str(tmp_path / "data")}
    code, _, err = run_command("run", folder=tmp_path, env=env)
    assert (code, "sample shop" in err) == (0, True)
    code, _, err = run_command("run", folder=tmp_path, env={**env, "SOURCE_FILES": "my-shop"})
    assert code == 0
    assert "this is a new lakehouse" in err
    _, out, _ = run_command("show", "analise_produtos", "--json", folder=tmp_path, env=env)
    assert [row["total_receita"].rstrip("0") for row in json.loads(out)["shown"]] == ["25."]
    _, out, _ = run_command("status", "--json", "--sample", folder=tmp_path, env=env)
    assert json.loads(out)["shop"] == ["sample"]
    assert {"postgres", "bucket"} <= {entry.name for entry in (tmp_path / "data" / "sample").iterdir()}


def test_into_a_lakehouse_of_one_s_own_the_sample_goes_only_when_asked_for(
    medallion_in: Callable[..., Result], lakehouse_url: str
) -> None:
    refused = medallion_in("run", LAKEHOUSE_DB_URL=lakehouse_url)
    assert isinstance(refused.exception, ConfigurationError)
    assert "--sample" in refused.exception.next_step
    with psycopg.connect(lakehouse_url) as connection:
        assert connection.execute("select count(*) from controle.execucoes").fetchone() == (0,)
    assert medallion_in("run", "--sample", LAKEHOUSE_DB_URL=lakehouse_url).exit_code == 0


def test_check_says_what_run_would(medallion_in: Callable[..., Result], lakehouse_url: str) -> None:
    answer = medallion_in("check", LAKEHOUSE_DB_URL=lakehouse_url)
    assert "no source is set" in str(answer.exception)


def test_check_refuses_another_shop_as_run_does(
    medallion_in: Callable[..., Result], lakehouse_url: str, tmp_path: Path
) -> None:
    write_shop(tmp_path / "one")
    write_shop(tmp_path / "other")
    assert medallion_in("run", LAKEHOUSE_DB_URL=lakehouse_url, SOURCE_FILES="one").exit_code == 0
    answer = medallion_in("check", LAKEHOUSE_DB_URL=lakehouse_url, SOURCE_FILES="other")
    assert "another shop" in str(answer.exception)
    assert medallion_in("check", LAKEHOUSE_DB_URL=lakehouse_url, SOURCE_FILES="one").exit_code == 0


def test_reset_asks_and_no_leaves_everything(
    medallion_in: Callable[..., Result], lakehouse_url: str, tmp_path: Path
) -> None:
    write_shop(tmp_path / "shop")
    settings = {"LAKEHOUSE_DB_URL": lakehouse_url, "SOURCE_FILES": "shop"}
    medallion_in("run", **settings)
    assert medallion_in("reset", **settings).exit_code == 1  # nobody answers
    assert json.loads(medallion_in("show", "clientes", "--json", **settings).stdout)["rows"] == 1
    done = medallion_in("reset", "--yes", "--json", **settings)
    assert json.loads(done.stdout)["rows"] == {"clientes": 1, "produtos": 1, "pedidos": 1}
    assert json.loads(medallion_in("show", "clientes", "--json", **settings).stdout)["rows"] == 0
    [listed] = json.loads(medallion_in("snapshots", "--json", **settings).stdout)["snapshots"]
    assert listed["state"] == "another shop's"
    status = json.loads(medallion_in("status", "--json", **settings).stdout)
    assert status["waiting_for_silver"] == 0
