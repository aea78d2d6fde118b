"""One case: a command in which one call fails, the command after it, and what the two have to leave.

Every command runs in a fork of this process, which has loaded the program and has started nothing: that costs some
milliseconds, and whatever fails or dies in it is gone with it.
"""

import importlib
import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from elt import cli, patience
from tests.faults.calls import Calls, Fault, below
from tests.faults.worlds import FIRST_VISIT, SECOND_VISIT, Kept, Shop, World

Command = tuple[str, ...]
RUN: Command = ("run",)
OLDEST = "OLDEST"
REPLAY: Command = ("replay", OLDEST)
LEDGER = "controle.execucoes"


@dataclass(frozen=True)
class Ended:
    """How a command ended. ``code``: its exit code, negative for the signal that killed it."""

    code: int
    struck: str
    printed: str
    log: tuple[str, ...] = ()


AGAIN_AND_AGAIN = 0
_APART = 15
"""So many calls later the same command is disturbed again."""

_OUR_BUG = 70
"""The exit code of a fork in which not the program failed, but this."""

_LINE = 600
"""Characters of a row that is shown."""

State = dict[str, list[str]]


@dataclass(frozen=True)
class Phase:
    """``command`` is disturbed, one of ``then`` is the next; on the lakehouse as the phase ``after`` leaves it."""

    name: str
    command: Command
    then: tuple[Command, ...]
    after: str
    shop: Shop


PHASES = (
    Phase("first", RUN, (RUN,), "", FIRST_VISIT),
    Phase("second", RUN, (RUN,), "first", SECOND_VISIT),
    Phase("replay", REPLAY, (REPLAY, RUN), "second", SECOND_VISIT),
)


@dataclass(frozen=True)
class Case:
    """One call that fails in one way. ``number``: which; ``AGAIN_AND_AGAIN``: one after the other, a few apart."""

    world: str
    phase: str
    fault: Fault
    number: int

    def __str__(self) -> str:
        return f"--lakehouse {self.world} --phase {self.phase!r} --fault {self.fault.value!r} --call {self.number}"


@dataclass(frozen=True)
class Outcome:
    """What came of a case. ``reached``: whether there was such a call. ``wrong``: what must not be, if anything."""

    case: Case
    reached: bool
    struck: str
    wrong: str


@dataclass
class Stage:
    """One phase on one lakehouse: where it starts, and what it leaves when nobody disturbs it.

    ``done``: after the command; ``mended``: after each of the next ones. ``log``: the calls that the command makes.
    """

    world: World
    phase: Phase
    start: Kept
    done: State = field(default_factory=dict)
    mended: dict[Command, State] = field(default_factory=dict)
    log: tuple[str, ...] = ()

    def play(self, case: Case) -> Outcome:
        """Disturb the command at one call, run the next one, and compare."""
        world = self.world
        world.put_back(self.start)
        world.write(self.phase.shop)
        oldest = world.oldest_snapshot()
        if case.number == AGAIN_AND_AGAIN:
            return self._again_and_again(case, oldest)
        ended = run(world, self.phase.command, oldest, case.fault, case.number)
        if case.fault is Fault.SERVER_KILLED:
            world.forget_connection()
        if not ended.struck:
            wrong = f"no call failed, and it ended with {ended.code}: {ended.printed}" if ended.code else ""
            return Outcome(case, False, "", wrong or self._difference())
        wrong = ""
        if ended.code not in (0, 1, 2, 3, -signal.SIGKILL):
            wrong = f"it ended with exit code {ended.code}"
        elif "Traceback" in ended.printed:
            wrong = "it ended with a traceback"
        elif ended.code == 0 and case.fault is not Fault.SERVER_KILLED:
            wrong = self._difference()
        if not wrong:
            then = self.phase.then[(case.number + list(Fault).index(case.fault)) % len(self.phase.then)]
            following = run(world, then, oldest)
            if following.code:
                wrong = f"the next command ({' '.join(then)}) ended with {following.code}: {following.printed}"
            else:
                wrong = self._difference(then) or self._left(case, then)
        if wrong:
            wrong = f"{case}\n  {ended.struck}\n  {wrong}\n  it printed: {ended.printed.strip()[-700:]}"
        return Outcome(case, True, ended.struck, wrong)

    def _again_and_again(self, case: Case, oldest: str) -> Outcome:
        """The command, disturbed each time a few calls later, until one of them passes untouched."""
        for number in itertools.count(_APART, _APART):
            ended = run(self.world, self.phase.command, oldest, case.fault, number)
            if not ended.struck:
                break
        wrong = f"it ended with {ended.code}: {ended.printed}" if ended.code else self._difference(self.phase.command)
        return Outcome(case, True, "one call after the other", wrong and f"{case}\n  {wrong}")

    def _left(self, case: Case, then: Command) -> str:
        """What is left to do or to remove when all should be mended; not looked at each time, for it takes long."""
        if case.number % 5 or then != RUN:
            return ""
        again = run(self.world, ("run", "--json"))
        keys = [layer["key"] for layer in json.loads(again.printed[again.printed.find("{\n") :])["layers"]]
        if keys != [135]:
            return f"a further run still found something to do: {keys}"
        run(self.world, ("bronze", "--sweep"))
        for folder in (self.world.folder / "data/bucket", self.world.folder / "objects"):
            if left := [str(file) for file in folder.rglob(".*")]:
                return f"a sweep left {left}"
        return ""

    def _difference(self, then: Command | None = None) -> str:
        """What is not as it should be after the command, or after the next one.

        The ledger has each row that the command leaves, and none that the next one does not: that of a replay tells of
        two. Of a replay that died, and was not tried again, it knows nothing.
        """
        found, expected = self.world.state(), self.done if then is None else self.mended[then]
        least = expected if then is None else {**expected, LEDGER: self.done[LEDGER]}
        lines = []
        for table in sorted({*expected, *found}):
            if table == LEDGER and then not in (None, self.phase.command):
                continue
            rows = found.get(table, [])
            lines += [f"{table} lacks {row}" for row in _without(least.get(table, []), rows)]
            lines += [f"{table} has   {row}" for row in _without(rows, expected.get(table, []))]
        return "\n  ".join(line[:_LINE] for line in lines)


def _without(rows: Sequence[str], others: Sequence[str]) -> list[str]:
    left = list(others)
    return [row for row in rows if row not in left or left.remove(row)]  # type: ignore[func-returns-value]


def stages(world: World, names: Sequence[str]) -> Iterator[Stage]:
    """The phases of these names, each with what it leaves when nobody disturbs it."""
    kept = {"": world.keep("empty")}
    for phase in PHASES:
        stage = Stage(world, phase, kept[phase.after])
        world.put_back(stage.start)
        world.write(phase.shop)
        oldest = world.oldest_snapshot()
        ended = run(world, phase.command, oldest)
        if ended.code:
            raise AssertionError(f"{world.name}, {phase.name}: nobody disturbed it, and yet: {ended.printed}")
        stage.log, stage.done = ended.log, world.state()
        kept[phase.name] = world.keep(phase.name)
        if phase.name not in names:
            continue
        for then in phase.then:
            world.put_back(kept[phase.name])
            following = run(world, then, oldest)
            if following.code:
                raise AssertionError(f"{world.name}, {phase.name}: nobody disturbed it, and yet: {following.printed}")
            stage.mended[then] = world.state()
        yield stage


def run(world: World, command: Command, oldest: str = "", fault: Fault | None = None, number: int = 0) -> Ended:
    """``medallion COMMAND`` in a fork, in which call ``number`` fails so. ``oldest``: the snapshot to replay.

    What a command that nobody disturbed has loaded, every later fork has from its beginning.
    """
    arguments = [oldest if word == OLDEST else word for word in command]
    printed = world.folder / "printed"
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(told)
            _in_the_fork(world, arguments, Calls(tell, below(world.watched), fault, number, world.kill_server))
        finally:
            os._exit(_OUR_BUG)
    os.close(tell)
    with os.fdopen(told) as pipe:
        lines = pipe.read().splitlines()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    text = printed.read_text(errors="replace")
    if code == _OUR_BUG:
        raise AssertionError(text)
    if fault is not None:
        return Ended(code, "".join(lines), text)
    end = json.loads(lines[0])
    for module in end["loaded"]:
        with suppress(ImportError):
            importlib.import_module(module)  # once and for all
    return Ended(code, "", text, tuple(end["log"]))


def _in_the_fork(world: World, arguments: list[str], calls: Calls) -> None:
    """The command, then the end of the process, by whatever way."""
    output = os.open(world.folder / "printed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(world.env, PATH=os.defpath, LANG="C.UTF-8")
    os.chdir(world.folder)
    patience.LONGEST_SECONDS = 0
    code = _OUR_BUG
    calls.install()
    try:
        cli.main(arguments)
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    if calls.fault is None:
        os.write(calls.told, json.dumps({"log": calls.log, "loaded": list(sys.modules)}).encode())
    os._exit(code)
