"""The command line: ``medallion``."""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

import click

from elt import __version__, redaction, stopping
from elt.errors import DiskError, MedallionError
from elt.invocation import program, typed
from elt.redaction import redacted

EPILOG = """\b
Exit codes:
  0  done (any status key: 135, 246, 357, 468, 579, 680)
  1  a layer failed; the message says what was kept and what to do next
  2  wrong usage or configuration; nothing was read or written
  3  another run holds the lakehouse (nothing was written) or has taken it over (nothing more was)
  130  interrupted from the keyboard
  143  asked to end (SIGTERM) in the middle of a run: the batch is complete, the next run goes on from there
       (medallion schedule: 0 if no run was at work)
"""


COMMANDS = {
    "run": ("layers.run", "Run bronze, silver and gold; each goes on only if the one before has something new."),
    "bronze": (
        "layers.bronze",
        "Copy the source's tables into a new snapshot in the bucket, if they changed (135 or 246).",
    ),
    "silver": ("layers.silver", "Clean what changed since the last snapshot into the silver tables (357 or 468)."),
    "gold": ("layers.gold", "Compute the analyses for which silver has changed (579 or 680)."),
    "demo": ("layers.demo", "Three looks at the sample shop in a lakehouse of its own, which is removed afterwards."),
    "init": ("setup.init", "Make the lakehouse ready, as far as the settings allow, and say what is left to do."),
    "check": (
        "operate.check",
        "Look whether a run would find what it needs: keys, tables, columns, migrations, space.",
    ),
    "status": (
        "inspect.status",
        "What the last runs did, what is pending and in quarantine, the space used, and when the next run is.",
    ),
    "show": ("inspect.show", "The first rows of a silver or gold table, or of the quarantine."),
    "trace": (
        "inspect.trace",
        "Where a silver row came from: the run that wrote it, the bronze object, and the row as the source had it.",
    ),
    "quarantine": (
        "quarantine.quarantine",
        "Rows that silver refused, and single values that it could not read and wrote as NULL.",
    ),
    "snapshots": (
        "snapshots.snapshots",
        "The snapshots in bronze, oldest first: their rows, the bytes each added, and whether silver has applied it.",
    ),
    "replay": ("snapshots.replay", "Rebuild silver and gold from one bronze SNAPSHOT alone."),
    "prune": ("snapshots.prune", "Remove old snapshots from bronze, but never one that silver needs."),
    "backup": (
        "snapshots.backup",
        "Copy every snapshot of bronze that FOLDER does not have yet into it; nothing in FOLDER is removed.",
    ),
    "restore": (
        "snapshots.restore",
        "Copy the snapshots of FOLDER that bronze does not have into it, and parts that bronze has lost.",
    ),
    "reset": ("operate.reset", "Give the lakehouse to another shop: empty silver, its quarantine and gold."),
    "schedule": (
        "operate.schedule_command",
        "Run by SCHEDULE (every second month) until stopped: catch up, retry, check a day ahead, alert.",
    ),
    "health": ("operate.health_command", "Whether the scheduler is alive and its last run neither failed nor overdue."),
}
"""Each command: where it is, and its first sentence, so that the list of all loads none of them."""

_WITHOUT_LAKEHOUSE = ("demo", "schedule", "health")


class _Commands(click.Group):
    """Commands that are loaded when they are named: each start pays for its own imports alone."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, loaded; None if there is none."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            module, _, attribute = COMMANDS[cmd_name][0].partition(".")
            command: click.Command = getattr(import_module(f"elt.cli.{module}"), attribute)
            if cmd_name not in _WITHOUT_LAKEHOUSE:
                from elt.cli.context import SAMPLE_OPTION

                for leaf in command.commands.values() if isinstance(command, click.Group) else [command]:
                    leaf.params.append(SAMPLE_OPTION)
            self.commands[cmd_name] = command
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of all, each with its whole first sentence."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="medallion")
def medallion() -> None:
    """A shop's clientes, produtos and pedidos into a medallion lakehouse: bronze, silver, gold.

    With an empty .env it uses the sample shop and an embedded lakehouse under ./data/sample.
    """


def main(arguments: Sequence[str] | None = None, *, default: str | None = None) -> None:
    """Run the command line and end the process with its exit code. ``default``: the command if none is named first."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if default is not None and (not given or given[0] not in COMMANDS):
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
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DiskError.ERRNOS:
            _show_error(_of_disk(error), as_json="--json" in given)
            sys.exit(DiskError.exit_code)
        # A bug: what it says may hold anything.
        click.echo(redaction.traceback_of(error), nl=False, err=True)
        sys.exit(1)


def _of_disk(error: OSError) -> DiskError:
    where = f"{error.filename}: " if error.filename is not None else ""
    return DiskError(
        f"{where}{error.strerror}",
        next_step="see to that disk: its space, its health, whether it is mounted; then run the same command again",
    )


def _show_error(error: MedallionError, *, as_json: bool) -> None:
    """What happened, what was kept, what to do next."""
    from rich.console import Console

    from elt.cli.context import reporter
    from elt.progress import JsonReporter, about

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
