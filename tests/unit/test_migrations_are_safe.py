"""What the API of a hosted project refuses inside functions, where no test on another PostgreSQL would meet it."""

import re
from pathlib import Path

import pytest

from elt.lakehouse.migrations import FOLDER

STATEMENT = re.compile(r"\b(delete from\s+[^\s;]+|update\s+\S+(\s+as\s+\w+)?\s+set\b)([^;']|'[^']*')*", re.IGNORECASE)
"""A DELETE or UPDATE up to its end, and nothing of ``on conflict do update set``, grants and triggers."""


def statements(text: str) -> list[str]:
    """The DELETE and UPDATE statements of a file."""
    return [match.group() for match in STATEMENT.finditer(re.sub(r"--.*", "", text))]


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.sql")), ids=lambda file: file.stem)
def test_no_statement_changes_every_row(file: Path) -> None:
    """pg-safeupdate ends an UPDATE or DELETE without WHERE with 21000, also inside of functions."""
    found = statements(file.read_text(encoding="utf-8"))
    assert [each for each in found if not re.search(r"\bwhere\b", each, re.IGNORECASE)] == []


def test_the_check_sees_both_kinds_of_statement() -> None:
    text = "delete from silver.x; update silver.y set a = 'b;c'; update silver.y as z set a = 1 where b; end"
    assert [bool(re.search("where", each)) for each in statements(text)] == [False, False, True]
    text = "on conflict (id) do update set a = 1; create trigger t before update on x; grant update, delete on x to y;"
    assert statements(text) == []
