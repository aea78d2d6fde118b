"""What the scheduler does when: its decisions, and ten years of them with a faked clock."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from elt.alerts import Alerts
from elt.crontab import Calendar
from elt.progress import SilentReporter
from elt.schedule import CHECK_AHEAD, PAUSES, Outcome, Result, Scheduler, State, Work, due, outcome_of, rolled

DAY = timedelta(days=1)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """A clock, and a lakehouse whose ledger outlives schedulers. ``fails`` says whether an attempt at a time fails."""

    now: datetime
    takes: timedelta = timedelta(minutes=10)
    fails: Callable[[datetime], bool] = lambda _: False
    held_until: datetime = LONG_AGO
    runs: list[datetime] = field(default_factory=list)
    attempts: list[datetime] = field(default_factory=list)
    checks: list[datetime] = field(default_factory=list)
    wakes: list[datetime] = field(default_factory=list)

    def run(self, unless_since: datetime) -> Outcome:
        if self.now < self.held_until:
            return Outcome(Result.BUSY)
        if self.runs and self.runs[-1] >= unless_since:
            return Outcome(Result.NEEDLESS)
        began = self.now
        self.attempts.append(began)
        self.now += self.takes
        if self.fails(began):
            return Outcome(Result.FAILED, "the source does not answer")
        self.runs.append(began)
        return Outcome(Result.DONE)

    def check(self) -> Outcome:
        self.checks.append(self.now)
        return Outcome(Result.DONE)

    def keep_awake(self) -> Outcome:
        self.wakes.append(self.now)
        return Outcome(Result.DONE)


def scheduler_in(world: World, calendar: Calendar) -> Scheduler:
    silent = SilentReporter()
    return Scheduler(calendar, world, Alerts(None, None, silent), silent, lambda: world.now)


def live(world: World, calendar: Calendar, until: datetime) -> Scheduler:
    """A scheduler from now until then, woken whenever something is due."""

    def wake_at(state: State) -> datetime:
        attempts = [] if state.done else [state.attempt_at]
        checks = [] if state.checked else [state.next_fire - CHECK_AHEAD]
        return min(state.next_fire, state.awake_at, *attempts, *checks)

    scheduler = scheduler_in(world, calendar)
    scheduler.tick()
    while (wake := wake_at(scheduler.state)) < until:
        world.now = max(world.now, wake)
        scheduler.tick()
    world.now = max(world.now, until)
    return scheduler


def every_second_month(years: range, zone: str) -> Iterator[datetime]:
    """The default's fires, reckoned without the program's calendar."""
    for year in years:
        for month in (1, 3, 5, 7, 9, 11):
            yield datetime(year, month, 1, 2, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def every_day(years: range, zone: str, hour: int, minute: int) -> Iterator[datetime]:
    """The fires of one time each day, reckoned without the program's calendar: PEP 495's fold=0.

    A time in an hour that the clock skips is that hour's end.
    """
    day = date(years[0], 1, 1)
    while day.year in years:
        moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        shown = moment.astimezone(ZoneInfo(zone))
        yield moment if shown.hour == hour else shown.replace(minute=0).astimezone(UTC)
        day += DAY


YEARS = range(2014, 2024)  # Sao Paulo changed its clocks until 2019, New York does to this day

FIRES = [
    pytest.param(
        "0 2 1 */2 *", "America/Sao_Paulo", list(every_second_month(YEARS, "America/Sao_Paulo")), id="default"
    ),
    pytest.param(
        "30 0 * * *", "America/Sao_Paulo", list(every_day(YEARS, "America/Sao_Paulo", 0, 30)), id="in Brazil's gap"
    ),
    pytest.param(
        "30 23 * * *",
        "America/Sao_Paulo",
        list(every_day(YEARS, "America/Sao_Paulo", 23, 30)),
        id="in Brazil's overlap",
    ),
    pytest.param("30 2 * * *", "America/New_York", list(every_day(YEARS, "America/New_York", 2, 30)), id="in the gap"),
    pytest.param(
        "30 1 * * *", "America/New_York", list(every_day(YEARS, "America/New_York", 1, 30)), id="in the overlap"
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("crontab", "zone", "fires"), FIRES)
def test_ten_years_have_each_fire_exactly_once(crontab: str, zone: str, fires: list[datetime]) -> None:
    world = World(fires[0] - timedelta(hours=5))
    world.runs = [Calendar.of(crontab, zone).last(world.now)]  # nothing is owed when it begins
    live(world, Calendar.of(crontab, zone), fires[-1] + timedelta(hours=1))
    assert world.runs[1:] == fires


@pytest.mark.slow
@pytest.mark.parametrize(("crontab", "zone", "fires"), FIRES[:1] + FIRES[3:])
def test_ten_years_with_the_machine_down_now_and_then_miss_nothing_and_double_nothing(
    crontab: str, zone: str, fires: list[datetime]
) -> None:
    chance = random.Random(20261122)
    calendar = Calendar.of(crontab, zone)
    world = World(fires[0] - timedelta(hours=5))
    world.runs = [calendar.last(world.now)]
    end, expected = fires[-1] + timedelta(hours=1), list[datetime]()
    while world.now < end:
        up = world.now
        missed = [fire for fire in fires if fire <= up and (not expected or fire > expected[-1])]
        if missed:
            expected.append(up)  # one run for all that were missed, at the start
        down = min(end, up + DAY * chance.randint(1, 150))
        expected += [fire for fire in fires if up < fire < down]
        live(world, calendar, down)
        world.now = down + timedelta(hours=chance.randint(1, 24 * 100))
    assert world.runs[1:] == expected


def test_fires_missed_while_the_machine_slept_are_one_run() -> None:
    """The process is the same before and after: a laptop's lid, a paused virtual machine."""
    calendar = Calendar.of("0 2 * * *", "UTC")
    world = World(datetime(2026, 1, 1, 2, tzinfo=UTC))
    scheduler = scheduler_in(world, calendar)
    scheduler.tick()
    world.now = datetime(2026, 1, 9, 17, 30, tzinfo=UTC)
    scheduler.tick()
    assert world.runs == [datetime(2026, 1, 1, 2, tzinfo=UTC), datetime(2026, 1, 9, 17, 30, tzinfo=UTC)]


def test_an_empty_lakehouse_runs_at_once() -> None:
    world = World(datetime(2026, 11, 22, 12, tzinfo=UTC))
    scheduler_in(world, Calendar.of("0 2 1 */2 *", "America/Sao_Paulo")).tick()
    assert world.runs == [datetime(2026, 11, 22, 12, tzinfo=UTC)]


def test_a_restart_after_the_fire_had_its_run_runs_nothing() -> None:
    world = World(datetime(2026, 11, 22, 12, tzinfo=UTC), runs=[datetime(2026, 11, 1, 6, tzinfo=UTC)])
    scheduler_in(world, Calendar.of("0 2 1 */2 *", "America/Sao_Paulo")).tick()
    assert world.attempts == []


def test_a_failed_run_is_tried_again_with_growing_pauses_until_the_next_fire() -> None:
    world = World(datetime(2026, 3, 1, 2, tzinfo=UTC), takes=timedelta(0), fails=lambda _: True)
    live(world, Calendar.of("0 2 1 * *", "UTC"), datetime(2026, 4, 1, 2, tzinfo=UTC))
    pauses = [later - earlier for earlier, later in zip(world.attempts, world.attempts[1:], strict=False)]
    assert pauses[: len(PAUSES)] == PAUSES
    assert set(pauses[len(PAUSES) :]) == {PAUSES[-1]}
    assert world.attempts[-1] > datetime(2026, 3, 31, 12, tzinfo=UTC)


def test_pauses_grow_from_minutes_to_hours() -> None:
    assert sorted(PAUSES) == PAUSES
    assert PAUSES[0] < timedelta(hours=1) < PAUSES[-1] < DAY


def test_the_next_fire_begins_with_short_pauses_again() -> None:
    april = datetime(2026, 4, 1, 2, tzinfo=UTC)
    world = World(datetime(2026, 3, 1, 2, tzinfo=UTC), takes=timedelta(0), fails=lambda _: True)
    live(world, Calendar.of("0 2 1 * *", "UTC"), april + timedelta(hours=1))
    in_april = [attempt for attempt in world.attempts if attempt >= april]
    assert in_april[:2] == [april, april + PAUSES[0]]


def test_a_retry_that_succeeds_is_the_last_of_its_fire() -> None:
    start = datetime(2026, 3, 1, 2, tzinfo=UTC)
    world = World(start, takes=timedelta(0), fails=lambda began: began < start + timedelta(hours=2))
    scheduler = live(world, Calendar.of("0 2 1 * *", "UTC"), datetime(2026, 4, 1, 2, tzinfo=UTC))
    assert len(world.runs) == 1
    assert (scheduler.state.done, scheduler.state.failures) == (True, 0)


def test_a_held_lakehouse_is_no_failure_and_is_looked_at_again() -> None:
    start = datetime(2026, 3, 1, 2, tzinfo=UTC)
    world = World(start, held_until=start + timedelta(hours=3))
    live(world, Calendar.of("0 2 1 * *", "UTC"), start + DAY)
    assert len(world.runs) == 1
    assert start + timedelta(hours=3) <= world.runs[0] <= start + timedelta(hours=3, minutes=5)


def test_a_fire_during_the_run_of_the_one_before_is_run_after_it() -> None:
    start = datetime(2026, 3, 1, 2, tzinfo=UTC)
    world = World(start, takes=timedelta(hours=20))
    scheduler_in(world, Calendar.of("0 2,12 1 3 *", "UTC")).tick()
    assert world.runs == [start, start + timedelta(hours=20)]


def test_a_clock_set_back_does_not_silence_the_scheduler() -> None:
    calendar = Calendar.of("0 2 1 * *", "UTC")
    world = World(datetime(2036, 3, 1, 2, tzinfo=UTC))  # a board without a battery woke up in the wrong year
    scheduler = scheduler_in(world, calendar)
    scheduler.tick()
    world.now, world.runs = datetime(2026, 3, 5, tzinfo=UTC), []
    scheduler.tick()
    assert world.runs == [datetime(2026, 3, 5, tzinfo=UTC)]
    assert scheduler.state.next_fire == datetime(2026, 4, 1, 2, tzinfo=UTC)


def test_both_ends_are_checked_once_a_day_before_the_fire() -> None:
    start = datetime(2026, 3, 1, 2, tzinfo=UTC)
    world = World(start)
    live(world, Calendar.of("0 2 1 * *", "UTC"), datetime(2026, 5, 1, tzinfo=UTC))
    assert world.checks == [datetime(2026, 3, 31, 2, tzinfo=UTC), datetime(2026, 4, 30, 2, tzinfo=UTC)]


def test_a_scheduler_started_within_the_last_day_checks_at_once() -> None:
    world = World(datetime(2026, 3, 31, 20, tzinfo=UTC), runs=[datetime(2026, 3, 2, tzinfo=UTC)])
    scheduler_in(world, Calendar.of("0 2 1 * *", "UTC")).tick()
    assert world.checks == [datetime(2026, 3, 31, 20, tzinfo=UTC)]


def test_daily_fires_are_not_checked_ahead() -> None:
    world = World(datetime(2026, 3, 1, 2, tzinfo=UTC))
    live(world, Calendar.of("0 2 * * *", "UTC"), datetime(2026, 3, 11, tzinfo=UTC))
    assert world.checks == []


def test_the_ends_are_kept_awake_every_day() -> None:
    world = World(datetime(2026, 3, 1, 2, tzinfo=UTC))
    live(world, Calendar.of("0 2 1 */2 *", "UTC"), datetime(2026, 5, 1, tzinfo=UTC))
    pauses = {later - earlier for earlier, later in zip(world.wakes, world.wakes[1:], strict=False)}
    assert len(world.wakes) == 61
    assert max(pauses) <= DAY + world.takes


def test_the_run_comes_before_the_check_and_the_check_before_the_small_query() -> None:
    now = datetime(2026, 3, 31, 20, tzinfo=UTC)
    state = rolled(None, now, Calendar.of("0 2 1 * *", "UTC"))
    assert due(state, now) is Work.RUN
    assert due(State(**{**vars(state), "done": True}), now) is Work.CHECK
    assert due(State(**{**vars(state), "done": True, "checked": True}), now) is Work.KEEP_AWAKE
    rested = State(**{**vars(state), "done": True, "checked": True, "awake_at": now + DAY})
    assert due(rested, now) is None


@pytest.mark.parametrize(
    ("command", "code", "printed", "result"),
    [
        ("run", 0, '{"layers": [{"layer": "bronze", "key": 135}]}', Result.DONE),
        ("run", 0, '{"layers": []}', Result.NEEDLESS),
        ("check", 0, '{"ready": true}', Result.DONE),
        ("run", 3, '{"error": "another run holds the lakehouse", "kept": "", "next": ""}', Result.BUSY),
        ("run", 143, '{"error": "stopped", "kept": "", "next": ""}', Result.STOPPED),
        ("run", 1, '{"error": "no space", "kept": "all", "next": "free some", "run": "ab"}', Result.FAILED),
        ("run", 2, '{"error": "LAKEHOUSE_DB_URL", "kept": "", "next": ""}', Result.FAILED),
    ],
)
def test_how_a_command_ended_is_told_by_its_exit_code_and_json(
    command: str, code: int, printed: str, result: Result
) -> None:
    assert outcome_of(command, code, printed).result is result


def test_a_failed_command_hands_on_its_words() -> None:
    outcome = outcome_of("run", 1, '{"error": "no space", "kept": "all", "next": "free some", "run": "ab"}')
    assert (outcome.error, outcome.kept, outcome.next_step, outcome.run) == ("no space", "all", "free some", "ab")


def test_a_command_that_was_killed_says_so() -> None:
    outcome = outcome_of("run", -9, "")
    assert outcome.result is Result.FAILED
    assert "signal 9" in outcome.error
    assert "memory" in outcome.error


def test_rows_in_quarantine_are_those_of_silver() -> None:
    layers = [{"layer": "bronze", "rows_quarantined": 0}, {"layer": "silver", "rows_quarantined": 7}]
    assert Outcome(Result.DONE, layers=layers).quarantined == 7
