"""A table is one file, found by being there; its words refuse what cannot be meant."""

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt import rules, silver
from elt.catalog import Column, Table, children_first, in_load_order, rules_version
from elt.silver import TABLES
from elt.silver.clientes import CLIENTES
from elt.silver.pedidos import PEDIDOS
from elt.silver.produtos import PRODUTOS

FOLDER = Path(silver.__file__).parent
KEY = Column("id_x", rules.KEY, required=True)


def table(name: str, *references: str) -> Table:
    columns = (Column(f"de_{other}", rules.KEY, references=other) for other in references)
    return Table(name, (KEY, *columns))


def test_the_files_of_the_specification_are_the_tables() -> None:
    assert TABLES == (CLIENTES, PRODUTOS, PEDIDOS)
    assert all((FOLDER / f"{declared.name}.py").exists() for declared in TABLES)


@pytest.mark.parametrize("declared", TABLES, ids=lambda declared: declared.name)
def test_a_tables_file_holds_its_declaration_and_nothing_else(declared: Table) -> None:
    words, first, second, said = ast.parse((FOLDER / f"{declared.name}.py").read_text(encoding="utf-8")).body
    assert isinstance(words, ast.Expr)
    assert {ast.unparse(first), ast.unparse(second)} == {
        "from elt import rules",
        "from elt.catalog import Column, Table",
    }
    assert isinstance(said, ast.Assign)
    assert ast.unparse(said.value).startswith(f"Table('{declared.name}'")


def test_which_tables_there_are_is_known_without_what_works_on_them() -> None:
    code = "import sys; from elt.silver import TABLES; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"elt.silver.clientes", "elt.silver.pedidos"} <= set(loaded)
    assert not {"pandas", "pyarrow", "numpy", "elt.silver.main", "psycopg"} & set(loaded)


def test_what_says_who_somebody_is_is_personal() -> None:
    personal = {(t.name, column.name) for t in TABLES for column in t.columns if column.personal}
    assert personal == {("clientes", "nome"), ("clientes", "email"), ("clientes", "telefone")}


def test_nothing_of_the_specification_may_be_absent() -> None:
    assert not any(declared.optional or any(column.optional for column in declared.columns) for declared in TABLES)


def test_rows_are_not_cleaned_again_because_a_column_is_personal_or_may_be_absent() -> None:
    def said(column: Column) -> Column:
        return replace(column, personal=True, optional=not column.required)

    other = tuple(replace(t, optional=True, columns=tuple(map(said, t.columns))) for t in TABLES)
    assert rules_version(other) == rules_version(TABLES)


def test_rows_are_cleaned_again_when_a_column_is_read_in_another_way_or_there_is_one_more() -> None:
    *others, idade = CLIENTES.columns
    for columns in ([*others, replace(idade, rule=rules.INTEGER)], [*CLIENTES.columns, Column("vip", rules.TEXT)]):
        changed = (replace(CLIENTES, columns=tuple(columns)), PRODUTOS, PEDIDOS)
        assert rules_version(changed) != rules_version(TABLES)


@given(st.permutations([table("a"), table("b", "c"), table("c", "a"), table("d", "d"), table("e", "b", "d")]))
def test_the_order_comes_from_the_references_and_then_from_the_names(found: list[Table]) -> None:
    assert [t.name for t in in_load_order(found)] == ["a", "d", "c", "b", "e"]
    assert [[t.name for t in group] for group in children_first(found)] == [["e"], ["b", "d"], ["c"], ["a"]]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ([table("a", "b"), table("b", "c"), table("c", "b")], "reference each other in a circle: b, c"),
        ([table("a", "clinetes")], "a references what is no table: clinetes"),
        ([table("a"), table("a")], "two tables are called a"),
    ],
)
def test_tables_that_cannot_be_put_in_an_order_are_refused(tables: list[Table], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        in_load_order(tables)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (lambda: Column("cep", rules.TEXT, required=True, optional=True), "cannot be optional"),
        (lambda: Table("lojas", (Column("id_loja", rules.KEY),)), "the first column is the key, and required"),
        (lambda: Table("lojas", ()), "the first column is the key"),
        (lambda: Table("lojas", (KEY, Column("uf", rules.TEXT), Column("uf", rules.TEXT))), "twice: uf"),
        (lambda: Table("lojas", (KEY, Column("id", rules.TEXT))), "twice: id"),
        (lambda: Table("lojas", (KEY, Column("data_ingestao", rules.DATE))), "twice: data_ingestao"),
        (lambda: Table("rejeitados", (KEY,)), "silver.rejeitados is the quarantine"),
    ],
    ids=["required and optional", "no key", "no column", "twice", "a second id", "the stamp", "the quarantine"],
)
def test_a_declaration_that_cannot_be_meant_is_refused(declared: type, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        declared()


@pytest.mark.parametrize(("text", "words"), [("", "holds 0 tables"), ("A = B = 1", "holds 0 tables")])
def test_a_file_that_is_neither_a_table_nor_named_as_at_work_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    (tmp_path / "esquecida.py").write_text(text)
    monkeypatch.setattr(silver, "__path__", [str(tmp_path)])
    with pytest.raises(ValueError, match=f"esquecida.py {words} where one belongs"):
        list(silver._declared())
    sys.modules.pop("elt.silver.esquecida")
