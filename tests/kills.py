"""Kills what belongs to an embedded PostgreSQL at random moments, and looks what that did to it and to others.

``python -m tests.kills --kills 200 --seed 1`` prints the figures as JSON; exit code 1 if one that has to be 0 is not.

One round: a program of its own starts the server of a data folder (a new one in every second round) and commits rows
until something is killed with SIGKILL: a whole container, the program's process group, or one process of them all. Then
what a kill may leave is damaged in some rounds, a second program has to start at once and find every committed row,
and when it has ended no process may be left. Beside all that runs a stranger, whose process id the damaged files name,
and another data folder's server with an open connection.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import psutil
import psycopg

from elt.lakehouse import keeper, launcher
from tests import containers

ROOT = Path(__file__).parents[1]
WORK = """
import sys
from pathlib import Path
import psycopg
from elt.lakehouse import launcher
print(0, flush=True)
with psycopg.connect(launcher.start(Path(sys.argv[1])), autocommit=True) as connection:
    connection.execute("create table if not exists written (number bigint primary key)")
    number = connection.execute("select coalesce(max(number), 0) from written").fetchone()[0]
    while True:
        number += 1
        connection.execute("insert into written values (%s)", (number,))
        print(number, flush=True)
"""

LOOK = """
import sys, time
from pathlib import Path
import psycopg
from elt.lakehouse import launcher
began = time.monotonic()
with psycopg.connect(launcher.start(Path(sys.argv[1])), autocommit=True) as connection:
    there = connection.execute("select to_regclass('written') is not null").fetchone()[0]
    print(connection.execute("select coalesce(max(number), 0) from written").fetchone()[0] if there else 0)
    print(time.monotonic() - began)
"""

DAMAGES: dict[str, tuple[str, bytes]] = {
    "nothing": ("", b""),
    "a stranger's process id": ("postgres/postmaster.pid", b"%d\n/nowhere\n1\n5432\n.\n\n1 1\nready   \n"),
    "an empty postmaster.pid": ("postgres/postmaster.pid", b""),
    "a truncated postmaster.pid": ("postgres/postmaster.pid", b"%d"),
    "an empty .server": (".server", b""),
    "another .server": (".server", b"/nowhere/medallion-x"),
    "an empty .programs": (".programs", b""),
}


@dataclass
class Figures:
    """What came of it. ``killed``: rounds by what was killed, and at which start; all others have to be 0."""

    kills: int = 0
    killed: dict[str, int] = field(default_factory=dict)
    folders_bricked: int = 0
    rows_lost: int = 0
    servers_left: int = 0
    strangers_touched: int = 0
    words: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing happened that must not."""
        return not (self.folders_bricked or self.rows_lost or self.servers_left or self.strangers_touched)


def kill_often(kills: int, seed: int, workplace: Path, *, container: bool) -> Figures:
    """So many rounds. ``container``: whether this machine lets us make one (a namespace of process ids)."""
    chance = random.Random(seed)
    figures = Figures()
    stranger = subprocess.Popen(["sleep", "86400"])
    try:
        with psycopg.connect(launcher.start(workplace / "another"), autocommit=True) as connection:
            first, later = _measured(workplace / "known")
            for number in range(kills):
                new = number % 2 == 0
                folder = workplace / (f"new-{number}" if new else "known")
                _round(chance, figures, folder, (first if new else later) * 1.3 + 0.2, stranger.pid, container)
                figures.strangers_touched += _touched(stranger, connection)
                if new:
                    shutil.rmtree(folder, ignore_errors=True)
                if (number + 1) % 10 == 0:
                    print(f"{number + 1} of {kills} kills", file=sys.stderr, flush=True)  # noqa: T201 - it takes long
    finally:
        stranger.kill()
        stranger.wait()
        launcher.leave(workplace / "another")
    return figures


def _measured(folder: Path) -> tuple[float, float]:
    """Seconds that a first start takes, and a later one."""
    first, later = (float(_look(folder).stdout.split()[1]) for _ in range(2))
    return first, later


def _look(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Another program: the highest number that is there, and the seconds that took."""
    return subprocess.run(
        [sys.executable, "-c", LOOK, folder], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )


def _round(
    chance: random.Random, figures: Figures, folder: Path, within: float, stranger: int, container: bool
) -> None:
    what = chance.choice(["container", "group", "one"] if container else ["group", "one"])
    with tempfile.TemporaryFile("w+") as printed, _working(folder, printed, apart=what == "container") as program:
        _wait_until_it_starts(program, printed)
        time.sleep(chance.uniform(0, within))
        killed = _kill(chance, what, program, folder)
        with suppress(subprocess.TimeoutExpired):  # one whose server was killed ends by itself, mostly soon
            program.wait(5)
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
        printed.seek(0)
        numbers = [int(line) for line in printed.read().splitlines(keepends=True) if line.endswith("\n")] or [0]
    figures.kills += 1
    start = "first start" if folder.name.startswith("new") else "later start"
    figures.killed[f"{killed}, {start}"] = figures.killed.get(f"{killed}, {start}", 0) + 1
    _count_left(figures, folder, f"{killed}, {start}")
    damage = chance.choice(list(DAMAGES))
    _damage(folder, damage, stranger)
    looked = _look(folder)
    if looked.returncode:
        figures.folders_bricked += 1
        figures.words.append(f"{killed}, {start}, {damage}: {looked.stderr[-1500:]}")
    elif (there := int(looked.stdout.split()[0])) < numbers[-1]:
        figures.rows_lost += numbers[-1] - there
        figures.words.append(f"{killed}, {start}: {numbers[-1]} rows were committed, {there} are there")
    _count_left(figures, folder, f"a program that ended after {killed}, {start}")


def _wait_until_it_starts(program: "subprocess.Popen[bytes]", printed: IO[str]) -> None:
    """Its imports, which take longest, are over: every kill is to hit a start or a server at work."""
    while os.fstat(printed.fileno()).st_size == 0 and program.poll() is None:
        time.sleep(0.001)


@contextmanager
def _working(folder: Path, printed: IO[str], *, apart: bool) -> Iterator["subprocess.Popen[bytes]"]:
    """The program at work, in a process group of its own; ``apart``: in a container of its own."""
    contained = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"] if apart else []
    program = subprocess.Popen(
        [*contained, sys.executable, "-c", WORK, folder],
        cwd=ROOT,
        stdout=printed,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield program
    finally:
        if program.poll() is None:
            program.kill()
        program.wait()


def _kill(chance: random.Random, what: str, program: "subprocess.Popen[bytes]", folder: Path) -> str:
    """SIGKILL; answers what it hit."""
    if what == "container":
        program.kill()  # unshare takes the whole namespace with it
        return what
    if what == "group":
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        return "process group"
    others = {process.pid: name for process, name in processes_of(folder)}
    others[program.pid] = "program"
    kinds = sorted(set(others.values()))
    kind = chance.choice(kinds)  # each kind as often, not each of the many backends
    pid = chance.choice(sorted(pid for pid, name in others.items() if name == kind))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return f"one {kind}"


def processes_of(folder: Path) -> list[tuple[psutil.Process, str]]:
    """The processes of a data folder's server, each with its kind: initdb, keeper, postmaster, backend."""
    found = []
    for process in psutil.process_iter(["name"]):
        name = process.info["name"] or ""
        with suppress(psutil.Error):
            if name.startswith("python") and str(folder / ".programs") in process.cmdline():
                found.append((process, "keeper"))
            elif name == "initdb" and str(folder / "postgres.partial") in process.cmdline():
                found.append((process, "initdb"))
            elif name == "postgres" and folder in Path(process.cwd()).parents:
                parent = process.parent()
                kind = "backend" if parent is not None and parent.name() == "postgres" else "postmaster"
                found.append((process, kind))
    return found


def _count_left(figures: Figures, folder: Path, after: str, seconds: float = keeper.STOP_SECONDS + 30) -> None:
    """Count the processes that are still there after so many seconds, and end them."""
    deadline = time.monotonic() + seconds
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    figures.servers_left += len(left)
    if left:
        log = (folder / "postgres/log").read_text(errors="replace")[-1000:]
        figures.words.append(f"after {after}: {[(kind, process.status()) for process, kind in left]} {log}")
    for process, _ in left:
        with suppress(psutil.Error):
            process.kill()


def _damage(folder: Path, damage: str, stranger: int) -> None:
    name, content = DAMAGES[damage]
    if name and (folder / name).parent.is_dir():
        (folder / name).write_bytes(content % stranger if b"%d" in content else content)


def _touched(stranger: "subprocess.Popen[bytes]", connection: psycopg.Connection) -> int:
    """How many of the two strangers are not as they were."""
    touched = int(stranger.poll() is not None)
    try:
        connection.execute("select 1")
    except psycopg.Error:
        touched += 1
    return touched


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medallion-kills-") as workplace:
        Path(workplace).chmod(0o711)
        container = containers.missing_for_building() is None
        figures = kill_often(given.kills, given.seed, Path(workplace), container=container)
    print(json.dumps(asdict(figures), indent=2))  # noqa: T201 - the command's result
    sys.exit(0 if figures.good else 1)


if __name__ == "__main__":
    main()
