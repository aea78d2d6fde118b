"""Every order in which the steps of two and three runs can happen: no run writes once another has taken the lease.

Each run has a session of its own on a real PostgreSQL. One step is taken at a time; one that waits for a lock is left
waiting, and the others go on. After each order of steps the next is tried from the start, until there is none left.
``OLDEST_TEST_URL`` names an empty database of a PostgreSQL 15, on which the same is tried.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress

import psycopg
import pytest

from elt.holder import new_owner, session_name
from elt.lakehouse import migrations

OLDEST = os.environ.get("OLDEST_TEST_URL", "")
EXPIRE = "the lease ends"

TWO_RUNS = (("take", "ask", "write", "renew", "ask", "write"), ("take", "ask", "write"), (EXPIRE,))
THREE_RUNS = (("take", "ask", "write"), ("take", "ask", "write"), ("take",), (EXPIRE, EXPIRE))


class Run:
    """One run: its steps in their order, in a session of its own. ``EXPIRE`` is nobody's: the clock's."""

    def __init__(self, url: str, steps: tuple[str, ...], *, named: bool) -> None:
        self.owner = new_owner()
        self.steps = list(steps)
        self.at_work: tuple[str, Future[bool]] | None = None
        self._url, self._named = url, named
        self._thread = ThreadPoolExecutor(1)
        self.session = psycopg.connect(url, autocommit=True)

    def again(self, steps: tuple[str, ...]) -> None:
        """As a new run."""
        self.owner, self.steps = new_owner(), list(steps)
        if self.session.closed:
            self.session = psycopg.connect(self._url, autocommit=True)
        if self._named:
            self.session.execute("select set_config('application_name', %s, false)", (session_name(self.owner),))

    def begin(self) -> None:
        """Begin the next step."""
        step = self.steps.pop(0)
        self.at_work = step, self._thread.submit(self._do, step)

    def _do(self, step: str) -> bool:
        """Whether it succeeded. A run goes on after a renewal that failed: the token alone keeps it out."""
        try:
            if step == "take":
                return self._ask("select controle.arrendar(%s, 60, 'a test')") == self.owner
            if step == "renew":
                return self._ask("select controle.renovar(%s, 60)") is True
            if step == EXPIRE:
                self.session.execute("update controle.arrendamento set expira_em = clock_timestamp() - interval '1 s'")
                return True
            if step == "ask":
                self.session.execute("begin")
                self._ask("select controle.exigir(%s)")
                return True
            self._ask("insert into prova (dono) values (%s) returning dono")
            self.session.execute("commit")
            return True
        except psycopg.Error:
            self.roll_back()
            return False

    def roll_back(self) -> None:
        """End what is open; a session that another run has ended has nothing open."""
        with suppress(psycopg.OperationalError):
            self.session.execute("rollback")

    def _ask(self, query: str) -> object:
        row = self.session.execute(query.encode(), (self.owner,)).fetchone()
        assert row is not None
        return row[0]

    def close(self) -> None:
        self._thread.shutdown()
        self.session.close()


class Schedule:
    """All orders of the runs' steps, one after the other. ``log``: what succeeded in this one, in its order."""

    def __init__(self, url: str, programs: tuple[tuple[str, ...], ...], *, named: bool) -> None:
        self.programs = programs
        self.runs = [Run(url, program, named=named) for program in programs]
        self.observer = psycopg.connect(url, autocommit=True)
        self.observer.execute("create table if not exists prova (dono text)")
        self.log: list[tuple[int, str]] = []

    def orders(self) -> Iterator[list[tuple[int, str]]]:
        """Take each order of steps from the start, and answer its log."""
        left: list[list[int]] = [[]]
        while left:
            path = left.pop()
            self._start()
            given = len(path)
            while able := [number for number, run in enumerate(self.runs) if run.steps and run.at_work is None]:
                number = path[self._taken] if self._taken < given else able[0]
                if self._taken >= given:
                    left += [[*path, other] for other in able[1:]]
                    path = [*path, number]
                self._taken += 1
                if number in able:
                    self.runs[number].begin()
                self._settle(number)
            self._finish()
            yield self.log

    def _start(self) -> None:
        self.observer.execute("delete from controle.arrendamento")
        self.log, self._taken = [], 0
        for run, program in zip(self.runs, self.programs, strict=True):
            run.again(program)

    def _settle(self, begun: int) -> None:
        """Until every step has ended or waits for a lock; what ends is in the log: the one begun, then who waited."""
        for number in sorted(range(len(self.runs)), key=lambda number: number != begun):
            run = self.runs[number]
            while run.at_work is not None:
                step, done = run.at_work
                if wait([done], 0.003).done:
                    run.at_work = None
                    if done.result():
                        self.log.append((number, step))
                    elif step != "renew":
                        run.steps = []
                elif self._waits(run):
                    break

    def _waits(self, run: Run) -> bool:
        query = "select cardinality(pg_blocking_pids(%s)) > 0"
        row = self.observer.execute(query, (run.session.info.backend_pid,)).fetchone()
        return bool(row and row[0])

    def _finish(self) -> None:
        for run in self.runs:
            if run.at_work is not None:
                wait([run.at_work[1]])
        self._settle(0)
        for run in self.runs:
            run.roll_back()

    def close(self) -> None:
        for run in self.runs:
            run.close()
        self.observer.close()


@pytest.fixture(params=["embedded", *(["oldest"] if OLDEST else [])])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue("new_database")() if request.param == "embedded" else OLDEST
    migrations.apply(found, setting="a test")
    return found


def written_after_another_took(log: list[tuple[int, str]]) -> bool:
    """Whether a write succeeded that was not of the run that had taken the lease last."""
    holder = -1
    for number, step in log:
        if step == "take":
            holder = number
        elif step == "write" and number != holder:
            return True
    return False


@pytest.mark.parametrize(
    ("programs", "named"),
    [(TWO_RUNS, True), (TWO_RUNS, False), (THREE_RUNS, False)],
    ids=["two runs, sessions are ended", "two runs", "three runs"],
)
def test_in_no_order_does_a_run_write_once_another_has_taken_the_lease(
    url: str, programs: tuple[tuple[str, ...], ...], named: bool
) -> None:
    taken_over = 0
    with closing(Schedule(url, programs, named=named)) as schedule:
        for log in schedule.orders():
            assert not written_after_another_took(log), log
            taken_over += len({number for number, step in log if step == "write"}) > 1
    assert taken_over > 20


def test_without_the_lock_an_order_is_found_in_which_a_run_does(new_database: Callable[[], str]) -> None:
    """It is the lock on the lease's row that the test above shows, and not that no order does harm."""
    url = new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("""
          create or replace function controle.exigir(p_dono text) returns void language plpgsql as $$
          begin
            if not exists (select from controle.arrendamento where dono = p_dono) then
              raise exception 'another run has taken over';
            end if;
          end $$""")
    with closing(Schedule(url, TWO_RUNS, named=False)) as schedule:
        assert any(map(written_after_another_took, schedule.orders()))
