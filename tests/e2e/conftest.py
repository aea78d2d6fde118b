"""What several tests of whole commands begin with: a lakehouse by URL, a small shop, and a command over the two."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from elt.cli import medallion
from tests.shops import write_shop

NORTHWIND = Path(__file__).parents[3] / "shared" / "data" / "northwind"
collect_ignore = [] if NORTHWIND.is_dir() else ["test_northwind.py"]


@pytest.fixture
def lakehouse_url(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def env(lakehouse_url: str, tmp_path: Path) -> dict[str, str]:
    write_shop(tmp_path / "shop")
    return {"LAKEHOUSE_DB_URL": lakehouse_url, "SOURCE_FILES": str(tmp_path / "shop")}


@pytest.fixture
def command(lakehouse_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs ``medallion ... --json`` over a lakehouse of its own and the shop in ``shop``, which the test writes."""
    monkeypatch.setenv("LAKEHOUSE_DB_URL", lakehouse_url)
    monkeypatch.setenv("SOURCE_FILES", str(tmp_path / "shop"))

    def invoke(*arguments: str) -> dict[str, Any]:
        answer = CliRunner().invoke(medallion, [*arguments, "--json"], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        found: dict[str, Any] = json.loads(answer.stdout)
        return found

    return invoke
