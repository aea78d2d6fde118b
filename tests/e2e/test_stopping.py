"""SIGTERM in the middle of a run: the batch ends, the ledger knows, and the next run goes on from there."""

import json
import signal
from pathlib import Path

import psycopg
import pytest

from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.ledger import recent
from elt.progress import SilentReporter
from elt.runner import Runner
from tests.commands import command, is_waiting_for_a_lock, output_of, run_command, wait_until
from tests.shops import contents, write_shop

SECONDS_TO_LEAVE = 10.0
"""A promise of the program, and not a measure of its speed."""


def ledger_of(url: str) -> list[tuple[object, ...]]:
    """Layer, key, whether it is closed, error; in the order of the run."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "select camada, chave, terminada_em is not null, erro from controle.execucoes order by iniciada_em"
        ).fetchall()


def same_shop_in_a_fresh_lakehouse(lakehouse: Lakehouse, folder: Path) -> dict[str, list[tuple[object, ...]]]:
    Runner(lakehouse, SilentReporter()).run(write_shop(folder))
    return contents(lakehouse)


def test_sigterm_lets_the_transaction_end_and_stops_before_the_next(
    env: dict[str, str], lakehouse_url: str, tmp_path: Path
) -> None:
    with (
        psycopg.connect(lakehouse_url) as blocker,
        command("run", folder=tmp_path, env=env) as process,
    ):
        blocker.execute("lock table silver.clientes in exclusive mode")
        wait_until(lambda: is_waiting_for_a_lock(lakehouse_url), "the run to write silver")
        process.send_signal(signal.SIGTERM)
        blocker.rollback()
        _, error = output_of(process, SECONDS_TO_LEAVE)
    assert process.returncode == 143
    assert "SIGTERM" in error
    assert ledger_of(lakehouse_url) == [
        ("bronze", 246, True, None),
        ("silver", 468, True, None),
    ]
    with psycopg.connect(lakehouse_url) as connection:
        written = connection.execute(
            "select (select count(*) from silver.clientes), (select count(*) from silver.produtos)"
        ).fetchone()
    assert written == (1, 1), "a snapshot is applied whole or not at all"


@pytest.mark.slow
def test_a_batch_that_does_not_end_is_broken_off_and_rolled_back(
    env: dict[str, str], lakehouse_url: str, tmp_path: Path
) -> None:
    with (
        psycopg.connect(lakehouse_url) as blocker,
        command("run", folder=tmp_path, env=env) as process,
    ):
        blocker.execute("lock table silver.clientes in exclusive mode")
        wait_until(lambda: is_waiting_for_a_lock(lakehouse_url), "the run to write silver")
        process.send_signal(signal.SIGTERM)
        output_of(process, SECONDS_TO_LEAVE)
        assert process.returncode == 143
        assert ledger_of(lakehouse_url)[-1] == ("silver", None, True, "stopped: the process was asked to end (SIGTERM)")


def test_the_run_after_a_stopped_one_goes_on_from_there(
    env: dict[str, str], lakehouse_url: str, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    with psycopg.connect(lakehouse_url) as blocker, command("run", folder=tmp_path, env=env) as process:
        blocker.execute("lock table silver.pedidos in exclusive mode")
        wait_until(lambda: is_waiting_for_a_lock(lakehouse_url), "the run to write pedidos")
        process.send_signal(signal.SIGTERM)
        blocker.rollback()
        output_of(process, SECONDS_TO_LEAVE)
    code, out, _ = run_command("run", "--json", folder=tmp_path, env=env)
    assert code == 0
    layers = json.loads(out)["layers"]
    assert [layer["key"] for layer in layers] == [246, 468, 680]
    assert layers[0]["rows_written"] == 0  # the snapshot of the stopped run was enough
    with_one_run = same_shop_in_a_fresh_lakehouse(lakehouse, tmp_path / "again")
    stopped = Lakehouse(PostgresTables(lakehouse_url), FolderBucket(tmp_path / "data" / "bucket"), "the stopped one")
    assert contents(stopped) == with_one_run
    assert recent(stopped.tables)[0]["chave"] == 680
    stopped.close()


def test_sigterm_outside_of_a_run_ends_the_process_at_once(tmp_path: Path, lakehouse_url: str) -> None:
    with (
        psycopg.connect(lakehouse_url) as blocker,
        command("status", folder=tmp_path, env={"LAKEHOUSE_DB_URL": lakehouse_url}) as process,
    ):
        blocker.execute("lock table controle.execucoes in access exclusive mode")
        wait_until(lambda: is_waiting_for_a_lock(lakehouse_url), "status to read the ledger")
        process.send_signal(signal.SIGTERM)
        output_of(process, 5.0)  # well before a run's batch would be broken off
    assert process.returncode == 143
