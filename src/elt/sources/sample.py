"""The sample shop: a made-up Brazilian shop, the same for the same seed, with the dirt that real shops have.

Used when no source is configured, by ``medallion demo``, and by the benchmarks. Rows are made page by page, so that a
shop of any size takes the memory of one page.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa

from elt import rules
from elt.catalog import EXTRACT_BYTES, Column, Table
from elt.errors import NoSuchTable
from elt.pages import cut
from elt.sources.identity import SAMPLE

_Columns = dict[str, list[str | None]]
"""A page: by column, its values."""

_FIRST = (
    "Ana João Maria José Antônia Francisco Luíza Paulo Beatriz Márcio Conceição Rafael Júlia Gonçalo Inês Caetano "
    "Lívia Otávio"
).split()
_LAST = (
    "Silva Souza Araújo Conceição Gonçalves Magalhães Pereira Brandão Assunção Nóbrega Sá Leitão Falcão Guimarães "
    "Vilaça"
).split()
_CITIES = (
    ("São Paulo", 11),
    ("Rio de Janeiro", 21),
    ("Belo Horizonte", 31),
    ("Curitiba", 41),
    ("Porto Alegre", 51),
    ("Brasília", 61),
    ("Salvador", 71),
    ("Recife", 81),
    ("Belém", 91),
    ("Florianópolis", 48),
    ("Goiânia", 62),
)
_PRODUCTS = (
    ("Café torrado", "Mercearia"),
    ("Pão de queijo", "Padaria"),
    ("Rapadura", "Mercearia"),
    ("Rede de algodão", "Casa"),
    ("Chimarrão", "Bebidas"),
    ("Cachaça", "Bebidas"),
    ("Açaí", "Congelados"),
    ("Tapioca", "Mercearia"),
    ("Panela de barro", "Casa"),
    ("Doce de leite", "Doces"),
    ("Goiabada", "Doces"),
    ("Filtro de barro", "Casa"),
)
_STATUSES = ("Pago", "pago", "PAGO", "Pendente", "Entregue", "enviado", "Cancelado", "cancelada", None)
_FIRST_DAY = date(2024, 1, 2)
_PAGE = 10_000
"""Rows made from one random stream: the data does not depend on the pages asked for."""

_OTHERS = 24
"""Rows of a table that this shop knows only by its declaration."""


@dataclass(frozen=True)
class SampleShop:
    """Its tables as they are declared, sizes in rows, and a seed.

    It has the columns that are declared; what it does not know of a shop it makes up by the column's rule. ``dirt`` is
    the share of rows with something wrong. Orders name the first ``known`` customers; a dirty order names one of the
    thirty after them. ``visit`` counts the times the shop has been looked at.
    """

    in_flight: ClassVar[int] = 1

    tables: tuple[Table, ...]
    clientes: int = 400
    produtos: int = 48
    pedidos: int = 5_000
    known: int = 400
    seed: int = 2026
    dirt: float = 0.02
    visit: int = 0

    @classmethod
    def of_size(cls, tables: tuple[Table, ...], pedidos: int) -> Self:
        """A shop with so many orders, twenty for each customer, and 500 products: for benchmarks."""
        customers = max(1, pedidos // 20)
        return cls(tables, clientes=customers, produtos=500, pedidos=pedidos, known=customers)

    @property
    def description(self) -> str:
        """What it is."""
        return "the sample shop (made-up data; no source is configured)"

    @property
    def identity(self) -> str:
        """Which shop it is: always the same, of whatever size."""
        return SAMPLE

    @contextmanager
    def open(self) -> Iterator["SampleShop"]:
        """A shop that never changes is its own extract."""
        yield self

    def two_months_later(self) -> "SampleShop":
        """The same shop with new customers and orders, other stock, and the prices it did not have before."""
        return replace(self, clientes=self.clientes + 35, pedidos=self.pedidos + 600, visit=self.visit + 1)

    def columns(self, table: str) -> dict[str, str]:  # noqa: D102 - see the port
        return dict.fromkeys(self._declared(table).column_names, "text")

    def warnings(self, tables: Sequence[str]) -> list[str]:  # noqa: D102 - nobody hides rows of these
        return []

    def count(self, table: str) -> int:  # noqa: D102
        sizes = {"clientes": self.clientes, "produtos": self.produtos, "pedidos": self.pedidos}
        return sizes.get(self._declared(table).name, _OTHERS)

    def pages(self, table: str, rows: int, most_bytes: int = EXTRACT_BYTES) -> Iterator[pa.Table]:  # noqa: D102
        makers = {"clientes": self._clientes, "produtos": self._produtos, "pedidos": self._pedidos}
        declared, total = self._declared(table), self.count(table)
        schema = pa.schema([(name, pa.string()) for name in declared.column_names])
        for first in range(0, total, _PAGE):
            made = makers[table](first, _PAGE) if table in makers else {}
            values = (made.get(column.name) or self._made_up(column, first, _PAGE) for column in declared.columns)
            page = pa.table([pa.array(column, pa.string()) for column in values], schema=schema).slice(0, total - first)
            for start in range(0, len(page), rows):
                yield from cut(page.slice(start, rows), most_bytes)

    def _declared(self, table: str) -> Table:
        for known in self.tables:
            if known.name == table:
                return known
        raise NoSuchTable(f"the sample shop has no table {table}")

    def _made_up(self, column: Column, first: int, size: int) -> list[str | None]:
        """Values that the column's rule reads, one after the other; keys of another table go round those it has."""
        made = _BY_RULE.get(column.rule.read) or _BY_TYPE[column.rule.type]
        last = self.count(column.references) if column.references else first + size
        return [made(number % last + 1) for number in range(first, first + size)]

    def _random(self, table: int, first: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, table, first))

    def _dirty(
        self, random: np.random.Generator, size: int, share: float = 1.0
    ) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        return random.random(size) < self.dirt * share

    def _clientes(self, first: int, size: int) -> _Columns:
        random = self._random(1, first)
        given, family = random.integers(len(_FIRST), size=size), random.integers(len(_LAST), size=(size, 2))
        city, phone, age = (
            random.integers(len(_CITIES), size=size),
            random.integers(10**8, size=size),
            random.integers(16, 90, size=size),
        )
        style, bad, blank = random.integers(4, size=size), self._dirty(random, size), random.random(size) < 0.05
        names = ("id_cliente", "nome", "email", "telefone", "cidade", "idade")
        columns: _Columns = {name: [] for name in names}
        for row in range(size):
            name = f"{_FIRST[given[row]]} {_LAST[family[row, 0]]} {_LAST[family[row, 1]]}"
            place, area = _CITIES[city[row]]
            digits = f"{phone[row]:08d}"
            telephone = (
                f"({area}) 9{digits[:4]}-{digits[4:]}",
                f"{area}9{digits}",
                f"+55 {area} 9{digits[:4]} {digits[4:]}",
                f"0{area} 3{digits[1:]}",
            )[style[row]]
            mail = f"{_FIRST[given[row]]}.{_LAST[family[row, 0]]}{first + row}@exemplo.com.br".translate(_PLAIN)
            values = (
                str(first + row + 1),
                f"  {name} " if style[row] == 1 else name,
                "sem e-mail" if bad[row] else (mail.upper() if style[row] == 2 else mail),
                None if blank[row] else telephone,
                place.upper() if style[row] == 3 else place,
                "idade?" if bad[row] else (None if blank[row] else str(age[row])),
            )
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
        return columns

    def _produtos(self, first: int, size: int) -> _Columns:
        random = self._random(2, first)
        cents, style = random.integers(190, 30_000, size=size), random.integers(3, size=size)
        bad = self._dirty(random, size, 0.5) & (self.visit == 0)
        stock = np.random.default_rng((self.seed, 4, first, self.visit)).integers(0, 500, size=size)
        names = ("id_produto", "nome_produto", "categoria", "preco", "estoque")
        columns: _Columns = {name: [] for name in names}
        for row in range(size):
            kind, category = _PRODUCTS[(first + row) % len(_PRODUCTS)]
            values = (
                str(first + row + 1),
                f"{kind} nº {(first + row) // len(_PRODUCTS) + 1}",
                category,
                "a consultar" if bad[row] else _money(int(cents[row]), int(style[row])),
                str(stock[row]),
            )
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
        return columns

    def _pedidos(self, first: int, size: int) -> _Columns:
        random = self._random(3, first)
        customer, product = (
            random.integers(1, self.known + 1, size=size),
            random.integers(1, self.produtos + 1, size=size),
        )
        quantity, cents, style = (
            random.integers(1, 9, size=size),
            random.integers(190, 30_000, size=size),
            random.integers(3, size=size),
        )
        status, day = random.integers(len(_STATUSES), size=size), random.integers(0, 60, size=size)
        orphan, undated, unpriced = (
            self._dirty(random, size),
            self._dirty(random, size, 0.4),
            self._dirty(random, size, 0.4),
        )
        repeated = self._dirty(random, size, 0.4)
        names = ("id_pedido", "id_cliente", "id_produto", "quantidade", "status", "valor_total", "data_pedido")
        columns: _Columns = {name: [] for name in names}
        before: tuple[str | None, ...] | None = None
        for row in range(size):
            number = first + row + 1
            when = _FIRST_DAY + timedelta(days=(number // 250) % 700 + int(day[row]))
            values: tuple[str | None, ...] = (
                str(number),
                str(self.known + 1 + int(customer[row]) % 30) if orphan[row] else str(customer[row]),
                str(product[row]),
                str(quantity[row]),
                _STATUSES[status[row]],
                "" if unpriced[row] else _money(int(cents[row]) * int(quantity[row]), int(style[row])),
                ("31/02/2025", "0000-00-00", None)[style[row]] if undated[row] else _day(when, int(style[row])),
            )
            if repeated[row] and before is not None:
                values = before  # the line above once more, as exports do
            before = values
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
        return columns


_PLAIN = str.maketrans("áãâéêíóõôúçÁÃÂÉÊÍÓÕÔÚÇ", "aaaeeioooucAAAEEIOOOUC")


def _money(cents: int, style: int) -> str:
    """One amount in the ways shops write it."""
    whole, fraction = divmod(cents, 100)
    if style == 0:
        return f"{whole}.{fraction:02d}"
    brazilian = f"{whole:,}".replace(",", ".") + f",{fraction:02d}"
    return brazilian if style == 1 else f"R$ {brazilian}"


def _day(day: date, style: int) -> str:
    """One day in the ways shops write it."""
    return (day.isoformat(), f"{day:%d/%m/%Y}", f"{day.isoformat()} 10:30:00")[style]


_BY_RULE: dict[Callable[[rules.RawValue], object], Callable[[int], str]] = {
    rules.read_key: str,
    rules.read_email: lambda number: f"contato{number}@exemplo.com.br",
    rules.read_phone: lambda number: f"(11) 9{number % 10_000:04d}-0000",
    rules.read_status: lambda number: "Pago",
}
"""One value of a column that this shop knows only by its declaration, by how it is read, in row ``number``."""

_BY_TYPE: dict[rules.Type, Callable[[int], str]] = {
    "text": lambda number: f"exemplo {number}",
    "integer": lambda number: str(number % 90 + 1),
    "money": lambda number: _money(990 + number, 1),
    "date": lambda number: _day(_FIRST_DAY + timedelta(days=number % 700), 1),
}
"""The same by what it holds."""
