"""The SQL that decides what becomes of staged rows, on the wheel's PostgreSQL and on the oldest of hosted projects."""

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import psycopg
import pytest

TABLES = ["clientes", "produtos", "pedidos"]


@pytest.fixture(params=["new_database", "new_oldest_database"], ids=["embedded", "oldest"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)()
    return found


@pytest.fixture
def session(url: str) -> Iterator[psycopg.Connection]:
    """A transaction that holds the lease as ``eu`` and is undone at the end."""
    with psycopg.connect(url) as connection:
        connection.execute("select controle.arrendar('eu', 600, 'a test')")
        connection.execute("select controle.abrir_execucao('eu', 'x', 'r', 'silver', 's')")
        yield connection
        connection.rollback()


def stage(session: psycopg.Connection, table: str, *rows: Mapping[str, object]) -> None:
    """Rows of a silver table, each with a place and the fingerprint of what it holds."""
    for place, row in enumerate(rows):
        _insert(session, table, {"lugar": place, "impressao": hash(json.dumps(row)), **row})


def stage_refused(session: psycopg.Connection, table: str, place: int, key: str | None, reason: str) -> None:
    """A row that cleaning refused."""
    line = json.dumps({"lugar": place})
    row = {"tabela": table, "lugar": place, "impressao": place, "chave": key, "motivo": reason, "linha": line}
    _insert(session, "recusadas", row)


def stage_line(session: psycopg.Connection, table: str, place: int) -> None:
    """The text of a row that is refused only here."""
    _insert(session, "linhas", {"tabela": table, "lugar": place, "linha": json.dumps({"lugar": place})})


def _insert(session: psycopg.Connection, table: str, row: Mapping[str, object]) -> None:
    whole = {"execucao": "x", "lote": 1, **row}
    names, values = ", ".join(whole), ", ".join(f"%({name})s" for name in whole)
    session.execute(f"insert into estagio.{table} ({names}) values ({values})".encode(), whole)


def staged(session: psycopg.Connection) -> str:
    """How many rows silver.aplicar must find."""
    found = {}
    for table in TABLES:
        counts = (
            f"select (select count(*) from estagio.{table}) + count(*) from estagio.recusadas where tabela = '{table}'",
            f"select count(*) from estagio.valores where tabela = '{table}'",
            f"select count(*) from estagio.sumidas where tabela = '{table}'",
        )
        numbers = [one(session, count) for count in counts]
        found[table] = dict(zip(("linhas", "valores", "sumidas"), numbers, strict=True))
    return json.dumps(found)


def one(session: psycopg.Connection, query: str, *values: object) -> Any:
    row = session.execute(query.encode(), values).fetchone()
    assert row
    return row[0]


def judge(session: psycopg.Connection, *, replay: bool = False) -> dict[str, dict[str, Any]]:
    counts: dict[str, dict[str, Any]] = one(
        session, "select silver.julgar('eu', 'x', %s, %s, %s)", TABLES, staged(session), replay
    )
    return counts


def apply(session: psycopg.Connection, *, replay: bool = False, owner: str = "eu") -> dict[str, Any]:
    """Stages the text of what is refused, and applies; answers what was answered."""
    for table, counts in judge(session, replay=replay).items():
        for place in counts["sem_linha"]:
            stage_line(session, table, place)
    answer: dict[str, Any] = apply_only(session, replay=replay, owner=owner)
    return answer


def apply_only(session: psycopg.Connection, *, replay: bool = False, owner: str = "eu", close: object = None) -> Any:
    query = "select silver.aplicar(%s, %s, 'x', 's', %s, %s, %s, p_encerrar => %s)"
    return one(
        session, query, uuid.uuid4(), owner, TABLES, staged(session), replay, json.dumps(close) if close else None
    )


def keys(session: psycopg.Connection, table: str) -> list[object]:
    return [row[0] for row in session.execute(f"select id from silver.{table} order by id".encode())]


def refused(session: psycopg.Connection) -> list[tuple[object, ...]]:
    return session.execute("select tabela, chave, motivo from silver.rejeitados order by 1, 2, 3").fetchall()


def test_judging_counts_what_applying_does_and_writes_nothing(session: psycopg.Connection) -> None:
    stage(session, "clientes", {"id": "a", "nome": "Ana"}, {"id": "a", "nome": "Ana"}, {"id": "b", "nome": "Bia"})
    judged = judge(session)
    assert keys(session, "clientes") == []
    assert judged["clientes"] == {
        "novas": 2, "alteradas": 0, "iguais": 0, "repetidas": 1, "rejeitadas": 0, "sumidas": 0, "sem_linha": []
    }  # fmt: skip
    applied = apply(session)["contas"]["clientes"]
    assert (applied["gravadas"], applied["repetidas"], applied["iguais"]) == (2, 1, 0)
    assert keys(session, "clientes") == ["a", "b"]


def test_rows_that_differ_are_written_and_equal_ones_are_not(session: psycopg.Connection) -> None:
    session.execute("insert into silver.clientes (id, nome) values ('a', 'Ana'), ('b', 'Bia')")
    before = session.execute("select ctid, xmin from silver.clientes where id = 'a'").fetchall()
    stage(session, "clientes", {"id": "a", "nome": "Ana"}, {"id": "b", "nome": "Beatriz"})
    counts = apply(session)["contas"]["clientes"]
    assert (counts["gravadas"], counts["iguais"]) == (1, 1)
    assert session.execute("select ctid, xmin from silver.clientes where id = 'a'").fetchall() == before


def test_a_key_with_different_contents_is_refused_in_all_its_rows_and_its_children_have_no_parent(
    session: psycopg.Connection,
) -> None:
    stage(session, "clientes", {"id": "a", "nome": "Ana"}, {"id": "a", "nome": "Eva"})
    stage(session, "produtos", {"id": "p"})
    stage(session, "pedidos", {"id": "o", "id_cliente": "a", "id_produto": "p"})
    apply(session)
    assert refused(session) == [
        ("clientes", "a", "chave repetida com valores diferentes"),
        ("clientes", "a", "chave repetida com valores diferentes"),
        ("pedidos", "o", "id_cliente: 'a' não existe em silver.clientes"),
    ]


def test_a_row_that_cleaning_refused_makes_its_key_a_conflict_with_another(session: psycopg.Connection) -> None:
    stage(session, "produtos", {"id": "p"})
    stage_refused(session, "produtos", 7, "p", "preco: em branco")
    apply(session)
    assert refused(session) == [
        ("produtos", "p", "chave repetida com valores diferentes"),
        ("produtos", "p", "chave repetida com valores diferentes; preco: em branco"),
    ]


def test_rows_without_a_key_are_known_by_their_content(session: psycopg.Connection) -> None:
    for place in (1, 2):
        stage_refused(session, "clientes", place, None, "id_cliente: em branco")
    session.execute("update estagio.recusadas set impressao = 5, linha = '{}' where true")
    stage_refused(session, "clientes", 3, None, "id_cliente: em branco")
    counts = apply(session)["contas"]["clientes"]
    assert (counts["rejeitadas"], counts["repetidas"]) == (2, 1)
    assert [key for _, key, _ in refused(session)] == [None, None]


def test_a_refused_row_is_known_by_its_table_key_and_text_as_it_was_before(session: psycopg.Connection) -> None:
    stage_refused(session, "clientes", 7, "a", "nome: em branco")
    apply(session)
    known = hashlib.md5("\x1f".join(["clientes", "a", '{"lugar": 7}']).encode()).hexdigest()
    assert one(session, "select id from silver.rejeitados") == known


def test_refused_rows_whose_text_is_not_staged_are_asked_for_and_nothing_is_written(
    session: psycopg.Connection,
) -> None:
    stage(session, "clientes", {"id": "a"})
    stage(session, "pedidos", {"id": "o", "id_cliente": "z"})
    assert apply_only(session) == {"sem_linha": {"pedidos": [0]}}
    assert keys(session, "clientes") == []
    stage_line(session, "pedidos", 0)
    assert set(apply_only(session)) == {"contas"}
    assert keys(session, "clientes") == ["a"]


def test_a_row_that_a_rule_of_the_shops_own_refuses_is_set_aside_alone_and_so_are_its_children(
    session: psycopg.Connection,
) -> None:
    session.execute("alter table silver.clientes add constraint maior check (idade > 17)")
    stage(session, "clientes", *({"id": str(number), "idade": number} for number in range(10, 40)))
    stage(session, "pedidos", {"id": "o", "id_cliente": "12"}, {"id": "p", "id_cliente": "30"})
    answer = apply_only(session)
    assert sorted(answer["sem_linha"]) == ["clientes", "pedidos"]
    for table, places in answer["sem_linha"].items():
        for place in places:
            stage_line(session, table, place)
    counts = apply_only(session)["contas"]
    assert (counts["clientes"]["gravadas"], counts["clientes"]["rejeitadas"]) == (22, 8)
    assert keys(session, "pedidos") == ["p"]
    assert refused(session)[0][2].startswith(  # type: ignore[attr-defined]
        'o banco de dados recusou a linha: new row for relation "clientes" violates check constraint "maior"'
    )


def test_a_trigger_that_keeps_rows_back_is_no_loss_in_silence(session: psycopg.Connection) -> None:
    session.execute("create function nenhuma() returns trigger language plpgsql as 'begin return null; end'")
    session.execute("create trigger nenhuma before insert on silver.clientes for each row execute function nenhuma()")
    stage(session, "clientes", {"id": "a"})
    with pytest.raises(psycopg.Error, match="0 rows were written where 1 were to be: a trigger") as error:
        apply(session)
    assert error.value.sqlstate == "PMD13"


def test_a_replay_removes_what_the_snapshot_does_not_hold_and_touches_no_equal_row(session: psycopg.Connection) -> None:
    session.execute("insert into silver.clientes (id, nome) values ('a', 'Ana'), ('z', 'Zoe')")
    session.execute("insert into silver.produtos (id) values ('p')")
    session.execute("insert into silver.pedidos (id, id_cliente, id_produto) values ('o', 'z', 'p')")
    before = session.execute("select ctid, xmin from silver.clientes where id = 'a'").fetchall()
    stage(session, "clientes", {"id": "a", "nome": "Ana"})
    counts = apply(session, replay=True)["contas"]["clientes"]
    assert (counts["iguais"], counts["sumidas"]) == (1, 1)
    assert (keys(session, "clientes"), keys(session, "produtos"), keys(session, "pedidos")) == (["a"], [], [])
    assert session.execute("select ctid, xmin from silver.clientes").fetchall() == before


def test_rows_that_a_crash_took_out_of_staging_are_asked_for_again(session: psycopg.Connection) -> None:
    stage(session, "clientes", {"id": "a"})
    told = staged(session)
    session.execute("delete from estagio.clientes where true")
    with pytest.raises(psycopg.Error, match="stage again") as error:
        session.execute("select silver.aplicar(gen_random_uuid(), 'eu', 'x', 's', %s, %s, false)", (TABLES, told))
    assert error.value.sqlstate == "PMD11"


def test_a_run_that_another_has_taken_over_from_applies_nothing(session: psycopg.Connection) -> None:
    stage(session, "clientes", {"id": "a"})
    with pytest.raises(psycopg.Error, match="another run has taken over") as error:
        apply(session, owner="outro")
    assert error.value.sqlstate == "PMD01"


def test_slices_together_do_what_one_call_does(session: psycopg.Connection) -> None:
    for table in ("clientes", "produtos"):
        stage(session, table, *({"id": f"{table}{number}"} for number in range(30)), {"id": f"{table}3"})
    stage(session, "clientes", {"id": "x", "nome": "1"}, {"id": "x", "nome": "2"})
    session.execute("update estagio.clientes set lugar = lugar + 100 where id = 'x'")
    orders = ({"id": str(number), "id_cliente": f"clientes{number}", "id_produto": "produtos3"} for number in range(35))
    stage(session, "pedidos", *orders)
    bounds = [0, 5, 700_000_000, 1_400_000_000, 2_147_483_648]
    slices = list(pairwise(bounds))
    told = staged(session)

    def in_slices(query: str, *values: object) -> dict[str, dict[str, Any]]:
        sums: dict[str, dict[str, Any]] = {}
        for table in TABLES:
            for first, end in slices:
                answer = one(session, query, *values, [table], told, False, first, end)
                for name, counts in answer.get("contas", answer).items():
                    known = sums.setdefault(name, dict.fromkeys(counts, 0) | {"sem_linha": []})
                    sums[name] = {count: known[count] + counts.get(count, []) for count in known}
        return sums

    whole = judge(session)
    judged = in_slices("select silver.julgar('eu', 'x', %s, %s, %s, %s, %s)")
    assert {table: {**counts, "sem_linha": sorted(counts["sem_linha"])} for table, counts in judged.items()} == whole
    for table, counts in whole.items():
        for place in counts["sem_linha"]:
            stage_line(session, table, place)
    query = "select silver.aplicar(gen_random_uuid(), 'eu', 'x', 's', %s, %s, %s, 'gravar', %s, %s)"
    applied = in_slices(query)
    assert applied["pedidos"]["gravadas"] == whole["pedidos"]["novas"] == 30
    assert applied["clientes"]["gravadas"] == 30
    assert applied["clientes"]["repetidas"] == 1
    assert len(refused(session)) == 7


def test_the_last_call_closes_the_ledgers_row_with_the_sums(session: psycopg.Connection) -> None:
    stage(session, "clientes", {"id": "a"}, {"id": "a"})
    outside = {table: {"lidas": 0, "inalteradas": 0, "repetidas": 0} for table in TABLES}
    outside["clientes"] = {"lidas": 7, "inalteradas": 4, "repetidas": 1}
    answer = apply_only(session, close={"regras": "r1", "contas": outside})
    assert answer["chave"] == 468
    assert answer["situacao"]["snapshot"] == "s"
    row = session.execute(
        "select chave, linhas_lidas, linhas_gravadas, linhas_inalteradas, linhas_repetidas, detalhes ->> 'rules' "
        "from controle.execucoes"
    ).fetchone()
    assert row == (468, 7, 1, 4, 2, "r1")


def test_a_sum_that_does_not_add_up_closes_nothing(session: psycopg.Connection) -> None:
    stage(session, "clientes", {"id": "a"})
    outside = {table: {"lidas": 0, "inalteradas": 0, "repetidas": 0} for table in TABLES}
    with pytest.raises(psycopg.Error, match="silver clientes: 0 rows in, but 1 written") as error:
        apply_only(session, close={"regras": "r1", "contas": outside})
    assert error.value.sqlstate == "PMD13"


def test_what_is_staged_is_removed_but_for_the_batches_named(session: psycopg.Connection) -> None:
    stage(session, "clientes", {"id": "a"})
    _insert(session, "clientes", {"id": "b", "lote": 2})
    _insert(session, "clientes", {"id": "c", "execucao": "another"})
    session.execute("select silver.esvaziar_estagio('eu', 'x', '{1}')")
    assert session.execute("select id from estagio.clientes").fetchall() == [("a",)]
    session.execute("select silver.esvaziar_estagio('eu')")
    assert session.execute("select id from estagio.clientes").fetchall() == []


def test_what_a_killed_run_left_in_staging_takes_no_room_from_the_next(session: psycopg.Connection) -> None:
    before = one(session, "select controle.tamanho_do_banco()")
    stage(session, "clientes", *({"id": str(number), "nome": "x" * 900} for number in range(300)))
    whole = one(session, "select pg_database_size(current_database())")
    assert one(session, "select controle.tamanho_do_banco()") < before + 50_000 < whole


def test_a_call_that_is_made_again_is_answered_as_the_first_time(session: psycopg.Connection) -> None:
    stage(session, "clientes", {"id": "a"})
    call = "select silver.aplicar('00000000-0000-0000-0000-000000000001', 'eu', 'x', 's', %s, %s, false)"
    first = one(session, call, TABLES, staged(session))
    assert first["contas"]["clientes"]["gravadas"] == 1
    assert one(session, call, TABLES, staged(session)) == first


def test_gold_is_computed_if_silver_is_another_than_it_was_computed_from(session: psycopg.Connection) -> None:
    def recalculate() -> tuple[int, dict[str, dict[str, int]]]:
        answer = one(session, "select gold.recalcular(gen_random_uuid(), 'eu', 'x')")
        return answer["chave"], answer["analises"]

    assert recalculate() == (579, {})
    session.execute("insert into silver.clientes (id) values ('a'), ('b')")
    session.execute("insert into silver.produtos (id) values ('p')")
    session.execute(
        "insert into silver.pedidos (id, id_cliente, id_produto, valor_total) "
        "values ('o', 'a', 'p', 5), ('q', 'b', 'p', 2)"
    )
    key, counted = recalculate()
    assert key == 680
    assert (counted["analise_clientes_pedidos"]["read"], counted["analise_clientes_pedidos"]["written"]) == (2, 2)
    session.execute("update silver.pedidos set valor_total = 5 where id = 'nobody'")
    assert recalculate() == (579, {})
    session.execute("delete from silver.pedidos where id = 'q'")
    key, counted = recalculate()
    assert {name: counted["analise_clientes_pedidos"][name] for name in ("read", "written", "unchanged")} == {
        "read": 2, "written": 1, "unchanged": 1
    }  # fmt: skip
    assert session.execute("select id_cliente, total_gasto from gold.analise_clientes_pedidos").fetchall() == [("a", 5)]
