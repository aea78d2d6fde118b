"""A shop over HTTP: what only its adapter meets."""

import pytest

from elt.catalog import EXTRACT_BYTES, EXTRACT_ROWS
from elt.errors import Denied, Missing, SourceError
from elt.silver import TABLES
from elt.sources.supabase import SupabaseSource
from tests.gateway.faults import Rule
from tests.gateway.fixtures import Gateway
from tests.hosted import fill_shop, shop_of


def keys_read(shop: SupabaseSource, table: str = "clientes", key: str = "id_cliente") -> list[str]:
    with shop.open() as extract:
        return [found for page in extract.pages(table, EXTRACT_ROWS) for found in page.column(key).to_pylist()]


@pytest.mark.parametrize("cap", [1, 700, 1_000])
@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_table_longer_than_max_rows_is_read_to_its_end(shop_gateway: Gateway, cap: int, in_flight: int) -> None:
    rows = 30 if cap == 1 else 4_100
    fill_shop(shop_gateway, clientes=rows, produtos=1, pedidos=1)
    shop_gateway.faults(max_rows=cap)
    found = keys_read(shop_of(shop_gateway, in_flight=in_flight))
    assert sorted(map(int, found)) == list(range(1, rows + 1))


def test_the_order_of_the_pages_does_not_depend_on_time(shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=4_500, produtos=1, pedidos=1)
    first = keys_read(shop_of(shop_gateway))
    shop_gateway.faults(Rule(kind="slow", seconds=0.05, share=0.3, seed=1))
    assert keys_read(shop_of(shop_gateway)) == first


def test_the_order_of_the_rows_depends_neither_on_the_pages_sizes_nor_on_what_was_refused(
    shop_gateway: Gateway,
) -> None:
    fill_shop(shop_gateway, clientes=11_000, produtos=1, pedidos=1)

    def order(most_bytes: int = EXTRACT_BYTES, *refused: Rule) -> list[str]:
        with shop_of(shop_gateway).open() as extract:
            extract.columns("clientes")
            shop_gateway.faults(*refused, max_rows=cap)
            pages = list(extract.pages("clientes", EXTRACT_ROWS, most_bytes))
        return [key for page in pages for key in page.column("id_cliente").to_pylist()]

    cap: int | None = 1_000  # a hosted project's own, by which earlier versions took turns
    as_hosted = order()
    assert as_hosted[:1_001] == [*map(str, range(1, 1_001)), "5502"]
    assert order(200_000) == as_hosted
    too_long = Rule(kind="status", path="/rest/v1/clientes", status=500, code="57014", on=frozenset({2, 5}))
    assert order(EXTRACT_BYTES, too_long) == as_hosted
    cap = None
    assert order() == as_hosted


def test_no_request_asks_for_more_than_the_rows_of_an_extract(shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=20, produtos=1, pedidos=1)
    keys_read(shop_of(shop_gateway, in_flight=1))
    asked = [int(r.query.rpartition("limit=")[2]) for r in shop_gateway.requests("/rest/v1/clientes")]
    assert max(asked) == EXTRACT_ROWS


def test_a_key_that_repeats_inside_a_page_is_an_error_that_says_so(shop_gateway: Gateway) -> None:
    shop_gateway.sql("alter table clientes drop constraint clientes_pkey")
    shop_gateway.sql("insert into clientes (id_cliente, nome) values (1, 'a'), (2, 'b'), (2, 'c'), (3, 'd')")
    with pytest.raises(SourceError, match="the key id_cliente repeats"):
        keys_read(shop_of(shop_gateway))


def test_a_key_that_repeats_over_the_end_of_a_page_is_an_error_that_says_so(shop_gateway: Gateway) -> None:
    shop_gateway.sql("alter table clientes drop constraint clientes_pkey")
    shop_gateway.sql("insert into clientes (id_cliente, nome) values (1, 'a'), (2, 'b'), (2, 'c'), (3, 'd')")
    shop_gateway.faults(max_rows=2)
    with pytest.raises(SourceError, match="the key id_cliente repeats") as caught:
        keys_read(shop_of(shop_gateway))
    assert "SOURCE_DB_URL" in caught.value.next_step


def test_rows_without_a_key_are_an_error_that_counts_them(shop_gateway: Gateway) -> None:
    shop_gateway.sql("alter table clientes drop constraint clientes_pkey")
    shop_gateway.sql("alter table clientes alter id_cliente drop not null")
    shop_gateway.sql("insert into clientes (id_cliente) values (1), (null), (2), (null)")
    with pytest.raises(SourceError, match="2 rows have no id_cliente"):
        keys_read(shop_of(shop_gateway))


def test_rows_that_vanish_before_they_are_read_are_an_error_not_a_shorter_table(shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=30, produtos=1, pedidos=1)
    shop_gateway.faults(max_rows=10)
    with shop_of(shop_gateway, in_flight=1).open() as extract:
        pages = extract.pages("clientes", EXTRACT_ROWS)
        next(pages)
        shop_gateway.sql("delete from clientes where id_cliente > 26")
        with pytest.raises(SourceError, match="read 26 rows, but the source counted 30"):
            list(pages)


def test_rows_that_vanish_after_they_are_read_belong_to_the_look(shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=30, produtos=1, pedidos=1)
    shop_gateway.faults(max_rows=10)
    with shop_of(shop_gateway, in_flight=1).open() as extract:
        pages = extract.pages("clientes", EXTRACT_ROWS)
        first = next(pages)
        shop_gateway.sql("delete from clientes where id_cliente < 5")
        assert len(first) + sum(map(len, pages)) == 30


def test_an_order_that_comes_while_it_is_read_waits_with_its_customer(shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=5, produtos=5, pedidos=5)
    with shop_of(shop_gateway).open() as extract:
        shop_gateway.sql("insert into clientes (id_cliente) values (6)")
        shop_gateway.sql("insert into pedidos (id_pedido, id_cliente) values (6, 6)")
        found = [page.column("id_pedido").to_pylist() for page in extract.pages("pedidos", EXTRACT_ROWS)]
    assert found == [["1", "2", "3", "4", "5"]]


def test_an_empty_table_has_the_columns_that_the_catalog_knows(shop_gateway: Gateway) -> None:
    with shop_of(shop_gateway, shop_gateway.secret_key).open() as extract:
        assert extract.columns("produtos") == {
            "id_produto": "bigint",
            "nome_produto": "text",
            "categoria": "text",
            "preco": "numeric",
            "estoque": "integer",
        }
        assert list(extract.pages("produtos", EXTRACT_ROWS)) == []


ASKED_ALONE = "=eq.~"
"""In the query of a request for the type of one column."""


def test_a_secret_key_is_told_all_types_at_once(shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=5, produtos=5, pedidos=5)
    with shop_of(shop_gateway, shop_gateway.secret_key).open() as extract:
        assert extract.columns("pedidos")["valor_total"] == "numeric"
    assert not [request for request in shop_gateway.requests("/rest/v1") if ASKED_ALONE in request.query]


@pytest.mark.parametrize("hidden", ["from this key", "from everybody"])
def test_without_a_description_the_columns_and_their_types_are_the_same(shop_gateway: Gateway, hidden: str) -> None:
    fill_shop(shop_gateway, clientes=5, produtos=5, pedidos=0)
    with shop_of(shop_gateway, shop_gateway.secret_key).open() as extract:
        described = {table.name: extract.columns(table.name) for table in TABLES}
    key = shop_gateway.publishable_key
    if hidden == "from everybody":
        key = shop_gateway.secret_key
        shop_gateway.faults(Rule(kind="status", path="/rest/v1/", status=404, code="PGRST126", on={1}))
    with shop_of(shop_gateway, key, in_flight=1).open() as extract:
        assert {table.name: extract.columns(table.name) for table in TABLES} == described
    assert [request for request in shop_gateway.requests("/rest/v1") if ASKED_ALONE in request.query]


def test_a_table_that_row_level_security_hides_is_an_error_not_an_empty_shop(shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=5, produtos=5, pedidos=5)
    shop_gateway.sql("alter table clientes enable row level security")
    with pytest.raises(SourceError, match="sees no rows; a table with row-level security") as caught:
        keys_read(shop_of(shop_gateway, shop_gateway.publishable_key))
    assert "secret key" in caught.value.next_step
    assert len(keys_read(shop_of(shop_gateway, shop_gateway.secret_key))) == 5


def warnings(shop: SupabaseSource) -> list[str]:
    with shop.open() as extract:
        return extract.warnings([table.name for table in TABLES])


def test_a_secret_key_sees_every_row_and_nothing_is_said(shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=2, produtos=2, pedidos=2)
    shop_gateway.sql("alter table clientes enable row level security")
    for key in (shop_gateway.secret_key, shop_gateway.service_key):
        assert warnings(shop_of(shop_gateway, key)) == []
        assert len(keys_read(shop_of(shop_gateway, key))) == 2


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_what_row_level_security_hides_of_a_table_cannot_be_told_and_every_look_says_so(
    shop_gateway: Gateway, role: str
) -> None:
    fill_shop(shop_gateway, clientes=5, produtos=5, pedidos=5)
    shop_gateway.sql("alter table clientes enable row level security")
    shop_gateway.sql("create policy parte on clientes using (id_cliente < 3)")
    key = shop_gateway.app.legacy["own"] = shop_gateway.app.keys.token(role)
    for _ in range(2):
        (warning,) = warnings(shop_of(shop_gateway, key))
        assert warning.startswith(f"whether row-level security hides rows from the key in SUPABASE_KEY ({role})")
        assert "SOURCE_FILTERED=accept" in warning
    assert len(keys_read(shop_of(shop_gateway, key))) == 2


def test_what_is_accepted_stays_one_line(shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=5, produtos=5, pedidos=5)
    (warning,) = warnings(shop_of(shop_gateway, accept_filtered=True))
    assert warning == (
        "SOURCE_FILTERED=accept: rows that row-level security hides from the key in SUPABASE_KEY (anon) count as rows "
        "that are not there"
    )


def test_a_table_of_which_a_key_sees_nothing_is_refused_before_it_is_read(shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=5, produtos=5, pedidos=5)
    shop_gateway.sql("alter table clientes enable row level security; alter table pedidos enable row level security")
    with pytest.raises(
        SourceError, match=r"clientes, pedidos: the key in SUPABASE_KEY \(anon\) sees no rows"
    ) as caught:
        warnings(shop_of(shop_gateway))
    for way in ("a secret key", "the tables' owner", "bypassrls", "SOURCE_FILTERED=accept"):
        assert way in caught.value.next_step
    assert keys_read(shop_of(shop_gateway, accept_filtered=True)) == []


def test_legacy_keys_read_as_well(shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=5, produtos=5, pedidos=5)
    for key in (shop_gateway.anon_key, shop_gateway.service_key):
        assert len(keys_read(shop_of(shop_gateway, key))) == 5


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "truncate_answer", "status"])
def test_a_read_goes_on_after_a_failure(shop_gateway: Gateway, kind: str) -> None:
    fill_shop(shop_gateway, clientes=60, produtos=1, pedidos=1)
    shop_gateway.faults(Rule(kind=kind, share=0.2, seed=3), max_rows=5)
    assert sorted(map(int, keys_read(shop_of(shop_gateway)))) == list(range(1, 61))


def test_a_page_that_takes_too_long_is_asked_for_in_smaller_ones(shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=60, produtos=1, pedidos=1)
    with shop_of(shop_gateway).open() as extract:
        extract.columns("clientes")
        shop_gateway.faults(Rule(kind="status", status=500, code="57014", on={1, 2}))
        rows = sum(len(page) for page in extract.pages("clientes", EXTRACT_ROWS))
    assert rows == 60


NOBODYS = "revoke all on clientes, pedidos from anon, authenticated, service_role"
"""New tables of a project, which nobody has granted to the API yet."""


def test_tables_that_nobody_granted_lead_to_the_grant_and_where_to_paste_it(shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=5, produtos=5, pedidos=5)
    shop_gateway.sql(NOBODYS)
    with pytest.raises(Denied, match=r"its role \(service_role\) may not read clientes, pedidos: ") as caught:
        keys_read(shop_of(shop_gateway, shop_gateway.secret_key))
    where, _, grant = caught.value.next_step.partition("127.0.0.1")
    assert where == "paste into the SQL Editor of "
    statement = grant.partition(": ")[2]
    assert statement == "grant select on public.clientes, public.pedidos to service_role;"
    assert "secret" not in caught.value.next_step
    shop_gateway.sql(statement)
    assert len(keys_read(shop_of(shop_gateway, shop_gateway.secret_key))) == 5


def test_a_schema_that_nobody_granted_leads_to_both_grants(shop_gateway: Gateway) -> None:
    shop_gateway.sql(f"revoke usage on schema public from public, service_role; {NOBODYS}")
    with pytest.raises(Denied, match="permission denied for schema public") as caught:
        keys_read(shop_of(shop_gateway, shop_gateway.secret_key))
    shop_gateway.sql(caught.value.next_step[caught.value.next_step.index("grant usage") :])
    assert keys_read(shop_of(shop_gateway, shop_gateway.secret_key)) == []


def test_a_key_that_anybody_may_have_is_never_told_to_be_granted_the_customers(shop_gateway: Gateway) -> None:
    shop_gateway.sql(NOBODYS)
    with pytest.raises(Denied) as caught:
        keys_read(shop_of(shop_gateway, shop_gateway.publishable_key))
    assert caught.value.next_step.startswith("use a secret key in SUPABASE_KEY")
    assert "to anon" not in caught.value.next_step


def test_a_schema_public_that_is_not_exposed_leads_to_its_exposure(shop_gateway: Gateway) -> None:
    shop_gateway.app.rest.schemas = ("api",)
    with pytest.raises(Missing) as caught:
        keys_read(shop_of(shop_gateway, shop_gateway.secret_key))
    assert caught.value.next_step.endswith("Exposed schemas: add public")
