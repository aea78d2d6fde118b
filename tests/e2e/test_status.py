"""``medallion status`` and how tables look on a terminal, in a pipe, and as JSON."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyte
import pytest
from click.testing import CliRunner

from elt import health
from elt.cli import medallion
from elt.cli.context import GAP, column_widths
from elt.postgres_versions import NEWEST
from tests.shops import write_shop

MEDALLION = Path(sys.executable).with_name("medallion")
Invoke = Callable[..., str]


@pytest.fixture
def url(new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The lakehouse of the test, in the environment."""
    made = new_database()
    monkeypatch.setenv("LAKEHOUSE_DB_URL", made)
    return made


@pytest.fixture
def invoke(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs ``medallion`` over the shop in ``shop``; answers standard output."""
    monkeypatch.setenv("SOURCE_FILES", str(tmp_path / "shop"))

    def run(*arguments: str, exit_code: int = 0) -> str:
        answer = CliRunner().invoke(medallion, arguments)
        assert (answer.exit_code == 0) == (exit_code == 0), answer.output
        return answer.stdout

    return run


def status_of(invoke: Invoke) -> Any:
    return json.loads(invoke("status", "--json"))


def test_status_gives_the_last_run_of_each_layer_in_words_with_its_rows(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", pedidos=[{}, {"id_pedido": "101", "id_cliente": "9"}])
    invoke("run")
    invoke("run")

    last = {entry["layer"]: entry for entry in status_of(invoke)["last"]}

    assert {layer: (entry["key"], entry["words"]) for layer, entry in last.items()} == {
        "bronze": (135, "no new data in the source: nothing written"),
        "silver": (468, "new or changed rows wait for gold: go on"),
        "gold": (680, "analysis tables updated"),
    }
    assert last["silver"]["rows"] == {"read": 4, "written": 3, "unchanged": 0, "repeated": 0, "quarantined": 1}


def test_status_and_check_say_which_postgresql_it_is_and_whether_security_fixes_may_be_missing(
    invoke: Invoke, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shop(tmp_path / "shop")
    with psycopg.connect(url) as connection:
        major, minor = divmod(connection.info.server_version, 10_000)
    version = f"{major}.{minor}"
    assert status_of(invoke)["server"] == {"version": version, "warning": ""}
    assert json.loads(invoke("check", "--json"))["server"] == {"version": version, "warning": ""}
    monkeypatch.setitem(NEWEST, major, minor + 1)

    warning = f"PostgreSQL {version}: security fixes of {major}.{minor + 1} may be missing; update it"

    assert status_of(invoke)["server"]["warning"] == warning
    assert warning in json.loads(invoke("check", "--json"))["warnings"]
    assert f"server     PostgreSQL {version}\n           {warning}\n" in invoke("status")
    assert f"warning: {warning}\n" in invoke("check")


def test_status_groups_the_layers_of_a_run(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop")
    invoke("run")
    invoke("run")

    runs = status_of(invoke)["runs"]

    assert [[entry["key"] for entry in run["entries"]] for run in runs] == [[135], [246, 468, 680]]
    assert len(json.loads(invoke("status", "--limit", "1", "--json"))["runs"]) == 1


def test_status_names_a_failure(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop")
    invoke("run")
    (tmp_path / "shop" / "pedidos.csv").unlink()
    invoke("run", exit_code=1)

    text = invoke("status")

    assert "bronze     ---  failed in bronze: " in text
    assert "has neither pedidos.csv nor pedidos.parquet" in text


def test_status_says_that_a_run_did_not_end(invoke: Invoke, url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into controle.execucoes (id, execucao, camada, snapshot) "
            "values ('an id', 'a run', 'silver', '2026/01/x')"
        )

    assert "silver     ---  not finished in silver: running, or killed" in invoke("status")


def test_status_counts_what_waits(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop")
    invoke("bronze")
    before = status_of(invoke)
    invoke("silver")
    after = status_of(invoke)

    assert (before["waiting_for_silver"], before["waiting_for_gold"]) == (1, 0)
    assert (after["waiting_for_silver"], after["waiting_for_gold"]) == (0, 2)


def test_status_gives_the_quarantine_by_reason(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(
        tmp_path / "shop",
        clientes=[{"idade": "?"}],
        pedidos=[{"quantidade": "0"}, {"id_pedido": "101", "quantidade": "-1"}],
    )
    invoke("run")

    found = status_of(invoke)

    assert (found["rows_in_quarantine"], found["values_in_quarantine"]) == (2, 1)
    assert [(group["count"], group["table"], group["reason"]) for group in found["quarantine"]] == [
        (2, "pedidos", "quantidade: quantidade deve ser maior que zero"),
        (1, "clientes", "idade: não é um número"),
    ]


def test_status_gives_the_storage_used(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop")
    invoke("run")
    parts = list((tmp_path / "data" / "bucket").rglob("*.parquet"))

    storage = status_of(invoke)["storage"]

    assert (storage["snapshots"], storage["objects"]) == (1, 4)
    assert storage["bucket_bytes"] == sum(part.stat().st_size for part in parts)
    assert storage["database_bytes"] > 1_000_000


def test_status_of_an_empty_lakehouse_says_what_to_run(invoke: Invoke) -> None:
    assert "no run yet: medallion run" in invoke("status")


def test_status_gives_the_next_fire_of_the_schedule_in_its_time_zone(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEDULE", "30 4 29 2 *")
    monkeypatch.setenv("TZ", "America/Sao_Paulo")

    fire = datetime.fromisoformat(status_of(invoke)["next_run"])

    assert (fire.month, fire.day, fire.hour, fire.minute) == (2, 29, 4, 30)
    assert fire.utcoffset() == timedelta(hours=-3)
    assert fire > datetime.now(UTC)
    assert f"next run   {fire:%Y-%m-%d} 04:30 -03" in invoke("status")


def test_status_gives_the_next_fire_by_the_machines_clock_where_that_is_the_time_zone(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", ":/etc/localtime")

    (line,) = [line for line in invoke("status").splitlines() if line.startswith("next run")]
    assert " 02:00 " in line


@pytest.mark.parametrize(("variable", "value"), [("SCHEDULE", "every day"), ("TZ", "Mars/Olympus")])
def test_a_schedule_that_is_wrong_is_said_by_status_and_keeps_nothing_else_from_being_seen(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    status = status_of(invoke)

    assert status["next_run"] is None
    assert status["scheduler_problems"][0].startswith(f"{variable}: ")
    assert f"{variable}: " in invoke("status")
    assert "no run yet: medallion run" in invoke("status")


def test_status_says_whether_a_scheduler_is_there_to_run_it(invoke: Invoke, tmp_path: Path) -> None:
    assert status_of(invoke)["scheduler_problems"] == ["no scheduler is at work here"]
    now = datetime.now(UTC)
    ahead = now + timedelta(days=60)
    view = health.View(
        beat_at=now,
        fire=now,
        next_fire=ahead,
        since=now,
        done=True,
        failures=0,
        attempt_at=None,
        working=None,
        error="",
    )
    health.write(health.file_in(tmp_path / "data"), view)

    assert status_of(invoke)["scheduler_problems"] == []


def test_status_says_that_a_replay_undid_what_silver_did(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop")
    invoke("run")
    (snapshot,) = json.loads(invoke("snapshots", "--json"))["snapshots"]
    invoke("replay", snapshot["snapshot"])

    silver = [entry for run in status_of(invoke)["runs"] for entry in run["entries"] if entry["layer"] == "silver"]

    assert [entry["undone"] for entry in silver] == [False, True]


def on_a_terminal(columns: int, *arguments: str, lines: int = 100) -> list[str]:
    """The screen of a terminal of that width after the command, without the empty lines below it."""
    screen = pyte.Screen(columns, lines)
    stream = pyte.ByteStream(screen)
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": str(lines), "TERM": "xterm-256color"}
    process = subprocess.Popen([MEDALLION, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    try:
        while output := os.read(master, 65_536):
            stream.feed(output)
    except OSError:  # the other end is closed: the command has ended
        pass
    os.close(master)
    assert process.wait() == 0
    return "\n".join(line.rstrip() for line in screen.display).rstrip().split("\n")


def test_on_80_columns_no_word_is_broken(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", pedidos=[{}, {"id_pedido": "101", "id_cliente": "9"}])
    invoke("run")

    shown = on_a_terminal(80, "status")

    assert "bronze     246  a snapshot waits for silver: go on" in shown
    assert "          1  pedidos  id_cliente: não existe em silver.clientes" in shown
    (heading,) = [line for line in shown if line.startswith("run (UTC)")]
    assert heading.split() == ["run", "(UTC)", "keys", "read", "written", "quarantined", "how", "it", "ended"]


def test_on_80_columns_a_wide_table_keeps_one_line_a_row(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", produtos=[{"nome_produto": "Café " * 20}])
    invoke("run")

    shown = on_a_terminal(80, "show", "analise_clientes_pedidos")

    assert shown[0] == "gold.analise_clientes_pedidos: 1 row"
    assert shown[1].split()[:3] == ["id_cliente", "nome", "cidade"]
    assert shown[3].split()[:3] == ["1", "Ana", "Souza"]
    assert shown[4].startswith("not shown here: ")


def test_a_pipe_gets_every_column_whole(invoke: Invoke, tmp_path: Path) -> None:
    product = "Café moído " * 10 + "forte"
    write_shop(tmp_path / "shop", produtos=[{"nome_produto": product}])
    invoke("run")

    lines = invoke("show", "analise_clientes_pedidos").splitlines()

    assert len(lines) == 4
    assert product in lines[-1]
    assert "not shown" not in "\n".join(lines)


def hear_interrupts() -> None:
    """What runs in a shell's background, as tests may, hands its deafness to SIGINT down to its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_watch_redraws_on_a_terminal_until_interrupted(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop")
    invoke("run")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [MEDALLION, "status", "--watch", "0.1"], stdin=slave, stdout=slave, stderr=slave, preexec_fn=hear_interrupts
    )
    os.close(slave)
    seen = b""
    while seen.count(b"\x1b[2J") < 3:
        seen += os.read(master, 65_536)
    while process.poll() is None:  # a person goes on reading, and presses Ctrl-C again if nothing happens
        process.send_signal(signal.SIGINT)
        patience = time.monotonic() + 3
        while time.monotonic() < patience and select.select([master], [], [], 0.5)[0]:
            try:
                seen += os.read(master, 65_536)
            except OSError:  # its end of the terminal is closed: the command has ended
                break

    assert process.wait() == 0
    os.close(master)
    assert seen.count(b"analysis tables updated") >= 2


def test_watch_writes_a_document_a_line_into_a_pipe(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop")
    with subprocess.Popen(
        [MEDALLION, "status", "--watch", "0.1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    ) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["last"] == []
        invoke("run")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(json.loads(process.stdout.readline())["last"]) < 3:
            pass
        assert len(json.loads(process.stdout.readline())["last"]) == 3
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=3)
    assert process.returncode == 0


def test_a_reader_that_stops_early_is_no_traceback(invoke: Invoke, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", pedidos=[{"id_pedido": str(n), "id_cliente": "9"} for n in range(5_000)])
    invoke("run")

    done = subprocess.run(
        ["bash", "-c", f"{MEDALLION} quarantine export | head -1"], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("tipo,tabela")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("natural", "shortest", "available", "widths"),
    [
        ([5, 10], [5, 10], 80, [5, 10]),
        ([5, 100], [5, 12], 80, [5, 73]),
        ([60, 100], [12, 12], 80, [39, 39]),
        ([30, 30, 30], [30, 12, 12], 60, [30, 13, 13]),
        ([30, 30, 30], [30, 30, 30], 70, [30, 30]),
        ([100], [100], 80, [80]),
    ],
)
def test_columns_fit_the_terminal(natural: list[int], shortest: list[int], available: int, widths: list[int]) -> None:
    found = column_widths(natural, shortest, available)

    assert found == widths
    assert sum(found) + GAP * (len(found) - 1) <= available
