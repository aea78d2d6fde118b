"""The description of the API at ``/rest/v1/``: of its tables, what ``definitions`` says of columns and their types.

Sources: https://docs.postgrest.org/en/v14/references/api/openapi.html, and for the shape
https://github.com/PostgREST/postgrest/blob/main/src/PostgREST/Response/OpenAPI.hs. Left out: paths, parameters,
functions, defaults, lengths, comments and foreign keys.
"""

import psycopg

from tests.gateway.answers import Answer, GatewayError, as_json
from tests.gateway.keys import Caller

CONTENT_TYPE = "application/openapi+json; charset=utf-8"

_KINDS = {
    "boolean": "boolean",
    **dict.fromkeys(("smallint", "integer", "bigint"), "integer"),
    **dict.fromkeys(("numeric", "real", "double precision"), "number"),
    **dict.fromkeys(("json", "jsonb"), None),
}

_COLUMNS = """
  select c.relname, a.attname, format_type(a.atttypid, null), a.attnotnull, coalesce(a.attnum = any (i.indkey), false)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_index i on i.indrelid = c.oid and i.indisprimary
  where n.nspname = %s and c.relkind in ('r', 'v', 'm', 'f', 'p')
    and has_table_privilege(c.oid, 'select, insert, update, delete')
  order by c.relname, a.attnum
"""


def only_for_secret_keys(caller: Caller) -> None:
    """Nothing, or the gateway's refusal (the words are ours). Source: https://github.com/supabase/supabase/pull/45462."""
    if caller.role != "service_role":
        raise GatewayError(403, "Access to the API description is not allowed with this key")


def describe(connection: psycopg.Connection, schema: str) -> Answer:
    """What the caller's role, which the transaction has, may see of a schema."""
    definitions: dict[str, dict[str, object]] = {}
    for table, column, kind, required, is_key in connection.execute(_COLUMNS, (schema,)).fetchall():
        definition = definitions.setdefault(table, {"required": [], "properties": {}, "type": "object"})
        described = {"format": kind, "type": "array" if kind.endswith("[]") else _KINDS.get(kind, "string")}
        if is_key:
            described["description"] = "Note:\nThis is a Primary Key.<pk/>"
        definition["properties"][column] = {name: value for name, value in described.items() if value}  # type: ignore[index]
        if required:
            definition["required"].append(column)  # type: ignore[attr-defined]
    document = {"swagger": "2.0", "info": {"title": "PostgREST API", "version": "14"}, "definitions": definitions}
    return as_json(200, document, {"Content-Type": CONTENT_TYPE})
