"""How this program was called, so that a command it tells somebody to type works where they would type it.

Texts name the program ``medallion``. For people, ``typed`` puts in its place what reaches this very program from their
shell and folder: ``.venv/bin/medallion`` where no environment is activated, ``python src/main.py`` where nothing is
installed, ``docker compose exec medallion medallion`` outside of Compose's container. Documents for programs keep the
name.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

NAME = "medallion"
IN_COMPOSE = "MEDALLION_COMPOSE_PROJECT"
"""What ``docker-compose.yml`` sets in its container: the project's name; empty by Compose 1, which does not know it."""

_MAIN = Path(__file__).parents[1] / "main.py"
_NAMED = re.compile(rf"(?<![\w./-])(?<!exec {NAME} ){NAME} (?!{NAME}\b)(?=[a-z])")
"""The name where a command follows it."""


def typed(text: str) -> str:
    """The text with every ``medallion COMMAND`` in it as it has to be typed here."""
    return _NAMED.sub(lambda _: f"{program()} ", text)


def program() -> str:
    """What has to be typed instead of ``medallion``."""
    # Who starts a program in a container from outside is not among its processes, or is its first one.
    if IN_COMPOSE in os.environ and os.getppid() in (0, 1):
        compose = "docker compose" if os.environ[IN_COMPOSE] else "docker-compose"
        return f"{compose} exec {NAME} {NAME}"
    return command(sys.argv[0], sys.orig_argv[0], shutil.which(NAME))


def command(script: str, python: str, on_path: str | None) -> str:
    """The same for a process of this machine that was started as ``script`` (``sys.argv[0]``) by ``python``.

    ``on_path``: where the shell finds ``medallion``, if it does.
    """
    started = Path(script)
    if started.stem == NAME:
        same = on_path is not None and os.path.realpath(on_path) == os.path.realpath(script)
        return NAME if same else _quoted(script)
    if started.name == "__main__.py":
        return _quoted(python, "-m", "elt")
    if started.name == _MAIN.name:
        return _quoted(python, str(_MAIN) if started.is_absolute() else os.path.relpath(_MAIN))
    return NAME


def _quoted(*words: str) -> str:
    """The words as a shell takes them."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
