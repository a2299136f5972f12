"""Learning systems, a small class each: who trains when, and how results become the next model."""
