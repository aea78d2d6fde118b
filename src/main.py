"""``python src/main.py``: one full run, the same as ``medallion run``; with a command's name after it, that command."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from elt.start import main

main(default="run")
