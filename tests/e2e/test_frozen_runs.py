"""A run that is frozen at any moment, for however long, writes nothing once another has taken over from it.

The moments are those before and after each call that reaches the database, and inside COPY. ``FROZEN_AT`` runs all of
them (``all``) or one by its number; otherwise a few are tried, others with each version of the code.
"""

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import psycopg
import pytest

from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.sources.files import FilesSource
from tests.shops import contents, write_shop

MOMENTS = 80
"""A run of this shop has a few more."""

TRIED = 6
"""Moments tried in an ordinary run of the tests."""

_CALLS = ((psycopg.Connection, "execute"), (psycopg.Cursor, "execute"), (psycopg.Copy, "write"))

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


def shop(folder: Path, visit: int) -> FilesSource:
    """The second visit changes, adds, refuses and makes a conflict; the third is newer in every one of these rows."""
    clientes = [{"id_cliente": str(number), "nome": f"Cliente {number}, visita {visit}"} for number in range(1, 5)]
    produtos = [{"id_produto": "10", "estoque": str(visit)}, {"id_produto": "11", "preco": "?" if visit == 2 else "3"}]
    pedidos = [
        {"id_pedido": str(100 + number), "id_cliente": str(number), "id_produto": "10", "quantidade": str(visit)}
        for number in range(1, 3 + visit)
    ]
    if visit == 2:
        pedidos.append({"id_pedido": "101", "quantidade": "9"})
    return write_shop(folder, clientes, produtos, pedidos)


def frozen_run(url: str, bucket: Path, folder: Path, moment: int) -> None:
    """The child: one run, stopped by itself at the moment of that number."""
    passed = 0

    def pass_one() -> None:
        nonlocal passed
        passed += 1
        if passed == moment:
            os.kill(os.getpid(), signal.SIGSTOP)

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def around(*arguments: Any, **options: Any) -> Any:
            pass_one()
            answer = call(*arguments, **options)
            pass_one()
            return answer

        return around

    for owner, name in _CALLS:
        setattr(owner, name, watched(getattr(owner, name)))
    tables = PostgresTables(url, wait_seconds=0.01)
    Runner(Lakehouse(tables, FolderBucket(bucket), "frozen"), SilentReporter()).run(FilesSource(folder))


class Moment:
    """A lakehouse after a first visit, whose second is frozen, taken over from by the third, and let go on."""

    child: multiprocessing.process.BaseProcess | None = None

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.lakehouse = Lakehouse(PostgresTables(url), FolderBucket(folder / "bucket"), "a test's lakehouse")
        self.run(1)

    def run(self, visit: int) -> None:
        Runner(self.lakehouse, SilentReporter()).run(shop(self.folder / "shop", visit))

    def freeze(self, moment: int) -> bool:
        """Freeze the second visit; False if it ended before the moment came."""
        shop(self.folder / "shop", 2)
        arguments = (self.url, self.folder / "bucket", self.folder / "shop", moment)
        self.child = _PROCESSES.Process(target=frozen_run, args=arguments, daemon=True)
        self.child.start()
        state = Path(f"/proc/{self.child.pid}/stat")  # it is no child of this process, but of the fork server's
        while self.child.is_alive() and state.exists():
            if state.read_text().rpartition(")")[2].split()[0] == "T":
                return True
            self.child.join(0.01)
        return False

    def take_over(self) -> None:
        """The lease runs out, and another run applies newer data, without waiting for the frozen one."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("set lock_timeout = '5s'")
            connection.execute("update controle.arrendamento set expira_em = clock_timestamp() - interval '1 second'")
        self.run(3)

    def thaw(self) -> None:
        assert self.child is not None
        assert self.child.pid is not None
        os.kill(self.child.pid, signal.SIGCONT)
        self.child.join(60)
        assert not self.child.is_alive()


def moments() -> list[int]:
    """All there are is more than is tried: which ones follows from the code of the layers and of the adapters."""
    chosen = os.environ.get("FROZEN_AT", "")
    if chosen == "all":
        return list(range(1, MOMENTS + 40))
    if chosen:
        return [int(chosen)]
    code = b"".join(file.read_bytes() for file in sorted((Path(__file__).parents[2] / "src").rglob("*.py")))
    digest = hashlib.sha256(code).digest()
    return sorted({1 + int.from_bytes(digest[2 * n : 2 * n + 2], "big") % MOMENTS for n in range(TRIED)})


@pytest.mark.parametrize("moment", moments())
def test_a_run_that_is_frozen_writes_nothing_once_another_has_taken_over(
    new_database: Callable[[], str], tmp_path: Path, moment: int
) -> None:
    case = Moment(new_database(), tmp_path)
    try:
        if not case.freeze(moment):
            assert moment > MOMENTS, "the run had fewer moments, or failed"
            pytest.skip(f"a run has fewer than {moment} moments")
        case.take_over()
        newest = contents(case.lakehouse)
        case.thaw()
        assert contents(case.lakehouse) == newest
        case.run(3)
        assert contents(case.lakehouse) == newest
        assert {row[1] for row in newest["silver.clientes"]} == {f"Cliente {n}, visita 3" for n in range(1, 5)}
    finally:
        if case.child is not None and case.child.is_alive():
            case.child.kill()
        case.lakehouse.close()
