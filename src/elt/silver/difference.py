"""Which rows of a snapshot silver has to work on, found without holding a table in memory.

Rows are compared by fingerprints, whatever the order of either snapshot: 16 bytes a row of the new one stay in memory,
and of the one before nothing. The fingerprint of a row covers its whole text, so rows count as unchanged only if all of
it is. Fingerprints have 64 bits: two keys among a million share one by chance once in 37 million snapshots (n²/2^65),
and then stand in quarantine as a conflict, where people see them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from elt.catalog import BROKEN_LINE, Table
from elt.silver.clean import read_column, trim

Hashes = npt.NDArray[np.uint64]
Decisions = npt.NDArray[np.uint8]

_HASH_KEY = "medallion silver"
"""Key of the hash function (pandas' SipHash takes 16 bytes)."""


class Decision(IntEnum):
    """What to do with one row of the snapshot."""

    PROCESS = 0
    UNCHANGED = 1
    REPEATED = 2
    CONFLICT = 3


@dataclass(frozen=True)
class Index:
    """Fingerprints of rows in their order: of the key and of the whole row.

    A row whose key is blank or unreadable has ``key == row``: it is known by its content alone.
    """

    key: Hashes
    row: Hashes

    @classmethod
    def joined(cls, pieces: Iterable["Index"], rows: int) -> "Index":
        """The pieces one after the other, ``rows`` in all; no piece is kept beside the whole."""
        whole = cls(np.empty(rows, np.uint64), np.empty(rows, np.uint64))
        first = 0
        for piece in pieces:
            here = slice(first, first + len(piece.row))
            whole.key[here], whole.row[here] = piece.key, piece.row
            first = here.stop
        if first != rows:
            raise ValueError(f"{first} rows where {rows} were announced")
        return whole


def hash_texts(texts: pa.Array) -> Hashes:
    """64-bit fingerprints of texts without NULL."""
    return pd.util.hash_array(texts.to_numpy(zero_copy_only=False), hash_key=_HASH_KEY, categorize=False)


def index_rows(table: Table, batch: pa.Table, numbers: frozenset[str] = frozenset()) -> Index:
    """The fingerprints of a batch of raw rows (the catalog's source columns and ``BROKEN_LINE``, text)."""
    columns = [trim(batch[name].combine_chunks()) for name in (*table.column_names, BROKEN_LINE)]
    keys, _ = read_column(table.key, columns[0], numeric=table.key.name in numbers)
    row = hash_texts(_one_text(columns))
    blank = pc.is_null(keys).to_numpy(zero_copy_only=False)
    return Index(np.where(blank, row, hash_texts(pc.fill_null(keys, ""))), row)


def _one_text(columns: Sequence[pa.Array]) -> pa.Array:
    """Each row as one text: the lengths first, so that no two different rows read the same, whatever they hold."""
    lengths = [pc.fill_null(pc.binary_length(column), -1).cast(pa.string()) for column in columns]
    texts = [pc.fill_null(column, "") for column in columns]
    return pc.binary_join_element_wise(*lengths, *texts, "\x1f")


def decide(new: Index, before: Iterable[Index], retry: Hashes) -> tuple[Decisions, int]:
    """One ``Decision`` for each row of ``new``, and how many keys of ``before`` are gone (blank ones do not count).

    ``before`` comes in pieces, and is not kept. ``retry``: fingerprints, sorted, of keys to work on even if their row
    is as it was, because quarantine holds something of theirs that may have healed; every key that stood in conflict in
    ``before`` is among them. Rows with a blank key are always worked on. Rows that repeat a key with the same content
    are ``REPEATED`` but for the first; with different contents, each distinct one is a ``CONFLICT``.
    """
    size = len(new.key)
    decisions = np.zeros(size, np.uint8)
    order = np.argsort(new.key, kind="stable")
    in_order = new.key[order]
    twin = np.zeros(size, bool)
    twin[1:] = in_order[1:] == in_order[:-1]
    if twin.any():
        _mark_repeats(new, decisions, order, twin)
    gone = [np.empty(0, np.uint64)]
    for piece in before:
        named = piece.key != piece.row
        keys, rows = piece.key[named], piece.row[named]
        there = among(in_order, keys)
        gone.append(keys[~there])
        # The first of a key's rows: the one that _mark_repeats leaves to be worked on.
        places = order[np.searchsorted(in_order, keys[there])]
        same = places[(new.row[places] == rows[there]) & (decisions[places] == Decision.PROCESS)]
        decisions[same[~among(retry, new.key[same])]] = Decision.UNCHANGED
    return decisions, len(np.unique(np.concatenate(gone)))


def among(known: Hashes, keys: Hashes) -> npt.NDArray[np.bool_]:
    """Which of the keys are among the known ones, which are sorted."""
    if not len(known):
        return np.zeros(len(keys), bool)
    found: npt.NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
    return found


def _mark_repeats(new: Index, decisions: Decisions, order: npt.NDArray[np.intp], twin: npt.NDArray[np.bool_]) -> None:
    """Mark the rows whose key stands more than once; only those are sorted again, by their whole fingerprint."""
    shared = twin.copy()
    shared[:-1] |= twin[1:]
    rows = order[shared]
    rows = rows[np.lexsort((rows, new.row[rows], new.key[rows]))]
    same_key = np.zeros(len(rows), bool)
    same_key[1:] = new.key[rows][1:] == new.key[rows][:-1]
    same_row = same_key.copy()
    same_row[1:] &= new.row[rows][1:] == new.row[rows][:-1]
    group = np.cumsum(~same_key) - 1
    distinct_rows = np.bincount(group, weights=~same_row)
    decisions[rows[distinct_rows[group] > 1]] = Decision.CONFLICT
    decisions[rows[same_row]] = Decision.REPEATED
