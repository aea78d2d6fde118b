"""The SQL of ``supabase/migrations``: from nothing, twice, from the specification's own schema, and by hand."""

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from elt import access
from elt.errors import ConfigurationError, Denied, LakehouseError, LeaseError
from elt.holder import this_place
from elt.lakehouse import migrations
from elt.lakehouse.embedded import open_embedded, start_postgres
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.progress import SilentReporter
from elt.runner import Runner
from tests.commands import is_waiting_for_a_lock, wait_until
from tests.shops import write_shop
from tests.specified import ORIGINAL, ROWS

NAMES = migrations.names()


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def shape(url: str) -> list[tuple[object, ...]]:
    """Every column, constraint, trigger, function, policy and grant of the lakehouse's schemas."""
    schemas = "('silver', 'gold', 'controle')"
    return [
        *rows(
            url,
            "select table_schema, table_name, column_name, data_type, is_nullable from information_schema.columns "
            f"where table_schema in {schemas} order by 1, 2, 3",
        ),
        *rows(
            url,
            "select n.nspname, c.conname from pg_constraint c join pg_namespace n on n.oid = c.connamespace "
            f"where n.nspname in {schemas} and c.contype in ('p', 'f') order by 1, 2",
        ),
        *rows(url, "select tgrelid::regclass::text, tgname from pg_trigger where not tgisinternal order by 1, 2"),
        *rows(url, "select schemaname, tablename, policyname, roles::text from pg_policies order by 1, 2, 3"),
        *rows(
            url,
            "select n.nspname, c.relname, c.relrowsecurity, c.relacl::text from pg_class c "
            f"join pg_namespace n on n.oid = c.relnamespace where n.nspname in {schemas} and c.relkind = 'r' "
            "order by 1, 2",
        ),
        *rows(
            url,
            "select n.nspname, p.proname, p.proacl::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
            f"where n.nspname in {schemas} order by 1, 2",
        ),
    ]


@pytest.fixture
def original(new_empty_database: Callable[[], str]) -> str:
    """A database as the specification's SQL leaves it, with rows."""
    url = new_empty_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ORIGINAL)
        connection.execute(ROWS)
    return url


def test_they_apply_from_nothing(new_empty_database: Callable[[], str]) -> None:
    url = new_empty_database()
    assert migrations.apply(url, setting="a test") == NAMES
    assert migrations.pending(url, setting="a test") == []


def test_each_is_applied_once(new_empty_database: Callable[[], str]) -> None:
    url = new_empty_database()
    migrations.apply(url, setting="a test")
    assert migrations.apply(url, setting="a test") == []


def test_each_can_be_run_twice_by_hand_and_records_itself(new_empty_database: Callable[[], str]) -> None:
    url = new_empty_database()
    shapes = []
    for _ in range(2):
        with psycopg.connect(url, autocommit=True) as connection:
            for file in sorted(migrations.FOLDER.glob("*.sql")):
                connection.execute(file.read_bytes())
        shapes.append(shape(url))
    assert shapes[0] == shapes[1]
    assert migrations.pending(url, setting="a test") == []


def test_they_keep_the_data_of_the_original_schema(original: str) -> None:
    migrations.apply(original, setting="a test")
    assert rows(original, "select id, nome, idade from silver.clientes order by id") == [
        ("1", "Ana", 34),
        ("old", "Rui", None),
    ]
    assert rows(original, "select id, valor_total::text from silver.pedidos") == [("99", "12.50")]
    assert rows(original, "select total_vendido from gold.analise_produtos") == [(1,)]
    assert rows(
        original, "select data_ingestao at time zone 'UTC' = '2024-05-01 12:00:00' from silver.clientes where id = '1'"
    ) == [(True,)]


def test_the_original_schema_becomes_the_same_as_a_new_one(
    original: str, new_empty_database: Callable[[], str]
) -> None:
    fresh = new_empty_database()
    for url in (original, fresh):
        migrations.apply(url, setting="a test")
    assert shape(original) == shape(fresh)


def test_they_take_the_open_grants_of_the_original_schema_back(original: str) -> None:
    migrations.apply(original, setting="a test")
    open_tables = rows(
        original,
        "select schemaname, tablename from pg_tables where schemaname in ('silver', 'gold', 'controle') and ("
        "has_table_privilege('anon', format('%I.%I', schemaname, tablename), 'select, insert, update, delete') or "
        "has_schema_privilege('anon', schemaname, 'usage'))",
    )
    assert open_tables == []


def test_a_run_goes_on_where_the_original_program_stopped(original: str, tmp_path: Path) -> None:
    migrations.apply(original, setting="a test")
    lakehouse = Lakehouse(PostgresTables(original), FolderBucket(tmp_path / "bucket"), "original")
    results = Runner(lakehouse, SilentReporter()).run(write_shop(tmp_path / "shop"))
    lakehouse.close()
    assert [int(result.key) for result in results] == [246, 468, 680]
    assert rows(original, "select count(*) from silver.clientes") == [(2,)]
    assert rows(original, "select total_vendido, total_receita::text from gold.analise_produtos") == [(3, "37.50")]


def older_version(folder: Path, *, before: str) -> Path:
    """The migrations of a version of before, which lacks the newest ones."""
    folder.mkdir()
    for file in migrations.FOLDER.glob("*.sql"):
        if file.stem < before:
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_all_that_are_due_are_applied_or_none_is(new_empty_database: Callable[[], str], tmp_path: Path) -> None:
    url = new_empty_database()
    folder = older_version(tmp_path / "broken", before="20261125")
    (folder / "29990101000000_quebrada.sql").write_text("create table controle.nova (a int); select 1 / 0")
    with pytest.raises(LakehouseError, match=r"29990101000000_quebrada\.sql: division by zero") as caught:
        migrations.apply(url, setting="a test", folder=folder)
    assert caught.value.kept == "everything: no migration was applied, the database is as it was before"
    assert "run the same command again" in caught.value.next_step
    assert rows(url, "select to_regnamespace('silver'), to_regnamespace('controle')") == [(None, None)]
    assert migrations.apply(url, setting="a test") == NAMES


def test_views_on_an_old_table_are_named_with_the_way_on(original: str) -> None:
    with psycopg.connect(original, autocommit=True) as connection:
        connection.execute("create view public.novos as select id, data_ingestao from silver.clientes")
        connection.execute("create view public.hoje as select id from public.novos where data_ingestao > 'today'")
        connection.execute(
            'create materialized view public."Por dia" as select data_ingestao, count(*) from silver.pedidos group by 1'
        )
        connection.execute("create view public.longe as select nome from silver.clientes")
    before = shape(original)
    with pytest.raises(LakehouseError, match="cannot alter type of a column used by a view") as caught:
        migrations.apply(original, setting="LAKEHOUSE_DB_URL")
    assert shape(original) == before
    assert 'in the way: public.hoje, public."Por dia", public.novos' in caught.value.what
    drop, _, rest = caught.value.next_step.removeprefix("run in the database of LAKEHOUSE_DB_URL: ").partition(" Then ")
    create = rest.partition("if they had any):\n")[2]
    with psycopg.connect(original, autocommit=True) as connection:
        connection.execute(drop.encode())
    assert migrations.apply(original, setting="LAKEHOUSE_DB_URL") == NAMES
    with psycopg.connect(original, autocommit=True) as connection:
        connection.execute(create.encode())
    assert rows(original, 'select (select count(*) from public.hoje), (select count(*) from public."Por dia")') == [
        (1, 1)
    ]


def test_a_table_of_the_shops_own_that_is_in_the_way_is_named(original: str) -> None:
    with psycopg.connect(original, autocommit=True) as connection:
        connection.execute("create view silver.rejeitados as select 1 as id")
    before = shape(original)
    with pytest.raises(
        LakehouseError, match=r"applying the migration 20260101000300_silver\.sql.*rejeitados"
    ) as caught:
        migrations.apply(original, setting="a test")
    assert "move it out of the way, then run the same command again" in caught.value.next_step
    assert shape(original) == before


def test_another_role_than_the_owner_of_the_schemas_is_told_so(original: str) -> None:
    with psycopg.connect(original, autocommit=True) as connection:
        connection.execute("create role visitante login")
        connection.execute(
            "do $$ begin execute format('grant create on database %I to visitante', current_database()); end $$"
        )
    try:
        with pytest.raises(Denied) as caught:
            migrations.apply(original.replace("postgres:@", "visitante:@"), setting="LAKEHOUSE_DB_URL")
        assert "the role that owns the schemas silver and gold" in caught.value.next_step
    finally:
        with psycopg.connect(original, autocommit=True) as connection:
            connection.execute("drop owned by visitante; drop role visitante")


def test_a_role_that_may_not_even_look_at_what_is_applied_is_told_so(new_database: Callable[[], str]) -> None:
    url = new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create role curioso login")
        try:
            with pytest.raises(Denied, match="permission denied for schema controle"):
                migrations.apply(url.replace("//postgres:", "//curioso:"), setting="LAKEHOUSE_DB_URL")
        finally:
            connection.execute("drop role curioso")


@pytest.mark.parametrize("before", [NAMES[1], "20261125", NAMES[-1]])
def test_a_lakehouse_of_a_version_before_becomes_the_same_as_a_new_one(
    before: str, new_empty_database: Callable[[], str], tmp_path: Path
) -> None:
    old, fresh = new_empty_database(), new_empty_database()
    migrations.apply(old, setting="a test", folder=older_version(tmp_path / "older", before=before))
    for url in (old, fresh):
        migrations.apply(url, setting="a test")
    assert shape(old) == shape(fresh)


def test_the_grant_of_gold_to_every_signed_in_user_goes(new_empty_database: Callable[[], str], tmp_path: Path) -> None:
    url = new_empty_database()
    migrations.apply(url, setting="a test", folder=older_version(tmp_path / "older", before="20261125"))
    granted = "select has_table_privilege('authenticated', 'gold.analise_produtos', 'select')"
    assert rows(url, granted) == [(True,)]
    migrations.apply(url, setting="a test")
    assert rows(url, granted) == [(False,)]
    assert rows(url, "select policyname from pg_policies where schemaname = 'gold'") == []


def test_what_a_guide_had_people_grant_to_tables_of_tomorrow_goes(original: str) -> None:
    with psycopg.connect(original, autocommit=True) as connection:
        for kind in ("tables", "sequences", "routines"):
            connection.execute(f"alter default privileges in schema silver grant all on {kind} to anon, authenticated")
    migrations.apply(original, setting="a test")
    assert rows(original, "select defaclobjtype from pg_default_acl") == []


def test_an_embedded_lakehouse_of_a_version_before_is_upgraded_when_it_is_opened(tmp_path: Path) -> None:
    url = start_postgres(tmp_path / "data")
    migrations.apply(url, setting="a test", folder=older_version(tmp_path / "older", before="20261125"))
    with closing(open_embedded(tmp_path / "data")) as lakehouse:
        assert migrations.pending(url, setting="a test") == []
        assert access.look(lakehouse.tables, None) == []


def test_a_program_keeps_away_from_a_lakehouse_that_a_later_version_has_prepared(
    new_empty_database: Callable[[], str],
) -> None:
    url = new_empty_database()
    migrations.apply(url, setting="LAKEHOUSE_DB_URL")
    rows(url, "insert into controle.migracoes (versao) values ('29990101000000_de_amanha') returning versao")
    before = shape(url)
    for use in (migrations.pending, migrations.apply):
        with pytest.raises(ConfigurationError, match=r"later version.*29990101000000_de_amanha") as refused:
            use(url, setting="LAKEHOUSE_DB_URL")
        assert refused.value.kept == "nothing was written"
    assert shape(url) == before


@pytest.fixture
def held_by_an_older_program(new_empty_database: Callable[[], str], tmp_path: Path) -> str:
    """A lakehouse of the release 0.2.0, whose lease a run on another host has taken for a minute."""
    url = new_empty_database()
    migrations.apply(url, setting="a test", folder=older_version(tmp_path / "older", before="20261126"))
    assert rows(url, "select controle.arrendar('elsewhere:17:a1b2c3:d4:e5', 60)") == [("elsewhere:17:a1b2c3:d4:e5",)]
    return url


def test_nothing_is_migrated_while_a_run_is_at_work(held_by_an_older_program: str) -> None:
    url = held_by_an_older_program
    before = shape(url)
    with pytest.raises(LeaseError, match="a run is at work: process 17 on elsewhere") as refused:
        migrations.apply(url, setting="a test")
    assert "no migration was applied" in refused.value.kept
    assert shape(url) == before
    rows(url, "select controle.devolver('elsewhere:17:a1b2c3:d4:e5')")
    assert migrations.apply(url, setting="a test")


def test_a_script_that_is_pasted_while_a_run_is_at_work_changes_nothing(held_by_an_older_program: str) -> None:
    url = held_by_an_older_program
    before = shape(url)
    script = migrations.script([file.stem for file in migrations.pending(url, setting="a test")], None)
    with psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises(psycopg.Error, match="a run is at work: process 17 on elsewhere"):
            connection.execute(script.encode())
        connection.execute("rollback")
        assert shape(url) == before
        connection.execute("delete from controle.arrendamento")
        connection.execute(script.encode())
    assert migrations.pending(url, setting="a test") == []


@pytest.mark.parametrize(
    "over", ["expira_em = now() - interval '1 second'", "expira_em = now() + interval '1 hour'", "dono = '{died}'"]
)
def test_a_run_that_is_over_keeps_no_migration_waiting_and_cannot_go_on(
    held_by_an_older_program: str, over: str
) -> None:
    url = held_by_an_older_program
    died = f"{socket.gethostname()}:999999999:{this_place()}:d4:e5"
    [(owner,)] = rows(url, f"update controle.arrendamento set {over.format(died=died)} returning dono")
    assert migrations.apply(url, setting="a test")
    assert rows(url, f"select controle.renovar('{owner}', 60)") == [(False,)]


def test_an_older_program_that_is_taking_the_lease_while_it_is_migrated_does_not_get_it(
    new_empty_database: Callable[[], str], tmp_path: Path
) -> None:
    url = new_empty_database()
    older = older_version(tmp_path / "older", before="20261126")
    migrations.apply(url, setting="a test", folder=older)
    script = migrations.script([file.stem for file in migrations.pending(url, setting="a test")], None)
    with psycopg.connect(url, autocommit=True) as connection, ThreadPoolExecutor() as other:
        connection.execute(script.removesuffix(f"commit;\n\n{migrations.RELOAD}\n").encode())
        taking = other.submit(rows, url, "select controle.arrendar('velho', 60)")
        wait_until(lambda: is_waiting_for_a_lock(url), "the older program to wait")
        connection.execute("commit")
        with pytest.raises(psycopg.errors.NotNullViolation):
            taking.result()
    with pytest.raises(psycopg.Error, match=r"a later version has prepared; nothing was written. Install that version"):
        rows(url, "select controle.arrendar('velho', 60)")
    assert rows(url, "select dono from controle.arrendamento") == []
