"""Reading the quarantine: rows that silver refused, and values that it could not read and wrote as NULL."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from elt.catalog import REJEITADOS, VALORES_REJEITADOS, Table
from elt.lakehouse.ports import Tables, Within
from elt.silver import TABLES

PAGE_ROWS = 1_000
"""Rows in memory at a time."""

ROWS, VALUES = "silver.rejeitados", "silver.valores_rejeitados"

_COLUMNS = {ROWS: (*REJEITADOS, "desde"), VALUES: (*VALORES_REJEITADOS, "desde")}
_REASONS = ("id", "tabela", "chave", "motivo")
_WITH_FREE_TEXT = ("linha que não cabe no cabeçalho", "o banco de dados recusou a linha")
_NEXT_REASON = re.compile("; (?=(?:" + "|".join({name for table in TABLES for name in table.column_names}) + "): )")
_VALUE = re.compile(r"(?:^|:? )'.*?'(?: \(.*\))?(?=$| não existe)")


@dataclass
class Group:
    """Rows (or values) of one table that are in quarantine for one reason. ``example``: a key and its whole reason."""

    quarantine: str
    table: str
    reason: str
    count: int
    example_key: str | None
    example: str


def reasons_of(motivo: str) -> list[str]:
    """The reasons in a ``motivo``, each as column and kind, without the value: ``idade: não é um número``."""
    for text in _WITH_FREE_TEXT:
        if motivo.startswith(text):
            return [text]
    return list(dict.fromkeys(map(_without_value, _NEXT_REASON.split(motivo))))


def _without_value(reason: str) -> str:
    column, colon, words = reason.partition(": ")
    if not colon:
        return reason
    return f"{column}: {_VALUE.sub('', words).strip()}"


def summary(tables: Tables) -> list[Group]:
    """What is in quarantine, by table and reason, the most frequent first. A row with two reasons counts in both."""
    reasons = lru_cache(maxsize=10_000)(reasons_of)
    groups: dict[tuple[str, str, str], Group] = {}
    for quarantine in (ROWS, VALUES):
        for page in tables.rows(quarantine, _REASONS, key="id", size=PAGE_ROWS):
            for row in page:
                table, key, motivo = str(row["tabela"]), row["chave"], str(row["motivo"])
                for reason in reasons(motivo):
                    group = groups.get((quarantine, table, reason))
                    if group is None:
                        group = Group(quarantine, table, reason, 0, key, motivo)
                        groups[quarantine, table, reason] = group
                    group.count += 1
    return sorted(groups.values(), key=lambda group: (group.quarantine, -group.count, group.table, group.reason))


def entries(
    tables: Tables, quarantine: str, table: Table | None = None, key: str | None = None
) -> Iterator[dict[str, object]]:
    """The entries of ``ROWS`` or ``VALUES``, in no order that means anything; ``linha`` as a dictionary.

    Of one table, or of one key of it, if they are given. One page is in memory at a time.
    """
    within = Within("chave", [key]) if key is not None else Within("tabela", [table.name]) if table else None
    for page in tables.rows(quarantine, _COLUMNS[quarantine], key="id", size=PAGE_ROWS, within=within):
        for row in page:
            if table is not None and row["tabela"] != table.name:
                continue
            entry: dict[str, object] = {name: value for name, value in row.items() if name != "id"}
            if "linha" in entry:
                entry["linha"] = _in_order(json.loads(str(row["linha"])), str(row["tabela"]))
            yield entry


def _in_order(row: dict[str, object], table: str) -> dict[str, object]:
    """The row's columns as the catalog orders them: PostgreSQL's jsonb keeps another order."""
    known = [name for found in TABLES if found.name == table for name in found.column_names]
    return {name: row[name] for name in (*(n for n in known if n in row), *(n for n in row if n not in known))}
