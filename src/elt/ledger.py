"""The run ledger (``controle.execucoes``) and the lease that keeps two runs apart. Both use the database's clock."""

import json
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field

import psutil
import pyarrow as pa

from elt.errors import AccountingError, LeaseError, MedallionError
from elt.keys import StatusKey
from elt.lakehouse.ports import Tables

LEASE_SECONDS = 60
"""How long a lease outlives its holder on another host."""

EXECUCOES = pa.schema(
    [
        ("id", pa.string()),
        ("execucao", pa.string()),
        ("camada", pa.string()),
        ("chave", pa.int64()),
        ("iniciada_em", pa.string()),
        ("terminada_em", pa.string()),
        ("linhas_lidas", pa.int64()),
        ("linhas_gravadas", pa.int64()),
        ("linhas_inalteradas", pa.int64()),
        ("linhas_repetidas", pa.int64()),
        ("linhas_em_quarentena", pa.int64()),
        ("snapshot", pa.string()),
        ("erro", pa.string()),
        ("detalhes", pa.string()),
        ("desfeita_em", pa.string()),
    ]
)
"""``controle.execucoes``: times as the database prints them; ``detalhes`` is JSON."""


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


class Execution:
    """One ledger row while its layer works: closed with a result, or with an error."""

    def __init__(self, tables: Tables, identifier: str) -> None:
        self._tables = tables
        self._identifier = identifier

    def close(self, result: LayerResult) -> None:
        """Record what the layer did."""
        self._close(result.key, result.snapshot, result.counts, None, result.details)

    def fail(self, error: BaseException) -> None:
        """Record that the layer failed, and with which words."""
        words = error.what if isinstance(error, MedallionError) else f"{type(error).__name__}: {error}"
        self._close(None, None, None, words, {})

    def _close(
        self,
        key: StatusKey | None,
        snapshot: str | None,
        counts: Counts | None,
        error: str | None,
        details: dict[str, object],
    ) -> None:
        self._tables.call(
            "controle.fechar_execucao",
            p_id=self._identifier,
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

    def __init__(self, tables: Tables, lease_lost: threading.Event | None = None) -> None:
        self._tables = tables
        self._lease_lost = lease_lost
        self.run = uuid.uuid4().hex

    def still_mine(self) -> None:
        """Nothing, unless the lease went to another run meanwhile: then a ``LeaseError``, before the next write."""
        if self._lease_lost is not None and self._lease_lost.is_set():
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
        self._tables.call(
            "controle.abrir_execucao", p_id=identifier, p_execucao=self.run, p_camada=layer, p_snapshot=snapshot
        )
        execution = Execution(self._tables, identifier)
        try:
            yield execution
        except BaseException as error:
            try:
                execution.fail(error)
            except MedallionError as silent:
                error.add_note(f"and the run ledger could not be told: {silent.what}")
            raise

    def last_applied(self) -> str | None:
        """The newest snapshot that silver has applied to the end since it was last emptied."""
        return str(found) if (found := self._tables.call("controle.ultimo_snapshot_aplicado")) else None

    def empty_silver(self, tables: Sequence[str]) -> None:
        """Empty these silver tables and the quarantine, and forget what was applied to them; all of it or nothing."""
        self._tables.call("controle.esvaziar_silver", p_tabelas=list(tables))

    def rebuild_unfinished(self) -> bool:
        """Whether silver was emptied, and whoever did it died before it had applied a snapshot to the end."""
        return bool(self._tables.call("controle.reconstrucao_inacabada"))

    def gold_pending(self) -> int:
        """How many customers and products wait to be recomputed."""
        return self._tables.count("controle.pendencias")


def this_process() -> str:
    """Who holds a lease: host, process number, and when the process started (numbers are used again)."""
    process = psutil.Process()
    return f"{socket.gethostname()}:{process.pid}:{process.create_time():.2f}"


def _died(owner: str) -> bool:
    """Whether a lease's owner is a process of this host that is no more."""
    host, pid, started = [*owner.split(":"), "", ""][:3]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" != started
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


@contextmanager
def lease(tables: Tables, seconds: int = LEASE_SECONDS) -> Iterator[threading.Event]:
    """Hold the lakehouse for one run. The event inside is set if the lease is lost on the way.

    A thread renews the lease three times in its length. ``LeaseError`` if another run holds it; a holder of this host
    that died gives it up at once, one of another host when it expires.
    """
    owner = this_process()
    holder = str(tables.call("controle.arrendar", p_dono=owner, p_segundos=seconds))
    if holder != owner and _died(holder):
        tables.call("controle.devolver", p_dono=holder)
        holder = str(tables.call("controle.arrendar", p_dono=owner, p_segundos=seconds))
    if holder != owner:
        host, pid = holder.split(":")[:2] if holder.count(":") >= 2 else (holder, "?")
        raise LeaseError(
            f"another run holds the lakehouse: process {pid} on {host}",
            kept="nothing was written by this one",
            next_step=f"wait for it to end; if it is dead, its lease ends by itself within {seconds} seconds",
        )
    ended, lost = threading.Event(), threading.Event()

    def renew() -> None:
        while not ended.wait(seconds / 3):
            try:
                if tables.call("controle.arrendar", p_dono=owner, p_segundos=seconds) != owner:
                    lost.set()
                    return
            except MedallionError:
                continue  # the work itself will meet the same error, and says it better

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        ended.set()
        thread.join()
        with suppress(MedallionError):  # a lease that cannot be given back expires by itself
            tables.call("controle.devolver", p_dono=owner)


def recent(tables: Tables, limit: int = 1_000) -> list[dict[str, object]]:
    """The ledger's rows, newest first; ``detalhes`` as a dictionary."""
    rows: list[dict[str, object]] = []
    for page in tables.pages("controle.execucoes", EXECUCOES, key="id", size=10_000):
        rows.extend(json.loads(page.to_json(orient="records")))
    for row in rows:
        row["detalhes"] = json.loads(str(row["detalhes"]))
    return sorted(rows, key=lambda row: str(row["iniciada_em"]), reverse=True)[:limit]
