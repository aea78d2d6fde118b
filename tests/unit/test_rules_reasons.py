"""Every reason as the quarantine shows it, with its value; and the last value on either side of a bound."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from elt import rules
from elt.rules import RawValue, Unreadable

BIG = "1" + ".000" * 21
"""A number of 64 digits, as a Brazilian writes it."""

REASONS: list[tuple[Callable[[RawValue], object], RawValue, str]] = [
    (rules.read_text, "a\x00b", "texto com caracteres de controle (arquivo corrompido?)"),
    (rules.read_key, Decimal("1.5"), "não é uma chave: '1.5'"),
    (rules.read_key, Decimal("NaN"), "não é uma chave: 'NaN'"),
    (rules.read_key, "k" * 201, f"chave longa demais: '{'k' * 60}…' (201 caracteres)"),
    (rules.read_key, Decimal("1e200"), "chave longa demais: '1e+200'"),
    (rules.read_email, "ana(at)loja", "não é um e-mail: 'ana(at)loja'"),
    (rules.read_email, "ana..lima@loja.com.br", "não é um e-mail: 'ana..lima@loja.com.br'"),
    (rules.read_phone, "ligar depois", "não é um telefone: 'ligar depois'"),
    (rules.read_phone, "+0 123 456 789", "não é um telefone: '+0 123 456 789'"),
    (rules.read_phone, "1234", "não é um telefone brasileiro com DDD: '1234'"),
    (rules.read_number, "1.234", "número ambíguo: '1.234' (milhar ou decimal? escreva 1.2340 ou 1.234,00)"),
    (rules.read_number, "1,234", "número ambíguo: '1,234' (milhar ou decimal? escreva 1,2340 ou 1,234.00)"),
    (rules.read_number, "dez", "não é um número: 'dez'"),
    (rules.read_number, Decimal("Infinity"), "não é um número: 'Infinity'"),
    (rules.read_number, Decimal("1e61"), "número grande demais: '1e+61'"),
    (rules.read_number, "1e61", "número grande demais: '1e61'"),
    (rules.read_number, f"{BIG},00", f"número grande demais: '{BIG[:60]}…' (88 caracteres)"),
    (rules.read_number, BIG, f"número grande demais: '{BIG[:60]}…' (85 caracteres)"),
    (
        rules.read_number,
        f"{BIG.replace('.', ',')}.00",
        f"número grande demais: '{BIG.replace('.', ',')[:60]}…' (88 caracteres)",
    ),
    (rules.read_money, "1000000000000", "valor de R$ 1 trilhão ou mais: '1000000000000'"),
    (rules.read_money, "0.000000000000000000001", "mais de 20 casas decimais: '0.000000000000000000001'"),
    (rules.read_integer, "34,5", "não é um número inteiro: '34,5'"),
    (rules.read_integer, "2147483648", "número grande demais: '2147483648'"),
    (rules.read_quantity, "0", "quantidade deve ser maior que zero: '0'"),
    (rules.read_age, "131", "idade fora de 0 a 130: '131'"),
    (rules.read_date, "amanhã", "não é uma data: 'amanhã'"),
    (rules.read_date, "31/02/2024", "não é uma data: '31/02/2024'"),
    (rules.read_date, "1899-12-31", "ano fora de 1900 a 2199: '1899-12-31'"),
]


@pytest.mark.parametrize(("read", "raw", "reason"), REASONS)
def test_the_reason_names_the_value(read: Callable[[RawValue], object], raw: RawValue, reason: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read(raw)

    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("value", "text"),
    [("1000.00", "1000.00"), ("1E+3", "1000"), ("0E-20", "0.00000000000000000000"), ("1E+61", "1e+61")],
)
def test_a_number_is_written_with_all_its_decimals_unless_nobody_could_read_them(value: str, text: str) -> None:
    assert rules.written(Decimal(value)) == text


def test_a_number_of_sixty_one_digits_is_written_out_and_read() -> None:
    assert rules.written(Decimal("1E+60")) == "1" + "0" * 60
    assert rules.read_number(Decimal("1E+60")) == Decimal(10) ** 60


def test_a_value_of_sixty_characters_is_shown_whole_and_a_longer_one_with_its_length() -> None:
    assert rules.quoted("a" * 60) == f"'{'a' * 60}'"
    assert rules.quoted("a" * 61) == f"'{'a' * 60}…' (61 caracteres)"


def test_an_address_has_at_most_254_characters() -> None:
    longest = f"{'a' * (254 - len('@loja.com.br'))}@loja.com.br"

    assert rules.read_email(longest) == longest
    with pytest.raises(Unreadable):
        rules.read_email(f"a{longest}")


@pytest.mark.parametrize("digits", ["12345678", "123456789012345"])
def test_a_foreign_number_has_8_to_15_digits(digits: str) -> None:
    assert rules.read_phone(f"+{digits}") == f"+{digits}"


@pytest.mark.parametrize("digits", ["1234567", "1234567890123456"])
def test_a_foreign_number_of_fewer_or_more_digits_is_none(digits: str) -> None:
    with pytest.raises(Unreadable):
        rules.read_phone(f"+{digits}")
