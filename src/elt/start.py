"""Where every way of starting the program begins; a Python that cannot run it is told so in a sentence.

Whatever Python somebody has reads this file: it needs no package, and nothing in it is newer than Python 3.6.
"""

import shlex
import sys
import sysconfig
from pathlib import Path

OLDEST = (3, 11)
EXIT_CODE = 2
"""Wrong usage or configuration; nothing was read or written."""

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"


def main(*command: str, default: str = "") -> None:
    """Run ``medallion`` with this command, if any, and the arguments of the process.

    ``default``: the command if those name none.
    """
    if sys.version_info < OLDEST:
        version = ".".join(map(str, sys.version_info[:3]))
        _end(f"Python 3.11 or newer is needed, and {sys.executable} is {version}: type {_newer_python()}")
    try:
        from elt.cli import main as command_line

        command_line([*command, *sys.argv[1:]], default=default or None)
    except ModuleNotFoundError as error:
        lacking = (error.name or "elt").partition(".")[0]
        if lacking == "elt":
            raise
        _end(f"{sys.executable} lacks {lacking}, which this program needs: {_install()}")


def _newer_python() -> str:
    words = ["python" + ".".join(map(str, OLDEST)), *map(shlex.quote, sys.argv)]
    return " ".join(words) + ", or the same with a newer one"


def _install() -> str:
    """What to type so that the packages are there."""
    if not REQUIREMENTS.exists():
        return "install it again, with its dependencies"
    python, requirements = shlex.quote(sys.executable), shlex.quote(str(REQUIREMENTS))
    of_the_system = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists()
    if of_the_system and sys.prefix == sys.base_prefix:  # pip refuses there; source: PEP 668
        folder = REQUIREMENTS.parent / ".venv"
        its_python = shlex.quote(str(folder / "bin" / "python"))
        make = f"{python} -m venv {shlex.quote(str(folder))} && {its_python} -m pip install -r {requirements}"
        return f"type {make} and then start it with {its_python}"
    return f"type {python} -m pip install -r {requirements}"


def _end(sentence: str) -> None:
    sys.stderr.write(f"error: {sentence}\n")
    sys.exit(EXIT_CODE)
