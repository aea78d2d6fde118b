"""A sample of all faults, another one with each change of the code; ``make faults`` runs them all."""

import re
import subprocess
import sys

import pytest

from tests.embedded import ROOT
from tests.faults.worlds import NAMES

SAMPLE = 16
"""Faults of each lakehouse."""


@pytest.mark.parametrize("lakehouse", NAMES)
def test_the_run_after_a_fault_ends_as_if_there_had_been_none(lakehouse: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--lakehouse", lakehouse, "--sample", str(SAMPLE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    played = re.search(r"(\d+) faults, 0 of them not mended", ended.stdout)
    assert played is not None
    assert int(played[1]) > SAMPLE / 2  # some come after the last call of a run that was quicker than the first
