"""A run in a process of its own that is killed (SIGKILL) just before its n-th write."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import cache
from multiprocessing import forkserver
from pathlib import Path

import pandas as pd
import pytest

from elt.gold import main as gold
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse, Within, Written
from elt.lakehouse.postgres import PostgresTables
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.silver import main as silver
from elt.sources.files import FilesSource

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([__name__])


@cache
def _loaded_once() -> None:
    """Start the server of forks so that it finds this module: it begins in whatever folder a test is in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        forkserver.ensure_running()


ROWS_AT_A_TIME = 4
"""Small batches, so that a small shop takes many writes."""


class KillingTables(PostgresTables):
    """PostgreSQL, and the end of the process before the write that ``before_write`` dislikes."""

    def __init__(self, url: str, before_write: Callable[[], None]) -> None:
        super().__init__(url, wait_seconds=0.01)
        self._before_write = before_write

    def upsert(self, table: str, rows: pd.DataFrame, *, key: str) -> Written:
        self._before_write()
        return super().upsert(table, rows, key=key)

    def delete(self, table: str, within: Within) -> int:
        self._before_write()
        return super().delete(table, within)

    def call(self, function: str, **arguments: object) -> object:
        self._before_write()
        return super().call(function, **arguments)


class KillingBucket(FolderBucket):
    """A folder, and the end of the process before the object that ``before_write`` dislikes."""

    def __init__(self, root: Path, before_write: Callable[[], None]) -> None:
        super().__init__(root)
        self._before_write = before_write

    def put(self, path: str, content: Path | bytes) -> None:
        self._before_write()
        super().put(path, content)


def _run(url: str, bucket: Path, shop: Path, kill_before: int) -> None:
    """The child: one full run."""
    silver.BATCH_ROWS = silver.WORK_ROWS = gold.KEYS_AT_A_TIME = gold.READ_ROWS = ROWS_AT_A_TIME
    writes = 0

    def before_write() -> None:
        nonlocal writes
        writes += 1
        if writes == kill_before:
            os.kill(os.getpid(), signal.SIGKILL)

    lakehouse = Lakehouse(KillingTables(url, before_write), KillingBucket(bucket, before_write), "killed")
    Runner(lakehouse, SilentReporter()).run(FilesSource(shop))
    lakehouse.close()


def run_killed_before(url: str, bucket: Path, shop: Path, write: int) -> bool:
    """Run in a child that dies before its write number ``write``; False if the run ended before it got there."""
    _loaded_once()
    child = _SERVER.Process(target=_run, args=(url, bucket, shop, write))
    child.start()
    child.join()
    if child.exitcode not in (0, -signal.SIGKILL):
        raise AssertionError(f"the run failed by itself, with exit code {child.exitcode}")
    return child.exitcode == -signal.SIGKILL
