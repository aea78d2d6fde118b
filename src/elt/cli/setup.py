"""Setting up: what the lakehouse needs before the first run."""

import click

from elt.cli.context import json_option, print_json
from elt.errors import ConfigurationError
from elt.lakehouse import migrations
from elt.lakehouse.embedded import start_postgres
from elt.settings import load_settings


@click.command()
@click.option("--check", is_flag=True, help="Only say what is missing; change nothing. Exit code 2 if something is.")
@json_option
def init(check: bool, as_json: bool) -> None:
    """Make the lakehouse ready: apply the migrations it does not have yet. Safe to run again."""
    settings = load_settings()
    if settings.lakehouse_db_url is not None:
        url, setting = settings.lakehouse_db_url.get_secret_value(), "LAKEHOUSE_DB_URL"
    else:
        url, setting = start_postgres(settings.data_dir), "the embedded PostgreSQL"
    pending = [file.stem for file in migrations.pending(url, setting=setting)]
    applied = [] if check else migrations.apply(url, setting=setting)
    if as_json:
        print_json({"pending": [name for name in pending if name not in applied], "applied": applied})
    else:
        for name in pending:
            click.echo(f"{'applied' if name in applied else 'missing'}  {name}")
        if not pending:
            click.echo(f"ready: {setting} has every migration")
    if check and pending:
        raise ConfigurationError(
            f"{setting} lacks {len(pending)} migrations", kept="nothing was changed", next_step="run: medallion init"
        )
