"""The adapters that the contract tests run on: the same tests for each."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from postgrest.types import ReturnMethod

from elt.catalog import ANALYSES
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
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
    "controle.execucoes",
)

_KEYS = {analysis.gold: analysis.key for analysis in ANALYSES}

HOSTED = ["supabase", *(["project"] if all(_REAL_VALUES.values()) else [])]


@pytest.fixture(params=["embedded", *HOSTED])
def any_lakehouse(request: pytest.FixtureRequest) -> Iterator[Lakehouse]:
    """An empty lakehouse over each adapter; over a real project if ``SUPABASE_TEST_URL`` and its key are given."""
    yield from lakehouse_over(request)


def lakehouse_over(request: pytest.FixtureRequest) -> Iterator[Lakehouse]:
    """The empty lakehouse that the request's parameter names; ``oldest``: the oldest PostgreSQL of hosted projects."""
    if request.param == "embedded":
        make: Callable[[], Lakehouse] = request.getfixturevalue("new_lakehouse")
        yield make()
        return
    if request.param == "oldest":
        url = request.getfixturevalue("new_oldest_database")()
        bucket = FolderBucket(request.getfixturevalue("tmp_path") / "bucket")
        with closing(Lakehouse(PostgresTables(url, wait_seconds=0.01), bucket, "the oldest PostgreSQL")) as lakehouse:
            yield lakehouse
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
    project = Project(url, key)
    with lakehouse_of(project) as lakehouse:
        if any(lakehouse.tables.count(table) for table in _WRITTEN) or lakehouse.bucket.list():
            pytest.fail("the project of SUPABASE_TEST_URL holds data; these tests need one that is empty")
        yield lakehouse
        for table in _WRITTEN:
            schema, name = table.split(".")
            rows = project.postgrest.schema(schema).from_(name)
            rows.delete(returning=ReturnMethod.minimal).neq(_KEYS.get(table, "id"), "").execute()
        lakehouse.bucket.delete(lakehouse.bucket.list())
