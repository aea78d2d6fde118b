"""How texts, keys, e-mails, telephones and statuses are read."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.rules import (
    AREA_CODES,
    KEY,
    STATUSES,
    RawValue,
    Unreadable,
    read_email,
    read_key,
    read_phone,
    read_status,
    read_text,
)

READERS = (read_text, read_key, read_email, read_phone, read_status)
NOT_BLANK = st.text(min_size=1).filter(lambda text: text.strip() != "")
AREAS = st.sampled_from(sorted(AREA_CODES))
MOBILES = st.from_regex(r"9[0-9]{8}", fullmatch=True)
LANDLINES = st.from_regex(r"[2-9][0-9]{7}", fullmatch=True)


@given(st.one_of(NOT_BLANK, st.decimals()))
def test_any_value_is_read_or_refused_and_reading_again_changes_nothing(raw: RawValue) -> None:
    for read in READERS:
        try:
            once = read(raw)
        except Unreadable:
            continue
        assert read(once) == once, read.__name__
        assert once.strip() == once, read.__name__


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("  Ana  Souza ", "Ana Souza"),
        ("Ana\u00a0Souza", "Ana Souza"),
        ("Ana\r\nSouza\t", "Ana Souza"),
        ("São Paulo", "São Paulo"),
        ("🙂", "🙂"),
    ],
)
def test_text_is_trimmed_and_its_spaces_collapsed(raw: str, text: str) -> None:
    assert read_text(raw) == text


@pytest.mark.parametrize("raw", ["Ana\x00", "\x1b[31mAna", "An\x07a", "A\x7f"])
def test_text_with_control_characters_is_refused(raw: str) -> None:
    with pytest.raises(Unreadable, match="caracteres de controle"):
        read_text(raw)


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("ALFKI", "ALFKI"),
        ("10248-11", "10248-11"),
        (" 007 ", "007"),
        ("7.0", "7.0"),
        (Decimal("7.0"), "7"),
        (Decimal("1e3"), "1000"),
        (Decimal("-0.0"), "0"),
        (Decimal("9007199254740993"), "9007199254740993"),
    ],
)
def test_a_key_is_text_as_written_or_a_whole_number(raw: RawValue, key: str) -> None:
    assert read_key(raw) == key


@pytest.mark.parametrize("raw", [Decimal("7.5"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), "a\x00b"])
def test_what_is_no_key_is_refused(raw: RawValue) -> None:
    with pytest.raises(Unreadable):
        read_key(raw)


@given(st.from_regex(str(KEY.plain), fullmatch=True))
def test_a_key_that_need_not_be_read_is_its_own_value_as_text_and_as_a_number(text: str) -> None:
    assert read_key(text) == read_key(Decimal(text)) == text


@pytest.mark.parametrize("raw", ["9" * 201, Decimal("1e200"), Decimal("1e999999")])
def test_a_key_has_at_most_200_characters(raw: RawValue) -> None:
    with pytest.raises(Unreadable, match="chave longa demais"):
        read_key(raw)
    assert read_key("9" * 200) == "9" * 200


@pytest.mark.parametrize(
    ("raw", "email"),
    [(" Ana.Souza@Exemplo.COM.BR ", "ana.souza@exemplo.com.br"), ("a+b@x-y.io", "a+b@x-y.io")],
)
def test_an_email_is_lower_cased(raw: str, email: str) -> None:
    assert read_email(raw) == email


@pytest.mark.parametrize(
    "raw",
    [
        *("sem e-mail", "ana@", "@exemplo.com", "ana@exemplo", "ana@@exemplo.com", "ana souza@exemplo.com"),
        *("ana@exemplo..com", "ana@-exemplo.com", "ana@exemplo.c", "a" * 250 + "@x.com", "<ana@exemplo.com>"),
        "ana@exemplo.com\x00",
    ],
)
def test_what_is_no_email_is_refused(raw: str) -> None:
    with pytest.raises(Unreadable):
        read_email(raw)


@given(AREAS, st.one_of(MOBILES, LANDLINES))
def test_a_telephone_with_its_area_code_reads_the_same_however_it_is_written(area: str, number: str) -> None:
    first, last = number[:-4], number[-4:]
    for text in (
        f"{area}{number}",
        f"({area}) {first}-{last}",
        f"0{area} {first} {last}",
        f"+55 {area} {first}-{last}",
        f"55{area}{number}",
        f"+55\u00a0({area})\u00a0{number}",
        f"{area}.{first}.{last}",
    ):
        assert read_phone(text) == f"+55{area}{number}", text


@pytest.mark.parametrize(
    ("raw", "phone"), [("+351 912 345 678", "+351912345678"), ("+1 (555) 010-9999", "+15550109999")]
)
def test_a_foreign_telephone_keeps_the_country_it_was_written_with(raw: str, phone: str) -> None:
    assert read_phone(raw) == phone


@pytest.mark.parametrize(
    "raw",
    [
        *("98765-4321", "20 98765-4321", "11 18765-4321", "(11) 0765-4321", "11 8765-43210", "119876543210"),
        *("030-0074321", "+55 98 765432", "+5598765432", "+55", "+1", "+0123456789", "++5511987654321"),
        *("ramal 12", "11 98765-4321 / 4322", "Alemanha", "١١٩٨٧٦٥٤٣٢١", "\x00", "1" * 200),
    ],
)
def test_what_is_no_telephone_is_refused(raw: str) -> None:
    with pytest.raises(Unreadable):
        read_phone(raw)


@given(st.sampled_from([(name, spelling) for name, others in STATUSES.items() for spelling in (name, *others)]))
def test_every_known_spelling_of_a_status_becomes_its_name(known: tuple[str, str]) -> None:
    name, spelling = known
    for text in (spelling, spelling.upper(), spelling.title(), f"  {spelling} ", spelling.replace(" ", "_")):
        assert read_status(text) == name, text


def test_an_unknown_status_is_kept_and_tidied() -> None:
    assert read_status(" na  gráfica ") == "Na gráfica"
