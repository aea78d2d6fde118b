"""From Arrow tables to pandas frames, one way for the whole program: every column an ``ArrowDtype``."""

import pandas as pd
import pyarrow as pa


def to_frame(table: pa.Table) -> pd.DataFrame:
    """The table as a frame of Arrow-backed columns; NULL stays NULL, decimals stay exact."""
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def empty_frame(schema: pa.Schema) -> pd.DataFrame:
    """A frame without rows."""
    return to_frame(schema.empty_table())
