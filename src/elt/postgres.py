"""PostgreSQL as bulk data: Arrow tables in and out through COPY, and its errors as ours.

Shared by the direct lakehouse and the PostgreSQL source; no other module speaks to psycopg.
"""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlencode

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from elt.addresses import check_database
from elt.errors import Denied, LakehouseError, Unreachable
from elt.notation import all_decimals
from elt.sqlstates import error_of

EMBEDDED = "the embedded PostgreSQL"
CONNECT_SECONDS = 10
_BLOCK_BYTES = 1 << 20

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


def read_schema(schema: pa.Schema) -> pcsv.ConvertOptions:
    """How CSV from COPY becomes Arrow: an empty field is NULL, an empty text comes as ``""``."""
    return pcsv.ConvertOptions(
        column_types=schema, strings_can_be_null=True, null_values=[""], quoted_strings_can_be_null=False
    )


def copy_out(connection: psycopg.Connection, query: sql.Composable, schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The query's result as Arrow tables of at most ``rows`` rows, streamed: never the whole result in memory."""
    statement = sql.SQL("copy ({}) to stdout (format csv)").format(query)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        buffer: list[bytes] = []
        for line in copy:  # PostgreSQL sends one message a row
            buffer.append(bytes(line))
            if len(buffer) == rows:
                yield _parse(buffer, schema)
                buffer = []
        if buffer:
            yield _parse(buffer, schema)


def _parse(lines: list[bytes], schema: pa.Schema) -> pa.Table:
    """Lines of COPY's CSV as one Arrow table."""
    longest = max(map(len, lines))  # a line must fit in a block of the reader
    return pcsv.read_csv(
        pa.BufferReader(b"".join(lines)),
        read_options=pcsv.ReadOptions(
            column_names=schema.names, use_threads=False, block_size=max(_BLOCK_BYTES, 2 * longest)
        ),
        parse_options=pcsv.ParseOptions(newlines_in_values=True),
        convert_options=read_schema(schema),
    )


def copy_in(cursor: psycopg.Cursor, target: sql.Composable, columns: Sequence[str], table: pa.Table) -> None:
    """Append the Arrow table to ``target`` in one COPY."""
    statement = sql.SQL("copy {} ({}) from stdin (format csv)").format(
        target, sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    sink = io.BytesIO()
    pcsv.write_csv(decimals_as_text(table.select(list(columns))), sink, pcsv.WriteOptions(include_header=False))
    with cursor.copy(statement) as copy:
        copy.write(sink.getbuffer())


def decimals_as_text(table: pa.Table) -> pa.Table:
    """Decimals as text with two or more decimals and no idle zeros: 168.00, 5.899. Exact, as people write money."""
    for position, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            text = all_decimals(table.column(position).combine_chunks())
            table = table.set_column(position, field.name, pc.replace_substring_regex(text, r"(\.\d\d\d*?)0+$", r"\1"))
    return table


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
