"""No message of the whole program holds a secret or a row: errors, ``--json``, the ledger, alerts, tracebacks."""

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from elt import checks
from elt.alerts import Alerts
from elt.cli import main
from elt.crontab import Calendar
from elt.health import file_in, write
from elt.progress import JsonReporter
from elt.redaction import HIDDEN
from elt.schedule import Commands, Scheduler
from tests.listening import listening
from tests.shops import write_shop

AMBIGUOUS = "postgresql://u:a@SEKRET@127.0.0.1/x"

Medallion = Callable[..., tuple[int, str, str]]


@pytest.fixture
def medallion(capfd: pytest.CaptureFixture[str]) -> Medallion:
    """Runs the command line as a person does; answers exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code: object = 0
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
        return int(str(code or 0)), *capfd.readouterr()

    return run


@pytest.fixture
def lakehouse(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """A lakehouse and a shop that the environment names; the lakehouse's database for a test's own SQL."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with psycopg.connect(env["LAKEHOUSE_DB_URL"], autocommit=True) as connection:
        yield connection


def recorded(lakehouse: psycopg.Connection) -> list[str]:
    """The errors in the run ledger."""
    return [row[0] for row in lakehouse.execute("select erro from controle.execucoes where erro is not null")]


@pytest.mark.parametrize("variable", ["SOURCE_DB_URL", "LAKEHOUSE_DB_URL"])
@pytest.mark.parametrize("arguments", [("run",), ("run", "--json"), ("init", "--json"), ("check",), ("status",)])
def test_an_address_that_can_be_read_in_two_ways_is_exit_code_2_and_shown_nowhere(
    variable: str, arguments: tuple[str, ...], medallion: Medallion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(variable, AMBIGUOUS)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    code, out, err = medallion(*arguments)
    assert code == 2
    assert f"{variable} can be read in more than one way: its user or password holds an @" in out + err
    assert "SEKRET" not in out + err
    assert not (tmp_path / "data").exists()


def test_json_lines_do_not_show_it_either(medallion: Medallion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DB_URL", AMBIGUOUS)
    monkeypatch.setenv("LOG_FORMAT", "json")
    code, out, err = medallion("run")
    assert (code, "SEKRET" in out + err) == (2, False)


def test_an_error_is_filtered_in_the_ledger_in_json_and_in_what_status_shows(
    lakehouse: psycopg.Connection, medallion: Medallion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server's words may hold whatever it was sent: here a constraint's name stands for them."""
    monkeypatch.setenv("HEARTBEAT_URL", "https://example.org/s3nh4-forte")
    lakehouse.execute('alter table gold.analise_produtos add constraint "s3nh4-forte" check (total_vendido < 0)')
    code, out, err = medallion("run", "--json")
    assert code == 1
    assert f'violates check constraint "{HIDDEN}"' in json.loads(out)["error"]
    (error,) = recorded(lakehouse)
    assert HIDDEN in error
    lakehouse.execute("update controle.execucoes set erro = 's3nh4-forte of an older version' where erro is not null")
    shown = "".join(map(str, (out, err, error, medallion("run"), medallion("status"), medallion("status", "--json"))))
    assert "older version" in shown
    assert "s3nh4-forte" not in shown


def test_a_row_that_postgresql_shows_is_in_no_message(
    lakehouse: psycopg.Connection, medallion: Medallion, tmp_path: Path
) -> None:
    lakehouse.execute("alter table gold.analise_produtos add constraint pouco check (total_vendido < 0)")
    log = io.StringIO()
    with listening() as listener:
        reporter = JsonReporter(log)
        alerts = Alerts(SecretStr(listener.url), None, reporter)
        calendar = Calendar.of("0 2 1 */2 *", "America/Sao_Paulo")
        scheduler = Scheduler(calendar, Commands(()), alerts, reporter, lambda: datetime.now(UTC))
        scheduler.tick()
        write(file_in(tmp_path), scheduler.view())
    (alert,) = listener.documents
    (error,) = recorded(lakehouse)
    told = [str(alert["text"]), error, log.getvalue(), file_in(tmp_path).read_text()]
    assert all("pouco" in text for text in told)
    assert not any("Café" in text or "Failing row" in text for text in told)


def test_data_is_never_filtered(
    lakehouse: psycopg.Connection, medallion: Medallion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A shop may hold what is a secret's part, and PostgreSQL's words about a row stay beside the row."""
    monkeypatch.setenv("HEARTBEAT_URL", "https://example.org/s3nh4-forte")
    lakehouse.execute("alter table silver.pedidos add constraint pouco check (quantidade < 50)")
    write_shop(
        tmp_path / "shop",
        clientes=[{"nome": "s3nh4-forte"}],
        pedidos=[{}, {"id_pedido": "s3nh4-forte", "quantidade": "99"}],
    )
    assert medallion("run")[0] == 0
    ((reason,),) = lakehouse.execute("select motivo from silver.rejeitados").fetchall()
    assert "Failing row contains (s3nh4-forte, " in reason
    for arguments in (
        *(("show", "clientes"), ("show", "clientes", "--json"), ("trace", "clientes", "1", "--json")),
        *(("quarantine", "show", "pedidos"), ("quarantine", "list"), ("quarantine", "export", "--format", "json")),
    ):
        _, out, _ = medallion(*arguments)
        assert "s3nh4-forte" in out or arguments[0] == "trace", arguments
        assert HIDDEN not in out


def test_the_traceback_of_a_bug_is_filtered(medallion: Medallion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTBEAT_URL", "https://example.org/s3nh4-forte")

    def broken(settings: object, **_: object) -> None:
        raise RuntimeError("no such thing as https://example.org/s3nh4-forte")

    monkeypatch.setattr(checks, "check_both", broken)
    code, _, err = medallion("check")
    assert code == 1
    assert "Traceback" in err
    assert f"RuntimeError: no such thing as {HIDDEN}" in err
    assert "s3nh4-forte" not in err
