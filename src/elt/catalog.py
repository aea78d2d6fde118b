"""The tables, declared once: what a shop's table holds, how each column is read, and what its failure means.

A new table is one ``Table`` here and one migration in ``supabase/migrations``; no layer changes.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elt import rules
from elt.rules import Rule, Type

EXTRACT_ROWS = 100_000
"""Rows asked of a source in one request, at most. Source: the pipeline's specification."""

WRITE_ROWS = 10_000
"""Rows written to the lakehouse in one request, at most. Source: the pipeline's specification."""

BROKEN_LINE = "_linha_ilegivel"
"""Bronze column for a line that does not fit its header: the line's text; every other column of that row is NULL."""


@dataclass(frozen=True)
class Column:
    """One column of a source table.

    ``required``: blank or unreadable sends the row to quarantine. Otherwise blank is NULL, and unreadable is NULL with
    a record of the original. ``references``: the table whose key this column holds.
    """

    name: str
    rule: Rule
    required: bool = False
    references: str | None = None


@dataclass(frozen=True)
class Table:
    """One source table. The first column is its key; silver calls it ``id``. The order of columns is silver's."""

    name: str
    columns: tuple[Column, ...]

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
        """The catalog's columns that a source with the columns ``found`` does not have."""
        return [name for name in self.column_names if self.source_name(name, found) is None]

    def extra_in(self, found: Sequence[str]) -> list[str]:
        """The columns that the source has and silver ignores."""
        used = {self.source_name(name, found) for name in self.column_names}
        return [name for name in found if name not in used and name != BROKEN_LINE]


CLIENTES = Table(
    "clientes",
    (
        Column("id_cliente", rules.KEY, required=True),
        Column("nome", rules.TEXT),
        Column("email", rules.EMAIL),
        Column("telefone", rules.PHONE),
        Column("cidade", rules.TEXT),
        Column("idade", rules.AGE),
    ),
)

PRODUTOS = Table(
    "produtos",
    (
        Column("id_produto", rules.KEY, required=True),
        Column("nome_produto", rules.TEXT),
        Column("categoria", rules.TEXT),
        Column("preco", rules.MONEY, required=True),
        Column("estoque", rules.INTEGER),
    ),
)

PEDIDOS = Table(
    "pedidos",
    (
        Column("id_pedido", rules.KEY, required=True),
        Column("id_cliente", rules.KEY, required=True, references="clientes"),
        Column("id_produto", rules.KEY, required=True, references="produtos"),
        Column("quantidade", rules.QUANTITY, required=True),
        Column("status", rules.STATUS),
        Column("valor_total", rules.MONEY, required=True),
        Column("data_pedido", rules.DATE, required=True),
    ),
)

TABLES: tuple[Table, ...] = (CLIENTES, PRODUTOS, PEDIDOS)
"""In load order: a table stands after the tables it references."""


def children_first(tables: Iterable[Table]) -> Iterator[list[Table]]:
    """The tables in groups: none is referenced by another table of its own group or of a later one."""
    left = list(tables)
    while left:
        parents = frozenset[str]().union(*(table.parents for table in left))
        group = [table for table in left if table.name not in parents]
        if not group:
            raise ValueError(f"these tables reference each other in a circle: {', '.join(t.name for t in left)}")
        yield group
        left = [table for table in left if table not in group]


def rules_version(tables: Sequence[Table]) -> str:
    """Which cleaning this is: it changes with the tables' declaration and with the text of ``rules.py``.

    Rows that silver cleaned under another version are cleaned again, so that an upgrade reaches every row.
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
