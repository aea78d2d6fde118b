"""Who may do what in a hosted lakehouse: row-level security and grants are PostgreSQL's own, asked through the API.

And where a key goes: to its own project, and nowhere else.
"""

import json
from collections.abc import Callable, Iterator

import httpx
import pyarrow as pa
import pytest

from elt import access
from elt.errors import ConfigurationError, Denied, Missing, Redirected
from elt.hosted import checks as hosted_checks
from elt.lakehouse import migrations
from elt.lakehouse.ports import Lakehouse
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.silver import TABLES
from elt.silver.clientes import CLIENTES
from elt.sources.supabase import SupabaseSource
from elt.supabase import Project
from tests.gateway.faults import Rule
from tests.gateway.fixtures import Gateway
from tests.hosted import BUCKET, fill_shop, lakehouse_of, project_of, shop_of
from tests.listening import Listener, listening

OPEN_DEMO, CLOSE_DEMO, OPEN_GOLD, CLOSE_GOLD = (
    (migrations.FOLDER.parent / f"{name}.sql").read_text(encoding="utf-8")
    for name in ("open-demo", "close-demo", "open-gold", "close-gold")
)
EVERY_TABLE = [
    *(("silver", table.name) for table in TABLES),
    *(("silver", name) for name in ("rejeitados", "valores_rejeitados")),
    *(("gold", name) for name in ("analise_clientes_pedidos", "analise_produtos")),
    *(("controle", name) for name in ("execucoes", "arrendamento", "analises", "mudancas", "migracoes", "escritas")),
]
GOLD = [name for name in EVERY_TABLE if name[0] == "gold"]


ROWS = """
insert into silver.clientes (id, nome) values ('1', 'Ana');
insert into silver.produtos (id) values ('1');
insert into silver.pedidos (id, id_cliente, id_produto) values ('1', '1', '1');
insert into silver.rejeitados (id, tabela, motivo, linha, snapshot) values ('1', 't', 'm', '{}', 's');
insert into silver.valores_rejeitados (id, tabela, chave, coluna, valor, motivo, snapshot) values
  ('1', 't', 'c', 'c', 'v', 'm', 's');
insert into gold.analise_clientes_pedidos (id_cliente) values ('1');
insert into gold.analise_produtos (id_produto) values ('1');
insert into controle.execucoes (id, execucao, camada) values ('1', 'e', 'gold');
insert into controle.arrendamento values ('pipeline', 'dono', now(), '0', '60 s');
insert into controle.escritas (id) values ('00000000-0000-4000-8000-000000000000')
"""


@pytest.fixture
def filled(gateway: Gateway) -> Gateway:
    """A lakehouse with a row in every table and an object in its bucket."""
    for statement in ROWS.split(";"):
        gateway.sql(statement)
    with lakehouse_of(project_of(gateway)) as hosted:
        hosted.bucket.put("2026/object", b"x")
    return gateway


@pytest.fixture
def ask(filled: Gateway) -> Iterator[httpx.Client]:
    """Plain HTTP, so that nothing of ours stands between the key and the server."""
    with httpx.Client(base_url=filled.url) as client:
        yield client


def headers(gateway: Gateway, who: str, schema: str) -> dict[str, str]:
    token = {
        "anon": gateway.anon_key,
        "publishable": gateway.publishable_key,
        "authenticated": gateway.authenticated_key,
        "service_role": gateway.service_key,
    }[who]
    key = token if who == "publishable" else gateway.anon_key if who == "authenticated" else token
    return {"apikey": key, "Authorization": f"Bearer {token}", "Accept-Profile": schema, "Content-Profile": schema}


def state(gateway: Gateway) -> list[object]:
    """What every table holds."""
    return [gateway.sql(f"select to_json(t)::text from {schema}.{table} t") for schema, table in EVERY_TABLE]


@pytest.mark.parametrize("who", ["anon", "publishable"])
def test_anon_reads_and_writes_nothing(filled: Gateway, ask: httpx.Client, who: str) -> None:
    before = state(filled)
    for schema, table in EVERY_TABLE:
        row = json.loads(str(filled.sql(f"select to_json(t)::text from {schema}.{table} t limit 1")[0][0]))
        mine, every = headers(filled, who, schema), f"/rest/v1/{table}?{next(iter(row))}=not.is.null"
        answers = [
            ask.get(f"/rest/v1/{table}", headers=mine),
            ask.post(f"/rest/v1/{table}", headers=mine, json=row),
            ask.patch(every, headers=mine, json=row),
            ask.delete(every, headers=mine),
        ]
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(401, "42501")] * 4
    assert state(filled) == before


def readable(gateway: Gateway, ask: httpx.Client, who: str) -> list[tuple[str, str]]:
    """The tables of which the role gets the row."""
    answers = {
        (schema, table): ask.get(f"/rest/v1/{table}", headers=headers(gateway, who, schema))
        for schema, table in EVERY_TABLE
    }
    return [name for name, answer in answers.items() if answer.status_code == 200 and len(answer.json()) > 0]


def opened(gateway: Gateway) -> list[access.Opening]:
    with lakehouse_of(project_of(gateway)) as hosted:
        return access.look(hosted.tables, BUCKET)


def rights(gateway: Gateway) -> list[object]:
    """Every grant and policy of the lakehouse's schemas and of Storage."""
    return [
        gateway.sql(
            "select c.oid::regclass::text, (select array_agg(x::text order by x::text) from unnest(c.relacl) x) "
            "from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname in ('silver', 'gold', 'controle', 'storage') and c.relkind = 'r' order by 1"
        ),
        gateway.sql(
            "select nspname, (select array_agg(x::text order by x::text) from unnest(nspacl) x) from pg_namespace "
            "where nspname in ('silver', 'gold', 'controle') order by 1"
        ),
        gateway.sql(
            "select p.oid::regprocedure::text, (select array_agg(x::text order by x::text) from unnest(p.proacl) x) "
            "from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
            "where n.nspname in ('silver', 'gold', 'controle') order by 1"
        ),
        gateway.sql("select schemaname, tablename, policyname from pg_policies order by 1, 2, 3"),
    ]


def test_signed_in_people_read_nothing(filled: Gateway, ask: httpx.Client) -> None:
    assert readable(filled, ask, "authenticated") == []
    assert opened(filled) == []


def test_signed_in_people_read_gold_only_where_the_owner_opened_it(filled: Gateway, ask: httpx.Client) -> None:
    filled.paste(OPEN_GOLD)
    answers = {
        (schema, table): ask.get(f"/rest/v1/{table}", headers=headers(filled, "authenticated", schema))
        for schema, table in EVERY_TABLE
    }
    assert [name for name, answer in answers.items() if answer.status_code == 200] == GOLD
    assert all(len(answers[name].json()) == 1 for name in GOLD)
    assert {answer.json()["code"] for name, answer in answers.items() if name not in GOLD} == {"42501"}
    (said,) = opened(filled)
    assert said.on_purpose
    assert said.what == "everybody who signs up (authenticated) can read gold: opened on purpose (policy gold_aberta)"
    assert said.next_step == "to take it back, run: supabase/close-gold.sql"
    assert readable(filled, ask, "anon") == []


def test_gold_for_some_of_the_signed_in_is_meant_too_if_the_policy_keeps_its_name(filled: Gateway) -> None:
    filled.paste(OPEN_GOLD)
    filled.paste("alter policy gold_aberta on gold.analise_produtos using (auth.email() like '%@loja.com.br')")
    assert [one.on_purpose for one in opened(filled)] == [True]
    filled.paste("create policy gold_aberta on silver.clientes using (true); grant usage on schema silver to anon")
    filled.paste("grant select on silver.clientes to anon")
    assert sorted(one.on_purpose for one in opened(filled)) == [False, True]


@pytest.mark.parametrize(("opens", "closes"), [(OPEN_GOLD, CLOSE_GOLD), (OPEN_DEMO, CLOSE_DEMO)], ids=["gold", "demo"])
def test_what_a_file_opens_its_counterpart_takes_back_whole(gateway: Gateway, opens: str, closes: str) -> None:
    gateway.paste("select 'the project becomes its owner''s'")
    before = rights(gateway)
    gateway.paste(opens)
    assert rights(gateway) != before
    gateway.paste(opens)
    assert [one.on_purpose for one in opened(gateway)] == [True]
    gateway.paste(closes)
    gateway.paste(closes)
    assert rights(gateway) == before


@pytest.mark.parametrize(("schema", "table"), GOLD)
def test_signed_in_people_do_not_write_gold(filled: Gateway, ask: httpx.Client, schema: str, table: str) -> None:
    filled.paste(OPEN_GOLD)
    mine = {**headers(filled, "authenticated", schema), "Content-Type": "application/json"}
    column = "id_cliente" if "clientes" in table else "id_produto"
    answers = [
        ask.post(f"/rest/v1/{table}", headers=mine, json={column: "new"}),
        ask.patch(f"/rest/v1/{table}?{column}=not.is.null", headers=mine, json={column: "new"}),
        ask.delete(f"/rest/v1/{table}?{column}=not.is.null", headers=mine),
    ]
    assert [answer.status_code for answer in answers] == [403] * 3


@pytest.mark.parametrize("who", ["anon", "authenticated"])
def test_nobody_else_calls_the_functions(filled: Gateway, ask: httpx.Client, who: str) -> None:
    reading = {"p_tabela": "gold.analise_produtos", "p_colunas": ["a"], "p_chave": "a", "p_depois": None, "p_linhas": 1}
    for schema, name, arguments in (
        ("silver", "encenar", {"p_execucao": "x", "p_lote": 1, "p_tabela": "clientes", "p_colunas": {"id": ["x"]}}),
        ("silver", "esvaziar_estagio", {"p_dono": "x"}),
        ("gold", "recalcular", {"p_id": None, "p_dono": "x", "p_execucao": "x"}),
        ("controle", "ler", reading),
        ("controle", "devolver", {"p_dono": "x"}),
    ):
        mine = headers(filled, who, schema)
        assert ask.post(f"/rest/v1/rpc/{name}", headers=mine, json=arguments).status_code in (401, 403)
    assert filled.sql("select count(*) from silver.clientes") == [(1,)]


@pytest.mark.parametrize("who", ["anon", "authenticated"])
def test_nobody_else_sees_the_bucket(filled: Gateway, who: str) -> None:
    mine = headers(filled, who, "public")
    listed = httpx.post(f"{filled.url}/storage/v1/object/list/{BUCKET}", headers=mine, json={"prefix": ""})
    assert listed.json() == []
    put = httpx.post(f"{filled.url}/storage/v1/object/{BUCKET}/2026/x", headers=mine, content=b"x")
    assert put.json()["statusCode"] == "403"


@pytest.mark.parametrize("table", ["pg_catalog.pg_authid", "clientes (id) select 'x'; drop table silver.pedidos; --"])
def test_the_function_that_stages_reaches_only_staging(filled: Gateway, table: str) -> None:
    asked = {"p_execucao": "x", "p_lote": 1, "p_tabela": table, "p_colunas": {"rolname": ["x"]}}
    with project_of(filled, filled.service_key) as project, pytest.raises(Missing):
        project.call("silver.encenar", asked)
    assert filled.sql("select count(*) from silver.clientes") == [(1,)]


def test_the_function_that_reads_reaches_only_what_the_caller_may(filled: Gateway) -> None:
    asked = {"p_tabela": "pg_catalog.pg_authid", "p_colunas": ["rolname"], "p_chave": "rolname"}
    with project_of(filled, filled.service_key) as project, pytest.raises(Denied):
        project.call("controle.ler", {**asked, "p_depois": None, "p_linhas": 9})


def test_open_demo_lets_anon_run_the_pipeline_and_can_be_closed_again(gateway: Gateway, shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=5, produtos=2, pedidos=9)
    gateway.sql(OPEN_DEMO)
    with lakehouse_of(project_of(gateway, gateway.publishable_key)) as open_to_all:
        results = Runner(open_to_all, SilentReporter()).run(shop_of(shop_gateway))
    assert [int(result.key) for result in results] == [246, 468, 680]
    gateway.sql(CLOSE_DEMO)
    with lakehouse_of(project_of(gateway, gateway.publishable_key)) as closed, pytest.raises(Denied):
        closed.tables.count("silver.clientes")


def test_the_files_that_open_and_close_can_be_run_twice(gateway: Gateway) -> None:
    for text in (OPEN_DEMO, OPEN_DEMO, *(file.read_text() for file in sorted(migrations.FOLDER.glob("*.sql")))):
        gateway.sql(text)
    with lakehouse_of(project_of(gateway, gateway.anon_key)) as closed, pytest.raises(Denied):
        closed.tables.count("gold.analise_produtos")


# A key leaves for nobody else.


@pytest.fixture
def elsewhere() -> Iterator[Listener]:
    """Another host, which answers everything and keeps what it is sent."""
    with listening() as found:
        yield found


REQUESTS: dict[str, Callable[[Lakehouse], object]] = {
    "reading": lambda hosted: list(hosted.tables.rows("silver.clientes", CLIENTES.silver_names, key="id", size=9)),
    "writing": lambda hosted: hosted.tables.stage("x", [("clientes", pa.table({"id": ["1"]}))]),
    "calling": lambda hosted: hosted.tables.call("controle.situacao"),
    "counting": lambda hosted: hosted.tables.count("silver.clientes"),
    "storing": lambda hosted: hosted.bucket.put("2026/object", b"x"),
    "getting": lambda hosted: hosted.bucket.get("2026/object"),
    "listing": lambda hosted: hosted.bucket.list(),
    "removing": lambda hosted: hosted.bucket.delete(["2026/object"]),
}


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        *((status, REQUESTS["counting"]) for status in (301, 302, 303, 307)),
        *((308, request) for request in REQUESTS.values()),
    ],
    ids=["301", "302", "303", "307", *REQUESTS],
)
def test_no_request_with_a_key_follows_a_redirect(
    shared_gateway: Gateway, elsewhere: Listener, status: int, request_: Callable[[Lakehouse], object]
) -> None:
    shared_gateway.empty()
    with lakehouse_of(project_of(shared_gateway)) as hosted:
        shared_gateway.faults(Rule(kind="status", status=status, location=elsewhere.url))
        with pytest.raises(Redirected) as caught:
            request_(hosted)
    assert elsewhere.received == []
    assert f"redirects to {elsewhere.url} (status {status}); the key was not sent there" in caught.value.what
    assert "set LAKEHOUSE_URL to the address that answers itself" in caught.value.next_step
    assert len(shared_gateway.requests()) == 1  # it is not tried again


def test_the_shops_key_follows_none_either(shop_gateway: Gateway, elsewhere: Listener) -> None:
    shop_gateway.faults(Rule(kind="status", status=302, location=elsewhere.url))
    with pytest.raises(Redirected) as caught, shop_of(shop_gateway).open():
        pass
    assert elsewhere.received == []
    assert "set SUPABASE_URL to" in caught.value.next_step


def test_a_redirect_to_the_same_host_is_not_followed_either(shared_gateway: Gateway) -> None:
    shared_gateway.empty()
    shared_gateway.faults(Rule(kind="status", status=308, location=f"{shared_gateway.url}/moved"))
    with lakehouse_of(project_of(shared_gateway)) as hosted, pytest.raises(Redirected):
        hosted.tables.count("silver.clientes")
    assert shared_gateway.requests("/moved") == []


def test_setting_up_names_the_setting_that_redirects(shared_gateway: Gateway, elsewhere: Listener) -> None:
    shared_gateway.empty()
    shared_gateway.faults(Rule(kind="status", status=301, location=elsewhere.url))
    with project_of(shared_gateway) as project:
        first, *others = hosted_checks(project, BUCKET)
    assert first.problem.startswith("LAKEHOUSE_URL: ")
    assert "redirects to" in first.problem
    assert others == []


def test_no_request_of_a_project_goes_to_another_host_whoever_asks_for_it(
    shared_gateway: Gateway, elsewhere: Listener
) -> None:
    shared_gateway.empty()
    with project_of(shared_gateway) as project, pytest.raises(Redirected, match="the key was not sent"):
        project.http.get(f"{elsewhere.url}/object", headers=project.headers)
    assert elsewhere.received == []


def test_what_goes_unencrypted_does_not_go_through_a_proxy(
    shared_gateway: Gateway, elsewhere: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_gateway.empty()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, elsewhere.url)
    with lakehouse_of(project_of(shared_gateway)) as hosted:
        assert hosted.tables.count("silver.clientes") == 0
    assert elsewhere.received == []


def test_a_key_does_not_leave_this_network_unencrypted() -> None:
    with pytest.raises(ConfigurationError, match="LAKEHOUSE_URL is plain http:// to db"):
        Project("http://db.example.org", "sb_secret_x")
    with pytest.raises(ConfigurationError, match="SUPABASE_URL is plain http:// to db"):
        SupabaseSource("http://db.example.org", "sb_secret_x", tables=TABLES)
    Project("http://db.example.org", "sb_secret_x", allow_http=True).close()
