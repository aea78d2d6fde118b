"""Folders and files that their owner alone may see. What root makes belongs to whom the folder around it belongs to."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def make_folder(folder: Path, owner: tuple[int, int] | None = None) -> None:
    """Make the folder, and those above it that are missing; one that exists is left as it is.

    ``owner``: user and group that get what root makes; by default the owner of the folder around it.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent, owner)
    with suppress(FileExistsError):  # another program was faster
        folder.mkdir(mode=0o700)
        give(folder, owner)


def create(file: Path) -> BinaryIO:
    """A new file, open for writing. ``FileExistsError`` if there is one."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    give(file)
    return os.fdopen(descriptor, "wb")


def give(path: Path, owner: tuple[int, int] | None = None) -> None:
    """Let what root made belong to the owner; of any other user it stays."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        around = path.parent.stat()
        uid, gid = owner or (around.st_uid, around.st_gid)
        os.chown(path, uid, gid, follow_symlinks=False)


def close(folder: Path) -> None:
    """Let nobody but its owner into a folder of ours that an earlier release, or a copy, left open to others.

    A link is left alone: whoever made it need not own what it leads to.
    """
    with suppress(OSError):  # not there; or not ours, or a file system without permissions: then it is not for us
        if not folder.is_symlink() and (mode := stat.S_IMODE(folder.stat().st_mode)) & 0o077:
            folder.chmod(mode & 0o700)
