"""How one raw value is read: pure functions from what a source says to what silver holds.

A raw value is text as the source printed it, or a ``Decimal`` when the source's own column type is a number (then it is
in machine notation and nothing about it is ambiguous). A value that cannot be read raises ``Unreadable`` with the
reason in Portuguese, because the reason ends up in the shop's data (``silver.rejeitados.motivo``). Blank values never
get here.

What is ambiguous is refused, not guessed: a wrong guess would be a wrong figure that nobody sees.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Context, Decimal, Inexact
from typing import Literal
from zoneinfo import ZoneInfo

RawValue = str | Decimal
"""Text, or a Decimal where the source's column is numeric."""

Type = Literal["text", "integer", "money", "date"]
"""What a column holds, in a word; ``elt.frames`` has the Arrow type of each."""

MONEY_DIGITS, MONEY_DECIMALS = 38, 20
"""Digits of money in BRL, exact: at most 18 before the point and 20 after it."""

MAX_MONEY = Decimal(10) ** 12
"""A value of R$ 1 trillion or more is a mistake in a small shop, and refusing it keeps every sum inside its type."""

MAX_DIGITS = 60
"""A number of more digits before the point is none of a shop's."""

SMALLEST_MONEY = Decimal(1).scaleb(-MONEY_DECIMALS)
_EXACT = Context(prec=MONEY_DIGITS, traps=[Inexact])
MAX_KEY_LENGTH = 200
INT4_MAX = 2**31 - 1
MAX_AGE = 130
SHOP_TIME_ZONE = ZoneInfo("America/Sao_Paulo")
"""An instant with an offset belongs to the day it was in the shop."""

# Area codes in use: Anatel, Plano Geral de Códigos Nacionais (PGCN).
AREA_CODES = frozenset(
    (
        "11 12 13 14 15 16 17 18 19 21 22 24 27 28 31 32 33 34 35 37 38 41 42 43 44 45 46 47 48 49 51 53 54 55 "
        "61 62 63 64 65 66 67 68 69 71 73 74 75 77 79 81 82 83 84 85 86 87 88 89 91 92 93 94 95 96 97 98 99"
    ).split()
)

STATUSES = {
    "Pago": ("paga", "pg", "paid", "pagamento aprovado", "aprovado"),
    "Pendente": ("aguardando pagamento", "aguardando", "em aberto", "aberto", "pending"),
    "Em processamento": ("processando", "em preparacao", "em preparação", "em separacao", "em separação", "processing"),
    "Enviado": ("enviada", "em transito", "em trânsito", "despachado", "shipped"),
    "Entregue": ("concluido", "concluído", "finalizado", "delivered"),
    "Cancelado": ("cancelada", "canc", "cancelled", "canceled"),
    "Devolvido": ("devolvida", "estornado", "reembolsado", "returned", "refunded"),
}
"""Canonical spelling of an order's status, and the spellings that mean it. An unknown status is kept, tidied."""

_CANONICAL_STATUS = {
    spelling: canonical for canonical, others in STATUSES.items() for spelling in (canonical.casefold(), *others)
}


class Unreadable(ValueError):
    """A raw value that a rule cannot read. The message is the reason, in Portuguese, for the quarantine."""


@dataclass(frozen=True)
class Rule:
    """A named way to read one column's raw values into one type.

    ``plain``: a regular expression of texts that are their own value; a column of nothing else need not be read.
    """

    read: Callable[[RawValue], object]
    type: Type
    plain: str | None = None


def written(raw: RawValue) -> str:
    """The raw value as text: a number with all its decimals, as sources print it, and not ``0E-20`` or ``1E+3``."""
    if isinstance(raw, Decimal) and raw.is_finite():
        # One of so many digits that nobody could read them keeps its exponent.
        return f"{raw:f}" if abs(raw.adjusted()) <= MAX_DIGITS else f"{raw:e}"
    return str(raw)


def quoted(raw: RawValue, limit: int = 60) -> str:
    """The raw value as a reason shows it: in quotes, cut at ``limit`` characters."""
    text = written(raw)
    return f"'{text}'" if len(text) <= limit else f"'{text[:limit]}…' ({len(text)} caracteres)"


_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def read_text(raw: RawValue) -> str:
    """Text with outer spaces removed and inner white space collapsed to one space."""
    text = written(raw)
    if _CONTROL.search(text):
        raise Unreadable("texto com caracteres de controle (arquivo corrompido?)")
    return " ".join(text.split())


def read_key(raw: RawValue) -> str:
    """A key as text: ``'ALFKI'``, ``'10248-11'``; a numeric 7 or 7.0 is ``'7'``. Text keeps its zeros: ``'007'``."""
    if isinstance(raw, Decimal):
        if not raw.is_finite() or raw != raw.to_integral_value():
            raise Unreadable(f"não é uma chave: {quoted(raw)}")
        too_long = raw.adjusted() >= MAX_KEY_LENGTH
        text = "" if too_long else str(int(raw))
    else:
        text = read_text(raw)
        too_long = len(text) > MAX_KEY_LENGTH
    if too_long:
        raise Unreadable(f"chave longa demais: {quoted(raw)}")
    return text


_EMAIL = re.compile(r"[^\s@<>(),;:\"\[\]\\]+@([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}")


def read_email(raw: RawValue) -> str:
    """An e-mail address in lower case: ``name@domain.tld``, at most 254 characters (RFC 5321)."""
    text = read_text(raw).lower()
    if len(text) > 254 or ".." in text or not _EMAIL.fullmatch(text):
        raise Unreadable(f"não é um e-mail: {quoted(raw)}")
    return text


_PHONE_NOISE = re.compile(r"[\s().\-/]")


def read_phone(raw: RawValue) -> str:
    """A Brazilian telephone as ``+55`` + area code + 8 or 9 digits; a foreign one only if written with its ``+``."""
    text = _PHONE_NOISE.sub("", written(raw))
    foreign = text.startswith("+") and not text.startswith("+55")
    digits = text.removeprefix("+")
    if not digits.isascii() or not digits.isdigit():
        raise Unreadable(f"não é um telefone: {quoted(raw)}")
    if foreign:
        if 8 <= len(digits) <= 15 and digits[0] != "0":  # ITU-T E.164
            return f"+{digits}"
        raise Unreadable(f"não é um telefone: {quoted(raw)}")
    if text.startswith("+") or (len(digits) in (12, 13) and digits.startswith("55")):
        digits = digits[2:]
    elif digits.startswith("0"):
        digits = digits[1:]
    mobile = len(digits) == 11 and digits[2] == "9"
    landline = len(digits) == 10 and digits[2] not in "01"
    if digits[:2] not in AREA_CODES or not (mobile or landline):
        raise Unreadable(f"não é um telefone brasileiro com DDD: {quoted(raw)}")
    return f"+55{digits}"


_MACHINE_NUMBER = re.compile(r"[+-]?(\d{1,60}(\.\d{0,60})?|\.\d{1,60})([eE][+-]?\d{1,3})?", re.ASCII)
_BRAZILIAN_NUMBER = re.compile(r"[+-]?(\d{1,60}|\d{1,3}(\.\d{3})+),\d{1,60}", re.ASCII)
_BRAZILIAN_WHOLE = re.compile(r"[+-]?\d{1,3}(\.\d{3})+", re.ASCII)
_COMMA_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+\.\d{1,60}", re.ASCII)
_AMBIGUOUS = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", re.ASCII)
_CURRENCY = re.compile(r"^([+-]?)\s*(R\$|BRL)\s*", re.IGNORECASE)


def read_number(raw: RawValue) -> Decimal:
    """An exact decimal from ``1234.56``, ``1.234,56``, ``R$ 1.234,56``, ``1,234.56`` or ``1.2e3``.

    ``1.234`` is refused: it is one and a fraction to a machine and 1234 to a Brazilian; ``1,234`` likewise, the other
    way round. With ``R$`` before it, a number is Brazilian.
    """
    if isinstance(raw, Decimal):
        return _finite(raw, raw)
    text = raw.strip().replace("\u2212", "-")
    amount = _CURRENCY.sub(r"\1", text)
    in_reais = amount != text
    amount = amount.strip()
    if _AMBIGUOUS.fullmatch(amount) and not in_reais:
        point = "," if "." in amount else "."
        raise Unreadable(f"número ambíguo: {quoted(raw)} (milhar ou decimal? escreva {amount}0 ou {amount}{point}00)")
    if _BRAZILIAN_NUMBER.fullmatch(amount):
        return _finite(Decimal(amount.replace(".", "").replace(",", ".")), raw)
    if _BRAZILIAN_WHOLE.fullmatch(amount) and (in_reais or amount.count(".") > 1):
        return _finite(Decimal(amount.replace(".", "")), raw)
    if _MACHINE_NUMBER.fullmatch(amount):
        return _finite(Decimal(amount), raw)
    if _COMMA_THOUSANDS.fullmatch(amount):
        return _finite(Decimal(amount.replace(",", "")), raw)
    raise Unreadable(f"não é um número: {quoted(raw)}")


def _finite(value: Decimal, raw: RawValue) -> Decimal:
    """The value itself, if it is a number of a size that anything here could be."""
    if not value.is_finite():
        raise Unreadable(f"não é um número: {quoted(raw)}")
    if value.adjusted() > MAX_DIGITS:
        raise Unreadable(f"número grande demais: {quoted(raw)}")
    return value


def read_money(raw: RawValue) -> Decimal:
    """An exact amount in BRL, below R$ 1 trillion either way, as the source wrote it: nothing is rounded."""
    value = read_number(raw)
    if value.copy_abs() >= MAX_MONEY:
        raise Unreadable(f"valor de R$ 1 trilhão ou mais: {quoted(raw)}")
    try:
        return value.quantize(SMALLEST_MONEY, context=_EXACT).normalize(_EXACT)
    except Inexact:
        raise Unreadable(f"mais de {MONEY_DECIMALS} casas decimais: {quoted(raw)}") from None


def read_integer(raw: RawValue) -> int:
    """A whole number that fits PostgreSQL's ``integer``; ``34.0`` is 34, ``34.5`` is refused."""
    value = read_number(raw)
    if value != value.to_integral_value():
        raise Unreadable(f"não é um número inteiro: {quoted(raw)}")
    if value.copy_abs() > INT4_MAX:
        raise Unreadable(f"número grande demais: {quoted(raw)}")
    return int(value)


def read_quantity(raw: RawValue) -> int:
    """A whole number greater than zero."""
    value = read_integer(raw)
    if value <= 0:
        raise Unreadable(f"quantidade deve ser maior que zero: {quoted(raw)}")
    return value


def read_age(raw: RawValue) -> int:
    """An age in years, from 0 to 130."""
    value = read_integer(raw)
    if not 0 <= value <= MAX_AGE:
        raise Unreadable(f"idade fora de 0 a {MAX_AGE}: {quoted(raw)}")
    return value


_BRAZILIAN_DATE = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})([ T,]+\d{1,2}:\d{2}(:\d{2}([.,]\d{1,9})?)?)?")
_SLASHED_ISO = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})")
_SHORT_OFFSET = re.compile(r"(:\d{2}(\.\d+)?)([+-]\d{2})$")


def read_date(raw: RawValue) -> date:
    """A calendar day from an ISO date or timestamp, or a Brazilian ``dd/mm/aaaa`` with or without a time.

    A timestamp with an offset is the day it was in São Paulo; one without is taken as the shop wrote it.
    """
    text = written(raw).strip()
    try:
        if match := _BRAZILIAN_DATE.fullmatch(text):
            day, month, year = (int(part) for part in match.groups()[:3])
            found = date(year, month, day)
        elif match := _SLASHED_ISO.fullmatch(text):
            found = date(*(int(part) for part in match.groups()))
        elif len(text) < 10 or text[4] != "-":
            raise ValueError
        else:
            moment = datetime.fromisoformat(_SHORT_OFFSET.sub(r"\1\3:00", text))
            found = (moment.astimezone(SHOP_TIME_ZONE) if moment.tzinfo else moment).date()
    except (ValueError, OverflowError):
        raise Unreadable(f"não é uma data: {quoted(raw)}") from None
    if not 1900 <= found.year < 2200:
        raise Unreadable(f"ano fora de 1900 a 2199: {quoted(raw)}")
    return found


def read_status(raw: RawValue) -> str:
    """The canonical spelling of a known status; an unknown one tidied, with a capital first letter."""
    text = read_text(raw)
    return _CANONICAL_STATUS.get(text.casefold().replace("_", " ")) or text[:1].upper() + text[1:]


KEY = Rule(read_key, "text", plain=r"0|[1-9][0-9]{0,99}")
TEXT = Rule(read_text, "text")
EMAIL = Rule(read_email, "text")
PHONE = Rule(read_phone, "text")
STATUS = Rule(read_status, "text")
MONEY = Rule(read_money, "money")
INTEGER = Rule(read_integer, "integer")
QUANTITY = Rule(read_quantity, "integer")
AGE = Rule(read_age, "integer")
DATE = Rule(read_date, "date")
