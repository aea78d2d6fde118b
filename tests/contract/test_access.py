"""Who else gets in: what ``controle.aberturas`` says is what PostgreSQL lets the roles do, and the advice closes it."""

import itertools
import json
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elt.access import Opening, openings
from tests.gateway.fixtures import OWNER, Gateway
from tests.hosted import BUCKET

SET_UP = f"""
create role equipe;
insert into storage.buckets (id, name, public) values ('{BUCKET}', '{BUCKET}', false) on conflict do nothing;
insert into storage.objects (bucket_id, name) values ('{BUCKET}', '2026/01/x');
insert into gold.analise_produtos (id_produto) values ('1');
"""
TABLE = "gold.analise_produtos"
OPEN_TABLE = f"grant usage on schema gold to anon; grant select on {TABLE} to anon"


@pytest.fixture
def database(shared_gateway: Gateway) -> Iterator[psycopg.Connection]:
    """The project's database, as its superuser, in a transaction that is taken back."""
    with psycopg.connect(shared_gateway.database_url) as connection:
        connection.execute(OWNER.read_bytes())
        connection.execute(SET_UP.encode())
        yield connection
        connection.rollback()


def found(database: psycopg.Connection, bucket: str | None = BUCKET) -> list[Opening]:
    row = database.execute("select controle.aberturas(%s)", (bucket,)).fetchone()
    assert row is not None
    return openings(row[0], bucket)


def as_owner(database: psycopg.Connection, statements: str) -> None:
    """What a person pastes, by the role a hosted project belongs to."""
    database.execute("set local session authorization hosted_postgres")
    database.execute(statements.encode())
    database.execute("reset session authorization")


OPEN = {
    "a grant and a policy": (
        f"{OPEN_TABLE}; create policy p on {TABLE} using (true)",
        '(anon) can read gold.analise_produtos: the policy "p"',
    ),
    "a grant to everybody": (
        f"grant usage on schema gold to public; grant all on {TABLE} to public; "
        f"create policy p on {TABLE} using (true)",
        "(anon) and everybody who signs up (authenticated) can read, insert into, update and delete from gold.",
    ),
    "a right that row-level security does not stand in the way of": (
        f"grant usage on schema gold to authenticated; grant truncate on {TABLE} to authenticated",
        "(authenticated) can truncate gold.analise_produtos: granted to authenticated",
    ),
    "a grant on a column": (
        f"grant usage on schema gold to anon; grant update (categoria) on {TABLE} to anon; "
        f"create policy p on {TABLE} using (true)",
        "(anon) can update gold.analise_produtos",
    ),
    "a table without row-level security": (
        f"{OPEN_TABLE}; alter table {TABLE} disable row level security",
        "(anon) can read gold.analise_produtos: granted to anon",
    ),
    "a table of one's own in gold": (
        "create table gold.minha (a int); grant usage on schema gold to anon; grant select on gold.minha to anon; "
        "alter table gold.minha owner to hosted_postgres",
        "(anon) can read gold.minha: granted to anon",
    ),
    "a role that anon inherits": (
        f"grant usage on schema gold to equipe; grant select on {TABLE} to equipe; "
        f"create policy p on {TABLE} to equipe using (true); "
        "grant equipe to hosted_postgres with admin option; grant equipe to anon with inherit true",
        "(anon) can read gold.analise_produtos",
    ),
    "the quarantine": (
        "grant usage on schema silver to anon; grant select on silver.rejeitados to anon; "
        "create policy p on silver.rejeitados for select to anon using (tabela = 'pedidos')",
        "(anon) can read silver.rejeitados: the policy \"p\", where (tabela = 'pedidos'::text)",
    ),
    "the pipeline's own state": (
        "grant usage on schema controle to anon; grant delete on controle.arrendamento to anon; "
        "create policy p on controle.arrendamento using (true)",
        "(anon) can delete from controle.arrendamento",
    ),
    "a view in another schema": (
        f"create view public.resumo as select * from {TABLE}; grant all on public.resumo to anon; "
        "alter view public.resumo owner to hosted_postgres",
        "(anon) can read, insert into, update and delete from gold.analise_produtos through the view public.resumo",
    ),
    "a view on a view on silver": (
        "create view public.um as select id, nome from silver.clientes; "
        "create view public.dois as select count(*) from public.um; grant select on public.dois to authenticated; "
        "alter view public.um owner to hosted_postgres; alter view public.dois owner to hosted_postgres",
        "(authenticated) can read silver.clientes through the view public.dois",
    ),
    "a materialized view": (
        "create materialized view public.copia as select * from silver.clientes; grant select on public.copia to anon; "
        "alter materialized view public.copia owner to hosted_postgres",
        "(anon) can read silver.clientes through the view public.copia",
    ),
    "a view with its caller's rights, who has them": (
        f"create view public.resumo with (security_invoker = on) as select * from {TABLE}; "
        f"grant select on public.resumo to anon; grant select on {TABLE} to anon; "
        f"create policy p on {TABLE} using (true); alter view public.resumo owner to hosted_postgres",
        '(anon) can read gold.analise_produtos through the view public.resumo: the policy "p"',
    ),
    "a function with its owner's rights": (
        "grant usage on schema gold to anon; grant execute on function gold.recalcular(uuid, text, text) to public",
        "(anon) can call gold.recalcular(uuid,text,text), which runs with its owner's rights: granted to public",
    ),
    "the specification's policy": (
        'create policy "Acesso Total" on storage.objects for all using (true)',
        "(anon) and everybody who signs up (authenticated) can read, insert into, update and delete from the bucket "
        'bronze-bucket (storage.objects): the policy "Acesso Total"',
    ),
    "a policy for signed-in users": (
        "create policy objects_select_policy on storage.objects for select using (auth.role() = 'authenticated')",
        'can read the bucket bronze-bucket (storage.objects): the policy "objects_select_policy"',
    ),
    "a policy that lets anybody add objects of their own": (
        "create policy donos on storage.objects for insert to authenticated with check (auth.uid() = owner)",
        "(authenticated) can insert into the bucket bronze-bucket (storage.objects)",
    ),
    "a view on the objects": (
        "create view public.arquivos as select * from storage.objects; grant select on public.arquivos to anon; "
        "alter view public.arquivos owner to hosted_postgres",
        "(anon) can read the bucket bronze-bucket (storage.objects) through the view public.arquivos",
    ),
    "a policy by which anybody may make the bucket public": (
        "create policy p on storage.buckets for update to anon using (true)",
        "(anon) can update the settings of the bucket bronze-bucket (storage.buckets)",
    ),
    "a role that row-level security does not apply to": (
        "alter role anon bypassrls",
        "(anon) can read, insert into, update and delete from the bucket bronze-bucket (storage.objects): granted to",
    ),
    "a public bucket": (
        f"update storage.buckets set public = true where id = '{BUCKET}'",
        "anybody can download the objects of the bucket bronze-bucket without any key: it is public",
    ),
}


@pytest.mark.parametrize(("statements", "words"), OPEN.values(), ids=OPEN)
def test_what_is_open_is_said_and_what_is_to_be_pasted_closes_it(
    database: psycopg.Connection, statements: str, words: str
) -> None:
    assert found(database) == []
    database.execute(statements.encode())
    opened = found(database)
    assert any(words in one.what for one in opened), opened
    assert not any(one.on_purpose for one in opened)
    for one in dict.fromkeys(one.next_step for one in opened):
        as_owner(database, one.partition("(or psql): ")[2])
    assert found(database) == []


CLOSED = {
    "grants of Storage itself": "grant all on storage.objects, storage.buckets to anon, authenticated",
    "a grant without the schema": f"grant select on {TABLE} to anon; create policy p on {TABLE} using (true)",
    "a grant without a policy": OPEN_TABLE,
    "a policy without a grant": f"create policy p on {TABLE} using (true); grant usage on schema gold to anon",
    "a policy for others": f"{OPEN_TABLE}; create policy p on {TABLE} to service_role using (true)",
    "a policy that is never true": f"{OPEN_TABLE}; create policy p on {TABLE} using (false)",
    "a policy for signed-in users, of which anon is none": (
        f"{OPEN_TABLE}; create policy p on {TABLE} using ((select auth.role()) = 'authenticated')"
    ),
    "a restrictive policy": (
        f"{OPEN_TABLE}; create policy p on {TABLE} using (true); "
        f"create policy q on {TABLE} as restrictive to anon using (false)"
    ),
    "a role that anon does not inherit": (
        f"grant usage on schema gold to equipe; grant select on {TABLE} to equipe; "
        f"create policy p on {TABLE} to equipe using (true); grant equipe to anon with inherit false"
    ),
    "a view with its caller's rights, who has none": (
        f"create view public.v with (security_invoker = true) as select * from {TABLE}; grant all on public.v to anon"
    ),
    "a function with its caller's rights": (
        "grant usage on schema controle to anon; grant execute on function controle.devolver(text) to anon"
    ),
    "a trigger's function": (
        "grant usage on schema controle to anon; grant execute on function controle.anotar_mudanca() to anon"
    ),
    "an application's own tables": "create table public.fotos (a int); grant all on public.fotos to anon",
    "policies of another bucket": (
        "create policy a on storage.objects using (bucket_id = 'fotos'); "
        "create policy b on storage.objects for insert to authenticated "
        "with check (bucket_id in ('fotos', 'videos') and (storage.foldername(name))[1] = (select auth.uid())::text); "
        "create policy c on storage.buckets for update to anon using (id = 'fotos')"
    ),
    "a view on another bucket": (
        "create view public.fotos as select name from storage.objects where bucket_id = 'fotos'; "
        "grant select on public.fotos to anon"
    ),
    "everything but bronze": (
        'create policy "Acesso Total" on storage.objects for all using (true); create policy bronze_fechado on '
        f"storage.objects as restrictive using (bucket_id <> '{BUCKET}') with check (bucket_id <> '{BUCKET}')"
    ),
    "another bucket that is public": "insert into storage.buckets (id, name, public) values ('fotos', 'fotos', true)",
    "seeing that the bucket exists": "create policy p on storage.buckets for select to anon using (true)",
}


@pytest.mark.parametrize("statements", CLOSED.values(), ids=CLOSED)
def test_what_opens_nothing_is_not_said(database: psycopg.Connection, statements: str) -> None:
    database.execute(
        "create function storage.foldername(name text) returns text[] language sql as $$ select array[name] $$"
    )
    database.execute(statements.encode())
    assert found(database) == []


def test_where_other_buckets_live_by_a_policy_the_advice_closes_bronze_and_leaves_them(
    database: psycopg.Connection,
) -> None:
    database.execute("insert into storage.buckets (id, name, public) values ('fotos', 'fotos', false)")
    database.execute("insert into storage.objects (bucket_id, name) values ('fotos', 'praia.jpg')")
    database.execute("""create policy "Acesso Total" on storage.objects for all using (true)""")
    (opened,) = found(database)
    assert "other buckets (fotos) may live by that policy" in opened.next_step
    as_owner(database, opened.next_step.partition("(or psql): ")[2])
    assert found(database) == []
    database.execute("set local role anon")
    assert database.execute("select bucket_id from storage.objects").fetchall() == [("fotos",)]


def test_storage_without_row_level_security_is_said(database: psycopg.Connection) -> None:
    database.execute("alter table storage.objects disable row level security")
    (opened,) = found(database)
    assert "can read, insert into, update and delete from the bucket bronze-bucket (storage.objects)" in opened.what
    database.execute(opened.next_step.partition("(or psql): ")[2].encode())
    assert found(database) == []


def test_a_bucket_is_no_matter_where_bronze_is_a_folder(database: psycopg.Connection) -> None:
    database.execute("update storage.buckets set public = true")
    database.execute("create policy p on storage.objects using (true)")
    assert found(database, None) == []


# Whatever is granted, denied, inherited and forbidden: what is said is what the two roles can do.

ROLES = ("anon", "authenticated")
GRANTEES = st.sampled_from((*ROLES, "public", "equipe"))
CONDITIONS = st.sampled_from(
    (
        *("true", "false", "auth.role() = 'authenticated'", "(select auth.role()) <> 'anon'"),
        *("not (auth.role() = 'anon')", "auth.uid() is not null and auth.role() = 'authenticated'"),
    )
)
USAGE = st.builds("grant usage on schema gold to {}".format, GRANTEES)
GRANT = st.builds(
    "grant {1} on {0} to {2}".format,
    st.sampled_from((TABLE, TABLE, "public.v", "public.w")),
    st.sampled_from(("select", "insert", "update", "delete", "select (categoria)", "update (categoria)", "all")),
    GRANTEES,
)
POLICY = st.one_of(
    st.builds(
        "create policy p{} on {} as {} for {} to {} using ({})".format,
        st.uuids().map(lambda one: one.hex),
        st.just(TABLE),
        st.sampled_from(("permissive", "permissive", "restrictive")),
        st.sampled_from(("all", "all", "select", "update", "delete")),
        GRANTEES,
        CONDITIONS,
    ),
    st.builds(
        "create policy p{} on {} for insert to {} with check ({})".format,
        st.uuids().map(lambda one: one.hex),
        st.just(TABLE),
        GRANTEES,
        CONDITIONS,
    ),
)
OTHERS = st.one_of(
    st.builds("grant equipe to {} with inherit {}".format, st.sampled_from(ROLES), st.booleans()),
    st.builds("alter table {} {} row level security".format, st.just(TABLE), st.sampled_from(("disable", "force"))),
    st.builds("alter view public.{} owner to equipe".format, st.sampled_from("vw")),
    st.builds("alter view public.v set (security_invoker = {})".format, st.booleans()),
    st.just(f"alter table {TABLE} owner to equipe"),
    st.just("alter role anon bypassrls"),
)
STATEMENTS = st.builds(
    lambda usage, grants, policies, others: [*usage, *grants, *policies, *others],
    st.lists(USAGE, min_size=1, max_size=2),
    st.lists(GRANT, min_size=1, max_size=4),
    st.lists(POLICY, min_size=1, max_size=3),
    st.lists(OTHERS, max_size=2),
)
VIEWS = f"""
grant create on schema public, gold to equipe;
create view public.v as select * from {TABLE};
create view public.w with (security_invoker = on) as select * from public.v;
"""
ATTEMPTS = {
    "SELECT": ("select categoria from {}", "select id_produto from {}"),
    "INSERT": ("insert into {} (id_produto) values ('2')",),
    "UPDATE": ("update {} set categoria = 'x'",),
    "DELETE": ("delete from {}",),
    "TRUNCATE": ("truncate {}",),
}


def succeeds(database: psycopg.Connection, role: str, statement: str) -> bool:
    """Whether the role gets at least a row by the statement; taken back."""
    claims = {"role": role} | ({"sub": "00000000-0000-4000-8000-000000000001"} if role == "authenticated" else {})
    with suppress(psycopg.Error), database.transaction(force_rollback=True):
        database.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
        database.execute(f"set local role {role}".encode())
        cursor = database.execute(statement.encode())
        return cursor.rowcount > 0 or statement.startswith("truncate")
    return False


@settings(max_examples=25)
@given(statements=STATEMENTS)
def test_what_is_said_of_a_table_is_what_the_roles_can_do(shared_gateway: Gateway, statements: list[str]) -> None:
    with psycopg.connect(shared_gateway.database_url) as database:
        database.execute(SET_UP.encode())
        database.execute(VIEWS.encode())
        for statement in statements:
            database.execute(statement.encode())
        row = database.execute("select controle.aberturas(null)").fetchone()
        assert row is not None
        said = {
            (role, command)
            for role, command in itertools.product(ROLES, ATTEMPTS)
            if openings(
                {**row[0], "direitos": [r for r in row[0]["direitos"] if (r["quem"], r["comando"]) == (role, command)]},
                None,
            )
        }
        can = {
            (role, command)
            for role, (command, ways) in itertools.product(ROLES, ATTEMPTS.items())
            if any(
                succeeds(database, role, way.format(name)) for way in ways for name in (TABLE, "public.v", "public.w")
            )
        }
        database.rollback()
    assert said == can
