"""From the catalog's types to Arrow's, and from Arrow tables to pandas frames: one way for the whole program."""

from collections.abc import Mapping

import pandas as pd
import pyarrow as pa

from elt.rules import MONEY_DECIMALS, MONEY_DIGITS, Type

ARROW: dict[Type, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "money": pa.decimal128(MONEY_DIGITS, MONEY_DECIMALS),
    "date": pa.date32(),
}
"""The Arrow type of what a column holds."""


def arrow_schema(types: Mapping[str, Type]) -> pa.Schema:
    """Columns with their Arrow types."""
    return pa.schema([(name, ARROW[held]) for name, held in types.items()])


def to_frame(table: pa.Table) -> pd.DataFrame:
    """The table as a frame in which every column is an ``ArrowDtype``; NULL stays NULL, decimals stay exact."""
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame
