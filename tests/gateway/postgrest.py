"""``/rest/v1``: the part of PostgREST 14 that the official Python client uses.

Sources, by section: https://docs.postgrest.org/en/v14/references/api/tables_views.html (reads, writes, upsert),
``…/api/pagination_count.html`` (limits, Content-Range, 206 and 416), ``…/api/preferences.html``,
``…/api/functions.html``, ``…/api/schemas.html`` (profiles), ``…/errors.html`` (statuses and bodies); where these leave
a header open, https://github.com/PostgREST/postgrest/blob/main/src/PostgREST/Response.hs.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import psycopg
from psycopg.sql import Composable
from pydantic_core import from_json

from elt.catalog import WRITE_ROWS
from tests.gateway import grammar, openapi, statements
from tests.gateway.answers import JSON_TYPE, Answer, PostgrestError, Unimplemented
from tests.gateway.database import Database, Relation, Routine
from tests.gateway.grammar import Query, SelectItem
from tests.gateway.keys import Caller

SINGULAR = "application/vnd.pgrst.object+json"
_KNOWN_ACCEPT = frozenset(("*/*", "application/json", "application/*", SINGULAR))
_STATUS_BY_CODE = {
    "23503": 409,
    "23505": 409,
    "25006": 405,
    "53400": 500,
    "57P01": 503,
    "P0001": 400,
    "42883": 404,
    "42P01": 404,
    "42P17": 500,
}
_STATUS_BY_CLASS = {"08": 503, "0L": 403, "0P": 403, "28": 403, "53": 503} | dict.fromkeys(
    ("09", "25", "2D", "38", "39", "3B", "40", "54", "55", "57", "58", "F0", "HV", "P0", "XX"), 500
)


@dataclass(frozen=True)
class Limits:
    """What a project's settings cap. ``max_rows``: API settings, «Max rows». Timeouts in seconds, by role.

    Source of the timeouts: https://supabase.com/docs/guides/database/postgres/timeouts (``service_role`` has none of
    its own and takes the authenticator's 8 s).
    """

    max_rows: int | None = 1000
    statement_timeout: Mapping[str, float] = field(
        default_factory=lambda: {"anon": 3.0, "authenticated": 8.0, "service_role": 8.0}
    )


@dataclass(frozen=True)
class RestRequest:
    """One request under ``/rest/v1``; ``path`` is what follows. Header names are in small letters."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    caller: Caller


@dataclass
class Postgrest:
    """The server: exposed schemas (the first is the default) over one database."""

    database: Database
    schemas: Sequence[str]

    def answer(self, request: RestRequest, limits: Limits) -> Answer:
        """The response to one request; a ``Refusal`` for an error."""
        exchange = _Exchange(self.database, self.schemas, request, limits)
        return exchange.answer()


@dataclass
class _Exchange:
    database: Database
    schemas: Sequence[str]
    request: RestRequest
    limits: Limits

    def answer(self) -> Answer:
        method, path = self.request.method, self.request.path.strip("/")
        self.schema = self._schema()
        self.prefer = _preferences(self.request.headers.get("prefer", ""))
        if not path:
            if method != "GET":
                raise Unimplemented(f"{method} on the root")
            openapi.only_for_secret_keys(self.request.caller)
            with self._transaction(read_only=True) as connection:
                return openapi.describe(connection, self.schema)
        self.singular = self._accept()
        if "range" in self.request.headers:
            raise Unimplemented("limits by the Range header")
        parameters = parse_qsl(self.request.query, keep_blank_values=True)
        if path.startswith("rpc/"):
            if method != "POST":
                raise Unimplemented(f"calling functions with {method}")
            return self._call(path.removeprefix("rpc/"), grammar.parse(parameters))
        if "/" in path:
            raise PostgrestError(404, "PGRST125", "Invalid path specified in request URL")
        handler = {
            "GET": self._read,
            "HEAD": self._read,
            "POST": self._insert,
            "PATCH": self._update,
            "DELETE": self._delete,
        }.get(method)
        if handler is None:
            raise Unimplemented(f"{method} on tables")
        query = grammar.parse(parameters)
        relation = self.database.relation(self.schema, path)
        if relation is None:
            raise PostgrestError(
                404, "PGRST205", f"Could not find the table '{self.schema}.{path}' in the schema cache"
            )
        return handler(relation, query)

    def _read(self, relation: Relation, query: Query) -> Answer:
        limit = _smaller(query.limit, self.limits.max_rows)
        with self._transaction(read_only=True) as connection:
            total, rows, body = _one(connection, statements.read(relation, query, limit, count=self._counting()))
        canonical = urlencode(sorted(parse_qsl(self.request.query, keep_blank_values=True), key=lambda pair: pair[0]))
        location = f"/{relation.name}" + (f"?{canonical}" if canonical else "")
        return self._page(query.offset, rows, total, body, {"Content-Location": location})

    def _page(self, offset: int, rows: int, total: int | None, body: str, headers: Mapping[str, str]) -> Answer:
        """A page of rows with its range: 200, 206 if there are more, 416 past the end of a counted result."""
        if total is not None and offset > total:
            raise PostgrestError(
                416,
                "PGRST103",
                "Requested range not satisfiable",
                f"An offset of {offset} was requested, but there are only {total} rows.",
                headers={"Content-Range": f"*/{total}"},
            )
        status = 206 if total is not None and rows < total else 200
        if self.singular:
            body = _only_one(body, rows)
        headers = {
            "Content-Range": content_range(offset, offset + rows - 1, total),
            **headers,
            **self._content_type(),
            **self._applied("count"),
        }
        return Answer(status, headers, b"" if self.request.method == "HEAD" else body.encode())

    def _insert(self, relation: Relation, query: Query) -> Answer:
        _refuse_limits(query)
        body, single, columns = self._payload(relation, query)
        resolution = self.prefer.get("resolution")
        conflict = query.on_conflict or relation.primary_key
        items = self._shown(query)
        kept = self.prefer.get("return") == "headers-only" and relation.primary_key
        keys = [SelectItem(name) for name in relation.primary_key] if kept else None
        statement = statements.insert(
            relation,
            columns,
            body,
            single=single,
            defaults=self.prefer.get("missing") == "default",
            conflict=conflict,
            merge={None: None, "merge-duplicates": True, "ignore-duplicates": False}[resolution],
            returning=statements.returned(relation, items if items is not None else keys),
        )
        with self._transaction(read_only=False) as connection:
            _, rows, answer, inserted = _one(connection, statements.mutation(statement, items if items else keys))
        headers = {
            "Content-Range": content_range(1, 0, rows if self._counting() else None),
            **self._applied("resolution" if conflict else "", "return", "count", "missing"),
        }
        status = 200 if (inserted or 0) <= 0 and resolution == "merge-duplicates" else 201
        if keys and rows == 1:
            first = from_json(answer)[0]
            pairs = [f"{n}=" + ("is.null" if first[n] is None else f"eq.{first[n]}") for n in relation.primary_key]
            headers["Location"] = f"/{relation.name}?{'&'.join(pairs)}"
        return self._written(status, headers, rows, answer, items)

    def _update(self, relation: Relation, query: Query) -> Answer:
        _refuse_limits(query)
        _refuse_all_rows("UPDATE", query)
        body, single, columns = self._payload(relation, query)
        items = self._shown(query)
        statement = statements.update(
            relation, columns, body, query, single=single, returning=statements.returned(relation, items)
        )
        with self._transaction(read_only=False) as connection:
            _, rows, answer, _ = _one(connection, statements.mutation(statement, items))
        headers = {
            "Content-Range": content_range(0, rows - 1, rows if self._counting() else None),
            **self._applied("return", "count", "missing"),
        }
        return self._written(204 if items is None else 200, headers, rows, answer, items)

    def _delete(self, relation: Relation, query: Query) -> Answer:
        _refuse_limits(query)
        _refuse_all_rows("DELETE", query)
        items = self._shown(query)
        statement = statements.delete(relation, query, returning=statements.returned(relation, items))
        with self._transaction(read_only=False) as connection:
            _, rows, answer, _ = _one(connection, statements.mutation(statement, items))
        headers = {
            "Content-Range": content_range(1, 0, rows if self._counting() else None),
            **self._applied("return", "count"),
        }
        return self._written(204 if items is None else 200, headers, rows, answer, items)

    def _written(
        self, status: int, headers: dict[str, str], rows: int, body: str, items: Sequence[SelectItem] | None
    ) -> Answer:
        if items is None:
            return Answer(status, headers)
        if self.singular:
            body = _only_one(body, rows)
        return Answer(status, headers | self._content_type(), body.encode())

    def _call(self, name: str, query: Query) -> Answer:
        body = self.request.body.decode() or "{}"
        arguments = _json(body)
        if not isinstance(arguments, dict):
            raise Unimplemented("functions called with an array or a single unnamed argument")
        routine = self._routine(name, sorted(arguments))
        given = [argument for argument in routine.arguments if argument in arguments]
        limit = _smaller(query.limit, self.limits.max_rows)
        statement = statements.call(routine, given, body, query, limit, count=self._counting())
        with self._transaction(read_only=not routine.volatile) as connection:
            total, rows, answer = _one(connection, statement)
        if routine.result == "void" and not routine.set:
            return Answer(204, {"Content-Range": content_range(0, rows - 1, total), **self._applied("count")})
        return self._page(query.offset, rows, total, answer, {})

    def _routine(self, name: str, given: Sequence[str]) -> Routine:
        found = [
            routine
            for routine in self.database.routines(self.schema, name)
            if routine.required <= set(given) <= set(routine.arguments)
        ]
        if len(found) > 1:
            raise Unimplemented("the choice between overloaded functions")
        if found:
            return found[0]
        function, shown = f"{self.schema}.{name}", ", ".join(given)
        noun = "parameters" if len(given) > 1 else "parameter"
        raise PostgrestError(
            404,
            "PGRST202",
            f"Could not find the function {function}{f'({shown})' if given else ' without parameters'} "
            "in the schema cache",
            f"Searched for the function {function} {f'with {noun} {shown}' if given else 'without parameters'} "
            "or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache.",
        )

    def _payload(self, relation: Relation, query: Query) -> tuple[str, bool, list[str]]:
        """The JSON body as text, whether it is one object, and which columns it gives."""
        kind = self.request.headers.get("content-type", "application/json").partition(";")[0].strip()
        if kind != "application/json":
            raise Unimplemented(f"request bodies of type {kind}")
        body = self.request.body.decode()
        single = body.lstrip(" \t\r\n")[:1] == "{"
        if query.columns is not None:  # the body stays unread: PostgreSQL judges it
            columns = list(query.columns)
        else:
            document = _json(body)
            objects = [document] if isinstance(document, dict) else document
            if not isinstance(objects, list) or not all(isinstance(each, dict) for each in objects):
                raise PostgrestError(400, "PGRST102", "Empty or invalid json")
            columns = list(objects[0]) if objects else []
            if any(set(each) != set(columns) for each in objects):
                raise PostgrestError(400, "PGRST102", "All object keys must match")
        for name in columns:
            if name not in relation.columns:
                self.database.forget()
                raise PostgrestError(
                    400, "PGRST204", f"Could not find the '{name}' column of '{relation.name}' in the schema cache"
                )
        return body, single, columns

    @contextmanager
    def _transaction(self, *, read_only: bool) -> Iterator[psycopg.Connection]:
        caller = self.request.caller
        timeout = self.limits.statement_timeout.get(caller.role, 8.0)
        try:
            with self.database.transaction(
                caller,
                read_only=read_only,
                timeout=timeout,
                schema=self.schema,
                method=self.request.method,
                path=self.request.path,
            ) as connection:
                yield connection
        except psycopg.Error as error:
            raise translated(error, caller) from error

    def _schema(self) -> str:
        """The schema of the profile header, among the exposed ones."""
        writing = self.request.method in ("POST", "PATCH", "PUT", "DELETE")
        asked = self.request.headers.get("content-profile" if writing else "accept-profile")
        if asked is None:
            return self.schemas[0]
        if asked not in self.schemas:
            exposed = ", ".join(self.schemas)
            hint = f"Only the following schemas are exposed: {exposed}"
            raise PostgrestError(406, "PGRST106", f"Invalid schema: {asked}", hint=hint)
        return asked

    def _accept(self) -> bool:
        """Whether one object is wanted instead of an array."""
        kinds = [kind.partition(";q=")[0].strip() for kind in self.request.headers.get("accept", "*/*").split(",")]
        if SINGULAR in kinds:
            return True
        if not _KNOWN_ACCEPT & {kind.partition(";")[0] for kind in kinds if "nulls=" not in kind}:
            raise Unimplemented(f"answers of type {kinds[0]}")
        return False

    def _counting(self) -> bool:
        kind = self.prefer.get("count")
        if kind not in (None, "exact"):
            raise Unimplemented(f"Prefer: count={kind}")
        return kind == "exact"

    def _shown(self, query: Query) -> Sequence[SelectItem] | None:
        return query.select if self.prefer.get("return") == "representation" else None

    def _applied(self, *names: str) -> dict[str, str]:
        applied = [f"{name}={self.prefer[name]}" for name in names if name in self.prefer]
        return {"Preference-Applied": ", ".join(applied)} if applied else {}

    def _content_type(self) -> dict[str, str]:
        kind = f"{SINGULAR}; charset=utf-8" if self.singular else JSON_TYPE
        profile = {"Content-Profile": self.schema} if len(self.schemas) > 1 or self._profiled() else {}
        return {"Content-Type": kind, **profile}

    def _profiled(self) -> bool:
        return bool({"accept-profile", "content-profile"} & set(self.request.headers))


def content_range(first: int, last: int, total: int | None) -> str:
    """``first-last/total``; ``*`` for an empty range and for an unknown total."""
    shown = f"{first}-{last}" if total != 0 and first <= last else "*"
    return f"{shown}/{'*' if total is None else total}"


def translated(error: psycopg.Error, caller: Caller) -> PostgrestError:
    """PostgreSQL's error with PostgREST's status."""
    code, diagnosis = error.sqlstate, error.diag
    if code is None:
        return PostgrestError(
            503, "PGRST001", "Database client error. Retrying the connection.", " ".join(str(error).split())
        )
    message = diagnosis.message_primary or ""
    status = _STATUS_BY_CODE.get(code) or _STATUS_BY_CLASS.get(code[:2], 400)
    if code == "42501":
        status = 401 if caller.role == "anon" else 403
    elif code == "21000":
        status = 400 if message.endswith("requires a WHERE clause") else 500
    elif code == "22023" and message.startswith("role") and message.endswith("does not exist"):
        status = 401
    elif code.startswith("PT") and code[2:].isdigit():
        status = int(code[2:])
    elif code == "PGRST":
        raise Unimplemented("RAISE SQLSTATE 'PGRST'")
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return PostgrestError(status, code, message, diagnosis.message_detail, diagnosis.message_hint, headers)


def rows_of(body: bytes) -> int | None:
    """How many rows a JSON body carries: the length of an array, or of the columns in an object; None for no JSON.

    A function may take a table as an object with one array for each column, and keys as an array; any other object is
    one row.
    """
    try:
        document = from_json(body)
    except ValueError:
        return None
    if isinstance(document, list):
        return len(document)
    if not isinstance(document, dict):
        return None
    tables = [argument.values() if isinstance(argument, dict) else [argument] for argument in document.values()]
    return max((len(column) for table in tables for column in table if isinstance(column, list)), default=1)


def refuse_more_rows_than_one_request_carries(body: bytes) -> None:
    """The pipeline's own bound, not PostgREST's: 501, which no client tries again, or again by halves.

    Source: docs/decisions/0012-ten-thousand-rows-are-one-requests.md
    """
    if (rows := rows_of(body) or 0) > WRITE_ROWS:
        raise Unimplemented(f"requests that carry more than {WRITE_ROWS} rows, and this one carries {rows}")


def _preferences(header: str) -> dict[str, str]:
    """The Prefer header. Unknown preferences are ignored, as with handling=lenient."""
    found: dict[str, str] = {}
    for preference in header.split(","):
        name, _, value = preference.strip().partition("=")
        if name in ("tx", "max-affected", "timezone", "handling", "params"):
            raise Unimplemented(f"Prefer: {name}")
        if name in ("return", "count", "resolution", "missing") and name not in found:
            found[name] = value
    return found


def _refuse_limits(query: Query) -> None:
    if query.limit is not None or query.offset or query.order:
        raise Unimplemented("limits and order on writes")


def _refuse_all_rows(command: str, query: Query) -> None:
    """A hosted project loads pg-safeupdate for the API. (The stand-in cannot: it passes such statements in functions.)

    Source: https://github.com/supabase/supabase/pull/5050, and in functions https://github.com/estuary/flow/pull/3076
    """
    if not query.filters:
        raise PostgrestError(400, "21000", f"{command} requires a WHERE clause")


def _one(connection: psycopg.Connection, statement: Composable) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(statement.as_bytes(connection)).fetchone()
    if row is None:
        raise AssertionError("an aggregate gives one row")
    return row


def _json(body: str) -> Any:
    try:
        return from_json(body)
    except ValueError:
        raise PostgrestError(400, "PGRST102", "Empty or invalid json") from None


def _only_one(body: str, rows: int) -> str:
    if rows != 1:
        raise PostgrestError(
            406, "PGRST116", "Cannot coerce the result to a single JSON object", f"The result contains {rows} rows"
        )
    return body.strip()[1:-1] if body.startswith("[") else body


def _smaller(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)
