"""``init`` and ``check`` on a project that is open to others: what is closed, what is said, and what others keep."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from elt.cli import main
from elt.lakehouse import migrations
from tests.gateway.fixtures import Gateway
from tests.hosted import BUCKET
from tests.shops import write_shop
from tests.specified import ORIGINAL, POLICIES, ROWS

Run = Callable[..., tuple[int, str, str]]
NAMES = ["Acesso Total", *(f"objects_{command}_policy" for command in ("delete", "insert", "select", "update"))]
SUPABASE = migrations.FOLDER.parent


@pytest.fixture
def medallion(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line as a person does; answers exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code: object = 0
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
        out, err = capfd.readouterr()
        return int(str(code or 0)), out, err

    return run


@pytest.fixture
def specified(
    new_empty_database: Callable[[], str],
    new_gateway: Callable[..., Gateway],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Gateway:
    """A project as the specification's SQL leaves it, with an object of bronze; the settings name it, and a shop."""
    gateway = new_gateway(new_empty_database())
    gateway.sql(POLICIES)
    gateway.paste(ORIGINAL + ROWS)
    gateway.sql(f"insert into storage.buckets (id, name) values ('{BUCKET}', '{BUCKET}')")
    put(gateway, BUCKET, "2026/01/clientes.parquet")
    write_shop(tmp_path / "shop")
    monkeypatch.setenv("LAKEHOUSE_URL", gateway.url)
    monkeypatch.setenv("LAKEHOUSE_KEY", gateway.secret_key)
    monkeypatch.setenv("SOURCE_FILES", str(tmp_path / "shop"))
    return gateway


@pytest.fixture
def direct(specified: Gateway, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """The same with a direct connection by the project's owner."""
    monkeypatch.setenv("LAKEHOUSE_DB_URL", specified.owner_url)
    return specified


def headers(key: str) -> dict[str, str]:
    return {"apikey": key, "Authorization": f"Bearer {key}"}


def put(gateway: Gateway, bucket: str, name: str) -> None:
    url = f"{gateway.url}/storage/v1/object/{bucket}/{name}"
    assert httpx.post(url, headers=headers(gateway.service_key), content=b"x").status_code == 200


def listed(gateway: Gateway, bucket: str = BUCKET) -> int:
    """How many entries anybody with the public key sees in a bucket."""
    url = f"{gateway.url}/storage/v1/object/list/{bucket}"
    return len(httpx.post(url, headers=headers(gateway.anon_key), json={"prefix": ""}).json())


def policies(gateway: Gateway) -> list[object]:
    return [
        name for (name,) in gateway.sql("select policyname from pg_policies where schemaname = 'storage' order by 1")
    ]


def test_init_removes_what_the_specification_made_where_bronze_is_the_only_bucket(
    direct: Gateway, medallion: Run
) -> None:
    assert (listed(direct), policies(direct)) == (1, NAMES)
    code, out, err = medallion("init")
    assert code == 0, out + err
    assert [f'applied  removal of the policy "{name}" on storage.objects' in out for name in NAMES] == [True] * 5
    assert "✓ nobody but the pipeline can read or write the lakehouse" in out
    assert (listed(direct), policies(direct)) == (0, [])
    url = f"{direct.url}/storage/v1/object/{BUCKET}"
    remove = httpx.request(
        "DELETE", url, headers=headers(direct.anon_key), json={"prefixes": ["2026/01/clientes.parquet"]}
    )
    assert (remove.json(), direct.sql("select count(*) from storage.objects")) == ([], [(1,)])


def test_where_an_application_has_buckets_too_init_says_what_is_open_and_prints_the_sql(
    direct: Gateway, medallion: Run
) -> None:
    direct.sql("insert into storage.buckets (id, name) values ('fotos', 'fotos')")
    put(direct, "fotos", "praia.jpg")
    code, out, _ = medallion("init")
    assert (code, policies(direct)) == (2, NAMES)
    assert 'update and delete from the bucket bronze-bucket (storage.objects): the policy "Acesso Total"' in out
    assert "other buckets (fotos) may live by that policy" in out
    assert medallion("check")[0] == 1
    (statement,) = {line[line.index("create policy") :] for line in out.splitlines() if "create policy" in line}
    direct.paste(statement)
    assert medallion("init")[0] == 0
    assert medallion("check")[0] == 0
    assert (listed(direct), listed(direct, "fotos")) == (0, 1)


def test_a_policy_of_the_same_name_and_another_definition_is_reported_and_not_removed(
    direct: Gateway, medallion: Run
) -> None:
    direct.sql("""drop policy "Acesso Total" on storage.objects""")
    direct.sql("""create policy "Acesso Total" on storage.objects for select to anon using (true)""")
    code, out, _ = medallion("init")
    assert (code, policies(direct)) == (2, ["Acesso Total"])
    assert 'Storage → Policies: delete "Acesso Total"; or paste' in out


def test_what_somebody_opened_later_is_said_by_check_over_http_and_by_the_script(
    specified: Gateway, medallion: Run
) -> None:
    specified.paste(medallion("init", "--sql")[1])
    assert medallion("check")[0] == 0
    specified.paste(POLICIES.partition(";")[2])
    code, _, err = medallion("check")
    assert code == 1
    said = " ".join(err.split())
    assert "error: the lakehouse is open: anybody who has the project's public key (anon)" in said
    assert 'drop policy "Acesso Total" on storage.objects;' in said
    code, out, err = medallion("init", "--check")
    assert (code, out.count("✗"), "nothing was changed" in err) == (2, 5, True)
    specified.paste(medallion("init", "--sql")[1])
    assert (medallion("init", "--check")[0], medallion("check")[0], policies(specified)) == (0, 0, [])


@pytest.mark.parametrize("how", ["direct", "specified"])
def test_a_public_bucket_is_said(how: str, request: pytest.FixtureRequest, medallion: Run) -> None:
    gateway: Gateway = request.getfixturevalue(how)
    gateway.paste(medallion("init", "--sql")[1])
    gateway.sql("update storage.buckets set public = true")
    code, out, _ = medallion("init", "--check")
    assert (code, out.count("✗")) == (2, 1)
    assert "without any key: it is public\n  → in the dashboard: Storage → bronze-bucket → Edit bucket: switch" in out
    assert medallion("check")[0] == 1


@pytest.mark.parametrize("name", ["gold", "demo"])
def test_what_the_owner_opened_on_purpose_is_said_and_fails_nothing(
    specified: Gateway, medallion: Run, name: str
) -> None:
    specified.paste(medallion("init", "--sql")[1])
    specified.paste((SUPABASE / f"open-{name}.sql").read_text(encoding="utf-8"))
    code, out, _ = medallion("check", "--json")
    assert code == 0, out
    (warning,) = json.loads(out)["warnings"]
    assert (code, f"to take it back, run: supabase/close-{name}.sql" in warning) == (0, True)
    assert "opened on purpose" in "".join(medallion("check")[1:])
    code, out, _ = medallion("init")
    assert (code, "opened on purpose" in out, "nobody but the pipeline" in out) == (0, True, False)
    assert medallion("run")[0] == 0


@pytest.mark.parametrize(("who", "status"), [("anon", 401), ("authenticated", 403), ("service", 200)])
def test_who_gets_in_is_told_to_the_pipeline_only(specified: Gateway, medallion: Run, who: str, status: int) -> None:
    specified.paste(medallion("init", "--sql")[1])
    token = getattr(specified, f"{who}_key")
    apikey = specified.service_key if who == "service" else specified.anon_key
    answer = httpx.post(
        f"{specified.url}/rest/v1/rpc/aberturas",
        headers={"apikey": apikey, "Authorization": f"Bearer {token}", "Content-Profile": "controle"},
        json={"p_bucket": BUCKET},
    )
    assert answer.status_code == status
    assert "bucket_publico" not in answer.text or who == "service"
