"""What a newcomer or a contributor looks for is where they look, and says what is so."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

import elt
from elt.cli import medallion

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_version_stands_in_one_place_and_the_program_says_it() -> None:
    assert "version" not in PROJECT["project"]
    assert CliRunner().invoke(medallion, ["--version"]).output.split()[-1] == elt.__version__


def test_the_changelog_keeps_what_has_changed_since_the_last_release() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert elt.__version__ in headings


def test_the_licence_is_apache_2() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize(
    ("schema", "file"),
    [("vendor.github-workflows", ".github/workflows/ci.yml"), ("vendor.dependabot", ".github/dependabot.yml")],
)
def test_what_the_code_host_reads_is_well_formed(schema: str, file: str) -> None:
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", schema, file]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_ci_runs_every_python_that_is_supported() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    [pythons] = re.findall(r"python: \[(.+)\]", workflow)
    assert pythons.split(", ")[0].strip('"') == PROJECT["project"]["requires-python"].removeprefix(">=")
    assert ".ci/run" in workflow


@pytest.mark.parametrize("readme", ["README.md", "README.pt-BR.md"])
def test_the_architecture_is_drawn_for_both_themes(readme: str) -> None:
    words = (ROOT / readme).read_text(encoding="utf-8")
    pictures = re.findall(r"images-readme/architecture-[\w-]+\.svg", words)
    assert [picture.rsplit("-", 1)[-1] for picture in pictures] == ["dark.svg", "light.svg"]
    assert all((ROOT / picture).exists() for picture in pictures)


def test_the_drawings_are_those_of_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (ROOT / "images-readme" / "architecture.py").read_text(encoding="utf-8")
    copy = tmp_path / "architecture.py"
    copy.write_text(script, encoding="utf-8")
    subprocess.run([sys.executable, str(copy)], check=True)
    for drawn in tmp_path.glob("*.svg"):
        assert drawn.read_text(encoding="utf-8") == (ROOT / "images-readme" / drawn.name).read_text(encoding="utf-8")


def test_the_lock_s_head_names_what_is_asked_for_and_why() -> None:
    head = (ROOT / "requirements.txt").read_text(encoding="utf-8").split("\n\n")[0]
    named = dict(re.findall(r"^#   (\S+): (.+)$", head, re.MULTILINE))
    assert list(named) == PROJECT["project"]["dependencies"]
    assert all(named.values())
