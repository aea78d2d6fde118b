"""Copies of this checkout, and Pythons as people have them: with what requirements.txt installs, or with nothing."""

import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("src", "supabase", "docker", "docker-compose.yml", "Dockerfile", "requirements.txt", ".env.example")


def copy_checkout(folder: Path) -> Path:
    """What a clone has, as far as programs need it; without a ``.env`` and without data."""
    folder.mkdir(parents=True)
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def bare_python(folder: Path) -> Path:
    """The Python of a new virtual environment in which nothing is installed."""
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


def python_with_requirements(folder: Path, *installed: Path) -> Path:
    """The same with the packages of requirements.txt, but not with this project; ``installed``: folders of source."""
    python = bare_python(folder)
    add_requirements(folder, *installed)
    return python


def add_requirements(environment: Path, *installed: Path) -> None:
    """Make an environment find the packages that the tests run with, which are those of requirements.txt and more.

    Python reads a ``.pth`` file only in its own folder of packages, so the one by which this checkout is installed
    there does not count.
    """
    packages = next((environment / "lib").glob("python3.*/site-packages"))
    paths = [*installed, *dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))]
    (packages / "packages.pth").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")


def run(*command: str | Path, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command with these settings in the environment, and no others of this machine."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_RUNTIME_DIR") if name in os.environ}
    return subprocess.run(
        [*map(str, command)], cwd=cwd, env={**kept, **settings}, capture_output=True, text=True, check=False
    )
