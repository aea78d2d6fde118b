"""The stand-in as fixtures: ``gateway`` is a lakehouse project, ``source_gateway`` a shop's, both new for each test."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.gateway.app import EXPOSED, App, Recorded
from tests.gateway.database import Database
from tests.gateway.faults import Faults, Rule
from tests.gateway.server import serving
from tests.gateway.shop import make_tables

_numbers = itertools.count(1)
OWNER = Path(__file__).with_name("owner.sql")


@dataclass(frozen=True)
class Gateway:
    """A running project. Give a key as ``apikey`` and as ``Authorization: Bearer``, as the official client does.

    ``authenticated_key`` is a signed-in person's token: for ``Authorization`` only, beside ``anon_key`` as ``apikey``.
    """

    url: str
    database_url: str
    app: App = field(repr=False)

    @property
    def anon_key(self) -> str:
        """The legacy JWT of ``anon``."""
        return self.app.legacy["anon"]

    @property
    def service_key(self) -> str:
        """The legacy JWT of ``service_role``."""
        return self.app.legacy["service_role"]

    @property
    def publishable_key(self) -> str:
        """The opaque key of ``anon``."""
        return self.app.keys.publishable_key

    @property
    def secret_key(self) -> str:
        """The opaque key of ``service_role``."""
        return self.app.keys.secret_key

    @property
    def authenticated_key(self) -> str:
        """A JWT with the role ``authenticated``."""
        return self.app.keys.token("authenticated", sub="00000000-0000-0000-0000-000000000001")

    def faults(self, *rules: Rule, **switches: object) -> None:
        """Set every fault and cap at once; without arguments: back to a healthy new project."""
        self.app.faults = Faults.model_validate({"rules": list(rules), **switches})

    def requests(self, path: str = "/", method: str | None = None) -> list[Recorded]:
        """The requests so far whose path begins so, oldest first."""
        return [r for r in self.app.recorded if r.path.startswith(path) and method in (None, r.method)]

    def forget_requests(self) -> None:
        """Empty the record of requests."""
        self.app.recorded.clear()

    def empty(self) -> None:
        """As it was when new: no rows, no objects, no faults, no requests."""
        self.sql(
            "truncate silver.clientes, silver.produtos, silver.pedidos, silver.rejeitados, silver.valores_rejeitados, "
            "gold.analise_clientes_pedidos, gold.analise_produtos, controle.execucoes, controle.arrendamento, "
            "controle.escritas, storage.objects"
        )
        self.sql("update controle.analises set versoes = controle.versoes(entradas) where true")
        for file in self.app.folder.iterdir():
            file.unlink()
        self.faults()
        self.faults()
        self.forget_requests()

    @property
    def owner_url(self) -> str:
        """The database by the role that a hosted project belongs to, who is no superuser."""
        self.sql(OWNER.read_text(encoding="utf-8"))
        return self.database_url.replace("//postgres:", "//hosted_postgres:", 1)

    def paste(self, script: str) -> None:
        """Run SQL as the dashboard's SQL Editor does: as the project's owner, all of it in one request."""
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            connection.execute(script.encode())
        self.app.database.forget()

    def expose(self, *schemas: str) -> None:
        """Set the exposed schemas, as in the dashboard's API settings; ``public`` is always one."""
        self.app.rest.schemas = ("public", *schemas)

    def sql(self, query: str) -> list[tuple[object, ...]]:
        """Rows of a query as the database's owner, past the gateway."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            found = cursor.fetchall() if cursor.description else []
        self.app.database.forget()
        return found


@pytest.fixture
def new_gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts stand-ins over databases that exist: ``new_gateway(database_url, schemas=…)``."""
    with ExitStack() as stack:
        number = 0

        def start(database_url: str, schemas: Sequence[str] = EXPOSED) -> Gateway:
            nonlocal number
            number += 1
            app = App(Database(database_url), tmp_path / f"storage_{number}", schemas)
            return Gateway(stack.enter_context(serving(app)), database_url, app)

        yield start


@pytest.fixture
def gateway(new_database: Callable[[], str], new_gateway: Callable[..., Gateway]) -> Gateway:
    """A lakehouse project: every migration applied, its bucket made, its schemas exposed."""
    started = new_gateway(new_database())
    started.app.storage.migrate_buckets()
    return started


@pytest.fixture(scope="module")
def shared_gateway(
    server_url: str, server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A lakehouse project for all tests of a module: making a database is the slow part. Call ``empty`` before each."""
    name = f"shared_{next(_numbers)}"
    server.execute(f"create database {name} template migrated strategy file_copy".encode())
    database_url = make_conninfo(server_url, dbname=name)
    app = App(Database(database_url), tmp_path_factory.mktemp("storage"))
    app.storage.migrate_buckets()
    with serving(app) as url:
        yield Gateway(url, database_url, app)
    server.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def source_gateway(new_database: Callable[[], str], new_gateway: Callable[..., Gateway]) -> Gateway:
    """A shop's project: ``clientes``, ``produtos``, ``pedidos`` in the schema ``public``, empty."""
    database_url = new_database()
    make_tables(database_url)
    return new_gateway(database_url, ("public", "graphql_public"))
