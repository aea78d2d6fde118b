"""Full disks, servers that stop, manifests that lie: a clear error, nothing lost, and the next run goes on."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psutil
import pyarrow as pa
import pytest

from elt import checks
from elt.cli import main
from elt.errors import Full, LeaseError, SnapshotError, Unreachable
from elt.lakehouse.folder import FolderBucket
from elt.lakehouse.ports import Lakehouse, Tables
from elt.lakehouse.postgres import PostgresTables
from elt.ledger import Lease, recent
from elt.progress import SilentReporter
from elt.runner import Runner
from elt.silver import TABLES
from elt.sources.port import Extract
from elt.sources.sample import SampleShop
from tests.e2e.test_silver_accounting import Wrapped
from tests.shops import contents, write_shop

SMALL = SampleShop(TABLES, clientes=60, produtos=12, pedidos=300, known=60, dirt=0.1)


# A full disk


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """This process cannot write a file past ``size`` bytes: the kernel answers as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


class FullBucket(FolderBucket):
    """A folder on a disk that is full after some objects."""

    def __init__(self, root: Path, objects: int) -> None:
        super().__init__(root)
        self.left = objects

    def put(self, path: str, content: Path | bytes) -> None:
        self.left -= 1
        if self.left >= 0:
            super().put(path, content)
            return
        with files_of_at_most(100):
            super().put(path, content)


@pytest.mark.parametrize("objects", [0, 3], ids=["the first part", "the manifest"])
def test_a_full_bucket_is_a_clear_error_and_nothing_is_committed(
    lakehouse: Lakehouse, new_lakehouse: Callable[[], Lakehouse], objects: int
) -> None:
    assert isinstance(lakehouse.bucket, FolderBucket)
    root = lakehouse.bucket.root
    full = Lakehouse(lakehouse.tables, FullBucket(root, objects), "full")
    with pytest.raises(Full, match=r"no space left for the object .*File too large") as error:
        Runner(full, SilentReporter()).run(SMALL)
    assert "free some space" in error.value.next_step
    assert not list(root.rglob("*_manifest.json"))
    assert not [file for file in root.rglob("*") if file.is_file() and file.stat().st_size == 100]
    assert str(recent(lakehouse.tables)[0]["erro"]).startswith("no space left")
    Runner(lakehouse, SilentReporter()).run(SMALL)
    untroubled = new_lakehouse()
    Runner(untroubled, SilentReporter()).run(SMALL)
    assert contents(lakehouse) == contents(untroubled)


def test_what_a_failed_run_left_in_the_bucket_is_swept(lakehouse: Lakehouse) -> None:
    assert isinstance(lakehouse.bucket, FolderBucket)
    runner = Runner(lakehouse, SilentReporter())
    runner.run(SMALL)
    committed = lakehouse.bucket.list()
    full = Lakehouse(lakehouse.tables, FullBucket(lakehouse.bucket.root, 3), "full")
    with pytest.raises(Full):
        Runner(full, SilentReporter()).run(SMALL.two_months_later())
    left = sorted(set(lakehouse.bucket.list()) - set(committed))
    assert len(left) == 3, "it cannot be known whether a manifest that failed is there"
    assert runner.sweep().removed == left
    assert lakehouse.bucket.list() == committed
    assert runner.sweep().removed == []


def test_a_full_disk_for_temporary_files_is_a_clear_error(runner: Runner, lakehouse: Lakehouse) -> None:
    class SlowlyFilling(SampleShop):
        @contextmanager
        def open(self) -> Iterator[Extract]:  # type: ignore[override]
            with super().open() as extract, files_of_at_most(1_000):
                yield extract

    with pytest.raises(Full, match="no space left for temporary files") as error:
        runner.run(SlowlyFilling(TABLES, clientes=60, produtos=12, pedidos=300, known=60))
    assert "TMPDIR" in error.value.next_step
    assert lakehouse.bucket.list() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.parametrize("arguments", [["check"], ["check", "--json"]])
def test_a_disk_that_fails_where_nobody_expects_it_is_said_in_three_parts(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/mnt/shop/clientes.csv")

    monkeypatch.setattr(checks, "check_both", failing)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = "".join(capsys.readouterr())
    assert ended.value.code == 1
    assert "/mnt/shop/clientes.csv: Input/output error" in said
    assert "then run the same command again" in said
    assert "Traceback" not in said


def test_a_really_full_disk_ends_the_command_with_1_and_the_next_run_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    bucket = data / "sample" / "bucket"
    bucket.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(bucket)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount here")
    environment = {**os.environ, "DATA_DIR": str(data)}
    command = [sys.executable, "-c", "from elt.cli import main; main(['run', '--json'])"]
    try:
        failed = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert failed.returncode == 1
        assert "no space left for the object" in json.loads(failed.stdout)["error"]
        assert not list(bucket.rglob("_manifest.json"))
    finally:
        subprocess.run(["umount", str(bucket)], check=True)
    again = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert [layer["key"] for layer in json.loads(again.stdout)["layers"]] == [246, 468, 680]


# A database that stops half-way


STOPPING_RUN = """
import os, signal, sys
from pathlib import Path

from elt.errors import Unreachable
from elt.lakehouse.embedded import open_embedded
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.progress import SilentReporter
from elt.runner import Runner
from tests.e2e.test_failures import SMALL, StopsItsServer

folder, step, how = Path(sys.argv[1]), sys.argv[2], signal.Signals[sys.argv[3]]
embedded = open_embedded(folder)
postmaster = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
embedded.tables._wait_seconds = 0.01
stopping = Lakehouse(StopsItsServer(embedded.tables, step, postmaster, how), embedded.bucket, "stopping")
try:
    Runner(stopping, SilentReporter()).run(SMALL)
except Unreachable as error:
    print(error.what, "|", error.next_step)
    sys.exit(error.exit_code)
"""


class StopsItsServer(Wrapped):
    """Stops the database's server before the first rows of a table are staged, or before a function is called."""

    def __init__(self, tables: Tables, step: str, postmaster: int, how: signal.Signals) -> None:
        super().__init__(tables)
        self._step = step
        self._postmaster = postmaster
        self._how = how

    def stage(self, execution: str, pieces: Iterable[tuple[str, pa.Table]]) -> list[int]:
        def before_each() -> Iterator[tuple[str, pa.Table]]:
            for table, rows in pieces:
                self._stop_before(table)
                yield table, rows

        return super().stage(execution, before_each())

    def call(self, function: str, **arguments: object) -> object:
        self._stop_before(function)
        return super().call(function, **arguments)

    def in_slices(self, function: str, *arguments: Any, **options: Any) -> Iterator[dict[str, Any]]:
        self._stop_before(function)
        return super().in_slices(function, *arguments, **options)

    def _stop_before(self, step: str) -> None:
        if step == self._step and psutil.pid_exists(self._postmaster):
            children = psutil.Process(self._postmaster).children()
            os.kill(self._postmaster, self._how)
            if self._how == signal.SIGKILL:
                for child in children:
                    child.kill()
            psutil.wait_procs([*children], timeout=30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "how"),
    [("pedidos", "SIGKILL"), ("silver.aplicar", "SIGKILL"), ("gold.recalcular", "SIGQUIT")],
)
def test_a_server_that_stops_half_way_is_a_clear_error_and_the_next_run_ends_as_if_it_had_not(
    lakehouse: Lakehouse, tmp_path: Path, step: str, how: str
) -> None:
    script = [sys.executable, "-c", textwrap.dedent(STOPPING_RUN), str(tmp_path / "data"), step, how]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    stopped = subprocess.run(script, capture_output=True, text=True, env=environment, check=False)
    assert stopped.returncode == 1, stopped.stderr
    assert stopped.stdout.startswith("cannot connect to the embedded PostgreSQL: ")
    assert "then run the same command again: it goes on from there" in stopped.stdout
    again = subprocess.run(
        [sys.executable, "-c", AGAIN, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    Runner(lakehouse, SilentReporter()).run(SMALL)
    assert again.stdout == f"{contents(lakehouse)}\n"


AGAIN = """
import sys
from pathlib import Path

from elt.lakehouse.embedded import open_embedded
from elt.progress import SilentReporter
from elt.runner import Runner
from tests.e2e.test_failures import SMALL
from tests.shops import contents

lakehouse = open_embedded(Path(sys.argv[1]))
Runner(lakehouse, SilentReporter()).run(SMALL)
print(contents(lakehouse))
lakehouse.close()
"""


# Manifests and objects that are not what they should be


@pytest.fixture
def stored(lakehouse: Lakehouse, runner: Runner, tmp_path: Path) -> Path:
    """A committed snapshot that silver has not applied: its folder."""
    runner.bronze(write_shop(tmp_path / "shop"))
    assert isinstance(lakehouse.bucket, FolderBucket)
    (manifest,) = lakehouse.bucket.root.rglob("_manifest.json")
    return manifest.parent


def rewrite(stored: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change the manifest's table ``pedidos``."""
    manifest = stored / "_manifest.json"
    document = json.loads(manifest.read_text())
    change(document["tables"]["pedidos"])
    manifest.write_text(json.dumps(document))


def part_of(table: dict[str, object]) -> dict[str, object]:
    (part,) = cast("list[dict[str, object]]", table["parts"])
    return part


PART = r"pedidos/part-00000\.parquet"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: part_of(table).update(sha256="0" * 64), f"{PART} .*its sha256 is .*, its manifest says 0000"),
        (
            lambda table: (table.update(rows=2), part_of(table).update(rows=2)),
            f"{PART} .*it has 1 rows, its manifest says 2",
        ),
        (lambda table: table.update(rows=2), "pedidos has 1 rows, its manifest says 2"),
        (
            lambda table: part_of(table).update(path=f"2024/01/20240101T000000.000000Z/{PART}".replace("\\", "")),
            rf"2024/01/20240101T000000\.000000Z/{PART} .*it is not in the bucket",
        ),
        (lambda table: table.pop("parts"), r"_manifest\.json is not readable: tables\.pedidos\.parts: Field required"),
    ],
)
def test_a_manifest_that_lies_is_refused_by_name(
    stored: Path, runner: Runner, lakehouse: Lakehouse, change: Callable[[dict[str, object]], object], said: str
) -> None:
    rewrite(stored, change)
    with pytest.raises(SnapshotError, match=said) as error:
        runner.silver()
    assert error.value.next_step
    assert contents(lakehouse)["silver.pedidos"] == []


@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b"{}", b'{"format": 1}', b"\xff\xfe"])
def test_a_manifest_that_is_none_is_refused_by_name(
    stored: Path, runner: Runner, tmp_path: Path, content: bytes
) -> None:
    (stored / "_manifest.json").write_bytes(content)
    with pytest.raises(SnapshotError, match=r"_manifest\.json is not readable"):
        runner.silver()
    with pytest.raises(SnapshotError, match=r"_manifest\.json is not readable"):
        runner.bronze(write_shop(tmp_path / "shop"))


def test_a_manifest_of_another_format_is_refused(stored: Path, runner: Runner) -> None:
    manifest = stored / "_manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(SnapshotError, match="has format 3; this version reads 1 to 2"):
        runner.silver()


def test_a_part_that_was_changed_is_refused_and_one_that_is_restored_goes_on(stored: Path, runner: Runner) -> None:
    part = stored / "pedidos" / "part-00000.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:-1] + b"?")
    with pytest.raises(SnapshotError, match=rf"{PART} .*its sha256 is"):
        runner.silver()
    part.unlink()
    with pytest.raises(SnapshotError, match=rf"{PART} .*it is not in the bucket"):
        runner.silver()
    part.write_bytes(whole)
    assert int(runner.silver().key) == 468


# Another run


def test_a_lakehouse_that_another_run_holds_is_left_alone(lakehouse: Lakehouse, runner: Runner) -> None:
    lakehouse.tables.call("controle.arrendar", p_dono="elsewhere:7:1.00", p_segundos=60, p_programa="0")
    with pytest.raises(LeaseError, match="another run holds the lakehouse: process 7 on elsewhere") as error:
        runner.run(SMALL)
    assert error.value.exit_code == 3
    assert lakehouse.bucket.list() == []
    assert recent(lakehouse.tables) == []


def test_a_lease_that_is_over_is_taken(lakehouse: Lakehouse, runner: Runner) -> None:
    lakehouse.tables.call("controle.arrendar", p_dono="elsewhere:7:1.00", p_segundos=-1, p_programa="0")
    assert int(runner.run(SMALL)[0].key) == 246


def test_a_lease_is_given_back_after_a_failure(lakehouse: Lakehouse) -> None:
    with pytest.raises(RuntimeError), Lease(lakehouse.tables, 60).held():
        raise RuntimeError
    assert (
        lakehouse.tables.call("controle.arrendar", p_dono="elsewhere:7:1.00", p_segundos=60, p_programa="0")
        == "elsewhere:7:1.00"
    )


def test_a_server_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    tables = PostgresTables("postgresql://dona:s3nh4@127.0.0.1:9/lago", wait_seconds=0.01)
    with pytest.raises(Unreachable, match="LAKEHOUSE_DB_URL") as error:
        Runner(Lakehouse(tables, FolderBucket(tmp_path), "nowhere"), SilentReporter()).run(SMALL)
    assert "s3nh4" not in f"{error.value!r} {error.value.what} {error.value.next_step}"
