"""``python -m elt.gold``: the same as ``medallion gold``."""

import sys

from elt.cli import main

main(["gold", *sys.argv[1:]])
