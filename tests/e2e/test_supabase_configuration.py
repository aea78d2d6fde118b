"""Half a configuration is an error before the first write, naming the variable or the setting to change."""

import json
from collections.abc import Callable

import pytest

from elt import patience
from elt.cli import main
from elt.connections import lakehouse_of, source_of
from elt.errors import ConfigurationError
from elt.lakehouse import server_folder
from elt.settings import load_settings
from elt.supabase import TRIES
from tests.gateway.faults import Rule
from tests.gateway.fixtures import Gateway
from tests.hosted import fill_shop

Environment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Sets variables of the environment."""

    def set_all(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.fixture
def hosted(gateway: Gateway, environment: Environment) -> Gateway:
    """A lakehouse project that the environment names."""
    environment(LAKEHOUSE_URL=gateway.url, LAKEHOUSE_KEY=gateway.secret_key)
    return gateway


@pytest.fixture
def medallion(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
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


def opening() -> None:
    with lakehouse_of(load_settings()):
        pass


def written(gateway: Gateway) -> list[str]:
    """Requests that change something."""
    return [
        r.path for r in gateway.requests() if r.method != "GET" and not r.path.startswith("/storage/v1/object/list")
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"LAKEHOUSE_URL": "https://a.supabase.co"}, "LAKEHOUSE_URL is set, but LAKEHOUSE_KEY is not"),
        ({"LAKEHOUSE_KEY": "sb_secret_x"}, "LAKEHOUSE_KEY is set, but LAKEHOUSE_URL is not"),
        ({"SUPABASE_URL": "https://a.supabase.co"}, "SUPABASE_URL is set, but SUPABASE_KEY is not"),
        ({"SUPABASE_KEY": "sb_secret_x"}, "SUPABASE_KEY is set, but SUPABASE_URL is not"),
        (
            {"SUPABASE_URL": "https://a.supabase.co", "SUPABASE_KEY": "x", "SOURCE_FILES": "shop"},
            "SUPABASE_URL and SOURCE_FILES are both set",
        ),
        ({"MAX_IN_FLIGHT": "0"}, "MAX_IN_FLIGHT"),
        ({"WRITE_ROWS": "10001"}, "WRITE_ROWS"),
    ],
)
def test_settings_that_do_not_fit_are_named(environment: Environment, values: dict[str, str], words: str) -> None:
    environment(**values)
    with pytest.raises(ConfigurationError, match=words):
        load_settings()


def test_a_source_that_is_no_url_is_named(environment: Environment) -> None:
    environment(SUPABASE_URL="abc", SUPABASE_KEY="sb_secret_x")
    with pytest.raises(ConfigurationError, match="SUPABASE_URL is not an http"):
        source_of(load_settings())


def test_an_unreachable_host_is_named(environment: Environment) -> None:
    environment(LAKEHOUSE_URL="http://127.0.0.1:9", LAKEHOUSE_KEY="sb_secret_x")
    with pytest.raises(ConfigurationError, match=r"LAKEHOUSE_URL: .*no answer") as caught:
        opening()
    assert caught.value.kept == "nothing was read or written"


def test_a_paused_project_is_named(hosted: Gateway) -> None:
    hosted.faults(paused=True)
    with pytest.raises(ConfigurationError, match=r"LAKEHOUSE_URL: .*paused") as caught:
        opening()
    assert "Restore project" in caught.value.next_step


@pytest.mark.parametrize(
    "command", ["run --sample", "status", "check --sample", "check --awake lakehouse", "init --check", "init"]
)
def test_a_restricted_organization_is_a_failure_and_not_a_wrong_key(
    hosted: Gateway, medallion: Callable[..., tuple[int, str, str]], command: str
) -> None:
    hosted.faults(restricted="exceed_storage_size_quota")
    code, _, err = medallion(*command.split())
    assert code == 1, err
    assert "exceed_storage_size_quota" in err
    assert "deletes in Storage too" in err
    assert "choose the organization of LAKEHOUSE_URL" in err
    assert "API key" not in err


@pytest.mark.parametrize("key", ["sb_secret_of-another-project", "not a key at all".replace(" ", "-")])
def test_a_wrong_key_is_named(hosted: Gateway, environment: Environment, key: str) -> None:
    environment(LAKEHOUSE_KEY=key)
    with pytest.raises(ConfigurationError, match=r"LAKEHOUSE_KEY: .*Invalid API key") as caught:
        opening()
    assert "Secret keys" in caught.value.next_step
    assert written(hosted) == []


@pytest.mark.parametrize("which", ["anon_key", "publishable_key"])
def test_a_key_that_anybody_may_have_is_refused(hosted: Gateway, environment: Environment, which: str) -> None:
    environment(LAKEHOUSE_KEY=getattr(hosted, which))
    with pytest.raises(ConfigurationError, match="LAKEHOUSE_KEY is a key of the role anon") as caught:
        opening()
    assert "use a secret key" in caught.value.next_step
    assert "open-demo.sql" in caught.value.next_step
    assert written(hosted) == []


@pytest.mark.parametrize("which", ["service_key", "secret_key"])
def test_both_generations_of_keys_work(hosted: Gateway, environment: Environment, which: str) -> None:
    environment(LAKEHOUSE_KEY=getattr(hosted, which))
    opening()
    assert written(hosted) == []


def test_a_schema_that_is_not_exposed_is_named(
    new_database: Callable[[], str], new_gateway: Callable[..., Gateway], environment: Environment
) -> None:
    gateway = new_gateway(new_database(), ("public", "controle", "silver"))
    gateway.app.storage.migrate_buckets()
    environment(LAKEHOUSE_URL=gateway.url, LAKEHOUSE_KEY=gateway.secret_key)
    with pytest.raises(ConfigurationError, match=r"gold.*not exposed") as caught:
        opening()
    assert "Exposed schemas" in caught.value.next_step


def test_a_schema_without_grants_is_named(hosted: Gateway) -> None:
    hosted.sql("revoke usage on schema silver from service_role")
    with pytest.raises(ConfigurationError, match="permission denied for schema silver"):
        opening()


def test_a_missing_table_is_named(hosted: Gateway) -> None:
    hosted.sql("drop table gold.analise_clientes_pedidos")
    with pytest.raises(ConfigurationError, match="analise_clientes_pedidos"):
        opening()


def test_a_missing_migration_is_named_and_leads_to_the_script(hosted: Gateway) -> None:
    hosted.sql("delete from controle.migracoes where versao like '%gold'")
    with pytest.raises(ConfigurationError, match=r"lacks 1 migrations \(20260101000400_gold") as caught:
        opening()
    assert "medallion init --sql" in caught.value.next_step


def test_a_missing_bucket_is_named(hosted: Gateway, environment: Environment) -> None:
    environment(BUCKET_NAME="outro")
    with pytest.raises(ConfigurationError, match=r"BUCKET_NAME: .*Bucket not found") as caught:
        opening()
    assert "New bucket: outro" in caught.value.next_step
    assert written(hosted) == []


def test_with_a_database_url_tables_are_direct_and_the_bucket_is_storage(
    hosted: Gateway, environment: Environment, medallion: Callable[..., tuple[int, str, str]]
) -> None:
    environment(LAKEHOUSE_DB_URL=hosted.database_url)
    code, _, err = medallion("run", "--sample", "--json")
    assert code == 0, err
    assert "PostgreSQL (LAKEHOUSE_DB_URL), bucket bronze-bucket of 127.0.0.1" in err
    assert not any("/rpc/" in path for path in written(hosted))
    assert any(path.startswith("/storage/v1/object/bronze-bucket/") for path in written(hosted))


def test_a_run_of_the_whole_program_shows_no_key(
    hosted: Gateway,
    shop_gateway: Gateway,
    environment: Environment,
    medallion: Callable[..., tuple[int, str, str]],
) -> None:
    fill_shop(shop_gateway, clientes=9, produtos=3, pedidos=20)
    environment(SUPABASE_URL=shop_gateway.url, SUPABASE_KEY=shop_gateway.publishable_key)
    code, out, err = medallion("run", "--json")
    assert code == 0, err
    assert [layer["key"] for layer in json.loads(out)["layers"]] == [246, 468, 680]
    assert "source: Supabase (SUPABASE_URL, 127.0.0.1" in err
    failed = medallion("init", "--json"), medallion("status")
    hosted.faults(paused=True)
    shown = "".join(map(str, [out, err, *failed, medallion("run", "--json"), medallion("status"), load_settings()]))
    for key in (hosted.secret_key, shop_gateway.publishable_key, hosted.service_key):
        assert key not in shown


def test_init_makes_an_empty_project_a_lakehouse(
    server_url: str,
    new_empty_database: Callable[[], str],
    new_gateway: Callable[..., Gateway],
    environment: Environment,
    medallion: Callable[..., tuple[int, str, str]],
) -> None:
    gateway = new_gateway(new_empty_database())
    environment(LAKEHOUSE_URL=gateway.url, LAKEHOUSE_KEY=gateway.secret_key)
    code, out, _ = medallion("init", "--check")
    assert (code, out.count("✗") > 0) == (2, True)
    assert gateway.sql("select to_regnamespace('silver')::text") == [(None,)]
    environment(LAKEHOUSE_DB_URL=gateway.database_url, BUCKET_NAME="meu-bucket")
    code, out, err = medallion("init")
    assert (code, out.count("✗")) == (0, 0), out + err
    assert "applied  20260101000500_escritas" in out
    assert gateway.sql("select public from storage.buckets where id = 'meu-bucket'") == [(False,)]
    code, out, _ = medallion("init", "--check")
    assert (code, "applied  " in out, "✓ bucket meu-bucket exists" in out) == (0, False, True)


def test_init_check_changes_nothing_and_says_the_next_click(
    hosted: Gateway, environment: Environment, medallion: Callable[..., tuple[int, str, str]]
) -> None:
    environment(BUCKET_NAME="absent")
    code, out, err = medallion("init", "--check")
    assert code == 2
    assert "✓ schema silver exists, is exposed, and is granted" in out
    assert "→ in the dashboard: Storage → New bucket: absent, private" in out
    assert "nothing was changed" in err
    assert written(hosted) == []


def test_init_makes_the_bucket_without_a_database_url(
    hosted: Gateway, environment: Environment, medallion: Callable[..., tuple[int, str, str]]
) -> None:
    environment(BUCKET_NAME="novo")
    code, out, err = medallion("init")
    assert (code, "applied  bucket novo" in out) == (0, True), err


def test_init_refuses_a_publishable_key(
    hosted: Gateway, environment: Environment, medallion: Callable[..., tuple[int, str, str]]
) -> None:
    environment(LAKEHOUSE_KEY=hosted.publishable_key)
    code, out, _ = medallion("init")
    assert code == 2
    assert "✗ LAKEHOUSE_KEY is a key of the role anon" in out


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are short."""
    monkeypatch.setattr(patience, "LONGEST_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("path", ["/rest/v1", "/storage/v1/bucket"])
def test_an_api_that_is_busy_at_the_start_is_asked_again(
    hosted: Gateway, medallion: Callable[..., tuple[int, str, str]], path: str
) -> None:
    hosted.faults(Rule(kind="status", path=path, status=502, times=5))
    code, _, err = medallion("bronze", "--sweep")
    assert code == 0, err


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(kind="status", status=502), "502"),
        (Rule(kind="status", path="/storage/v1", status=503), "503"),
        (Rule(kind="status", path="/rest/v1", status=503, code="PGRST002"), "PGRST002"),
        (Rule(kind="status", status=429), "429"),
    ],
)
@pytest.mark.parametrize("arguments", [("run", "--sample", "--json"), ("init", "--check", "--json")])
def test_an_api_that_stays_busy_is_a_failure_and_no_error_of_the_configuration(
    hosted: Gateway, medallion: Callable[..., tuple[int, str, str]], rule: Rule, words: str, arguments: tuple[str, ...]
) -> None:
    hosted.faults(rule)
    code, out, _ = medallion(*arguments)
    assert code == 1
    said = json.loads(out)
    assert words in said["error"]
    assert said["next"]
    assert said["kept"] == "nothing was read or written" or "init" in arguments
    tried = [request for request in hosted.requests() if request.fault]
    assert len({(request.method, request.path) for request in tried}) == 1
    assert len(tried) == TRIES
    assert written(hosted) == []


def test_a_hosted_server_is_named_with_its_release(
    hosted: Gateway, medallion: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = medallion("status", "--json")
    assert code == 0, err
    assert json.loads(out)["server"]["version"] == server_folder.version()
