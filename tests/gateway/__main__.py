"""``python -m tests.gateway``: the stand-in as a process, to try the whole program against it by hand."""

import argparse
import socket
import tempfile
from pathlib import Path

import uvicorn

from elt.lakehouse import migrations
from elt.lakehouse.embedded import start_postgres
from elt.silver import TABLES
from elt.sources.sample import SampleShop
from tests.gateway.app import EXPOSED, App
from tests.gateway.database import Database
from tests.gateway.faults import Faults
from tests.gateway.keys import Keys
from tests.gateway.server import configuration
from tests.gateway.shop import fill, make_tables


def main() -> None:
    """Start, print the URL and the keys, and serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.gateway",
        description="A stand-in for a Supabase project (PostgREST and Storage) over a real PostgreSQL, for tests.",
        epilog="Faults: curl -X POST URL/_faults -d '{\"max_rows\": 500}'. What was asked: curl URL/_requests.",
    )
    parser.add_argument("--port", type=int, default=54321, help="port of 127.0.0.1 to listen on (default: 54321)")
    parser.add_argument("--database-url", help="a PostgreSQL where you may take any role; default: an embedded one")
    parser.add_argument("--data-dir", type=Path, help="folder of the embedded PostgreSQL and of the objects' bytes")
    parser.add_argument("--no-migrations", action="store_true", help="do not apply supabase/migrations")
    parser.add_argument("--shop", type=int, metavar="N", help="be a source: the sample shop with N orders in public")
    parser.add_argument("--schemas", default=",".join(EXPOSED), help="exposed schemas, the default one first")
    parser.add_argument("--max-rows", type=int, default=1000, help="rows of an answer at most, as in the API settings")
    parser.add_argument("--max-object", type=int, default=50 * 2**20, help="bytes of an object at most")
    parser.add_argument("--jwt-secret", help="the project's JWT secret (default: a new one)")
    arguments = parser.parse_args()

    folder = arguments.data_dir or Path(tempfile.mkdtemp(prefix="gateway-"))
    url = arguments.database_url or start_postgres(folder)
    app = App(
        Database(url),
        folder / "objects",
        tuple(arguments.schemas.split(",")),
        Keys(arguments.jwt_secret) if arguments.jwt_secret else Keys(),
        Faults(max_rows=arguments.max_rows, max_object=arguments.max_object),
    )
    if arguments.shop is not None:
        make_tables(url, as_typed=True)
        fill(url, SampleShop.of_size(TABLES, arguments.shop))
    elif not arguments.no_migrations:
        migrations.apply(url, setting="--database-url")
        app.storage.migrate_buckets()
    lines = {
        "url": f"http://127.0.0.1:{arguments.port}",
        "database_url": url,
        "anon_key": app.legacy["anon"],
        "service_role_key": app.legacy["service_role"],
        "publishable_key": app.keys.publishable_key,
        "secret_key": app.keys.secret_key,
        "authenticated_token": app.keys.token("authenticated"),
    }
    for name, value in lines.items():
        print(f"{name}={value}")  # noqa: T201 - the keys of a throw-away project are what it is asked for
    with socket.create_server(("127.0.0.1", arguments.port)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each connection takes it over
        print(flush=True)  # noqa: T201 - an empty line: requests are taken from now on
        uvicorn.Server(configuration(app)).run([listener])


if __name__ == "__main__":
    main()
