"""What ``medallion health`` calls healthy."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from elt import health
from elt.errors import ConfigurationError
from elt.health import View, problems

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)


def view(**differing: object) -> View:
    standard = {
        "beat_at": NOW - timedelta(seconds=20),
        "fire": datetime(2026, 3, 1, 5, tzinfo=UTC),
        "next_fire": datetime(2026, 5, 1, 5, tzinfo=UTC),
        "since": datetime(2026, 3, 1, 5, tzinfo=UTC),
        "done": True,
        "failures": 0,
        "attempt_at": None,
        "working": None,
        "error": "",
    }
    return View.model_validate({**standard, **differing})


def test_a_scheduler_that_beats_and_whose_run_is_done_is_healthy() -> None:
    assert problems(view(), NOW) == []


def test_no_scheduler_is_unhealthy() -> None:
    assert problems(None, NOW) == ["no scheduler is at work here"]


@pytest.mark.parametrize(
    ("differing", "problem"),
    [
        ({"beat_at": NOW - timedelta(minutes=10)}, "silent since 2026-03-05 11:50:00 UTC"),
        ({"failures": 3, "error": "no space"}, "the last run failed, 3 times in a row: no space"),
        ({"done": False}, "the run of 2026-03-01 05:00 UTC is overdue"),
        ({"next_fire": NOW - timedelta(hours=1)}, "has passed without a reaction"),
    ],
)
def test_what_is_wrong_is_said(differing: dict[str, object], problem: str) -> None:
    assert [problem in found for found in problems(view(**differing), NOW)] == [True]


def test_a_run_at_work_is_healthy_for_a_day() -> None:
    running = view(done=False, working="run", since=NOW - timedelta(hours=5))
    assert problems(running, NOW) == []


def test_a_long_missed_fire_that_a_scheduler_has_just_taken_on_is_not_overdue() -> None:
    assert problems(view(done=False, since=NOW - timedelta(minutes=1)), NOW) == []


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = health.file_in(tmp_path / "data")
    health.write(file, view())
    assert health.read(file) == view()


@pytest.mark.parametrize("content", ["", "{", '{"beat_at": "yesterday"}', "[]"])
def test_a_file_that_is_no_view_is_no_scheduler(content: str, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(content, encoding="utf-8")
    assert health.read(file) is None


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="DATA_DIR"):
        health.write(health.file_in(tmp_path / "data"), view())
