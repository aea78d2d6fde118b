"""What every command pays before it does anything: ``python -m benchmarks.startup [TIMES]``; one JSON line.

A process of its own that imports nothing but the standard library: the peak memory of a child begins at its parent's.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

TIMES = 5
"""How often each command is started. The best counts: other work on the machine only ever adds."""


@dataclass(frozen=True)
class Cost:
    """One start of a command, or the best of several: wall clock, CPU of the command alone, its peak RSS."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def cost(arguments: list[str], environment: Mapping[str, str]) -> Cost:
    """Start ``medallion ARGUMENTS`` and wait for its end. An exit code other than 0 is a ``RuntimeError``."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "elt", *arguments], env=dict(environment), stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"medallion {' '.join(arguments)} ended with exit code {process.returncode}")
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def best(arguments: list[str], environment: Mapping[str, str], times: int) -> Cost:
    """The least of each figure."""
    found = [cost(arguments, environment) for _ in range(times)]
    return Cost(
        min(one.seconds for one in found), min(one.cpu_seconds for one in found), min(one.peak_mb for one in found)
    )


@contextmanager
def server_up(environment: Mapping[str, str]) -> Iterator[None]:
    """A command that has opened the lakehouse and keeps its server running, as anybody's at work."""
    watching = [sys.executable, "-m", "elt", "status", "--watch", "3600", "--json"]
    with subprocess.Popen(watching, env=dict(environment), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it has seen the lakehouse
            yield
        finally:
            process.terminate()


def main() -> None:
    """Measure, over an embedded lakehouse in a temporary folder, and print."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else TIMES
    with tempfile.TemporaryDirectory(prefix="medallion-benchmark-") as folder:
        environment = {**os.environ, "MEDALLION_HOME": folder, "DATA_DIR": folder}
        cost(["init"], environment)
        found = {
            "--help": best(["--help"], environment, times),
            "status, server down": best(["status"], environment, times),
        }
        with server_up(environment):
            found["status, server up"] = best(["status"], environment, times)
    print(json.dumps({what: vars(one) for what, one in found.items()}))


if __name__ == "__main__":
    main()
