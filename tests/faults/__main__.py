"""``python -m tests.faults``: all cases, or a sample of them, or one; prints their number and the time."""

import argparse
import hashlib
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.embedded import ROOT
from tests.faults import cases
from tests.faults.calls import READS, Fault, is_of_a_server
from tests.faults.cases import AGAIN_AND_AGAIN, Case, Outcome, Stage
from tests.faults.worlds import NAMES, World, world


def seed_of_the_code() -> str:
    """Another one with each change of the program, and the same on each machine."""
    read = hashlib.sha256()
    for file in sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "supabase/migrations").glob("*.sql")]):
        read.update(file.read_bytes())
    return read.hexdigest()[:12]


def faults_of(name: str) -> list[Fault]:
    """The ways in which a call fails on this lakehouse: only the embedded one has a server of its own."""
    return [fault for fault in Fault if fault is not Fault.SERVER_KILLED or name == "embedded"]


def all_of(stage: Stage, fault: Fault) -> Iterator[Outcome]:
    """The fault at the first call, at the second, and so on until the command passes untouched."""
    for number in itertools.count(AGAIN_AND_AGAIN):
        if is_new(stage, fault, number):
            outcome = stage.play(Case(stage.world.name, stage.phase.name, fault, number))
            yield outcome
            if not outcome.reached:
                return


def is_new(stage: Stage, fault: Fault, number: int) -> bool:
    """Whether the call can show something that others do not.

    Who ends, or is left alone, after a mere read is where he was before it; a read of a file fails in one way; and the
    third call in a row to the same thing is like the second.
    """
    if number == AGAIN_AND_AGAIN:
        return fault is Fault.KILLED
    if number > len(stage.log):
        return True
    call, before = stage.log[number - 1], stage.log[max(number - 3, 0) : number - 1]
    if before == (call, call):
        return False
    if call.startswith(READS):
        return fault is Fault.REFUSED or (fault is Fault.LOST and is_of_a_server(call))
    return True


def sample_of(stages: Sequence[Stage], faults: Sequence[Fault], size: int, seed: str) -> Iterator[Outcome]:
    """So many cases of all of them, by chance."""
    there = [
        (stage, Case(stage.world.name, stage.phase.name, fault, number))
        for stage in stages
        for fault in faults
        for number in range(AGAIN_AND_AGAIN, len(stage.log) + 1)
        if is_new(stage, fault, number)
    ]
    for stage, case in random.Random(seed).sample(there, min(size, len(there))):
        yield stage.play(case)


def main() -> None:
    """The command line. Exit code 1 if a case left what it must not."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--lakehouse", choices=NAMES, action="append", help="only this one; may be repeated")
    parser.add_argument("--phase", choices=[phase.name for phase in cases.PHASES], action="append")
    parser.add_argument("--fault", choices=[fault.value for fault in Fault], action="append")
    parser.add_argument("--call", type=int, help="only this call; 0: again and again")
    parser.add_argument("--sample", type=int, help="so many cases of each lakehouse, by chance")
    parser.add_argument("--seed", default=seed_of_the_code(), help="of the sample; by default it changes with the code")
    parser.add_argument("--list", action="store_true", help="print the calls that each phase makes, and run no case")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that its servers end, too
    began, processor = time.monotonic(), _processor()
    played, failed = 0, 0
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="medallion-tests-", dir=shared) as folder:
        Path(folder).chmod(0o711)  # for root's server, which runs as another user
        for name in given.lakehouse or NAMES:
            with world(name, Path(folder) / name) as lakehouse:
                for outcome in _outcomes(lakehouse, given):
                    played += outcome.reached
                    if outcome.wrong:
                        failed += 1
                        print(f"WRONG: {outcome.wrong}\n  again: python -m tests.faults {outcome.case}", flush=True)
    print(
        f"{played} faults, {failed} of them not mended; {time.monotonic() - began:.0f} s, of which "
        f"{_processor() - processor:.0f} s of processor time without the servers'"
        + (f"; the sample's seed is {given.seed}" if given.sample else "")
    )
    sys.exit(1 if failed else 0)


def _outcomes(lakehouse: World, given: argparse.Namespace) -> Iterator[Outcome]:
    """The cases that were asked for, on this lakehouse; says where it is."""
    possible = faults_of(lakehouse.name)
    faults = [fault for fault in possible if not given.fault or fault.value in given.fault]
    stages = cases.stages(lakehouse, given.phase or [phase.name for phase in cases.PHASES])
    if given.sample:
        yield from sample_of(list(stages), faults, given.sample, given.seed)
        return
    for stage in stages:
        began = time.monotonic()
        if given.list:
            print(f"{lakehouse.name}, {stage.phase.name}: {len(stage.log)} calls", *stage.log, sep="\n  ")
            continue
        for fault in faults:
            case = Case(lakehouse.name, stage.phase.name, fault, given.call or 0)
            yield from all_of(stage, fault) if given.call is None else [stage.play(case)]
        print(f"{lakehouse.name}, {stage.phase.name}: {time.monotonic() - began:.0f} s", flush=True)


def _processor() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
