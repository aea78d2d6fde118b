"""Gold against the same figures computed by SQL alone, on random shops that change from run to run."""

import tempfile
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.progress import SilentReporter
from elt.runner import Runner
from tests.shops import Row, contents, write_shop

CLIENTES_BY_SQL = """
select p.id_cliente, c.nome, c.cidade, c.idade, count(*), sum(p.valor_total), min(p.data_pedido), max(p.data_pedido),
       string_agg(distinct r.categoria collate "C", ', ' order by r.categoria collate "C"),
       string_agg(distinct r.nome_produto collate "C", ', ' order by r.nome_produto collate "C")
from silver.pedidos p join silver.clientes c on c.id = p.id_cliente join silver.produtos r on r.id = p.id_produto
group by p.id_cliente, c.nome, c.cidade, c.idade order by p.id_cliente
"""
PRODUTOS_BY_SQL = """
select p.id_produto, r.nome_produto, r.categoria, sum(p.quantidade), sum(p.valor_total), r.estoque
from silver.pedidos p join silver.produtos r on r.id = p.id_produto
group by p.id_produto, r.nome_produto, r.categoria, r.estoque order by p.id_produto
"""

words = st.sampled_from(["Açaí", "açaí", "Zebra", "Ábaco", "Doce, de leite", "", "Café"])
ids = st.sampled_from(["1", "2", "3", "ALFKI"])
money = st.decimals(min_value=Decimal("-5"), max_value=Decimal("99999999"), places=4).map(str)


def unique(rows: Sequence[Row], key: str) -> list[Row]:
    """The rows with the last of each key."""
    return list({str(row[key]): row for row in rows}.values())


clientes = st.lists(
    st.fixed_dictionaries(
        {"id_cliente": ids, "nome": words, "cidade": words, "idade": st.sampled_from(["", "40", "x"])}
    ),
    max_size=4,
).map(lambda rows: unique(rows, "id_cliente"))
produtos = st.lists(
    st.fixed_dictionaries(
        {"id_produto": ids, "nome_produto": words, "categoria": words, "estoque": st.sampled_from(["", "0", "8"])}
    ),
    max_size=4,
).map(lambda rows: unique(rows, "id_produto"))
pedidos = st.lists(
    st.fixed_dictionaries(
        {
            "id_pedido": st.integers(1, 12).map(str),
            "id_cliente": ids,
            "id_produto": ids,
            "quantidade": st.integers(1, 2_000_000_000).map(str),
            "valor_total": money,
            "data_pedido": st.dates().map(str),
        }
    ),
    max_size=12,
).map(lambda rows: unique(rows, "id_pedido"))
visits = st.lists(st.tuples(clientes, produtos, pedidos), min_size=1, max_size=3)
deletions = st.lists(st.integers(1, 12).map(str), max_size=3)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(visits=visits, deleted_by_hand=deletions)
def test_gold_is_what_sql_computes(
    new_database: Callable[[], str],
    visits: list[tuple[list[Row], list[Row], list[Row]]],
    deleted_by_hand: list[str],
) -> None:
    url = new_database()
    with tempfile.TemporaryDirectory() as folder:
        lakehouse = Lakehouse(PostgresTables(url), FolderBucket(Path(folder) / "bucket"), "random shops")
        runner = Runner(lakehouse, SilentReporter())
        for visit in visits:
            source = write_shop(Path(folder) / "shop", *visit)
            runner.run(source)
            assert_gold_is_what_sql_computes(url, lakehouse)
        with psycopg.connect(url) as connection:
            connection.execute("delete from silver.pedidos where id = any(%s)", (deleted_by_hand,))
        runner.run(source)
        assert_gold_is_what_sql_computes(url, lakehouse)
        lakehouse.close()


def assert_gold_is_what_sql_computes(url: str, lakehouse: Lakehouse) -> None:
    """Every cell of both analyses."""
    found = contents(lakehouse)
    with psycopg.connect(url) as connection:
        assert found["gold.analise_clientes_pedidos"] == connection.execute(CLIENTES_BY_SQL).fetchall()
        assert found["gold.analise_produtos"] == connection.execute(PRODUTOS_BY_SQL).fetchall()


def test_an_analysis_has_exactly_the_columns_of_the_specification(lakehouse: Lakehouse) -> None:
    with psycopg.connect(lakehouse.tables._url) as connection:  # type: ignore[attr-defined]
        columns = connection.execute(
            "select table_name, array_agg(column_name::text order by ordinal_position) "
            "from information_schema.columns where table_schema = 'gold' group by 1 order by 1"
        ).fetchall()
    assert dict(columns) == {
        "analise_clientes_pedidos": (
            "id_cliente nome cidade idade total_pedidos total_gasto data_primeiro_pedido data_ultimo_pedido "
            "categorias_compradas produtos_comprados"
        ).split(),
        "analise_produtos": "id_produto nome_produto categoria total_vendido total_receita estoque_atual".split(),
    }
