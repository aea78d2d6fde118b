"""A run killed between any two writes, then started again, ends like a run that was never killed."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.lakehouse.snapshots import leftovers
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.sources.files import FilesSource
from tests.killing import run_killed_before
from tests.shops import Row, contents, write_shop

FIRST_VISIT: tuple[list[Row], list[Row], list[Row]] = (
    [{"id_cliente": str(number), "nome": f"Cliente {number}", "idade": "?"} for number in range(1, 7)],
    [{"id_produto": "10"}, {"id_produto": "11", "preco": "a consultar"}, {"id_produto": "12"}],
    [
        {"id_pedido": str(100 + number), "id_cliente": str(number), "id_produto": str(10 + number % 3)}
        for number in range(1, 13)
    ],
)
SECOND_VISIT: tuple[list[Row], list[Row], list[Row]] = (
    [{"id_cliente": str(number), "nome": f"Cliente nº {number}"} for number in range(2, 8)],
    [{"id_produto": "10", "nome_produto": "Chá"}, {"id_produto": "11"}, {"id_produto": "12", "estoque": "0"}],
    [
        *({"id_pedido": str(100 + n), "id_cliente": str(n), "id_produto": str(10 + n % 3)} for n in range(3, 8)),
        {"id_pedido": "101", "id_cliente": "7", "id_produto": "10", "valor_total": "1.000,00"},
        {"id_pedido": "109", "id_cliente": "8", "id_produto": "12"},
        {"id_pedido": "110", "quantidade": "0", "id_produto": "12"},
        {"id_pedido": "110", "quantidade": "1", "id_produto": "12"},
    ],
)


class World:
    """One lakehouse on disk that can be copied, killed in, and looked at."""

    def __init__(self, url: str, bucket: Path) -> None:
        self.url = url
        self.bucket = bucket

    def run(self, shop: Path) -> list[int]:
        """A run that nobody kills; its keys."""
        lakehouse = self._open()
        keys = [int(result.key) for result in Runner(lakehouse, SilentReporter()).run(FilesSource(shop))]
        lakehouse.close()
        return keys

    def contents(self) -> dict[str, list[tuple[object, ...]]]:
        """Silver, gold and quarantine."""
        lakehouse = self._open()
        found = contents(lakehouse)
        lakehouse.close()
        return found

    def sweep(self) -> list[str]:
        """Remove what dead runs left in the bucket; what is left of it then."""
        lakehouse = self._open()
        Runner(lakehouse, SilentReporter()).sweep()
        lakehouse.close()
        return leftovers(lakehouse.bucket)

    def _open(self) -> Lakehouse:
        return Lakehouse(PostgresTables(self.url), FolderBucket(self.bucket), "a test's world")


@pytest.fixture
def copies(new_database: Callable[[], str], server_url: str, tmp_path: Path) -> Callable[[World | None], World]:
    """Makes worlds: empty ones, or copies of another one."""
    numbers = itertools.count()

    def copy(of: World | None) -> World:
        bucket = tmp_path / f"world_{next(numbers)}"
        url = new_database()
        if of is None:
            return World(url, bucket)
        name, original = _database(url), _database(of.url)
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"drop database {name}")
            connection.execute(f"create database {name} template {original}")
        shutil.copytree(of.bucket, bucket)
        return World(url, bucket)

    return copy


def _database(url: str) -> str:
    """The database's name in a URL."""
    return url.split("?")[0].rsplit("/", 1)[-1]


@pytest.mark.slow
@pytest.mark.parametrize("visit", ["first", "second"])
def test_a_run_killed_between_any_two_writes_is_taken_up_by_the_next(
    copies: Callable[[World | None], World], tmp_path: Path, visit: str
) -> None:
    shop = tmp_path / "shop"
    write_shop(shop, *FIRST_VISIT)
    start: World | None = None
    if visit == "second":
        start = copies(None)
        start.run(shop)
        write_shop(shop, *SECOND_VISIT)
    never_killed = copies(start)
    assert never_killed.run(shop) == [246, 468, 680]
    expected = never_killed.contents()

    killed = 0
    for write in itertools.count(1):
        world = copies(start)
        if not run_killed_before(world.url, world.bucket, shop, write):
            break
        killed += 1
        world.run(shop)
        assert world.contents() == expected, f"killed before write {write}"
        assert world.run(shop) == [135], f"killed before write {write}: the run after it left something to do"
        assert world.sweep() == []
    assert killed > 30, "the shop is too small to show anything"


@pytest.mark.slow
def test_a_run_killed_again_and_again_gets_there_in_the_end(
    copies: Callable[[World | None], World], tmp_path: Path
) -> None:
    shop = tmp_path / "shop"
    write_shop(shop, *FIRST_VISIT)
    never_killed = copies(None)
    never_killed.run(shop)
    world = copies(None)
    write = 1
    while run_killed_before(world.url, world.bucket, shop, write):
        write += 3
    assert write > 20
    assert world.contents() == never_killed.contents()
