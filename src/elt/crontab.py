"""When a crontab fires, in a time zone: pure functions of a moment.

``cronsim`` reads the crontab and follows Debian's cron(8): weekdays 0 and 7 are Sunday, a day of the month beside a day
of the week means either, and on a day on which daylight saving begins or ends each fire comes exactly once. A time
that the clock skips fires when the skipped hour ends, and a time that it shows twice fires the first time.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import dropwhile
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from elt.errors import ConfigurationError

_LOOK_BACK = [timedelta(hours=1), *(timedelta(days=days) for days in (1, 8, 63, 366, 9 * 366, 41 * 366))]
"""How far to look for the last fire: a short way finds a frequent one in few steps; 29 February skips 1900 and 2100."""


@dataclass(frozen=True)
class Calendar:
    """The fires of a crontab in a time zone. Moments come and go in UTC: two of one zone would compare by the wall."""

    crontab: str
    zone: ZoneInfo

    @classmethod
    def of(cls, crontab: str, zone: str) -> "Calendar":
        """``ConfigurationError`` that names ``SCHEDULE`` or ``TZ`` if they are not what they should be."""
        try:
            place = _zone(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise _wrong("TZ", f"there is no time zone '{zone}'", "America/Sao_Paulo") from None
        if (fields := len(crontab.split())) != 5:  # with six, cronsim takes the first for seconds
            why = f"it has {fields} fields instead of 5 (minute, hour, day, month, weekday)"
            raise _wrong("SCHEDULE", f"'{crontab}' is not a crontab: {why}", "0 2 1 */2 *")
        try:
            CronSim(crontab, datetime.now(UTC))
        except CronSimError as error:
            raise _wrong("SCHEDULE", f"'{crontab}' is not a crontab: {error}", "0 2 1 */2 *") from None
        return cls(crontab, place)

    def next(self, after: datetime) -> datetime:
        """The first fire later than ``after``."""
        wall = CronSim(self.crontab, after.astimezone(self.zone))
        moments = (fire.astimezone(UTC) for fire in wall)
        return next(dropwhile(lambda moment: moment <= after, moments))

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


def _zone(name: str) -> ZoneInfo:
    """The zone that ``TZ`` names, or whose file it names: many machines have ``TZ=:/etc/localtime`` set.

    Source: tzset(3), which allows a colon before either; localtime(5), by which a machine without that file is at UTC.
    """
    name = name.removeprefix(":")
    if not name.startswith("/"):
        return ZoneInfo(name)
    file = Path(name)
    if name == "/etc/localtime" and not file.exists():
        return ZoneInfo("UTC")
    with file.open("rb") as content:
        return ZoneInfo.from_file(content, key=str(file.resolve()).rpartition("/zoneinfo/")[2])


def _wrong(variable: str, what: str, example: str) -> ConfigurationError:
    return ConfigurationError(
        f"{variable}: {what}", kept="nothing was started", next_step=f"correct it in .env, for example {example}"
    )
