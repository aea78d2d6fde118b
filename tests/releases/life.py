"""The life of the lakehouse that a release keeps: a few visits of the sample shop, and what befalls shops and runs.

``python -m tests.releases.life PART`` lives one part of it in the lakehouse that the settings name. ``keep.py`` does so
with the kept program, whose folder then stands first in PYTHONPATH.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from elt.catalog import BROKEN_LINE
from elt.connections import lakehouse_of
from elt.errors import SourceError
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.ledger import LayerResult
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.settings import load_settings
from elt.silver import TABLES
from elt.sources.sample import SampleShop
from tests.releases.visit import Visit

NAME = "tests.releases.life"

Row = dict[str, str | None]
Rows = dict[str, list[Row]]

SHOP = SampleShop(TABLES, clientes=60, produtos=12, pedidos=500, known=60, dirt=0.08)
"""Its dirty orders name the customers 61 to 90, who are not there in January."""

OTHER = "postgresql:db.example:5432/outra_loja/public"
"""Another shop, which had the lakehouse first."""


def january() -> Rows:
    """The sample's own dirt, and what it does not have: a conflict, no key, a broken line, difficult signs."""
    rows = _rows(SHOP)
    clientes, produtos, pedidos = rows["clientes"], rows["produtos"], rows["pedidos"]
    clientes[3]["nome"] = 'D\'Ávila "Zé" \\ São João\n2º\t😀; -- $$'
    clientes[4] |= {"idade": "131", "telefone": "+351 912 345 678"}
    clientes[5] |= {"email": "sem arroba", "telefone": "3333-4444"}
    produtos[2]["preco"] = "a consultar"  # its orders wait for it
    pedidos += [
        {**pedidos[6], "valor_total": "999,99"},  # the same key with other values
        {**pedidos[8]},  # the same row again
        {**pedidos[9], "id_pedido": " "},
        {**pedidos[10], "id_pedido": "ALFKI-1", "valor_total": "1.234"},  # a thousand, or one and a bit?
        {**pedidos[11], "id_pedido": "10248-11", "quantidade": "1,5"},
        {**dict.fromkeys(pedidos[0]), BROKEN_LINE: "3 campos, o cabeçalho tem 7: 9;9;9"},
    ]
    return rows


def march() -> Rows:
    """Fifteen of the missing customers; no conflict; five orders and a customer have vanished, one is corrected."""
    rows = january()
    rows["clientes"] = [row for row in _rows(replace(SHOP, clientes=75))["clientes"] if row["id_cliente"] != "6"]
    rows["clientes"][3] = january()["clientes"][3]
    gone = {"20", "21", "22", "23", "24"}
    rows["pedidos"] = [row for row in rows["pedidos"][:500] if row["id_pedido"] not in gone]
    rows["pedidos"][29] |= {"valor_total": "R$ 77,70", "status": "Entregue"}
    return rows


def may() -> Rows:
    """Fifty orders more, one that vanished is back, one moves to another customer; the price is known; other stock."""
    rows = march()
    later = replace(SHOP, pedidos=550, visit=1)
    rows["produtos"] = _rows(later)["produtos"]
    rows["pedidos"] += _rows(later)["pedidos"][500:]
    rows["pedidos"].append(january()["pedidos"][19])
    rows["pedidos"][40]["id_cliente"] = "3"
    return rows


def july() -> Rows:
    """All customers; a key that means two things, a row that became unreadable, values that became readable."""
    rows = may()
    rows["clientes"] = _rows(replace(SHOP, clientes=92))["clientes"]
    rows["clientes"][5] |= {"email": "conceicao@exemplo.com.br", "cidade": "Belém"}
    rows["produtos"][3] |= {"preco": "1.045,90", "categoria": "Casa e jardim"}
    rows["produtos"].append({**rows["produtos"][0], "id_produto": "13", "nome_produto": "Café nº 2"})
    rows["pedidos"] = rows["pedidos"][10:] + _rows(replace(SHOP, pedidos=600))["pedidos"][550:]
    rows["pedidos"].append({**rows["pedidos"][0], "quantidade": "3"})
    rows["pedidos"][50]["data_pedido"] = "31/02/2025"
    rows["pedidos"] += [{**rows["pedidos"][60], "id_pedido": "10248-11", "id_produto": "13"}]
    return rows


def settled(lakehouse: Lakehouse) -> None:
    """From the first run to a lakehouse in which nothing waits; its newest snapshot is May's."""
    runner = Runner(lakehouse, SilentReporter())
    runner.run(replace(_visit({table: rows[:1] for table, rows in january().items()}), identity=OTHER))
    runner.reset()
    runner.run(_visit(january()))
    runner.run(_visit(january()))
    runner.bronze(_visit(march()))  # silver meets it with the next one
    runner.run(_visit(may()))
    runner.prune(2)  # January's manifest goes, and its products stay: March points at them
    with suppress(SourceError):
        runner.run(_Silent(_visit(may()).tables, _visit(may()).types))
    child = [sys.executable, "-m", NAME, killed.__name__]
    if (ended := subprocess.run(child, cwd=Path(__file__).parents[2], check=False).returncode) != -signal.SIGKILL:
        raise AssertionError(f"the run that is to be killed ended with {ended}")
    runner.replay(march_of(lakehouse))
    runner.run(_visit(may()))
    same_rows(lakehouse)


def march_of(lakehouse: Lakehouse) -> str:
    """The oldest of the shop's two snapshots."""
    manifests = [path for path in lakehouse.bucket.list() if path.endswith("/_manifest.json")]
    return manifests[-2].removesuffix("/_manifest.json")


def killed(lakehouse: Lakehouse) -> None:
    """A run that is killed when it has stored one part: it leaves that, its lease, and an open row in the ledger."""
    bucket = _DyingBucket(load_settings().data_dir / "bucket")
    Runner(replace(lakehouse, bucket=bucket), SilentReporter()).run(_visit(july()))


def same_rows(lakehouse: Lakehouse) -> list[LayerResult]:
    """May once more, when nothing has changed."""
    return Runner(lakehouse, SilentReporter()).run(_visit(may()))


def next_visit(lakehouse: Lakehouse) -> list[LayerResult]:
    """July, in one run: after ``settled``, or to finish what ``waiting`` left."""
    return Runner(lakehouse, SilentReporter()).run(_visit(july()))


def waiting(lakehouse: Lakehouse) -> None:
    """July by hand, without gold."""
    runner = Runner(lakehouse, SilentReporter())
    runner.bronze(_visit(july()))
    runner.silver()


PARTS: dict[str, Callable[[Lakehouse], list[LayerResult] | None]] = {
    part.__name__: part for part in (settled, killed, same_rows, next_visit, waiting)
}


def _rows(shop: SampleShop) -> Rows:
    return {
        table.name: [row for page in shop.pages(table.name, 10_000) for row in page.to_pylist()] for table in TABLES
    }


def _visit(rows: Rows) -> Visit:
    tables = {}
    for table in TABLES:
        columns = {name: [row.get(name) for row in rows[table.name]] for name in (*table.column_names, BROKEN_LINE)}
        tables[table.name] = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    return Visit(tables, {table.name: dict.fromkeys(table.column_names, "text") for table in TABLES})


@dataclass(frozen=True)
class _Silent(Visit):
    """A shop that stops answering."""

    def pages(self, table: str, rows: int, *most_bytes: int) -> Iterator[pa.Table]:
        yield from super().pages(table, 50)
        raise SourceError("the sample shop does not answer any more", next_step="run again")


class _DyingBucket(FolderBucket):
    """A folder; the end of the process comes before its second object."""

    def put(self, path: str, content: Path | bytes) -> None:
        if self.list(path.rsplit("/", 2)[0]):
            os.kill(os.getpid(), signal.SIGKILL)
        super().put(path, content)


if __name__ == "__main__":
    with lakehouse_of(load_settings(), sample=True, loading=True) as opened:
        results = PARTS[sys.argv[1]](opened)
    print(json.dumps([int(result.key) for result in results or []]))  # noqa: T201 - its answer
