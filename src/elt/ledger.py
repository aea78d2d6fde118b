"""The run ledger (``controle.execucoes``) and the lease that keeps two runs apart. Both use the database's clock."""

import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, cast

from elt import __version__, stopping
from elt.errors import AccountingError, LeaseError, MedallionError
from elt.holder import died, new_owner, session_name
from elt.holder import words_of as words_of_holder
from elt.keys import StatusKey
from elt.lakehouse.ports import Tables
from elt.redaction import words_of

LEASE_SECONDS = 60
"""How long a lease outlives its holder on another host."""

_NUMBERS = (
    *("chave", "linhas_lidas", "linhas_gravadas", "linhas_inalteradas", "linhas_repetidas"),
    "linhas_em_quarentena",
)
_TEXTS = ("id", "execucao", "camada", "iniciada_em", "terminada_em", "snapshot", "erro", "detalhes", "desfeita_em")
"""The columns of ``controle.execucoes``: times as the database prints them; ``detalhes`` is JSON."""


@dataclass(frozen=True)
class Counts:
    """Rows of one table or layer. ``read`` is always the sum of the other four."""

    read: int = 0
    written: int = 0
    unchanged: int = 0
    repeated: int = 0
    quarantined: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))

    def check(self, what: str) -> "Counts":
        """These counts, or an ``AccountingError`` if a row was lost or doubled on the way."""
        out = self.written + self.unchanged + self.repeated + self.quarantined
        if out != self.read:
            raise AccountingError(
                f"{what}: {self.read:,} rows in, but {out:,} rows out ({self.written:,} written, {self.unchanged:,} "
                f"unchanged, {self.repeated:,} repeated, {self.quarantined:,} quarantined)",
                kept="what was written is correct row by row, but the sum is not: do not trust this run",
                next_step="run again with --full; if it happens again, report it with the run ledger's rows",
            )
        return self


@dataclass(frozen=True)
class LayerResult:
    """What one layer did in one run. ``details`` goes to the ledger as JSON; ``seconds`` is wall time."""

    layer: str
    key: StatusKey
    counts: Counts
    snapshot: str | None = None
    details: dict[str, object] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Situation:
    """What silver and gold have to do.

    ``applied``: the newest snapshot that silver applied to the end since it was last emptied. ``rules``: the version of
    the cleaning rules (``catalog.rules_version``) under which it did. ``rebuild_unfinished``: silver was emptied, and
    whoever did it died before it had applied a snapshot to the end. ``gold_pending``: how many analyses are
    to be computed. ``identities``: those of the lakehouse's shop (see ``elt.sources.identity``), the first
    first; none if no run has named one since the last reset.
    """

    applied: str | None
    rules: str | None
    rebuild_unfinished: bool
    gold_pending: int
    identities: tuple[str, ...]

    @classmethod
    def of(cls, answer: object) -> "Situation":
        """From the answer of ``controle.situacao`` and ``controle.fechar_execucao``."""
        found = cast("dict[str, Any]", answer)
        return cls(
            found["snapshot"],
            found["regras"],
            found["reconstrucao_inacabada"],
            found["pendencias"],
            tuple(found["identidades"]),
        )


class Execution:
    """One ledger row while its layer works: closed with a result, or with an error.

    ``identifier``: the row's. ``owner``: who holds the lease: whatever writes is asked for it.
    ``situation``: what there is to do once it is closed with a result.
    """

    def __init__(self, tables: Tables, identifier: str, owner: str) -> None:
        self._tables = tables
        self.identifier = identifier
        self.owner = owner
        self.situation: Situation | None = None

    def close(self, result: LayerResult) -> None:
        """Record what the layer did, if the lakehouse was this run's to the end."""
        answer = self._close(result.key, result.snapshot, result.counts, None, result.details)
        self.situation = Situation.of(answer)

    def fail(self, error: BaseException) -> None:
        """Record that the layer failed, and with which words."""
        interrupted = isinstance(error, KeyboardInterrupt)
        words = str(error) or "interrupted from the keyboard" if interrupted else words_of(error)
        self._close(None, None, None, words, {})

    def _close(
        self,
        key: StatusKey | None,
        snapshot: str | None,
        counts: Counts | None,
        error: str | None,
        details: dict[str, object],
    ) -> object:
        return self._tables.call(
            "controle.fechar_execucao",
            p_dono=self.owner,
            p_id=self.identifier,
            p_chave=None if key is None else int(key),
            p_snapshot=snapshot,
            p_lidas=counts.read if counts else None,
            p_gravadas=counts.written if counts else None,
            p_inalteradas=counts.unchanged if counts else None,
            p_repetidas=counts.repeated if counts else None,
            p_em_quarentena=counts.quarantined if counts else None,
            p_erro=error,
            p_detalhes=details,
        )


class Ledger:
    """The run ledger of one run."""

    def __init__(self, tables: Tables, lease: "Lease | None" = None) -> None:
        self._tables = tables
        self._lease = lease
        self._told: Situation | None = None
        self.run = uuid.uuid4().hex

    @property
    def owner(self) -> str:
        """Who holds the lease, as functions that write ask for it; empty without one."""
        return self._lease.owner if self._lease else ""

    def may_go_on(self) -> None:
        """Nothing, unless the run has to end before its next batch: ``Stopped``; ``LeaseError`` without its lease."""
        stopping.check()
        self.check_lease()

    def check_lease(self) -> None:
        """Nothing, or a ``LeaseError`` if another run has had the lakehouse since this one began."""
        if self._lease is not None and not self._lease.is_mine():
            raise LeaseError(
                "this run was away for longer than its lease, and another run has taken the lakehouse",
                kept="what was written is complete, batch by batch",
                next_step="wait for the other run to end, then run again: it goes on from there",
            )

    @contextmanager
    def execution(self, layer: str, snapshot: str | None = None) -> Iterator[Execution]:
        """A ledger row for the work inside; an exception is recorded in it and goes on.

        The row of a killed run stays open (``terminada_em`` is NULL). If the error itself is that the database does not
        answer, its row stays open too.
        """
        identifier = uuid.uuid4().hex
        self._tables.call(  # before the work: a row's ``data_ingestao`` lies within the execution that wrote it
            "controle.abrir_execucao",
            p_dono=self.owner,
            p_id=identifier,
            p_execucao=self.run,
            p_camada=layer,
            p_snapshot=snapshot,
        )
        execution = Execution(self._tables, identifier, self.owner)
        try:
            yield execution
            self._told = execution.situation
        except BaseException as error:
            if execution.situation is None:  # what is closed already stands: it was written with what it tells of
                try:
                    execution.fail(error)
                except MedallionError as silent:
                    error.add_note(f"and the run ledger could not be told: {silent.what}")
            raise

    def situation(self) -> Situation:
        """What there is to do: as the end of the last execution told it, if nothing has been asked since, else now."""
        told, self._told = self._told, None
        return told or Situation.of(self._tables.call("controle.situacao"))

    def empty_staging(self) -> None:
        """Remove whatever is staged: no execution is at work."""
        self._tables.call("silver.esvaziar_estagio", p_dono=self.owner)

    def name_shop(self, identities: Sequence[str]) -> None:
        """From now on the lakehouse is that of the shop with these identities."""
        self.may_go_on()
        self._tables.call("controle.nomear_loja", p_dono=self.owner, p_identidades=list(identities))

    def reset(self, tables: Sequence[str], analyses: Sequence[str]) -> None:
        """Empty silver, its quarantine and gold, and forget which shop they were of; all of it or nothing."""
        self.may_go_on()
        self._tables.call("controle.reiniciar", p_dono=self.owner, p_tabelas=list(tables), p_analises=list(analyses))


def _seconds() -> float:
    """A clock that goes on while the process, or the machine, sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Lease:
    """The lakehouse, held for one run. A thread renews it three times in its length."""

    def __init__(self, tables: Tables, seconds: int) -> None:
        self._tables = tables
        self._length = seconds
        self.owner = new_owner()
        self._renewed_at = 0.0
        self._lost = False
        self._ended = threading.Event()

    def take(self, ended: str | None = None) -> str:
        """Take it if nobody holds it, or ``ended``, whose process has ended; answers who holds it now."""
        self._renewed_at = _seconds()
        holder = self._tables.call(
            "controle.arrendar",
            p_dono=self.owner,
            p_segundos=self._length,
            p_programa=__version__,
            p_encerrado=ended,
        )
        return str(holder)

    def renew(self) -> None:
        """Hold it for its whole length again, unless another run has had it since: then it is lost."""
        asked_at = _seconds()
        if self._tables.call("controle.renovar", p_dono=self.owner, p_segundos=self._length):
            self._renewed_at = asked_at
        else:
            self._lost = True

    def give_back(self) -> None:
        """End it."""
        self._tables.call("controle.devolver", p_dono=self.owner)

    def is_mine(self) -> bool:
        """Whether it is still held.

        One that may have run out (this process was stopped, the network was away) is renewed first, so that the answer
        is true now, and not only when the thread last looked.
        """
        if not self._lost and _seconds() - self._renewed_at > self._length / 2:
            self.renew()
        return not self._lost

    @contextmanager
    def held(self) -> Iterator["Lease"]:
        """Hold it: ``LeaseError`` if another run does.

        One of a process of this host that died is taken over at once, one of another host when it expires.
        """
        self._tables.name_sessions(session_name(self.owner))
        holder = self.take()
        if holder != self.owner and died(holder):
            holder = self.take(holder)
        if holder != self.owner:
            raise LeaseError(
                f"another run holds the lakehouse: {words_of_holder(holder)}",
                kept="nothing was written by this one",
                next_step=f"wait for it to end; if it is dead, its lease ends by itself within {self._length} seconds",
            )
        thread = threading.Thread(target=self._renew_until_the_end, name="lease", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()
            with suppress(MedallionError):  # a lease that cannot be given back expires by itself
                self.give_back()

    def _renew_until_the_end(self) -> None:
        while not self._lost and not self._ended.wait(self._length / 3):
            try:
                self.renew()
            except MedallionError:
                continue  # the work itself will meet the same error, and says it better


def last_complete(rows: Sequence[Mapping[str, object]]) -> datetime | None:
    """When the newest run that went to its end began, of the ledger's ``rows`` as ``recent`` gives them.

    A run went to its end if none of its layers failed or is open, and the last of them had nothing to hand on.
    """
    runs: dict[object, list[Mapping[str, object]]] = {}
    for row in rows:
        runs.setdefault(row["execucao"], []).append(row)
    began = [min(moment(row["iniciada_em"]) for row in run) for run in runs.values() if _went_to_its_end(run)]
    return max(began, default=None)


def _went_to_its_end(run: Sequence[Mapping[str, object]]) -> bool:
    if any(row["erro"] or row["chave"] is None for row in run):
        return False
    layers = {row["camada"] for row in run}
    last = next(layer for layer in ("gold", "silver", "bronze") if layer in layers)
    keys = [StatusKey(int(str(row["chave"]))) for row in run if row["camada"] == last]
    return "bronze" in layers and not any(key.goes_on for key in keys)


def moment(printed: object) -> datetime:
    """A time of the ledger."""
    return datetime.fromisoformat(str(printed))


def recent(tables: Tables, limit: int | None = 1_000) -> list[dict[str, object]]:
    """The ledger's rows, newest first; ``detalhes`` as a dictionary. ``limit``: so many at most; None: all."""
    rows: list[dict[str, object]] = []
    for page in tables.rows("controle.execucoes", (*_TEXTS, *_NUMBERS), key="id", size=10_000):
        for row in page:
            numbers = {name: None if (text := row[name]) is None else int(text) for name in _NUMBERS}
            rows.append({**row, **numbers, "detalhes": json.loads(str(row["detalhes"]))})
    return sorted(rows, key=lambda row: str(row["iniciada_em"]), reverse=True)[:limit]
