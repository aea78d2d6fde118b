"""One run: bronze, silver, gold, each going on only if the key of the one before says so.

A layer is loaded when it begins: with it come Arrow and pandas, which nothing else here needs.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from rich.filesize import decimal

from elt.catalog import ANALYSES, Table
from elt.errors import MedallionError
from elt.guarded import guarded, guarded_bucket, guarded_source
from elt.lakehouse import snapshots, space
from elt.lakehouse.ports import Bucket, Lakehouse
from elt.lakehouse.snapshots import NOTHING_KNOWN, Known
from elt.ledger import LEASE_SECONDS, LayerResult, Lease, Ledger, last_complete, recent
from elt.progress import Reporter, about
from elt.silver import TABLES
from elt.sources.port import Source
from elt.stopping import between_batches

if TYPE_CHECKING:
    from elt.bronze.main import BronzeResult

R = TypeVar("R", bound=LayerResult)

CLOCKS_APART = timedelta(seconds=30)
"""How far the database's clock may be behind this machine's without a run counting as older than it is."""


@dataclass(frozen=True)
class Swept:
    """The objects that a sweep removed. ``left_alone``: how many others there are that are not the pipeline's."""

    removed: list[str]
    left_alone: int


@dataclass(frozen=True)
class Pruned:
    """What a prune removed, or would remove: snapshots, objects and their bytes; and the snapshots it keeps.

    ``left_alone``: how many objects there are that are not the pipeline's.
    """

    removed: list[str]
    kept: list[str]
    objects: list[str]
    bytes: int
    left_alone: int


class Runner:
    """The layers over one source and one lakehouse, one run at a time: each method holds the lease while it works."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        reporter: Reporter,
        tables: tuple[Table, ...] = TABLES,
        lease_seconds: int = LEASE_SECONDS,
    ) -> None:
        self._unguarded = lakehouse
        self._lakehouse = guarded(lakehouse, self._may_go_on)
        self._ledger_now: Ledger | None = None
        self._reporter = reporter
        self._tables = tables
        self._lease_seconds = lease_seconds

    def run(
        self,
        source: Source,
        *,
        full: bool = False,
        unless_since: datetime | None = None,
        new_source: bool = False,
        keep_snapshots: int | None = None,
    ) -> list[LayerResult]:
        """Bronze, then silver, then gold; the results of those that ran. ``full``: see ``silver``.

        ``unless_since``: do nothing if a run that went to its end began at that time or later. ``new_source``: see
        ``bronze``. ``keep_snapshots``: prune to so many when the layers are done.
        """
        with self._ledger() as ledger:
            if unless_since is not None:
                last = last_complete(recent(self._lakehouse.tables))
                if last is not None and last >= unless_since - CLOCKS_APART:
                    self._reporter.say(f"nothing to do: a run that began at {last:%Y-%m-%d %H:%M:%S %Z} is complete")
                    return []
            copied = self._bronze(source, ledger, new_source=new_source)
            results: list[LayerResult] = [copied]
            if copied.key.goes_on or full:
                results.append(self._silver(ledger, full=full, known=copied.known))
                if results[-1].key.goes_on:
                    results.append(self._gold(ledger))
            if keep_snapshots is not None:
                self._keep_only(keep_snapshots, ledger)
            return results

    def bronze(self, source: Source, *, new_source: bool = False) -> LayerResult:
        """Bronze alone. ``new_source``: the source is the same shop as before under a new address."""
        with self._ledger() as ledger:
            return self._bronze(source, ledger, new_source=new_source)

    def silver(self, *, full: bool = False) -> LayerResult:
        """Silver alone. ``full``: apply the newest snapshot whole, not only what changed."""
        with self._ledger() as ledger:
            if self._lakehouse.database_quota is not None:
                self._require_database_room(ledger)
            return self._silver(ledger, full=full)

    def _require_database_room(self, ledger: Ledger) -> None:
        """What bronze asks in a run: ``Full`` if the newest snapshot, where silver lacks it, does not fit."""
        newest, applied = snapshots.newest(self._lakehouse.bucket), ledger.situation().applied
        if newest is not None and newest.snapshot != applied:
            rows = space.rows_of(newest)
            space.require_room(self._lakehouse, self._tables, rows, applied, newest, self._reporter)

    def gold(self) -> LayerResult:
        """Gold alone."""
        with self._ledger() as ledger:
            return self._gold(ledger)

    def sweep(self) -> Swept:
        """Remove what dead runs left in the bucket. Safe: no other run can be at work."""
        with self._ledger():
            bucket = self._lakehouse.bucket
            left = snapshots.leftovers(bucket)
            bucket.delete(left)
            return Swept(left, len(snapshots.of_others(bucket.list())))

    def replay(self, snapshot: str) -> list[LayerResult]:
        """Silver and gold as this snapshot alone gives them. The next run applies the snapshots after it."""
        with self._ledger() as ledger:
            results = [self._silver(ledger, replay=snapshot)]
            if results[-1].key.goes_on:
                results.append(self._gold(ledger))
            return results

    def reset(self) -> str:
        """Give the lakehouse to another shop: silver and gold are emptied, and bronze gets a mark; answers its folder.

        The mark comes first: whatever is killed in between, what is read next is not mixed with what was there.
        """
        with self._ledger() as ledger:
            mark = snapshots.write_reset(self._lakehouse.bucket, ledger.run, datetime.now(UTC))
            analyses = [analysis.name for analysis in ANALYSES]
            ledger.reset([table.name for table in self._tables], analyses)
            return mark

    def prune(self, keep: int, *, dry_run: bool = False) -> Pruned:
        """Remove all but the newest ``keep`` snapshots and those that silver needs, and what dead runs left.

        Manifests, and marks beside them, go first: a snapshot is there whole or not at all, and what a killed prune
        leaves is swept later.
        """
        with self._ledger() as ledger:
            return self._prune(keep, ledger, dry_run=dry_run)

    def _prune(self, keep: int, ledger: Ledger, *, dry_run: bool = False) -> Pruned:
        bucket = self._lakehouse.bucket
        known = snapshots.committed(bucket)
        removed = snapshots.prunable(known, keep, ledger.situation().applied)
        unneeded = snapshots.leftovers(bucket, without=removed)
        manifests = [path for path in unneeded if path.endswith(".json")]
        parts = [path for path in unneeded if path not in manifests]
        sizes = bucket.sizes()
        if not dry_run:
            bucket.delete(manifests)
            bucket.delete(parts)
        return Pruned(
            removed,
            kept=[snapshot for snapshot in known if snapshot not in removed],
            objects=[*manifests, *parts],
            bytes=sum(sizes[path] for path in unneeded),
            left_alone=len(snapshots.of_others(sizes)),
        )

    def _keep_only(self, keep: int, ledger: Ledger) -> None:
        """Prune after a run that is complete, which it stays whatever becomes of this; it is said, and tried again."""
        try:
            known = snapshots.contents(self._lakehouse.bucket).committed
            if not snapshots.prunable(known, keep, ledger.situation().applied):
                return
            pruned = self._prune(keep, ledger)
        except MedallionError as error:
            with about(level="warning", next=error.next_step):
                self._reporter.say(
                    f"warning: the run is complete, but old snapshots could not be removed (KEEP_SNAPSHOTS={keep}): "
                    f"{error.what}; the next run tries again"
                )
            return
        if pruned.removed:
            self._reporter.say(
                f"bronze: {len(pruned.removed)} old snapshots removed (KEEP_SNAPSHOTS={keep}): {decimal(pruned.bytes)}"
            )

    def copy_snapshots(self, source: Bucket, target: Bucket) -> list[str]:
        """Copy the snapshots that ``target`` lacks, while no other run can write or prune; answers their names."""
        with self._ledger():
            if target is self._unguarded.bucket and self._lakehouse.quota is not None:
                there, copied = snapshots.contents(target).parts, snapshots.contents(source).parts
                more = sum(size for path, size in copied.items() if path not in there)
                snapshots.require_room(self._lakehouse, more, self._reporter)
            return snapshots.copy(source, guarded_bucket(target, self._may_go_on), self._reporter)

    @contextmanager
    def _ledger(self) -> Iterator[Ledger]:
        """The ledger of one run that holds the lease. What fails inside carries the run's identifier."""
        tables = self._unguarded.tables
        with between_batches(), Lease(tables, self._lease_seconds).held() as lease:
            self._ledger_now = ledger = Ledger(tables, lease)
            try:
                with about(run=ledger.run):
                    yield ledger
            except MedallionError as error:
                error.run = ledger.run
                raise
            finally:
                self._ledger_now = None

    def _may_go_on(self) -> None:
        if self._ledger_now is not None:
            self._ledger_now.may_go_on()

    def _bronze(self, source: Source, ledger: Ledger, *, new_source: bool = False) -> "BronzeResult":
        from elt.bronze import main as bronze

        asked = guarded_source(source, self._may_go_on)
        copy = partial(bronze.run, asked, self._lakehouse, ledger, self._reporter, self._tables, new_source=new_source)
        return _observed("bronze", copy, self._reporter)

    def _silver(
        self, ledger: Ledger, *, full: bool = False, known: Known = NOTHING_KNOWN, replay: str | None = None
    ) -> LayerResult:
        from elt.silver import main as silver

        def layer() -> LayerResult:
            if replay is not None:
                return silver.replay(replay, self._lakehouse, ledger, self._reporter, self._tables)
            return silver.run(self._lakehouse, ledger, self._reporter, self._tables, full=full, known=known)

        return _observed("silver", layer, self._reporter)

    def _gold(self, ledger: Ledger) -> LayerResult:
        from elt.gold import main as gold

        return _observed("gold", lambda: gold.run(self._lakehouse, ledger, self._reporter), self._reporter)


def _observed(name: str, layer: Callable[[], R], reporter: Reporter) -> R:
    """The layer's result with its wall time, said as one line."""
    with about(layer=name):
        started = time.monotonic()
        result = replace(layer(), seconds=time.monotonic() - started)
        facts = {"key": int(result.key), **{f"rows_{name}": rows for name, rows in vars(result.counts).items()}}
        with about(**facts, seconds=round(result.seconds, 3)):
            reporter.say(f"{result.layer}: {int(result.key)} - {result.key.meaning}")
        return result
