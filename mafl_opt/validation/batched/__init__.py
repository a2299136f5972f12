"""Local training of many sessions at once: their parameters are stacked along a first axis."""
