"""How people write numbers, and machines do not: ``0.00`` and ``1000.00``, never ``0E-20`` or ``1E+3``."""

from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc


def decimal_text(value: Decimal) -> str:
    """A decimal, exactly, with two or more decimals if it has any, and no idle zeros: 168.00, 5.899; a whole one: 7."""
    whole, point, fraction = f"{value:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}" if point else whole


def all_decimals(values: pa.Array) -> pa.Array:
    """Arrow decimals as text with as many decimals as their type has."""
    text = values.cast(pa.string())
    scientific = pc.match_substring(text, "E")  # Arrow writes zero and what is very small so: 0E-20
    written = [f"{value:f}" for value in values.filter(scientific).to_pylist()]
    return pc.replace_with_mask(text, scientific, pa.array(written, pa.string()))
