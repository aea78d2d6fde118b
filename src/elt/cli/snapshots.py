"""Commands about the snapshots that bronze keeps: list, replay, prune, back up, restore."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import click
from rich.filesize import decimal

from elt.cli.context import (
    counted,
    json_option,
    opened,
    print_json,
    print_table,
    reporter,
    say_hint,
    say_left_alone,
)
from elt.cli.layers import document, print_results
from elt.errors import SnapshotError
from elt.lakehouse import snapshots as bronze
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.ledger import Ledger
from elt.progress import SilentReporter
from elt.runner import Runner

_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be done; change nothing.")


@click.command()
@json_option
def snapshots(as_json: bool) -> None:
    """The snapshots in bronze, oldest first: their rows, the bytes each added, and whether silver has applied it."""
    with opened(SilentReporter(), with_source=False) as (_, lakehouse):
        applied = Ledger(lakehouse.tables).situation().applied
        manifests = [bronze.read_manifest(lakehouse.bucket, name) for name in bronze.ever_committed(lakehouse.bucket)]
        own = set(bronze.committed(lakehouse.bucket))
    found = [
        Listed(
            snapshot=manifest.snapshot,
            rows={table: stored.rows for table, stored in manifest.tables.items()},
            new_bytes=sum(
                part.bytes for part in bronze.parts_of(manifest) if part.path.startswith(f"{manifest.snapshot}/")
            ),
            state=_state(manifest.snapshot, applied, own),
            shop=" = ".join(manifest.identities),
            run=manifest.run,
        )
        for manifest in manifests
    ]
    if as_json:
        print_json({"snapshots": [vars(listed) for listed in found], "last_applied": applied})
        return
    tables = list(dict.fromkeys(table for listed in found for table in listed.rows))
    columns = [("snapshot", "left"), *((name, "right") for name in (*tables, "new bytes")), ("state", "left")]
    columns.append(("shop", "left"))
    print_table(
        columns,
        [
            (
                one.snapshot.rsplit("/", 1)[-1],
                *(one.rows.get(name) for name in tables),
                one.new_bytes,
                one.state,
                one.shop,
            )
            for one in found
        ],
    )


def _state(snapshot: str, applied: str | None, own: Collection[str]) -> str:
    if snapshot not in own:
        return "another shop's"
    return "applied" if applied is not None and snapshot <= applied else "waiting"


@dataclass(frozen=True)
class Listed:
    """One snapshot as it is listed. ``new_bytes``: its own parts, without those of older snapshots it points at.

    ``shop``: its identities, if its manifest names one.
    """

    snapshot: str
    rows: dict[str, int]
    new_bytes: int
    state: str
    shop: str
    run: str


@click.command()
@click.argument("snapshot")
@_dry_run
@json_option
def replay(snapshot: str, dry_run: bool, as_json: bool) -> None:
    """Rebuild silver and gold from one bronze SNAPSHOT alone.

    Its parts are checked first; then silver and its quarantine become what the snapshot gives (what it does not hold is
    removed, rows that are alike are not touched), and gold is computed. Snapshots after it wait for silver again: the
    next run applies them, unless you stop the schedule.
    SNAPSHOT is a name that `medallion snapshots` lists, or the last part of one.
    """
    say = reporter()
    with opened(say, with_source=False) as (_, lakehouse):
        name = bronze.find(lakehouse.bucket, snapshot)
        plan = _plan(lakehouse, name)
        if dry_run:
            bronze.check_parts(lakehouse.bucket, bronze.read_manifest(lakehouse.bucket, name), say)
        results = [] if dry_run else Runner(lakehouse, say).replay(name)
    if as_json:
        print_json({"dry_run": dry_run, **vars(plan), "layers": [document(result) for result in results]})
    elif dry_run:
        _show_plan(plan)
    else:
        print_results(results)
        click.echo(f"silver and gold are what {name} alone gives")
        _say_what_waits(plan)


@dataclass(frozen=True)
class Plan:
    """What a replay starts from: rows of each table in the snapshot and in silver, and the snapshots after it."""

    snapshot: str
    rows_in_snapshot: dict[str, int]
    rows_in_silver: dict[str, int]
    waiting_after: list[str]


def _plan(lakehouse: Lakehouse, name: str) -> Plan:
    known = bronze.committed(lakehouse.bucket)
    stored = bronze.read_manifest(lakehouse.bucket, name).tables
    return Plan(
        snapshot=name,
        rows_in_snapshot={table: stored[table].rows for table in stored},
        rows_in_silver={table: lakehouse.tables.count(f"silver.{table}") for table in stored},
        waiting_after=known[known.index(name) + 1 :],
    )


def _show_plan(plan: Plan) -> None:
    click.echo(f"would rebuild silver and gold from {plan.snapshot}; its parts are whole")
    columns = [("table", "left"), ("rows in the snapshot", "right"), ("rows in silver now", "right")]
    print_table(columns, [(name, rows, plan.rows_in_silver[name]) for name, rows in plan.rows_in_snapshot.items()])
    _say_what_waits(plan)


def _say_what_waits(plan: Plan) -> None:
    if plan.waiting_after:
        after = counted(len(plan.waiting_after), "snapshot")
        say_hint(f"the next `medallion run` or `medallion silver` applies what came after it: {after}")
    else:
        click.echo("it is the newest snapshot: nothing waits after it")


@click.command()
@click.option("--keep", type=click.IntRange(1), required=True, help="How many of the newest snapshots to keep.")
@_dry_run
@json_option
def prune(keep: int, dry_run: bool, as_json: bool) -> None:
    """Remove old snapshots from bronze, but never one that silver needs.

    Kept besides the newest: the snapshot that silver applied last, those it has not applied yet, and every part that a
    kept snapshot points at. A pruned snapshot can no longer be replayed, nor found by `medallion trace`.
    """
    say = reporter()
    with opened(say, with_source=False) as (_, lakehouse):
        pruned = Runner(lakehouse, say).prune(keep, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, **vars(pruned)})
        return
    for name in pruned.removed:
        click.echo(f"{'would remove' if dry_run else 'removed'}  {name}")
    done = "would be removed" if dry_run else "removed"
    click.echo(
        f"{counted(len(pruned.removed), 'snapshot')} {done} ({counted(len(pruned.objects), 'object')}, "
        f"{decimal(pruned.bytes)}); {len(pruned.kept)} kept"
    )
    say_left_alone(pruned.left_alone)


_folder = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.command()
@_folder
@json_option
def backup(folder: Path, as_json: bool) -> None:
    """Copy every snapshot of bronze that FOLDER does not have yet into it; nothing in FOLDER is removed."""
    say = reporter()
    with opened(say, with_source=False) as (_, lakehouse):
        copied = Runner(lakehouse, say).copy_snapshots(lakehouse.bucket, FolderBucket(folder))
    _show_copied(copied, f"into {folder}", as_json=as_json)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def restore(folder: Path, as_json: bool) -> None:
    """Copy the snapshots of FOLDER that bronze does not have into it, and parts that bronze has lost.

    FOLDER is what `medallion backup` wrote, or the bucket folder of an embedded lakehouse (data/bucket). Then
    `medallion silver` and `medallion gold` build the tables from them.
    """
    say = reporter()
    with opened(say, with_source=False) as (_, lakehouse):
        try:
            copied = Runner(lakehouse, say).copy_snapshots(FolderBucket(folder), lakehouse.bucket)
        except SnapshotError as error:
            named = SnapshotError(f"in {folder}: {error.what}", kept=error.kept, next_step=error.next_step)
            named.run = error.run
            raise named from error
    _show_copied(copied, "into bronze", as_json=as_json)


def _show_copied(copied: list[str], where: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"copied": copied})
        return
    for name in copied:
        click.echo(f"copied  {name}")
    click.echo(f"{counted(len(copied), 'snapshot')} copied {where}")
