"""Dates and times of JSON as PostgreSQL prints them, instants in UTC."""

from datetime import UTC, date, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.sources.printed import DATE, INSTANT, TIMESTAMP, printed

OFFSETS = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def one(text: str | None, kind: str) -> str | None:
    found: str | None = printed(pa.chunked_array([pa.array([text], pa.string())]), kind)[0].as_py()
    return found


def written(moment: datetime) -> str:
    """As PostgreSQL writes it in JSON: no idle zeros in the fraction of a second."""
    date_and_time, point, rest = moment.isoformat().partition(".")
    fraction = rest[:6].rstrip("0")
    return f"{date_and_time}{point if fraction else ''}{fraction}{rest[6:]}"


@given(st.dates())
def test_a_day_is_as_it_is(day: date) -> None:
    assert one(day.isoformat(), DATE) == day.isoformat()


@given(st.datetimes())
def test_a_time_without_offset_has_a_space(moment: datetime) -> None:
    assert one(written(moment), TIMESTAMP) == written(moment).replace("T", " ")


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=OFFSETS))  # noqa: DTZ001 - hypothesis' bounds
def test_an_instant_is_in_utc_whatever_its_offset(moment: datetime) -> None:
    text = one(written(moment), INSTANT)
    assert text is not None
    assert text.endswith("+00")
    assert datetime.fromisoformat(text.removesuffix("+00")).replace(tzinfo=UTC) == moment
    assert one(written(moment.astimezone(UTC)), INSTANT) == text


@pytest.mark.parametrize(
    ("json", "text"),
    [
        ("2024-03-05T02:30:00+00:00", "2024-03-05 02:30:00+00"),
        ("2024-03-04T23:30:00.12-03:00", "2024-03-05 02:30:00.12+00"),
        ("2024-03-04T23:30:00.000001-03:00", "2024-03-05 02:30:00.000001+00"),
        ("1900-01-01T00:00:00-03:06:28", "1900-01-01 03:06:28+00"),
        ("0044-03-15T10:00:00.5+00:00 BC", "0044-03-15 10:00:00.5+00 BC"),
        ("12345-01-01T00:00:00+00:00", "12345-01-01 00:00:00+00"),
        ("infinity", "infinity"),
        ("-infinity", "-infinity"),
        (None, None),
    ],
)
@pytest.mark.parametrize("beside", ["2024-03-05T02:30:00+00:00", "2024-03-05T02:30:00-03:00", None])
def test_an_instant_is_as_postgresql_prints_it_in_utc(json: str | None, text: str | None, beside: str | None) -> None:
    assert printed(pa.chunked_array([pa.array([json, beside], pa.string())]), INSTANT)[0].as_py() == text
