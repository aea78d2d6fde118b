"""The adapters that the contract tests run on: the same tests for each."""

import os
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from elt.catalog import ANALYSES
from elt.lakehouse.ports import Lakehouse, Within
from elt.silver import TABLES
from elt.supabase import Project
from tests.gateway.fixtures import Gateway
from tests.hosted import lakehouse_of, project_of

REAL = ("SUPABASE_TEST_URL", "SUPABASE_TEST_KEY")
_REAL_VALUES = {name: os.environ.get(name, "") for name in REAL}  # read before any fixture hides the environment
_WRITTEN = (
    *(table.silver for table in reversed(TABLES)),
    *("silver.rejeitados", "silver.valores_rejeitados"),
    *(analysis.gold for analysis in ANALYSES),
    *("controle.pendencias", "controle.execucoes"),
)

_KEYS = {
    **{analysis.gold: analysis.key for analysis in ANALYSES},
    "controle.pendencias": "chave",
}


HOSTED = ["supabase", *(["project"] if all(_REAL_VALUES.values()) else [])]


@pytest.fixture(params=["embedded", *HOSTED])
def any_lakehouse(request: pytest.FixtureRequest) -> Iterator[Lakehouse]:
    """An empty lakehouse over each adapter; over a real project if ``SUPABASE_TEST_URL`` and its key are given."""
    if request.param == "embedded":
        make: Callable[[], Lakehouse] = request.getfixturevalue("new_lakehouse")
        yield make()
        return
    if request.param == "supabase":
        gateway: Gateway = request.getfixturevalue("gateway")
        with lakehouse_of(project_of(gateway)) as lakehouse:
            yield lakehouse
        return
    yield from _real_project()


def _real_project() -> Iterator[Lakehouse]:
    """A real project, which must be empty: what is in it after the test is the test's, and is removed."""
    url, key = _REAL_VALUES.values()
    with lakehouse_of(Project(url, key)) as lakehouse:
        if any(lakehouse.tables.count(table) for table in _WRITTEN) or lakehouse.bucket.list():
            pytest.fail("the project of SUPABASE_TEST_URL holds data; these tests need one that is empty")
        yield lakehouse
        for table in (*_WRITTEN, "controle.pendencias"):  # deleting from silver marks gold again
            _empty(lakehouse, table)
        lakehouse.bucket.delete(lakehouse.bucket.list())


def _empty(lakehouse: Lakehouse, table: str) -> None:
    """Delete every row, whatever the table's key is called."""
    key = _KEYS.get(table, "id")
    for page in lakehouse.tables.pages(table, pa.schema([(key, pa.string())]), key=key, size=1_000):
        lakehouse.tables.delete(table, Within(key, page[key].to_list()))
