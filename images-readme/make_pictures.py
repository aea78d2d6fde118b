"""Make the README's terminal pictures from the running program: ``make pictures``.

Each command runs in a pseudo-terminal on a scratch data folder; what its screen shows at the end becomes an SVG.
"""

import os
import pty
import shutil
import subprocess
import tempfile
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

from elt.environment import HOME

COLUMNS, LINES = 96, 400
HERE = Path(__file__).parent
MEDALLION = HERE.parent / ".venv" / "bin" / "medallion"
PICTURES = {
    "run.svg": ["run"],
    "quarantine.svg": ["quarantine", "list"],
}


def screen_after(arguments: list[str], folder: Path) -> pyte.Screen:
    """The terminal's screen when the command has ended."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    master, slave = pty.openpty()
    path = f"{MEDALLION.parent}{os.pathsep}{os.environ['PATH']}"  # as with the environment activated
    environment = {
        **os.environ,
        HOME: str(folder),
        "PATH": path,
        "COLUMNS": str(COLUMNS),
        "LINES": str(LINES),
        "TERM": "xterm-256color",
    }
    process = subprocess.Popen(
        [str(MEDALLION), *arguments], stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment
    )
    os.close(slave)
    while True:
        try:
            output = os.read(master, 65_536)
        except OSError:  # the terminal's other end is closed: the command has ended
            break
        if not output:
            break
        stream.feed(output.replace(b"\n", b"\r\n"))
    process.wait()
    return screen


def draw(screen: pyte.Screen, command: str, file: Path) -> None:
    """The screen's lines, with their colours, as an SVG."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123
    console.print(Text(f"$ {command}", style="bold"))
    last = max((row for row in screen.buffer if any(c.data.strip() for c in screen.buffer[row].values())), default=0)
    for row in range(last + 1):
        line = Text()
        for column in range(COLUMNS):
            character = screen.buffer[row][column]
            colour = None if character.fg == "default" else character.fg.replace("brown", "yellow")
            style = Style(color=colour if colour and not _is_hex(colour) else None, bold=character.bold)
            line.append(character.data, style)
        line.rstrip()
        console.print(line)
    console.save_svg(str(file), title="medallion")


def _is_hex(colour: str) -> bool:
    return len(colour) == 6 and all(digit in "0123456789abcdef" for digit in colour)


def main() -> None:
    """Make every picture."""
    folder = Path(tempfile.mkdtemp(prefix="pictures-"))
    try:
        for name, arguments in PICTURES.items():
            draw(screen_after(arguments, folder), " ".join(["medallion", *arguments]), HERE / name)
            print(f"made {HERE / name}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
