"""``Tables`` over a direct connection: exact texts, honest counts, one order."""

from collections.abc import Sequence
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from elt.lakehouse.embedded import start_postgres
from elt.lakehouse.ports import Lakehouse, Within
from elt.postgres import connect
from elt.redaction import traceback_of, words_of
from tests.staging import write


def rows(**columns: Sequence[str | None]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def names(lakehouse: Lakehouse) -> list[tuple[object, ...]]:
    schema = pa.schema([(name, pa.string()) for name in ("id", "nome", "cidade")])
    return [
        tuple(row)
        for page in lakehouse.tables.pages("silver.clientes", schema, key="id", size=2)
        for row in page.astype(object).where(page.notna(), None).itertuples(index=False, name=None)
    ]


def test_null_and_the_empty_text_are_two_things(lakehouse: Lakehouse) -> None:
    write(lakehouse.tables, "clientes", rows(id=["1", "2"], nome=["", None]))
    assert names(lakehouse) == [("1", "", None), ("2", None, None)]


@pytest.mark.parametrize(
    "text", ['"', "a,b", "a\nb", "a\r\nb", "\\.", "\\N", "'; drop table x; --", "é🙂", "x" * 3_000_000]
)
def test_every_text_comes_back_as_it_went(lakehouse: Lakehouse, text: str) -> None:
    write(lakehouse.tables, "clientes", rows(id=["1"], nome=[text]))
    assert names(lakehouse) == [("1", text, None)]
    assert lakehouse.tables.count("silver.clientes", Within("nome", [text])) == 1


def test_pages_are_in_the_order_of_code_points_and_complete(lakehouse: Lakehouse) -> None:
    keys = ["a", "B", "é", "10", "9", "_", "🙂"]
    write(lakehouse.tables, "clientes", rows(id=keys, nome=keys))
    assert [row[0] for row in names(lakehouse)] == sorted(keys)


def test_a_connection_that_broke_is_opened_again(lakehouse: Lakehouse, server_url: str) -> None:
    tables = lakehouse.tables
    write(tables, "clientes", rows(id=["1"], nome=["a"]))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname like 'test_%'")
    assert write(tables, "clientes", rows(id=["1"], nome=["b"]))["written"] == 1


def test_a_row_in_postgresqls_words_is_not_in_the_words_of_a_bug_nor_in_its_traceback(server_url: str) -> None:
    with psycopg.connect(server_url) as connection:
        connection.execute("create temporary table t (nome text, email text check (email = ''))")
        with pytest.raises(psycopg.Error) as caught:
            connection.execute("insert into t values ('Ana', 'ana@exemplo.com.br')")
    assert "ana@exemplo" in str(caught.value)
    words = 'CheckViolation: new row for relation "t" violates check constraint "t_email_check"'
    assert words_of(caught.value) == words
    bug = RuntimeError("a bug")
    bug.__cause__ = caught.value
    shown = traceback_of(bug)
    assert words in shown
    assert "RuntimeError: a bug" in shown
    assert "ana@exemplo" not in shown.replace("insert into t values ('Ana', 'ana@exemplo.com.br')", "")  # this line


def test_an_embedded_lakehouse_may_be_in_a_folder_of_any_signs(tmp_path: Path) -> None:
    url = start_postgres(tmp_path / "dados#da@loja?100%ç")
    with connect(url, setting="the embedded PostgreSQL") as connection:
        assert connection.execute("select 1").fetchone() == (1,)
