"""The same run from one Supabase project into another, over HTTP alone, and what it leaves equals the embedded result."""

from collections.abc import Callable
from pathlib import Path

from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.supabase import SupabaseBucket, SupabaseTables
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.sources.supabase import SupabaseSource
from elt.supabase import Project
from tests.gateway.fixtures import Gateway
from tests.shops import contents
from tests.gateway.fixtures import Gateway

BUCKET = "bronze-bucket"


def hosted(gateway: Gateway) -> Lakehouse:
    project = Project(gateway.url, gateway.secret_key, wait_seconds=0.01)
    return Lakehouse(SupabaseTables(project), SupabaseBucket(project, BUCKET), "hosted")


def shop(gateway: Gateway) -> SupabaseSource:
    return SupabaseSource(gateway.url, gateway.publishable_key, wait_seconds=0.01)


FILL = """
insert into clientes select n, 'Cliente ' || n, 'c' || n || '@exemplo.com.br', '(11) 98765-4321', 'São Paulo', 20 + n % 60 from generate_series(1, 2500) n;
insert into produtos select n, 'Produto ' || n, 'Categoria ' || n % 7, n + 0.99, n % 50 from generate_series(1, 120) n;
insert into pedidos select n, 1 + n % 2500, 1 + n % 120, 1 + n % 3, 'pago', (n % 1000) + 0.05, date '2024-01-01' + n % 300 from generate_series(1, 7000) n;
insert into pedidos values (9001, 99999, 1, 1, 'pago', 10.00, '2024-01-01'), (9002, 1, 1, 0, 'pago', 10.00, '2024-01-01')
"""


def test_run(gateway: Gateway, source_gateway: Gateway, lakehouse: Lakehouse) -> None:
    for s in FILL.split(";"):
        source_gateway.sql(s)
    over_http = hosted(gateway)
    results = Runner(over_http, SilentReporter()).run(shop(source_gateway))
    print([(int(r.key), r.counts, r.seconds) for r in results])
    embedded = Runner(lakehouse, SilentReporter()).run(shop(source_gateway))
    assert [r.key for r in results] == [246, 468, 680]
    assert [(r.key, r.counts) for r in results] == [(r.key, r.counts) for r in embedded]
    assert contents(over_http) == contents(lakehouse)
    over_http.close()
    print(len(gateway.requests()), len(source_gateway.requests()))
