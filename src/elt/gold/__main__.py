"""``python -m elt.gold``: the same as ``medallion gold``."""

from elt.start import main

main("gold")
