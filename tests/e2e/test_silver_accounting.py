"""Rows in = written + unchanged + merged repeats + quarantined: in every run, for every table."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elt.errors import AccountingError, LakehouseError
from elt.lakehouse.ports import Lakehouse, Tables, Within
from elt.ledger import recent
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.silver import TABLES
from elt.sources.sample import SampleShop
from tests.shops import Row, contents, write_shop

SMALL = SampleShop(TABLES, clientes=60, produtos=12, pedidos=300, known=60, dirt=0.2)


class Wrapped:
    """Real tables whose answers a test may change."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.in_flight = tables.in_flight

    def pages(
        self, table: str, schema: pa.Schema, *, key: str, size: int, within: Within | None = None
    ) -> Iterator[pd.DataFrame]:
        return self._tables.pages(table, schema, key=key, size=size, within=within)

    def rows(
        self, table: str, columns: Sequence[str], *, key: str, size: int, within: Within | None = None
    ) -> Iterator[list[dict[str, str | None]]]:
        return self._tables.rows(table, columns, key=key, size=size, within=within)

    def stage(self, execution: str, pieces: Iterable[tuple[str, pa.Table]]) -> list[int]:
        return self._tables.stage(execution, pieces)

    def in_slices(
        self,
        function: str,
        staged: Mapping[str, int],
        arguments: Callable[[], Mapping[str, object]],
        *,
        last: Mapping[str, object] | None = None,
        passes: Sequence[str] = (),
        again: Callable[[dict[str, Any]], bool] = lambda _: False,
    ) -> Iterator[dict[str, Any]]:
        return self._tables.in_slices(function, staged, arguments, last=last, passes=passes, again=again)

    def count(self, table: str, within: Within | None = None) -> int:
        return self._tables.count(table, within)

    def call(self, function: str, **arguments: object) -> object:
        return self._tables.call(function, **arguments)

    def name_sessions(self, name: str) -> None:
        self._tables.name_sessions(name)

    def close(self) -> None:
        self._tables.close()


class LosesOneRow(Wrapped):
    """Stages all rows of ``clientes`` but the last."""

    def stage(self, execution: str, pieces: Iterable[tuple[str, pa.Table]]) -> list[int]:
        return super().stage(
            execution, ((name, rows.slice(0, len(rows) - 1) if name == "clientes" else rows) for name, rows in pieces)
        )


class ReadsOneMore(Wrapped):
    """Closes the ledger's row with one row read more than there is."""

    def in_slices(
        self,
        function: str,
        staged: Mapping[str, int],
        arguments: Callable[[], Mapping[str, object]],
        *,
        last: Mapping[str, object] | None = None,
        passes: Sequence[str] = (),
        again: Callable[[dict[str, Any]], bool] = lambda _: False,
    ) -> Iterator[dict[str, Any]]:
        if last:
            last = deepcopy(dict(last))
            last["p_encerrar"]["contas"]["pedidos"]["lidas"] += 1  # type: ignore[index]
        return super().in_slices(function, staged, arguments, last=last, passes=passes, again=again)


@pytest.mark.parametrize(
    ("wrapper", "error", "words"),
    [
        (LosesOneRow, LakehouseError, 'of clientes there are .*"linhas": 0.* staged where .*"linhas": 1.* were sent'),
        (ReadsOneMore, AccountingError, "silver pedidos: 2 rows in, but 1 written"),
    ],
)
def test_a_run_whose_sum_does_not_add_up_writes_nothing_and_the_next_one_heals_it(
    lakehouse: Lakehouse, tmp_path: Path, wrapper: type[Wrapped], error: type[Exception], words: str
) -> None:
    source = write_shop(tmp_path / "shop")
    lying = Lakehouse(wrapper(lakehouse.tables), lakehouse.bucket, "lying")
    with pytest.raises(error, match=words):
        Runner(lying, SilentReporter()).run(source)
    failed = recent(lakehouse.tables)[0]
    assert re.search(words, str(failed["erro"]))
    assert failed["chave"] is None
    for schema in ("silver", "estagio"):
        assert [lakehouse.tables.count(f"{schema}.{name}") for name in ("clientes", "produtos", "pedidos")] == [0, 0, 0]
    Runner(lakehouse, SilentReporter()).run(source)
    found = contents(lakehouse)
    assert [len(found[f"silver.{name}"]) for name in ("clientes", "produtos", "pedidos")] == [1, 1, 1]
    assert len(found["gold.analise_produtos"]) == 1


class LosesWhatIsStaged(Wrapped):
    """A server that crashes once between staging and applying, and is there again: its unlogged tables are empty."""

    crashed = False

    def in_slices(self, function: str, *arguments: Any, **options: Any) -> Iterator[dict[str, Any]]:
        if function == "silver.aplicar" and not self.crashed:
            self.crashed = True
            holder = next(self._tables.rows("controle.arrendamento", ["dono"], key="dono", size=9))[0]["dono"]
            self._tables.call("silver.esvaziar_estagio", p_dono=holder)
        return super().in_slices(function, *arguments, **options)


def test_what_a_crash_took_out_of_staging_is_staged_again_in_the_same_run(
    lakehouse: Lakehouse, new_lakehouse: Callable[[], Lakehouse]
) -> None:
    crashing = LosesWhatIsStaged(lakehouse.tables)
    results = Runner(Lakehouse(crashing, lakehouse.bucket, "crashing"), SilentReporter()).run(SMALL)
    undisturbed = new_lakehouse()
    assert [(result.key, result.counts) for result in results] == [
        (result.key, result.counts) for result in Runner(undisturbed, SilentReporter()).run(SMALL)
    ]
    assert crashing.crashed
    assert contents(lakehouse) == contents(undisturbed)


def ledger_adds_up(lakehouse: Lakehouse) -> None:
    for row in recent(lakehouse.tables):
        out = ("linhas_gravadas", "linhas_inalteradas", "linhas_repetidas", "linhas_em_quarentena")
        assert row["linhas_lidas"] == sum(int(str(row[name])) for name in out), row
        details = row["detalhes"]
        assert isinstance(details, dict)
        if row["camada"] == "silver" and details:
            assert row["linhas_lidas"] == sum(table["read"] for table in details["tables"].values())


def test_the_sample_shop_adds_up_at_every_look(runner: Runner, lakehouse: Lakehouse) -> None:
    first = runner.run(SMALL)[1].counts
    assert first.read == 60 + 12 + 300
    assert min(first.written, first.repeated, first.quarantined) > 0
    second = runner.run(SMALL.two_months_later())[1].counts
    assert second.read == 95 + 12 + 900
    assert min(second.written, second.unchanged, second.quarantined) > 0
    ledger_adds_up(lakehouse)


def test_silver_and_quarantine_together_hold_every_row_that_was_not_a_repeat(
    runner: Runner, lakehouse: Lakehouse
) -> None:
    counts = runner.run(SMALL)[1].counts
    found = contents(lakehouse)
    kept = sum(len(found[f"silver.{name}"]) for name in ("clientes", "produtos", "pedidos"))
    assert kept == counts.written
    assert len(found["silver.rejeitados"]) == counts.quarantined


IDS = st.sampled_from(["1", "2", "3", None, " ", "\x00"])
CLIENTES = st.fixed_dictionaries({"id_cliente": IDS, "nome": st.sampled_from(["a", "b", None])})
PRODUTOS = st.fixed_dictionaries({"id_produto": IDS, "preco": st.sampled_from(["1,50", "1.234", None])})
PEDIDOS = st.fixed_dictionaries(
    {
        "id_pedido": IDS,
        "id_cliente": IDS,
        "id_produto": IDS,
        "quantidade": st.sampled_from(["1", "0", "x"]),
        "data_pedido": st.sampled_from(["2024-03-05", "31/02/2024"]),
    }
)
SHOPS = st.fixed_dictionaries(
    {
        "clientes": st.lists(CLIENTES, max_size=4),
        "produtos": st.lists(PRODUTOS, max_size=4),
        "pedidos": st.lists(PEDIDOS, max_size=5),
    }
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SHOPS, min_size=1, max_size=3))
def test_any_sequence_of_shops_adds_up_and_ends_as_the_last_one_applied_whole(
    runner: Runner, lakehouse: Lakehouse, tmp_path: Path, shops: list[Mapping[str, list[Row]]]
) -> None:
    for shop in shops:
        source = write_shop(tmp_path / "shop", shop["clientes"], shop["produtos"], shop["pedidos"])
        for result in runner.run(source):
            result.counts.check(result.layer)
    before = contents(lakehouse)
    again = runner.silver(full=True)
    assert again.counts.written == 0
    assert contents(lakehouse) == before
