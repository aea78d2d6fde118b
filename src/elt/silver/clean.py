"""Cleaning as the catalog declares it: pure functions of frames.

A *batch* is a frame of raw rows: the catalog's source columns and ``BROKEN_LINE``, all text (Arrow strings), NULL for
missing. Its index identifies the rows, and every frame made from it keeps that index.
"""

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from elt.catalog import BROKEN_LINE, Column, Table
from elt.frames import ARROW, arrow_schema, to_frame
from elt.rules import Unreadable

TEXT = pd.ArrowDtype(pa.string())


@dataclass(frozen=True)
class Cleaned:
    """What became of a batch. Every row of it is in ``rows`` or in ``rejected``, never in both.

    ``rows``: the silver table's columns, typed. ``rejected``: ``chave`` (NULL if unreadable) and ``motivo`` of the rows
    refused. ``values``: ``chave``, ``coluna``, ``valor`` and ``motivo`` of the values that became NULL in ``rows``.
    """

    rows: pd.DataFrame
    rejected: pd.DataFrame
    values: pd.DataFrame


def clean(table: Table, batch: pd.DataFrame, numbers: frozenset[str] = frozenset()) -> Cleaned:
    """Read every column of the batch by its rule. ``numbers``: source columns whose type is a number."""
    read: dict[str, pa.Array] = {}
    reasons: dict[Hashable, list[str]] = {}
    unreadable: list[tuple[Hashable, str, str, str]] = []
    for label, line in batch[BROKEN_LINE].dropna().items():
        reasons.setdefault(label, []).append(f"linha que não cabe no cabeçalho: {line}")
    broken = batch[BROKEN_LINE].notna().to_numpy()
    for column, name in zip(table.columns, table.silver_names, strict=True):
        raw = pa.array(batch[column.name])
        read[name], failed = read_column(column, raw, numeric=column.name in numbers)
        if column.required:
            blank = pc.and_(pc.is_null(read[name]), pc.is_null(failed)).to_numpy(zero_copy_only=False)
            for label in batch.index[blank & ~broken]:
                reasons.setdefault(label, []).append(f"{column.name}: em branco")
        for position in pc.indices_nonzero(pc.is_valid(failed)).to_pylist():
            label, reason = batch.index[position], f"{column.name}: {failed[position].as_py()}"
            if column.required:
                reasons.setdefault(label, []).append(reason)
            else:
                unreadable.append((label, column.name, raw[position].as_py(), reason))
    frame = to_frame(pa.table(read, schema=arrow_schema(table.silver_types))).set_axis(batch.index)
    rejected = refusals(frame["id"], {label: "; ".join(found) for label, found in reasons.items()})
    kept = [entry for entry in unreadable if entry[0] not in reasons]
    labels = [entry[0] for entry in kept]
    values = pd.DataFrame(
        {
            "chave": frame["id"].reindex(labels),
            "coluna": [entry[1] for entry in kept],
            "valor": [visible(entry[2]) for entry in kept],
            "motivo": [visible(entry[3]) for entry in kept],
        },
        index=labels,
    )
    return Cleaned(frame.drop(index=list(reasons)), rejected, values)


def refusals(keys: pd.Series, reasons: Mapping[Hashable, str]) -> pd.DataFrame:
    """``chave`` and ``motivo`` for the rows (labels) that have a reason. ``keys`` are the clean keys of the batch."""
    return pd.DataFrame(
        {"chave": keys.reindex(list(reasons)), "motivo": pd.Series(reasons, dtype=TEXT)}, index=list(reasons)
    )


def read_column(column: Column, raw: pa.Array, *, numeric: bool = False) -> tuple[pa.Array, pa.Array]:
    """The column's values (of its rule's type, as Arrow) and, where a value cannot be read, the reason (else NULL).

    Each distinct value is read once. Blank is NULL in both.
    """
    texts = trim(raw)
    if plain := column.rule.plain:
        others = pc.invert(pc.match_substring_regex(texts, f"^(?:{plain})$"))
        if not pc.any(others).as_py():
            return texts, pa.nulls(len(texts), pa.string())
    trimmed = texts.dictionary_encode()
    values: list[object] = []
    reasons: list[str | None] = []
    for text in trimmed.dictionary.to_pylist():
        try:
            values.append(column.rule.read(Decimal(text) if numeric else text))
            reasons.append(None)
        except Unreadable as unreadable:
            values.append(None)
            reasons.append(str(unreadable))
        except ArithmeticError:
            values.append(None)
            reasons.append(f"não é um número: '{text[:60]}'")
    return (
        pa.array(values, ARROW[column.rule.type]).take(trimmed.indices),
        pa.array(reasons, pa.string()).take(trimmed.indices),
    )


def trim(raw: pa.Array) -> pa.Array:
    """Text without outer white space; blank is NULL."""
    trimmed = pc.utf8_trim_whitespace(raw.cast(pa.string()))
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def visible(text: str) -> str:
    """Text that PostgreSQL can hold: the character NUL is shown as ``␀``."""
    return text.replace("\x00", "␀")


Places = npt.NDArray[np.int64]
"""The rows' numbers in the snapshot's table: the index of a batch that is to be staged."""


def staged_rows(rows: pd.DataFrame, fingerprints: Places) -> pa.Table:
    """Clean rows for ``estagio.<table>``: the silver table's columns, ``lugar``, and ``impressao`` (64 bits, signed).

    ``fingerprints``: those of all rows of the table, by place.
    """
    return _placed(pa.Table.from_pandas(rows, preserve_index=False), rows.index, fingerprints)


def staged_refusals(table: Table, batch: pd.DataFrame, rejected: pd.DataFrame, fingerprints: Places) -> pa.Table:
    """Refused rows of a batch for ``estagio.recusadas``, each with its row as the source had it."""
    refused = pa.table(
        {
            "tabela": pa.repeat(table.name, len(rejected)),
            "chave": pa.array(rejected["chave"], pa.string()),
            "motivo": pa.array([visible(reason) for reason in rejected["motivo"]], pa.string()),
            "linha": _lines(batch.loc[rejected.index]),
        }
    )
    return _placed(refused, rejected.index, fingerprints)


def staged_values(table: Table, values: pd.DataFrame) -> pa.Table:
    """Values that became NULL for ``estagio.valores``."""
    columns = {name: pa.array(values[name], pa.string()) for name in ("chave", "coluna", "valor", "motivo")}
    return pa.table(
        {"tabela": pa.repeat(table.name, len(values)), **columns, "lugar": pa.array(values.index, pa.int64())}
    )


def lines(table: Table, batch: pd.DataFrame) -> pa.Table:
    """The text of rows for ``estagio.linhas``: they are refused by what only the lakehouse knows."""
    places = pa.array(batch.index, pa.int64())
    return pa.table({"tabela": pa.repeat(table.name, len(batch)), "lugar": places, "linha": _lines(batch)})


def _placed(rows: pa.Table, index: pd.Index, fingerprints: Places) -> pa.Table:
    places = index.to_numpy(np.int64)
    return rows.append_column("lugar", pa.array(places)).append_column("impressao", pa.array(fingerprints[places]))


def _lines(batch: pd.DataFrame) -> pa.Array:
    """Each raw row as JSON, as the source had it: its text is part of what it is known by in quarantine."""
    found = []
    for line in batch.to_dict("records"):
        row = {str(name): None if pd.isna(value) else visible(str(value)) for name, value in line.items()}
        if row[BROKEN_LINE] is None:
            del row[BROKEN_LINE]
        found.append(json.dumps(row, ensure_ascii=False, sort_keys=True))
    return pa.array(found, pa.string())
