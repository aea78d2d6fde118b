"""PostgreSQL: connections that are alike everywhere, and its errors as ours. Rows in bulk are in ``elt.copying``.

Shared by the direct lakehouse and the PostgreSQL source.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from elt.addresses import check_database
from elt.errors import Denied, LakehouseError, Unreachable
from elt.sqlstates import error_of

EMBEDDED = "the embedded PostgreSQL"
CONNECT_SECONDS = 10

_UNASKED = ("PGSERVICE", "PGDATESTYLE", "PGTZ", "PGGEQO")
"""Variables that libpq obeys whatever the URL says. The first may be meant for a server of the settings."""

_NOT_EMPTY = {"min_protocol_version": "3.0", "max_protocol_version": "3.0", "sslcertmode": "allow"}
"""Parameters without a default of libpq's own that it refuses to take empty."""


def connect(url: str, *, setting: str) -> psycopg.Connection:
    """A connection in autocommit mode. ``setting`` is the variable to name when it fails; the URL is a secret."""
    check_database(url, setting)
    service = os.environ.get("PGSERVICE", "") if setting != EMBEDDED else ""
    forget_environment()
    try:
        if service and "service" not in conninfo_to_dict(url):
            url = make_conninfo(url, service=service)
        return psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS, client_encoding="utf8")
    except psycopg.OperationalError as error:
        words = " ".join(str(error).split())
        said = f"cannot connect to {setting}: {words}"
        if "authentication failed" in words:
            raise Denied(said, next_step=f"check the user and the password in {setting}") from None
        raise Unreachable(
            said,
            next_step=f"check that the server of {setting} runs, and its host and port; then run the same command "
            "again: it goes on from there",
        ) from None  # psycopg's traceback would show the URL
    except psycopg.Error as error:
        raise LakehouseError(f"cannot connect to {setting}: {type(error).__name__}") from None


def database_of(url: str, *, setting: str) -> tuple[str, str, str, str]:
    """Host, port, database and user of a URL; what it leaves out is what PostgreSQL's library takes instead.

    That is the environment's ``PGHOST`` and so on, else a socket on this machine, and the user's name. No secret.
    """
    known = {option.keyword.decode(): option.val for option in Conninfo.get_defaults()}
    found = {name: (known.get(name) or b"").decode() for name in ("host", "hostaddr", "port", "dbname", "user")}
    try:
        found |= {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.Error as error:
        raise LakehouseError(f"{setting} is not a PostgreSQL URL: {type(error).__name__}") from None
    host = found["host"] or found["hostaddr"] or "localhost"
    return host, found["port"], found["dbname"] or found["user"], found["user"]


def forget_environment() -> None:
    """Take the variables that no URL overrides out of libpq's sight; ``os.environ`` still has them."""
    for name in _UNASKED:
        os.unsetenv(name)


def own_parameters() -> str:
    """The part of a URL that keeps the ``PG*`` variables of the environment away from it: each at libpq's default."""
    given = {}
    for option in Conninfo.get_defaults():
        keyword, variable = option.keyword.decode(), (option.envvar or b"").decode()
        if variable in os.environ and variable not in _UNASKED:
            given[keyword] = (option.compiled or b"").decode()
    given.update({name: value for name, value in _NOT_EMPTY.items() if name in given})
    return urlencode({name: value for name, value in given.items() if name not in ("host", "user", "dbname")})


def print_alike(
    connection: psycopg.Connection, *, until_the_end_of: Literal["transaction", "session"], time_zone: str | None = None
) -> None:
    """Make values print the same whatever the server, the database, the role or this machine is set to.

    ``time_zone``: None leaves the session's, and with it the text of instants: whoever reads those names a zone.
    """
    exact = "1" if connection.info.server_version >= _SHORTEST_FLOATS else "0"
    settings = {**_STYLES, "extra_float_digits": exact} | ({"TimeZone": time_zone} if time_zone else {})
    set_one = sql.SQL("set_config({}, {}, {})")
    local = until_the_end_of == "transaction"
    connection.execute(
        sql.SQL("select {}").format(sql.SQL(", ").join(set_one.format(*one, local) for one in settings.items()))
    )


_STYLES = {
    "DateStyle": "ISO",  # the order of day and month, by which a view reads dates in text, stays
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "quote_all_identifiers": "off",  # it would put names of types in quotes
}
"""What values are printed by: as a new server has it."""

_SHORTEST_FLOATS = 120_000
"""From this version on 1 is a new server's setting and prints the shortest text that is exact; before it 0 was."""


@contextmanager
def translated_errors(doing: str) -> Iterator[None]:
    """Psycopg's errors as ours, with the server's words and what we were doing."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, doing) from None  # the words of psycopg's own hold whole rows


def translate(error: psycopg.Error, doing: str) -> LakehouseError:
    """The kind of error by SQLSTATE; what PostgreSQL says of the row is in its ``detail`` alone."""
    state = error.sqlstate or ""
    words = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
    text = f"{doing}: {words}"
    found = error_of(state, text)
    if not state and isinstance(error, psycopg.OperationalError):
        found = Unreachable(
            text, next_step="start the database, then run the same command again: it goes on from there"
        )
    found.detail, found.code = error.diag.message_detail or "", state
    return found
