"""``python src/main.py``: one full run, the same as ``medallion run``."""

import sys

from elt.cli import main

main(["run", *sys.argv[1:]])
