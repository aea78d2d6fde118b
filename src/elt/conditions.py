"""Whether the condition of a row-level security policy can hold, in three-valued logic, without asking a database.

Conditions come in the form in which PostgreSQL prints them (``pg_get_expr``): each operator in parentheses of its own.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import product

_Truth = bool | None
"""SQL's true, false and NULL; a policy lets nothing through that is not true."""

_Truths = frozenset[_Truth]
"""The values that a condition can have."""

_ANY: _Truths = frozenset((True, False, None))

_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\w+|::|[^\w\s'"()\[\],.]+|\S""")

_OPAQUE = frozenset(("SELECT", "WITH", "EXISTS", "CASE"))
"""How what is not looked into begins: queries and cases."""


class _Something:
    """A value that cannot be told."""


def may_hold(condition: str, known: Mapping[str, str | None]) -> bool:
    """Whether the condition can be true; False only where it certainly is not.

    ``known``: the text, or NULL, that columns and calls stand for. Anything else it speaks of may have any value.
    """
    return True in _truths(_TOKEN.findall(condition), {"".join(_TOKEN.findall(name)): known[name] for name in known})


def _truths(tokens: Sequence[str], known: Mapping[str, str | None]) -> _Truths:
    tokens = _bare(tokens)
    if not tokens or tokens[0] in _OPAQUE:
        return _ANY
    for word, joined in (("OR", _or), ("AND", _and)):
        parts = _split(tokens, word)
        if len(parts) > 1:
            return reduce(_of_each(joined), (_truths(part, known) for part in parts))
    if tokens[0] == "NOT":
        return frozenset(None if one is None else not one for one in _truths(tokens[1:], known))
    if list(tokens) in (["true"], ["false"]):
        return frozenset((tokens[0] == "true",))
    return _compared(tokens, known)


def _compared(tokens: Sequence[str], known: Mapping[str, str | None]) -> _Truths:
    """``=`` and ``<>`` with a value or a list, and comparisons with NULL."""
    for ending, wanted in ((["IS", "NULL"], True), (["IS", "NOT", "NULL"], False)):
        if list(tokens[-len(ending) :]) == ending:
            value = _value(tokens[: -len(ending)], known)
            return _ANY if isinstance(value, _Something) else frozenset(((value is None) is wanted,))
    for operator, quantifier, joined in (("=", "ANY", _or), ("<>", "ALL", _and)):
        parts = _split(tokens, operator)
        if len(parts) != 2:
            continue
        values: Sequence[Sequence[str]] = [parts[1]]
        if parts[1][:1] == [quantifier]:
            array = _bare(parts[1][1:])
            if list(array[:2]) != ["ARRAY", "["] or array[-1] != "]":
                return _ANY
            values = _split(array[2:-1], ",")
        left = _value(parts[0], known)
        return reduce(_of_each(joined), (_equal(left, _value(one, known), operator == "=") for one in values))
    return _ANY


def _equal(left: str | _Something | None, right: str | _Something | None, wanted: bool) -> _Truths:
    if left is None or right is None:
        return frozenset((None,))
    if isinstance(left, _Something) or isinstance(right, _Something):
        return _ANY
    return frozenset(((left == right) is wanted,))


def _value(tokens: Sequence[str], known: Mapping[str, str | None]) -> str | _Something | None:
    """What an operand stands for."""
    tokens = _bare(tokens)
    text = "".join(tokens)
    if text in known:
        return known[text]
    if list(tokens[-2:]) == ["::", "text"]:
        return _value(tokens[:-2], known)
    if len(tokens) == 1 and text.startswith("'"):
        return text[1:-1].replace("''", "'")
    return None if text == "NULL" else _Something()


def _bare(tokens: Sequence[str]) -> Sequence[str]:
    """Without the parentheses around the whole."""
    while len(tokens) > 1 and tokens[0] == "(" and _closing(tokens) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


def _closing(tokens: Sequence[str]) -> int:
    """The place of the parenthesis that closes the first."""
    depth = 0
    for place, word in enumerate(tokens):
        depth += (word == "(") - (word == ")")
        if depth == 0:
            return place
    return -1


def _split(tokens: Sequence[str], word: str) -> list[list[str]]:
    """The parts between the word, where it stands outside of all parentheses and brackets."""
    parts: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token in ("(", "[")) - (token in (")", "]"))
        if token == word and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _and(left: _Truth, right: _Truth) -> _Truth:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _or(left: _Truth, right: _Truth) -> _Truth:
    if left is True or right is True:
        return True
    return None if left is None or right is None else False


def _of_each(joined: Callable[[_Truth, _Truth], _Truth]) -> Callable[[_Truths, _Truths], _Truths]:
    """The same for every pair of values that the two can have."""
    return lambda left, right: frozenset(joined(*pair) for pair in product(left, right))
