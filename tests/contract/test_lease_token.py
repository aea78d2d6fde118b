"""The lease as a token, in SQL: who writes holds it to the end of the transaction; who takes over waits, or ends that.

On the wheel's PostgreSQL, and on the one of ``OLDEST_TEST_URL``: an empty database of a PostgreSQL 15, the oldest that
hosted projects have.
"""

import os
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import ProgrammingError
from psycopg.errors import AdminShutdown, InsufficientPrivilege

from elt.errors import LeaseError
from elt.holder import new_owner, session_name
from elt.lakehouse import migrations
from elt.lakehouse.ports import Lakehouse
from elt.lakehouse.postgres import PostgresTables
from elt.ledger import Lease
from tests.commands import is_waiting_for_a_lock, wait_until

Connect = Callable[[], psycopg.Connection]

_OLDEST = os.environ.get("OLDEST_TEST_URL", "")


@pytest.fixture(params=["embedded", *(["oldest"] if _OLDEST else [])])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue("new_database")() if request.param == "embedded" else _OLDEST
    migrations.apply(found, setting="LAKEHOUSE_DB_URL")
    with psycopg.connect(found, autocommit=True) as connection:
        connection.execute("delete from controle.arrendamento")
    return found


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    """Opens sessions that are closed at the end."""
    opened: list[psycopg.Connection] = []

    def one() -> psycopg.Connection:
        opened.append(psycopg.connect(url, autocommit=True))
        return opened[-1]

    yield one
    for connection in opened:
        connection.close()


def take(session: psycopg.Connection, owner: str, seconds: int = 60, ended: str | None = None) -> str:
    row = session.execute("select controle.arrendar(%s, %s, 'a test', %s)", (owner, seconds, ended)).fetchone()
    assert row is not None
    return str(row[0])


def ask(session: psycopg.Connection, owner: str) -> None:
    session.execute("select controle.exigir(%s)", (owner,))


def test_the_holder_may_write_and_nobody_else(connect: Connect) -> None:
    session = connect()
    with pytest.raises(ProgrammingError) as free:
        ask(session, "eu")
    take(session, "eu")
    ask(session, "eu")
    with pytest.raises(ProgrammingError, match="another run has taken over: this one writes nothing more") as other:
        ask(session, "outro")
    assert {free.value.sqlstate, other.value.sqlstate} == {"PMD01"}


def test_a_renewal_does_not_wait_for_a_transaction_that_writes(connect: Connect) -> None:
    writer, renewer = connect(), connect()
    take(writer, "eu")
    with writer.transaction():
        ask(writer, "eu")
        renewer.execute("set lock_timeout = '1s'")
        assert renewer.execute("select controle.renovar('eu', 60)").fetchone() == (True,)
        ask(renewer, "eu")


def test_another_run_is_answered_at_once_while_the_holder_writes(connect: Connect) -> None:
    writer, other = connect(), connect()
    take(writer, "eu")
    with writer.transaction():
        ask(writer, "eu")
        other.execute("set statement_timeout = '2s'")
        assert take(other, "outro") == "eu"


def test_taking_over_waits_for_a_transaction_that_writes(url: str, connect: Connect) -> None:
    writer, other = connect(), connect()
    take(writer, "eu", seconds=-1)
    answer: list[str] = []
    with writer.transaction():
        ask(writer, "eu")
        waiting = threading.Thread(target=lambda: answer.append(take(other, "outro")))
        waiting.start()
        wait_until(lambda: is_waiting_for_a_lock(url), "the other run to wait")
        assert answer == []
    waiting.join()
    assert answer == ["outro"]
    with pytest.raises(ProgrammingError, match="taken over"):
        ask(writer, "eu")


def test_a_transaction_that_does_not_end_keeps_the_lease(connect: Connect) -> None:
    writer, other = connect(), connect()
    take(writer, "eu", seconds=-1)
    with writer.transaction():
        ask(writer, "eu")
        assert take(other, "outro") == "eu"
    assert take(other, "outro") == "outro"


def test_a_lease_that_ends_later_than_its_term_from_now_is_over(connect: Connect) -> None:
    session = connect()
    take(session, "eu", seconds=60)
    session.execute("update controle.arrendamento set expira_em = clock_timestamp() + interval '59 seconds'")
    assert take(session, "outro") == "eu"
    session.execute("update controle.arrendamento set expira_em = clock_timestamp() + interval '61 seconds'")
    assert take(session, "outro", seconds=600) == "outro"
    assert take(session, "eu", seconds=1) == "outro"


def test_a_holder_whose_process_has_ended_is_followed_and_no_other(connect: Connect) -> None:
    session = connect()
    take(session, "morto")
    assert take(session, "eu", ended="um outro") == "morto"
    assert take(session, "eu", ended="morto") == "eu"
    assert take(session, "terceiro", ended="morto") == "eu"


def test_who_takes_over_ends_the_sessions_of_the_holder_before_and_no_others(connect: Connect) -> None:
    before, owner, bystander, other = connect(), new_owner(), connect(), connect()
    before.execute("select set_config('application_name', %s, false)", (session_name(owner),))
    bystander.execute("select set_config('application_name', %s, false)", (session_name(new_owner()),))
    take(before, owner, seconds=-1)
    before.execute("begin")
    ask(before, owner)  # and then it is frozen
    assert take(other, "outro") == "outro"
    with pytest.raises(AdminShutdown):
        before.execute("commit")
    bystander.execute("select 1")


def test_a_holder_whose_lease_goes_on_keeps_its_sessions(connect: Connect) -> None:
    before, owner, other = connect(), new_owner(), connect()
    before.execute("select set_config('application_name', %s, false)", (session_name(owner),))
    take(before, owner)
    assert take(other, "outro") == owner
    before.execute("select 1")


def test_sessions_that_the_caller_may_not_end_are_no_error(connect: Connect) -> None:
    before, owner, other = connect(), new_owner(), connect()
    before.execute("select set_config('application_name', %s, false)", (session_name(owner),))
    take(before, owner, seconds=-1)
    other.execute("set role service_role")
    with pytest.raises(InsufficientPrivilege):
        other.execute("select pg_terminate_backend(%s)", (before.info.backend_pid,))
    assert take(other, "outro") == "outro"
    before.execute("select 1")


def test_every_session_of_a_run_has_its_name(url: str) -> None:
    tables = PostgresTables(url)
    with Lease(tables, 60).held() as lease:
        name = session_name(lease.owner)
        assert len(name.encode()) < 64
        threads = [threading.Thread(target=lambda: tables.count("silver.clientes")) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with psycopg.connect(url, autocommit=True) as connection:
            count = "select count(*) from pg_stat_activity where application_name = %s"
            assert connection.execute(count, (name,)).fetchone() == (3,)
    tables.close()


def test_a_run_that_was_taken_over_is_told_in_three_parts(any_lakehouse: Lakehouse) -> None:
    tables = any_lakehouse.tables
    tables.call("controle.arrendar", p_dono="eu", p_segundos=-1, p_programa="a test")
    tables.call("controle.exigir", p_dono="eu")
    tables.call("controle.arrendar", p_dono="outro", p_segundos=60, p_programa="a test")
    with pytest.raises(LeaseError, match="another run has taken over: this one writes nothing more") as refused:
        tables.call("controle.exigir", p_dono="eu")
    assert (refused.value.exit_code, refused.value.code, refused.value.halved) == (3, "PMD01", False)
    assert refused.value.kept
    assert "run again" in refused.value.next_step
    tables.call("controle.devolver", p_dono="outro")
