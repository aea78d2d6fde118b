"""Silver against a model of it in plain Python: whatever visits, corrections and replays come, both hold the same."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from elt.lakehouse import snapshots
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.sources.files import FilesSource
from tests.shops import write_shop
from tests.silver_model import COLUMNS, Model, Raw, Shop


def _rows_of(*values: list[str]) -> st.SearchStrategy[Raw]:
    return st.tuples(*map(st.sampled_from, values))


VALUES: dict[str, st.SearchStrategy[Raw]] = {
    "clientes": _rows_of(["1", "2", "3", ""], ["Ana", "Bia"], ["30", "40", "?", ""]),
    "produtos": _rows_of(["10", "11"], ["Café"], ["5", "R$ 7,50", "x"]),
    "pedidos": _rows_of(["100", "101", "102", ""], ["1", "2", "3", "9"], ["10", "11"], ["1", "2", "0"]),
}
"""Rows with repeats, conflicts, blank keys, unreadable values and orphans among them."""

SHOPS = st.fixed_dictionaries({table: st.lists(rows, max_size=5) for table, rows in VALUES.items()})
SILVER = {
    "clientes": "id, nome, idade",
    "produtos": "id, nome_produto, preco",
    "pedidos": "id, id_cliente, id_produto, quantidade",
}


class Machine(RuleBasedStateMachine):
    """The real silver beside the model."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__()
        self.url = url
        self.folder = folder
        self.lakehouse = Lakehouse(PostgresTables(url), FolderBucket(folder / "bucket"), "beside a model")
        self.runner = Runner(self.lakehouse, SilentReporter())
        self.connection = psycopg.connect(url, autocommit=True)
        self.model = Model()
        self.shops: dict[str, Shop] = {}
        self.applied = ""

    def teardown(self) -> None:
        self.connection.close()
        self.lakehouse.close()

    def write(self, shop: Shop) -> FilesSource:
        rows = [[dict(zip(COLUMNS[table], row, strict=True)) for row in shop[table]] for table in COLUMNS]
        return write_shop(self.folder / "shop", *rows)

    @initialize(shop=SHOPS)
    def first(self, shop: Shop) -> None:
        self.visit(shop)

    @rule(shop=SHOPS)
    def visit(self, shop: Shop) -> None:
        """A run over a shop that may be anything."""
        self.run(shop)

    @rule()
    def visit_again(self) -> None:
        """A run over the shop as it was last: everything that waits, and nothing new."""
        self.run(self.shops[max(self.shops)])

    def run(self, shop: Shop) -> None:
        results = self.runner.run(self.write(shop))
        newest = snapshots.committed(self.lakehouse.bucket)[-1]
        self.shops[newest] = shop
        expected = [0] * 5
        for snapshot in sorted(name for name in self.shops if name > self.applied):
            counted = self.model.visit(self.shops[snapshot], self.shops.get(self.applied))
            expected = [a + b for a, b in zip(expected, asdict(counted).values(), strict=True)]
            self.applied = snapshot
        counts = [list(vars(result.counts).values()) for result in results if result.layer == "silver"]
        assert (counts[0] if counts else [0] * 5) == expected

    @rule(nome=st.sampled_from(["Ana", "Corrigida"]), key=st.sampled_from(["1", "2"]))
    def correct_by_hand(self, nome: str, key: str) -> None:
        """Somebody changes a customer in silver: that stands until the source has something new to say of them."""
        self.connection.execute("update silver.clientes set nome = %s where id = %s", (nome, key))
        if key in self.model.silver["clientes"]:
            _, _, idade = self.model.silver["clientes"][key]
            self.model.silver["clientes"][key] = (key, nome, idade)

    @precondition(lambda self: self.shops)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """Silver from one snapshot alone; later ones wait for the next run."""
        snapshot = data.draw(st.sampled_from(sorted(self.shops)))
        self.runner.replay(snapshot)
        self.model.empty()
        self.model.visit(self.shops[snapshot], None)
        self.applied = snapshot

    @invariant()
    def silver_is_the_model_s(self) -> None:
        for table, columns in SILVER.items():
            rows = {row[0]: row for row in self.connection.execute(f"select {columns} from silver.{table}")}
            assert rows == self.model.silver[table], table

    @invariant()
    def quarantine_is_the_model_s(self) -> None:
        for table, names in COLUMNS.items():
            query = "select chave, linha from silver.rejeitados where tabela = %s"
            refused = {
                (key, tuple((line if isinstance(line, dict) else json.loads(line))[name] or "" for name in names))
                for key, line in self.connection.execute(query, (table,))
            }
            assert refused == self.model.refused[table], table
            query = "select chave, coluna from silver.valores_rejeitados where tabela = %s"
            assert set(self.connection.execute(query, (table,))) == self.model.notes[table], table


@pytest.mark.slow
def test_whatever_comes_silver_holds_what_the_model_holds(
    new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    run_state_machine_as_test(
        lambda: Machine(new_database(), tmp_path_factory.mktemp("model")),  # type: ignore[arg-type]
        settings=settings(max_examples=12, stateful_step_count=8, deadline=None),
    )
