"""``python -m elt``: the same as ``medallion``."""

from elt.cli import main

main()
