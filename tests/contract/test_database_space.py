"""Whether a database has room for a load: how near the guess is, who is warned, and what is refused before a write."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from elt import checks
from elt.catalog import ANALYSES, WRITE_ROWS
from elt.cli import medallion
from elt.errors import Full
from elt.lakehouse import snapshots, space
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.lakehouse.quota import DatabaseQuota
from elt.ledger import Ledger
from elt.progress import JsonReporter, SilentReporter
from elt.runner import Runner
from elt.silver import TABLES
from elt.sources.files import FilesSource
from elt.sources.sample import SampleShop
from tests.commands import json_lines
from tests.gateway.fixtures import Gateway
from tests.hosted import lakehouse_of, project_of
from tests.shops import write_shop

ROWS = st.fixed_dictionaries({table.name: st.integers(0, 10**7) for table in TABLES})


def may_hold(lakehouse: Lakehouse, size: int, *, enforced: bool = True) -> Lakehouse:
    """The lakehouse with a limit for its database."""
    return replace(lakehouse, database_quota=DatabaseQuota(size, enforced))


def orders(folder: Path, number: int) -> FilesSource:
    """A small shop with so many orders."""
    return write_shop(folder, pedidos=[{"id_pedido": str(order)} for order in range(number)])


# The guess.


@given(rows=ROWS, applied=ROWS)
def test_only_rows_that_are_new_take_room(rows: dict[str, int], applied: dict[str, int]) -> None:
    grows = any(rows[name] > applied[name] for name in rows)
    assert (space.needed(TABLES, rows, applied) > 0) == grows
    assert space.needed(TABLES, rows, {}) >= space.needed(TABLES, rows, applied)


def test_the_guess_is_near_what_rows_indexes_analyses_and_staging_take(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    shop = SampleShop(TABLES, clientes=4_000, produtos=2_000, pedidos=8_000, known=4_000, dirt=0)
    url = new_database()
    lakehouse = Lakehouse(PostgresTables(url), FolderBucket(tmp_path / "bucket"), "")
    Runner(lakehouse, SilentReporter()).run(shop)
    lakehouse.close()
    taken = 0
    with psycopg.connect(url, autocommit=True) as connection:
        for table in TABLES:  # as staging has them: 32 letters of an execution, and three numbers
            twin, silver = sql.Identifier(f"staged_{table.name}"), sql.Identifier("silver", table.name)
            connection.execute(
                sql.SQL(
                    "create unlogged table {} as select repeat('x', 32) execution, 1::bigint batch, 2::bigint place, "
                    "3::bigint fingerprint, silver.* from {} silver"
                ).format(twin, silver)
            )
        for name in (
            *(table.silver for table in TABLES),
            *(f"staged_{table.name}" for table in TABLES),
            *(analysis.gold for analysis in ANALYSES),
        ):
            row = connection.execute("select pg_total_relation_size(%s)", (name,)).fetchone()
            taken += row[0] if row else 0

    guess = space.needed(TABLES, {"clientes": 4_000, "produtos": 2_000, "pedidos": 8_000}, {})

    assert 0.85 < guess / taken < 1.2, f"{guess:,} bytes guessed, {taken:,} taken"


# A run.


def test_a_load_that_would_pass_the_quota_is_refused_before_the_first_write(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    source, held = orders(tmp_path / "shop", 50), space.held_by(lakehouse)
    with pytest.raises(Full, match="more than DATABASE_QUOTA") as caught:
        Runner(may_hold(lakehouse, held + 1_000), SilentReporter()).run(source)

    assert caught.value.kept == "nothing was written"
    assert lakehouse.bucket.list() == []
    assert lakehouse.tables.count("silver.clientes") == 0
    assert Ledger(lakehouse.tables).situation().identities == (), "the lakehouse is nobody's yet"
    Runner(may_hold(lakehouse, held + 1_000_000), SilentReporter()).run(source)
    assert lakehouse.tables.count("silver.pedidos") == 50


def test_a_later_run_needs_room_for_what_is_new_only(lakehouse: Lakehouse, tmp_path: Path) -> None:
    Runner(lakehouse, SilentReporter()).run(orders(tmp_path / "shop", 50))
    held = space.held_by(lakehouse)
    one = space.needed(TABLES, {"pedidos": 1}, {})
    with pytest.raises(Full):
        Runner(may_hold(lakehouse, held + one), SilentReporter()).run(orders(tmp_path / "shop", 52))
    Runner(may_hold(lakehouse, held + 100 * one), SilentReporter()).run(orders(tmp_path / "shop", 52))
    assert lakehouse.tables.count("silver.pedidos") == 52


def test_a_full_database_refuses_no_run_that_finds_nothing_new(lakehouse: Lakehouse, tmp_path: Path) -> None:
    source = orders(tmp_path / "shop", 3)
    Runner(lakehouse, SilentReporter()).run(source)
    assert [int(result.key) for result in Runner(may_hold(lakehouse, 1), SilentReporter()).run(source)] == [135]


def test_a_snapshot_that_waits_since_an_earlier_run_needs_room_too(lakehouse: Lakehouse, tmp_path: Path) -> None:
    source = orders(tmp_path / "shop", 3)
    Runner(lakehouse, SilentReporter()).bronze(source)
    full = Runner(may_hold(lakehouse, 1), SilentReporter())
    for write in (full.silver, lambda: full.run(source)):
        with pytest.raises(Full, match="DATABASE_QUOTA"):
            write()
    assert lakehouse.tables.count("silver.clientes") == 0
    assert len(snapshots.committed(lakehouse.bucket)) == 1


def test_what_is_new_is_known_though_the_applied_snapshot_is_lost(lakehouse: Lakehouse, tmp_path: Path) -> None:
    Runner(lakehouse, SilentReporter()).run(orders(tmp_path / "shop", 7))
    applied = snapshots.committed(lakehouse.bucket)[-1]
    lakehouse.bucket.delete([f"{applied}/{snapshots.MANIFEST}"])
    assert space.rows_applied(lakehouse, TABLES, applied, None) == {"clientes": 1, "produtos": 1, "pedidos": 7}


def test_a_project_that_may_have_more_is_warned_and_not_stopped(gateway: Gateway, tmp_path: Path) -> None:
    log = io.StringIO()
    with lakehouse_of(project_of(gateway)) as hosted:
        Runner(may_hold(hosted, 1_000, enforced=False), JsonReporter(log)).run(orders(tmp_path / "shop", 3))
        assert hosted.tables.count("silver.pedidos") == 3
    (warning,) = [str(line["message"]) for line in json_lines(log.getvalue()) if line["level"] == "warning"]
    assert "a free project has 1.0 kB of database" in warning


# The check before a run.


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, new_database: Callable[[], str], tmp_path: Path) -> pytest.MonkeyPatch:
    """The settings of a lakehouse by URL that has seen nothing, and of a shop in files with 1,000 orders."""
    orders(tmp_path / "shop", 1_000)
    for name, value in (
        ("LAKEHOUSE_DB_URL", new_database()),
        ("SOURCE_FILES", str(tmp_path / "shop")),
        ("DATA_DIR", str(tmp_path / "data")),
    ):
        monkeypatch.setenv(name, value)
    return monkeypatch


def check() -> dict[str, Any]:
    result = CliRunner().invoke(medallion, ["check", "--json"], catch_exceptions=True)
    if result.exception:
        raise result.exception
    (document,) = json_lines(" ".join(result.stdout.split()))
    return document


def test_check_says_before_a_load_what_it_takes(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("DATABASE_QUOTA", "1GB")
    found = check()
    rows = {"clientes": 1, "produtos": 1, "pedidos": 1_000}
    assert found["database"]["more"] == space.needed(TABLES, rows, {}), "a file does not say how many rows it has"
    assert 5_000_000 < found["database"]["bytes"] < 100_000_000
    said = CliRunner().invoke(medallion, ["check"]).stdout
    assert "the database holds " in said
    assert "what is new may take about 3" in said


def test_check_refuses_a_load_for_which_the_quota_that_is_set_is_too_small(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("DATABASE_QUOTA", str(check()["database"]["bytes"] + 100_000))
    result = CliRunner().invoke(medallion, ["check"])
    assert isinstance(result.exception, Full)
    assert "DATABASE_QUOTA" in result.exception.what


def test_check_warns_of_a_load_that_a_free_project_has_no_room_for(settings: pytest.MonkeyPatch) -> None:
    settings.setattr(checks, "database_quota_of", lambda _: DatabaseQuota(10**6, enforced=False))
    (warning,) = [words for words in check()["warnings"] if "free project" in words]
    assert "1.0 MB of database" in warning


def test_nobody_without_a_limit_waits_for_rows_to_be_counted(settings: pytest.MonkeyPatch) -> None:
    settings.setattr("elt.sources.files._Csv.pages", lambda *_: pytest.fail("the file was read"))
    assert check()["database"]["more"] is None


# What one COPY carries.


def test_no_copy_to_the_lakehouse_carries_more_rows_than_one_write_request(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, copy = list[int](), psycopg.Cursor.copy

    @contextmanager
    def counted(self: psycopg.Cursor, statement: sql.Composed, *given: Any, **named: Any) -> Iterator[psycopg.Copy]:
        with copy(self, statement, *given, **named) as copying:
            yield copying
        if "from stdin" in statement.as_string(self).lower():
            copied.append(self.rowcount)

    monkeypatch.setattr(psycopg.Cursor, "copy", counted)
    shop = SampleShop(TABLES, clientes=WRITE_ROWS + 500, produtos=3, pedidos=5, known=3, dirt=0)
    Runner(lakehouse, SilentReporter()).run(shop)
    assert sum(copied) >= WRITE_ROWS + 508
    assert max(copied) <= WRITE_ROWS
