"""The SQL of each request, in the shape that PostgREST gives it, so that its errors are the real ones.

Values are literals of unknown type, as in PostgREST, and rows come from ``json_to_recordset``.
Source: https://github.com/PostgREST/postgrest/blob/main/src/PostgREST/Query/QueryBuilder.hs and SqlFragment.hs
"""

from collections.abc import Sequence

from psycopg.sql import SQL, Composable, Identifier, Literal

from tests.gateway.database import Column, Relation, Routine
from tests.gateway.grammar import COMPARISONS, TRUTHS, Filter, Order, Query, SelectItem

SOURCE = Identifier("pgrst_source")
INSERTED = "pgrst.inserted"
_COMMA = SQL(", ")


def read(relation: Relation, query: Query, limit: int | None, *, count: bool) -> Composable:
    """Rows of a table or view as one JSON array: ``total | null, page rows, body``."""
    source = SQL("select {} from {} {} {} {}").format(
        _items(relation.identifier, query.select),
        relation.identifier,
        where(relation.identifier, query.filters),
        _order(relation.identifier, query.order),
        _range(limit, query.offset),
    )
    total = SQL("(select count(*) from (select 1 from {} {}) counted)").format(
        relation.identifier, where(relation.identifier, query.filters)
    )
    return _wrapped(source, total if count else SQL("null::bigint"), _ARRAY)


def insert(
    relation: Relation,
    columns: Sequence[str],
    body: str,
    *,
    single: bool,
    defaults: bool,
    conflict: Sequence[str],
    merge: bool | None,
    returning: Composable,
) -> Composable:
    """Rows of a JSON body inserted. ``merge``: update on conflict (True), leave (False), or plain insert (None)."""
    statement: Composable = SQL("insert into {} {} {} where {}").format(
        relation.identifier,
        SQL("({})").format(_COMMA.join(map(Identifier, columns))) if columns else SQL(""),
        _from_json([relation.columns[name] for name in columns], body, single=single, defaults=defaults, select=True),
        _count_inserted(1),
    )
    if merge is not None and conflict:
        target = _COMMA.join(map(Identifier, conflict))
        if merge and columns:
            assignments = _COMMA.join(SQL("{0} = excluded.{0}").format(Identifier(name)) for name in columns)
            action: Composable = SQL("do update set {} where {}").format(assignments, _count_inserted(-1))
        else:
            action = SQL("do nothing")
        statement += SQL(" on conflict ({}) {}").format(target, action)
    return statement + SQL(" returning ") + returning


def update(
    relation: Relation, columns: Sequence[str], body: str, query: Query, *, single: bool, returning: Composable
) -> Composable:
    """The rows that the filters name, changed to the JSON body's values."""
    if not columns:
        return SQL("select {} from {} where false").format(returning, relation.identifier)
    return SQL("update {} set {} {} {} returning {}").format(
        relation.identifier,
        _COMMA.join(SQL("{0} = pgrst_body.{0}").format(Identifier(name)) for name in columns),
        _from_json([relation.columns[name] for name in columns], body, single=single, defaults=False, select=False),
        where(relation.identifier, query.filters),
        returning,
    )


def delete(relation: Relation, query: Query, *, returning: Composable) -> Composable:
    """The rows that the filters name, deleted."""
    return SQL("delete from {} {} returning {}").format(
        relation.identifier, where(relation.identifier, query.filters), returning
    )


def mutation(source: Composable, items: Sequence[SelectItem] | None) -> Composable:
    """What a writing statement did: ``null, rows, body, inserted``; the body is made only of ``items``."""
    body = SQL("''") if items is None else _ARRAY
    shown = SQL("(select {} from {}) _postgrest_t").format(SQL("*") if items is None else _items(SOURCE, items), SOURCE)
    return SQL(
        "with {} as ({}) select null::bigint, count(_postgrest_t), {}::text, "
        "nullif(current_setting({}, true), '')::int from {}"
    ).format(SOURCE, source, body, Literal(INSERTED), shown)


def call(
    routine: Routine, arguments: Sequence[str], body: str, query: Query, limit: int | None, *, count: bool
) -> Composable:
    """A function call with named arguments from a JSON object: ``total | null, rows, body``."""
    scalar = routine.result != "composite"
    function = Identifier(routine.schema, routine.name)
    invocation = SQL("{}({})").format(
        function, _COMMA.join(SQL("{0} := pgrst_body.{0}").format(Identifier(name)) for name in arguments)
    )
    call_it = SQL("(select {} pgrst_scalar) pgrst_call" if scalar else "{} pgrst_call").format(invocation)
    columns = [Column(name, routine.arguments[name], None) for name in arguments]
    origin = (
        _from_json(columns, body, single=True, defaults=False, select=False) + SQL(", lateral ") + call_it
        if arguments
        else SQL("from ") + call_it
    )
    source = SQL("select {} {}").format(SQL("pgrst_call.pgrst_scalar" if scalar else "pgrst_call.*"), origin)
    if scalar:
        shape = (
            SQL("coalesce(json_agg(_postgrest_t.pgrst_scalar), '[]')")
            if routine.set
            else SQL("coalesce(json_agg(_postgrest_t.pgrst_scalar)->0, 'null')")
        )
        chosen = SQL("select * from {} {}").format(SOURCE, _range(limit, query.offset))
    else:
        shape = _ARRAY if routine.set else SQL("coalesce(json_agg(_postgrest_t)->0, 'null')")
        chosen = SQL("select {} from {} {} {} {}").format(
            _items(SOURCE, query.select),
            SOURCE,
            where(SOURCE, query.filters),
            _order(SOURCE, query.order),
            _range(limit, query.offset),
        )
    total = (
        SQL("(select count(*) from {} {})").format(SOURCE, where(SOURCE, query.filters))
        if count
        else SQL("null::bigint")
    )
    return SQL("with {} as ({}) select {}, count(_postgrest_t), {}::text from ({}) _postgrest_t").format(
        SOURCE, source, total, shape, chosen
    )


def where(table: Composable, filters: Sequence[Filter]) -> Composable:
    """The WHERE clause, or nothing."""
    if not filters:
        return SQL("")
    return SQL("where ") + SQL(" and ").join(_condition(table, condition) for condition in filters)


def returned(relation: Relation, items: Sequence[SelectItem] | None) -> Composable:
    """What RETURNING must give so that ``items`` can be shown; a constant if nothing is shown."""
    if items is None:
        return SQL("1")
    if any(item.column == "*" for item in items):
        return relation.identifier + SQL(".*")
    names = dict.fromkeys(item.column for item in items)
    return _COMMA.join(SQL("{}.{}").format(relation.identifier, Identifier(name)) for name in names)


def _condition(table: Composable, condition: Filter) -> Composable:
    field = SQL("{}.{}").format(table, Identifier(condition.column))
    if condition.operator == "is":
        test: Composable = SQL("{} {}").format(field, SQL(TRUTHS[condition.values[0]]))
    elif condition.operator == "in":
        elements = ",".join('"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in condition.values)
        test = SQL("{} = any ({})").format(field, Literal(f"{{{elements}}}"))
    else:
        value = condition.values[0]
        if condition.operator in ("like", "ilike"):
            value = value.replace("*", "%")  # the URL's alias of %
        test = SQL("{} {} {}").format(field, SQL(COMPARISONS[condition.operator]), Literal(value))
    return SQL("not {}").format(test) if condition.negated else test


_ARRAY = SQL("coalesce(json_agg(_postgrest_t), '[]')")


def _wrapped(source: Composable, total: Composable, shape: Composable) -> Composable:
    return SQL(
        "with {0} as ({1}) select {2}, count(_postgrest_t), {3}::text from (select * from {0}) _postgrest_t"
    ).format(SOURCE, source, total, shape)


def _items(table: Composable, items: Sequence[SelectItem]) -> Composable:
    return _COMMA.join(_item(table, item) for item in items)


def _item(table: Composable, item: SelectItem) -> Composable:
    if item.column == "*":
        return table + SQL(".*")
    field = SQL("{}.{}").format(table, Identifier(item.column))
    if item.cast:
        field = SQL("cast({} as {})").format(field, SQL(item.cast))
    name = item.alias or (item.column if item.cast else None)
    return SQL("{} as {}").format(field, Identifier(name)) if name else field


def _order(table: Composable, terms: Sequence[Order]) -> Composable:
    if not terms:
        return SQL("")
    return SQL("order by ") + _COMMA.join(
        SQL("{}.{} {} {}").format(
            table,
            Identifier(term.column),
            SQL("desc" if term.descending else "asc"),
            SQL(f"nulls {term.nulls}" if term.nulls else ""),
        )
        for term in terms
    )


def _range(limit: int | None, offset: int) -> Composable:
    bound = SQL("limit all") if limit is None else SQL("limit {}").format(Literal(limit))
    return bound + SQL(" offset {}").format(Literal(offset))


def _from_json(columns: Sequence[Column], body: str, *, single: bool, defaults: bool, select: bool) -> Composable:
    """``[select …] from`` the rows of a JSON body; ``defaults``: absent keys take the columns' defaults."""
    names = _COMMA.join(Identifier(column.name) for column in columns)
    payload = SQL("from (select {}::{} as json_data) pgrst_payload, ").format(
        Literal(body), SQL("jsonb" if defaults else "json")
    )
    values: Composable = SQL("pgrst_payload.json_data")
    if defaults:
        known = _COMMA.join(
            SQL("{}, {}").format(Literal(c.name), SQL(c.default)) for c in columns if c.default is not None
        )
        built = SQL("jsonb_build_object({})").format(known)
        payload += (
            SQL("lateral (select {} || pgrst_payload.json_data as val) pgrst_json_defs, ").format(built)
            if single
            else SQL(
                "lateral (select jsonb_agg({} || elem) as val from jsonb_array_elements(pgrst_payload.json_data) elem) "
                "pgrst_json_defs, "
            ).format(built)
        )
        values = SQL("pgrst_json_defs.val")
    prefix = "jsonb" if defaults else "json"
    if not columns:
        rows = SQL("(values (1)) _ ") if single else SQL(f"{prefix}_array_elements({{}}) _ ").format(values)
    else:
        typed = _COMMA.join(SQL("{} {}").format(Identifier(c.name), SQL(c.type)) for c in columns)
        function = SQL(f"{prefix}_to_{'record' if single else 'recordset'}")
        rows = SQL("{}({}) as _({})").format(function, values, typed)
    parsed = SQL("lateral (select {} from {}) pgrst_body ").format(names, rows)
    shown = _COMMA.join(SQL("pgrst_body.{}").format(Identifier(column.name)) for column in columns)
    return (SQL("select {} ").format(shown) if select else SQL("")) + payload + parsed


def _count_inserted(step: int) -> Composable:
    """A condition that is always true and counts: proposed rows minus updated ones are the inserted ones."""
    return SQL(
        "set_config({0}, (coalesce(nullif(current_setting({0}, true), '')::int, 0) + {1})::text, true) is not null"
    ).format(Literal(INSERTED), Literal(step))
