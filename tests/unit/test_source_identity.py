"""Which shop a source is: the same text however it is reached, another for another shop, and no secret in it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.errors import ConfigurationError
from elt.settings import Settings
from elt.silver import TABLES
from elt.sources.files import FilesSource
from elt.sources.identity import Shop, judge, named_by
from elt.sources.postgres import PostgresSource
from elt.sources.sample import SampleShop
from elt.sources.supabase import SupabaseSource

REF = "abcdefghijklmnopqrst"
POOLER = "aws-0-sa-east-1.pooler.supabase.com"


def of_url(url: str, schema: str = "public") -> str:
    return PostgresSource(url, schema=schema).identity


def test_a_project_is_one_shop_by_its_api_its_database_and_its_pooler() -> None:
    api = SupabaseSource(f"https://{REF}.supabase.co/", "sb_secret_x", tables=TABLES).identity
    direct = of_url(f"postgresql://postgres:hunter2hunter2@db.{REF}.supabase.co:5432/postgres")
    pooler = of_url(f"postgresql://postgres.{REF}:hunter2hunter2@{POOLER}:6543/postgres?sslmode=require")
    assert api == direct == pooler == f"supabase:{REF}/public"


def test_behind_one_pooler_s_host_stand_many_shops() -> None:
    one = of_url(f"postgresql://postgres.{REF}:x@{POOLER}:5432/postgres")
    other = of_url(f"postgresql://leitor.zyxwvutsrqponmlkjihg:x@{POOLER}:5432/postgres")
    assert one != other


def test_another_schema_of_a_project_is_another_shop() -> None:
    url = f"postgresql://postgres:x@db.{REF}.supabase.co/postgres"
    assert of_url(url, "loja2") == f"supabase:{REF}/loja2" != of_url(url)


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        ("postgresql://u:p@Example.com/loja", "postgresql:example.com:5432/loja/public"),
        ("postgresql://other:secret@example.com:5432/loja?sslmode=require", "postgresql:example.com:5432/loja/public"),
        ("postgresql://u:p@127.0.0.1:5433/loja", "postgresql:localhost:5433/loja/public"),
        ("postgresql://u:p@[::1]:5433/loja", "postgresql:localhost:5433/loja/public"),
        ("postgresql://u:p@host.docker.internal:5433/loja", "postgresql:localhost:5433/loja/public"),
        ("host=example.com user=ana password=x dbname=loja", "postgresql:example.com:5432/loja/public"),
        ("postgresql://ana:x@example.com", "postgresql:example.com:5432/ana/public"),
    ],
)
def test_another_postgresql_is_host_port_database_and_schema(url: str, identity: str) -> None:
    assert of_url(url) == identity


def test_what_a_url_leaves_out_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "loja.example.com")
    monkeypatch.setenv("PGDATABASE", "vendas")
    assert of_url("postgresql://") == "postgresql:loja.example.com:5432/vendas/public"


def test_a_folder_is_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loja").mkdir()
    monkeypatch.chdir(tmp_path / "loja")
    there = FilesSource(tmp_path / "loja").identity
    assert FilesSource(Path()).identity == FilesSource(Path("../loja")).identity == there == f"folder:{tmp_path}/loja"


def test_the_sample_shop_is_one_shop_at_every_visit() -> None:
    assert SampleShop(TABLES).identity == SampleShop(TABLES).two_months_later().identity == "sample"


@pytest.mark.parametrize(
    ("folder", "beside", "identity"),
    [
        ("/home/ana/loja", "", "folder:/home/ana/loja"),
        ("./loja", "/home/ana/pipeline", "folder:/home/ana/pipeline/loja"),
        ("../loja", "/home/ana/pipeline", "folder:/home/ana/loja"),
        (r"C:\Users\ana\loja", "", r"folder:C:\Users\ana\loja"),
    ],
)
def test_in_a_container_a_folder_is_its_path_on_the_host(folder: str, beside: str, identity: str) -> None:
    from elt.connections import source_of

    found = source_of(Settings(source_files=folder, source_files_mount="/source", compose_folder=beside or None))
    assert found.identity == identity


@pytest.mark.parametrize(("folder", "beside"), [("./loja", ""), ("~/loja", "/home/ana/pipeline"), ("loja", "pipeline")])
def test_where_the_host_s_path_cannot_be_made_the_whole_one_is_asked_for(folder: str, beside: str) -> None:
    from elt.connections import source_of

    with pytest.raises(ConfigurationError, match="is not a whole path") as raised:
        source_of(Settings(source_files=folder, source_files_mount="/source", compose_folder=beside or None))
    assert "SOURCE_FILES=/home" in raised.value.next_step


@given(password=st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=8), user=st.sampled_from(["ana", "bia"]))
def test_neither_a_password_nor_a_user_is_part_of_it(password: str, user: str) -> None:
    assert of_url(f"postgresql://{user}:{password}@h.example.com/loja") == of_url("postgresql://h.example.com/loja")


@pytest.mark.parametrize(
    ("description", "identity"),
    [
        (f"Supabase (SUPABASE_URL, {REF}.supabase.co), schema public", f"supabase:{REF}/public"),
        ("the sample shop (made-up data; no source is configured)", "sample"),
        ("files in /home/ana/loja", "folder:/home/ana/loja"),
        ("files in loja", ""),
        ("files in /source", ""),
        ("PostgreSQL (SOURCE_DB_URL), schema public", ""),
    ],
)
def test_a_manifest_of_before_names_its_shop_in_full_or_not_at_all(description: str, identity: str) -> None:
    assert named_by(description) == identity


def judged(identity: str, *, description: str = "files in x", **held: object) -> Shop:
    nothing = {"accepted": (), "newest": None, "newest_description": "", "filled": False, "new_source": False}
    return judge(identity, description, **{**nothing, **held})  # type: ignore[arg-type]


def test_an_empty_lakehouse_takes_any_shop_and_says_that_it_is_new() -> None:
    shop = judged("folder:/a", accepted=["folder:/typo"])
    assert shop.identities == ("folder:/a",)
    assert "new lakehouse" in shop.said


def test_the_same_shop_goes_on_without_a_word() -> None:
    assert judged("folder:/a", accepted=["folder:/a"], newest=["folder:/a"], filled=True) == Shop(("folder:/a",))


@given(st.booleans(), st.booleans())
def test_another_shop_is_refused_with_three_ways_on(by_ledger: bool, by_snapshot: bool) -> None:
    accepted = ["folder:/a"] if by_ledger else []
    newest = ["folder:/a"] if by_snapshot or not by_ledger else None
    with pytest.raises(ConfigurationError) as raised:
        judged("folder:/b", accepted=accepted, newest=newest, filled=by_ledger)
    assert "folder:/a" in raised.value.what
    assert "folder:/b" in raised.value.what
    for way in ("DATA_DIR", "medallion run --new-source", "medallion reset"):
        assert way in raised.value.next_step


def test_a_bucket_of_another_shop_than_the_tables_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="folder:/other"):
        judged("folder:/a", accepted=["folder:/a"], newest=["folder:/other"], filled=True)


def test_a_shop_under_a_new_address_keeps_both() -> None:
    shop = judged("supabase:b/public", accepted=["supabase:a/public"], newest=["supabase:a/public"], new_source=True)
    assert shop.identities == ("supabase:a/public", "supabase:b/public")
    assert "--new-source" in shop.said


def test_a_lakehouse_of_before_that_names_no_shop_takes_that_of_its_first_run_of_the_same_kind() -> None:
    before: dict[str, Any] = {
        "newest": [],
        "newest_description": "PostgreSQL (SOURCE_DB_URL), schema public",
        "filled": True,
    }
    shop = judged("postgresql:h:5432/l/public", description="PostgreSQL (SOURCE_DB_URL), schema public", **before)
    assert shop.identities == ("postgresql:h:5432/l/public",)
    assert "from now on" in shop.said
    with pytest.raises(ConfigurationError):
        judged("folder:/a", **before)
