"""Silver: the newest snapshots' rows, clean, in relational tables; what cannot be cleaned, in quarantine.

A file of this folder is a table of the shop, unless it is named here as one that works on tables.
"""

import importlib
import pkgutil
from collections.abc import Iterator

from elt.catalog import Table, in_load_order

_WORKING = frozenset(("__main__", "clean", "difference", "main"))
"""Modules that hold no table. They are not loaded here: whoever asks which tables there are needs no frames."""


def _declared() -> Iterator[Table]:
    """The one table of each file that is not at work on them."""
    for file in pkgutil.iter_modules(__path__):
        if file.name not in _WORKING:
            module = importlib.import_module(f"{__name__}.{file.name}")
            tables = [held for held in vars(module).values() if isinstance(held, Table)]
            if len(tables) != 1:
                raise ValueError(f"{module.__file__} holds {len(tables)} tables where one belongs")
            yield tables[0]


TABLES: tuple[Table, ...] = in_load_order(_declared())
"""Every table there is, each after those it references."""
