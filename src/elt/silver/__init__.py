"""Silver: the newest snapshots' rows, clean, in relational tables; what cannot be cleaned, in quarantine.

A file of this folder is a table of the shop, unless it is named here as one that works on tables. Nothing is loaded
before somebody asks for ``TABLES``: a Python that is too old has to be told so first, in ``elt.start``.
"""

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elt.catalog import Table

    TABLES: "tuple[Table, ...]"
    """Every table there is, each after those it references."""

_WORKING = frozenset(("__main__", "clean", "difference", "main"))
"""Modules that hold no table. They are not loaded here: whoever asks which tables there are needs no frames."""


def __getattr__(name: str) -> "tuple[Table, ...]":
    if name != "TABLES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _tables()


@cache
def _tables() -> "tuple[Table, ...]":
    from elt.catalog import in_load_order

    return in_load_order(_declared())


def _declared() -> "Iterator[Table]":
    """The one table of each file that is not at work on them."""
    from elt.catalog import Table

    for file in pkgutil.iter_modules(__path__):
        if file.name not in _WORKING:
            module = importlib.import_module(f"{__name__}.{file.name}")
            tables = [held for held in vars(module).values() if isinstance(held, Table)]
            if len(tables) != 1:
                raise ValueError(f"{module.__file__} holds {len(tables)} tables where one belongs")
            yield tables[0]
