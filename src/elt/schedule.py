"""When to run, to try again, to check both ends and to keep them awake, for years on end.

What to do when is decided by pure functions of the time and a ``State``. The state is small, because whether a fire has
had its run is in the run ledger and nowhere else: an attempt does nothing if a complete run began since the fire. So a
fire missed while the machine was down, an empty lakehouse at the first start, a retry and a second scheduler elsewhere
are all the same: the last fire is owed until such a run is there.

The scheduler opens neither lakehouse nor source. Each piece of work is a ``medallion`` command in a process of its own
(``Commands``): between two runs no server, no connection and no memory is held for two months; a run that takes too
much memory or crashes is a failed attempt, not the end of the scheduler; and a corrected ``.env`` counts from the next
attempt on.
"""

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Protocol

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from elt import health, stopping
from elt.alerts import Alert, Alerts
from elt.crontab import Calendar
from elt.errors import LeaseError, Stopped
from elt.invocation import typed
from elt.progress import Reporter, about
from elt.redaction import redacted, words_of
from elt.settings import Settings

PAUSES = [
    *(timedelta(minutes=minutes) for minutes in (1, 5, 15)),
    *(timedelta(hours=hours) for hours in (1, 3, 6, 12)),
]
"""Pauses between the attempts of one fire; the last one repeats until the next fire."""

BUSY_PAUSE = timedelta(minutes=2)
"""When to look again if another run holds the lakehouse."""

CHECK_AHEAD = timedelta(days=1)
AWAKE_EVERY = timedelta(days=1)
BEAT_SECONDS = 20


class Work(Enum):
    """What there is to do."""

    RUN = "run"
    CHECK = "check"
    KEEP_AWAKE = "keep awake"


class Result(Enum):
    """How a piece of work ended. ``NEEDLESS``: the ledger has a complete run already."""

    DONE = "done"
    NEEDLESS = "needless"
    BUSY = "busy"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """How a piece of work ended: its error, and where it is from (``kept``, ``next_step``, ``run``), or its layers.

    ``warnings``: what a check found that keeps no run from going well.
    """

    result: Result
    error: str = ""
    kept: str = ""
    next_step: str = ""
    run: str = ""
    layers: Sequence[Mapping[str, object]] = ()
    warnings: Sequence[str] = ()

    @property
    def quarantined(self) -> int:
        """Rows that silver sent to quarantine."""
        return sum(int(str(layer["rows_quarantined"])) for layer in self.layers if layer["layer"] == "silver")


@dataclass(frozen=True)
class State:
    """What is owed, and when to see to it. Every moment is UTC.

    ``fire``: the last one, and ``next_fire`` the one after. ``since``: when this scheduler took ``fire`` on.
    ``checked``: both ends were checked for ``next_fire``, or there is no day between the fires to do so.
    """

    fire: datetime
    next_fire: datetime
    since: datetime
    attempt_at: datetime
    awake_at: datetime
    done: bool = False
    failures: int = 0
    checked: bool = False


def rolled(state: State | None, now: datetime, calendar: Calendar) -> State:
    """The state at ``now``: as it was, or for the fire that has come since (the last, if several have)."""
    if state is not None and state.fire <= now < state.next_fire:
        return state
    fire, next_fire = calendar.last(now), calendar.next(now)
    awake_at = now if state is None else min(state.awake_at, now + AWAKE_EVERY)  # the clock may have been set back
    return State(fire, next_fire, now, now, awake_at, checked=next_fire - fire <= CHECK_AHEAD)


def due(state: State, now: datetime) -> Work | None:
    """The most pressing piece of work, if any is due."""
    if not state.done and state.attempt_at <= now:
        return Work.RUN
    if not state.checked and state.next_fire - CHECK_AHEAD <= now:
        return Work.CHECK
    return Work.KEEP_AWAKE if state.awake_at <= now else None


def after(state: State, work: Work, outcome: Outcome, now: datetime) -> State:
    """The state once the work has ended at ``now``."""
    if work is Work.CHECK:
        return replace(state, checked=True)
    if work is Work.KEEP_AWAKE:
        return replace(state, awake_at=now + AWAKE_EVERY)
    if outcome.result in (Result.DONE, Result.NEEDLESS):
        return replace(state, done=True, failures=0)
    if outcome.result is Result.FAILED:
        pause = PAUSES[min(state.failures, len(PAUSES) - 1)]
        return replace(state, failures=state.failures + 1, attempt_at=now + pause)
    return replace(state, attempt_at=now + BUSY_PAUSE)


class Worker(Protocol):
    """Who does the work."""

    def run(self, unless_since: datetime) -> Outcome:
        """Bronze, silver and gold, unless a complete run began at that time or later."""

    def check(self) -> Outcome:
        """Look whether a run would find everything it needs."""

    def keep_awake(self) -> Outcome:
        """One small query to each end that falls asleep."""


class Scheduler:
    """The state in time: does what is due, says how it went, and alerts."""

    def __init__(
        self, calendar: Calendar, worker: Worker, alerts: Alerts, reporter: Reporter, clock: Callable[[], datetime]
    ) -> None:
        self._calendar = calendar
        self._worker = worker
        self._alerts = alerts
        self._reporter = reporter
        self._clock = clock
        self._asleep = ""
        self._error = ""
        self._working: Work | None = None
        self.state = rolled(None, clock(), calendar)

    def tick(self) -> None:
        """Do everything that is due now, one after the other."""
        while True:
            self.state = rolled(self.state, self._clock(), self._calendar)
            work = due(self.state, self._clock())
            if work is None:
                return
            self._working = work
            try:
                outcome = self._do(work)
            finally:
                self._working = None
            if outcome.result is Result.STOPPED:
                return
            # A fire that came while its predecessor's run was at work is owed on top of it.
            self.state = after(self.state, work, outcome, self._clock())
            self._tell(work, outcome)

    def view(self) -> health.View:
        """What ``medallion health`` is told."""
        return health.View(
            beat_at=self._clock(),
            fire=self.state.fire,
            next_fire=self.state.next_fire,
            since=self.state.since,
            done=self.state.done,
            failures=self.state.failures,
            attempt_at=None if self.state.done else self.state.attempt_at,
            working=self._working.value if self._working else None,
            error=redacted(self._error),
        )

    def _do(self, work: Work) -> Outcome:
        if work is Work.RUN:
            return self._worker.run(self.state.fire)
        return self._worker.check() if work is Work.CHECK else self._worker.keep_awake()

    def _tell(self, work: Work, outcome: Outcome) -> None:
        """Log it, and alert whoever should know."""
        failed = outcome.result is Result.FAILED
        if work is Work.RUN:
            self._tell_run(outcome)
        elif work is Work.CHECK:
            fire = self._wall(self.state.next_fire)
            if failed:
                self._alert("check_failed", f"The check before the run of {fire} found something", outcome)
            else:
                self._reporter.say(f"both ends are ready for the run of {fire}")
            for warning in outcome.warnings:
                with about(level="warning"):
                    self._reporter.say(f"warning: {typed(warning)}")
                self._alerts.send(Alert("check_warned", "A run would go well, but", typed(warning)))
        else:
            if failed and outcome.error != self._asleep:  # once, and not every day for two months
                self._alert("keep_awake_failed", "A project cannot be kept awake", outcome)
            self._asleep = outcome.error

    def _tell_run(self, outcome: Outcome) -> None:
        fire, next_fire = self._wall(self.state.fire), self._wall(self.state.next_fire)
        if outcome.result is Result.FAILED:
            self._error = outcome.error
            again = f"attempt {self.state.failures} of {fire}; the next at {self._wall(self.state.attempt_at)}"
            self._alert("run_failed", f"The run failed: {again}", outcome)
            return
        if outcome.result is Result.BUSY:
            self._reporter.say(f"another run holds the lakehouse; looking again at {self._wall(self.state.attempt_at)}")
            return
        failed_before, self._error = bool(self._error), ""
        self._reporter.say(f"the run of {fire} is done; next run: {next_fire}")
        if outcome.result is Result.NEEDLESS:
            return
        keys = ", ".join(f"{layer['layer']} {layer['key']} ({layer['meaning']})" for layer in outcome.layers)
        self._alerts.ping()
        if failed_before or self._alerts.on_success:
            title = "The run succeeded" + (" after it had failed" if failed_before else "")
            self._alerts.send(Alert("run_succeeded", title, keys, f"next run: {next_fire}", outcome.run))
        if self._alerts.quarantine_above is not None and outcome.quarantined > self._alerts.quarantine_above:
            text = f"{outcome.quarantined:,} rows went to quarantine, more than {self._alerts.quarantine_above:,}"
            step = typed("look at them: medallion quarantine list")
            self._alerts.send(Alert("quarantine", "Many rows in quarantine", text, step, outcome.run))

    def _alert(self, event: str, title: str, outcome: Outcome) -> None:
        """Say it in the log as an error, and send it."""
        next_step = typed(outcome.next_step)
        with about(level="error", run=outcome.run, kept=outcome.kept, next=next_step):
            self._reporter.say(f"{title}: {outcome.error}")
        self._alerts.send(Alert(event, title, outcome.error, next_step, outcome.run))

    def _wall(self, moment: datetime) -> str:
        return self._calendar.on_the_wall(moment)


@dataclass
class Commands:
    """The work as ``medallion`` commands, each in a process of its own, with this one's environment and folder."""

    kept_awake: Sequence[str]
    program: Sequence[str] = (sys.executable, "-m", "elt")
    _process: "subprocess.Popen[str] | None" = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def run(self, unless_since: datetime) -> Outcome:  # noqa: D102 - see Worker
        return self._command("run", "--unless-since", unless_since.isoformat())

    def check(self) -> Outcome:  # noqa: D102
        return self._command("check")

    def keep_awake(self) -> Outcome:  # noqa: D102
        if not self.kept_awake:
            return Outcome(Result.NEEDLESS)
        return self._command("check", *(f"--awake={end}" for end in self.kept_awake))

    def stop(self) -> bool:
        """Start nothing more, and ask the command at work to end; answers whether there is one."""
        with self._lock:
            self._stopped = True
            at_work = self._process is not None and self._process.poll() is None
            if self._process is not None and at_work:
                self._process.send_signal(signal.SIGTERM)
            return at_work

    def _command(self, *arguments: str) -> Outcome:
        with self._lock:
            if self._stopped:
                return Outcome(Result.STOPPED)
            self._process = subprocess.Popen(  # noqa: S603 - our own program; its log goes where ours goes
                [*self.program, *arguments, "--json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
            )
        with self._process as process:
            printed = process.stdout.read() if process.stdout else ""
        return outcome_of(arguments[0], process.returncode, printed, stopped=self._stopped)


def outcome_of(command: str, code: int, printed: str, *, stopped: bool = False) -> Outcome:
    """How a command ended, by its exit code (negative: the signal that ended it) and what ``--json`` printed."""
    try:
        document = json.loads(printed)
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    if code == 0:
        layers = document.get("layers", [])
        result = Result.NEEDLESS if command == "run" and not layers else Result.DONE
        return Outcome(result, layers=layers, warnings=document.get("warnings", []))
    if stopped or code == Stopped.exit_code:
        return Outcome(Result.STOPPED)
    if code == LeaseError.exit_code:
        return Outcome(Result.BUSY)
    if "error" in document:
        error, kept, next_step, run = (str(document.get(name, "")) for name in ("error", "kept", "next", "run"))
        return Outcome(Result.FAILED, error, kept, next_step, run)
    how = f"exit code {code}" if code > 0 else f"signal {-code}"
    killed = " (killed; was there enough memory?)" if code == -signal.SIGKILL else ""
    return Outcome(
        Result.FAILED,
        f"medallion {command} ended with {how} and without a message{killed}",
        kept="everything written so far; writes are idempotent, so running again neither loses nor doubles",
        next_step="read the log of that time",
    )


def serve(settings: Settings, reporter: Reporter) -> bool:
    """Schedule until SIGTERM or Ctrl-C; answers whether that interrupted a run. Blocks the main thread.

    APScheduler ticks every minute; work that takes longer swallows its ticks, and the heart beats beside it.
    """
    calendar = Calendar.of(settings.schedule, settings.tz)
    alerts = Alerts.of(settings, reporter)
    commands = Commands(settings.kept_awake)
    scheduler = Scheduler(calendar, commands, alerts, reporter, lambda: datetime.now(UTC))
    file = health.file_in(settings.data_dir)
    health.write(file, scheduler.view())  # a folder that cannot be written is an error now, and not in two months
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # its errors come by the listener, in our words

    def broken(event: JobExecutionEvent) -> None:
        with about(level="error"):
            reporter.say(f"the scheduler's {event.job_id} failed: {words_of(event.exception)}")

    clockwork = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(2)},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    clockwork.add_listener(broken, EVENT_JOB_ERROR)
    now = datetime.now(UTC)
    clockwork.add_job(scheduler.tick, "cron", second=0, id="tick", next_run_time=now)
    clockwork.add_job(
        lambda: health.write(file, scheduler.view()), "interval", seconds=BEAT_SECONDS, id="beat", next_run_time=now
    )
    reporter.say(
        f"schedule '{calendar.crontab}' in {calendar.zone}; next fire: {calendar.on_the_wall(calendar.next(now))}"
    )
    interrupted = False
    try:
        clockwork.start()
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        interrupted = commands.stop()
        if not stopping.asked():
            raise
        reporter.say("asked to end: " + ("the run ends its batch" if interrupted else "nothing was at work"))
    finally:
        commands.stop()
        clockwork.shutdown(wait=True)
        health.remove(file)
    return interrupted
