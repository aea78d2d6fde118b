"""Gold: analysis tables, recomputed where silver changed."""
