"""When a crontab fires: by the clock on the wall, once, with cron's own weekdays."""

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.crontab import Calendar
from elt.errors import ConfigurationError

DEFAULT = Calendar.of("0 2 1 */2 *", "America/Sao_Paulo")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def fires(crontab: str, zone: str, after: str, count: int) -> list[str]:
    """The next fires, as the zone's clock shows them."""
    calendar, moment, found = Calendar.of(crontab, zone), at(after), []
    for _ in range(count):
        moment = calendar.next(moment)
        found.append(moment.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes"))
    return found


def test_the_default_is_the_first_of_every_second_month_at_two_in_sao_paulo() -> None:
    assert fires("0 2 1 */2 *", "America/Sao_Paulo", "2026-11-22T12:00Z", 4) == [
        "2027-01-01T02:00-03:00",
        "2027-03-01T02:00-03:00",
        "2027-05-01T02:00-03:00",
        "2027-07-01T02:00-03:00",
    ]


def test_the_next_fire_is_later_than_the_moment_and_the_last_may_be_the_moment_itself() -> None:
    fire = at("2027-01-01T02:00-03:00")
    assert DEFAULT.last(fire) == fire
    assert DEFAULT.next(fire) == at("2027-03-01T02:00-03:00")
    assert DEFAULT.last(fire - timedelta(microseconds=1)) == at("2026-11-01T02:00-03:00")
    assert DEFAULT.next(fire - timedelta(microseconds=1)) == fire


def test_a_time_that_the_clock_skips_fires_when_the_skipped_hour_ends() -> None:
    assert fires("30 2 * * *", "America/New_York", "2026-03-07T12:00Z", 3) == [
        "2026-03-08T03:00-04:00",
        "2026-03-09T02:30-04:00",
        "2026-03-10T02:30-04:00",
    ]


def test_a_time_that_the_clock_shows_twice_fires_the_first_time_only() -> None:
    assert fires("30 1 * * *", "America/New_York", "2026-10-31T12:00Z", 3) == [
        "2026-11-01T01:30-04:00",
        "2026-11-02T01:30-05:00",
        "2026-11-03T01:30-05:00",
    ]


def test_the_clocks_of_sao_paulo_when_they_still_changed_at_midnight() -> None:
    assert fires("30 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00Z", 2) == [
        "2018-11-04T01:00-02:00",
        "2018-11-05T00:30-02:00",
    ]
    assert fires("30 23 * * *", "America/Sao_Paulo", "2019-02-16T12:00Z", 2) == [
        "2019-02-16T23:30-02:00",
        "2019-02-17T23:30-03:00",
    ]


@pytest.mark.parametrize(
    ("crontab", "weekday"), [("0 2 * * 1", 0), ("0 2 * * 0", 6), ("0 2 * * 7", 6), ("0 2 * * FRI", 4)]
)
def test_weekdays_are_those_of_cron(crontab: str, weekday: int) -> None:
    assert Calendar.of(crontab, "UTC").next(at("2026-11-22T12:00Z")).weekday() == weekday


@pytest.mark.parametrize(
    ("field", "weekdays"),
    [("1-5", {0, 1, 2, 3, 4}), ("*/2", {6, 1, 3, 5}), ("5-7", {4, 5, 6}), ("mon,3", {0, 2}), ("2/2", {1, 3, 5})],
)
def test_weekdays_come_as_ranges_steps_and_lists(field: str, weekdays: set[int]) -> None:
    calendar, moment, found = Calendar.of(f"0 2 * * {field}", "UTC"), at("2026-11-22T12:00Z"), set()
    while (moment := calendar.next(moment)) < at("2026-11-29T12:00Z"):
        found.add(moment.weekday())
    assert found == weekdays


def test_a_day_of_the_month_beside_a_weekday_means_either() -> None:
    assert [text[:10] for text in fires("0 2 13 * 5", "UTC", "2026-11-01T00:00Z", 5)] == [
        "2026-11-06",
        "2026-11-13",
        "2026-11-20",
        "2026-11-27",
        "2026-12-04",
    ]


def test_the_29th_of_february_is_found_years_back() -> None:
    assert Calendar.of("0 2 29 2 *", "UTC").last(at("2026-11-22T12:00Z")) == at("2024-02-29T02:00Z")
    assert Calendar.of("0 2 29 2 *", "UTC").last(at("2103-11-22T12:00Z")) == at("2096-02-29T02:00Z")


@pytest.mark.parametrize(
    "crontab",
    ["", "@monthly", "0 2 1 * * *", "61 * * * *", "0 2 31 2 *", "a b c d e", "0 2 * * 8", "0 2 * * 5-1", "0 2 * * 1/0"],
)
def test_what_is_no_crontab_is_a_configuration_error_that_names_the_variable(crontab: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^SCHEDULE: "):
        Calendar.of(crontab, "UTC")


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd", "/etc/passwd", ":/no/such/file", ":/etc", ":"])
def test_what_is_no_time_zone_is_a_configuration_error_that_names_the_variable(zone: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^TZ: "):
        Calendar.of("0 2 1 */2 *", zone)


@pytest.mark.parametrize("zone", [":America/Sao_Paulo", "{file}", ":{file}"])
def test_a_zone_may_stand_after_a_colon_or_be_named_by_its_file_as_posix_has_it(zone: str) -> None:
    file = files("tzdata") / "zoneinfo" / "America" / "Sao_Paulo"
    calendar, moment = Calendar.of("0 2 1 */2 *", zone.format(file=file)), at("2026-11-22T12:00Z")
    assert calendar.next(moment) == DEFAULT.next(moment)
    assert calendar.on_the_wall(moment) == DEFAULT.on_the_wall(moment)
    assert str(calendar.zone) == "America/Sao_Paulo"


def test_the_machines_own_zone_may_be_meant() -> None:
    """Many machines have TZ=:/etc/localtime, with and without that file."""
    calendar = Calendar.of("0 2 1 */2 *", ":/etc/localtime")
    assert " 02:00 " in calendar.on_the_wall(calendar.next(at("2026-11-22T12:00Z")))


@given(
    st.datetimes(datetime(2012, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - made aware
    st.sampled_from(["0 2 1 */2 *", "30 2 * * *", "30 1 * * 0", "15,45 */6 * * *", "0 0 1 1 *"]),
    st.sampled_from(["America/Sao_Paulo", "America/New_York", "Australia/Lord_Howe", "UTC"]),
)
def test_no_fire_lies_between_the_last_and_the_next(now: datetime, crontab: str, zone: str) -> None:
    calendar = Calendar.of(crontab, zone)
    last, following = calendar.last(now), calendar.next(now)
    assert last <= now < following
    assert calendar.next(last) == following
