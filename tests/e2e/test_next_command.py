"""The commands that the program's last lines name are found and work, typed in the shell that they were printed in."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from elt.environment import HOME as MEDALLION_HOME

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
Completed = subprocess.CompletedProcess


@pytest.fixture
def shell(env: dict[str, str], tmp_path: Path) -> Callable[..., "Completed[str]"]:
    """Types a line in the shell of a person who has activated no environment."""

    def run(line: str, folder: Path, path: str = "/usr/bin:/bin") -> "Completed[str]":
        home = {"HOME": os.environ["HOME"], MEDALLION_HOME: str(tmp_path)}
        given = {"PATH": path, **home, "DATA_DIR": str(tmp_path / "data"), **env}
        return subprocess.run(["sh", "-c", line], cwd=folder, env=given, capture_output=True, text=True, check=False)

    return run


def last_command(done: "Completed[str]") -> str:
    """The command in the last line of standard output; what it is for stands after a gap."""
    assert done.returncode == 0, done.stderr
    return re.split(r"\s{2,}", done.stdout.splitlines()[-1].strip())[0]


@pytest.mark.skipif(not (ROOT / ".venv/run").exists(), reason="there is no environment that make has made")
def test_the_last_line_of_make_run_works_without_an_activated_environment(
    shell: Callable[..., "Completed[str]"],
) -> None:
    made = shell("make -o .venv/run run", ROOT)  # -o: the environment is as it should be
    command = last_command(made)

    assert command == ".venv/bin/medallion status"
    shown = shell(command, ROOT)
    assert (shown.returncode, "analysis tables updated" in shown.stdout) == (0, True), shown.stderr


def test_a_layer_run_by_its_file_names_a_command_that_works_there(
    shell: Callable[..., "Completed[str]"], tmp_path: Path
) -> None:
    script = os.path.relpath(ROOT / "src/elt/bronze/main.py", tmp_path)
    command = last_command(shell(f"{sys.executable} {script}", tmp_path))

    assert command == f"{sys.executable} {os.path.relpath(ROOT / 'src/main.py', tmp_path)} status"
    shown = shell(command, tmp_path)
    assert (shown.returncode, "a snapshot waits for silver" in shown.stdout) == (0, True), shown.stderr


def test_an_installed_program_goes_by_its_name(shell: Callable[..., "Completed[str]"], tmp_path: Path) -> None:
    assert last_command(shell("medallion bronze", tmp_path, f"{BIN}:/usr/bin:/bin")) == "medallion status"


def test_an_error_names_a_command_that_is_found(
    shell: Callable[..., "Completed[str]"], env: dict[str, str], server_url: str, tmp_path: Path
) -> None:
    env["LAKEHOUSE_DB_URL"] = server_url  # without any migration
    medallion = os.path.relpath(BIN / "medallion", tmp_path)

    refused = shell(f"{medallion} run", tmp_path)

    assert f" next: run: {medallion} init\n" in refused.stderr
    assert '"next": "run: medallion init"' in shell(f"{medallion} run --json", tmp_path).stdout, (
        "for programs: the name"
    )


def test_wrong_usage_names_a_command_that_works(shell: Callable[..., "Completed[str]"], tmp_path: Path) -> None:
    medallion = os.path.relpath(BIN / "medallion", tmp_path)
    refused = shell(f"{medallion} show", tmp_path)
    (advised,) = re.findall(r"Try '(.*)' for help", refused.stderr)

    assert advised == f"{medallion} show --help"
    assert shell(advised, tmp_path).returncode == 0
