"""Which PostgreSQL is good enough: the newest minor release that was known when the lock was renewed."""

import pytest

from elt.lakehouse import server_folder
from elt.postgres_versions import NEWEST, Server


def test_a_minor_release_older_than_the_known_one_may_lack_security_fixes() -> None:
    older = Server.of(170_000 + NEWEST[17] - 1)
    assert older.version == f"17.{NEWEST[17] - 1}"
    assert f"security fixes of 17.{NEWEST[17]} may be missing" in older.warning


@pytest.mark.parametrize("number", [10_000 * major + minor for major, minor in NEWEST.items()])
def test_nothing_is_said_against_the_newest(number: int) -> None:
    assert Server.of(number).warning == ""


@pytest.mark.parametrize(("number", "version"), [(170_099, "17.99"), (190_000, "19.0")])
def test_nothing_is_said_against_one_that_is_newer_than_this_program(number: int, version: str) -> None:
    assert Server.of(number) == Server(version, "")


def test_a_major_release_that_nobody_maintains_is_to_be_upgraded() -> None:
    assert "gets no security fixes any more" in Server.of(140_020).warning


def test_who_renews_the_lock_renews_the_newest_minor_releases() -> None:
    """All majors get their minor releases on the same day: look at https://www.postgresql.org/versions.json."""
    major, minor = map(int, server_folder.version().split("."))
    assert NEWEST[major] == minor
