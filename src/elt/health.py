"""Whether the scheduler does its work: it writes a small file every few seconds, and ``medallion health`` reads it.

A file, and not the run ledger: between two runs the embedded lakehouse is stopped, and a check must not start it.
"""

from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from elt import private
from elt.errors import ConfigurationError

SILENT_AFTER = timedelta(minutes=3)
OVERDUE_AFTER = timedelta(days=1)
MISSED_AFTER = timedelta(minutes=10)


class View(BaseModel):
    """What the scheduler says of itself. ``since``: when it took the last fire on; ``error``: of its last attempt."""

    model_config = ConfigDict(frozen=True)

    beat_at: datetime
    fire: datetime
    next_fire: datetime
    since: datetime
    done: bool
    failures: int
    attempt_at: datetime | None
    working: str | None
    error: str


def file_in(folder: Path) -> Path:
    """Where the scheduler of this data folder writes."""
    return folder / "scheduler.json"


def write(file: Path, view: View) -> None:
    """Replace the file at once: a reader sees the old one or the new one. ``ConfigurationError`` if it cannot."""
    partial = file.with_suffix(".partial")
    try:
        private.make_folder(file.parent)
        partial.unlink(missing_ok=True)
        with private.create(partial) as opened:
            opened.write(view.model_dump_json(indent=2).encode())
        partial.replace(file)
    except OSError as error:
        raise ConfigurationError(
            f"DATA_DIR: cannot write {file}: {error.strerror}", next_step="set DATA_DIR to a folder where you may write"
        ) from error


def remove(file: Path) -> None:
    """The scheduler has ended."""
    file.unlink(missing_ok=True)


def read(file: Path) -> View | None:
    """What the scheduler said last; None if there is no scheduler, or it wrote nothing readable."""
    try:
        return View.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def problems(view: View | None, now: datetime) -> list[str]:
    """What is wrong, in words; nothing if all is well."""
    if view is None:
        return ["no scheduler is at work here"]
    found = []
    if now - view.beat_at > SILENT_AFTER:
        found.append(f"the scheduler has been silent since {view.beat_at:%Y-%m-%d %H:%M:%S %Z}")
    if now - view.next_fire > MISSED_AFTER:
        found.append(f"the fire of {view.next_fire:%Y-%m-%d %H:%M %Z} has passed without a reaction")
    if view.failures:
        found.append(f"the last run failed, {view.failures} times in a row: {view.error}")
    if not view.done and now - view.since > OVERDUE_AFTER:
        found.append(f"the run of {view.fire:%Y-%m-%d %H:%M %Z} is overdue")
    return found
