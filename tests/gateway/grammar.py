"""The query string of PostgREST, parsed: which columns, which rows, in which order. Pure functions.

Source: https://docs.postgrest.org/en/v14/references/api/tables_views.html
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.gateway.answers import PostgrestError, Unimplemented

RESERVED = frozenset(("select", "order", "limit", "offset", "columns", "on_conflict"))

COMPARISONS = {
    "eq": "=",
    "neq": "<>",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "like": "like",
    "ilike": "ilike",
    "match": "~",
    "imatch": "~*",
    "isdistinct": "is distinct from",
}
"""Operators with one value. Source: section «Operators» of the same page."""

TRUTHS = {
    "null": "is null",
    "not_null": "is not null",
    "true": "is true",
    "false": "is false",
    "unknown": "is unknown",
}
_ITEM = re.compile(
    r"""
    (?: (?P<alias> "(?:\\.|[^"])*" | [^":]+ ) :(?!:) )?
    (?P<column> "(?:\\.|[^"])*" | [^":]+ )
    (?: :: (?P<cast> [\w ]+ (?: \(\d+(?:,\d+)?\) )? ) )?
    """,
    re.VERBOSE,
)
"""``alias:column::cast``, names with or without double quotes."""

_REFUSED = frozenset("fts plfts phfts wfts cs cd ov sl sr nxr nxl adj".split())


@dataclass(frozen=True)
class SelectItem:
    """One item of ``select=``."""

    column: str
    cast: str | None = None
    alias: str | None = None


@dataclass(frozen=True)
class Filter:
    """One condition on a column. ``values`` has one value, or the list of ``in``."""

    column: str
    operator: str
    values: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True)
class Order:
    """One term of ``order=``. ``nulls``: ``first``, ``last`` or None for PostgreSQL's default."""

    column: str
    descending: bool = False
    nulls: str | None = None


@dataclass(frozen=True)
class Query:
    """A whole query string."""

    select: tuple[SelectItem, ...]
    filters: tuple[Filter, ...]
    order: tuple[Order, ...]
    limit: int | None
    offset: int
    columns: tuple[str, ...] | None
    on_conflict: tuple[str, ...] | None


def parse(parameters: Sequence[tuple[str, str]]) -> Query:
    """The query string's parameters, in order, as a ``Query``."""
    given = dict(parameters)
    for name in given:
        if name in ("and", "or", "not.and", "not.or"):
            raise Unimplemented("logical operators (and=, or=)")
    columns, conflict = given.get("columns"), given.get("on_conflict")
    offset = _integer("offset", given["offset"]) if "offset" in given else 0
    limit = _integer("limit", given["limit"]) if "limit" in given else None
    if limit is not None and limit < 0:
        raise PostgrestError(
            416, "PGRST103", "Requested range not satisfiable", "Limit should be greater than or equal to zero."
        )
    return Query(
        select=tuple(_select_items(given.get("select", "*"))),
        filters=tuple(_filter(name, value) for name, value in parameters if name not in RESERVED),
        order=tuple(_orders(given["order"])) if given.get("order") else (),
        limit=limit,
        offset=max(offset, 0),
        columns=tuple(_names(columns)) if columns else None,
        on_conflict=tuple(_names(conflict)) if conflict else None,
    )


def split(text: str, separator: str = ",") -> Iterator[str]:
    """``text`` cut at separators that are outside of quotes and brackets."""
    depth, quoted, escaped, start = 0, False, False, 0
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped = character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == separator and depth == 0:
            yield text[start:position]
            start = position + 1
    yield text[start:]


def unquote(text: str) -> str:
    """A name or value without its double quotes and the backslashes inside them."""
    if len(text) >= 2 and text.startswith('"') and text.endswith('"'):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _names(text: str) -> list[str]:
    return [unquote(name.strip()) for name in split(text)]


def _integer(name: str, text: str) -> int:
    if not re.fullmatch(r"-?[0-9]+", text):
        raise _unparsable(f"{name} parameter", text)
    return int(text)


def _select_items(text: str) -> Iterator[SelectItem]:
    for item in split(text):
        item = item.strip()
        if not item:
            continue
        if item.endswith(")"):
            aggregate = re.search(r"(^|\.)(count|sum|avg|max|min)\(\)$", item)
            raise Unimplemented("aggregate functions" if aggregate else "resource embedding")
        if item.startswith("..."):
            raise Unimplemented("spread of embedded resources")
        if "->" in item:
            raise Unimplemented("JSON paths in select")
        found = _ITEM.fullmatch(item)
        if not found:
            raise _unparsable("select parameter", text)
        alias = found["alias"]
        yield SelectItem(unquote(found["column"]), found["cast"], unquote(alias) if alias else None)


def _orders(text: str) -> Iterator[Order]:
    for term in split(text):
        if "->" in term or term.endswith(")"):
            raise Unimplemented("ordering by JSON paths or embedded resources")
        column, *words = list(split(term, "."))
        if set(words) - {"asc", "desc", "nullsfirst", "nullslast"}:
            raise _unparsable("order", text)
        nulls = next((word.removeprefix("nulls") for word in words if word.startswith("nulls")), None)
        yield Order(unquote(column), "desc" in words, nulls)


def _filter(name: str, value: str) -> Filter:
    if "->" in name:
        raise Unimplemented("JSON paths in filters")
    column = unquote(name)
    if column == name and "." in name:
        raise Unimplemented("filters on embedded resources")
    negated = value.startswith("not.")
    operator, dot, rest = value.removeprefix("not.").partition(".")
    bare = operator.partition("(")[0]
    if not dot:
        raise _unparsable("filter", value)
    if bare in _REFUSED or operator != bare:
        raise Unimplemented(f"the filter operator {operator}")
    if bare == "in":
        if not (rest.startswith("(") and rest.endswith(")")):
            raise _unparsable("filter", value)
        inside = rest[1:-1]
        return Filter(column, "in", tuple(map(unquote, split(inside))) if inside else (), negated)
    if bare == "is":
        if rest.lower() not in TRUTHS:
            raise _unparsable("filter", value)
        return Filter(column, "is", (rest.lower(),), negated)
    if bare not in COMPARISONS:
        raise _unparsable("filter", value)
    return Filter(column, bare, (rest,), negated)


def _unparsable(what: str, text: str) -> PostgrestError:
    """A parsing error. The stand-in does not reproduce the parser's exact position and expectations."""
    return PostgrestError(400, "PGRST100", f'"failed to parse {what} ({text})" (line 1, column 1)', "unexpected input")
