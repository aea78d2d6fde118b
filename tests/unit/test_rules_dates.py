"""How dates are read: the day in São Paulo, from ISO and Brazilian notations."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.rules import SHOP_TIME_ZONE, Unreadable, read_date

DAYS = st.dates(date(1900, 1, 1), date(2199, 12, 31))
OFFSETS = st.integers(-14, 14)


@given(DAYS)
def test_a_day_reads_the_same_however_it_is_written(day: date) -> None:
    for text in (
        day.isoformat(),
        f"{day:%Y/%m/%d}",
        f"{day:%d/%m/%Y}",
        f"{day.day}/{day.month}/{day.year}",
        f"{day:%d-%m-%Y}",
        f"{day:%d.%m.%Y}",
        f"{day:%d/%m/%Y} 10:30",
        f"{day:%d/%m/%Y} 23:59:59",
        f"{day:%d/%m/%Y}, 10:30:00,5",
        f"{day.isoformat()} 10:30:00",
        f"{day.isoformat()}T10:30:00.123456",
        f"{day.isoformat()} 10:30:00.000",
        f"{day.isoformat()} 10:30:00.123456789",
        f"  {day.isoformat()} ",
    ):
        assert read_date(text) == day, text


@given(st.datetimes(datetime(1950, 1, 1), datetime(2190, 1, 1)), OFFSETS)  # noqa: DTZ001 - the offset is added below
def test_an_instant_with_an_offset_is_the_day_it_was_in_the_shop(moment: datetime, hours: int) -> None:
    instant = moment.replace(tzinfo=ZoneInfo("UTC")) - timedelta(hours=hours)
    day = instant.astimezone(SHOP_TIME_ZONE).date()
    text = f"{moment:%Y-%m-%d %H:%M:%S}"
    assert read_date(f"{text}{hours:+03d}") == day
    assert read_date(f"{text}{hours:+03d}:00") == day
    assert read_date(f"{text}.250000{hours:+03d}00") == day


def test_an_evening_in_sao_paulo_is_still_that_day_when_written_in_utc() -> None:
    assert read_date("2024-03-05T01:30:00Z") == date(2024, 3, 4)
    assert read_date("2024-03-05 01:30:00") == date(2024, 3, 5)


@given(DAYS)
def test_reading_a_result_again_gives_the_same(day: date) -> None:
    assert read_date(str(read_date(f"{day:%d/%m/%Y}"))) == day


@pytest.mark.parametrize(
    "text",
    [
        *("31/02/2025", "0000-00-00", "2024-02-30", "13/13/2024", "05/03/24", "2024", "20240305", "05032024"),
        *("infinity", "hoje", "45356", "03/2024", "2024-3-5", "2024-03-05 25:00:00", "2024-03-05 10:30 horas"),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "\x00", "2024-03-05\x00", "1" * 200),
    ],
)
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read_date(text)


@pytest.mark.parametrize("text", ["1899-12-31", "2200-01-01", "01/01/0024"])
def test_a_year_far_from_any_shop_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match="ano fora de 1900 a 2199"):
        read_date(text)


@given(st.text())
def test_any_text_is_read_or_refused_and_never_anything_else(text: str) -> None:
    try:
        assert isinstance(read_date(text), date)
    except Unreadable:
        return


@given(st.text(alphabet="0123456789/-.: T+Z,", max_size=30))
def test_anything_that_looks_like_a_date_is_read_or_refused(text: str) -> None:
    try:
        assert 1900 <= read_date(text).year < 2200
    except Unreadable:
        return
