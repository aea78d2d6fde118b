"""A folder as the bucket of the embedded lakehouse."""

import errno
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from elt import private
from elt.errors import Denied, Full, LakehouseError, Missing, Rejected, TooLarge
from elt.lakehouse.snapshots import MAX_OBJECT_BYTES, is_half_written


class FolderBucket:
    """Objects as files under one folder. A file appears under its name only once it is whole and on the disk.

    What it makes is for its owner alone. Puts hold the folder together, so who holds it alone knows that every file
    that is not whole is of a killed put. A link that leads out of the folder is an error: nothing there is read,
    written or deleted.
    """

    in_flight = 1

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, path: str, content: Path | bytes) -> None:  # noqa: D102 - see the port
        target = self._file(path)
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")  # see is_half_written; no listing shows it
        with _translated(path), _held(self.root):
            private.make_folder(target.parent)
            try:
                with private.create(partial) as file:
                    file.write(content if isinstance(content, bytes) else content.read_bytes())
                    file.flush()
                    os.fsync(file.fileno())
                _link(partial, target)  # fails if the object exists, where a rename would replace it
            finally:
                partial.unlink(missing_ok=True)

    def get(self, path: str) -> bytes:  # noqa: D102
        file = self._file(path)
        with _translated(path):
            size = file.stat().st_size
            if size > MAX_OBJECT_BYTES:
                raise TooLarge(
                    f"the object {path} has {size:,} bytes; no object of the pipeline's has more than "
                    f"{MAX_OBJECT_BYTES:,}",
                    next_step="take that file out of the folder, or put it back from a backup",
                )
            if not file.is_file():  # to read a pipe would be to wait for ever
                raise FileNotFoundError(errno.ENOENT, "no file", str(file))
            return file.read_bytes()

    def list(self, prefix: str = "") -> list[str]:  # noqa: D102
        if not self.root.exists():
            return []
        found = (file for file in self.root.rglob("*") if file.is_file() and not file.name.startswith("."))
        return sorted(path for file in found if (path := file.relative_to(self.root).as_posix()).startswith(prefix))

    def folders(self, folder: str = "") -> Iterator[str]:  # noqa: D102
        if (here := self.root / folder).is_dir():
            names = sorted((entry.name for entry in here.iterdir() if entry.is_dir()), reverse=True)
            yield from (f"{folder}/{name}" if folder else name for name in names if not name.startswith("."))

    def sizes(self, prefix: str = "") -> dict[str, int]:  # noqa: D102
        found = {}
        for path in self.list(prefix):
            with suppress(FileNotFoundError):  # deleted since it was listed
                found[path] = (self.root / path).stat().st_size
        return found

    def delete(self, paths: Sequence[str]) -> None:
        """Delete the objects, and what killed puts left if no put is at work; what is gone already is no error."""
        for path in paths:
            with _translated(path):
                self._remove(self._file(path))
        if self.root.exists():
            with _translated("left by a killed put"), _held(self.root, alone=True) as alone:
                for file in list(self.root.rglob(".*")) if alone else ():
                    if is_half_written(file.relative_to(self.root).as_posix()):
                        self._remove(file)

    def _file(self, path: str) -> Path:
        """Where the object is. ``Denied`` if that is outside of the folder, by its name or by a link."""
        file = self.root / path
        if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(self.root)):
            raise Denied(
                f"the object {path!r} leads out of the folder {self.root}",
                next_step="put what the link leads to in its place, or take the link out of that folder",
            )
        return file

    def _remove(self, file: Path) -> None:
        """Remove a file, and the folders that are empty without it."""
        file.unlink(missing_ok=True)
        folder = file.parent
        while folder != self.root and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def close(self) -> None:
        """Nothing is open."""


def _link(file: Path, name: Path) -> None:
    try:
        os.link(file, name)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        raise LakehouseError(
            f"the file system of {name.parent} has no hard links ({error.strerror}), and the bucket needs them",
            next_step="set DATA_DIR to a folder on a disk of this machine (under WSL: one of Linux, not below /mnt)",
        ) from error


@contextmanager
def _held(folder: Path, *, alone: bool = False) -> Iterator[bool]:
    """Hold the folder, together with others or ``alone``; answers whether it could be held.

    It cannot be held alone while anybody else holds it, nor at all where the system or the file system has no locks.
    """
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    private.make_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY)  # closing it lets go of the folder, and so does the end of the process
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        held = True
    except OSError:
        held = False
    try:
        yield held
    finally:
        os.close(descriptor)


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """The operating system's errors as ours, naming the object."""
    try:
        yield
    except FileExistsError as error:
        raise Rejected(f"the object {path} exists already; objects are never overwritten") from error
    except FileNotFoundError as error:
        raise Missing(f"there is no object {path} in the bucket") from error
    except PermissionError as error:
        raise Denied(f"no permission for the object {path}: {error.strerror}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Full(
                f"no space left for the object {path}: {error.strerror}",
                next_step="free some space on that disk, then run the same command again",
            ) from error
        raise LakehouseError(f"the object {path}: {error.strerror}") from error
