"""Who runs the embedded PostgreSQL, and what that user can reach. PostgreSQL does not run as root."""

import os
import pwd
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from elt.errors import ConfigurationError

OWN = "medallion"
"""The user of servers that root starts in a folder of root's own."""


@dataclass(frozen=True)
class Account:
    """A user of this machine."""

    uid: int
    gid: int
    name: str

    @property
    def ids(self) -> tuple[int, int]:
        """User and group."""
        return self.uid, self.gid

    def reaches(self, path: Path) -> bool:
        """Whether the account may pass all folders above the path, as root sees it; who is not root is told by trying.

        By the permission bits alone: an access list that allows more is not seen.
        """
        if os.geteuid() != 0:
            return True
        for folder in (path.parent.resolve() / path.name).parents:
            seen = folder.stat()
            bits = seen.st_mode >> (6 if seen.st_uid == self.uid else 3 if seen.st_gid == self.gid else 0)
            if not bits & 1:
                return False
        return True


def server_account(folder: Path) -> Account:
    """Who runs the server of a data folder: this user; for root, whom the folder belongs to, or else ``OWN``."""
    if os.geteuid() != 0:
        return _account(os.geteuid(), os.getegid())
    place = folder
    while not place.exists():
        place = place.parent
    owner = place.stat()
    return _account(owner.st_uid, owner.st_gid) if owner.st_uid else _own()


def name_of(uid: int) -> str:
    """The user's name, or its number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _account(uid: int, gid: int) -> Account:
    try:
        return Account(uid, gid, pwd.getpwuid(uid).pw_name)
    except KeyError:
        raise ConfigurationError(
            f"the user with the id {uid} has no name on this machine, and PostgreSQL's initdb refuses to work for it",
            kept="nothing was read or written",
            next_step="run as a user that has a name (in a container: leave out --user), give this one a name "
            f"(as root: useradd --uid {uid} NAME), or set LAKEHOUSE_DB_URL",
        ) from None


def _own() -> Account:
    """The account ``OWN``, made if it is missing."""
    refused = ""
    for _ in range(50):
        with suppress(KeyError):
            known = pwd.getpwnam(OWN)
            return Account(known.pw_uid, known.pw_gid, known.pw_name)
        options = ("--system", "--user-group", "--no-create-home", "--shell=/usr/sbin/nologin")
        try:
            done = subprocess.run(["useradd", *options, OWN], capture_output=True, text=True, check=False)  # noqa: S603, S607
        except OSError as error:
            refused = f"useradd: {error.strerror}"
            break
        refused = " ".join(done.stderr.split())
        if done.returncode == 1:  # another useradd holds /etc/passwd; source: useradd(8), exit values
            time.sleep(0.1)
        elif done.returncode not in (0, 9):  # 9: the name is there meanwhile
            break
    raise ConfigurationError(
        f"PostgreSQL does not run as root, and a user for it could not be made ({refused})",
        kept="nothing was read or written",
        next_step=f"run the command as an ordinary user, or make a user {OWN}",
    )
