"""``python -m elt.silver``: the same as ``medallion silver``."""

from elt.start import main

main("silver")
