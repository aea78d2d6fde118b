"""Silver in plain Python, as the documentation has it: dictionaries, no pandas, no database. An oracle for tests.

It reads only the few values that its shops hold (``READINGS``): what a value means is tested elsewhere; here it is what
becomes of rows over many visits. A row is a tuple of raw texts in the order of its table's columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

Raw = tuple[str, ...]
Shop = Mapping[str, Sequence[Raw]]
Key = str

COLUMNS = {
    "clientes": ("id_cliente", "nome", "idade"),
    "produtos": ("id_produto", "nome_produto", "preco"),
    "pedidos": ("id_pedido", "id_cliente", "id_produto", "quantidade"),
}
"""The columns that differ from row to row, in the order of a row; parents before children."""

READINGS: dict[str, dict[str, object]] = {
    "idade": {"30": 30, "40": 40},
    "preco": {"5": Decimal(5), "R$ 7,50": Decimal("7.50")},
    "quantidade": {"1": 1, "2": 2},
}
"""What raw values become; a value that is not here cannot be read."""

REQUIRED = frozenset(("preco", "quantidade"))
PARENTS = {"pedidos": {"id_cliente": "clientes", "id_produto": "produtos"}}


@dataclass
class Counted:
    """Rows of one visit, as every layer counts them."""

    read: int = 0
    written: int = 0
    unchanged: int = 0
    repeated: int = 0
    quarantined: int = 0


@dataclass
class Model:
    """Silver after some visits: rows by key, refused rows, and the columns whose value became NULL."""

    silver: dict[str, dict[Key, tuple[object, ...]]] = field(default_factory=lambda: {table: {} for table in COLUMNS})
    refused: dict[str, set[tuple[Key | None, Raw]]] = field(default_factory=lambda: {table: set() for table in COLUMNS})
    notes: dict[str, set[tuple[Key, str]]] = field(default_factory=lambda: {table: set() for table in COLUMNS})

    def visit(self, shop: Shop, before: Shop | None) -> Counted:
        """Apply a snapshot; ``before`` is the one that was applied last, None if silver was emptied since."""
        counted = Counted()
        for table in COLUMNS:
            self._apply(table, shop[table], before[table] if before else (), counted)
        return counted

    def empty(self) -> None:
        """What a replay begins with."""
        for table in COLUMNS:
            self.silver[table].clear()
            self.refused[table].clear()
            self.notes[table].clear()

    def _apply(self, table: str, rows: Sequence[Raw], before: Sequence[Raw], counted: Counted) -> None:
        again = {key for key, _ in self.refused[table]} | {key for key, _ in self.notes[table]}
        refused = set[tuple[Key | None, Raw]]()
        notes = set[tuple[Key, str]]()
        versions: dict[Key, list[Raw]] = {}
        for row in dict.fromkeys(rows):
            if row[0]:
                versions.setdefault(row[0], []).append(row)
            else:
                refused.add((None, row))
                counted.quarantined += 1
        counted.read += len(rows)
        counted.repeated += len(rows) - len(dict.fromkeys(rows))
        for key, found in versions.items():
            if len(found) > 1:  # one key, several contents
                refused |= {(key, row) for row in found}
                counted.quarantined += len(found)
            elif found[0] in before and key not in again:
                counted.unchanged += 1
            else:
                self._write(table, key, found[0], refused, notes, counted)
        self.refused[table] = refused
        # A row that has left the source stays in silver, and so does what is known of its values.
        self.notes[table] = notes | {(key, column) for key, column in self.notes[table] if key not in versions}

    def _write(
        self,
        table: str,
        key: Key,
        row: Raw,
        refused: set[tuple[Key | None, Raw]],
        notes: set[tuple[Key, str]],
        counted: Counted,
    ) -> None:
        named = dict(zip(COLUMNS[table], row, strict=True))
        unreadable = [name for name, raw in named.items() if raw and name in READINGS and raw not in READINGS[name]]
        missing = [name for name in named if name in REQUIRED and (not named[name] or name in unreadable)]
        orphan = any(named[column] not in self.silver[parent] for column, parent in PARENTS.get(table, {}).items())
        if missing or orphan:
            refused.add((key, row))
            counted.quarantined += 1
            return
        clean = tuple(READINGS[name].get(raw) if name in READINGS else raw or None for name, raw in named.items())
        notes |= {(key, name) for name in unreadable}
        if self.silver[table].get(key) == clean:
            counted.unchanged += 1
        else:
            self.silver[table][key] = clean
            counted.written += 1
