"""The same run from one Supabase project into another, over HTTP alone; what it leaves equals the embedded result."""

import pytest

from elt.lakehouse.ports import Lakehouse
from elt.progress import SilentReporter
from elt.runner import Runner
from tests.gateway.faults import Rule
from tests.gateway.fixtures import Gateway
from tests.hosted import fill_shop, lakehouse_of, project_of, shop_of
from tests.shops import contents


def test_a_run_over_http_equals_the_embedded_one(gateway: Gateway, shop_gateway: Gateway, lakehouse: Lakehouse) -> None:
    fill_shop(shop_gateway, clientes=2_100, produtos=120, pedidos=4_500)
    shop_gateway.sql("insert into pedidos values (9001, 99999, 1, 1, 'pago', 10.00, '2024-01-01')")  # an orphan
    shop_gateway.sql("insert into pedidos values (9002, 1, 1, 0, 'pago', 10.00, '2024-01-01')")  # nothing ordered
    with lakehouse_of(project_of(gateway)) as hosted:
        over_http, embedded = (Runner(one, SilentReporter()).run(shop_of(shop_gateway)) for one in (hosted, lakehouse))
        assert [int(result.key) for result in over_http] == [246, 468, 680]
        assert [result.counts for result in over_http] == [result.counts for result in embedded]
        assert contents(hosted) == contents(lakehouse)


def test_a_second_run_over_http_finds_nothing_new(gateway: Gateway, shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=30, produtos=5, pedidos=60)
    with lakehouse_of(project_of(gateway)) as hosted:
        runner = Runner(hosted, SilentReporter())
        runner.run(shop_of(shop_gateway))
        assert [int(result.key) for result in runner.run(shop_of(shop_gateway))] == [135]


def test_a_changed_row_is_the_only_one_written(gateway: Gateway, shop_gateway: Gateway) -> None:
    fill_shop(shop_gateway, clientes=30, produtos=5, pedidos=60)
    with lakehouse_of(project_of(gateway)) as hosted:
        runner = Runner(hosted, SilentReporter())
        runner.run(shop_of(shop_gateway))
        shop_gateway.sql("update pedidos set valor_total = 1234.56 where id_pedido = 7")
        _, silver, gold = runner.run(shop_of(shop_gateway))
        assert (silver.counts.written, gold.counts.written) == (1, 2)
        assert [request.rows for request in gateway.requests("/rest/v1/rpc/encenar")][-1] == 1


@pytest.mark.parametrize("in_flight", [1, 3])
def test_no_more_requests_are_under_way_at_a_time_than_are_allowed(
    gateway: Gateway, shop_gateway: Gateway, in_flight: int
) -> None:
    fill_shop(shop_gateway, clientes=300, produtos=30, pedidos=900)
    for project in (gateway, shop_gateway):
        project.faults(Rule(kind="slow", seconds=0.02), max_rows=100)
    with lakehouse_of(project_of(gateway, in_flight=in_flight), write_rows=100) as hosted:
        Runner(hosted, SilentReporter()).run(shop_of(shop_gateway, in_flight=in_flight))
    for project in (gateway, shop_gateway):
        assert max(request.beside for request in project.requests("/")) == in_flight - 1


def test_silver_does_not_look_for_the_snapshot_that_bronze_of_the_same_run_has_written(
    gateway: Gateway, shop_gateway: Gateway
) -> None:
    fill_shop(shop_gateway, clientes=30, produtos=5, pedidos=60)
    listed = "/storage/v1/object/list/"
    with lakehouse_of(project_of(gateway)) as hosted:
        runner = Runner(hosted, SilentReporter())
        runner.run(shop_of(shop_gateway))
        empty = len(gateway.requests(listed))
        assert empty == 2  # what is newest, and after what the first snapshot comes
        shop_gateway.sql("update pedidos set status = 'enviado' where id_pedido = 7")
        runner.bronze(shop_of(shop_gateway))
        of_bronze = len(gateway.requests(listed)) - empty
        shop_gateway.sql("update pedidos set status = 'enviado' where id_pedido = 8")
        assert [result.counts.written for result in runner.run(shop_of(shop_gateway))[1:]] == [2, 0]
        assert len(gateway.requests(listed)) - empty > 2 * of_bronze  # two wait: bronze knows one
