"""The steps of docs/architecture.md, followed: one file and one migration, and every command knows the table."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import elt
from elt.lakehouse import migrations
from tests.shops import write_table

PACKAGE = Path(elt.__file__).parent
ARCHITECTURE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
SECTION = ARCHITECTURE.split("\n## A table\n")[1].split("\n## ")[0]
[FILE] = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
[MIGRATION] = re.findall(r"```sql\n(.*?)```", SECTION, re.DOTALL)
[VERSION] = re.findall(r"'(\d{14}_lojas)'", MIGRATION)

Medallion = Callable[..., str]


@pytest.fixture(params=["checkout", "wheel"])
def medallion(request: pytest.FixtureRequest, tmp_path: Path) -> Medallion:
    """The program laid out as in a checkout or as a wheel lays it out, with the two files more; a command's output."""
    layout = {
        "checkout": (tmp_path / "src" / "elt", tmp_path / "supabase" / "migrations"),
        "wheel": (tmp_path / "site" / "elt", tmp_path / "site" / "elt" / "lakehouse" / "migrations"),
    }
    package, sql = layout[request.param]
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "migrations"))
    shutil.copytree(migrations.FOLDER, sql)
    (package / "silver" / "lojas.py").write_text(FILE, encoding="utf-8")
    (sql / f"{VERSION}.sql").write_text(MIGRATION, encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(package.parent),
        "MEDALLION_HOME": str(tmp_path),
        "DATA_DIR": str(tmp_path / "data"),
    }

    def run(*command: str, **settings: str) -> str:
        answer = subprocess.run(
            [sys.executable, "-m", "elt", *command],
            cwd=tmp_path,
            env=environment | settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout + answer.stderr

    return run


def test_every_command_knows_a_table_that_was_added_as_the_documentation_says(
    medallion: Medallion, tmp_path: Path
) -> None:
    assert "680" in medallion("run")
    assert "aberta_em" in medallion("trace", "lojas", "1")
    medallion("quarantine", "show", "lojas")
    shop = tmp_path / "shop"
    shop.mkdir()
    write_table(shop, "clientes", [{"id_cliente": "1"}], ["id_cliente", "nome", "email", "telefone", "cidade", "idade"])
    write_table(shop, "produtos", [], ["id_produto", "nome_produto", "categoria", "preco", "estoque"])
    columns = ["id_pedido", "id_cliente", "id_produto", "quantidade", "status", "valor_total", "data_pedido"]
    write_table(shop, "pedidos", [], columns)
    write_table(shop, "lojas", [{"id_loja": "7", "gerente": "1"}], ["id_loja", "gerente", "aberta_em"])
    medallion("check", SOURCE_FILES=str(shop))
    said = medallion("run", SOURCE_FILES=str(shop))
    assert said.count("lojas: not in the source, which may lack it, NULL in silver: telefone") == 1
    assert '"7"' in medallion("show", "lojas", "--json", SOURCE_FILES=str(shop))
