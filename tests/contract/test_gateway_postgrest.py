"""The stand-in's PostgREST: statuses, headers and bodies, each as PostgREST's documentation has it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.gateway.fixtures import Gateway
from tests.gateway.keys import Keys

CLIENTES = "/rest/v1/clientes"


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    shared_gateway.empty()
    return shared_gateway


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    """Requests with the secret key, in the schema silver."""
    with httpx.Client(base_url=gateway.url, headers=headers_of(gateway.secret_key), verify=False) as client:
        yield client


def headers_of(key: str, token: str | None = None, schema: str = "silver") -> dict[str, str]:
    """What the official client sends with a key, and with a person's token beside it."""
    profiles = {"Accept-Profile": schema, "Content-Profile": schema}
    return {"apikey": key, "Authorization": f"Bearer {token or key}", **profiles}


def get(gateway: Gateway, path: str, key: str, token: str | None = None, schema: str = "silver") -> httpx.Response:
    return httpx.get(f"{gateway.url}{path}", headers=headers_of(key, token, schema), verify=False)


def insert(http: httpx.Client, *names: str) -> None:
    rows = [{"id": f"{number:04d}", "nome": name} for number, name in enumerate(names, 1)]
    assert http.post(CLIENTES, json=rows).status_code == 201


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    """Status, code and message, after checking what every error of PostgREST has."""
    body = response.json()
    assert list(body) == ["code", "message", "details", "hint"]
    assert response.headers["Proxy-Status"] == f"PostgREST; error={body['code']}"
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    return response.status_code, body["code"], body["message"]


class TestRowsInOneRequest:
    """The pipeline's bound, kept here where the original has none of its own: docs/decisions/0012."""

    @pytest.mark.parametrize("rows", [10_000, 10_001])
    def test_an_insert_carries_ten_thousand_at_most(self, gateway: Gateway, http: httpx.Client, rows: int) -> None:
        response = http.post(CLIENTES, json=[{"id": str(number)} for number in range(rows)], timeout=60)
        taken = rows <= 10_000
        assert response.status_code == (201 if taken else 501)
        assert gateway.sql("select count(*) from silver.clientes") == [(rows if taken else 0,)]

    @pytest.mark.parametrize("argument", [["1"] * 10_001, {"id": ["1"] * 10_001}], ids=["keys", "a table"])
    def test_neither_does_a_call_carry_more(self, http: httpx.Client, argument: object) -> None:
        response = http.post("/rest/v1/rpc/anything", json={"p_linhas": argument})
        assert response.status_code == 501
        assert response.json()["message"].endswith(
            "requests that carry more than 10000 rows, and this one carries 10001"
        )

    def test_how_many_rows_it_works_on_is_no_matter(self, gateway: Gateway, http: httpx.Client) -> None:
        gateway.sql("insert into silver.clientes (id) select n::text from generate_series(1, 10001) n")
        assert http.patch(f"{CLIENTES}?id=neq.0", json={"nome": "Ana"}).status_code == 204
        assert gateway.sql("select count(*) from silver.clientes where nome = 'Ana'") == [(10_001,)]


class TestReading:
    def test_a_page_without_count(self, http: httpx.Client) -> None:
        insert(http, "Ana", "Bia", "Caio")
        response = http.get(CLIENTES, params={"select": "id,nome", "order": "id.desc", "limit": "2"})
        assert response.status_code == 200
        assert response.json() == [{"id": "0003", "nome": "Caio"}, {"id": "0002", "nome": "Bia"}]
        assert response.headers["Content-Range"] == "0-1/*"
        assert response.headers["Content-Profile"] == "silver"
        assert response.headers["Content-Location"] == "/clientes?limit=2&order=id.desc&select=id%2Cnome"

    def test_an_exact_count_makes_a_part_206(self, http: httpx.Client) -> None:
        insert(http, "Ana", "Bia", "Caio")
        response = http.get(CLIENTES, params={"limit": "2", "offset": "1"}, headers={"Prefer": "count=exact"})
        assert (response.status_code, response.headers["Content-Range"]) == (206, "1-2/3")
        assert response.headers["Preference-Applied"] == "count=exact"

    def test_an_exact_count_of_everything_is_200(self, http: httpx.Client) -> None:
        insert(http, "Ana")
        response = http.get(CLIENTES, headers={"Prefer": "count=exact"})
        assert (response.status_code, response.headers["Content-Range"]) == (200, "0-0/1")

    def test_head_counts_without_a_body(self, http: httpx.Client) -> None:
        insert(http, "Ana", "Bia")
        response = http.head(CLIENTES, headers={"Prefer": "count=exact"})
        assert (response.status_code, response.headers["Content-Range"], response.content) == (200, "0-1/2", b"")

    @pytest.mark.parametrize(("prefer", "expected"), [("", "*/*"), ("count=exact", "*/0")])
    def test_an_empty_table(self, http: httpx.Client, prefer: str, expected: str) -> None:
        response = http.get(CLIENTES, headers={"Prefer": prefer})
        assert (response.status_code, response.json(), response.headers["Content-Range"]) == (200, [], expected)

    def test_past_the_end_is_416_only_with_a_count(self, http: httpx.Client) -> None:
        insert(http, "Ana")
        assert http.get(CLIENTES, params={"offset": "5"}).json() == []
        response = http.get(CLIENTES, params={"offset": "5"}, headers={"Prefer": "count=exact"})
        assert error_of(response) == (416, "PGRST103", "Requested range not satisfiable")
        assert response.headers["Content-Range"] == "*/1"
        assert response.json()["details"] == "An offset of 5 was requested, but there are only 1 rows."

    def test_max_rows_cuts_in_silence(self, gateway: Gateway, http: httpx.Client) -> None:
        insert(http, *(f"cliente {number}" for number in range(12)))
        gateway.faults(max_rows=10)
        response = http.get(CLIENTES, params={"limit": "12"})
        assert (response.status_code, len(response.json()), response.headers["Content-Range"]) == (200, 10, "0-9/*")
        counted = http.get(CLIENTES, headers={"Prefer": "count=exact"})
        assert (counted.status_code, counted.headers["Content-Range"]) == (206, "0-9/12")

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ({"id": "eq.0002"}, ["Bia"]),
            ({"id": "neq.0002"}, ["Ana", "Caio, o primeiro", None]),
            ({"id": "gt.0002"}, ["Caio, o primeiro", None]),
            ({"id": "lte.0002"}, ["Ana", "Bia"]),
            ({"id": "in.(0001,0004)"}, ["Ana", None]),
            ({"nome": 'in.("Caio, o primeiro",Bia)'}, ["Bia", "Caio, o primeiro"]),
            ({"id": "in.()"}, []),
            ({"nome": "is.null"}, [None]),
            ({"nome": "not.is.null", "id": "gte.0002"}, ["Bia", "Caio, o primeiro"]),
            ({"nome": "like.*a"}, ["Ana", "Bia"]),
            ({"nome": "ilike.ANA"}, ["Ana"]),
            ({"id": "not.in.(0001,0002)"}, ["Caio, o primeiro", None]),
        ],
    )
    def test_filters(
        self, gateway: Gateway, http: httpx.Client, filters: dict[str, str], expected: list[str | None]
    ) -> None:
        rows = [
            {"id": "0001", "nome": "Ana"},
            {"id": "0002", "nome": "Bia"},
            {"id": "0003", "nome": "Caio, o primeiro"},
        ]
        http.post(CLIENTES, json=[*rows, {"id": "0004", "nome": None}])
        found = http.get(CLIENTES, params={**filters, "order": "id"}).json()
        assert [row["nome"] for row in found] == expected

    def test_casts_and_aliases(self, gateway: Gateway, http: httpx.Client) -> None:
        gateway.sql("insert into silver.produtos (id, preco) values ('1', 12.50)")
        response = http.get("/rest/v1/produtos", params={"select": "preco::text,chave:id"})
        assert response.json() == [{"preco": "12.50", "chave": "1"}]

    def test_numbers_keep_their_digits(self, gateway: Gateway, http: httpx.Client) -> None:
        gateway.sql("insert into silver.produtos (id, preco) values ('1', 12.50)")
        assert http.get("/rest/v1/produtos", params={"select": "preco"}).text == '[{"preco":12.50}]'

    def test_one_object(self, http: httpx.Client) -> None:
        insert(http, "Ana", "Bia")
        accept = {"Accept": "application/vnd.pgrst.object+json"}
        one = http.get(CLIENTES, params={"id": "eq.0001", "select": "nome"}, headers=accept)
        assert one.json() == {"nome": "Ana"}
        assert one.headers["Content-Type"] == "application/vnd.pgrst.object+json; charset=utf-8"
        both = http.get(CLIENTES, headers=accept)
        assert error_of(both) == (406, "PGRST116", "Cannot coerce the result to a single JSON object")

    def test_an_unknown_column_is_postgresqls_error(self, http: httpx.Client) -> None:
        response = http.get(CLIENTES, params={"select": "apelido"})
        assert error_of(response) == (400, "42703", "column clientes.apelido does not exist")

    def test_an_unknown_table(self, http: httpx.Client) -> None:
        response = http.get("/rest/v1/fornecedores")
        message = "Could not find the table 'silver.fornecedores' in the schema cache"
        assert error_of(response) == (404, "PGRST205", message)

    def test_a_filter_that_does_not_parse(self, http: httpx.Client) -> None:
        assert error_of(http.get(CLIENTES, params={"id": "igual.1"}))[:2] == (400, "PGRST100")

    def test_a_negative_limit(self, http: httpx.Client) -> None:
        assert error_of(http.get(CLIENTES, params={"limit": "-1"}))[:2] == (416, "PGRST103")


class TestInserting:
    def test_minimal_has_no_body(self, http: httpx.Client) -> None:
        response = http.post(CLIENTES, json=[{"id": "1"}], headers={"Prefer": "return=minimal"})
        assert (response.status_code, response.content) == (201, b"")
        assert response.headers["Content-Range"] == "*/*"
        assert response.headers["Preference-Applied"] == "return=minimal"

    def test_representation_shows_what_select_asks(self, http: httpx.Client) -> None:
        prefer = {"Prefer": "return=representation,count=exact"}
        response = http.post(CLIENTES, params={"select": "id"}, json=[{"id": "1"}, {"id": "2"}], headers=prefer)
        assert (response.status_code, response.json()) == (201, [{"id": "1"}, {"id": "2"}])
        assert response.headers["Content-Range"] == "*/2"

    def test_headers_only_gives_the_location(self, http: httpx.Client) -> None:
        response = http.post(CLIENTES, json={"id": "1"}, headers={"Prefer": "return=headers-only"})
        assert (response.headers["Location"], response.content) == ("/clientes?id=eq.1", b"")

    def test_uneven_keys_need_columns(self, http: httpx.Client) -> None:
        rows = [{"id": "1", "nome": "Ana"}, {"id": "2"}]
        assert error_of(http.post(CLIENTES, json=rows)) == (400, "PGRST102", "All object keys must match")
        assert http.post(CLIENTES, params={"columns": '"id","nome"'}, json=rows).status_code == 201

    def test_absent_keys_become_null_or_the_default(self, gateway: Gateway, http: httpx.Client) -> None:
        gateway.sql("create table silver.lojas (id text primary key, cidade text default 'Recife')")
        gateway.sql("grant all on silver.lojas to service_role")
        rows = [{"id": "1", "cidade": "Olinda"}, {"id": "2"}]
        http.post("/rest/v1/lojas", params={"columns": "id,cidade"}, json=rows)
        later = [{"id": "3", "cidade": "Olinda"}, {"id": "4"}]
        http.post("/rest/v1/lojas", params={"columns": "id,cidade"}, json=later, headers={"Prefer": "missing=default"})
        found = gateway.sql("select cidade from silver.lojas order by id")
        assert found == [("Olinda",), (None,), ("Olinda",), ("Recife",)]

    def test_keys_outside_of_columns_are_ignored(self, gateway: Gateway, http: httpx.Client) -> None:
        http.post(CLIENTES, params={"columns": "id"}, json=[{"id": "1", "nome": "Ana", "apelido": "A"}])
        assert gateway.sql("select id, nome from silver.clientes") == [("1", None)]

    def test_an_unknown_column(self, http: httpx.Client) -> None:
        response = http.post(CLIENTES, json={"apelido": "A"})
        message = "Could not find the 'apelido' column of 'clientes' in the schema cache"
        assert error_of(response) == (400, "PGRST204", message)

    @pytest.mark.parametrize("body", ["", "[{", '"texto"', "[1]"])
    def test_a_body_that_is_no_row(self, http: httpx.Client, body: str) -> None:
        response = http.post(CLIENTES, content=body, headers={"Content-Type": "application/json"})
        assert error_of(response) == (400, "PGRST102", "Empty or invalid json")

    def test_a_key_that_exists_is_409(self, http: httpx.Client) -> None:
        insert(http, "Ana")
        response = http.post(CLIENTES, json={"id": "0001"})
        message = 'duplicate key value violates unique constraint "clientes_pkey"'
        assert error_of(response) == (409, "23505", message)
        assert response.json()["details"] == "Key (id)=(0001) already exists."

    def test_a_missing_parent_is_409(self, http: httpx.Client) -> None:
        assert error_of(http.post("/rest/v1/pedidos", json={"id": "1", "id_cliente": "9"}))[:2] == (409, "23503")

    def test_a_missing_key_is_400(self, http: httpx.Client) -> None:
        response = http.post(CLIENTES, json={"nome": "Ana"})
        message = 'null value in column "id" of relation "clientes" violates not-null constraint'
        assert error_of(response) == (400, "23502", message)

    def test_a_value_of_another_type_is_400(self, http: httpx.Client) -> None:
        assert error_of(http.post(CLIENTES, json={"id": "1", "idade": "muita"}))[:2] == (400, "22P02")

    def test_one_bad_row_undoes_the_whole_request(self, gateway: Gateway, http: httpx.Client) -> None:
        assert http.post(CLIENTES, json=[{"id": "1"}, {"id": "1"}]).status_code == 409
        assert gateway.sql("select count(*) from silver.clientes") == [(0,)]

    def test_writes_have_no_max_rows(self, gateway: Gateway, http: httpx.Client) -> None:
        gateway.faults(max_rows=2)
        insert(http, "Ana", "Bia", "Caio")
        assert gateway.sql("select count(*) from silver.clientes") == [(3,)]


class TestUpserting:
    MERGE = {"Prefer": "return=minimal,resolution=merge-duplicates"}  # noqa: RUF012 - read only

    def test_new_rows_201_only_old_rows_200(self, http: httpx.Client) -> None:
        first = http.post(CLIENTES, params={"on_conflict": "id"}, json=[{"id": "1"}], headers=self.MERGE)
        mixed = http.post(CLIENTES, params={"on_conflict": "id"}, json=[{"id": "1"}, {"id": "2"}], headers=self.MERGE)
        again = http.post(CLIENTES, params={"on_conflict": "id"}, json=[{"id": "1"}, {"id": "2"}], headers=self.MERGE)
        assert [first.status_code, mixed.status_code, again.status_code] == [201, 201, 200]
        assert again.headers["Preference-Applied"] == "resolution=merge-duplicates, return=minimal"

    def test_only_the_given_columns_change(self, gateway: Gateway, http: httpx.Client) -> None:
        http.post(CLIENTES, json={"id": "1", "nome": "Ana", "cidade": "Recife"})
        http.post(CLIENTES, json={"id": "1", "nome": "Bia"}, headers=self.MERGE)
        assert gateway.sql("select nome, cidade from silver.clientes") == [("Bia", "Recife")]

    def test_ignored_duplicates_stay(self, gateway: Gateway, http: httpx.Client) -> None:
        insert(http, "Ana")
        prefer = {"Prefer": "resolution=ignore-duplicates,return=representation"}
        response = http.post(CLIENTES, json=[{"id": "0001", "nome": "Bia"}], headers=prefer)
        assert (response.status_code, response.json()) == (201, [])
        assert gateway.sql("select nome from silver.clientes") == [("Ana",)]

    def test_the_same_key_twice_is_500(self, http: httpx.Client) -> None:
        response = http.post(CLIENTES, json=[{"id": "1"}, {"id": "1"}], headers=self.MERGE)
        assert error_of(response)[:2] == (500, "21000")

    def test_a_conflict_target_without_constraint(self, http: httpx.Client) -> None:
        response = http.post(CLIENTES, params={"on_conflict": "nome"}, json={"id": "1"}, headers=self.MERGE)
        assert error_of(response)[:2] == (400, "42P10")

    def test_without_primary_key_it_is_a_plain_insert(self, gateway: Gateway, http: httpx.Client) -> None:
        gateway.sql("create table silver.notas (texto text); grant all on silver.notas to service_role")
        for _ in range(2):
            response = http.post("/rest/v1/notas", json={"texto": "a"}, headers=self.MERGE)
        assert response.headers["Preference-Applied"] == "return=minimal"
        assert gateway.sql("select count(*) from silver.notas") == [(2,)]


class TestChanging:
    def test_patch(self, gateway: Gateway, http: httpx.Client) -> None:
        insert(http, "Ana", "Bia")
        minimal = http.patch(CLIENTES, params={"id": "eq.0001"}, json={"nome": "Caio"})
        assert (minimal.status_code, minimal.content, minimal.headers["Content-Range"]) == (204, b"", "0-0/*")
        shown = http.patch(
            CLIENTES,
            params={"id": "eq.0002", "select": "nome"},
            json={"nome": None},
            headers={"Prefer": "return=representation"},
        )
        assert (shown.status_code, shown.json()) == (200, [{"nome": None}])
        assert gateway.sql("select nome from silver.clientes order by id") == [("Caio",), (None,)]

    def test_patch_of_nothing(self, http: httpx.Client) -> None:
        response = http.patch(CLIENTES, params={"id": "eq.1"}, json={"nome": "Caio"})
        assert (response.status_code, response.headers["Content-Range"]) == (204, "*/*")

    def test_delete(self, gateway: Gateway, http: httpx.Client) -> None:
        insert(http, "Ana", "Bia", "Caio")
        minimal = http.delete(CLIENTES, params={"id": "eq.0001"})
        assert (minimal.status_code, minimal.headers["Content-Range"]) == (204, "*/*")
        shown = http.delete(
            CLIENTES, params={"id": "in.(0002,9)", "select": "nome"}, headers={"Prefer": "return=representation"}
        )
        assert (shown.status_code, shown.json()) == (200, [{"nome": "Bia"}])
        assert gateway.sql("select nome from silver.clientes") == [("Caio",)]

    def test_every_row_at_once_is_refused(self, gateway: Gateway, http: httpx.Client) -> None:
        insert(http, "Ana")
        assert error_of(http.delete(CLIENTES)) == (400, "21000", "DELETE requires a WHERE clause")
        changed = http.patch(CLIENTES, json={"nome": "Bia"})
        assert error_of(changed) == (400, "21000", "UPDATE requires a WHERE clause")
        assert gateway.sql("select nome from silver.clientes") == [("Ana",)]


class TestFunctions:
    @pytest.fixture
    def call(self, gateway: Gateway, http: httpx.Client) -> Any:
        gateway.sql("""
            create or replace function silver.soma(a integer, b integer default 1) returns integer language sql
              as 'select a + b';
            create or replace function silver.nomes(quantos integer) returns setof text language sql
              as $$ select 'nome ' || n from generate_series(1, quantos) n $$;
            create or replace function silver.linhas(quantas integer) returns table (n integer, dobro integer)
              language sql
              as 'select n, 2 * n from generate_series(1, quantas) n';
            create or replace function silver.conta(chaves text[], dados jsonb) returns jsonb language sql
              as $$ select jsonb_build_object('n', cardinality(chaves), 'a', dados->'a') $$;
            create or replace function silver.nada() returns void language sql as 'select';
            create or replace function silver.falha() returns void language plpgsql as
              $$ begin raise exception 'recusado' using detail = 'porque sim', hint = 'tente outra vez'; end $$;
            grant execute on all functions in schema silver to service_role
        """)
        return lambda name, arguments, **options: http.post(f"/rest/v1/rpc/{name}", json=arguments, **options)

    def test_results(self, call: Any) -> None:
        assert (call("soma", {"a": 2, "b": 3}).json(), call("soma", {"a": 2}).json()) == (5, 3)
        assert call("nomes", {"quantos": 2}).json() == ["nome 1", "nome 2"]
        assert call("linhas", {"quantas": 1}).json() == [{"n": 1, "dobro": 2}]
        assert call("conta", {"chaves": ["a", 'b"c,d'], "dados": {"a": [1]}}).json() == {"n": 2, "a": [1]}

    def test_void_is_204(self, call: Any) -> None:
        response = call("nada", {})
        assert (response.status_code, response.content) == (204, b"")

    def test_rows_can_be_filtered_ordered_and_counted(self, call: Any) -> None:
        parameters = {"select": "dobro", "n": "gt.1", "order": "n.desc", "limit": "2"}
        response = call("linhas", {"quantas": 5}, params=parameters, headers={"Prefer": "count=exact"})
        assert response.json() == [{"dobro": 10}, {"dobro": 8}]
        assert (response.status_code, response.headers["Content-Range"]) == (206, "0-1/4")

    def test_max_rows_cuts_them_too(self, gateway: Gateway, call: Any) -> None:
        gateway.faults(max_rows=3)
        assert len(call("linhas", {"quantas": 5}).json()) == 3
        assert len(call("nomes", {"quantos": 5}).json()) == 3

    def test_an_unknown_function_or_argument(self, call: Any) -> None:
        message = "Could not find the function silver.soma(c) in the schema cache"
        assert error_of(call("soma", {"c": 1})) == (404, "PGRST202", message)
        message = "Could not find the function silver.produto without parameters in the schema cache"
        assert error_of(call("produto", {})) == (404, "PGRST202", message)

    def test_raise_is_400_with_its_words(self, call: Any) -> None:
        response = call("falha", {})
        assert error_of(response) == (400, "P0001", "recusado")
        assert (response.json()["details"], response.json()["hint"]) == ("porque sim", "tente outra vez")


class TestSchemas:
    def test_one_that_is_not_exposed(self, gateway: Gateway) -> None:
        response = get(gateway, "/rest/v1/objects", gateway.secret_key, schema="storage")
        assert error_of(response) == (406, "PGRST106", "Invalid schema: storage")
        assert response.json()["hint"] == "Only the following schemas are exposed: public, silver, gold, controle"

    def test_the_first_is_the_default(self, gateway: Gateway) -> None:
        response = httpx.get(f"{gateway.url}{CLIENTES}", headers={"apikey": gateway.secret_key}, verify=False)
        assert error_of(response)[2] == "Could not find the table 'public.clientes' in the schema cache"

    def test_writing_goes_by_content_profile(self, gateway: Gateway) -> None:
        headers = headers_of(gateway.secret_key) | {"Accept-Profile": "gold"}
        response = httpx.post(f"{gateway.url}{CLIENTES}", json={"id": "1"}, headers=headers, verify=False)
        assert response.status_code == 201


class TestKeys:
    @pytest.mark.parametrize("key", ["service_key", "secret_key"])
    def test_both_generations_of_secret_keys(self, gateway: Gateway, key: str) -> None:
        assert get(gateway, CLIENTES, getattr(gateway, key)).status_code == 200

    @pytest.mark.parametrize("key", ["anon_key", "publishable_key"])
    def test_anon_is_refused_with_401(self, gateway: Gateway, key: str) -> None:
        response = get(gateway, CLIENTES, getattr(gateway, key))
        assert error_of(response) == (401, "42501", "permission denied for schema silver")
        assert response.headers["WWW-Authenticate"] == "Bearer"

    def test_authenticated_reads_what_it_was_granted_and_is_refused_the_rest_with_403(self, gateway: Gateway) -> None:
        keys = (gateway.anon_key, gateway.authenticated_key)
        gateway.sql("create table public.ofertas (id text); grant select on public.ofertas to authenticated")
        granted = get(gateway, "/rest/v1/ofertas", *keys, schema="public")
        assert (granted.status_code, granted.json()) == (200, [])
        assert error_of(get(gateway, CLIENTES, *keys)) == (403, "42501", "permission denied for schema silver")

    def test_row_level_security_hides_rows(self, gateway: Gateway) -> None:
        gateway.sql("create table public.avisos (id text primary key); alter table avisos enable row level security")
        gateway.sql("grant select on public.avisos to anon, service_role; insert into public.avisos values ('1')")
        assert get(gateway, "/rest/v1/avisos", gateway.anon_key, schema="public").json() == []
        assert get(gateway, "/rest/v1/avisos", gateway.service_key, schema="public").json() == [{"id": "1"}]

    def test_no_key(self, gateway: Gateway) -> None:
        response = httpx.get(f"{gateway.url}{CLIENTES}", verify=False)
        assert (response.status_code, response.json()["message"]) == (401, "No API key found in request")

    def test_a_wrong_key(self, gateway: Gateway) -> None:
        response = get(gateway, CLIENTES, "sb_secret_wrong")
        assert (response.status_code, response.json()["message"]) == (401, "Invalid API key")

    def test_a_token_is_no_key(self, gateway: Gateway) -> None:
        assert get(gateway, CLIENTES, gateway.authenticated_key).json()["message"] == "Invalid API key"

    def test_an_expired_token(self, gateway: Gateway) -> None:
        response = get(gateway, CLIENTES, gateway.anon_key, gateway.app.keys.token("authenticated", seconds=-60))
        assert error_of(response) == (401, "PGRST303", "JWT expired")
        assert response.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')

    @pytest.mark.parametrize(
        ("token", "message"),
        [("a.b", "Expected 3 parts in JWT; got 2"), ("a.b.c", "JWT cryptographic operation failed")],
    )
    def test_a_broken_token(self, gateway: Gateway, token: str, message: str) -> None:
        assert error_of(get(gateway, CLIENTES, gateway.anon_key, token)) == (401, "PGRST301", message)

    def test_a_token_of_another_project(self, gateway: Gateway) -> None:
        forged = Keys().token("service_role")
        assert error_of(get(gateway, CLIENTES, gateway.anon_key, forged))[:2] == (401, "PGRST301")


def test_the_root_describes_the_columns_of_the_tables_to_secret_keys(http: httpx.Client) -> None:
    response = http.get("/rest/v1/")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/openapi+json; charset=utf-8")
    described = response.json()["definitions"]["clientes"]
    assert described["required"] == ["id", "data_ingestao"]
    assert described["properties"]["id"]["description"] == "Note:\nThis is a Primary Key.<pk/>"
    assert described["properties"]["idade"] == {"format": "integer", "type": "integer"}
    assert described["properties"]["data_ingestao"] == {"format": "timestamp with time zone", "type": "string"}


def test_the_root_is_closed_to_other_keys(gateway: Gateway) -> None:
    for key in (gateway.publishable_key, gateway.anon_key):
        assert get(gateway, "/rest/v1/", key).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "headers", "feature"),
    [
        ("GET", "clientes?select=*,pedidos(*)", {}, "resource embedding"),
        ("GET", "clientes?select=id.count()", {}, "aggregate functions"),
        ("GET", "clientes?or=(id.eq.1,id.eq.2)", {}, "logical operators (and=, or=)"),
        ("GET", "clientes?nome=fts.ana", {}, "the filter operator fts"),
        ("GET", "clientes?nome=like(any).{a,b}", {}, "the filter operator like(any)"),
        ("GET", "clientes", {"Range": "0-9"}, "limits by the Range header"),
        ("GET", "clientes", {"Accept": "text/csv"}, "answers of type text/csv"),
        ("GET", "clientes", {"Prefer": "count=planned"}, "Prefer: count=planned"),
        ("DELETE", "", {}, "DELETE on the root"),
        ("GET", "rpc/nada", {}, "calling functions with GET"),
        ("PUT", "clientes?id=eq.1", {}, "PUT on tables"),
        ("PATCH", "clientes?limit=1", {}, "limits and order on writes"),
    ],
)
def test_what_it_does_not_do_is_501_with_its_name(
    http: httpx.Client, method: str, path: str, headers: dict[str, str], feature: str
) -> None:
    response = http.request(method, f"/rest/v1/{path}", headers=headers, json={} if method == "PATCH" else None)
    assert (response.status_code, response.json()["details"]) == (501, feature)


def test_a_long_statement_ends_with_57014(gateway: Gateway, http: httpx.Client) -> None:
    gateway.faults(statement_timeout=0.05)
    gateway.sql("create or replace function silver.dorme() returns void language sql as 'select pg_sleep(5)'")
    gateway.sql("grant execute on function silver.dorme to service_role")
    response = http.post("/rest/v1/rpc/dorme", json={})
    assert error_of(response) == (500, "57014", "canceling statement due to statement timeout")


def test_body_of_a_large_request_is_kept_exact(gateway: Gateway, http: httpx.Client) -> None:
    text = 'aspas " e \\ barra, \t tabulação, 100 % de ação, 😀'
    http.post(CLIENTES, content=json.dumps([{"id": "1", "nome": text}]), headers={"Content-Type": "application/json"})
    assert http.get(CLIENTES, params={"nome": f"eq.{text}", "select": "nome"}).json() == [{"nome": text}]
