"""What a whole column shows of how it is written, each with the place that shows it: its witness."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elt import rules
from elt.catalog import ORIGIN, POSITION, Column, Table
from elt.lakehouse.snapshots import ColumnProfile, Witness
from elt.sources.port import NUMBERS

_SHOWS = {
    "comma": r",([0-9]{1,2}|[0-9]{4,})\s*$|\..*,[0-9]+\s*$",
    "point": r"\.([0-9]{1,2}|[0-9]{4,})\s*$|,.*\.[0-9]+\s*$",
}
"""A separator with three digits after it may be either, unless the other one stands before it."""

_WHOLE = r"^\s*(0|[1-9][0-9]*)\s*$"
_BLANK = r"^\s*$"


@dataclass
class _Seen:
    """The first place of each thing that the column shows."""

    column: Column
    typed: bool
    places: dict[str, Witness]


class Profile:
    """Fed page by page, with the rows' places; ``columns``: the source's columns and types."""

    def __init__(self, table: Table, columns: Mapping[str, str]) -> None:
        self._seen: dict[str, _Seen] = {}
        for column in table.columns:
            name = table.source_name(column.name, list(columns))
            if name and (column.rule is rules.KEY or column.rule.type in ("integer", "money")):
                self._seen[name] = _Seen(column, columns[name] in NUMBERS, {})

    def update(self, page: pa.Table) -> None:
        """Add a page."""
        for name, seen in self._seen.items():
            values = page.column(name)
            if seen.column.rule is rules.KEY:
                if "other" not in seen.places:
                    whole = pc.match_substring_regex(values, _WHOLE)
                    blank = pc.match_substring_regex(values, _BLANK)
                    self._note(seen, "whole", whole, page)
                    self._note(seen, "other", pc.invert(pc.or_(whole, blank)), page)
            elif not seen.typed and len(seen.places) < len(_SHOWS):
                for notation, pattern in _SHOWS.items():
                    self._note(seen, notation, pc.match_substring_regex(values, pattern), page)

    @staticmethod
    def _note(seen: _Seen, shown: str, where: pa.ChunkedArray, page: pa.Table) -> None:
        if shown in seen.places:
            return
        rows = np.flatnonzero(pc.fill_null(where, False).to_numpy())
        if len(rows):
            origin, position = (page.column(name)[int(rows[0])].as_py() for name in (ORIGIN, POSITION))
            seen.places[shown] = Witness(origin=origin, position=position)

    def found(self) -> dict[str, ColumnProfile]:
        """What the columns show, by the source's names; nothing of a column that shows nothing, or both notations."""
        profile = {}
        for name, seen in self._seen.items():
            shown = "other" if "other" in seen.places else next(iter(seen.places), None)
            if shown is None or {"comma", "point"} <= set(seen.places):
                continue
            profile[name] = ColumnProfile(shows=shown, witness=seen.places[shown])
        return profile
