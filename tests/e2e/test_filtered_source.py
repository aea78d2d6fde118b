"""A shop of which the role or the key may see a part: what ``run`` and ``check`` say, and with which exit code."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import pytest
from click.testing import CliRunner, Result

from elt.cli import medallion
from elt.errors import SourceError
from tests.gateway.fixtures import Gateway
from tests.hosted import fill_shop


@dataclass
class Terminal:
    """Runs ``medallion`` with the settings of a test."""

    settings: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str) -> Result:
        return CliRunner(env=self.settings).invoke(medallion, arguments)

    def keys(self) -> list[int]:
        answer = self("run", "--json")
        assert answer.exit_code == 0, answer.exception
        return [layer["key"] for layer in json.loads(answer.stdout)["layers"]]


@pytest.fixture
def terminal(lakehouse_url: str) -> Terminal:
    return Terminal({"LAKEHOUSE_DB_URL": lakehouse_url})


@pytest.fixture
def direct(terminal: Terminal, shop_gateway: Gateway, server_url: str) -> Iterator[Terminal]:
    """The shop's database, by a role that sees one order of three."""
    fill_shop(shop_gateway, clientes=3, produtos=3, pedidos=3)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("create role curiosa login")
    shop_gateway.sql("grant select on all tables in schema public to curiosa")
    shop_gateway.sql("alter table pedidos enable row level security")
    shop_gateway.sql("create policy parte on pedidos using (id_pedido = 1)")
    terminal.settings["SOURCE_DB_URL"] = shop_gateway.database_url.replace("postgres:@", "curiosa:@")
    yield terminal
    shop_gateway.sql("drop owned by curiosa; drop role curiosa")


@pytest.fixture
def hosted(terminal: Terminal, shop_gateway: Gateway) -> Terminal:
    """The shop's project, by its public key."""
    fill_shop(shop_gateway, clientes=3, produtos=3, pedidos=3)
    terminal.settings |= {"SUPABASE_URL": shop_gateway.url, "SUPABASE_KEY": shop_gateway.publishable_key}
    return terminal


def refused(answer: Result) -> SourceError:
    assert isinstance(answer.exception, SourceError)
    assert answer.exception.exit_code == 1
    return answer.exception


def test_a_run_that_would_read_a_part_is_refused_and_check_says_the_same(direct: Terminal) -> None:
    run, check = refused(direct("run")), refused(direct("check"))
    assert "pedidos: row-level security filters what curiosa sees of public.pedidos" in run.what
    assert (check.what, check.next_step) == (run.what, run.next_step)
    status = json.loads(direct("status", "--json").stdout)
    assert status["storage"]["snapshots"] == 0


def test_a_part_that_is_accepted_is_a_line_of_warning_in_every_run_and_check(direct: Terminal) -> None:
    direct.settings["SOURCE_FILTERED"] = "accept"
    warning = "warning: SOURCE_FILTERED=accept: pedidos: row-level security filters what curiosa sees of public.pedidos"
    assert direct.keys() == [246, 468, 680]
    for command in ("run", "check"):
        answer = direct(command)
        assert answer.exit_code == 0
        assert answer.output.count(warning) == 1
    assert warning.removeprefix("warning: ") in json.loads(direct("check", "--json").stdout)["warnings"][0]


def test_a_database_that_hides_nothing_is_read_without_a_word(direct: Terminal, shop_gateway: Gateway) -> None:
    shop_gateway.sql("create policy tudo on pedidos for select to curiosa using (true)")
    assert direct.keys() == [246, 468, 680]
    assert "warning" not in direct("run").stderr
    assert json.loads(direct("check", "--json").stdout)["warnings"] == []


def test_keeping_awake_needs_no_right_to_see_every_row(direct: Terminal) -> None:
    assert direct("check", "--awake=source").exit_code == 0


def test_over_http_a_key_that_may_see_a_part_is_a_line_of_warning_in_every_run_and_check(hosted: Terminal) -> None:
    warning = "warning: whether row-level security hides rows from the key in SUPABASE_KEY (anon) cannot be told"
    assert hosted.keys() == [246, 468, 680]
    for command in ("run", "check"):
        assert hosted(command).output.count(warning) == 1


def test_over_http_a_key_that_sees_nothing_of_a_table_is_refused_by_check_as_by_run(
    hosted: Terminal, shop_gateway: Gateway
) -> None:
    shop_gateway.sql("alter table pedidos enable row level security")
    run, check = refused(hosted("run")), refused(hosted("check"))
    assert run.what == check.what
    assert run.what.startswith("pedidos: the key in SUPABASE_KEY (anon) sees no rows")
    for way in ("a secret key", "SOURCE_DB_URL, as the tables' owner", "bypassrls", "SOURCE_FILTERED=accept"):
        assert way in run.next_step


def test_a_value_that_is_neither_refuse_nor_accept_is_refused(terminal: Terminal) -> None:
    terminal.settings["SOURCE_FILTERED"] = "aceitar"
    answer = terminal("check")
    assert "SOURCE_FILTERED: Input should be 'refuse' or 'accept'" in str(answer.exception)
