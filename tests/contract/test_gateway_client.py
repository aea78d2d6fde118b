"""The stand-in driven by the official client, as the pipeline drives it."""

import uuid
from collections.abc import Callable, Iterator

import httpx
import pytest
from postgrest import CountMethod, ReturnMethod
from postgrest.exceptions import APIError
from storage3.exceptions import StorageApiError
from supabase import Client, ClientOptions, create_client

from tests.gateway.fixtures import Gateway


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    shared_gateway.empty()
    return shared_gateway


@pytest.fixture
def connect(gateway: Gateway) -> Iterator[Callable[[str], Client]]:
    with httpx.Client(http2=False, verify=False) as http:
        yield lambda key: create_client(gateway.url, key, ClientOptions(httpx_client=http))


@pytest.fixture
def client(gateway: Gateway, connect: Callable[[str], Client]) -> Client:
    return connect(gateway.secret_key)


def test_insert_then_select(client: Client) -> None:
    table = client.schema("silver").table("clientes")
    rows = [{"id": "1", "nome": "Ana"}, {"id": "2", "nome": "José"}]
    assert table.insert(rows, returning=ReturnMethod.minimal).execute().data == []
    read = table.select("id,nome", count=CountMethod.exact).order("id").gt("id", "1").limit(10).execute()
    assert (read.data, read.count) == ([{"id": "2", "nome": "José"}], 1)


def test_upsert_update_and_delete(client: Client) -> None:
    table = client.schema("silver").table("clientes")
    table.upsert([{"id": "1", "nome": "Ana"}], on_conflict="id").execute()
    table.upsert([{"id": "1", "nome": "Bia"}], on_conflict="id").execute()
    table.update({"cidade": "Recife"}).eq("id", "1").execute()
    assert table.select("nome,cidade").execute().data == [{"nome": "Bia", "cidade": "Recife"}]
    assert len(table.delete().in_("id", ["1", "2"]).execute().data) == 1
    assert table.select("id").execute().data == []


def test_functions_answer_a_value_or_nothing(client: Client) -> None:
    controle = client.schema("controle")
    arguments: dict[str, object] = {"p_dono": "eu", "p_segundos": 60, "p_programa": "0"}
    assert controle.rpc("arrendar", arguments).execute().data == "eu"  # type: ignore[arg-type]
    assert controle.rpc("devolver", {"p_dono": "eu"}).execute().data == []
    assert controle.rpc("comecar_escrita", {"p_id": str(uuid.uuid4())}).execute().data is None


def test_storage_round_trip(client: Client) -> None:
    bucket = client.storage.from_("bronze-bucket")
    bucket.upload("2026/01/a b.parquet", b"PAR1", {"content-type": "application/octet-stream"})
    assert bucket.download("2026/01/a b.parquet") == b"PAR1"
    assert [entry["name"] for entry in bucket.list("2026/01")] == ["a b.parquet"]
    assert [(entry["name"], entry["id"]) for entry in bucket.list()] == [("2026", None)]
    with pytest.raises(StorageApiError) as refused:
        bucket.upload("2026/01/a b.parquet", b"PAR2")
    assert (refused.value.code, str(refused.value.status)) == ("Duplicate", "409")
    assert [entry["name"] for entry in bucket.remove(["2026/01/a b.parquet", "missing"])] == ["2026/01/a b.parquet"]
    assert not bucket.exists("2026/01/a b.parquet")


def test_anon_sees_nothing(connect: Callable[[str], Client], gateway: Gateway) -> None:
    anon = connect(gateway.publishable_key)
    with pytest.raises(APIError) as refused:
        anon.schema("silver").table("clientes").select("*").execute()
    assert refused.value.code == "42501"
    assert anon.storage.from_("bronze-bucket").list() == []
