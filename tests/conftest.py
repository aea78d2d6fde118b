"""A real PostgreSQL for the whole test session, and a fresh migrated database for each test that asks for one."""

import atexit
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from elt import environment, redaction
from elt.lakehouse import migrations
from elt.lakehouse.embedded import start_postgres
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.settings import Settings
from tests.oldest import another_postgresql

_SERVER_BYTES = 2 * 1024**3
"""What the tests' server may need in memory; where less is free, its files are with those of the tests."""


def _new_folder(parent: str | None = None) -> str:
    """A temporary folder of this session's own, removed when the servers in it have stopped."""
    folder = tempfile.mkdtemp(prefix="medallion-tests-", dir=parent)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


_FOLDER = _new_folder()
_SHARED_MEMORY = "/dev/shm"
_IN_MEMORY = (
    _new_folder(_SHARED_MEMORY)
    if os.access(_SHARED_MEMORY, os.W_OK) and shutil.disk_usage(_SHARED_MEMORY).free > _SERVER_BYTES
    else None
)
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _FOLDER)

# This checkout's .env and data are those of the person who works in it: no command that a test starts may find them.
os.environ[environment.HOME] = _FOLDER

# Timing never decides a test: this machine may be busy.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

pytest_plugins = ["tests.gateway.fixtures", "tests.hosted"]

TEMPLATE = "migrated"
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a server or whole commands, which is all but the unit tests, is not for every save."""
    for item in items:
        if item.path.parent.name != "unit":
            item.add_marker(pytest.mark.slow)


def database_url(server_url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return server_url.replace("/postgres?", f"/{name}?")


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see no .env and no lakehouse of the person who runs them, and no secret of another test.

    Each has a folder for its own.
    """
    redaction.know(())
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(environment.HOME, str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _servers_of_root_reach_their_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """pytest makes folders for its own user alone; PostgreSQL, which does not run as root, has to pass through them."""
    if os.geteuid() != 0:
        yield
        return
    make = tmp_path_factory.mktemp

    def make_passable(basename: str, numbered: bool = True) -> Path:
        folder = make(basename, numbered)
        folder.chmod(0o711)
        return folder

    base = tmp_path_factory.getbasetemp()
    for folder in (base, *base.parents):
        if folder.stat().st_mode & 0o077 == 0 and str(folder).startswith(tempfile.gettempdir()):
            folder.chmod(0o711)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tmp_path_factory, "mktemp", make_passable)
        yield


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An embedded PostgreSQL with a database ``migrated`` to copy. No test needs its files to survive a power cut."""
    folder = Path(_IN_MEMORY) if _IN_MEMORY else tmp_path_factory.mktemp("server")
    folder.chmod(0o711)  # for root's server, which runs as another user
    url = start_postgres(folder)
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"alter system set {setting} = off")
        connection.execute("select pg_reload_conf()")
        connection.execute(f"create database {TEMPLATE}")
    migrations.apply(database_url(url, TEMPLATE), setting="the test's PostgreSQL")
    return url


@pytest.fixture(scope="session")
def server(server_url: str) -> Iterator[psycopg.Connection]:
    """The one connection that makes and drops databases."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def new_database(server_url: str, server: psycopg.Connection) -> Iterator[Callable[[], str]]:
    """Makes fresh databases with every migration applied; answers their URLs, and drops them after the test."""
    yield from _databases(server_url, server, TEMPLATE)


@pytest.fixture
def new_empty_database(server_url: str, server: psycopg.Connection) -> Iterator[Callable[[], str]]:
    """The same with nothing in them."""
    yield from _databases(server_url, server, "template1")


@pytest.fixture(scope="session")
def oldest_server_url() -> Iterator[str]:
    """The same over the oldest PostgreSQL that hosted projects have; the test is skipped where it is not installed."""
    with another_postgresql() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"create database {TEMPLATE}")
        migrations.apply(database_url(url, TEMPLATE), setting="the oldest PostgreSQL")
        yield url


@pytest.fixture
def new_oldest_database(oldest_server_url: str) -> Iterator[Callable[[], str]]:
    """Fresh databases of it, with every migration applied."""
    with psycopg.connect(oldest_server_url, autocommit=True) as server:
        yield from _databases(oldest_server_url, server, TEMPLATE)


def _databases(server_url: str, server: psycopg.Connection, template: str) -> Iterator[Callable[[], str]]:
    made: list[str] = []

    def make() -> str:
        name = f"test_{next(_numbers)}"
        # Files copied as they are, past the log: a quarter of the time that the usual way takes.
        server.execute(f"create database {name} template {template} strategy file_copy")
        made.append(name)
        return database_url(server_url, name)

    yield make
    for name in made:
        server.execute(f"drop database {name} with (force)")


@pytest.fixture
def new_lakehouse(new_database: Callable[[], str], tmp_path: Path) -> Iterator[Callable[[], Lakehouse]]:
    """Makes empty lakehouses: a fresh database and a folder as bucket."""
    made: list[Lakehouse] = []

    def make() -> Lakehouse:
        bucket = FolderBucket(tmp_path / f"bucket_{len(made)}")
        made.append(Lakehouse(PostgresTables(new_database(), wait_seconds=0.01), bucket, "a test's lakehouse"))
        return made[-1]

    yield make
    for lakehouse in made:
        lakehouse.close()


@pytest.fixture
def lakehouse(new_lakehouse: Callable[[], Lakehouse]) -> Lakehouse:
    """One empty lakehouse."""
    return new_lakehouse()


@pytest.fixture
def runner(lakehouse: Lakehouse) -> Runner:
    """The layers over the test's lakehouse."""
    return Runner(lakehouse, SilentReporter())
