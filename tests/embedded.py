"""Programs of their own that use an embedded PostgreSQL, and what is left when they have gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.commands import wait_until
from tests.kills import processes_of

ROOT = Path(__file__).parents[1]

USE = """
import sys
from pathlib import Path
from elt.lakehouse.launcher import start
print(start(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@dataclass
class Program:
    """One that uses the server of a data folder until it is told to leave. ``url``: what it was given, once it was."""

    folder: Path
    process: "subprocess.Popen[str]"
    url: str = ""

    def wait_for_url(self) -> str:
        """The URL of the server it started or joined."""
        assert self.process.stdout is not None
        self.url = self.url or self.process.stdout.readline().strip()
        if not self.url:
            raise AssertionError(self.process.communicate()[1])
        return self.url

    def leave(self) -> None:
        """It ends by itself, as programs do."""
        self.process.communicate()
        assert self.process.returncode == 0

    def kill(self) -> None:
        """SIGKILL to the whole process group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def program(folder: Path, script: str = USE, env: Mapping[str, str] | None = None) -> Iterator[Program]:
    """A program that starts or joins the server of the data folder; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, folder],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield Program(folder, process)
        finally:
            if process.poll() is None:
                process.kill()


def wait_until_gone(folder: Path) -> None:
    """Fail the test unless every process of the folder's server ends."""
    wait_until(lambda: not processes_of(folder), f"the end of {[kind for _, kind in processes_of(folder)]}")
