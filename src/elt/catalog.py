"""The words in which tables are declared: what a shop's table holds, how each column is read, what its failure means.

Each table is one file of ``elt.silver``, said in these words, and one migration in ``supabase/migrations``; nothing
else of the program says which tables there are.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from elt import rules
from elt.rules import Rule, Type

EXTRACT_ROWS = 100_000
"""Rows asked of a source in one request, at most. Source: the pipeline's specification."""

EXTRACT_BYTES = 32 * 2**20
"""Text asked of a source in one page, at most, unless one row alone is larger: what is in memory at a time."""

WRITE_ROWS = 10_000
"""Rows written to the lakehouse in one request, at most. Source: the pipeline's specification."""

BROKEN_LINE = "_linha_ilegivel"
"""Bronze column for a line that does not fit its header: the line's text; every other column of that row is NULL."""

ORIGIN, POSITION = "\x00origem", "\x00posicao"
"""Each raw row's place in the source, as columns of pages in memory: the file (text; NULL: the table itself) and the
line or row in it, from 1. A database's rows have the ordinal in which they were read. No column of a shop has such a
name; in a part they have names that the manifest keeps."""


@dataclass(frozen=True)
class Column:
    """One column of a source table.

    ``required``: blank or unreadable sends the row to quarantine. Otherwise blank is NULL, and unreadable is NULL with
    a record of the original. ``references``: the table whose key this column holds. ``personal``: by itself it tells
    who somebody is or how to reach them (LGPD, article 5, I). ``optional``: a source may lack it; it is NULL then.
    """

    name: str
    rule: Rule
    required: bool = False
    references: str | None = None
    personal: bool = False
    optional: bool = False

    def __post_init__(self) -> None:
        if self.required and self.optional:
            raise ValueError(f"{self.name} is required in every row, so it cannot be optional in the source")


@dataclass(frozen=True)
class Table:
    """One source table. The first column is its key; silver calls it ``id``. The order of columns is silver's.

    ``optional``: a source may lack it; it is empty then.
    """

    name: str
    columns: tuple[Column, ...]
    optional: bool = False

    def __post_init__(self) -> None:
        if self.name in ("rejeitados", "valores_rejeitados"):
            raise ValueError(f"silver.{self.name} is the quarantine: the table needs another name")
        if not self.columns or not self.columns[0].required:
            raise ValueError(f"{self.name}: the first column is the key, and required")
        names = [*self.silver_names, "data_ingestao"]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.name}: silver would have these columns twice: {', '.join(twice)}")

    @property
    def key(self) -> Column:
        """The key's column, under the source's name."""
        return self.columns[0]

    @property
    def silver(self) -> str:
        """The silver table's name with its schema."""
        return f"silver.{self.name}"

    @property
    def column_names(self) -> tuple[str, ...]:
        """The source's column names."""
        return tuple(column.name for column in self.columns)

    @property
    def silver_names(self) -> tuple[str, ...]:
        """The silver table's column names, without ``data_ingestao``, which the database stamps."""
        return ("id", *self.column_names[1:])

    @property
    def silver_types(self) -> dict[str, Type]:
        """The silver table's columns with what they hold."""
        return {name: column.rule.type for name, column in zip(self.silver_names, self.columns, strict=True)}

    @property
    def foreign_keys(self) -> tuple[Column, ...]:
        """The columns that hold another table's key."""
        return tuple(column for column in self.columns if column.references)

    @property
    def parents(self) -> frozenset[str]:
        """The names of the other tables whose keys it holds."""
        return frozenset(str(key.references) for key in self.foreign_keys) - {self.name}

    def source_name(self, column: str, found: Sequence[str]) -> str | None:
        """What the source calls ``column`` among the names ``found``: a key may be called ``id``. None: nothing."""
        if column in found:
            return column
        return "id" if column == self.key.name and "id" in found else None

    def missing_from(self, found: Sequence[str]) -> list[str]:
        """The columns that a source with the columns ``found`` does not have and may not lack."""
        return [column.name for column in self._absent_from(found) if not column.optional]

    def null_with(self, found: Sequence[str]) -> list[str]:
        """The columns that a source with the columns ``found`` does not have and may lack: NULL in silver."""
        return [column.name for column in self._absent_from(found) if column.optional]

    def _absent_from(self, found: Sequence[str]) -> list[Column]:
        return [column for column in self.columns if self.source_name(column.name, found) is None]

    def extra_in(self, found: Sequence[str]) -> list[str]:
        """The columns that the source has and silver ignores."""
        used = {self.source_name(name, found) for name in self.column_names}
        return [name for name in found if name not in used and name != BROKEN_LINE]


def in_load_order(tables: Iterable[Table]) -> tuple[Table, ...]:
    """The tables, each after those it references; what that leaves open goes by name.

    ``ValueError`` if two have one name, if one references a table that is not among them, or if they reference each
    other in a circle.
    """
    named: dict[str, Table] = {}
    for table in tables:
        if table.name in named:
            raise ValueError(f"two tables are called {table.name}")
        named[table.name] = table
    for table in named.values():
        if unknown := sorted(table.parents - named.keys()):
            raise ValueError(f"{table.name} references what is no table: {', '.join(unknown)}")
    return tuple(named[name] for group in _groups({name: t.parents for name, t in named.items()}) for name in group)


def children_first(tables: Iterable[Table]) -> Iterator[list[Table]]:
    """The tables in groups: none is referenced by another table of its own group or of a later one."""
    named = {table.name: table for table in tables}
    children = {parent: {name for name, table in named.items() if parent in table.parents} for parent in named}
    return ([named[name] for name in group] for group in _groups(children))


def _groups(after: Mapping[str, Collection[str]]) -> Iterator[list[str]]:
    """The names in groups, by name in each: a name comes later than those it is to come ``after``."""
    sorter = TopologicalSorter(after)
    try:
        sorter.prepare()
    except CycleError as error:
        circle = ", ".join(sorted(set(error.args[1])))
        raise ValueError(f"these tables reference each other in a circle: {circle}") from None
    while sorter.is_active():
        group = sorted(sorter.get_ready())
        yield group
        sorter.done(*group)


def rules_version(tables: Sequence[Table]) -> str:
    """Which cleaning this is: it changes with the tables' declaration and with the text of ``rules.py``.

    Rows that silver cleaned under another version are cleaned again, so that an upgrade reaches every row. ``personal``
    and ``optional`` make no row another one, and are no part of it.
    """
    declared = [
        (table.name, [(c.name, c.rule.read.__qualname__, c.required, c.references) for c in table.columns])
        for table in tables
    ]
    return hashlib.sha256(repr(declared).encode() + Path(rules.__file__).read_bytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Analysis:
    """One gold table: its name, and its columns with what they hold, the key first."""

    name: str
    types: Mapping[str, Type]

    @property
    def key(self) -> str:
        """The key's column: the silver key whose orders the row sums up."""
        return next(iter(self.types))

    @property
    def gold(self) -> str:
        """The gold table's name with its schema."""
        return f"gold.{self.name}"


ANALISE_CLIENTES_PEDIDOS = Analysis(
    "analise_clientes_pedidos",
    {
        "id_cliente": "text",
        "nome": "text",
        "cidade": "text",
        "idade": "integer",
        "total_pedidos": "integer",
        "total_gasto": "money",
        "data_primeiro_pedido": "date",
        "data_ultimo_pedido": "date",
        "categorias_compradas": "text",
        "produtos_comprados": "text",
    },
)

ANALISE_PRODUTOS = Analysis(
    "analise_produtos",
    {
        "id_produto": "text",
        "nome_produto": "text",
        "categoria": "text",
        "total_vendido": "integer",
        "total_receita": "money",
        "estoque_atual": "integer",
    },
)

ANALYSES: tuple[Analysis, ...] = (ANALISE_CLIENTES_PEDIDOS, ANALISE_PRODUTOS)

REJEITADOS: dict[str, Type] = dict.fromkeys(("id", "tabela", "chave", "motivo", "linha", "snapshot"), "text")
"""``silver.rejeitados``: rows that silver refused. ``linha`` is the row as JSON, as the source had it."""

VALORES_REJEITADOS: dict[str, Type] = dict.fromkeys(
    ("id", "tabela", "chave", "coluna", "valor", "motivo", "snapshot"), "text"
)
"""``silver.valores_rejeitados``: values that silver could not read and wrote as NULL."""
