"""``python -m elt.bronze``: the same as ``medallion bronze``."""

from elt.start import main

main("bronze")
