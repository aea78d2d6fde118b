"""Keep a release for good as data: ``python -m tests.releases.keep [COMMIT]``.

COMMIT (``HEAD`` if none is named) is the commit of ``main`` that gave the release its number. Its wheel is built, and
the kept data are made with that wheel: see ``__init__.py`` for what there is in the end. What is kept is never made
again: a folder that is there is an error.
"""

import io
import json
import lzma
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from elt.lakehouse.embedded import start_postgres
from tests.releases import life
from tests.releases.kept import FOLDER, UV, Figures, Program, columns_of, figures_of, figures_of_status, restore

ROOT = FOLDER.parents[1]

SETTINGS = {
    "STORAGE_QUOTA": "1.5GB",
    "KEEP_SNAPSHOTS": "12",
    "SCHEDULE": "30 3 1 */2 *",
    "TZ": "America/Recife",
    "KEEP_ALIVE": "false",
    "ALERT_WEBHOOK": "https://alerts.example.com/medallion",
    "ALERT_ON_SUCCESS": "true",
    "ALERT_QUARANTINE_ABOVE": "100",
    "HEARTBEAT_URL": "https://alerts.example.com/alive",
}
"""What the kept ``.env`` sets otherwise than the release's ``.env.example`` shows; nothing in it is a secret."""

DATABASE_ONLY = ("--no-sync", "--rows-per-insert=500", "--schema=silver", "--schema=gold", "--schema=controle")


class CannotBeKeptError(Exception):
    """Why there is nothing to keep; nothing was written."""


def main(commit: str = "HEAD") -> str:
    """Make the release's folder; answers where it is."""
    commit = _git("rev-parse", "--verify", f"{commit}^{{commit}}").strip()
    release = _release_of(commit)
    target = FOLDER / release
    if target.exists():
        raise CannotBeKeptError(f"{release} is kept already, in {target}: what is kept stays as it is")
    with tempfile.TemporaryDirectory(prefix="medallion-keep-") as name:
        work = Path(name)
        work.chmod(0o711)  # the server of root is another user's
        kept = _build(commit, work)
        _make_data(kept, work, {"release": release, "commit": commit})
        _refuse_traces_of_this_machine(kept, work)
        shutil.copytree(kept, FOLDER / f".{release}")
    (FOLDER / f".{release}").rename(target)
    return f"kept {release}, of {commit}, in {target}"


def _release_of(commit: str) -> str:
    """The number that the commit gives, if it is a release's and this checkout is made for its packages."""
    if subprocess.run(["git", "merge-base", "--is-ancestor", commit, "main"], cwd=ROOT, check=False).returncode:
        raise CannotBeKeptError(f"{commit} is not on main: a release is kept from what everybody gets")
    [release] = re.findall(r'__version__ = "(.+)"', _git("show", f"{commit}:src/elt/__init__.py"))
    if f"\n## [{release}] - " not in _git("show", f"{commit}:CHANGELOG.md"):
        raise CannotBeKeptError(f"CHANGELOG.md of {commit} has no release {release}: give it its number and date first")
    lock = ROOT / "requirements.txt"
    if _git("show", f"{commit}:requirements.txt") != lock.read_text(encoding="utf-8"):
        raise CannotBeKeptError(f"the lock of {commit} is another than the one here: check that commit out first")
    return str(release)


def _build(commit: str, work: Path) -> Path:
    """The folder that is to be kept, with wheel, lock and ``.env`` of the commit; the wheel unpacked in ``program``."""
    source, kept = work / "source", work / "kept"
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tree:
        tree.extractall(source, filter="data")
    locked = ("--build-constraints", source / "requirements-build.txt", "--require-hashes")
    build: list[str | Path] = [UV, "build", "--wheel", "--quiet", *locked, "--out-dir", work / "wheel", source]
    subprocess.run(build, check=True)
    [wheel] = (work / "wheel").glob("*.whl")
    kept.mkdir()
    shutil.copy(wheel, kept)
    shutil.unpack_archive(wheel, work / "program", "zip")
    lock = (source / "requirements.txt").read_bytes()
    (kept / "requirements.txt.xz").write_bytes(lzma.compress(lock, preset=lzma.PRESET_EXTREME))
    example = (source / ".env.example").read_text(encoding="utf-8")
    (kept / "env").write_text(env_of(example), encoding="utf-8")
    return kept


def env_of(example: str) -> str:
    """An ``.env`` in which everything that has a value is set; what stays empty needs an account, or is another way."""
    lines = []
    for line in example.splitlines():
        if found := re.fullmatch(r"#([A-Z_]+)=(.*)", line):
            value = SETTINGS.get(found[1], found[2])
            line = f"{found[1]}={value}" if value else line
        lines.append(line)
    return "\n".join(lines) + "\n"


def _make_data(kept: Path, work: Path, about: Mapping[str, str]) -> None:
    """Live the life with the kept program, and keep each moment of it with its figures."""
    home, archive = work / "home", work / "archive"
    bucket = home / "data" / "bucket"
    home.mkdir()
    shutil.copy(kept / "env", home / ".env")
    server = start_postgres(work / "server")
    program = Program(work / "program", work / "packages")
    figures: dict[str, Figures] = {}

    def medallion(database: str, *arguments: str) -> Any:
        return _answer(program, home, database, "-m", "elt", *arguments, "--json")

    def live(database: str, part: str) -> list[int]:
        found: list[int] = _answer(program, home, database, "-m", life.NAME, part)
        return found

    lakehouse = _new_database(server, "lakehouse")
    code, _, said = program.run("-m", "elt", "init", home=home, LAKEHOUSE_DB_URL=lakehouse)
    if code:
        raise CannotBeKeptError(f"medallion init of the kept program: {said}")
    live(lakehouse, life.settled.__name__)
    columns = columns_of(lakehouse)
    shutil.copytree(bucket, archive / "bucket")
    (archive / "lakehouse.sql").write_text(dump(lakehouse), encoding="utf-8")
    figures["settled"] = {**figures_of_status(medallion(lakehouse, "status")), **figures_of(lakehouse, columns)}
    before = {path.relative_to(bucket) for path in bucket.rglob("*")}
    copies = (_new_database(server, f"copy_{number}", template="lakehouse") for number in range(1_000))

    same = next(copies)
    figures["same rows"] = {"keys": live(same, life.same_rows.__name__)}
    names = [listed["snapshot"] for listed in medallion(same, "snapshots")["snapshots"] if listed["state"] == "applied"]
    for snapshot in names:
        copy = next(copies)
        keys = [layer["key"] for layer in medallion(copy, "replay", snapshot)["layers"]]
        figures[f"replay of {snapshot}"] = {"keys": keys, **figures_of(copy, columns)}

    straight = next(copies)
    figures["next"] = {"keys": live(straight, life.next_visit.__name__), **figures_of(straight, columns)}
    shutil.rmtree(bucket)
    shutil.copytree(archive / "bucket", bucket)

    live(lakehouse, life.waiting.__name__)
    (archive / "waiting.sql").write_text(dump(lakehouse), encoding="utf-8")
    for path in (path for path in bucket.rglob("*") if path.is_file() and path.relative_to(bucket) not in before):
        (archive / "next" / path.relative_to(bucket)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, archive / "next" / path.relative_to(bucket))
    figures["waiting"] = figures_of_status(medallion(lakehouse, "status"))
    figures["what waited"] = {"keys": live(lakehouse, life.next_visit.__name__), **figures_of(lakehouse, columns)}

    again = _new_database(server, "again")
    restore(again, (archive / "lakehouse.sql").read_text(encoding="utf-8"))
    if not figures_of(again, columns).items() <= figures["settled"].items():
        raise CannotBeKeptError("the dump does not give back what it is a dump of")
    document = {
        **about,
        "kept_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "postgresql": _version(lakehouse),
        "settings": _from_home(_answer(program, home, lakehouse, "-c", _SHOW_SETTINGS), home),
        "figures": figures,
    }
    (kept / "figures.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _pack(archive, kept / "data.tar.xz")


_SHOW_SETTINGS = """
import os
from elt.settings import load_settings
del os.environ["LAKEHOUSE_DB_URL"]
print(load_settings().model_dump_json())
"""


def _from_home(settings: Any, home: Path) -> Any:
    """The settings with folders as seen from MEDALLION_HOME, wherever that was."""
    return json.loads(json.dumps(settings).replace(str(home), "."))


def _answer(program: Program, home: Path, database: str, *arguments: str) -> Any:
    """What the kept program printed as JSON, over that database."""
    code, out, said = program.run(*arguments, home=home, also=ROOT, LAKEHOUSE_DB_URL=database)
    if code:
        raise CannotBeKeptError(f"{' '.join(arguments)} ended with {code}: {said}")
    return json.loads(out)


def dump(url: str) -> str:
    """The lakehouse's schemas and rows, owners and rights included, as SQL that any client and PostgreSQL 15 take."""
    with psycopg.connect(url) as connection:
        [programs] = connection.execute("select setting from pg_config where name = 'BINDIR'").fetchone() or [""]
        roles = connection.execute(
            """
            select format(
              'do $$ begin if not exists (select from pg_roles where rolname = %1$L) then '
              'create role %1$I nologin %2$s %3$s; end if; end $$;',
              rolname, case when rolinherit then 'inherit' else 'noinherit' end,
              case when rolbypassrls then 'bypassrls' else 'nobypassrls' end)
            from pg_roles where rolname in ('anon', 'authenticated', 'service_role') order by rolname
            """
        ).fetchall()
    command: list[str | Path] = [Path(programs) / "pg_dump", "--dbname", url, *DATABASE_ONLY]
    written = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # What only psql, or only newer servers, understand.
    left_out = re.compile(r"^(\\(un)?restrict .*|SET transaction_timeout = .*)\n", re.MULTILINE)
    return "\n".join(statement for (statement,) in roles) + "\n" + left_out.sub("", written)


def _new_database(server: str, name: str, template: str = "template1") -> str:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name} template {template}".encode())
    return server.replace("/postgres?", f"/{name}?")


def _version(url: str) -> str:
    with psycopg.connect(url) as connection:
        return str(connection.info.parameter_status("server_version"))


def _pack(folder: Path, target: Path) -> None:
    """Everything in the folder as one archive, in which nothing tells of who made it."""
    with tarfile.open(target, "w:xz", preset=9) as archive:
        for path in sorted(folder.rglob("*")):
            entry = archive.gettarinfo(path, path.relative_to(folder).as_posix())
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
            entry.mode = 0o755 if entry.isdir() else 0o644
            with path.open("rb") if path.is_file() else io.BytesIO() as content:
                archive.addfile(entry, content)


def _refuse_traces_of_this_machine(kept: Path, work: Path) -> None:
    """Nothing, if no name of this machine or its folders is in what is to be kept."""
    names = {str(work), str(ROOT), str(Path.home()), socket.gethostname()} - {"/", "localhost"}
    texts = [*work.joinpath("archive").rglob("*.sql"), *work.joinpath("archive").rglob("*.json"), kept / "figures.json"]
    for file in [*texts, kept / "env"]:
        if found := [name for name in names if name in file.read_text(encoding="utf-8")]:
            raise CannotBeKeptError(f"{file.name} holds {found[0]}, which is of this machine")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise CannotBeKeptError(done.stderr.strip())
    return done.stdout


if __name__ == "__main__":
    for variable in {name for name in os.environ if name.startswith(("PG", "SOURCE_", "LAKEHOUSE_", "SUPABASE_"))}:
        del os.environ[variable]
    try:
        print(main(*sys.argv[1:]))  # noqa: T201 - what it did
    except CannotBeKeptError as error:
        sys.exit(f"error: {error}; nothing was written")
