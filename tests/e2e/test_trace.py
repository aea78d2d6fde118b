"""``medallion trace``: where a row came from, or that no snapshot explains it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from elt.cli import medallion
from tests.shops import write_shop

Command = Callable[..., dict[str, Any]]
BY_HAND = "insert into silver.clientes (id, nome) values ('9', 'Feita à mão')"


@pytest.fixture
def looked_at(command: Command, tmp_path: Path) -> Command:
    """Commands over a lakehouse that has looked at the standard shop."""
    write_shop(tmp_path / "shop")
    command("run")
    return command


def traced(*arguments: str) -> list[str]:
    """The lines that a person gets."""
    answer = CliRunner().invoke(medallion, ["trace", *arguments], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.stdout.splitlines()


def sql(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.mark.usefixtures("looked_at")
def test_a_row_is_shown_column_by_column_beside_the_sources() -> None:
    lines = traced("pedidos", "100")

    assert lines[0] == "row"
    assert "  valor_total     25.00" in lines
    assert "  valor_total     R$ 25,00" in lines
    assert "  data_pedido     2024-03-05" in lines
    assert not any("explains" in line for line in lines)


def test_a_row_is_explained_however_slow_the_ledger_was_when_it_was_written(
    command: Command, lakehouse_url: str, tmp_path: Path
) -> None:
    sql(
        lakehouse_url,
        "create function controle.devagar() returns trigger language plpgsql as "
        "$$ begin perform pg_sleep(0.2); new.iniciada_em := clock_timestamp(); return new; end $$;"
        "create trigger devagar before insert on controle.execucoes for each row execute function controle.devagar()",
    )
    write_shop(tmp_path / "shop")
    command("run")

    assert command("trace", "clientes", "1")["unexplained"] is None


def test_a_row_made_by_hand_is_said_to_be_so(looked_at: Command, lakehouse_url: str) -> None:
    sql(lakehouse_url, BY_HAND)

    found = looked_at("trace", "clientes", "9")

    by_hand = "no run of the pipeline wrote it as it is: it was made or changed by hand"
    assert (found["run"], found["snapshot"], found["object"], found["unexplained"]) == (None, None, None, by_hand)
    assert traced("clientes", "9")[-1] == f"no snapshot explains this row: {by_hand}"


def test_a_row_changed_by_hand_is_said_to_be_so(looked_at: Command, lakehouse_url: str) -> None:
    assert looked_at("trace", "clientes", "1")["unexplained"] is None
    sql(lakehouse_url, "update silver.clientes set nome = 'Outra'")

    assert "made or changed by hand" in looked_at("trace", "clientes", "1")["unexplained"]


def test_a_row_made_by_hand_while_a_run_was_at_work_is_said_to_be_so(looked_at: Command, lakehouse_url: str) -> None:
    sql(lakehouse_url, "update controle.execucoes set terminada_em = null where camada = 'silver'")  # as if killed
    sql(lakehouse_url, BY_HAND)

    found = looked_at("trace", "clientes", "9")

    assert found["unexplained"] == (
        f"the snapshot {found['snapshot']}, which silver applied when it was written, does not have its key: "
        "it was made by hand"
    )


def test_a_row_whose_snapshot_was_pruned_is_said_to_be_so(looked_at: Command, tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", pedidos=[{"quantidade": "3"}])
    looked_at("run")
    looked_at("prune", "--keep", "1")

    found = looked_at("trace", "clientes", "1")

    pruned = f"the snapshot {found['snapshot']}, which it came from, is no longer in bronze (pruned)"
    assert (found["object"], found["source_row"], found["unexplained"]) == (None, None, pruned)
    assert traced("clientes", "1")[-1] == f"no snapshot explains this row: {pruned}"


def test_a_row_of_a_run_long_ago_is_found_in_the_ledger(looked_at: Command, lakehouse_url: str) -> None:
    sql(
        lakehouse_url,
        "insert into controle.execucoes (id, execucao, camada, chave, iniciada_em, terminada_em) "
        "select 'later ' || n, 'later ' || n, 'silver', 357, now() + n * interval '1 hour', now() + n * interval "
        "'1 hour' from generate_series(1, 1200) n",
    )

    assert looked_at("trace", "clientes", "1")["unexplained"] is None
