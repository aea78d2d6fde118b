"""What the READMEs say is what the program has."""

import re
from pathlib import Path

import pytest

from elt.catalog import ANALYSES
from elt.cli import COMMANDS
from elt.keys import StatusKey
from elt.settings import Settings
from elt.silver import TABLES

ROOT = Path(__file__).parents[2]
READMES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.pt-BR.md")}
both = pytest.mark.parametrize("readme", READMES.values(), ids=READMES)


@both
def test_every_setting_is_explained_with_its_default(readme: str) -> None:
    rows = [line for line in readme.splitlines() if line.startswith("| `")]
    for name, field in Settings.model_fields.items():
        lines = [row for row in rows if re.search(rf"`{name.upper()}`", row)]
        assert lines, f"{name.upper()} is not explained"
        if isinstance(field.default, int | str) and not isinstance(field.default, bool):
            assert f"| `{field.default}` |" in lines[0]


@both
def test_no_setting_is_explained_that_does_not_exist(readme: str) -> None:
    configuration = readme.split("| variable |")[-1].split("| variável |")[-1]
    named = set(re.findall(r"^\| ((?:`[A-Z_]+`(?:, )?)+) \|", configuration, re.MULTILINE))
    settings = {name for names in named for name in re.findall(r"[A-Z_]+", names)}
    assert settings == {name.upper() for name in Settings.model_fields}


@both
def test_every_key_is_there(readme: str) -> None:
    for key in StatusKey:
        assert re.search(rf"^\| {int(key)} \| \w+ \|", readme, re.MULTILINE)


def test_the_english_keys_have_the_programs_words() -> None:
    for key in StatusKey:
        assert f"| {key.meaning} |" in READMES["README.md"]


@both
def test_every_column_is_there(readme: str) -> None:
    for table in TABLES:
        listed = next(line for line in readme.split("\n\n") if f"**{table.silver}**" in line)
        entry = listed.split(f"**{table.silver}**")[1].split("**silver.")[0]
        assert re.findall(r"`(\w+)`", entry) == [*table.silver_names, "data_ingestao"]
    for analysis in ANALYSES:
        rows = readme.split(f"**{analysis.gold}**")[1].split("\n\n")[1].splitlines()[2:]
        assert [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])] == list(analysis.types)


@both
def test_every_personal_column_is_named_and_no_other(readme: str) -> None:
    [said] = re.findall(r"(?:Personal data|Dados pessoais) \(LGPD\)(.*?)\.", readme, re.DOTALL)
    tables = [table for table in TABLES if any(column.personal for column in table.columns)]
    personal = [column.name for table in tables for column in table.columns if column.personal]
    assert re.findall(r"`(\w+)`", said) == [*personal, *(table.name for table in tables)]


@both
def test_every_command_it_names_exists(readme: str) -> None:
    named = set(re.findall(r"^medallion (\w+)|`medallion (\w+)", readme, re.MULTILINE))
    assert {first or second for first, second in named} <= set(COMMANDS)


@both
def test_every_file_it_links_to_exists(readme: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert target.startswith("https://") or (ROOT / target).exists(), target


@both
def test_the_two_commands_come_first(readme: str) -> None:
    assert re.findall(r"^make \w+", readme, re.MULTILINE)[:2] == ["make run", "make test"]
    assert readme.index("make run") < readme.index("## ")
