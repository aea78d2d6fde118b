"""``python -m elt.silver``: the same as ``medallion silver``."""

import sys

from elt.cli import main

main(["silver", *sys.argv[1:]])
