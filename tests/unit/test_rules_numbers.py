"""How numbers are read: exact in every notation a shop uses, and refused where two readings are possible."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.rules import Unreadable, read_age, read_integer, read_money, read_number, read_quantity

AMOUNTS = st.decimals(min_value=-(10**12) + 1, max_value=10**12 - 1, allow_nan=False, allow_infinity=False, places=2)
ANY_DECIMAL = st.decimals(allow_nan=True, allow_infinity=True)
READERS = (read_number, read_money, read_integer, read_quantity, read_age)


def brazilian(amount: Decimal) -> str:
    return f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))


@given(AMOUNTS)
def test_every_amount_reads_back_exactly_in_every_notation(amount: Decimal) -> None:
    with_comma = brazilian(amount)
    for text in (
        f"{amount:.2f}",
        with_comma,
        with_comma.replace(".", ""),
        f"R$ {with_comma}",
        f"R$\u00a0{with_comma}",
        f"{amount:,.2f}",
        f"  {with_comma}  ",
    ):
        assert read_money(text) == amount, text


@given(AMOUNTS)
def test_a_minus_sign_may_stand_before_or_after_the_currency(amount: Decimal) -> None:
    bare = brazilian(abs(amount))
    assert read_money(f"-R$ {bare}") == read_money(f"R$ -{bare}") == -abs(amount)


@given(st.integers(0, 10**18 - 1), st.integers(0, 20))
def test_no_digit_of_a_long_amount_is_rounded(digits: int, places: int) -> None:
    with localcontext(prec=60):
        amount = Decimal(digits).scaleb(-places)
        if abs(amount) < 10**12:
            assert read_money(amount) == amount
            assert read_money(f"R$ {amount:f}".replace(".", ",")) == amount


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", "12"),
        ("+12.5", "12.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("0,5", "0.5"),
        ("0.500", "0.5"),
        ("0,500", "0.5"),
        ("1234.567", "1234.567"),
        ("1234,567", "1234.567"),
        ("1.234.567", "1234567"),
        ("1,234,567.89", "1234567.89"),
        ("R$ 1.234", "1234"),
        ("R$1.234,5", "1234.5"),
        ("brl 10,00", "10"),
        ("1.2e3", "1200"),
        ("\u22125", "-5"),
    ],
)
def test_these_texts_are_these_numbers(text: str, value: str) -> None:
    assert read_number(text) == Decimal(value)


@pytest.mark.parametrize("text", ["1.234", "-1.234", "999.000", "12.500", "1,234", "-12,500"])
def test_a_number_with_two_readings_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(Unreadable, match="número ambíguo") as refused:
        read_number(text)
    decimal, thousands = f"{text}0", f"{text}{',' if '.' in text else '.'}00"
    assert f"escreva {decimal} ou {thousands}" in str(refused.value)
    assert read_number(thousands) == 1000 * read_number(decimal)


@pytest.mark.parametrize(
    "text",
    [
        *("abc", "R$", "-", ".", ",", "1..2", "1,2,3", "1.23.456", "1.2345,6", "12,", "5,00-", "(5,00)", "R$ R$ 5"),
        *("nan", "inf", "-Infinity", "1e400", "1e9999", "1_000", "0x10", "12\x00", "\x00", "1 234,56", "½", "1/2"),
        *("٣٤", "１２", "١.٢٣٤"),
        *("9" * 200, "0." + "3" * 200, "1." * 100),
    ],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read_number(text)


def test_a_long_refused_text_is_cut_in_the_reason() -> None:
    with pytest.raises(Unreadable, match=r"'9{60}…' \(200 caracteres\)"):
        read_number("9" * 200)


@given(st.text())
def test_any_text_is_read_or_refused_and_never_anything_else(text: str) -> None:
    for read in READERS:
        try:
            read(text)
        except Unreadable:
            continue


@given(ANY_DECIMAL)
def test_any_decimal_is_read_exactly_or_refused(value: Decimal) -> None:
    for read in READERS:
        try:
            assert read(value) == value
        except Unreadable:
            continue


@pytest.mark.parametrize("value", [Decimal("1." + "0" * 250 + "1"), Decimal("1E-9999999"), Decimal("1e-21")])
def test_more_decimals_than_the_type_holds_are_refused_not_rounded(value: Decimal) -> None:
    with pytest.raises(Unreadable, match="casas decimais"):
        read_money(value)


def test_money_is_below_one_trillion_either_way() -> None:
    largest = Decimal("999999999999.99999999999999999999")
    assert read_money(largest) == largest
    assert read_money(largest.copy_negate()) == largest.copy_negate()
    for amount in ("1000000000000", "-1e12", "R$ 1.000.000.000.000,00"):
        with pytest.raises(Unreadable, match="trilhão"):
            read_money(amount)


@given(AMOUNTS)
def test_reading_a_result_again_gives_the_same(amount: Decimal) -> None:
    once = read_money(brazilian(amount))
    assert read_money(once) == once
    assert str(read_money(once)) == str(once)


def test_a_whole_number_may_carry_zeros_behind_the_point_but_nothing_else() -> None:
    assert read_integer("34.0") == 34
    assert read_integer("34,00") == 34
    assert read_integer(Decimal("34.000")) == 34
    for text in ("34.5", "0,1", "1e-3"):
        with pytest.raises(Unreadable, match="não é um número inteiro"):
            read_integer(text)


def test_a_whole_number_fits_the_column() -> None:
    assert read_integer("2147483647") == 2**31 - 1
    for text in ("2147483648", "-2147483648", "9" * 50):
        with pytest.raises(Unreadable, match="grande demais"):
            read_integer(text)


def test_a_quantity_is_greater_than_zero() -> None:
    assert read_quantity("1") == 1
    for text in ("0", "-1", "0,0"):
        with pytest.raises(Unreadable, match="maior que zero"):
            read_quantity(text)


def test_an_age_is_from_0_to_130() -> None:
    assert [read_age("0"), read_age("130"), read_age("34,0")] == [0, 130, 34]
    for text in ("-1", "131"):
        with pytest.raises(Unreadable, match="idade fora de 0 a 130"):
            read_age(text)
    with pytest.raises(Unreadable):
        read_age("34 anos")
