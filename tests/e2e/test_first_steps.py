"""The README's steps, typed in a fresh clone and a fresh environment, as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkouts import ROOT, add_requirements

SECTIONS = {"README.md": "## Step by step", "README.pt-BR.md": "## Passo a passo"}


def steps(readme: str) -> list[str]:
    """The commands of the section, without the comments."""
    section = (ROOT / readme).read_text(encoding="utf-8").split(SECTIONS[readme])[1]
    block = section.split("```sh\n")[1].split("```")[0]
    return [re.sub(r"\s+#.*", "", line) for line in block.splitlines()]


def test_the_steps_are_the_specifications_in_its_order_in_both_readmes() -> None:
    assert steps("README.md") == steps("README.pt-BR.md")
    typed = [step for step in steps("README.md") if not step.startswith("python3 -m venv")]
    assert typed[0].startswith("git clone ")
    assert typed[1:] == [
        "pip install -r requirements.txt",
        "cp .env.example .env",
        "docker-compose build",
        "docker-compose up -d",
        "python src/elt/bronze/main.py",
        "python src/main.py",
    ]


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone")
def test_the_steps_work_when_typed(tmp_path: Path) -> None:
    """All but what a Docker engine does; of that, whether Compose takes its file with the untouched ``.env``."""
    docker_compose = Path(sys.executable).with_name("docker-compose")
    path = f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    folder, activated = tmp_path, ""

    def type_(command: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{activated}{command}"],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    said = {}
    for step in steps("README.md"):
        if step.startswith("docker-compose"):
            said[step] = type_(f"{docker_compose} --project-directory . config --quiet")
            continue
        said[step] = type_(step.replace("REPOSITORY", str(ROOT)))
        if step.startswith("git clone"):
            folder = tmp_path / "medallion"
        elif "venv" in step:
            add_requirements(folder / ".venv")  # pip finds them there, each in the locked version, and the index rests
            activated = ". .venv/bin/activate; "

    assert f"settings: read from {folder / '.env'}" in said["python src/elt/bronze/main.py"]
    assert "the sample shop" in said["python src/elt/bronze/main.py"]
    assert "gold 680: analysis tables updated" in said["python src/main.py"]
    assert (folder / "data").is_dir()
    shutil.rmtree(folder)
