"""The command line as people and scripts meet it: real processes, a real terminal, a lakehouse of its own."""

import io
import json
import os
import pty
import select
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elt.cli import main, medallion
from elt.environment import HOME
from elt.lakehouse.embedded import open_embedded, start_postgres
from tests.shops import write_shop

ROOT = Path(__file__).parents[2]
MEDALLION = [sys.executable, "-c", "from elt.cli import main; main()"]
Completed = subprocess.CompletedProcess


class Machine:
    """A folder with a data folder, and the commands run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.first: Completed[str] = Completed((), 0, "", "")
        self.settings = {HOME: str(folder), "DATA_DIR": str(folder / "data"), "COLUMNS": "160"}

    def run(self, *command: str, **settings: str) -> Completed[str]:
        given = {**os.environ, **self.settings, **settings}
        return subprocess.run(command, capture_output=True, text=True, env=given, cwd=self.folder, check=False)

    def medallion(self, *arguments: str, **settings: str) -> Completed[str]:
        """The command inside this process, which spares a second of imports."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.folder)
            for name, value in {**self.settings, **settings}.items():
                patch.setenv(name, value)
            try:
                main(arguments)
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
        return Completed(arguments, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """One machine for the module: its shop is in files, and has been looked at once."""
    folder = tmp_path_factory.mktemp("machine")
    write_shop(folder / "shop", pedidos=[{}, {"id_pedido": "101", "quantidade": "0"}])
    machine = Machine(folder)
    machine.settings["SOURCE_FILES"] = str(folder / "shop")
    machine.first = machine.run(*MEDALLION, "run")
    start_postgres(folder / "data")  # the server goes on as long as this process does
    return machine


def commands() -> list[tuple[str, ...]]:
    return [(), *((name,) for name in medallion.commands)]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_that_says_what_it_and_each_option_does(command: tuple[str, ...]) -> None:
    found: click.Command = medallion.commands[command[0]] if command else medallion
    assert found.help
    for parameter in found.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
    with found.make_context("medallion", [], resilient_parsing=True) as context:
        assert found.help.splitlines()[0][:40] in " ".join(found.get_help(context).split())


def test_help_is_printed_and_names_the_exit_codes(machine: Machine) -> None:
    for arguments in (["--help"], ["-h"], *([name, "--help"] for name in medallion.commands)):
        shown = machine.medallion(*arguments)
        assert (shown.returncode, shown.stderr) == (0, "")
    overview = machine.medallion("--help").stdout
    for line in ("0  done", "1  a layer failed", "2  wrong usage or configuration", "3  another run holds"):
        assert line in overview


def test_a_run_ends_with_a_table_of_keys_and_counts_and_says_where_to_look(machine: Machine) -> None:
    first = machine.first
    assert first.returncode == 0, first.stderr
    for words in ("246", "468", "680", "quarantined", "seconds", "medallion show", "medallion status"):
        assert words in first.stdout


def test_a_run_on_the_embedded_lakehouse_does_not_load_the_client_of_a_supabase_project(machine: Machine) -> None:
    loaded = "print([name for name in ('supabase', 'postgrest', 'storage3', 'httpx') if name in sys.modules])"
    program = f"import sys; from elt.cli import main; main(['run', '--json']); {loaded}"
    run = machine.run(sys.executable, "-c", program)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "[]"


def test_without_a_terminal_there_are_plain_lines_with_the_time_and_no_bars(machine: Machine) -> None:
    first = machine.first
    assert "\x1b" not in first.stdout + first.stderr
    lines = first.stderr.splitlines()
    assert all(line[:4].isdigit() and line[4] == "-" for line in lines), lines
    assert any(line.endswith("gold: 680 - analysis tables updated") for line in lines)


def test_json_is_one_document_on_standard_output_and_nothing_else(machine: Machine) -> None:
    for arguments in (
        ["run"],
        ["bronze"],
        ["bronze", "--sweep"],
        ["silver"],
        ["gold"],
        ["status"],
        ["init"],
        ["init", "--check"],
        ["show", "pedidos"],
        ["show", "rejeitados"],
        ["trace", "pedidos", "100"],
        ["trace", "pedidos", "101"],
    ):
        answer = machine.medallion(*arguments, "--json")
        assert answer.returncode == 0, (arguments, answer.stderr)
        assert isinstance(json.loads(answer.stdout), dict)


def test_a_failure_is_json_too_with_what_was_kept_and_what_to_do(machine: Machine, tmp_path: Path) -> None:
    answer = machine.medallion("bronze", "--json", SOURCE_FILES=str(tmp_path / "nowhere"))
    assert answer.returncode == 1
    document = json.loads(answer.stdout)
    assert {"error", "kept", "next"} <= set(document)
    assert "there is no folder" in document["error"]
    assert document["kept"]
    assert document["next"]


def test_a_failure_is_three_lines_for_a_person(machine: Machine, tmp_path: Path) -> None:
    answer = machine.medallion("bronze", SOURCE_FILES=str(tmp_path / "nowhere"))
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert [line[:6] for line in answer.stderr.splitlines()[-3:]] == ["error:", " kept:", " next:"]
    assert "Traceback" not in answer.stderr


def test_two_sources_at_once_are_refused_before_anything_is_done(machine: Machine, tmp_path: Path) -> None:
    answer = machine.medallion("run", SOURCE_DB_URL="postgresql://dona:s3nh4@h/loja", DATA_DIR=str(tmp_path / "data"))
    assert answer.returncode == 2
    assert "SOURCE_DB_URL and SOURCE_FILES are both set" in answer.stderr
    assert "s3nh4" not in answer.stdout + answer.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "arguments", [["fly"], ["run", "--fast"], ["show", "tudo"], ["status", "--limit", "0"], ["trace"]]
)
def test_wrong_usage_ends_with_2(machine: Machine, arguments: list[str]) -> None:
    answer = machine.medallion(*arguments)
    assert answer.returncode == 2
    assert answer.stderr


def test_init_check_ends_with_2_and_changes_nothing_where_migrations_are_missing(
    machine: Machine, server_url: str
) -> None:
    answer = machine.medallion("init", "--check", LAKEHOUSE_DB_URL=server_url)
    assert answer.returncode == 2
    assert "LAKEHOUSE_DB_URL lacks the migration 20260101000000_papeis_e_schemas" in answer.stdout
    assert "run: medallion init" in answer.stdout
    assert machine.medallion("silver", LAKEHOUSE_DB_URL=server_url).returncode == 2


def test_a_lakehouse_held_by_another_run_ends_with_3(machine: Machine) -> None:
    lakehouse = open_embedded(machine.folder / "data")
    lakehouse.tables.call("controle.arrendar", p_dono="elsewhere:7:1.00", p_segundos=600, p_programa="0")
    answer = machine.medallion("gold")
    lakehouse.tables.call("controle.devolver", p_dono="elsewhere:7:1.00")
    lakehouse.close()
    assert answer.returncode == 3
    assert "process 7 on elsewhere" in answer.stderr


@pytest.mark.parametrize(
    ("script", "layers"),
    [
        ("src/main.py", ["bronze"]),
        ("src/elt/bronze/main.py", ["bronze"]),
        ("src/elt/silver/main.py", ["silver"]),
        ("src/elt/gold/main.py", ["gold"]),
    ],
)
def test_each_layer_runs_by_its_file(machine: Machine, script: str, layers: list[str]) -> None:
    answer = machine.run(sys.executable, str(ROOT / script), "--json")
    assert answer.returncode == 0, answer.stderr
    assert [layer["layer"] for layer in json.loads(answer.stdout)["layers"]] == layers


def test_a_layer_runs_as_a_module(machine: Machine) -> None:
    answer = machine.run(sys.executable, "-m", "elt.silver", "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["layers"][0]["layer"] == "silver"


def test_a_terminal_shows_bars(machine: Machine) -> None:
    shown = on_a_terminal(machine, "silver", "--full")
    assert "silver pedidos" in shown
    assert "━" in shown
    assert "\x1b[" in shown


def on_a_terminal(machine: Machine, *arguments: str) -> str:
    """Everything a command shows on a terminal of its own."""
    leader, follower = pty.openpty()
    environment = {**os.environ, **machine.settings, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [*MEDALLION, *arguments], stdin=follower, stdout=follower, stderr=follower, env=environment, cwd=machine.folder
    )
    os.close(follower)
    shown = b""
    while True:
        ready, _, _ = select.select([leader], [], [], 60)
        try:
            block = os.read(leader, 65_536) if ready else b""
        except OSError:  # Linux says so when the last writer is gone
            block = b""
        if not block:
            break
        shown += block
    os.close(leader)
    assert process.wait(60) == 0
    return shown.decode()


def test_data_that_looks_like_markup_is_shown_as_it_is(machine: Machine, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", clientes=[{"nome": "[/bold] [red]Ana :smile:"}])
    settings = {"SOURCE_FILES": str(tmp_path / "shop"), "DATA_DIR": str(tmp_path / "data")}
    assert machine.medallion("run", **settings).returncode == 0
    shown = machine.medallion("show", "clientes", **settings)
    assert shown.returncode == 0, shown.stderr
    assert "[/bold] [red]Ana :smile:" in " ".join(shown.stdout.split())


def test_trace_finds_the_object_of_a_key_that_the_source_holds_as_a_number(machine: Machine, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop")
    (tmp_path / "shop" / "clientes.csv").unlink()
    names = ("nome", "email", "telefone", "cidade", "idade")
    columns = {"id_cliente": pa.array([1.0, 1e22]), **{name: pa.nulls(2) for name in names}}
    pq.write_table(pa.table(columns), tmp_path / "shop" / "clientes.parquet")
    settings = {"SOURCE_FILES": str(tmp_path / "shop"), "DATA_DIR": str(tmp_path / "data")}
    assert machine.medallion("run", **settings).returncode == 0
    traced = json.loads(machine.medallion("trace", "clientes", f"1{'0' * 22}", "--json", **settings).stdout)
    assert traced["object"].endswith("clientes/part-00000.parquet")
    assert traced["source_row"]["id_cliente"] == "1e+22"


def test_an_env_file_is_read_from_the_folder_where_one_works(machine: Machine, tmp_path: Path) -> None:
    other = Machine(tmp_path)
    (tmp_path / ".env").write_text(f"SOURCE_FILES={machine.folder / 'no-shop'}\n")
    answer = other.medallion("bronze", DATA_DIR=machine.settings["DATA_DIR"])
    assert answer.returncode == 1
    assert "no-shop" in answer.stderr
