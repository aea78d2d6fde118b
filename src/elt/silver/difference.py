"""Which rows of a snapshot are sent to the lakehouse, found without holding a table in memory.

Rows are compared by fingerprints, whatever the order of either snapshot: 16 bytes a row of the new one stay in memory,
and of the one before nothing. The fingerprint of a row covers its whole text, so rows count as unchanged only if all of
it is. Fingerprints have 64 bits: two keys among a million share one by chance once in 37 million snapshots (n²/2^65),
and then stand in quarantine as a conflict, where people see them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from elt.catalog import BROKEN_LINE, Table
from elt.silver.clean import read_column, trim

Hashes = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_HASH_KEY = "medallion silver"
"""Key of the hash function (pandas' SipHash takes 16 bytes)."""


@dataclass(frozen=True)
class Difference:
    """What of a snapshot's table is sent, by key: all rows of a key, or none of them.

    ``sent``: whether each row is. ``unchanged``, ``repeated``: the rows that are not, by what they are: the first of
    their key, or one more of the same. ``gone``: fingerprints, sorted, of the keys that the snapshot before had and
    this one has not (blank ones do not count).
    """

    sent: Mask
    unchanged: int
    repeated: int
    gone: Hashes


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


def difference(new: Index, before: Iterable[Index], retry: Hashes) -> Difference:
    """What of ``new`` is sent to a lakehouse that has applied ``before``, which comes in pieces and is not kept.

    A key is sent if any of its rows is new or has changed, if its rows differ from one another, or if it is among
    ``retry`` (fingerprints, sorted, of keys of which quarantine holds something that may have healed). A row with a
    blank key is always sent.
    """
    order = np.argsort(new.key, kind="stable")
    in_order = new.key[order]
    twin = np.zeros(len(order), bool)
    twin[1:] = in_order[1:] == in_order[:-1]
    sent = np.ones(len(order), bool)
    gone = [np.empty(0, np.uint64)]
    for piece in before:
        named = piece.key != piece.row
        keys, rows = piece.key[named], piece.row[named]
        there = among(in_order, keys)
        gone.append(keys[~there])
        first = order[np.searchsorted(in_order, keys[there])]  # of the key's rows; the others follow it below
        same = first[new.row[first] == rows[there]]
        sent[same[~among(retry, new.key[same])]] = False
    repeated = _follow_the_first(new, sent, order, twin) if twin.any() else 0
    unchanged = int((~sent).sum()) - repeated
    return Difference(sent, unchanged, repeated, np.unique(np.concatenate(gone)))


def among(known: Hashes, keys: Hashes) -> Mask:
    """Which of the keys are among the known ones, which are sorted."""
    if not len(known):
        return np.zeros(len(keys), bool)
    found: Mask = known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
    return found


def _follow_the_first(new: Index, sent: Mask, order: npt.NDArray[np.intp], twin: Mask) -> int:
    """Send the rows whose key stands more than once as the first of them, and all if they differ.

    Answers how many that are not the first are not sent.
    """
    shared = twin.copy()
    shared[:-1] |= twin[1:]
    rows, begins = order[shared], np.flatnonzero(~twin[shared])
    group = np.cumsum(~twin[shared]) - 1
    first = rows[begins]
    differs = np.bincount(group, weights=new.row[rows] != new.row[first][group]) > 0
    decided = sent[first] | differs
    sent[rows] = decided[group]
    return int((~sent[rows]).sum() - (~decided).sum())
