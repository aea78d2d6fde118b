"""Speed and memory, as ratios against a floor and peers in the same run."""
