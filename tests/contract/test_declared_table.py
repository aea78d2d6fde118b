"""One call after ``create table`` gives a table of silver everything else that the others have.

On the wheel's PostgreSQL, and on the oldest that hosted projects have.
"""

from collections.abc import Iterator

import psycopg
import pytest

LOJAS = """create table silver.lojas (id text collate "C" primary key, gerente text references silver.clientes (id))"""
DECLARED = "select controle.declarar_tabela('lojas')"

SHAPE = """
select c.relrowsecurity, c.relacl::text, obj_description(c.oid, 'pg_class'),
  (select array_agg(tgname || ': ' || replace(pg_get_triggerdef(oid), c.relname, '…')) from pg_trigger
   where tgrelid = c.oid and tgname = 'carimbar'),
  (select format('%%s %%s %%s %%s', format_type(a.atttypid, null), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
                 col_description(c.oid, a.attnum))
   from pg_attribute a join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
   where a.attrelid = c.oid and a.attname = 'data_ingestao'),
  (select array_agg(policyname) from pg_policies where schemaname = 'silver' and tablename = c.relname)
from pg_class c where c.oid = %s::regclass
"""


@pytest.fixture(params=["new_database", "new_oldest_database"], ids=["embedded", "oldest"])
def database(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """A migrated database, in a transaction that is undone."""
    url = request.getfixturevalue(request.param)()
    with psycopg.connect(url) as connection:
        yield connection
        connection.rollback()


def shape(database: psycopg.Connection, table: str) -> tuple[object, ...] | None:
    return database.execute(SHAPE, (table,)).fetchone()


@pytest.mark.parametrize("stamp", ["", ", data_ingestao timestamp default current_timestamp"])
def test_it_is_as_the_others_whatever_stamp_it_was_made_with(database: psycopg.Connection, stamp: str) -> None:
    database.execute(f"{LOJAS[:-1]}{stamp})".encode())
    database.execute("insert into silver.lojas (id) values ('1')")
    database.execute(DECLARED)
    found = shape(database, "silver.lojas")
    assert found is not None
    if stamp:  # its default stays the shop's words for the same moment
        found = (*found[:4], str(found[4]).replace("CURRENT_TIMESTAMP", "now()"), found[5])
    assert found == shape(database, "silver.produtos")


def test_it_may_be_declared_twice(database: psycopg.Connection) -> None:
    database.execute(LOJAS)
    database.execute(DECLARED)
    once = shape(database, "silver.lojas"), database.execute("select count(*) from pg_indexes").fetchone()
    database.execute(DECLARED)
    assert (shape(database, "silver.lojas"), database.execute("select count(*) from pg_indexes").fetchone()) == once


def test_what_a_project_grants_to_every_new_table_goes(database: psycopg.Connection) -> None:
    database.execute("alter default privileges grant all on tables to anon, authenticated")
    database.execute(LOJAS)
    database.execute("grant select (id) on silver.lojas to public")
    database.execute(DECLARED)
    opened = database.execute(
        "select r, p from unnest(array['anon', 'authenticated']) r, unnest(array['SELECT', 'INSERT', 'UPDATE']) p "
        "where has_any_column_privilege(r, 'silver.lojas', p)"
    ).fetchall()
    assert opened == []


def test_an_update_stamps_its_rows_and_one_that_changes_nothing_does_not(database: psycopg.Connection) -> None:
    database.execute(LOJAS)
    database.execute(DECLARED)
    database.execute("insert into silver.clientes (id) values ('1')")
    database.execute("insert into silver.lojas (id, data_ingestao) values ('1', '2020-01-01')")
    stamped = "select data_ingestao > '2025-01-01' from silver.lojas"
    database.execute("update silver.lojas set gerente = null")
    assert database.execute(stamped).fetchone() == (False,)
    database.execute("update silver.lojas set gerente = '1'")
    assert database.execute(stamped).fetchone() == (True,)


def test_each_parent_is_looked_for_by_an_index(database: psycopg.Connection) -> None:
    database.execute(LOJAS)
    database.execute(DECLARED)
    mine = "schemaname = 'silver' and tablename"
    found = database.execute(f"select indexdef from pg_indexes where {mine} = 'lojas' order by 1").fetchall()
    assert [definition.split("USING ")[1] for (definition,) in found] == ["btree (gerente)", "btree (id)"]
    assert database.execute(f"select count(*) from pg_indexes where {mine} = 'pedidos'").fetchone() == (3,)


def test_comments_of_the_shops_own_stay(database: psycopg.Connection) -> None:
    database.execute(LOJAS)
    database.execute("comment on table silver.lojas is 'As filiais.'")
    database.execute(DECLARED)
    assert database.execute("select obj_description('silver.lojas'::regclass)").fetchone() == ("As filiais.",)


@pytest.mark.parametrize(
    ("made", "called", "words"),
    [
        ("select", "loja", "there is no table silver.loja"),
        (LOJAS, "silver.lojas", "with the name alone"),
        ("create view silver.lojas as select 1 as id", "lojas", "there is no table silver.lojas"),
        ("create table silver.lojas (id bigint primary key)", "lojas", "not a column id of the type text"),
        ("create table silver.lojas (id_loja text primary key)", "lojas", 'id text collate "C" primary key'),
        ("create table silver.lojas (id text)", "lojas", "not a column id of the type text"),
    ],
)
def test_what_cannot_be_such_a_table_is_refused_with_the_way_on(
    database: psycopg.Connection, made: str, called: str, words: str
) -> None:
    database.execute(made.encode())
    with pytest.raises(psycopg.Error) as refused:
        database.execute("select controle.declarar_tabela(%s)", (called,))
    assert words in str(refused.value)


def test_who_is_not_the_owner_cannot_call_it(database: psycopg.Connection) -> None:
    database.execute(LOJAS)
    for role in ("anon", "authenticated", "service_role"):
        database.execute(f"set role {role}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege), database.transaction():
            database.execute(DECLARED)
