"""JSON log lines: one run id through all layers, and it is the ledger's."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.commands import json_lines, run_command
from tests.shops import write_shop


@pytest.fixture
def env(new_database: Callable[[], str], tmp_path: Path) -> dict[str, str]:
    write_shop(tmp_path / "shop")
    return {"LAKEHOUSE_DB_URL": new_database(), "SOURCE_FILES": str(tmp_path / "shop"), "LOG_FORMAT": "json"}


def test_every_line_of_a_run_is_json_with_its_run_layer_and_counts(env: dict[str, str], tmp_path: Path) -> None:
    code, _, log = run_command("run", "--json", folder=tmp_path, env=env)
    assert code == 0
    lines = json_lines(log)
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    layers = [line for line in lines if "key" in line]
    assert [(line["layer"], line["key"], line["rows_read"], line["rows_written"]) for line in layers] == [
        ("bronze", 246, 3, 3),
        ("silver", 468, 3, 3),
        ("gold", 680, 2, 2),
    ]
    with psycopg.connect(env["LAKEHOUSE_DB_URL"]) as connection:
        ledger = {run for (run,) in connection.execute("select execucao from controle.execucoes")}
    assert {line["run"] for line in layers} == ledger


def test_an_error_is_a_json_line_with_the_run_and_what_to_do(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "shop" / "pedidos.csv").unlink()
    code, _, log = run_command("run", folder=tmp_path, env=env)
    assert code == 1
    last = json_lines(log)[-1]
    assert last["level"] == "error"
    assert {"run", "message", "kept", "next"} <= set(last)
