"""What row-level security hides from a role of a shop's PostgreSQL is never taken for what the shop does not have."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import psycopg
import pytest

from elt.catalog import EXTRACT_ROWS
from elt.errors import Denied, SourceError
from elt.sources.postgres import PostgresSource

SHOP = """
create schema loja;
create table loja.clientes (id_cliente integer, nome text);
create table loja.produtos (id_produto integer);
create table loja.pedidos (id_pedido integer, id_cliente integer);
insert into loja.pedidos values (1, 1), (2, 2), (3, 3);
grant usage on schema loja to public;
grant select on all tables in schema loja to public;
alter table loja.pedidos enable row level security;
"""
_numbers = count(1)


@dataclass(frozen=True)
class Shop:
    """A shop of three orders under row-level security, owned by ``dona`` and read by ``leitora``."""

    url: str
    dona: str
    leitora: str

    def sql(self, statement: str) -> None:
        """A statement of the superuser; ``{dona}`` and ``{leitora}`` are the two roles."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.format(dona=self.dona, leitora=self.leitora).encode())

    @property
    def version(self) -> int:
        """The server's, as 180004."""
        with psycopg.connect(self.url) as connection:
            return connection.info.server_version

    def url_of(self, role: str) -> str:
        url = self.url.replace("postgres:@", f"{role}:@")
        assert url != self.url
        return url

    def source(self, role: str | None = None, *, accept: bool = False) -> PostgresSource:
        return PostgresSource(self.url_of(role or self.leitora), schema="loja", accept_filtered=accept)


@pytest.fixture
def new_role(server_url: str) -> Iterator[Callable[[], str]]:
    """Makes roles that may log in; they go after the databases in which they own something."""
    made: list[str] = []
    with psycopg.connect(server_url, autocommit=True) as connection:

        def make() -> str:
            made.append(f"papel_{next(_numbers)}")
            connection.execute(f"create role {made[-1]} login".encode())
            return made[-1]

        yield make
        for name in reversed(made):
            connection.execute(f"drop role {name}".encode())


@pytest.fixture
def shop(new_role: Callable[[], str], new_empty_database: Callable[[], str]) -> Shop:
    made = Shop(new_empty_database(), new_role(), new_role())
    made.sql(SHOP)
    made.sql("alter table loja.pedidos owner to {dona}")
    return made


def warnings(source: PostgresSource, *tables: str) -> list[str]:
    with source.open() as extract:
        return extract.warnings(tables or ("clientes", "produtos", "pedidos"))


def orders(source: PostgresSource) -> int:
    """How many orders are read, after what a run and a check ask first."""
    with source.open() as extract:
        extract.warnings(["pedidos"])
        read = sum(len(page) for page in extract.pages("pedidos", EXTRACT_ROWS))
        assert extract.count("pedidos") == read
        return read


def refusal(source: PostgresSource) -> SourceError:
    """The error for the orders, the same from the first look as from reading them."""
    with source.open() as extract, pytest.raises(SourceError) as first:
        extract.warnings(["pedidos"])
    with source.open() as extract, pytest.raises(SourceError) as read:
        list(extract.pages("pedidos", EXTRACT_ROWS))
    assert (read.value.what, read.value.next_step) == (first.value.what, first.value.next_step)
    return first.value


FILTERS = {
    "no policy": "select",
    "a policy that shows a part": "create policy parte on loja.pedidos using (id_pedido < 3)",
    "a policy that is true, but not literally": "create policy quase on loja.pedidos using (id_pedido = id_pedido)",
    "true for another role": "create policy tudo on loja.pedidos to {dona} using (true)",
    "true for another command": "create policy escrita on loja.pedidos for update using (true)",
    "true, and a restrictive one": "create policy tudo on loja.pedidos using (true);"
    "create policy so on loja.pedidos as restrictive using (id_cliente < 2)",
}


@pytest.mark.parametrize("policy", FILTERS.values(), ids=FILTERS)
def test_rows_that_row_level_security_may_hide_are_an_error_not_a_shorter_table(shop: Shop, policy: str) -> None:
    shop.sql(policy)
    error = refusal(shop.source())
    assert error.what == f"pedidos: row-level security filters what {shop.leitora} sees of loja.pedidos"
    assert error.kept == "nothing was written"


OPEN = {
    "to everybody": "create policy tudo on loja.pedidos using (true)",
    "to the role": "create policy tudo on loja.pedidos for select to {leitora} using (true)",
    "to a role that it is in": "grant {dona} to {leitora}; alter table loja.pedidos owner to postgres;"
    "create policy tudo on loja.pedidos to {dona} using (true)",
    "beside one that shows a part": "create policy tudo on loja.pedidos using (true);"
    "create policy parte on loja.pedidos using (id_pedido < 3)",
    "beside a restrictive one for writing": "create policy tudo on loja.pedidos using (true);"
    "create policy so on loja.pedidos as restrictive for delete using (id_cliente < 2)",
}


@pytest.mark.parametrize("policy", OPEN.values(), ids=OPEN)
def test_a_role_with_a_policy_that_is_literally_true_reads_as_always(shop: Shop, policy: str) -> None:
    shop.sql(policy)
    assert orders(shop.source()) == 3
    assert warnings(shop.source()) == []


def test_a_policy_for_a_role_whose_rights_are_not_inherited_is_none(shop: Shop) -> None:
    shop.sql("alter role {leitora} noinherit; grant {dona} to {leitora}")
    shop.sql("alter table loja.pedidos owner to postgres; create policy tudo on loja.pedidos to {dona} using (true)")
    if shop.version >= 160_000:  # since then a membership has its own inherit option
        shop.sql("grant {dona} to {leitora} with inherit false")
    assert "pedidos: row-level security" in refusal(shop.source()).what


@pytest.mark.parametrize("who", ["owner", "member of the owner", "bypassrls", "superuser"])
def test_whom_row_level_security_does_not_apply_to_reads_as_always(shop: Shop, who: str) -> None:
    role = {"owner": shop.dona, "superuser": "postgres"}.get(who, shop.leitora)
    if who == "member of the owner":
        shop.sql("grant {dona} to {leitora}")
    if who == "bypassrls":
        shop.sql("alter role {leitora} bypassrls")
    source = PostgresSource(shop.url, schema="loja") if role == "postgres" else shop.source(role)
    assert orders(source) == 3
    assert warnings(source) == []


def test_the_error_names_three_ways_on_and_each_works(shop: Shop) -> None:
    step = refusal(shop.source()).next_step
    owner = re.search(r"connect in SOURCE_DB_URL as (\w+), its owner", step)
    bypass = re.search(r"alter role \w+ bypassrls", step)
    assert owner is not None
    assert bypass is not None
    assert "SOURCE_FILTERED=accept" in step
    assert orders(shop.source(owner[1])) == 3
    assert orders(shop.source(accept=True)) == 0
    shop.sql(bypass[0])
    assert orders(shop.source()) == 3


def test_an_owner_under_forced_policies_is_refused_and_no_way_on(shop: Shop) -> None:
    shop.sql("alter table loja.pedidos force row level security")
    error = refusal(shop.source(shop.dona))
    assert f"what {shop.dona} sees" in error.what
    assert "its owner" not in error.next_step
    assert f"alter role {shop.dona} bypassrls" in error.next_step


def test_what_is_accepted_is_a_warning_in_every_look(shop: Shop) -> None:
    shop.sql("create policy parte on loja.pedidos using (id_pedido < 3)")
    for _ in range(2):
        assert orders(shop.source(accept=True)) == 2
        (warning,) = warnings(shop.source(accept=True))
        assert warning == (
            f"SOURCE_FILTERED=accept: pedidos: row-level security filters what {shop.leitora} sees of loja.pedidos: "
            "rows that it hides count as rows that are not there"
        )


def test_tables_that_are_filtered_are_named_together(shop: Shop) -> None:
    shop.sql("alter table loja.clientes enable row level security")
    with shop.source().open() as extract, pytest.raises(SourceError) as error:
        extract.warnings(["clientes", "produtos", "pedidos"])
    assert error.value.what.startswith("clientes, pedidos: row-level security filters what")


def test_a_role_whose_own_setting_refuses_filtered_reads_reads_what_is_open(shop: Shop) -> None:
    shop.sql("create policy tudo on loja.pedidos using (true)")
    shop.sql("alter role {leitora} set row_security = off")
    assert orders(shop.source()) == 3


def test_the_right_that_is_missing_is_still_told_apart(shop: Shop) -> None:
    shop.sql("revoke select on loja.clientes from public")
    with shop.source().open() as extract, pytest.raises(Denied, match="counting clientes: permission denied"):
        extract.count("clientes")


VIEW = "alter table loja.pedidos rename to vendas; create view loja.pedidos {how} as select * from loja.vendas;"


def test_a_view_is_read_with_the_eyes_of_its_owner(shop: Shop) -> None:
    shop.sql(VIEW.replace("{how}", "") + "alter view loja.pedidos owner to {leitora}")
    shop.sql("grant select on loja.vendas, loja.pedidos to public")
    error = refusal(shop.source(shop.dona))
    assert error.what == f"pedidos: row-level security filters what {shop.leitora} sees of loja.vendas"
    way = re.search(r"alter view loja\.pedidos owner to \w+", error.next_step)
    assert way is not None
    shop.sql(way[0])
    assert orders(shop.source()) == 3


def test_a_view_that_says_so_is_read_with_the_eyes_of_the_reader(shop: Shop) -> None:
    if shop.version < 150_000:
        pytest.skip("PostgreSQL 15 brought security_invoker")
    shop.sql(VIEW.replace("{how}", "with (security_invoker = on)") + "grant select on loja.pedidos to public")
    assert f"what {shop.leitora} sees of loja.vendas" in refusal(shop.source()).what
    shop.sql("create policy tudo on loja.vendas using (true)")
    assert orders(shop.source()) == 3


def test_a_view_of_a_view_is_looked_through(shop: Shop) -> None:
    shop.sql(VIEW.replace("{how}", "") + "alter view loja.pedidos owner to {leitora}")
    shop.sql("grant select on loja.vendas, loja.pedidos to public")
    shop.sql("alter view loja.pedidos rename to meio; create view loja.pedidos as select id_pedido from loja.meio")
    shop.sql("grant select on loja.pedidos to public")
    assert f"what {shop.leitora} sees of loja.vendas" in refusal(shop.source(shop.dona)).what


def test_a_materialized_view_holds_what_its_owner_saw(shop: Shop) -> None:
    shop.sql("alter table loja.pedidos rename to vendas; grant create on schema loja to {leitora}")
    shop.sql("grant select on loja.vendas to public")
    shop.sql("set role {leitora}; create materialized view loja.pedidos as select * from loja.vendas")
    error = refusal(shop.source(shop.dona))
    assert f"what {shop.leitora} sees of loja.vendas" in error.what
    assert f"alter materialized view loja.pedidos owner to {shop.dona}" in error.next_step


def test_what_a_function_in_a_view_would_not_see_is_refused_by_postgresql(shop: Shop) -> None:
    shop.sql("alter table loja.pedidos rename to vendas; grant select on loja.vendas to public")
    shop.sql(
        "create function loja.todas() returns setof loja.vendas language plpgsql stable as "
        "$$ begin return query select * from loja.vendas; end $$"
    )
    shop.sql("create view loja.pedidos as select * from loja.todas(); grant select on loja.pedidos to public")
    for read in (lambda e: e.count("pedidos"), lambda e: list(e.pages("pedidos", EXTRACT_ROWS))):
        with shop.source().open() as extract, pytest.raises(SourceError, match="by way of a function") as error:
            read(extract)
        assert "SOURCE_FILTERED=accept" in error.value.next_step
    assert orders(shop.source(accept=True)) == 0
    assert orders(shop.source(shop.dona)) == 3


def test_of_a_foreign_table_nobody_here_can_tell(shop: Shop) -> None:
    shop.sql("create foreign data wrapper longe; create server filial foreign data wrapper longe")
    shop.sql("drop table loja.pedidos; create foreign table loja.pedidos (id_pedido integer) server filial")
    (warning,) = warnings(shop.source())
    assert warning.startswith("pedidos: read from another server (foreign table)")


def test_names_that_need_quotes_are_advice_that_works(shop: Shop) -> None:
    shop.sql('alter schema loja rename to "Minha Loja"')
    source = PostgresSource(shop.url_of(shop.leitora), schema="Minha Loja")
    assert f'what {shop.leitora} sees of "Minha Loja".pedidos' in refusal(source).what
