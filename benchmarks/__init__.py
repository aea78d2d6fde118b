"""Speed and memory of the pipeline against a floor, a peer and itself. ``make bench``; figures in ``README.md``."""
