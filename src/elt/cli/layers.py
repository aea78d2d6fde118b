"""Commands that move data: the whole run, one layer by hand, and the demonstration."""

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from elt.cli.context import (
    counted,
    json_option,
    opened,
    print_json,
    print_table,
    reporter,
    sample_asked,
    say_hint,
    say_left_alone,
)
from elt.connections import data_folder, source_of
from elt.lakehouse import snapshots
from elt.lakehouse.embedded import open_embedded
from elt.ledger import LayerResult
from elt.runner import Runner
from elt.settings import Settings


def _moment(text: str) -> datetime:
    """A time with its offset, of the command line."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return moment


_full = click.option(
    "--full", is_flag=True, help="Clean the newest snapshot whole, not only what changed since the last."
)
_new_source = click.option(
    "--new-source", is_flag=True, help="The source is the same shop as before under a new address: go on with it."
)


@click.command()
@_full
@click.option(
    "--unless-since",
    type=_moment,
    metavar="TIME",
    help="Do nothing if a complete run began at that time (ISO 8601, with its offset) or later.",
)
@_new_source
@json_option
def run(full: bool, unless_since: datetime | None, new_source: bool, as_json: bool) -> None:
    """Run bronze, silver and gold; each goes on only if the one before has something new."""
    say = reporter()
    with opened(say, with_source=True) as (settings, lakehouse):
        results = Runner(lakehouse, say).run(
            source_of(settings, sample=sample_asked()),
            full=full,
            unless_since=unless_since,
            new_source=new_source,
            keep_snapshots=settings.keep_snapshots,
        )
    _show(results, settings, loading=True, as_json=as_json)


@click.command()
@click.option("--sweep", is_flag=True, help="Only remove what runs that died left in the bucket.")
@_new_source
@json_option
def bronze(sweep: bool, new_source: bool, as_json: bool) -> None:
    """Copy the source's tables into a new snapshot in the bucket, if they changed (135 or 246)."""
    say = reporter()
    with opened(say, with_source=not sweep) as (settings, lakehouse):
        if sweep:
            swept = Runner(lakehouse, say).sweep()
            if as_json:
                print_json(vars(swept))
            else:
                click.echo(f"{counted(len(swept.removed), 'object')} of uncommitted snapshots removed")
                say_left_alone(swept.left_alone)
            return
        source = source_of(settings, sample=sample_asked())
        result = Runner(lakehouse, say).bronze(source, new_source=new_source)
    _show([result], settings, loading=True, as_json=as_json)


@click.command()
@_full
@json_option
def silver(full: bool, as_json: bool) -> None:
    """Clean what changed since the last snapshot into the silver tables (357 or 468)."""
    say = reporter()
    with opened(say, with_source=False) as (settings, lakehouse):
        result = Runner(lakehouse, say).silver(full=full)
    _show([result], settings, as_json=as_json)


@click.command()
@json_option
def gold(as_json: bool) -> None:
    """Compute the analyses for which silver has changed (579 or 680)."""
    say = reporter()
    with opened(say, with_source=False) as (settings, lakehouse):
        result = Runner(lakehouse, say).gold()
    _show([result], settings, as_json=as_json)


@click.command()
@json_option
def demo(as_json: bool) -> None:
    """Three looks at the sample shop in a lakehouse of its own, which is removed afterwards.

    The first look fills the lakehouse; the second finds nothing new; the third, two months later, brings new orders,
    and rows in quarantine heal by themselves.
    """
    say = reporter()
    folder = Path(tempfile.mkdtemp(prefix="medallion-demo-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    from elt.silver import TABLES
    from elt.sources.sample import SampleShop

    lakehouse = open_embedded(folder)
    runner = Runner(lakehouse, say)
    shop = SampleShop(TABLES)
    looks = (("first look", shop), ("again, nothing new", shop), ("two months later", shop.two_months_later()))
    found = []
    for title, visit in looks:
        say.say(f"--- {title}")
        results = runner.run(visit)
        quarantined = lakehouse.tables.count("silver.rejeitados")
        found.append((title, results, quarantined))
        if not as_json:
            print_results(results, title)
            click.echo(f"in quarantine now: {quarantined} rows\n")
    if as_json:
        print_json(
            [
                {"look": title, "layers": [document(result) for result in results], "in_quarantine": quarantined}
                for title, results, quarantined in found
            ]
        )
    else:
        say_hint(f"{len(snapshots.committed(lakehouse.bucket))} snapshots were kept in bronze. Your own: medallion run")
    lakehouse.close()


def _show(results: Sequence[LayerResult], settings: Settings, *, loading: bool = False, as_json: bool) -> None:
    """The end of a run: per layer the key in words and its counts, then where to look next."""
    if as_json:
        print_json({"layers": [document(result) for result in results]})
        return
    if not results:
        return
    print_results(results)
    click.echo("\nWhere to look next:")
    # Beside a shop's own lakehouse, the sample's is seen only by asking for it.
    sample = data_folder(settings, sample=sample_asked(), loading=loading) != data_folder(settings)
    if len(results) == 1 and results[0].key.goes_on:  # a layer by hand: the next one has something to do
        following = {"bronze": "silver", "silver": "gold"}[results[0].layer]
        say_hint(f"  medallion {following + ' --sample' * sample:<40} the next layer")
    looks = {
        "show analise_clientes_pedidos": "the analyses (also: analise_produtos, pedidos, ...)",
        "quarantine list": "what is in quarantine, and why",
        "status": "what each run did",
    }
    for look, what in looks.items():
        if look != "quarantine list" or any(result.counts.quarantined for result in results):
            say_hint(f"  medallion {look + ' --sample' * sample:<40} {what}")


def print_results(results: Sequence[LayerResult], title: str | None = None) -> None:
    """One line a layer, then the keys in words."""
    names = ("read", "written", "unchanged", "repeated", "quarantined")
    columns = [("layer", "left"), ("key", "right"), *((name, "right") for name in (*names, "seconds"))]
    rows = [
        (result.layer, str(int(result.key)), *(vars(result.counts)[name] for name in names), f"{result.seconds:.1f}")
        for result in results
    ]
    print_table(columns, rows, title)
    for result in results:
        click.echo(f"{result.layer} {int(result.key)}: {result.key.meaning}")


def document(result: LayerResult) -> dict[str, object]:
    """A layer's result as ``--json`` prints it."""
    return {
        "layer": result.layer,
        "key": int(result.key),
        "meaning": result.key.meaning,
        **{f"rows_{name}": value for name, value in vars(result.counts).items()},
        "snapshot": result.snapshot,
        "seconds": round(result.seconds, 3),
        "details": result.details,
    }
