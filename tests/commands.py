"""The real command line in a process of its own, for tests that stop, kill or count processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from elt.environment import HOME

PATIENCE_SECONDS = 60.0
"""How long a test waits for what must happen, before it fails; never a measure of speed."""


@contextmanager
def command(*arguments: str, folder: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """``medallion ARGUMENTS`` in ``folder``, which is its home, with these settings; killed if it still runs."""
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "XDG_RUNTIME_DIR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "elt", *arguments],
        cwd=folder,
        env={**clean, HOME: str(folder), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def output_of(process: "subprocess.Popen[str]", seconds: float = PATIENCE_SECONDS) -> tuple[str, str]:
    """What it printed on standard output and standard error, once it has ended."""
    return process.communicate(timeout=seconds)


def run_command(*arguments: str, folder: Path, env: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command that ends by itself."""
    with command(*arguments, folder=folder, env=env) as process:
        out, err = output_of(process)
        return process.returncode, out, err


def wait_until(happened: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return once it happened; fail the test if it does not."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"still waiting for: {what}"
        time.sleep(0.02)


def is_waiting_for_a_lock(url: str) -> bool:
    """Whether a statement in the database waits for a lock that a test holds."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ).fetchone()
    assert row is not None
    return bool(row[0])


def json_lines(text: str) -> list[dict[str, object]]:
    """The JSON objects of a log, one a line."""
    return [json.loads(line) for line in text.splitlines()]
