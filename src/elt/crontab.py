"""When a crontab fires, in a time zone: pure functions of a moment.

APScheduler reads the crontab; this module fires it by the clock on the wall, so that a day on which daylight saving
begins or ends has each fire exactly once: a time that the clock skips fires as much later as it skips, and a time that
it shows twice fires the first time. (APScheduler's own trigger fires such a time twice.) Weekdays are those of cron(8):
0 and 7 are Sunday, and a day of the month beside a day of the week means either.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from elt.errors import ConfigurationError

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MINUTE = timedelta(minutes=1)
_LARGEST_SHIFT = timedelta(hours=3)
"""No clock is moved by more for daylight saving."""

_LOOK_BACK = [timedelta(hours=1), *(timedelta(days=days) for days in (1, 8, 63, 366, 9 * 366, 41 * 366))]
"""How far to look for the last fire: a short way finds a frequent one in few steps; 29 February skips 1900 and 2100."""


@dataclass(frozen=True)
class Calendar:
    """The fires of a crontab in a time zone. Moments come and go in UTC: two of one zone would compare by the wall."""

    crontab: str
    zone: ZoneInfo
    trigger: BaseTrigger

    @classmethod
    def of(cls, crontab: str, zone: str) -> "Calendar":
        """``ConfigurationError`` that names ``SCHEDULE`` or ``TZ`` if they are not what they should be."""
        try:
            place = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise _wrong("TZ", f"there is no time zone '{zone}'", "America/Sao_Paulo") from None
        try:
            trigger = _trigger(crontab)
        except (ValueError, KeyError) as error:
            raise _wrong("SCHEDULE", f"'{crontab}' is not a crontab: {error}", "0 2 1 */2 *") from None
        if trigger.get_next_fire_time(None, datetime(2000, 1, 1, tzinfo=UTC)) is None:
            raise _wrong("SCHEDULE", f"'{crontab}' never comes", "0 2 1 */2 *")
        return cls(crontab, place, trigger)

    def next(self, after: datetime) -> datetime:
        """The first fire later than ``after``."""
        wall = after.astimezone(self.zone).replace(tzinfo=UTC) - _LARGEST_SHIFT  # the wall's clock, as if it were UTC
        while True:
            fire: datetime = self.trigger.get_next_fire_time(None, wall)
            moment = fire.replace(tzinfo=self.zone, fold=0).astimezone(UTC)
            if moment > after:
                return moment
            wall = fire + _MINUTE

    def last(self, until: datetime) -> datetime:
        """The last fire at ``until`` or earlier."""
        for span in _LOOK_BACK:
            fire = self.next(until - span)
            if fire <= until:
                while (following := self.next(fire)) <= until:
                    fire = following
                return fire
        raise AssertionError("a crontab that fires at all fires within 41 years")

    def on_the_wall(self, moment: datetime) -> str:
        """The moment as people of the zone write it."""
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M %Z}"


def _wrong(variable: str, what: str, example: str) -> ConfigurationError:
    return ConfigurationError(
        f"{variable}: {what}", kept="nothing was started", next_step=f"correct it in .env, for example {example}"
    )


def _trigger(crontab: str) -> BaseTrigger:
    """Source of the rules: crontab(5). ``ValueError`` in words if it is not one."""
    fields = crontab.split()
    if len(fields) != 5:
        raise ValueError(f"it has {len(fields)} fields instead of 5 (minute, hour, day, month, weekday)")
    minute, hour, day, month, weekday = fields
    times = {"minute": minute, "hour": hour, "month": month, "timezone": UTC}
    weekdays = _weekdays(weekday)
    if day.startswith("*") or weekday.startswith("*"):
        return CronTrigger(**times, day=day, day_of_week=weekdays)
    return OrTrigger([CronTrigger(**times, day=day), CronTrigger(**times, day_of_week=weekdays)])


def _weekdays(field: str) -> str:
    """A weekday field of cron(8) as APScheduler wants it, whose 0 is Monday: by names."""
    found: set[int] = set()
    for part in field.lower().split(","):
        days, _, step = part.partition("/")
        first, _, last = ("0", "-", "6") if days == "*" else days.partition("-")
        low, high = _weekday(first), _weekday(last or ("6" if step else first))
        if low > high:
            raise ValueError(f"the weekdays '{part}' run backwards")
        found.update(day % 7 for day in range(low, high + 1, int(step or 1)))
    return ",".join(_WEEKDAYS[day] for day in sorted(found))


def _weekday(text: str) -> int:
    if text in _WEEKDAYS:
        return _WEEKDAYS.index(text)
    if not text.isdigit() or int(text) > 7:
        raise ValueError(f"'{text}' is not a weekday (0-7 or sun-sat)")
    return int(text)
