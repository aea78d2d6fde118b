"""The command line: ``medallion``."""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import click
from rich.console import Console

from elt import __version__, redaction, stopping
from elt.cli import inspect, layers, operate, quarantine, setup, snapshots
from elt.cli.context import SAMPLE_OPTION, reporter
from elt.errors import MedallionError
from elt.invocation import program, typed
from elt.progress import JsonReporter, about
from elt.redaction import redacted

EPILOG = """\b
Exit codes:
  0  done (any status key: 135, 246, 357, 468, 579, 680)
  1  a layer failed; the message says what was kept and what to do next
  2  wrong usage or configuration; nothing was read or written
  3  another run holds the lakehouse; nothing was written
  130  interrupted from the keyboard
  143  asked to end (SIGTERM) in the middle of a run: the batch is complete, the next run goes on from there
       (medallion schedule: 0 if no run was at work)
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="medallion")
def medallion() -> None:
    """A shop's clientes, produtos and pedidos into a medallion lakehouse: bronze, silver, gold.

    With an empty .env it uses the sample shop and an embedded lakehouse under ./data/sample.
    """


for command in (
    *(layers.run, layers.bronze, layers.silver, layers.gold, layers.demo),
    *(setup.init, inspect.status, inspect.show, inspect.trace, quarantine.quarantine),
    *(snapshots.snapshots, snapshots.replay, snapshots.prune, snapshots.backup, snapshots.restore),
    *(operate.schedule_command, operate.health_command, operate.check, operate.reset),
):
    medallion.add_command(command)
    if command not in (layers.demo, operate.schedule_command, operate.health_command):  # they open no lakehouse
        for leaf in command.commands.values() if isinstance(command, click.Group) else [command]:
            leaf.params.append(SAMPLE_OPTION)


def main(arguments: Sequence[str] | None = None, *, default: str | None = None) -> None:
    """Run the command line and end the process with its exit code. ``default``: the command if none is named first."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if default is not None and (not given or given[0] not in medallion.commands):
        given.insert(0, default)
    try:
        with redaction.interpreter_filtered(), stopping.on_sigterm():
            medallion.main(given, prog_name=program(), standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what was written is complete, and the next run goes on from there", err=True)
        sys.exit(stopping.EXIT_CODE if stopping.asked() else 130)
    except BrokenPipeError:  # the reader, such as head, had enough; source: Python's documentation of SIGPIPE
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MedallionError as error:
        _show_error(error, as_json="--json" in given)
        sys.exit(error.exit_code)
    except ModuleNotFoundError:  # whoever started this says what to install
        raise
    except Exception as error:  # a bug: what it says may hold anything
        click.echo(redaction.traceback_of(error), nl=False, err=True)
        sys.exit(1)


def _show_error(error: MedallionError, *, as_json: bool) -> None:
    """What happened, what was kept, what to do next."""
    kept = error.kept or "everything written so far; writes are idempotent, so running again neither loses nor doubles"
    what, kept, next_step = map(redacted, (error.what, kept, error.next_step))
    if as_json:
        document = {"error": what, "kept": kept, "next": next_step, "run": error.run}
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    next_step = typed(next_step)
    with suppress(MedallionError), about(level="error", run=error.run, kept=kept, next=next_step):
        if isinstance(log := reporter(), JsonReporter):
            log.say(what)
            return
    console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(f"error: {what}", style="bold red")
    console.print(f" kept: {kept}")
    if next_step:
        console.print(f" next: {next_step}")
