"""Many runs over a bad line: one request in twenty goes wrong, and nothing is lost, doubled or miscounted."""

from collections.abc import Callable

import pytest

from elt.lakehouse.ports import Lakehouse
from elt.ledger import Counts, Ledger
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.sources.postgres import PostgresSource
from tests.gateway.faults import Rule
from tests.gateway.fixtures import Gateway
from tests.hosted import fill_shop, lakehouse_of, project_of, shop_of
from tests.shops import contents

RUNS = 12
SHARE = 0.05
KINDS: tuple[dict[str, object], ...] = (
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 502},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 520},
    {"kind": "drop_before"},
    {"kind": "drop_after"},
    {"kind": "truncate_answer"},
)

CHANGES = (
    "update clientes set nome = nome || '!' where id_cliente % 9 = {run} % 9",
    "update produtos set preco = preco + 1 where id_produto % 5 = {run} % 5",
    "insert into pedidos select 1000 * ({run} + 1) + n, 1 + n, 1 + n % 6, 1 + n % 3, 'pago', n + 0.10, "
    "date '2024-01-01' + {run} from generate_series(1, 5) n",
    "update pedidos set quantidade = {run} % 3 where id_pedido % 7 = {run} % 7",  # sometimes 0: into quarantine
)
"""What happens in the shop between two runs."""


def rules(seed: int) -> list[Rule]:
    """Faults of every kind, which together strike about ``SHARE`` of all requests."""
    share = SHARE / len(KINDS)
    return [
        Rule.model_validate({**kind, "share": share, "seed": seed * 100 + number}) for number, kind in enumerate(KINDS)
    ]


@pytest.mark.slow
def test_many_runs_over_a_bad_line_end_as_over_a_good_one(
    gateway: Gateway, shop_gateway: Gateway, new_lakehouse: Callable[[], Lakehouse]
) -> None:
    fill_shop(shop_gateway, clientes=40, produtos=6, pedidos=30)
    direct = Runner(good := new_lakehouse(), SilentReporter())
    struck = asked = 0
    with lakehouse_of(project_of(gateway), write_rows=25) as bad:
        over_http = Runner(bad, SilentReporter())
        for run in range(RUNS):
            for change in CHANGES:
                shop_gateway.sql(change.format(run=run))
            expected = [(result.key, result.counts) for result in direct.run(PostgresSource(shop_gateway.database_url))]
            for number, side in enumerate((gateway, shop_gateway)):
                side.faults(*rules(2 * run + number), max_rows=50)
            found: list[tuple[int, Counts]] = [(r.key, r.counts) for r in over_http.run(shop_of(shop_gateway))]
            for side in (gateway, shop_gateway):
                side.faults()
                struck += sum(bool(request.fault) for request in side.requests())
                asked += len(side.requests())
                side.forget_requests()
            assert found == expected, f"run {run}"
        assert contents(bad) == contents(good)
        assert Ledger(bad.tables).situation().gold_pending == 0
    assert 0.03 < struck / asked < 0.08
    assert gateway.sql("select count(*) from controle.execucoes where erro is not null") == [(0,)]
