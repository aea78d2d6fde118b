"""What every command pays before it works: no command loads what it does not need, by name."""

import json
import os
import subprocess
import sys

import pytest

from elt.cli import COMMANDS
from elt.environment import HOME
from elt.lakehouse.embedded import start_postgres

HEAVY = ("pandas", "pyarrow", "numpy", "supabase", "postgrest", "storage3", "httpx", "apscheduler")
"""Packages that take longer to load than a command that only looks takes in all."""

FRAMES = {"pandas", "pyarrow", "numpy"}
ARROW = {"pyarrow", "numpy"}
NEEDED: dict[str, set[str]] = {
    "--help": set(),
    "--version": set(),
    "no-such-command": set(),
    "run --no-such-option": set(),
    **{f"{command} --help": set() for command in ("run", "replay", "schedule", "demo")},
    "run": FRAMES,
    "bronze": FRAMES,  # Arrow for the parts, and numpy for the sample shop
    "silver": FRAMES,
    "gold": FRAMES,
    "init": set(),
    "check": ARROW,  # it reads the source as bronze does
    "status": set(),
    "show clientes": set(),
    "trace clientes 1": FRAMES,  # it reads the row's part of bronze
    "quarantine list": set(),
    "quarantine show clientes": set(),
    "quarantine export": set(),
    "snapshots": set(),
    "prune --keep 9": set(),
    "backup copy": ARROW,  # it checks each part
    "restore copy": ARROW,
    "health": set(),
    "reset --yes": set(),
}
"""Each command as typed, in this order, over the sample shop in an embedded lakehouse, and what of ``HEAVY`` it
may load."""

REFUSED = {"no-such-command": 2, "run --no-such-option": 2, "health": 1}
"""Exit codes of those that have nothing to do: there is no scheduler. All others do what they say."""

ELSEWHERE = {"demo", "replay", "schedule"}
"""Commands that are whole runs, or do not end: of them the help is looked at."""

LOADED = """
import json, os, sys
found = {}
for typed in json.loads(sys.argv[1]):
    reader, writer = os.pipe()
    if not os.fork():
        sys.argv = ["medallion", *typed.split()]
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        code = 0
        try:
            from elt.start import main
            main()
        except SystemExit as end:
            code = end.code
        os.write(writer, json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        found[typed] = json.loads(answer.read())
    os.wait()
print(json.dumps(found))
"""
"""Each command in a process of its own, forked off one that has loaded nothing."""


@pytest.fixture
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, list[str]]]:
    """By command as typed: its exit code, and the packages that it had loaded at its end."""
    folder = tmp_path_factory.mktemp("started")
    start_postgres(folder / "data" / "sample")  # one server for all of them
    environment = {"PATH": os.environ["PATH"], HOME: str(folder)}
    answer = subprocess.run(
        [sys.executable, "-c", LOADED, json.dumps(list(NEEDED))],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, tuple[int, list[str]]] = json.loads(answer.stdout)
    return found


def test_a_command_loads_nothing_heavy_that_it_does_not_need(
    loaded: dict[str, tuple[int, list[str]]],
) -> None:
    heavy = {typed: set(HEAVY).intersection(packages) for typed, (_, packages) in loaded.items()}

    assert {typed: code for typed, (code, _) in loaded.items() if code} == REFUSED
    assert {typed: found - NEEDED[typed] for typed, found in heavy.items() if found - NEEDED[typed]} == {}
    assert heavy["run"] == FRAMES
    assert "psycopg" not in loaded["health"][1]  # a container asks for it every minute


def test_the_scheduler_holds_no_frames_and_no_database_for_years() -> None:
    code = "import sys, elt.schedule, elt.cli.operate; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert set(answer.stdout.split()) & {*FRAMES, "supabase", "psycopg"} == set()


def test_every_command_is_looked_at() -> None:
    looked_at = {typed.split()[0] for typed, needed in NEEDED.items() if "--help" not in typed}

    assert set(COMMANDS) - ELSEWHERE <= looked_at
