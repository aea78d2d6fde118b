"""What ``medallion status`` knows: the last runs, what is pending, the quarantine, and the space used."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from elt import health
from elt.crontab import Calendar
from elt.errors import ConfigurationError
from elt.keys import StatusKey
from elt.lakehouse import snapshots
from elt.lakehouse.ports import Lakehouse
from elt.ledger import Ledger, recent
from elt.postgres_versions import Server, server_of
from elt.quarantine import ROWS, VALUES, Group, summary
from elt.redaction import redacted
from elt.settings import Settings

LAYERS = ("bronze", "silver", "gold")
COUNTED = {
    "read": "linhas_lidas",
    "written": "linhas_gravadas",
    "unchanged": "linhas_inalteradas",
    "repeated": "linhas_repetidas",
    "quarantined": "linhas_em_quarentena",
}
"""Rows in a ledger entry: our names and the ledger's."""


@dataclass(frozen=True)
class Entry:
    """One layer of one run (silver: one snapshot of it). ``words``: the key in words, or what happened instead.

    ``rows`` is empty for a layer that did not end. ``undone``: a replay has emptied silver since.
    """

    run: str
    layer: str
    key: int | None
    words: str
    started: datetime
    seconds: float | None
    rows: dict[str, int]
    snapshot: str | None
    error: str | None
    undone: bool


@dataclass(frozen=True)
class Run:
    """One run: its layers in the order they worked."""

    run: str
    entries: list[Entry]

    @property
    def started(self) -> datetime:
        """When its first layer began."""
        return self.entries[0].started

    @property
    def words(self) -> str:
        """How it ended: the words of its last layer."""
        return self.entries[-1].words

    def rows(self, layer: str, name: str) -> int | None:
        """A count of one layer (all snapshots together); None if the layer did not end."""
        found = [entry.rows[name] for entry in self.entries if entry.layer == layer and entry.rows]
        return sum(found) if found else None


@dataclass(frozen=True)
class Storage:
    """Space used: snapshots, their objects, and the bytes of their parts; bytes of the whole database.

    ``unreadable``: snapshots whose manifest cannot be read; what only they need is not counted. ``warning``: what to
    know of a bucket that is nearly full.
    """

    snapshots: int
    objects: int
    bucket_bytes: int
    database_bytes: int
    unreadable: tuple[str, ...] = ()
    warning: str = ""


@dataclass(frozen=True)
class Status:
    """Everything that ``medallion status`` shows. ``last`` is the newest entry of each layer; ``runs`` newest first.

    ``shop``: the identities of the lakehouse's shop, the same shop by several addresses if its owner said so.
    ``next_run``: the next fire of ``SCHEDULE``, in its time zone; it happens if the scheduler has no problems.
    """

    lakehouse: str
    shop: tuple[str, ...]
    server: Server
    last: list[Entry]
    runs: list[Run]
    last_applied: str | None
    waiting_for_silver: int
    waiting_for_gold: int
    rows_in_quarantine: int
    values_in_quarantine: int
    quarantine: list[Group] = field(default_factory=list)
    storage: Storage = field(default_factory=lambda: Storage(0, 0, 0, 0))
    next_run: datetime | None = None
    scheduler_problems: list[str] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        """Everything as ``--json`` prints it."""
        return asdict(self)


def gather(lakehouse: Lakehouse, settings: Settings, limit: int) -> Status:
    """Look at the ledger, the quarantine, the bucket and the schedule; ``limit`` runs, newest first."""
    tables, situation = lakehouse.tables, Ledger(lakehouse.tables).situation()
    now = datetime.now(UTC)
    next_run, problems = _next_run(settings, now)
    problems += health.problems(health.read(health.file_in(settings.data_dir)), now)
    entries = [_entry(row) for row in recent(tables)]
    by_run: dict[str, list[Entry]] = {}
    for entry in entries:
        by_run.setdefault(entry.run, []).insert(0, entry)
    applied = situation.applied
    bronze = snapshots.contents(lakehouse.bucket)
    return Status(
        lakehouse=lakehouse.description,
        shop=situation.identities,
        server=server_of(tables),
        last=[next(entry for entry in entries if entry.layer == layer) for layer in LAYERS if _has(entries, layer)],
        runs=[Run(run, found) for run, found in list(by_run.items())[:limit]],
        last_applied=applied,
        waiting_for_silver=sum(applied is None or snapshot > applied for snapshot in bronze.committed),
        waiting_for_gold=situation.gold_pending,
        rows_in_quarantine=tables.count(ROWS),
        values_in_quarantine=tables.count(VALUES),
        quarantine=summary(tables),
        storage=Storage(
            snapshots=len(bronze.ever_committed),
            objects=len(bronze.ever_committed) + len(bronze.parts),
            bucket_bytes=bronze.bytes,
            database_bytes=int(str(tables.call("controle.tamanho_do_banco"))),
            unreadable=bronze.unreadable,
            warning=lakehouse.quota.warning(bronze.bytes) if lakehouse.quota else "",
        ),
        next_run=next_run,
        scheduler_problems=problems,
    )


def _next_run(settings: Settings, now: datetime) -> tuple[datetime | None, list[str]]:
    """The next fire; or none, and why: a schedule that is wrong keeps nobody from seeing the rest."""
    try:
        calendar = Calendar.of(settings.schedule, settings.tz)
    except ConfigurationError as error:
        return None, [f"{error.what}: no run is started before that is corrected"]
    return calendar.next(now).astimezone(calendar.zone), []


def _has(entries: list[Entry], layer: str) -> bool:
    return any(entry.layer == layer for entry in entries)


def _entry(row: dict[str, object]) -> Entry:
    key = None if row["chave"] is None else StatusKey(int(str(row["chave"])))
    started = datetime.fromisoformat(str(row["iniciada_em"]))
    ended = None if row["terminada_em"] is None else datetime.fromisoformat(str(row["terminada_em"]))
    error = None if row["erro"] is None else redacted(str(row["erro"]))
    if error:
        words = f"failed in {row['camada']}: {error}"
    elif key is None:
        words = f"not finished in {row['camada']}: running, or killed"
    else:
        words = key.meaning
    return Entry(
        run=str(row["execucao"]),
        layer=str(row["camada"]),
        key=None if key is None else int(key),
        words=words,
        started=started,
        seconds=None if ended is None else (ended - started).total_seconds(),
        rows={} if key is None else {name: int(str(row[column])) for name, column in COUNTED.items()},
        snapshot=None if row["snapshot"] is None else str(row["snapshot"]),
        error=error,
        undone=row["desfeita_em"] is not None,
    )
