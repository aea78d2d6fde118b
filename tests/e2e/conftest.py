"""What several tests of whole commands begin with: a lakehouse by URL, and an environment with a small shop."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shops import write_shop


@pytest.fixture
def lakehouse_url(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def env(lakehouse_url: str, tmp_path: Path) -> dict[str, str]:
    write_shop(tmp_path / "shop")
    return {"LAKEHOUSE_DB_URL": lakehouse_url, "SOURCE_FILES": str(tmp_path / "shop")}
