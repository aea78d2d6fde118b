"""One run at a time over one lakehouse: two processes, a killed holder, another host, a holder that was away."""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import PIPE, Popen

import psutil
import psycopg
import pytest

from elt.errors import LeaseError
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.ledger import Lease
from elt.progress import SilentReporter
from elt.runner import Runner
from tests.commands import PATIENCE_SECONDS, command, is_waiting_for_a_lock, run_command, wait_until
from tests.shops import contents, write_shop


def holder_of(lakehouse: Lakehouse) -> int:
    return lakehouse.tables.count("controle.arrendamento")


def test_a_second_process_is_refused_while_the_first_works(
    env: dict[str, str], lakehouse_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(lakehouse_url) as blocker, command("run", folder=tmp_path, env=env) as first:
        blocker.execute("lock table silver.clientes in exclusive mode")
        wait_until(lambda: is_waiting_for_a_lock(lakehouse_url), "the first run to write")
        code, out, _ = run_command("run", "--json", folder=tmp_path, env=env)
        assert code == 3
        assert f"process {first.pid} on " in json.loads(out)["error"]
        blocker.rollback()
        first.communicate(timeout=PATIENCE_SECONDS)
        assert first.returncode == 0
    with psycopg.connect(lakehouse_url) as connection:
        runs = connection.execute("select count(distinct execucao) from controle.execucoes").fetchone()
    assert runs == (1,)


def test_a_killed_holder_of_this_host_is_followed_at_once(
    env: dict[str, str], lakehouse_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(lakehouse_url) as blocker, command("run", folder=tmp_path, env=env) as first:
        blocker.execute("lock table silver.clientes in exclusive mode")
        wait_until(lambda: is_waiting_for_a_lock(lakehouse_url), "the first run to write")
        first.kill()
        first.communicate(timeout=PATIENCE_SECONDS)
        blocker.rollback()
        code, _, _ = run_command("run", "--json", folder=tmp_path, env=env)
    assert code == 0


def test_a_killed_holder_that_nobody_has_collected_yet_is_followed_at_once(lakehouse: Lakehouse) -> None:
    with Popen([sys.executable, "-c", HOLD_AND_WAIT, lakehouse_argument(lakehouse)], stdout=PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        os.kill(holder.pid, signal.SIGKILL)
        wait_until(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE, "the kill")
        with Lease(lakehouse.tables, 60).held() as lease:
            assert lease.is_mine()


def test_a_holder_on_another_host_is_followed_when_its_lease_ends(lakehouse: Lakehouse) -> None:
    lakehouse.tables.call("controle.arrendar", p_dono="elsewhere:17:a1b2c3:d4", p_segundos=2, p_programa="0")
    with pytest.raises(LeaseError, match="process 17 on elsewhere"), Lease(lakehouse.tables, 2).held():
        pass
    wait_until(lambda: can_hold(lakehouse), "the lease to end")


def test_the_same_process_number_in_another_place_counts_as_alive(lakehouse: Lakehouse) -> None:
    lakehouse.tables.call(
        "controle.arrendar", p_dono=f"{socket.gethostname()}:999999999:x:y", p_segundos=60, p_programa="0"
    )
    with pytest.raises(LeaseError), Lease(lakehouse.tables, 60).held():
        pass


def test_two_threads_of_one_process_do_not_share_a_lease(lakehouse: Lakehouse) -> None:
    with Lease(lakehouse.tables, 60).held():
        refused = threading.Thread(target=lambda: found.append(can_hold(lakehouse)))
        found: list[bool] = []
        refused.start()
        refused.join()
    assert found == [False]


def test_a_holder_whose_statement_takes_longer_than_its_lease_keeps_it(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    url = new_database()
    write_shop(tmp_path / "shop")
    with (
        psycopg.connect(url) as blocker,
        Popen([sys.executable, "-c", RUN_WITH_SHORT_LEASE, url, str(tmp_path), "-"], stdout=PIPE) as holder,
    ):
        blocker.execute("lock table silver.clientes in exclusive mode")
        wait_until(lambda: is_waiting_for_a_lock(url), "the holder to write")
        with psycopg.connect(url, autocommit=True) as connection:
            seen = set[object]()

            def renewed_past_its_first_end() -> bool:
                seen.add(connection.execute("select expira_em from controle.arrendamento").fetchone())
                return len(seen) > 5

            wait_until(renewed_past_its_first_end, "the lease to be renewed")
        code, _, _ = run_command("run", "--sample", folder=tmp_path, env={"LAKEHOUSE_DB_URL": url})
        blocker.rollback()
        assert code == 3
        assert holder.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize("layer", ["bronze clientes", "silver clientes", "silver pedidos", "gold"])
def test_a_holder_that_was_away_longer_than_its_lease_writes_nothing_more(
    layer: str, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """It stops itself (SIGSTOP) before a layer's first batch; meanwhile another run brings newer data."""
    url = new_database()
    lakehouse = Lakehouse(PostgresTables(url), FolderBucket(tmp_path / "bucket"), "the lakehouse of both")
    write_shop(tmp_path / "shop")
    arguments = [sys.executable, "-c", RUN_WITH_SHORT_LEASE, url, str(tmp_path), layer]
    with closing(lakehouse), Popen(arguments, stdout=PIPE, stderr=PIPE, text=True) as holder:
        try:
            wait_until(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_STOPPED, "the holder to stop")
            newer = write_shop(
                tmp_path / "newer",
                clientes=[{"nome": "Ana Lima"}],
                pedidos=[{"quantidade": "3", "valor_total": "37,50"}],
            )
            wait_until(lambda: can_hold(lakehouse, seconds=1), "the holder's lease to end")
            Runner(lakehouse, SilentReporter()).run(newer, new_source=True)
            before = contents(lakehouse), lakehouse.bucket.list()
            assert before[0]["silver.clientes"][0][1] == "Ana Lima"
        finally:
            holder.send_signal(signal.SIGCONT)
        _, error = holder.communicate(timeout=PATIENCE_SECONDS)
        assert holder.returncode == 1
        assert "away for longer than its lease" in error
        assert (contents(lakehouse), lakehouse.bucket.list()) == before


def can_hold(lakehouse: Lakehouse, seconds: int = 60) -> bool:
    """Whether a run could begin now."""
    try:
        with Lease(lakehouse.tables, seconds).held():
            return True
    except LeaseError:
        return False


def lakehouse_argument(lakehouse: Lakehouse) -> str:
    """The URL of a test's own database."""
    return str(lakehouse.tables._url)  # type: ignore[attr-defined]


HOLD_AND_WAIT = """
import sys, time
from elt.lakehouse.postgres import PostgresTables
from elt.ledger import Lease
with Lease(PostgresTables(sys.argv[1]), 60).held():
    print("held", flush=True)
    time.sleep(600)
"""

RUN_WITH_SHORT_LEASE = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.sources.files import FilesSource

url, folder, stop_at = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

class StopsAt(SilentReporter):
    @contextmanager
    def task(self, name, total):
        if name == stop_at:
            os.kill(os.getpid(), signal.SIGSTOP)
        yield self

lakehouse = Lakehouse(PostgresTables(url), FolderBucket(folder / "bucket"), "with a short lease")
Runner(lakehouse, StopsAt(), lease_seconds=1).run(FilesSource(folder / "shop"))
lakehouse.close()
"""
