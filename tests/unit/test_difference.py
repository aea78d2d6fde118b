"""What of a snapshot is sent to silver, against a model that holds everything in dictionaries."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elt import rules
from elt.catalog import BROKEN_LINE, Column, Table
from elt.silver.difference import Index, difference, hash_texts, index_rows

LOJAS = Table(
    "lojas",
    (Column("id_loja", rules.KEY, required=True), Column("nome", rules.TEXT), Column("cidade", rules.TEXT)),
)
Row = tuple[str | None, str | None, str | None]
"""Key, nome, broken line."""

KEYS = st.sampled_from([None, "1", "2", "3", "4"])
ROWS = st.tuples(KEYS, st.sampled_from([None, "a", "b"]), st.just(None)) | st.just((None, None, "1;2;3"))
SNAPSHOTS = st.lists(ROWS, max_size=12)


def batch(rows: Sequence[tuple[str | None, ...]], *names: str) -> pa.Table:
    columns = {name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(names)}
    nothing = pa.nulls(len(rows), pa.string())
    return pa.table({name: columns.get(name, nothing) for name in (*LOJAS.column_names, BROKEN_LINE)})


def index(rows: Sequence[Row]) -> Index:
    return index_rows(LOJAS, batch(rows, "id_loja", "nome", BROKEN_LINE))


def contents_by_key(rows: Sequence[Row]) -> dict[str, set[Row]]:
    found = defaultdict(set)
    for row in rows:
        if row[0] is not None:
            found[row[0]].add(row)
    return found


def expected(new: Sequence[Row], before: Sequence[Row], retry: set[str]) -> tuple[list[bool], int, int, int]:
    """Which rows are sent, how many of the others are unchanged and repeated, and how many keys are gone."""
    now, then = contents_by_key(new), contents_by_key(before)

    def is_sent(key: str | None) -> bool:
        return key is None or key in retry or len(now[key]) > 1 or not now[key] <= then[key]

    sent = [is_sent(row[0]) for row in new]
    left = [row for row, goes in zip(new, sent, strict=True) if not goes]
    return sent, len(set(left)), len(left) - len(set(left)), len(then.keys() - now.keys())


@settings(max_examples=40)
@given(SNAPSHOTS, SNAPSHOTS, st.sets(st.sampled_from(["1", "2", "3", "4"])), st.integers(1, 12))
def test_what_is_sent_is_what_the_model_sends(new: list[Row], before: list[Row], healed: set[str], size: int) -> None:
    retry = healed | {key for key, rows in contents_by_key(before).items() if len(rows) > 1}
    pieces = [index(before[start : start + size]) for start in range(0, len(before), size)]
    found = difference(index(new), pieces, np.unique(hash_texts(pa.array(sorted(retry), pa.string()))))
    assert (found.sent.tolist(), found.unchanged, found.repeated, len(found.gone)) == expected(new, before, retry)


@settings(max_examples=40)
@given(SNAPSHOTS.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))), SNAPSHOTS)
def test_the_order_of_rows_changes_nothing(snapshots: tuple[list[Row], list[Row]], before: list[Row]) -> None:
    rows, shuffled = snapshots
    retry = {key for key, found in contents_by_key(before).items() if len(found) > 1}
    hashes = np.unique(hash_texts(pa.array(sorted(retry), pa.string())))
    one, other = (difference(index(order), [index(before)], hashes) for order in (rows, shuffled))
    assert Counter(zip(rows, one.sent.tolist(), strict=True)) == Counter(
        zip(shuffled, other.sent.tolist(), strict=True)
    )
    assert (one.unchanged, one.repeated, one.gone.tolist()) == (other.unchanged, other.repeated, other.gone.tolist())


@settings(max_examples=40)
@given(SNAPSHOTS, st.integers(1, 5))
def test_an_index_does_not_depend_on_the_batches(rows: list[Row], size: int) -> None:
    whole = index(rows)
    pieces = Index.joined((index(rows[start : start + size]) for start in range(0, len(rows), size)), len(rows))
    for name in ("key", "row"):
        assert getattr(pieces, name).tolist() == getattr(whole, name).tolist()


@pytest.mark.parametrize("announced", [1, 3])
def test_an_index_has_as_many_rows_as_were_announced(announced: int) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - numpy's words for too many, ours for too few
        Index.joined([index([("1", "a", None), ("2", "b", None)])], announced)


def row_hash(nome: str | None, cidade: str | None) -> int:
    return int(index_rows(LOJAS, batch([("1", nome, cidade)], "id_loja", "nome", "cidade")).row[0])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "bc"), ("ab", "c")),
        (("a", None), (None, "a")),
        (("a\x1fb", "c"), ("a", "b\x1fc")),
        (("a", "x\x1e0\x1fy"), ("a\x1fx", "0\x1fy")),
        (("a", "A"), ("a", "a")),
    ],
)
def test_neighbouring_values_never_read_the_same(one: tuple[str, str | None], other: tuple[str | None, str]) -> None:
    assert row_hash(*one) != row_hash(*other)


def test_outer_white_space_and_blank_texts_are_no_difference() -> None:
    assert row_hash(" a ", "\u00a0") == row_hash("a", None)


def test_a_key_is_compared_as_it_is_read() -> None:
    text = index_rows(LOJAS, batch([("7.0", "a", None)], "id_loja", "nome", "cidade"))
    number = index_rows(LOJAS, batch([("7.0", "a", None)], "id_loja", "nome", "cidade"), frozenset(["id_loja"]))
    assert text.key[0] != number.key[0]
    assert number.key[0] == hash_texts(pa.array(["7"]))[0]
