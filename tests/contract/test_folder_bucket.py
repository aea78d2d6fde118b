"""What the folder does beyond every ``Bucket``: a put that is killed leaves nothing for good."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse
from elt.runner import Runner
from tests.commands import PATIENCE_SECONDS

PART = "2026/01/20260101T000000.000000Z/pedidos/part-00000.parquet"


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def bucket(lakehouse: Lakehouse) -> FolderBucket:
    assert isinstance(lakehouse.bucket, FolderBucket)
    return lakehouse.bucket


def killed_put(bucket: FolderBucket, path: str) -> None:
    """A put whose process is killed (SIGKILL) once it has written the content, before the object has its name."""
    program = (
        "import os, pathlib, signal, sys; from elt.lakehouse.folder import FolderBucket; "
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL); "
        "FolderBucket(pathlib.Path(sys.argv[1])).put(sys.argv[2], bytes(100_000))"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(bucket.root), path], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert [file.stat().st_size for file in files_under(bucket.root)] == [100_000]


def test_no_listing_shows_what_a_killed_put_left(bucket: FolderBucket) -> None:
    killed_put(bucket, PART)
    assert (bucket.list(), bucket.sizes()) == ([], {})


def test_a_sweep_removes_what_a_killed_put_left(bucket: FolderBucket, runner: Runner) -> None:
    killed_put(bucket, PART)
    assert runner.sweep().removed == []
    assert list(bucket.root.iterdir()) == []


def test_a_sweep_leaves_the_other_files_of_the_folder_alone(bucket: FolderBucket, runner: Runner) -> None:
    killed_put(bucket, PART)
    (bucket.root / ".of-somebody-else").write_bytes(b"")
    runner.sweep()
    assert [file.name for file in files_under(bucket.root)] == [".of-somebody-else"]


def test_a_delete_leaves_half_written_files_of_others_alone(bucket: FolderBucket) -> None:
    others = [f".{name}.{'0123456789abcdef' * 2}" for name in ("database.sqlite", "part-00000.parquet")]
    for folder in ("fotos", str(Path(PART).parent)):
        (bucket.root / folder).mkdir(parents=True)
    (bucket.root / "fotos" / others[1]).write_bytes(b"")
    (bucket.root / Path(PART).parent / others[0]).write_bytes(b"")

    bucket.delete(["another/object"])

    assert sorted(file.name for file in files_under(bucket.root)) == sorted(others)


def test_a_put_at_work_is_left_alone_by_a_delete(bucket: FolderBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    written, go_on = threading.Event(), threading.Event()

    def wait(_: int) -> None:
        written.set()
        go_on.wait()

    monkeypatch.setattr(os, "fsync", wait)
    put = threading.Thread(target=bucket.put, args=(PART, b"content"), daemon=True)
    put.start()
    assert written.wait(PATIENCE_SECONDS)
    bucket.delete(["another/object"])
    go_on.set()
    put.join()
    assert bucket.get(PART) == b"content"
