"""``medallion init`` with URL and key leads on: the key, the script to paste, the schemas, a lakehouse that runs."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from elt.cli import main
from elt.lakehouse import migrations
from tests.gateway.fixtures import Gateway
from tests.hosted import lakehouse_of, project_of
from tests.shops import write_shop
from tests.specified import ORIGINAL, POLICIES, ROWS

Run = Callable[..., tuple[int, str, str]]


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
def fresh(
    new_empty_database: Callable[[], str], new_gateway: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch
) -> Gateway:
    """A new project, which the settings name by URL and key: no table, no bucket, no schema exposed but ``public``."""
    gateway = new_gateway(new_empty_database(), ("public", "graphql_public"))
    monkeypatch.setenv("LAKEHOUSE_URL", gateway.url)
    monkeypatch.setenv("LAKEHOUSE_KEY", gateway.secret_key)
    return gateway


@pytest.fixture
def specified(fresh: Gateway) -> Gateway:
    """A project as the specification's SQL leaves it, with rows of its program."""
    fresh.sql(POLICIES)
    fresh.paste(ORIGINAL + ROWS)
    fresh.sql("insert into storage.buckets (id, name) values ('bronze-bucket', 'bronze-bucket')")
    fresh.expose("silver", "gold")
    return fresh


def ticks(out: str) -> tuple[int, int]:
    return out.count("✓"), out.count("✗")


def test_on_a_new_project_it_says_paste_then_expose_and_stops(fresh: Gateway, medallion: Run) -> None:
    code, out, err = medallion("init")
    assert code == 2
    assert ticks(out) == (2, 2)
    paste, expose = re.findall(r"→ (.+)", out)
    assert paste.startswith("paste what this prints into the SQL Editor of 127.0.0.1")
    assert paste.endswith("medallion init --sql")
    assert expose == (
        "in the dashboard: Project Settings → Data API → Exposed schemas: add controle, silver and gold; save, and "
        "run: medallion init"
    )
    assert "bucket" not in out.replace("applied  bucket bronze-bucket", "")
    said = " ".join(err.split())
    assert f"in this order: 1. {paste}; 2. {expose}" in said
    assert "--check" not in out + err


def test_the_link_is_that_of_the_projects_own_editor() -> None:
    from elt.supabase import Project

    with Project("https://abcdefgh.supabase.co", "sb_secret_x") as project:
        assert project.sql_editor == "https://supabase.com/dashboard/project/abcdefgh/sql/new"


@pytest.mark.parametrize("project", ["fresh", "specified"])
def test_the_script_pasted_twice_and_the_schemas_exposed_make_it_ready(
    project: str, request: pytest.FixtureRequest, medallion: Run
) -> None:
    gateway: Gateway = request.getfixturevalue(project)
    code, script, err = medallion("init", "--sql")
    assert code == 0
    assert err.splitlines()[1:] == []  # which .env was read; the script alone is on standard output
    assert script.rstrip().endswith("notify pgrst, 'reload schema';")
    assert [name for name in migrations.names() if f"-- {name}\n" in script] == migrations.names()
    assert "alter table storage" not in script.lower()
    gateway.paste(script)
    gateway.paste(script)
    gateway.expose("silver", "gold", "controle")
    code, out, err = medallion("init")
    assert (code, ticks(out)[1]) == (0, 0), out + err
    assert "✓ bucket bronze-bucket exists" in out
    assert "✓ nobody but the pipeline can read or write the lakehouse" in out
    assert gateway.sql("select policyname from pg_policies where schemaname = 'storage'") == []
    assert medallion("init", "--sql")[1] == "-- Nothing is missing.\n"


def test_a_run_over_http_goes_on_from_what_the_specifications_program_had_written(
    specified: Gateway, medallion: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specified.paste(medallion("init", "--sql")[1])
    specified.expose("silver", "gold", "controle")
    write_shop(tmp_path / "shop")
    monkeypatch.setenv("SOURCE_FILES", str(tmp_path / "shop"))
    code, out, err = medallion("run", "--json")
    assert code == 0, err
    assert [layer["key"] for layer in json.loads(out)["layers"]] == [246, 468, 680]
    assert specified.sql("select id, id_cliente from silver.pedidos where id = '99'") == [("99", "old")]
    with lakehouse_of(project_of(specified)) as lakehouse:
        assert lakehouse.tables.count("gold.analise_produtos") == 1


def test_on_the_specifications_project_only_the_schema_that_it_lacks_is_to_be_exposed(
    specified: Gateway, medallion: Run
) -> None:
    code, out, _ = medallion("init")
    assert code == 2
    assert "permission denied for schema silver" in out
    assert "Exposed schemas: add controle; save" in out


@pytest.mark.parametrize("project", ["fresh", "specified"])
@pytest.mark.parametrize("key", ["anon_key", "publishable_key", "authenticated_key"])
def test_a_key_that_anybody_may_have_is_the_only_thing_it_speaks_of(
    project: str, key: str, request: pytest.FixtureRequest, medallion: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway: Gateway = request.getfixturevalue(project)
    monkeypatch.setenv("LAKEHOUSE_KEY", getattr(gateway, key))
    for arguments in (["init"], ["init", "--check"]):
        code, out, err = medallion(*arguments)
        assert code == 2
        assert ticks(out) == (1, 1)
        assert re.search(r"✗ LAKEHOUSE_KEY(: | is a key of the role anon)", out)
        assert "Secret keys" in out
        assert "LAKEHOUSE_KEY is accepted" not in out
        assert "bucket" not in out.lower() + err.lower()


def test_with_a_key_that_sees_nothing_the_script_is_everything(
    fresh: Gateway, medallion: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = medallion("init", "--sql")[1]
    monkeypatch.setenv("LAKEHOUSE_KEY", fresh.publishable_key)
    assert medallion("init", "--sql")[1] == complete
    monkeypatch.setenv("LAKEHOUSE_URL", "http://127.0.0.1:9")
    assert medallion("init", "--sql")[1] == complete


def test_an_upgrade_over_http_is_what_is_new_and_nothing_else(fresh: Gateway, medallion: Run, tmp_path: Path) -> None:
    newest = migrations.names()[-1]
    for file in sorted(migrations.FOLDER.glob("*.sql"))[:-1]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    fresh.paste(migrations.script(migrations.names(), None, folder=tmp_path))
    fresh.expose("silver", "gold", "controle")
    code, out, _ = medallion("init", "--check")
    assert (code, f"lacks 1 migrations ({newest} is the first)" in out) == (2, True)
    script = medallion("init", "--sql")[1]
    assert re.findall(r"^-- (\d{14}_\w+)$", script, re.MULTILINE) == [newest]
    fresh.paste(script)
    assert medallion("init")[0] == 0


def test_what_was_recorded_and_is_gone_is_made_again(fresh: Gateway, medallion: Run) -> None:
    fresh.paste(medallion("init", "--sql")[1])
    fresh.expose("silver", "gold", "controle")
    fresh.sql("drop table gold.analise_produtos cascade; revoke all on all tables in schema silver from service_role")
    fresh.sql("drop table gold.analise_clientes_pedidos cascade")
    code, out, _ = medallion("init")
    assert (code, "analise_clientes_pedidos" in out, "permission denied for table clientes" in out) == (2, True, True)
    fresh.paste(medallion("init", "--sql")[1])
    assert medallion("init")[0] == 0


def test_a_bucket_of_another_name_is_in_the_script(
    fresh: Gateway, medallion: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUCKET_NAME", "o'balde")
    fresh.sql(POLICIES)
    fresh.paste(medallion("init", "--sql")[1])
    assert fresh.sql("select id, public from storage.buckets where id = 'o''balde'") == [("o'balde", False)]
    assert fresh.sql("select from pg_policies where schemaname = 'storage'") == []  # bronze-bucket is ours, and empty


def test_sql_stands_alone(fresh: Gateway, medallion: Run) -> None:
    assert medallion("init", "--sql", "--check")[0] == 2
    assert fresh.requests() == []
