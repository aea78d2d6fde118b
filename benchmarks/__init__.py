"""Memory and speed of the pipeline, against a floor and a peer in the same run. ``make bench``; figures: README.md."""
