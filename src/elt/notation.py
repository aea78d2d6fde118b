"""How people write numbers, and machines do not: ``0.00`` and ``1000.00``, never ``0E-20`` or ``1E+3``."""

from decimal import Decimal

from elt.rules import Type


def decimal_text(value: Decimal) -> str:
    """A decimal, exactly, with two or more decimals if it has any, and no idle zeros: 168.00, 5.899; a whole one: 7."""
    whole, point, fraction = f"{value:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}" if point else whole


def value_of(printed: str | None, held: Type) -> object:
    """What PostgreSQL printed of a column, for people and scripts: a whole number, or text; money has decimals."""
    if printed is None or held in ("text", "date"):
        return printed
    if held == "integer":
        return int(printed)
    return decimal_text(Decimal(f"{printed}.00" if printed.lstrip("-").isdigit() else printed))
