"""``python src/main.py``: one full run, the same as ``medallion run``; with a command's name after it, that command."""

from elt.cli import main

main(default="run")
