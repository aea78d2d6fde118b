"""Who may see what of an embedded lakehouse: its owner and root, whoever else works on the machine.

Most of it only root can try, who can be any user.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from elt import private
from elt.errors import ConfigurationError
from elt.lakehouse import launcher, server_folder, server_user
from elt.lakehouse.embedded import open_embedded, start_postgres
from elt.lakehouse.server_user import Account, server_account
from tests.commands import run_command
from tests.embedded import ROOT, program
from tests.kills import processes_of
from tests.shops import write_shop

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def open_to_others(folder: Path) -> list[Path]:
    """What in the folder, and the folder itself, somebody else may read, write or enter."""
    return [path for path in (folder, *folder.rglob("*")) if not path.is_symlink() and path.stat().st_mode & 0o077]


def modes(folder: Path) -> dict[Path, int]:
    """Owner and permissions of all folders around this one."""
    return {path: path.stat().st_mode << 32 | path.stat().st_uid for path in folder.parents}


def account(name: str) -> Account:
    """A user that every machine has."""
    known = pwd.getpwnam(name)
    return Account(known.pw_uid, known.pw_gid, known.pw_name)


@pytest.mark.slow
def test_nothing_in_a_data_folder_is_open_to_others_and_nothing_around_it_changes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_shop(tmp_path / "shop")
    around = modes(data)

    code, _, err = run_command(
        "run", folder=tmp_path, env={"DATA_DIR": str(data), "SOURCE_FILES": str(tmp_path / "shop")}
    )

    assert code == 0, err
    assert list((data / "bucket").rglob("_manifest.json"))
    assert open_to_others(data) == []
    assert modes(data) == around


def test_a_bucket_that_an_earlier_release_left_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "bucket/2026").mkdir(parents=True)
    (tmp_path / "bucket").chmod(0o755)
    private.close(tmp_path / "bucket")
    assert (tmp_path / "bucket").stat().st_mode & 0o777 == 0o700


# --- Other users ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def python_of_everybody() -> str:
    """A Python of this version that any user can reach; this one may lie in root's home."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for found in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        if Path(found).exists() and account("nobody").reaches(Path(found).resolve()):
            return found
    pytest.skip(f"no {name} that other users can reach")


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_as(python_of_everybody: str) -> Start:
    """Starts a Python program as another user."""

    def start(user: Account, *arguments: str | Path, **env: str) -> "subprocess.Popen[str]":
        path = os.pathsep.join((str(ROOT / "src"), sysconfig.get_path("purelib"), str(ROOT)))
        return subprocess.Popen(
            [python_of_everybody, *arguments],
            cwd="/",
            env={"PATH": os.defpath, "PYTHONPATH": path, **env},
            user=user.uid,
            group=user.gid,
            extra_groups=[],
            umask=0o022,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a path so short that sockets are in the data folders, where the others look for them."""
    with tempfile.TemporaryDirectory(prefix="m") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


LOOK = """
import sys
from pathlib import Path
import psycopg
for attempt in (
    lambda: list(Path(sys.argv[1]).iterdir()),
    lambda: list(Path(sys.argv[1], "bucket").iterdir()),
    lambda: psycopg.connect(host=f"{sys.argv[1]}/postgres", user="postgres", dbname="postgres"),
):
    try:
        attempt()
        print("seen")
    except (PermissionError, psycopg.OperationalError) as error:
        print("refused" if "ermission denied" in str(error) else error)
"""


@as_root
@pytest.mark.slow
def test_two_users_and_root_at_work_at_once_do_not_see_each_others_data(place: Path, start_as: Start) -> None:
    one, two, root = account("games"), account("news"), account("root")
    write_shop(place / "shop")
    homes = {}
    for user in (one, two, root):
        homes[user] = place / f"home of {user.name}"
        homes[user].mkdir()
        os.chown(homes[user], *user.ids)
    around = modes(homes[one])
    subprocess.run(["chmod", "-R", "a+rX", place / "shop"], check=True)

    running = {
        user: start_as(user, "-m", "elt", "run", DATA_DIR=str(home / "data"), SOURCE_FILES=str(place / "shop"))
        for user, home in homes.items()
    }
    for process in running.values():
        _, err = process.communicate()
        assert process.returncode == 0, err

    for user, home in homes.items():
        assert open_to_others(home / "data") == []
        assert (home / "data").stat().st_uid == (user.uid or account(server_user.OWN).uid)
        for other in {one, two} - {user}:
            looking = start_as(other, "-c", LOOK, home / "data")
            assert looking.communicate() == ("refused\n" * 3, ""), (user.name, other.name)
    assert modes(homes[one]) == around


@as_root
def test_who_gets_at_the_socket_all_the_same_is_refused_by_name(place: Path, start_as: Start) -> None:
    data = place / "data"
    with program(data) as using:
        using.wait_for_url()
        (data / "bucket").mkdir()
        for path in (data, data / "postgres", data / "postgres/.s.PGSQL.5432"):
            path.chmod(0o777)
        looking = start_as(account("nobody"), "-c", LOOK, data)
        assert 'Peer authentication failed for user "postgres"' in looking.communicate()[0]


@as_root
def test_a_data_folder_of_somebody_else_is_refused_with_the_owners_name(tmp_path: Path, start_as: Start) -> None:
    one, two = account("games"), account("news")
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", *one.ids)
    start = "import sys; from pathlib import Path; from elt.lakehouse.launcher import start; start(Path(sys.argv[1]))"
    first = start_as(one, "-c", start, tmp_path / "home/data")
    assert first.communicate()[1] == ""

    command = start_as(two, "-m", "elt", "status", "--json", DATA_DIR=str(tmp_path / "home/data"))

    refused = json.loads(command.communicate()[0])
    assert command.returncode == 2
    assert "belongs to games, and you are news" in refused["error"]
    assert "run the command as its owner" in refused["next"]


@as_root
def test_root_in_the_folder_of_a_user_leaves_everything_usable_for_that_user(tmp_path: Path, start_as: Start) -> None:
    one = account("games")
    write_shop(tmp_path / "shop")
    subprocess.run(["chmod", "-R", "a+rX", tmp_path / "shop"], check=True)
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", *one.ids)
    env = {"DATA_DIR": str(tmp_path / "home/data"), "SOURCE_FILES": str(tmp_path / "shop")}
    code, _, err = run_command("bronze", folder=tmp_path, env=env)
    assert code == 0, err

    command = start_as(one, "-m", "elt", "run", "--json", **env)

    out, err = command.communicate()
    assert [layer["key"] for layer in json.loads(out)["layers"]] == [246, 468, 680], err
    assert {path.stat().st_uid for path in (tmp_path / "home").rglob("*")} == {one.uid}


@as_root
def test_a_user_without_a_name_is_told_why_it_cannot_be(tmp_path: Path, start_as: Start) -> None:
    command = start_as(Account(54321, 54321, ""), "-m", "elt", "status", "--json", DATA_DIR=str(tmp_path / "data"))

    refused = json.loads(command.communicate()[0])
    assert command.returncode == 2
    assert refused["error"].startswith("the user with the id 54321 has no name on this machine")
    assert "useradd --uid 54321 NAME" in refused["next"]


# --- Root, whose server runs as somebody else -------------------------------------------------------------------------


@as_root
def test_the_server_of_root_runs_as_a_user_of_its_own_and_the_data_folder_is_that_users(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with program(data) as using:
        using.wait_for_url()
        assert {process.username() for process, kind in processes_of(data) if kind != "keeper"} == {server_user.OWN}
    assert open_to_others(data) == []


@as_root
def test_a_data_folder_that_the_scheduler_of_root_has_made_is_one_too(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "scheduler.json").touch(mode=0o600)
    start_postgres(data)
    launcher.leave(data)
    assert not (data / "postgres").is_symlink()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for /var/lib/medallion."""
    folder = tmp_path / "var lib"
    monkeypatch.setattr(server_folder, "ELSEWHERE", folder)
    return folder


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder that only root enters, as /root."""
    folder = tmp_path / "root"
    folder.mkdir(mode=0o700)
    yield folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.stat().st_uid == 0


@as_root
def test_where_its_user_cannot_reach_the_data_folder_the_server_has_a_folder_elsewhere_and_status_says_so(
    closed: Path, elsewhere: Path
) -> None:
    data = closed / "data"

    lakehouse = open_embedded(data)

    (home,) = elsewhere.iterdir()
    assert lakehouse.description == f"embedded: PostgreSQL in {home}, bucket under {data}"
    assert (data / "postgres").readlink() == home
    assert open_to_others(home) == []
    lakehouse.close()
    launcher.leave(data)
    start_postgres(data)
    launcher.leave(data)
    assert list(elsewhere.iterdir()) == [home]


MOVE = """
import os, signal, sys
from pathlib import Path
import psycopg
from elt.lakehouse import launcher, server_folder

data, elsewhere, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
server_folder.ELSEWHERE = elsewhere

inside = False

def killing(what):
    def step(*arguments, **named):
        global left, inside
        if inside:  # shutil's functions call themselves for each folder
            return what(*arguments, **named)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        inside = True
        try:
            return what(*arguments, **named)
        finally:
            inside = False
    return step

for name in ("copytree", "rmtree"):
    setattr(server_folder.shutil, name, killing(getattr(server_folder.shutil, name)))
for name in ("rename", "symlink_to"):
    setattr(Path, name, killing(getattr(Path, name)))
with psycopg.connect(launcher.start(data)) as connection:
    print(connection.execute("select kept from kept").fetchone()[0], flush=True)
"""


@as_root
@pytest.mark.slow
def test_one_that_is_there_already_is_moved_whole_however_often_that_is_killed(tmp_path: Path) -> None:
    closed = tmp_path / "root"
    data = closed / "data"
    with program(data) as using, psycopg.connect(using.wait_for_url(), autocommit=True) as connection:
        connection.execute("create table kept as select 'all of it' as kept")
    closed.chmod(0o700)
    os.chown(closed, 0, 0)
    moved_at = 0
    for step in range(1, 20):
        done = subprocess.run(
            [sys.executable, "-c", MOVE, data, tmp_path / "var lib", str(step)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, -9), done.stderr
        moved_at = moved_at or (step if (data / "postgres").is_symlink() else 0)
        if done.returncode == 0:
            break
    assert done.stdout == "all of it\n"
    assert moved_at > 3
    assert (data / "postgres").is_symlink()
    assert not list(data.glob("postgres.*"))


@as_root
def test_moving_it_is_said(closed: Path, elsewhere: Path, tmp_path: Path) -> None:
    with program(tmp_path / "data") as using:
        using.wait_for_url()
        using.leave()
    shutil.move(tmp_path / "data", closed / "data")

    lakehouse = open_embedded(closed / "data")

    (home,) = elsewhere.iterdir()
    assert f"PostgreSQL in {home} (moved there from {closed / 'data/postgres'}" in lakehouse.description
    lakehouse.close()
    launcher.leave(closed / "data")
    assert "moved" not in open_embedded(closed / "data").description
    launcher.leave(closed / "data")


@as_root
def test_programs_that_its_user_cannot_reach_are_copied_once_for_all(closed: Path, elsewhere: Path) -> None:
    own = server_account(Path("/"))
    package = server_folder.programs(own).parents[1]
    (closed / "packages").mkdir()
    server_folder._copy(package, closed / "packages")
    env = {"PYTHONPATH": str(closed / "packages")}
    data = elsewhere.parent / "data"
    script = f"""
import sys
from pathlib import Path
from elt.lakehouse import launcher, server_folder
server_folder.ELSEWHERE = Path({str(elsewhere)!r})
print(launcher.start(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""
    with program(data, script, env=env) as using:
        using.wait_for_url()
        (copied,) = elsewhere.iterdir()
        servers = [process for process, kind in processes_of(data) if kind == "postmaster"]
        assert [copied in Path(process.exe()).parents for process in servers] == [True]
        assert copied.stat().st_uid == 0


@as_root
def test_a_folder_that_root_has_copied_back_is_given_to_the_servers_user(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with program(data) as using:
        using.wait_for_url()
        using.leave()
    subprocess.run(["chown", "-R", "root:root", data], check=True)
    data.chmod(0o755)
    start_postgres(data)
    launcher.leave(data)
    assert (data / "postgres/PG_VERSION").stat().st_uid == account(server_user.OWN).uid


@as_root
def test_without_a_way_to_make_that_user_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_user, "OWN", "-no name at all-")
    with pytest.raises(ConfigurationError, match=r"and a user for it could not be made \(useradd"):
        start_postgres(tmp_path / "data")


@as_root
def test_the_folder_around_stays_roots_though_it_holds_nothing_but_the_data_folder(
    closed: Path, elsewhere: Path
) -> None:
    """``closed`` looks."""
    start_postgres(closed / "postgres")
    launcher.leave(closed / "postgres")
    assert len(list(elsewhere.iterdir())) == 1


@pytest.fixture
def users_data(tmp_path: Path) -> Path:
    """A data folder of a user, in which that user may put what it likes."""
    data = tmp_path / "home" / "data"
    data.mkdir(parents=True)
    for folder in (data.parent, data):
        os.chown(folder, *account("games").ids)
    return data


def link_of_user(link: Path, to: Path) -> None:
    link.symlink_to(to)
    os.chown(link, *account("games").ids, follow_symlinks=False)


@as_root
def test_root_removes_nothing_that_a_users_link_leads_to(users_data: Path, tmp_path: Path) -> None:
    (tmp_path / "roots/own").mkdir(parents=True)
    (users_data / "postgres").mkdir()
    link_of_user(users_data / "postgres.moving", tmp_path / "roots")

    with pytest.raises(ConfigurationError, match="a link that this program did not make"):
        start_postgres(users_data)
    launcher.leave(users_data)

    assert (tmp_path / "roots/own").is_dir()


@as_root
def test_root_gives_away_nothing_that_a_users_link_leads_to(users_data: Path, tmp_path: Path) -> None:
    for file in ("global/pg_control", "PG_VERSION"):
        (tmp_path / "roots" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "roots" / file).write_text("18")
    link_of_user(users_data / "postgres", tmp_path / "roots")

    with pytest.raises(ConfigurationError, match="is a link that games made to a folder of root"):
        start_postgres(users_data)
    launcher.leave(users_data)

    assert {path.stat().st_uid for path in (tmp_path / "roots").rglob("*")} == {0}


@as_root
def test_root_changes_nothing_that_a_users_bucket_leads_to(users_data: Path, tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir(mode=0o755)
    link_of_user(users_data / "bucket", tmp_path / "roots")
    private.close(users_data / "bucket")
    assert (tmp_path / "roots").stat().st_mode & 0o777 == 0o755


@as_root
def test_a_copy_of_a_data_folder_does_not_share_the_originals_database(closed: Path, elsewhere: Path) -> None:
    start_postgres(closed / "data")
    launcher.leave(closed / "data")
    shutil.copytree(closed / "data", closed / "copy", symlinks=True)

    with pytest.raises(ConfigurationError, match=f"of the data folder {closed / 'data'}, of which"):
        start_postgres(closed / "copy")
    launcher.leave(closed / "copy")


@as_root
def test_a_data_folder_that_was_moved_keeps_its_database(closed: Path, elsewhere: Path) -> None:
    start_postgres(closed / "data")
    launcher.leave(closed / "data")
    (closed / "data").rename(closed / "moved")

    start_postgres(closed / "moved")
    launcher.leave(closed / "moved")

    assert len(list(elsewhere.iterdir())) == 1
