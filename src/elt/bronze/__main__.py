"""``python -m elt.bronze``: the same as ``medallion bronze``."""

import sys

from elt.cli import main

main(["bronze", *sys.argv[1:]])
