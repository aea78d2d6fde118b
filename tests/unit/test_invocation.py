"""A command that the program tells somebody to type is the one that works where they would type it."""

import os
import sys
from pathlib import Path

import pytest

from elt import invocation
from elt.invocation import IN_COMPOSE, command, program, typed

ROOT = Path(__file__).parents[2]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``.venv/bin/medallion``, which no PATH has."""
    monkeypatch.setattr(sys, "argv", [".venv/bin/medallion", "run"])
    monkeypatch.setenv("PATH", "/usr/bin")


@pytest.mark.parametrize(
    ("script", "python", "on_path", "expected"),
    [
        (".venv/bin/medallion", ".venv/bin/python3", None, ".venv/bin/medallion"),
        ("/opt/loja virtual/medallion", "python3", None, "'/opt/loja virtual/medallion'"),
        ("/usr/local/bin/medallion", "python3", "/usr/local/bin/medallion", "medallion"),
        (".venv/bin/medallion", "python3", "/usr/local/bin/medallion", ".venv/bin/medallion"),
        ("/home/ana/projeto/src/elt/__main__.py", ".venv/bin/python", None, ".venv/bin/python -m elt"),
        ("/home/ana/projeto/src/elt/gold/__main__.py", "python", "/usr/local/bin/medallion", "python -m elt"),
        (str(ROOT / "src/main.py"), "python3", None, f"python3 {ROOT / 'src/main.py'}"),
        (str(ROOT / "src/elt/bronze/main.py"), "python3", None, f"python3 {ROOT / 'src/main.py'}"),
        ("-c", "python3", None, "medallion"),
        ("", "python3", None, "medallion"),
    ],
)
def test_a_program_is_called_again_as_it_was_called(
    script: str, python: str, on_path: str | None, expected: str
) -> None:
    assert command(script, python, on_path) == expected


@pytest.mark.parametrize(
    ("folder", "script", "expected"),
    [
        (".", "src/main.py", "src/main.py"),
        (".", "src/elt/silver/main.py", "src/main.py"),
        ("src/elt/silver", "main.py", "../../main.py"),
    ],
)
def test_a_layers_script_leads_to_the_one_that_takes_every_command(
    folder: str, script: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / folder)
    assert command(script, "python", None) == f"python {expected}"


@pytest.mark.parametrize(
    ("project", "parent", "expected"),
    [
        ("medallion", 0, "docker compose exec medallion medallion"),  # started by exec
        ("medallion", 1, "docker compose exec medallion medallion"),  # started by the container's init
        ("", 0, "docker-compose exec medallion medallion"),  # Compose 1
        ("medallion", 7, ".venv/bin/medallion"),  # from a shell inside
        (None, 1, ".venv/bin/medallion"),  # a service of this machine
    ],
)
@pytest.mark.usefixtures("called")
def test_outside_of_its_container_it_is_called_through_compose(
    project: str | None, parent: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if project is not None:
        monkeypatch.setenv(IN_COMPOSE, project)
    monkeypatch.setattr(os, "getppid", lambda: parent)
    assert program() == expected


def test_the_compose_file_says_which_compose_it_is() -> None:
    assert f"{invocation.IN_COMPOSE}: ${{COMPOSE_PROJECT_NAME:-}}" in (ROOT / "docker-compose.yml").read_text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run: medallion init", "run: .venv/bin/medallion init"),
        ("medallion snapshots lists them", ".venv/bin/medallion snapshots lists them"),
        ("apply the migrations (medallion init); then `medallion run`",) * 2,
        ("docker compose exec medallion medallion status",) * 2,
        ("docker compose exec medallion medallion ...",) * 2,
        ("look at ~/medallion and at /opt/medallion now",) * 2,
        ("medallion: The run failed",) * 2,
    ],
)
@pytest.mark.usefixtures("called")
def test_only_the_name_before_a_command_is_replaced(text: str, expected: str) -> None:
    if "`" in text:
        expected = "apply the migrations (.venv/bin/medallion init); then `.venv/bin/medallion run`"
    assert typed(text) == expected
