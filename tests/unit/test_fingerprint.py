"""A table's content fingerprint: the values decide, never the way they were cut into pages."""

import itertools
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elt.bronze.fingerprint import Fingerprint

COLUMNS = ("id", "nome")
VALUES = st.none() | st.text(max_size=3) | st.sampled_from(["", "a", "ab"])
ROWS = st.lists(st.tuples(VALUES, VALUES), max_size=10)
Rows = Sequence[tuple[str | None, str | None]]


def page(rows: Rows) -> pa.Table:
    return pa.table({name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(COLUMNS)})


def fingerprint(*pages: pa.Table, columns: Iterable[str] = COLUMNS) -> str:
    found = Fingerprint(columns)
    for one in pages:
        found.update(one)
    return found.hexdigest()


@settings(max_examples=50)
@given(ROWS, st.lists(st.integers(0, 10), max_size=4))
def test_it_is_the_same_however_the_rows_are_cut_into_pages(rows: Rows, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    whole = page(rows)
    slices = [whole.slice(start, end - start) for start, end in itertools.pairwise(places)]
    copies = [page(rows[start:end]) for start, end in itertools.pairwise(places)]
    assert fingerprint(whole) == fingerprint(*slices) == fingerprint(*copies) == fingerprint(pa.concat_tables(slices))


@settings(max_examples=50)
@given(ROWS, ROWS)
def test_it_is_the_same_only_for_the_same_rows_in_the_same_order(one: Rows, other: Rows) -> None:
    assert (fingerprint(page(one)) == fingerprint(page(other))) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([(None, "a")], [("", "a")]),
        ([("a", "bc")], [("ab", "c")]),
        ([("a", "x"), ("bc", "x")], [("ab", "x"), ("c", "x")]),
        ([("a", None)], [(None, "a")]),
        ([], [(None, None)]),
        ([("a", "b")], [("b", "a")]),
        ([("1", "a"), ("2", "b")], [("2", "b"), ("1", "a")]),
    ],
)
def test_it_differs_where_the_values_differ(one: Rows, other: Rows) -> None:
    assert fingerprint(page(one)) != fingerprint(page(other))


def test_it_differs_when_a_column_changes_its_name_and_not_when_columns_change_their_order() -> None:
    rows = page([("1", "a")])
    assert fingerprint(rows) != fingerprint(rows.rename_columns(["id", "name"]), columns=("id", "name"))
    assert fingerprint(rows) == fingerprint(rows.select(["nome", "id"]), columns=("nome", "id"))
