"""The scheduler with real commands: what it runs, says, alerts, and how it ends."""

import io
import json
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from elt import health
from elt.alerts import Alerts
from elt.crontab import Calendar
from elt.progress import JsonReporter
from elt.schedule import PAUSES, Commands, Scheduler
from tests.commands import command, is_waiting_for_a_lock, json_lines, output_of, run_command, wait_until
from tests.listening import Listener, listening
from tests.shops import write_shop

SECONDS_TO_LEAVE = 10.0


class Desk:
    """A scheduler that starts real commands, with a clock of the test's and an address that listens."""

    def __init__(self, listener: Listener, kept_awake: tuple[str, ...] = ()) -> None:
        self.now = datetime.now(UTC)
        self.listener = listener
        self.log = io.StringIO()
        reporter, address = JsonReporter(self.log), SecretStr(listener.url + "/s3cret")
        alerts = Alerts(address, address, reporter, on_success=True, quarantine_above=0, pause_seconds=0)
        calendar = Calendar.of("0 2 1 */2 *", "America/Sao_Paulo")
        self.scheduler = Scheduler(calendar, Commands(kept_awake), alerts, reporter, lambda: self.now)

    def tick(self) -> list[object]:
        """The events of the alerts of one tick; a ping of the dead-man switch is None."""
        before = len(self.listener.received)
        self.scheduler.tick()
        return [json.loads(body)["event"] if body else None for _, _, body in self.listener.received[before:]]


@pytest.fixture
def lakehouse_url(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def env(lakehouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A small shop and an empty lakehouse, for commands that the test starts and those the scheduler does."""
    write_shop(tmp_path / "shop")
    settings = {"LAKEHOUSE_DB_URL": lakehouse_url, "SOURCE_FILES": str(tmp_path / "shop")}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as found:
        yield found


def runs_in(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(distinct execucao) from controle.execucoes").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.usefixtures("env")
def test_the_first_start_fills_an_empty_lakehouse_and_a_second_does_nothing(
    listener: Listener, lakehouse_url: str
) -> None:
    assert Desk(listener).tick() == [None, "run_succeeded"]
    assert Desk(listener).tick() == []
    assert runs_in(lakehouse_url) == 1


@pytest.mark.usefixtures("env")
def test_a_failed_run_is_alerted_and_tried_again_and_its_success_said(
    listener: Listener, lakehouse_url: str, tmp_path: Path
) -> None:
    (tmp_path / "shop" / "pedidos.csv").rename(tmp_path / "away.csv")
    desk = Desk(listener)
    assert desk.tick() == ["run_failed"]
    assert "pedidos" in str(listener.documents[0]["text"])
    assert desk.tick() == []  # not before its time
    desk.now += PAUSES[0]
    assert desk.tick() == ["run_failed"]
    assert health.problems(desk.scheduler.view(), desk.now)[0].startswith("the last run failed, 2 times in a row: ")
    (tmp_path / "away.csv").rename(tmp_path / "shop" / "pedidos.csv")
    desk.now += PAUSES[1]
    assert desk.tick() == [None, "run_succeeded"]
    assert health.problems(desk.scheduler.view(), desk.now) == []
    logged = json_lines(desk.log.getvalue())
    assert [line["level"] for line in logged] == ["error", "error", "info"]
    assert logged[0]["run"] == listener.documents[0]["run"]
    with psycopg.connect(lakehouse_url) as connection:
        failed = connection.execute("select execucao from controle.execucoes where erro is not null").fetchall()
    assert (logged[0]["run"],) in failed


@pytest.mark.usefixtures("env")
def test_a_lakehouse_that_is_gone_is_a_failed_run_by_its_name(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_DB_URL", "postgresql://postgres:s3cret@127.0.0.1:1/postgres")
    desk = Desk(listener)
    assert desk.tick() == ["run_failed"]
    assert "LAKEHOUSE_DB_URL" in str(listener.documents[0]["text"])
    assert "s3cret" not in desk.log.getvalue() + str(listener.documents)


@pytest.mark.usefixtures("env")
def test_many_rows_in_quarantine_are_alerted(listener: Listener, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", pedidos=[{}, {"id_pedido": "101", "quantidade": "-1"}])
    assert Desk(listener).tick() == [None, "run_succeeded", "quarantine"]
    assert "1 rows went to quarantine" in str(listener.documents[-1]["text"])
    assert listener.documents[-1]["next"] == "look at them: medallion quarantine list"


@pytest.mark.usefixtures("env")
def test_what_would_fail_is_alerted_a_day_before(listener: Listener, tmp_path: Path) -> None:
    desk = Desk(listener)
    desk.tick()
    desk.now = desk.scheduler.state.next_fire - timedelta(days=1)
    (tmp_path / "shop" / "produtos.csv").unlink()
    assert desk.tick() == ["check_failed"]
    assert "produtos" in str(listener.documents[-1]["text"])
    desk.now += timedelta(hours=1)
    assert desk.tick() == []


@pytest.mark.usefixtures("env")
def test_a_bucket_that_is_nearly_full_is_alerted_a_day_before_the_run(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    desk = Desk(listener)
    desk.tick()
    held = sum(file.stat().st_size for file in (tmp_path / "data" / "bucket").rglob("*.parquet"))
    monkeypatch.setenv("STORAGE_QUOTA", str(held + 1))
    desk.now = desk.scheduler.state.next_fire - timedelta(days=1)
    assert desk.tick() == ["check_warned"]
    assert "of STORAGE_QUOTA" in str(listener.documents[-1]["text"])
    assert "both ends are ready" in desk.log.getvalue()


@pytest.mark.slow
@pytest.mark.usefixtures("env")
def test_an_end_that_does_not_answer_is_alerted_once(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(listener, kept_awake=("lakehouse",))
    desk.tick()
    monkeypatch.setenv("LAKEHOUSE_DB_URL", "postgresql://postgres@127.0.0.1:1/postgres")
    desk.now += timedelta(days=1, minutes=1)
    assert desk.tick() == ["keep_awake_failed"]
    desk.now += timedelta(days=1, minutes=1)
    assert desk.tick() == []


@pytest.mark.slow
def test_two_schedulers_of_one_lakehouse_run_a_fire_once(
    env: dict[str, str], lakehouse_url: str, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    with command("schedule", folder=folders[0], env=env) as one, command("schedule", folder=folders[1], env=env) as two:
        wait_until(lambda: all((folder / "data" / "scheduler.json").exists() for folder in folders), "both to start")
        wait_until(lambda: gold_is_done(lakehouse_url), "the run")
        for process in (one, two):
            process.send_signal(signal.SIGTERM)
        for process in (one, two):
            output_of(process)
    assert runs_in(lakehouse_url) == 1


def gold_is_done(url: str) -> bool:
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from controle.execucoes where chave = 680").fetchone()
    assert row is not None
    return bool(row[0])


@pytest.mark.slow
def test_sigterm_ends_an_idle_scheduler_with_0_and_health_follows_it(
    env: dict[str, str], lakehouse_url: str, tmp_path: Path
) -> None:
    with command("schedule", folder=tmp_path, env=env) as process:
        wait_until(lambda: gold_is_done(lakehouse_url), "the first run")
        code, out, _ = run_command("health", "--json", folder=tmp_path, env=env)
        assert (code, json.loads(out)["healthy"]) == (0, True)
        process.send_signal(signal.SIGTERM)
        output_of(process, SECONDS_TO_LEAVE)
    assert process.returncode == 0
    code, out, _ = run_command("health", "--json", folder=tmp_path, env=env)
    assert (code, json.loads(out)["problems"]) == (1, ["no scheduler is at work here"])


@pytest.mark.slow
def test_sigterm_ends_a_run_of_the_scheduler_after_its_batch_and_the_next_start_goes_on(
    env: dict[str, str], lakehouse_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(lakehouse_url) as blocker:
        blocker.execute("lock table silver.produtos in exclusive mode")
        with command("schedule", folder=tmp_path, env={**env, "LOG_FORMAT": "json"}) as process:
            wait_until(lambda: is_waiting_for_a_lock(lakehouse_url), "the run to write silver")
            process.send_signal(signal.SIGTERM)
            blocker.rollback()
            _, log = output_of(process, SECONDS_TO_LEAVE)
        assert process.returncode == 143
    with psycopg.connect(lakehouse_url) as connection:
        rows = connection.execute("select camada, erro from controle.execucoes order by iniciada_em").fetchall()
    assert rows == [("bronze", None), ("silver", None)]
    assert json_lines(log)[-1]["message"] == "asked to end: the run ends its batch"
    with command("schedule", folder=tmp_path, env=env) as process:
        wait_until(lambda: gold_is_done(lakehouse_url), "the next start to go on")


@pytest.mark.parametrize(("variable", "value"), [("SCHEDULE", "every day"), ("TZ", "Mars/Olympus")])
def test_a_schedule_that_cannot_be_is_an_error_at_the_start(variable: str, value: str, tmp_path: Path) -> None:
    code, _, error = run_command("schedule", folder=tmp_path, env={variable: value})
    assert code == 2
    assert f"error: {variable}: " in error


def test_the_time_zone_of_the_machine_is_no_error_and_the_first_line_names_the_env(
    env: dict[str, str], tmp_path: Path
) -> None:
    with command("schedule", folder=tmp_path, env={**env, "TZ": ":/etc/localtime"}) as process:
        assert process.stderr is not None
        first, second = process.stderr.readline(), process.stderr.readline()
    assert first.endswith(f" settings: there is no .env in {tmp_path} (MEDALLION_HOME)\n")
    assert " schedule '0 2 1 */2 *' in " in second


def test_check_names_what_is_wrong_at_both_ends(env: dict[str, str], tmp_path: Path) -> None:
    code, out, _ = run_command("check", "--json", folder=tmp_path, env=env)
    assert code == 0
    checked = json.loads(out)
    assert checked["server"]["version"]
    assert checked == {**checked, "ready": True, "bronze": {"snapshots": 0, "bytes": 0}, "warnings": []}
    broken = {"LAKEHOUSE_DB_URL": "postgresql://postgres@127.0.0.1:1/x", "SOURCE_FILES": str(tmp_path / "nowhere")}
    code, out, _ = run_command("check", "--json", folder=tmp_path, env=broken)
    assert code != 0
    assert "nowhere" in json.loads(out)["error"]
    assert "LAKEHOUSE_DB_URL" in json.loads(out)["error"]


def test_check_leaves_nothing_in_the_bucket(env: dict[str, str], tmp_path: Path) -> None:
    run_command("check", folder=tmp_path, env=env)
    assert not [path for path in (tmp_path / "data" / "bucket").rglob("*") if path.is_file()]
