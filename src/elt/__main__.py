"""``python -m elt``: the same as ``medallion``."""

from elt.start import main

main()
